//! Token streams on disk: made once per identity, in parallel, in bounded memory.
//!
//! ```text
//! <cache>/tokens/<key>/       key = blake3 of the split's identity (canonical JSON)
//!   tokens.bin                ids, little endian, u16 if the vocabulary fits, else u32
//!   manifest.json             version, hash, length, identity, counts, resolved revisions
//!   lock                      held while the two are made
//! <cache>/tokenizers/<key>/   the same for trained tokenizers: tokenizer.json
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use rayon::prelude::*;
use serde_json::Value;

use super::bpe;
use super::config::{Config, SplitKind, Tokenizer};
use super::entry::Entry;
use super::error::Error;
use super::hub::Hub;
use super::identity::{self, ContentHashes, identity};
use super::source::{self, Batches, Text};
use super::stream::{IdType, TokenFacts, TokenStream};
use super::tokenizer::{Encoder, check_trained_size, read_tokenizer};
use crate::fs;

/// Text encoded at once: the bound on memory, beside the largest document.
const BATCH_BYTES: u64 = 8 << 20;

/// A smaller batch is not worth starting threads for.
const MIN_BATCH_BYTES: u64 = 64 << 10;

/// A BPE is trained on so much text from the start of the train split.
const BPE_TEXT_BYTES: u64 = 64 << 20;

/// As [`BPE_TEXT_BYTES`] for generated text, whose vocabulary is seen whole much sooner.
const BPE_GENERATED_BYTES: u64 = 4 << 20;

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

    fn tokens(&self, identity: Value) -> Entry {
        Entry::new(&self.root, "tokens", "tokens.bin", identity)
    }
}

/// Watches tokens being made. Called from one thread at a time, a few times a second at most.
pub trait Progress: Sync {
    /// Text read and tokens made so far; `total_bytes` is `None` for generated text.
    fn update(&self, done_bytes: u64, total_bytes: Option<u64>, tokens: u64);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn update(&self, _: u64, _: Option<u64>, _: u64) {}
}

/// What is known of a stream without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Number of tokens.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// Largest id that occurs.
    pub largest_id: u32,
    /// blake3 of the stored tokens.
    pub id: String,
}

/// The tokens of a split: found in the cache, or made now.
///
/// Documents are appended until at least `max_tokens` are held; the last one is kept whole. The
/// content is verified on every call. A second caller, thread or process, waits for the first.
/// Not to be called from inside a rayon task: the file lock is held over parallel work, and a
/// task that this work picked up could wait for the lock of its own thread.
///
/// # Errors
/// If text or tokenizer cannot be had or used, the train split is shorter than `max_tokens`, or
/// the cache cannot be written.
pub fn prepare(
    config: &Config,
    kind: SplitKind,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<TokenStream, Error> {
    prepare_with(config, kind, cache, &Hub::from_env()?, progress)
}

/// What the cache knows of a split's tokens, without making or reading them.
///
/// # Errors
/// As [`identity()`], or if the cache entry cannot be read or is of a newer version.
pub fn cached(config: &Config, kind: SplitKind, cache: &Cache) -> Result<Option<TokenInfo>, Error> {
    let identity = identity(config, kind, &mut ContentHashes::default())?;
    let found = cache.tokens(identity).facts::<TokenFacts>()?;
    Ok(found.map(|(facts, id)| TokenInfo {
        tokens: facts.tokens,
        documents: facts.documents,
        largest_id: facts.largest_id,
        id,
    }))
}

pub(crate) fn prepare_with(
    config: &Config,
    kind: SplitKind,
    cache: &Cache,
    hub: &Hub,
    progress: &dyn Progress,
) -> Result<TokenStream, Error> {
    let mut hashes = ContentHashes::default();
    let entry = cache.tokens(identity(config, kind, &mut hashes)?);
    let payload = entry.get_or_make(|file| {
        let (encoder, tokenizer_revision) = encoder(config, cache, hub, &mut hashes, progress)?;
        let (text, revision) = source::find(config, kind, hub)?;
        let facts = tokenise(config, kind, &text, &encoder, file, progress)?;
        hashes.check_unchanged()?;
        Ok(TokenFacts { revision, tokenizer_revision, ..facts })
    })?;
    let stream = TokenStream::new(payload.map, payload.facts, payload.blake3);
    let wanted = config.split(kind).max_tokens.unwrap_or(0);
    if kind == SplitKind::Train && stream.len() < wanted {
        return Err(Error::TooFewTokens { found: stream.len(), wanted });
    }
    Ok(stream)
}

/// Encodes a text into `file`; the result does not depend on the number of threads, nor on
/// where batches end, since every document is encoded on its own.
fn tokenise(
    config: &Config,
    kind: SplitKind,
    text: &Text,
    encoder: &Encoder,
    file: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<TokenFacts, Error> {
    let wanted = config.split(kind).max_tokens.unwrap_or(u64::MAX);
    let failed =
        |document: u64, reason: String| Error::Encode { document, split: kind.word(), reason };
    let separator = match &config.separator {
        Some(separator) => encoder.encode(separator).map_err(|reason| Error::Config {
            what: format!("the tokenizer cannot encode the separator `{separator}`: {reason}"),
            remedy: "take another `separator` or tokenizer".to_owned(),
        })?,
        None => Vec::new(),
    };
    let mut facts = TokenFacts {
        tokens: 0,
        documents: 0,
        largest_id: 0,
        dtype: IdType::for_vocab(encoder.vocab_size()),
        revision: None,
        tokenizer_revision: None,
    };
    let mut batches = Batches::new(text)?;
    let mut bytes = Vec::new();
    while facts.tokens < wanted {
        // About a batch too many is encoded at the end: no more than could still be wanted, at
        // four bytes a token.
        let likely = (wanted - facts.tokens).saturating_mul(4);
        let batch = batches.next(likely.clamp(MIN_BATCH_BYTES, BATCH_BYTES))?;
        if batch.is_empty() {
            break;
        }
        let encoded: Vec<Result<Vec<u32>, String>> =
            batch.par_iter().map(|document| encoder.encode(document)).collect();
        for ids in encoded {
            if facts.tokens >= wanted {
                break;
            }
            let ids = ids.map_err(|reason| failed(facts.documents, reason))?;
            facts.documents += 1;
            for ids in [&ids, &separator] {
                facts.tokens += ids.len() as u64;
                facts.largest_id = ids.iter().copied().fold(facts.largest_id, u32::max);
                facts.dtype.write(ids, &mut bytes);
            }
        }
        if facts.largest_id >= encoder.vocab_size() {
            return Err(failed(
                facts.documents,
                format!("it gave id {}, past its vocabulary", facts.largest_id),
            ));
        }
        // A failed write is reported by the cache entry, with its path.
        file.write_all(&bytes).map_err(|source| fs::Error {
            action: "write",
            path: "tokens.bin".into(),
            source,
        })?;
        bytes.clear();
        progress.update(batches.done_bytes(), batches.total_bytes(), facts.tokens);
    }
    if facts.tokens == 0 {
        let what = format!(
            "{} documents were read and gave no token; check the files of [data.{}] and `max_tokens`",
            facts.documents,
            kind.word()
        );
        return Err(Error::NoText { split: kind.word(), what });
    }
    Ok(facts)
}

/// The encoder of a config, with the hub's commit if it comes from there.
fn encoder(
    config: &Config,
    cache: &Cache,
    hub: &Hub,
    hashes: &mut ContentHashes,
    progress: &dyn Progress,
) -> Result<(Encoder, Option<String>), Error> {
    match &config.tokenizer {
        Tokenizer::Bytes => Ok((Encoder::bytes(), None)),
        Tokenizer::File(path) => Ok((Encoder::from_file(path)?, None)),
        Tokenizer::Hub { id, revision } => {
            let file = hub.tokenizer(id, revision)?;
            Ok((read_tokenizer(&file.path)?, Some(file.commit)))
        }
        Tokenizer::TrainBpe { vocab_size } => {
            check_trained_size(*vocab_size)?;
            let identity = identity::tokenizer(config, hashes)?;
            let entry = Entry::new(&cache.root, "tokenizers", "tokenizer.json", identity);
            let trained = entry.get_or_make(|file| {
                let json = train_bpe(config, hub, *vocab_size, progress)?;
                hashes.check_unchanged()?;
                file.write_all(&json).map_err(|source| fs::Error {
                    action: "write",
                    path: "tokenizer.json".into(),
                    source,
                })?;
                Ok(Value::Null)
            })?;
            let path = Path::new("the trained tokenizer in the cache");
            Ok((Encoder::from_json(&trained.map, path)?, None))
        }
    }
}

/// Trains on the first [`BPE_TEXT_BYTES`] of the train split, in whole documents.
fn train_bpe(
    config: &Config,
    hub: &Hub,
    vocab_size: u32,
    progress: &dyn Progress,
) -> Result<Vec<u8>, Error> {
    let (text, _) = source::find(config, SplitKind::Train, hub)?;
    let bound = match &text {
        Text::Files { .. } => BPE_TEXT_BYTES,
        Text::Synthetic { .. } => BPE_GENERATED_BYTES,
    };
    let split = SplitKind::Train.word();
    let mut batches = Batches::new(&text)?;
    let mut words = bpe::WordCounts::default();
    let (mut read, mut documents) = (0, 0);
    while read < bound {
        let mut batch = batches.next(BATCH_BYTES.min(bound - read))?;
        if batch.is_empty() {
            break;
        }
        // Which documents are used must not depend on where batches end.
        let mut used = 0;
        while used < batch.len() && read < bound {
            read += batch[used].len() as u64;
            used += 1;
        }
        batch.truncate(used);
        words.add(&batch).map_err(|(index, reason)| Error::Encode {
            document: documents + index as u64,
            split,
            reason,
        })?;
        documents += used as u64;
        progress.update(batches.done_bytes(), batches.total_bytes(), 0);
    }
    bpe::train(words, vocab_size).map_err(|reason| Error::Config {
        what: format!("training a BPE of {vocab_size} ids failed: {reason}"),
        remedy: "take another size, or a ready tokenizer".to_owned(),
    })
}

#[cfg(test)]
mod tests;
