//! What can go wrong with data: where, what, and what to do about it.

use std::path::{Path, PathBuf};

use crate::fs;

/// Whose problem an [`Error`] is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The spec or the text it names (exit 2).
    Input,
    /// Disk, network, permission (exit 3).
    Environment,
    /// Data that is not what it says it is (exit 4).
    Integrity,
    /// A signal: nothing is wrong (exit 75).
    Stopped,
}

/// A failure to read, tokenise or store data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the spec names is not there.
    #[error("`{}` does not exist; check the path (relative paths start at the spec's folder)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A path that is a folder or another thing without text in it.
    #[error("`{}` is not a file; name its files, or use a glob such as `{}/*.txt`", path.display(), path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file of a kind that is not read.
    #[error(
        "`{}` is not a format that xp reads; give .txt, .jsonl (also .json, .ndjson) or .parquet files, text also as .gz or .zst",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A compressed text file that is damaged.
    #[error("`{}` is not a sound {packing} file: {reason}; fetch or write it again", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// `gzip` or `zstd`.
        packing: &'static str,
        /// What the decompressor says.
        reason: String,
    },
    /// A Parquet file that is damaged, or uses what is not read.
    #[error("`{}` is not a Parquet file that can be read: {reason}; fetch or write it again", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A Parquet file without the text column, or with something else in it.
    #[error("`{}`: {problem}; set `text_column` in [data] to the column that holds the text (here: {present})", path.display())]
    ParquetColumn {
        /// The file.
        path: PathBuf,
        /// What is wrong with the column.
        problem: String,
        /// The columns that hold strings.
        present: String,
    },
    /// A row of a Parquet file whose text cannot be used.
    #[error("`{}`: row {row} {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: u64,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A file of zero bytes.
    #[error("`{}` is empty; remove it from `files`, or write it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// No text at all in a split.
    #[error("the {split} split has no text: {what}")]
    NoText {
        /// `train` or `validation`.
        split: &'static str,
        /// What was looked at and what to do.
        what: String,
    },
    /// Bytes that are not UTF-8.
    #[error("`{}`:{line}: byte {offset} is not valid UTF-8; convert the file to UTF-8 (for example with iconv)", path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Offset in the file, from 0.
        offset: u64,
    },
    /// A document larger than is held in memory.
    #[error(
        "`{}`:{line}: the document that starts here is longer than {limit} bytes; end documents with a line `<|endoftext|>` (.txt) or put fewer bytes on a line (.jsonl)",
        path.display()
    )]
    DocumentTooLong {
        /// The file.
        path: PathBuf,
        /// Line where it starts, from 1.
        line: u64,
        /// The limit.
        limit: u64,
    },
    /// A line of a .jsonl file that is not a JSON object.
    #[error("`{}`:{line}: not a JSON object: {reason}; a .jsonl file has one object a line", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The parser's reason, with the column.
        reason: String,
    },
    /// A .jsonl line without the text column, or with something else in it.
    #[error("`{}`:{line}: {problem}; set `text_column` in [data] to the column that holds the text (here: {present})", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong with the column.
        problem: String,
        /// The columns of the line that hold strings.
        present: String,
    },
    /// The file changed while it was read.
    #[error("`{}` changed while it was read; run again when nothing writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The train split holds fewer tokens than asked for.
    #[error(
        "the train split holds {found} tokens, fewer than max_tokens = {wanted}; add text, or set `max_tokens` in [data.train] to at most {found}"
    )]
    TooFewTokens {
        /// Tokens that are there.
        found: u64,
        /// Tokens asked for.
        wanted: u64,
    },
    /// Something in the data tables that cannot be meant.
    #[error("{what}; {remedy}")]
    Config {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A `tokenizer.json` that cannot be used.
    #[error("tokenizer `{}`: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The tokenizer refused a document.
    #[error(
        "the tokenizer failed on document {document} of the {split} split: {reason}; look at that document, or take another tokenizer"
    )]
    Encode {
        /// Index of the document, from 0.
        document: u64,
        /// `train` or `validation`.
        split: &'static str,
        /// The library's reason.
        reason: String,
    },
    /// The machine, the network or the hub did not give what was asked.
    #[error("{what}; {remedy}")]
    Environment {
        /// What failed, with the address or folder.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// What every server of the hub sends is not what the revision holds.
    #[error("{what}; {remedy}")]
    Untrue {
        /// What differs, with the addresses.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A signal came while data was fetched or made.
    #[error("stopped on a signal; run the same command again to go on")]
    Stopped,
    /// A name that came from a hub and must not become a path.
    #[error(
        "the hub at {endpoint} sent {what} `{value}`, which is not safe as a file name; nothing was written. Check HF_ENDPOINT"
    )]
    Unsafe {
        /// The hub's address.
        endpoint: String,
        /// What it is.
        what: &'static str,
        /// What was sent.
        value: String,
    },
    /// A cached file that is wrong, and cannot be made again or is wrong again.
    #[error("`{}` {reason}, and cannot be made right here; check the disk, or set XP_CACHE and HF_HOME to folders on another one", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A cache entry of a later version.
    #[error("`{}` was written by a newer xp (format {found}, this one knows {known}); update xp, or remove the folder that holds it", path.display())]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A file of `xp data export` that is not one, or is damaged.
    #[error("`{}`: {reason}; export it again (xp data export SPEC FILE) and copy it whole", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A failed file operation.
    #[error(transparent)]
    File(#[from] fs::Error),
}

impl Error {
    /// Whose problem it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Environment { .. } | Self::File(_) => ErrorKind::Environment,
            Self::Corrupt { .. }
            | Self::Newer { .. }
            | Self::Unsafe { .. }
            | Self::Archive { .. }
            | Self::Untrue { .. } => ErrorKind::Integrity,
            Self::Stopped => ErrorKind::Stopped,
            _ => ErrorKind::Input,
        }
    }

    /// The error for a failed access to a file that the user named.
    pub(crate) fn input_file(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            std::io::ErrorKind::IsADirectory => Self::NotAFile { path: path.to_owned() },
            _ => Self::File(fs::Error { action: "read", path: path.to_owned(), source }),
        }
    }
}
