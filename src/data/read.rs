//! The documents of one file, in order, whatever its format.

use std::path::Path;

use super::error::Error;
use super::format::{Format, Kind};
use super::lines::Lines;
use super::parquet::Rows;

/// The documents of a file, streamed.
pub(crate) enum Documents {
    /// Text, plain or compressed.
    Lines(Box<Lines>),
    /// Parquet.
    Rows(Box<Rows>),
}

impl Documents {
    /// Opens a file; `column` is the text column of `.jsonl` and Parquet.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or has no such column.
    pub(crate) fn open(path: &Path, format: Format, column: &str) -> Result<Self, Error> {
        Ok(match format.kind {
            Kind::Text | Kind::JsonLines => {
                Self::Lines(Box::new(Lines::open(path, format, column)?))
            }
            Kind::Parquet => Self::Rows(Box::new(Rows::open(path, column)?)),
        })
    }

    /// The next document, or `None` at the end of the file.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Error> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Rows(rows) => rows.next(),
        }
    }

    /// About how many bytes of the file were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.bytes_read(),
            Self::Rows(rows) => rows.bytes_read(),
        }
    }
}
