//! The evaluation of trained weights: as trained first, then transform by transform.

use std::sync::atomic::Ordering;

use super::board::Board;
use super::context::Context;
use super::executor::EvalSession;
use super::kept::Kept;
use super::observer::RunObserver;
use super::state::chunks_to_do;
use super::streams::read_into;
use super::{Error, executor};
use crate::eval;
use crate::plan::{Chunks, Coverage, eval_id};
use crate::results::{ChunkLoss, DataIdentity, Record, Status, Training, store};

/// What run.json says of a run besides its evaluation.
pub struct Outcome {
    /// What was trained.
    pub training: Training,
    /// The token streams.
    pub data: DataIdentity,
}

/// Evaluates what is missing, and writes eval.jsonl and run.json: after the frequencies as
/// trained, and after every transform. In between, chunks are kept beside the checkpoints ([`Kept`]).
/// False if a signal came before all was done. `held` is the record that is added to.
///
/// # Errors
/// [`Error::OtherChunks`] if the chunks that are held are not those of its metrics; files, a device.
pub fn evaluate(
    context: &Context<'_>,
    held: Option<&Record>,
    outcome: &Outcome,
    device_class: &str,
    session: &mut dyn EvalSession,
    board: &mut Board,
    observer: &mut dyn RunObserver,
) -> Result<bool, Error> {
    let run = context.run;
    let validation = &context.streams.validation;
    // Lines of an attempt that was killed before run.json are the same as those made again.
    let mut lines = if held.is_some() { store::read_eval(context.dir)? } else { Vec::new() };
    same_metrics(context, held, &lines)?;
    let coverage = held.and_then(coverage_of).unwrap_or_default();
    let parts = parts(context, &coverage, &lines);
    let mut covered = Coverage::default();
    for part in &parts {
        let there = coverage.0.get(&part.transform).cloned().unwrap_or_default();
        let there = there.into_iter().filter(|(length, _)| part.chunks.contains_key(length));
        covered.0.insert(part.transform.clone(), there.collect());
    }
    let of = parts.iter().map(|part| part.todo.len()).sum();
    let last = parts.len() - 1;
    let held_lines = lines.len();
    let weights = outcome.training.weights.as_deref();
    let mut kept = weights.map(|weights| Kept::open(context, device_class, weights));
    let mut done = 0;
    let mut set = run.config.freq.vec_id.as_str();
    let mut tokens = Vec::new();
    for (i, Part { transform, chunks, todo }) in parts.into_iter().enumerate() {
        let name = transform.as_deref();
        for (length, chunk) in &todo {
            let there = kept.as_mut().and_then(|kept| kept.take(name, *length, *chunk));
            if let Some(line) = there {
                lines.push(line);
                done += 1;
                continue;
            }
            if context.stop.load(Ordering::Relaxed) {
                return stopped(kept, &lines[held_lines..]);
            }
            observer.evaluating(name.map(|t| run.point.transform_name(t)), *length, done, of);
            let sets = run.sets(name, *length).expect("others are not to do");
            if sets.vec_id != set {
                session.set_freq(sets)?;
                set = &sets.vec_id;
            }
            tokens.clear();
            read_into(validation, chunk * length, *length, &mut tokens);
            let losses = match context.lane.run(|| session.losses(&tokens)) {
                Err(executor::Error::Stopped) => return stopped(kept, &lines[held_lines..]),
                losses => losses?,
            };
            let train_len = run.point.resolved.protocol.train.seq_len;
            let line = eval::chunk_loss(*length, *chunk, &losses, train_len);
            lines.push(ChunkLoss { transform: transform.clone(), ..line });
            done += 1;
            if let Some(kept) = &mut kept {
                kept.save_if_due(&lines[held_lines..])?;
            }
        }
        covered.0.insert(transform, chunks);
        if !todo.is_empty() || i == last {
            // Chunks that were not there are now, and may not be those that were.
            same_metrics(context, held, &lines)?;
            let record = record(context, outcome, &covered, &lines);
            store::write_eval(context.dir, &lines)?;
            if i == last {
                // Before the record, after which nothing of the run is done again. What is held of
                // later transforms may grow until then.
                board.evaluated(&record, |transform| run.point.transform_name(transform))?;
            }
            store::write_record(context.dir, &record)?;
        }
    }
    Ok(true)
}

/// Keeps the chunks of an attempt that a signal ends.
fn stopped(kept: Option<Kept>, chunks: &[ChunkLoss]) -> Result<bool, Error> {
    if let Some(mut kept) = kept {
        kept.save(chunks)?;
    }
    Ok(false)
}

/// What a record's evaluation covers.
fn coverage_of(record: &Record) -> Option<Coverage> {
    record.evaluation.as_ref().map(Coverage::read)
}

/// Refuses chunks whose metrics are not those of the record: what is written next would replace them.
/// A length of which chunks are missing is not looked at.
fn same_metrics(
    context: &Context<'_>,
    held: Option<&Record>,
    lines: &[ChunkLoss],
) -> Result<(), Error> {
    let Some(record) = held else { return Ok(()) };
    for (transform, chunks) in coverage_of(record).unwrap_or_default().0 {
        let name = transform.as_deref();
        let own = eval::evaluations(lines, name, &chunks);
        for (length, was) in record.results(name).into_iter().flatten() {
            let is = own.get(length).filter(|is| is.chunks >= was.chunks && *is != was);
            if let Some(is) = is {
                let under = name.map_or(String::new(), |name| format!(" under {name}"));
                return Err(Error::OtherChunks {
                    path: context.dir.eval(),
                    at: format!("{length}{under}"),
                    was: was.to_string(),
                    is: is.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// The evaluation under one transform.
struct Part {
    /// Its canonical expression; `None` as trained.
    transform: Option<String>,
    /// What it will cover, chunks by length.
    chunks: Chunks,
    /// What is missing, as (length, chunk).
    todo: Vec<(u64, u64)>,
}

/// What is held and what the spec asks for, as trained first. What the spec has dropped is kept
/// as far as it is there; it could not be made again.
fn parts(context: &Context<'_>, held: &Coverage, lines: &[ChunkLoss]) -> Vec<Part> {
    let run = context.run;
    let wanted = held.union(&Coverage::read(&run.point.identity.evaluation));
    let parts = wanted.0.into_iter().filter_map(|(transform, mut chunks)| {
        let name = transform.as_deref();
        let mut todo = chunks_to_do(name, &chunks, lines, context.streams.validation.len());
        let lost = |length: u64, todo: &[(u64, u64)]| {
            run.sets(name, length).is_none() && todo.iter().any(|(l, _)| *l == length)
        };
        chunks.retain(|&length, _| !lost(length, &todo));
        todo.retain(|(length, _)| chunks.contains_key(length));
        let empty = transform.is_some() && chunks.is_empty();
        (!empty).then_some(Part { transform, chunks, todo })
    });
    parts.collect()
}

/// What run.json says once so much is evaluated.
fn record(
    context: &Context<'_>,
    outcome: &Outcome,
    covered: &Coverage,
    lines: &[ChunkLoss],
) -> Record {
    let (training, data) = (outcome.training.clone(), outcome.data.clone());
    let mut record = context.record(Status::Done, training, data);
    let evaluation = covered.of_part(&context.run.point.identity.evaluation);
    record.eval_id = eval_id(&record.train_id, &evaluation);
    let covered = covered.0.iter().filter(|(of, chunks)| of.is_none() || !chunks.is_empty());
    for (transform, chunks) in covered {
        let metrics = eval::evaluations(lines, transform.as_deref(), chunks);
        match transform {
            None => record.eval = metrics,
            Some(transform) => {
                record.transforms.insert(transform.clone(), metrics);
            }
        }
    }
    record.evaluation = Some(evaluation);
    record
}
