//! The token streams of a plan's points, each opened once, and held to what lock.json knows of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;

use super::Error;
use super::observer::Observer;
use crate::data::{self, Cache, Order, Pins, SplitKind, TokenStream};
use crate::plan::{Point, Run, steps_problem};
use crate::results::{Lock, SharedDocuments, TokenData};

/// The token streams of a point.
#[derive(Clone)]
pub struct Streams {
    /// Training tokens; only opened if something is to be trained.
    pub train: Option<Arc<TokenStream>>,
    /// Validation tokens.
    pub validation: Arc<TokenStream>,
}

/// The batches of a run: the rows of each step, and their tokens.
pub struct Batches<'a> {
    tokens: &'a TokenStream,
    order: Order,
    seq_len: u64,
}

impl<'a> Batches<'a> {
    /// Those of a run on these tokens.
    ///
    /// # Errors
    /// Data without a whole batch.
    pub fn new(run: &Run<'_>, tokens: &'a TokenStream) -> Result<Self, Error> {
        let train = &run.point.resolved.protocol.train;
        let rows = tokens.rows(train.seq_len);
        let order = Order::new(train.order, run.seed, rows, train.batch_size)?;
        Ok(Self { tokens, order, seq_len: train.seq_len })
    }

    /// Makes `out` the tokens of a step.
    pub fn read(&self, step: u64, out: &mut Vec<u32>) {
        out.clear();
        for row in self.order.batch(step) {
            read_into(self.tokens, row * self.seq_len, self.seq_len, out);
        }
    }
}

/// Appends `len` tokens from `start`, which are there: rows and chunks are cut to fit.
pub fn read_into(stream: &TokenStream, start: u64, len: u64, out: &mut Vec<u32>) {
    let at = out.len();
    out.resize(at + usize::try_from(len).expect("a row fits into memory"), 0);
    assert!(stream.copy_to(start, &mut out[at..]), "rows and chunks end inside the stream");
}

/// The streams that are open, by protocol id.
#[derive(Default)]
pub struct Opened {
    streams: Mutex<BTreeMap<String, Streams>>,
    /// What lock.json knew before.
    known: BTreeMap<String, TokenData>,
    found: Mutex<Found>,
}

/// What is to stand in lock.json of the streams that were opened.
#[derive(Debug, Default)]
struct Found {
    data: BTreeMap<String, TokenData>,
    overlap: BTreeMap<String, SharedDocuments>,
}

impl Opened {
    /// Nothing open yet; `lock` is the experiment's, if it has one.
    #[must_use]
    pub fn new(lock: Option<&Lock>) -> Self {
        let known = lock.map(|lock| lock.data.clone()).unwrap_or_default();
        Self { known, ..Self::default() }
    }

    /// The streams of a point and the steps that they give.
    ///
    /// # Errors
    /// Data that cannot be had, that does not give what the spec asks for, or that is not what it
    /// was when the experiment's first run began.
    pub fn open(
        &self,
        point: &Point,
        needs_training: bool,
        cache: &Cache,
        observer: &dyn Observer,
    ) -> Result<(Streams, u64), Error> {
        let protocol = &point.resolved.protocol;
        let mut opened = self.streams.lock().expect("no code panics while it holds the streams");
        if !opened.contains_key(&point.protocol_id) {
            let validation = Arc::new(self.validation(point, cache, observer)?);
            let streams = Streams { train: None, validation };
            opened.insert(point.protocol_id.clone(), streams);
        }
        let streams = opened.get_mut(&point.protocol_id).expect("inserted above");
        if needs_training && streams.train.is_none() {
            let beside = Some(streams.validation.as_ref());
            let train = self.prepare(point, SplitKind::Train, beside, cache, observer)?;
            if let Some(problem) = steps_problem(&protocol.train, train.len()) {
                return Err(Error::Input(problem));
            }
            check_ids(&train, protocol.model.vocab_size, "training")?;
            self.compare(point, &train, &streams.validation, observer)?;
            streams.train = Some(Arc::new(train));
        }
        let steps = streams.train.as_ref().map_or(0, |train| protocol.train.steps(train.len()));
        Ok((streams.clone(), steps))
    }

    fn validation(
        &self,
        point: &Point,
        cache: &Cache,
        observer: &dyn Observer,
    ) -> Result<TokenStream, Error> {
        let protocol = &point.resolved.protocol;
        let validation = self.prepare(point, SplitKind::Validation, None, cache, observer)?;
        for &length in &protocol.eval.lengths {
            if validation.len() < length {
                return Err(Error::Input(format!(
                    "the validation text has {} tokens: not one chunk of length {length}; give \
                     [data.validation] more text or drop {length} from [eval] lengths",
                    validation.len()
                )));
            }
        }
        check_ids(&validation, protocol.model.vocab_size, "validation")?;
        Ok(validation)
    }

    /// The tokens of a split, which must be those that lock.json has.
    fn prepare(
        &self,
        point: &Point,
        kind: SplitKind,
        beside: Option<&TokenStream>,
        cache: &Cache,
        observer: &dyn Observer,
    ) -> Result<TokenStream, Error> {
        observer.preparing(kind);
        let config = &point.resolved.protocol.data;
        let key = TokenData::key(identity(point, kind));
        let known = self.known.get(&key);
        let pins = pins(&self.known, point, kind, beside);
        let stream = data::prepare(config, kind, cache, &pins, observer)?;
        if let Some(known) = known.filter(|known| known.id != stream.id()) {
            return Err(Error::OtherTokens {
                split: kind.word(),
                was: format!("{} tokens, {}", known.tokens, known.id),
                is: format!("{} tokens, {}", stream.len(), stream.id()),
            });
        }
        let Pins { dataset: revision, tokenizer: tokenizer_revision } = pins_of(&stream);
        let found = TokenData {
            id: stream.id().to_owned(),
            tokens: stream.len(),
            documents: stream.documents(),
            revision,
            tokenizer_revision,
        };
        self.found().data.insert(key, found);
        Ok(stream)
    }

    /// Looks for validation documents that are training documents too.
    fn compare(
        &self,
        point: &Point,
        train: &TokenStream,
        validation: &TokenStream,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        let shared = data::overlap(train, validation)?;
        observer.overlap(&shared);
        let data::Overlap { documents, of_documents, tokens, of_tokens } = shared;
        let shared = SharedDocuments { documents, of_documents, tokens, of_tokens };
        let key = SharedDocuments::key(&point.identity.training, &point.identity.evaluation);
        self.found().overlap.insert(key, shared);
        Ok(())
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().expect("no code panics while it holds what was found")
    }

    /// Puts what was found into a lock.json; true if it had not all of it.
    pub fn record(&self, lock: &mut Lock) -> bool {
        let found = self.found();
        let mut changed = false;
        for (key, data) in &found.data {
            changed |= lock.data.insert(key.clone(), data.clone()).as_ref() != Some(data);
        }
        for (key, shared) in &found.overlap {
            changed |= lock.overlap.insert(key.clone(), *shared).as_ref() != Some(shared);
        }
        changed
    }
}

/// The commits that a split's tokens must be of: those that lock.json has (`known`), or else those of
/// the split `beside`, so that both are of one state of the hub.
#[must_use]
pub fn pins(
    known: &BTreeMap<String, TokenData>,
    point: &Point,
    kind: SplitKind,
    beside: Option<&TokenStream>,
) -> Pins {
    let known = known.get(&TokenData::key(identity(point, kind)));
    let other = beside.map(pins_of).unwrap_or_default();
    Pins {
        dataset: known.and_then(|known| known.revision.clone()).or(other.dataset),
        tokenizer: known.and_then(|known| known.tokenizer_revision.clone()).or(other.tokenizer),
    }
}

/// What the tokens of a split depend on.
fn identity(point: &Point, kind: SplitKind) -> &Json {
    match kind {
        SplitKind::Train => &point.identity.training["data"],
        SplitKind::Validation => &point.identity.evaluation["data"],
    }
}

/// The commits that a stream is of.
fn pins_of(stream: &TokenStream) -> Pins {
    Pins {
        dataset: stream.revision().map(str::to_owned),
        tokenizer: stream.tokenizer_revision().map(str::to_owned),
    }
}

fn check_ids(stream: &TokenStream, vocab_size: usize, what: &str) -> Result<(), Error> {
    if (stream.largest_id() as usize) < vocab_size {
        return Ok(());
    }
    Err(Error::Input(format!(
        "the {what} text has the token id {}, vocab_size is {vocab_size}: set [model] vocab_size \
         to at least {}",
        stream.largest_id(),
        u64::from(stream.largest_id()) + 1
    )))
}
