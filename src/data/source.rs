//! The documents of a split in batches, wherever they come from.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::{Config, Source, SplitKind};
use super::error::Error;
use super::format::Format;
use super::hub::{Choice, Hub, HubSplit};
use super::identity::ContentHashes;
use super::progress::Progress;
use super::read::Documents;
use super::synthetic;

/// A split's text: files, or the generator.
#[derive(Debug)]
pub(crate) enum Text {
    /// Local files in order.
    Files {
        /// Paths and formats.
        files: Vec<(PathBuf, Format)>,
        /// Text column of `.jsonl` and Parquet.
        column: String,
    },
    /// Files of the hub in order, each fetched when it is reached.
    Hub {
        /// Which.
        split: Box<HubSplit>,
        /// As above.
        column: String,
    },
    /// The generator's stream of this name.
    Synthetic {
        /// `train` or `validation`.
        split: String,
    },
}

impl Text {
    /// Finds a split's text; of hub data, which files it is.
    ///
    /// # Errors
    /// If there is none, or it cannot be looked up.
    pub(crate) fn find(
        config: &Config,
        kind: SplitKind,
        hub: &Hub,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let split = config.split(kind);
        let column = config.text_column.clone();
        let files = match (&split.files, &config.source) {
            (Some(files), _) => files.as_slice(),
            (None, Source::Synthetic) => {
                synthetic::check_split(&split.name)?;
                return Ok(Self::Synthetic { split: split.name.clone() });
            }
            (None, Source::Hub { id, revision }) => {
                let choice = match &split.dataset_files {
                    Some(files) => Choice::Files(files),
                    None => Choice::Split(&split.name),
                };
                let split = hub.split(id, revision, &choice, progress)?;
                for name in split.names() {
                    Format::of(name.as_ref())?;
                }
                return Ok(Self::Hub { split: Box::new(split), column });
            }
            (None, Source::Local) => &[],
        };
        let files = files.iter().map(|path| Ok((path.clone(), Format::of(path)?)));
        Ok(Self::Files { files: files.collect::<Result<_, Error>>()?, column })
    }

    /// The commit of hub data.
    pub(crate) fn commit(&self) -> Option<&str> {
        match self {
            Self::Hub { split, .. } => Some(&split.commit),
            _ => None,
        }
    }

    fn num_files(&self) -> usize {
        match self {
            Self::Files { files, .. } => files.len(),
            Self::Hub { split, .. } => split.names().len(),
            Self::Synthetic { .. } => 0,
        }
    }
}

/// A file that tokens were made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileFacts {
    /// Path in the dataset; the name of a local file.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// `sha256:…`, `git:…` (of the hub) or `blake3:…`.
    pub(crate) hash: Option<String>,
    /// Documents read from it.
    pub(crate) documents: u64,
    /// Tokens that they gave.
    pub(crate) tokens: u64,
}

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) text: String,
    /// The file that it is from, by its place among [`Batches::files`]; 0 for generated text.
    pub(crate) file: usize,
}

/// Reads a [`Text`] from its start.
pub(crate) struct Batches<'a> {
    text: &'a Text,
    progress: &'a dyn Progress,
    /// The next file, or the next generated document.
    next: u64,
    open: Option<Documents>,
    /// Files opened so far.
    files: Vec<FileFacts>,
    /// Bytes of the files before the open one, or bytes generated.
    finished_bytes: u64,
    total_bytes: Option<u64>,
}

/// Generated documents made at once: the unit of parallel work.
const GENERATED_AT_ONCE: u64 = 64;

impl<'a> Batches<'a> {
    /// Opens every local file once, so that a missing one is told before an hour of work.
    ///
    /// # Errors
    /// A local file that cannot be read or hashed.
    pub(crate) fn new(text: &'a Text, progress: &'a dyn Progress) -> Result<Self, Error> {
        let total_bytes = match text {
            Text::Synthetic { .. } | Text::Hub { .. } => None,
            Text::Files { files, column } => {
                let mut total = 0;
                for (path, format) in files {
                    Documents::open(path, *format, column)?;
                    total += std::fs::metadata(path).map_err(|e| Error::input_file(path, e))?.len();
                }
                Some(total)
            }
        };
        Ok(Self {
            text,
            progress,
            next: 0,
            open: None,
            files: Vec::new(),
            finished_bytes: 0,
            total_bytes,
        })
    }

    /// The next documents: at least `bytes` of text, unless the text ends, or would go on in another
    /// file of the hub, which may not be needed. Empty at the end.
    ///
    /// # Errors
    /// A file that cannot be had or read.
    pub(crate) fn next(&mut self, bytes: u64) -> Result<Vec<Document>, Error> {
        self.take(bytes, true)
    }

    /// As [`Batches::next`], from what is at hand: nothing is fetched for it. Empty is not the end.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn at_hand(&mut self, bytes: u64) -> Result<Vec<Document>, Error> {
        self.take(bytes, false)
    }

    fn take(&mut self, bytes: u64, may_fetch: bool) -> Result<Vec<Document>, Error> {
        let is_here = !matches!(self.text, Text::Hub { .. });
        let mut batch = Vec::new();
        let mut held = 0;
        while held < bytes {
            if let Text::Synthetic { split } = self.text {
                let first = self.next;
                self.next += GENERATED_AT_ONCE;
                let made: Vec<String> = (first..self.next)
                    .into_par_iter()
                    .map(|index| synthetic::story(split, index))
                    .collect();
                let size: u64 = made.iter().map(|story| story.len() as u64).sum();
                held += size;
                self.finished_bytes += size;
                batch.extend(made.into_iter().map(|text| Document { text, file: 0 }));
            } else {
                let open_more = is_here || may_fetch && batch.is_empty();
                let Some(text) = self.next_of_files(open_more)? else { break };
                // An empty document counts too, or a file of them would never fill a batch.
                held += (text.len() + size_of::<Document>()) as u64;
                batch.push(Document { text, file: self.files.len() - 1 });
            }
        }
        Ok(batch)
    }

    fn next_of_files(&mut self, open_more: bool) -> Result<Option<String>, Error> {
        loop {
            if let Some(documents) = &mut self.open {
                if let Some(document) = documents.next()? {
                    return Ok(Some(document));
                }
                self.finished_bytes += documents.bytes_read();
                self.open = None;
            }
            let index = self.next as usize;
            if !open_more || index == self.text.num_files() {
                return Ok(None);
            }
            self.open_file(index)?;
            self.next += 1;
        }
    }

    fn open_file(&mut self, index: usize) -> Result<(), Error> {
        let (path, name, hash, column) = match self.text {
            Text::Files { files, column } => {
                let path = files[index].0.clone();
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                (path, name.unwrap_or_default(), None, column)
            }
            Text::Hub { split, column } => {
                let file = split.file(index, self.progress)?;
                let name = split.names().nth(index).unwrap_or_default().to_owned();
                (file.path, name, file.hash, column)
            }
            Text::Synthetic { .. } => unreachable!("generated text has no files"),
        };
        // By the name in the dataset: the path may lead to a blob, whose name has no extension.
        let format = Format::of(name.as_ref())?;
        let bytes = std::fs::metadata(&path).map_err(|e| Error::input_file(&path, e))?.len();
        self.open = Some(Documents::open(&path, format, column)?);
        self.files.push(FileFacts { name, bytes, hash, documents: 0, tokens: 0 });
        Ok(())
    }

    /// The files that were opened, with the hashes of local ones.
    ///
    /// # Errors
    /// A local file that changed meanwhile.
    pub(crate) fn into_files(self, hashes: &mut ContentHashes) -> Result<Vec<FileFacts>, Error> {
        let mut facts = self.files;
        if let Text::Files { files, .. } = self.text {
            for (facts, (path, _)) in facts.iter_mut().zip(files) {
                facts.hash = Some(format!("blake3:{}", hashes.hash(path)?));
            }
        }
        Ok(facts)
    }

    /// Bytes of text read so far.
    pub(crate) fn done_bytes(&self) -> u64 {
        self.finished_bytes + self.open.as_ref().map_or(0, Documents::bytes_read)
    }

    /// Bytes of all files; `None` for generated text, and for files that may not be needed.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }
}
