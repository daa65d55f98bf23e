//! A split's tokens, memory-mapped and verified.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another program could change it")]

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::source::FileFacts;
use crate::fs;

/// How an id is stored, little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdType {
    /// Two bytes: every id of the tokenizer is below 65,536.
    U16,
    /// Four bytes.
    U32,
}

impl IdType {
    /// The smallest type that holds all ids below `vocab_size`.
    pub(crate) fn for_vocab(vocab_size: u32) -> Self {
        if vocab_size <= 1 << 16 { Self::U16 } else { Self::U32 }
    }

    /// Bytes an id.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// Appends ids in their stored form.
    pub(crate) fn write(self, ids: &[u32], bytes: &mut Vec<u8>) {
        match self {
            // `for_vocab` chose it because no id is larger.
            Self::U16 => bytes.extend(ids.iter().flat_map(|&id| (id as u16).to_le_bytes())),
            Self::U32 => bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes())),
        }
    }
}

/// What a cache manifest says of a token stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenFacts {
    pub(crate) tokens: u64,
    pub(crate) documents: u64,
    pub(crate) largest_id: u32,
    pub(crate) dtype: IdType,
    /// Commit of a hub dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<String>,
    /// Commit of a hub tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokenizer_revision: Option<String>,
    /// The files that the tokens were made from, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<FileFacts>,
}

/// Maps a file for reading.
///
/// The cache never writes to a finished file: it is made under a lock beside its final name and
/// renamed, and replaced the same way, which leaves mapped pages as they are.
pub(crate) fn map(path: &Path) -> fs::Result<memmap2::Mmap> {
    let file = File::open(path).map_err(fs::Error::at("open", path))?;
    // SAFETY: the file is immutable under the cache's protocol (see above), so the mapped bytes
    // do not change or shrink while they are borrowed. Another program that truncates files in
    // the cache folder breaks that promise, as it would break any mapped file.
    // Private: nothing is written, and file systems in user space often map nothing that is shared.
    unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) }
        .map_err(fs::Error::at("map", path))
}

/// Name of the list of documents in a cache entry.
pub(crate) const DOCUMENTS: &str = "documents.bin";

/// The tokens of a split, in order.
#[derive(Debug)]
pub struct TokenStream {
    map: memmap2::Mmap,
    facts: TokenFacts,
    id: String,
    folder: PathBuf,
}

impl TokenStream {
    /// Wraps verified bytes, as many as `facts` says, under their hash; `folder` is the cache entry's.
    pub(crate) fn new(map: memmap2::Mmap, facts: TokenFacts, id: String, folder: PathBuf) -> Self {
        Self { map, facts, id, folder }
    }

    /// The list of documents in the cache.
    pub(crate) fn documents_file(&self) -> PathBuf {
        self.folder.join(DOCUMENTS)
    }

    /// The folder in the cache that holds the tokens.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files that the tokens were made from: name, bytes, hash, documents and tokens of each,
    /// as the manifest has them. None for generated text.
    pub fn files(&self) -> serde_json::Value {
        serde_json::to_value(&self.facts.files).expect("plain structs are JSON")
    }

    /// Number of tokens.
    pub fn len(&self) -> u64 {
        self.facts.tokens
    }

    /// Whether there is no token. [`prepare`](super::prepare) returns no such stream.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of documents that the tokens come from.
    pub fn documents(&self) -> u64 {
        self.facts.documents
    }

    /// The largest id in the stream; a model needs a larger `vocab_size`.
    pub fn largest_id(&self) -> u32 {
        self.facts.largest_id
    }

    /// blake3 of the stored tokens, in hexadecimal: the same ids, the same hash.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The commit that a hub dataset's revision meant when the tokens were made.
    pub fn revision(&self) -> Option<&str> {
        self.facts.revision.as_deref()
    }

    /// The commit that a hub tokenizer's revision meant when the tokens were made.
    pub fn tokenizer_revision(&self) -> Option<&str> {
        self.facts.tokenizer_revision.as_deref()
    }

    /// The ids of a range of positions; `None` if it runs past the end.
    pub fn get(&self, range: Range<u64>) -> Option<Vec<u32>> {
        let mut ids = vec![0; self.checked_len(&range)?];
        self.copy(range.start, &mut ids);
        Some(ids)
    }

    /// Row `row` of `seq_len` tokens, `tokens[row * seq_len .. (row + 1) * seq_len]`; `None` if
    /// it runs past the end.
    pub fn row(&self, row: u64, seq_len: u64) -> Option<Vec<u32>> {
        let start = row.checked_mul(seq_len)?;
        self.get(start..start.checked_add(seq_len)?)
    }

    /// Fills `ids` with the tokens from position `start` on, without allocating; false, and
    /// nothing written, if they would run past the end.
    #[must_use]
    pub fn copy_to(&self, start: u64, ids: &mut [u32]) -> bool {
        let end = start.checked_add(ids.len() as u64);
        let fits = end.is_some_and(|end| end <= self.len());
        if fits {
            self.copy(start, ids);
        }
        fits
    }

    /// Whole rows of `seq_len` tokens; 0 if `seq_len` is 0.
    pub fn rows(&self, seq_len: u64) -> u64 {
        self.len().checked_div(seq_len).unwrap_or(0)
    }

    fn checked_len(&self, range: &Range<u64>) -> Option<usize> {
        let fits = range.start <= range.end && range.end <= self.len();
        if fits { usize::try_from(range.end - range.start).ok() } else { None }
    }

    /// `start + ids.len()` is at most `len()`, and the map holds `len()` ids.
    fn copy(&self, start: u64, ids: &mut [u32]) {
        let size = self.facts.dtype.size();
        let bytes = &self.map[start as usize * size..][..ids.len() * size];
        match self.facts.dtype {
            IdType::U16 => {
                for (id, bytes) in ids.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *id = u32::from(u16::from_le_bytes(*bytes));
                }
            }
            IdType::U32 => {
                for (id, bytes) in ids.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *id = u32::from_le_bytes(*bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(ids: &[u32], dtype: IdType) -> TokenStream {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let mut bytes = Vec::new();
        dtype.write(ids, &mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let facts = TokenFacts {
            tokens: ids.len() as u64,
            documents: 1,
            largest_id: 0,
            dtype,
            revision: None,
            tokenizer_revision: None,
            files: Vec::new(),
        };
        TokenStream::new(map(&path).unwrap(), facts, String::new(), PathBuf::new())
    }

    #[test]
    fn ids_of_both_widths_are_read_back() {
        let small: Vec<u32> = vec![0, 1, 65_535, 256, 7];
        let large: Vec<u32> = vec![0, 65_536, u32::MAX, 256, 7];
        for (ids, dtype) in [(small, IdType::U16), (large, IdType::U32)] {
            let stream = stream(&ids, dtype);
            assert_eq!(stream.get(0..5).unwrap(), ids);
            assert_eq!(stream.row(1, 2).unwrap(), ids[2..4]);
            assert_eq!((stream.rows(2), stream.rows(0)), (2, 0));
            let mut two = [0; 2];
            assert!(stream.copy_to(3, &mut two));
            assert_eq!(two, ids[3..]);
        }
    }

    #[test]
    fn ranges_past_the_end_give_nothing() {
        let stream = stream(&[1, 2, 3], IdType::U16);
        #[expect(clippy::reversed_empty_ranges, reason = "that is the case to refuse")]
        let ranges = [2..4, 3..2, u64::MAX..u64::MAX, 0..u64::MAX];
        for range in ranges {
            assert_eq!(stream.get(range), None);
        }
        assert_eq!(stream.get(3..3), Some(vec![]));
        assert_eq!(stream.row(1, 2), None);
        assert_eq!(stream.row(u64::MAX, 2), None);
        assert!(!stream.copy_to(2, &mut [9, 9]));
        assert!(!stream.copy_to(u64::MAX, &mut [9, 9]));
    }

    #[test]
    fn the_width_follows_the_vocabulary() {
        assert_eq!(IdType::for_vocab(65_536), IdType::U16);
        assert_eq!(IdType::for_vocab(65_537), IdType::U32);
    }
}
