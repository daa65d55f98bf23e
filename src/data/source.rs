//! The documents of a split in batches, wherever they come from.

use std::path::PathBuf;

use rayon::prelude::*;

use super::config::{Config, Source, SplitKind};
use super::error::Error;
use super::hub::Hub;
use super::read::{Documents, Format};
use super::synthetic;

/// A split's text: files, or the generator.
#[derive(Debug)]
pub(crate) enum Text {
    /// Files in order, with their formats.
    Files {
        /// Paths and formats.
        files: Vec<(PathBuf, Format)>,
        /// Text column of `.jsonl`.
        column: String,
    },
    /// The generator's stream of this name.
    Synthetic {
        /// `train` or `validation`.
        split: String,
    },
}

/// Finds a split's text, fetching it if it has to be; with the hub's commit if it is hub data.
pub(crate) fn find(
    config: &Config,
    kind: SplitKind,
    hub: &Hub,
) -> Result<(Text, Option<String>), Error> {
    let split = config.split(kind);
    let (paths, revision) = match (&split.files, &config.source) {
        (Some(files), _) => (files.clone(), None),
        (None, Source::Synthetic) => {
            synthetic::check_split(&split.name)?;
            return Ok((Text::Synthetic { split: split.name.clone() }, None));
        }
        (None, Source::Hub { id, revision }) => {
            let files = hub.split_files(id, revision, &split.name)?;
            (files.paths, Some(files.commit))
        }
        (None, Source::Local) => (Vec::new(), None),
    };
    let files = paths
        .into_iter()
        .map(|path| Format::of(&path, kind.word()).map(|format| (path, format)))
        .collect::<Result<_, _>>()?;
    Ok((Text::Files { files, column: config.text_column.clone() }, revision))
}

/// Reads a [`Text`] from its start.
pub(crate) struct Batches<'a> {
    text: &'a Text,
    /// The next file, or the next generated document.
    next: u64,
    open: Option<Documents>,
    /// Bytes of the files before the open one, or bytes generated.
    finished_bytes: u64,
    total_bytes: Option<u64>,
}

/// Generated documents made at once: the unit of parallel work.
const GENERATED_AT_ONCE: u64 = 64;

impl<'a> Batches<'a> {
    /// Opens every file once, so that a missing one is told before an hour of work.
    pub(crate) fn new(text: &'a Text) -> Result<Self, Error> {
        let total_bytes = match text {
            Text::Synthetic { .. } => None,
            Text::Files { files, column } => {
                let mut total = 0;
                for (path, format) in files {
                    Documents::open(path, *format, column)?;
                    total += std::fs::metadata(path).map_err(|e| Error::input_file(path, e))?.len();
                }
                Some(total)
            }
        };
        Ok(Self { text, next: 0, open: None, finished_bytes: 0, total_bytes })
    }

    /// The next documents: at least `bytes` of text, unless the text ends. Empty at the end.
    pub(crate) fn next(&mut self, bytes: u64) -> Result<Vec<String>, Error> {
        let mut batch = Vec::new();
        let mut held = 0;
        while held < bytes {
            match self.text {
                Text::Synthetic { split } => {
                    let first = self.next;
                    self.next += GENERATED_AT_ONCE;
                    let made: Vec<String> = (first..self.next)
                        .into_par_iter()
                        .map(|index| synthetic::story(split, index))
                        .collect();
                    let size: u64 = made.iter().map(|story| story.len() as u64).sum();
                    held += size;
                    self.finished_bytes += size;
                    batch.extend(made);
                }
                Text::Files { files, column } => {
                    let Some(document) = self.next_of_files(files, column)? else { break };
                    // An empty document counts too, or a file of them would never fill a batch.
                    held += (document.len() + size_of::<String>()) as u64;
                    batch.push(document);
                }
            }
        }
        Ok(batch)
    }

    fn next_of_files(
        &mut self,
        files: &[(PathBuf, Format)],
        column: &str,
    ) -> Result<Option<String>, Error> {
        loop {
            if let Some(documents) = &mut self.open {
                if let Some(document) = documents.next()? {
                    return Ok(Some(document));
                }
                self.finished_bytes += documents.bytes_read();
                self.open = None;
            }
            let Some((path, format)) = files.get(self.next as usize) else { return Ok(None) };
            self.open = Some(Documents::open(path, *format, column)?);
            self.next += 1;
        }
    }

    /// Bytes of text read so far.
    pub(crate) fn done_bytes(&self) -> u64 {
        self.finished_bytes + self.open.as_ref().map_or(0, Documents::bytes_read)
    }

    /// Bytes of all files; `None` for generated text.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }
}
