//! Content hashes as the hub gives them: sha256 of large files, git's hash of the others. Mirrors that
//! keep files in their own way give a plain sha1 or an md5 as entity tag instead.

use std::io::{self, Read};
use std::path::Path;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The hash of a file's content, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ContentHash {
    /// sha256 of the bytes: files in large-file storage.
    Sha256(String),
    /// git's blob hash, sha1 of a header with the length and the bytes: all other files. A plain sha1
    /// looks the same, and is taken too.
    Git(String),
    /// md5 of the bytes: the entity tag of object stores.
    Md5(String),
}

impl ContentHash {
    /// By its length: 64 digits are a sha256, 40 a git hash, 32 an md5. `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("W/").trim_matches('"').to_lowercase();
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match text.len() {
            64 => Some(Self::Sha256(text)),
            40 => Some(Self::Git(text)),
            32 => Some(Self::Md5(text)),
            _ => None,
        }
    }

    /// The digits alone: the name of the file in the cache folder.
    pub(crate) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) | Self::Md5(digits) => digits,
        }
    }

    /// With the kind, as manifests have it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Sha256(digits) => format!("sha256:{digits}"),
            Self::Git(digits) => format!("git:{digits}"),
            Self::Md5(digits) => format!("md5:{digits}"),
        }
    }

    /// Whether a file of `len` bytes has this hash; reads it whole.
    pub(crate) fn holds(&self, path: &Path, len: u64) -> io::Result<bool> {
        let mut hasher = Hasher::new(self, len);
        let mut file = std::fs::File::open(path)?;
        hasher.read(&mut file)?;
        Ok(hasher.finish(self).is_ok())
    }
}

/// A hash in the making.
pub(crate) enum Hasher {
    /// sha256.
    Sha256(Sha256),
    /// git's, and the plain sha1 that looks like it.
    Git(Sha1, Sha1),
    /// md5.
    Md5(Md5),
}

impl Hasher {
    /// The hasher of a kind for content of `len` bytes.
    pub(crate) fn new(kind: &ContentHash, len: u64) -> Self {
        match kind {
            ContentHash::Sha256(_) => Self::Sha256(Sha256::new()),
            ContentHash::Git(_) => {
                let mut sha1 = Sha1::new();
                sha1.update(format!("blob {len}\0"));
                Self::Git(sha1, Sha1::new())
            }
            ContentHash::Md5(_) => Self::Md5(Md5::new()),
        }
    }

    /// Takes in bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(git, plain) => {
                git.update(bytes);
                plain.update(bytes);
            }
            Self::Md5(hasher) => hasher.update(bytes),
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

    /// Whether the content has that hash; the one that it has, in hexadecimal, if not.
    pub(crate) fn finish(self, expected: &ContentHash) -> Result<(), String> {
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
        };
        let found = match self {
            Self::Sha256(hasher) => vec![hex(&hasher.finalize())],
            Self::Git(git, plain) => vec![hex(&git.finalize()), hex(&plain.finalize())],
            Self::Md5(hasher) => vec![hex(&hasher.finalize())],
        };
        match found.iter().any(|found| found == expected.digits()) {
            true => Ok(()),
            false => Err(found.into_iter().next().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_those_of_the_tools_that_made_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        // `git hash-object`, `sha256sum`, `sha1sum` and `md5sum` of that file.
        for digits in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "f572d396fae9206628714fb2ce00f72e94f2258f",
            "b1946ac92492d2347c6235b4d2611184",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let hash = ContentHash::parse(&format!("\"{digits}\"")).unwrap();
            assert!(hash.holds(file.path(), 6).unwrap());
            let other = ContentHash::parse(&digits.replace('6', "7")).unwrap();
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
