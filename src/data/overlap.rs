//! Which documents of the validation split are in the training split too.
//!
//! Every token cache entry lists its documents: 16 bytes of the blake3 of the text, then the number
//! of its tokens as a little-endian u32. Only whole documents that are the same to the byte are
//! found; near duplicates are not.

use std::collections::HashSet;

use super::error::Error;
use super::stream::{TokenStream, map};

/// Bytes of the hash that are kept: two of a billion documents agree by chance once in 10^20.
const HASH: usize = 16;
/// Bytes of an entry.
const ENTRY: usize = HASH + 4;

/// The list in the making.
#[derive(Debug, Default)]
pub(crate) struct DocumentList(Vec<u8>);

impl DocumentList {
    /// Adds a document that gave `tokens` tokens.
    pub(crate) fn push(&mut self, hash: &blake3::Hash, tokens: u64) {
        self.0.extend(&hash.as_bytes()[..HASH]);
        self.0.extend(u32::try_from(tokens).unwrap_or(u32::MAX).to_le_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Validation documents that are training documents too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overlap {
    /// Documents of the validation split that the training split has as well. Empty ones do not
    /// count.
    pub documents: u64,
    /// Documents of the validation split.
    pub of_documents: u64,
    /// Tokens of those documents, their separators included.
    pub tokens: u64,
    /// Tokens of the validation split.
    pub of_tokens: u64,
}

impl Overlap {
    /// Share of the validation tokens, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.tokens as f64 / self.of_tokens.max(1) as f64
    }
}

/// Compares two splits document by document, to the byte. The validation documents are held in
/// memory, 16 bytes each; the training documents are only read.
///
/// # Errors
/// A list of documents that cannot be read.
pub fn overlap(train: &TokenStream, validation: &TokenStream) -> Result<Overlap, Error> {
    let empty = blake3::hash(b"");
    let (theirs, ours) = (map(&train.documents_file())?, map(&validation.documents_file())?);
    let hash = |entry: &[u8]| <[u8; HASH]>::try_from(&entry[..HASH]).expect("an entry begins so");
    let mut wanted: HashSet<[u8; HASH]> = ours.chunks_exact(ENTRY).map(hash).collect();
    wanted.remove(&empty.as_bytes()[..HASH]);
    let shared: HashSet<[u8; HASH]> =
        theirs.chunks_exact(ENTRY).map(hash).filter(|hash| wanted.contains(hash)).collect();
    let mut found = Overlap {
        of_documents: validation.documents(),
        of_tokens: validation.len(),
        ..Overlap::default()
    };
    for entry in ours.chunks_exact(ENTRY).filter(|entry| shared.contains(&hash(entry))) {
        found.documents += 1;
        let tokens = <[u8; 4]>::try_from(&entry[HASH..]).expect("an entry ends so");
        found.tokens += u64::from(u32::from_le_bytes(tokens));
    }
    Ok(found)
}
