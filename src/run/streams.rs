//! The token streams of a plan's points, each opened once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::Error;
use super::interpret::{Observer, Options};
use crate::data::{self, SplitKind, TokenStream};
use crate::plan::{Point, steps_problem};

/// The token streams of a point.
#[derive(Clone)]
pub struct Streams {
    /// Training tokens; only opened if something is to be trained.
    pub train: Option<Arc<TokenStream>>,
    /// Validation tokens.
    pub validation: Arc<TokenStream>,
}

/// The streams that are open, by protocol id.
#[derive(Default)]
pub struct Opened(Mutex<BTreeMap<String, Streams>>);

impl Opened {
    /// The streams of a point and the steps that they give.
    ///
    /// # Errors
    /// Data that cannot be had, or that does not give what the spec asks for.
    pub fn open(
        &self,
        point: &Point,
        needs_training: bool,
        options: &Options<'_>,
        observer: &dyn Observer,
    ) -> Result<(Streams, u64), Error> {
        let protocol = &point.resolved.protocol;
        let mut opened = self.0.lock().expect("no code panics while it holds the streams");
        if !opened.contains_key(&point.protocol_id) {
            let validation = Arc::new(validation(point, options, observer)?);
            let streams = Streams { train: None, validation };
            opened.insert(point.protocol_id.clone(), streams);
        }
        let streams = opened.get_mut(&point.protocol_id).expect("inserted above");
        if needs_training && streams.train.is_none() {
            observer.preparing(SplitKind::Train);
            let train = data::prepare(&protocol.data, SplitKind::Train, options.cache, observer)?;
            if let Some(problem) = steps_problem(&protocol.train, train.len()) {
                return Err(Error::Input(problem));
            }
            check_ids(&train, protocol.model.vocab_size, "training")?;
            streams.train = Some(Arc::new(train));
        }
        let steps = streams.train.as_ref().map_or(0, |train| protocol.train.steps(train.len()));
        Ok((streams.clone(), steps))
    }
}

fn validation(
    point: &Point,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<TokenStream, Error> {
    let protocol = &point.resolved.protocol;
    observer.preparing(SplitKind::Validation);
    let validation = data::prepare(&protocol.data, SplitKind::Validation, options.cache, observer)?;
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
