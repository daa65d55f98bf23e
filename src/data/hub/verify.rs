//! Content hashes as the hub gives them: sha256 of large files, git's hash of the others.

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The hash of a file's content, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ContentHash {
    /// sha256 of the bytes: files in large-file storage.
    Sha256(String),
    /// git's blob hash, sha1 of a header with the length and the bytes: all other files.
    Git(String),
}

impl ContentHash {
    /// By its length: 64 digits are a sha256, 40 a git hash. `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("W/").trim_matches('"').to_lowercase();
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match text.len() {
            64 => Some(Self::Sha256(text)),
            40 => Some(Self::Git(text)),
            _ => None,
        }
    }

    /// The digits alone: the name of the file in the cache folder.
    pub(crate) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }

    /// With the kind, as manifests have it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Sha256(digits) => format!("sha256:{digits}"),
            Self::Git(digits) => format!("git:{digits}"),
        }
    }

    /// Whether a file of `len` bytes has this hash; reads it whole.
    pub(crate) fn holds(&self, path: &Path, len: u64) -> io::Result<bool> {
        let mut hasher = Hasher::new(self, len);
        let mut file = std::fs::File::open(path)?;
        hasher.read(&mut file)?;
        Ok(hasher.finish() == self.digits())
    }
}

/// A hash in the making.
pub(crate) enum Hasher {
    /// sha256.
    Sha256(Sha256),
    /// git's.
    Git(Sha1),
}

impl Hasher {
    /// The hasher of a kind for content of `len` bytes.
    pub(crate) fn new(kind: &ContentHash, len: u64) -> Self {
        match kind {
            ContentHash::Sha256(_) => Self::Sha256(Sha256::new()),
            ContentHash::Git(_) => {
                let mut sha1 = Sha1::new();
                sha1.update(format!("blob {len}\0"));
                Self::Git(sha1)
            }
        }
    }

    /// Takes in bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    /// Takes in all of a reader; returns how much that was.
    pub(crate) fn read(&mut self, reader: &mut dyn Read) -> io::Result<u64> {
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            let n = reader.read(&mut buffer)?;
            if n == 0 {
                return Ok(total);
            }
            self.update(&buffer[..n]);
            total += n as u64;
        }
    }

    /// The hash in hexadecimal.
    pub(crate) fn finish(self) -> String {
        let hex =
            |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Git(hasher) => hex(&hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_those_of_the_tools_that_made_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        // `git hash-object` and `sha256sum` of that file.
        for digits in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let hash = ContentHash::parse(&format!("\"{digits}\"")).unwrap();
            assert!(hash.holds(file.path(), 6).unwrap());
            let other = ContentHash::parse(&digits.replace('9', "8")).unwrap();
            assert!(!other.holds(file.path(), 6).unwrap());
        }
    }

    #[test]
    fn what_is_no_hash_is_none() {
        for text in ["", "abc", "../../evil", &"g".repeat(40), &"a".repeat(41)] {
            assert_eq!(ContentHash::parse(text), None, "{text}");
        }
    }
}
