//! How the documents of a file are told apart, by its name.

use std::fs::File;
use std::path::Path;

use super::error::Error;

/// What a data file holds, and how it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) kind: Kind,
    pub(crate) compression: Compression,
}

/// How documents stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `.txt`: documents ended by a line `<|endoftext|>`.
    Text,
    /// `.jsonl`, `.ndjson`, `.json`: an object a line.
    JsonLines,
    /// `.parquet`.
    Parquet,
}

/// How a file's bytes are packed as a whole. (Parquet packs its pages itself.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`, `.zstd`.
    Zstd,
}

impl Format {
    /// The format by the extensions of a name, in any case; `None` if it is not one that is read.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let (rest, compression) = match lower.rsplit_once('.')? {
            (rest, "gz") => (rest, Compression::Gzip),
            (rest, "zst" | "zstd") => (rest, Compression::Zstd),
            _ => (lower.as_str(), Compression::None),
        };
        let (stem, extension) = rest.rsplit_once('.')?;
        if stem.is_empty() || stem.ends_with('/') {
            return None; // `.txt` is a hidden file without an extension.
        }
        let kind = match extension {
            "txt" => Kind::Text,
            "jsonl" | "ndjson" | "json" => Kind::JsonLines,
            "parquet" if compression == Compression::None => Kind::Parquet,
            _ => return None,
        };
        Some(Self { kind, compression })
    }

    /// The format of a file.
    ///
    /// # Errors
    /// If it is none that is read.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        Self::of_name(&path.to_string_lossy())
            .ok_or_else(|| Error::Format { path: path.to_owned() })
    }

    /// Whether it is Parquet.
    pub(crate) fn is_parquet(self) -> bool {
        self.kind == Kind::Parquet
    }

    /// The kind as it enters identities; the compression does not, since the packed bytes do.
    pub(crate) fn word(self) -> &'static str {
        match self.kind {
            Kind::Text => "txt",
            Kind::JsonLines => "jsonl",
            Kind::Parquet => "parquet",
        }
    }
}

/// Opens a file that holds something; with its length.
///
/// # Errors
/// If it cannot be read, is a folder, or is empty.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Error> {
    let file = File::open(path).map_err(|e| Error::input_file(path, e))?;
    let metadata = file.metadata().map_err(|e| Error::input_file(path, e))?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    match metadata.len() {
        0 => Err(Error::Empty { path: path.to_owned() }),
        len => Ok((file, len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_tell_kind_and_compression() {
        for (name, kind, compression) in [
            ("a.txt", Kind::Text, Compression::None),
            ("A.TXT.GZ", Kind::Text, Compression::Gzip),
            ("x/c4-train.00000-of-01024.json.gz", Kind::JsonLines, Compression::Gzip),
            ("a.jsonl.zst", Kind::JsonLines, Compression::Zstd),
            ("a.ndjson", Kind::JsonLines, Compression::None),
            ("train-00000-of-00004-ab.parquet", Kind::Parquet, Compression::None),
        ] {
            assert_eq!(Format::of_name(name), Some(Format { kind, compression }), "{name}");
        }
        for name in ["a", "a.csv", "a.gz", "a.parquet.gz", ".txt", "x/.jsonl", "a.txt.bz2"] {
            assert_eq!(Format::of_name(name), None, "{name}");
        }
    }
}
