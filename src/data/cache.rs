//! Where tokens and trained tokenizers are kept between runs.
//!
//! ```text
//! <cache>/tokens/<key>/       key = blake3 of the split's identity (canonical JSON)
//!   tokens.bin                ids, little endian, u16 if the vocabulary fits, else u32
//!   documents.bin             hash and number of tokens of every document
//!   manifest.json             version, hashes, lengths, identity, counts, files, resolved revisions
//!   lock                      held while they are made
//! <cache>/tokenizers/<key>/   the same for trained tokenizers: tokenizer.json
//! <cache>/tokenizers/files/   copies of local tokenizers: <blake3>.json
//! ```

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde_json::Value;

use super::entry::Entry;
use super::error::Error;

/// Where tokens and trained tokenizers are kept between runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in a folder; it is created when something is put in.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The user's cache: `XP_CACHE`, or else `xp` in the XDG cache folder.
    ///
    /// # Errors
    /// If neither is known.
    pub fn from_env() -> Result<Self, Error> {
        if let Some(root) = std::env::var_os("XP_CACHE").filter(|root| !root.is_empty()) {
            return Ok(Self::at(root));
        }
        let strategy = etcetera::choose_base_strategy().map_err(|_| Error::Environment {
            what: "no home folder, so no cache folder".to_owned(),
            remedy: "set XP_CACHE to a folder for tokens".to_owned(),
        })?;
        Ok(Self::at(strategy.cache_dir().join("xp")))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the copy of a local tokenizer is, by the hash of its content.
    pub fn tokenizer_copy(&self, blake3: &str) -> PathBuf {
        self.root.join("tokenizers/files").join(format!("{blake3}.json"))
    }

    /// The entry of a trained tokenizer.
    pub(crate) fn trained_tokenizer(&self, identity: Value) -> Entry {
        Entry::new(&self.root, "tokenizers", "tokenizer.json", identity)
    }

    pub(super) fn tokens(&self, identity: Value) -> Entry {
        Entry::new(&self.root, "tokens", "tokens.bin", identity)
    }
}
