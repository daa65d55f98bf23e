//! Token streams on disk: made once per identity, in parallel, in bounded memory.

use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::bpe;
use super::cache::Cache;
use super::config::{Config, Packing, Source, SplitKind, Tokenizer};
use super::entry::Made;
use super::error::Error;
use super::hub::Hub;
use super::identity::{self, ContentHashes, identity};
use super::overlap::DocumentList;
use super::progress::Progress;
use super::source::{Batches, Document, Text};
use super::stream::{DOCUMENTS, IdType, TokenFacts, TokenStream};
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

/// Commits that hub data and a hub tokenizer must be of, whatever their revisions mean now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// Of the dataset.
    pub dataset: Option<String>,
    /// Of the tokenizer's repository.
    pub tokenizer: Option<String>,
}

impl Pins {
    /// The config with the commits as its revisions, as far as it takes anything from the hub.
    pub(crate) fn pinned(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if let (Source::Hub { revision, .. }, Some(commit)) = (&mut config.source, &self.dataset) {
            revision.clone_from(commit);
        }
        let pin = &self.tokenizer;
        if let (Tokenizer::Hub { revision, .. }, Some(commit)) = (&mut config.tokenizer, pin) {
            revision.clone_from(commit);
        }
        config
    }

    /// Whether tokens with these facts are of the commits.
    fn agree(&self, facts: &TokenFacts) -> bool {
        let same = |pin: &Option<String>, is: &Option<String>| match (pin, is) {
            (Some(pin), Some(is)) => pin == is,
            _ => true,
        };
        same(&self.dataset, &facts.revision) && same(&self.tokenizer, &facts.tokenizer_revision)
    }
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
    pins: &Pins,
    progress: &dyn Progress,
) -> Result<TokenStream, Error> {
    let hub = Hub::from_env(cache.root(), &config.endpoints)?;
    prepare_with(config, kind, cache, &hub, pins, progress)
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
    pins: &Pins,
    progress: &dyn Progress,
) -> Result<TokenStream, Error> {
    let mut hashes = ContentHashes::default();
    let mut entry = cache.tokens(identity(config, kind, &mut hashes)?);
    let mut config = pins.pinned(config);
    // What is here may be of another commit than the results that are to be added to.
    if entry.facts::<TokenFacts>()?.is_some_and(|(facts, _)| !pins.agree(&facts)) {
        entry = cache.tokens(identity(&config, kind, &mut hashes)?);
    }
    let payload = entry.get_or_make(|file| {
        let text = Text::find(&config, kind, hub, progress)?;
        let revision = text.commit().map(str::to_owned);
        // From here on the commit is meant: a trained tokenizer is one of its text.
        config = Pins { dataset: revision.clone(), tokenizer: None }.pinned(&config);
        let (encoder, tokenizer_revision) = encoder(&config, cache, hub, &mut hashes, progress)?;
        let maker = Maker { config: &config, kind, encoder: &encoder, progress };
        let (facts, documents) = maker.make(&text, file, &mut hashes)?;
        hashes.check_unchanged()?;
        let facts = TokenFacts { revision, tokenizer_revision, ..facts };
        Ok(Made { facts, beside: vec![(DOCUMENTS, documents.into_bytes())] })
    })?;
    let stream = TokenStream::new(payload.map, payload.facts, payload.blake3, payload.folder);
    let wanted = config.split(kind).max_tokens.unwrap_or(0);
    if kind == SplitKind::Train && stream.len() < wanted {
        return Err(Error::TooFewTokens { found: stream.len(), wanted });
    }
    Ok(stream)
}

/// Makes a text into tokens.
struct Maker<'a> {
    config: &'a Config,
    kind: SplitKind,
    encoder: &'a Encoder,
    progress: &'a dyn Progress,
}

impl Maker<'_> {
    /// Encodes a text into `file`; the result does not depend on the number of threads, nor on
    /// where batches end, since every document is encoded on its own. The next batch is read
    /// while one is encoded.
    fn make(
        &self,
        text: &Text,
        file: &mut dyn Write,
        hashes: &mut ContentHashes,
    ) -> Result<(TokenFacts, DocumentList), Error> {
        let wanted = self.config.split(self.kind).max_tokens.unwrap_or(u64::MAX);
        let separator = self.separator()?;
        let mut facts = TokenFacts {
            tokens: 0,
            documents: 0,
            largest_id: 0,
            dtype: IdType::for_vocab(self.encoder.vocab_size()),
            revision: None,
            tokenizer_revision: None,
            files: Vec::new(),
        };
        let mut batches = Batches::new(text, self.progress)?;
        // Counts of each file; the batches know the rest of it.
        let mut counts: Vec<(u64, u64)> = Vec::new();
        let mut documents = DocumentList::default();
        let mut bytes = Vec::new();
        let mut batch = batches.next(batch_size(wanted))?;
        while facts.tokens < wanted && !batch.is_empty() {
            if self.progress.stopped() {
                return Err(Error::Stopped);
            }
            let size: u64 = batch.iter().map(|document| document.text.len() as u64).sum();
            // About a batch too many is encoded at the end: no more than could still be wanted, at
            // four bytes a token.
            let left = wanted.saturating_sub(facts.tokens + size / 4);
            let (encoded, ahead) = rayon::join(
                || batch.par_iter().map(|document| self.encode(document)).collect::<Vec<_>>(),
                || if left == 0 { Ok(Vec::new()) } else { batches.at_hand(batch_size(left)) },
            );
            let ahead = ahead?;
            for (document, result) in batch.iter().zip(encoded) {
                if facts.tokens >= wanted {
                    break;
                }
                let (hash, ids) = result.map_err(|reason| self.failed(facts.documents, reason))?;
                facts.documents += 1;
                let before = facts.tokens;
                for ids in [&ids, &separator] {
                    let ids = self.fitting(ids, facts.tokens, before);
                    facts.tokens += ids.len() as u64;
                    facts.largest_id = ids.iter().copied().fold(facts.largest_id, u32::max);
                    facts.dtype.write(ids, &mut bytes);
                }
                let tokens = facts.tokens - before;
                documents.push(&hash, tokens);
                if counts.len() <= document.file {
                    counts.resize(document.file + 1, (0, 0));
                }
                counts[document.file].0 += 1;
                counts[document.file].1 += tokens;
            }
            if facts.largest_id >= self.encoder.vocab_size() {
                let reason = format!("it gave id {}, past its vocabulary", facts.largest_id);
                return Err(self.failed(facts.documents, reason));
            }
            // A failed write is reported by the cache entry, with its path.
            file.write_all(&bytes).map_err(|source| fs::Error {
                action: "write",
                path: "tokens.bin".into(),
                source,
            })?;
            bytes.clear();
            self.progress.update(batches.done_bytes(), batches.total_bytes(), facts.tokens);
            batch = ahead;
            if batch.is_empty() && facts.tokens < wanted {
                batch = batches.next(batch_size(wanted - facts.tokens))?;
            }
        }
        if facts.tokens == 0 {
            let (kind, n) = (self.kind.word(), facts.documents);
            let what = format!(
                "{n} documents were read and gave no token; check the files of [data.{kind}] and `max_tokens`"
            );
            return Err(Error::NoText { split: kind, what });
        }
        facts.files = batches.into_files(hashes)?;
        for (file, (documents, tokens)) in facts.files.iter_mut().zip(counts) {
            (file.documents, file.tokens) = (documents, tokens);
        }
        // One that was opened for more than was needed in the end was not read.
        facts.files.retain(|file| file.documents > 0);
        Ok((facts, documents))
    }

    /// What of a document's ids goes to the stream, which has `tokens` and had `before` when the
    /// document began.
    fn fitting<'b>(&self, ids: &'b [u32], tokens: u64, before: u64) -> &'b [u32] {
        match self.config.packing {
            Packing::Aligned { row } if self.kind == SplitKind::Train => {
                let room = before / row * row + row - tokens;
                &ids[..ids.len().min(usize::try_from(room).unwrap_or(usize::MAX))]
            }
            _ => ids,
        }
    }

    fn encode(&self, document: &Document) -> Result<(blake3::Hash, Vec<u32>), String> {
        let ids = self.encoder.encode(&document.text)?;
        Ok((blake3::hash(document.text.as_bytes()), ids))
    }

    fn failed(&self, document: u64, reason: String) -> Error {
        Error::Encode { document, split: self.kind.word(), reason }
    }

    fn separator(&self) -> Result<Vec<u32>, Error> {
        let Some(separator) = &self.config.separator else { return Ok(Vec::new()) };
        self.encoder.encode(separator).map_err(|reason| Error::Config {
            what: format!("the tokenizer cannot encode the separator `{separator}`: {reason}"),
            remedy: "take another `separator` or tokenizer".to_owned(),
        })
    }
}

/// Text to read at once where so many tokens are still wanted.
fn batch_size(wanted: u64) -> u64 {
    wanted.saturating_mul(4).clamp(MIN_BATCH_BYTES, BATCH_BYTES)
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
        Tokenizer::File(path) => {
            let encoder = Encoder::from_file(path)?;
            // Results name it by its hash: an export of the model must still find it.
            let copy = cache.tokenizer_copy(&hashes.hash(path)?);
            if !copy.exists() {
                fs::write_atomic(&copy, &fs::read(path)?)?;
            }
            Ok((encoder, None))
        }
        Tokenizer::Hub { id, revision } => {
            let file = hub.tokenizer(id, revision, progress)?;
            Ok((read_tokenizer(&file.path)?, Some(file.commit)))
        }
        Tokenizer::TrainBpe { vocab_size } => {
            check_trained_size(*vocab_size)?;
            let identity = identity::tokenizer(config, hashes)?;
            let entry = cache.trained_tokenizer(identity);
            let trained = entry.get_or_make(|file| {
                let json = train_bpe(config, hub, *vocab_size, progress)?;
                hashes.check_unchanged()?;
                file.write_all(&json).map_err(|source| fs::Error {
                    action: "write",
                    path: "tokenizer.json".into(),
                    source,
                })?;
                Ok(Made::alone(Value::Null))
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
    let text = Text::find(config, SplitKind::Train, hub, progress)?;
    let bound = match &text {
        Text::Files { .. } | Text::Hub { .. } => BPE_TEXT_BYTES,
        Text::Synthetic { .. } => BPE_GENERATED_BYTES,
    };
    let split = SplitKind::Train.word();
    let mut batches = Batches::new(&text, progress)?;
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
            read += batch[used].text.len() as u64;
            used += 1;
        }
        batch.truncate(used);
        let texts: Vec<String> = batch.into_iter().map(|document| document.text).collect();
        words.add(&texts).map_err(|(index, reason)| Error::Encode {
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
