//! One run, from wherever it stands to `run.json`.

use super::Error;
use super::board::Board;
use super::context::Context;
use super::evaluate::{Outcome, evaluate};
use super::executor::Executor;
use super::observer::{Ending, RunObserver};
use super::provenance::{self, Log};
use super::state::{Inspection, State};
use super::streams::Streams;
use super::training::train;
use crate::fs;
use crate::model::Layout;
use crate::plan::comparable;
use crate::results::{self, Record, RunDir, Status, Training, store};
use crate::train::checkpoint;
use crate::train::weights;

/// Carries a run out.
///
/// # Errors
/// What stops this run: files, device, a checkpoint of another device class.
pub fn carry_out(
    context: &Context<'_>,
    inspection: &Inspection,
    executor: &dyn Executor,
    observer: &mut dyn RunObserver,
) -> Result<Ending, Error> {
    fs::remove_unfinished(context.dir.path())?;
    if let Some(record) = inspection.record.as_ref().filter(|record| record.status == Status::Done)
    {
        same_tokens(record, context.streams)?;
    }
    match inspection.state {
        State::Done => Ok(Ending::Done),
        State::Evaluate => evaluate_only(context, inspection, executor, observer),
        State::Resume { .. } | State::Todo => train(context, inspection, executor, observer),
    }
}

/// Removes what is left of a finished run's attempt that was killed after its record was written:
/// checkpoints and unfinished files.
///
/// # Errors
/// Files that cannot be read, written or removed.
pub fn tidy(dir: &RunDir, record: &Record) -> Result<(), Error> {
    let left = dir.checkpoint().exists() || !fs::unfinished(dir.path())?.is_empty();
    // Who holds the lock is about to do it.
    let Some(_lock) = left.then(|| fs::try_lock(&dir.lock())).transpose()?.flatten() else {
        return Ok(());
    };
    fs::remove_unfinished(dir.path())?;
    let steps = record.train.as_ref().map_or(0, |training| training.steps);
    let newest = checkpoint::list(&dir.checkpoint()).first().map(|newest| newest.step);
    let mut log = store::read_provenance(dir)?.unwrap_or_default();
    let interrupted = log.attempts.last().is_some_and(|last| last.outcome == "interrupted");
    // Without weights it may be trained again for another spec's lengths, and go on from there.
    let again = record.status == Status::Done && newest.is_some_and(|step| step < steps);
    if again || interrupted {
        return Ok(());
    }
    if provenance::end_running(&mut log, steps) {
        store::write_provenance(dir, &log)?;
    }
    Ok(checkpoint::clear(&dir.checkpoint())?)
}

/// Says on disk that a run failed, as far as the disk allows: the next call tries again.
pub fn record_failure(context: &Context<'_>, error: &Error) {
    let dir = context.dir;
    if let Ok(Some(mut provenance)) = store::read_provenance(dir) {
        provenance.error = Some(error.to_string());
        if let Some(attempt) = provenance.attempts.last_mut().filter(|a| a.outcome == "running") {
            attempt.outcome = "failed".into();
            attempt.end = Some(super::now());
            // The log of a training carried out again says nothing of how far this attempt came.
            let record = store::read_record(&dir.record());
            attempt.to_step = match record.is_ok_and(|record| record.status == Status::Done) {
                true => attempt.from_step,
                false => store::read_train(dir).map_or(0, |steps| steps.len() as u64),
            };
        }
        let _ = store::write_provenance(dir, &provenance);
    }
    if !dir.record().exists() && dir.path().exists() {
        let training = Training {
            steps: 0,
            tokens: 0,
            final_loss: None,
            init: None,
            weights: None,
            log: None,
        };
        let record = context.record(Status::Failed, training, context.data());
        let _ = store::write_record(dir, &record);
    }
}

fn evaluate_only(
    context: &Context<'_>,
    inspection: &Inspection,
    executor: &dyn Executor,
    observer: &mut dyn RunObserver,
) -> Result<Ending, Error> {
    let dir = context.dir;
    fs::create_dir_all(dir.path())?;
    let layout = Layout::new(&context.run.point.resolved.protocol.model);
    let mut record = inspection.record.clone();
    let mut source = None;
    if let Some(twin) = &inspection.twin {
        store::displace_imported(dir)?;
        record = Some(take_over(context, twin)?);
        source = Some(format!("trained as {}", relative(twin)));
    }
    let record = record.expect("evaluation follows a training, here or at a twin");
    let weights_of = inspection.twin.as_ref().unwrap_or(dir).weights();
    let other = |problem| Error::OtherWeights { path: weights_of.clone(), problem };
    let weights = weights::load(&weights_of, &layout).map_err(|error| match error {
        weights::Error::File(error) => Error::File(error),
        weights::Error::Format { reason, .. } => other(reason),
        weights::Error::Mismatch { problem, .. } => other(problem),
    })?;
    if let Some(was) = record.train.as_ref().and_then(|train| train.weights.clone()) {
        let is = weights::hash_of(&weights);
        if is != was {
            return Err(other(format!("their hash is {is}, not {was}")));
        }
    }
    let steps = record.train.as_ref().map_or(context.steps, |t| t.steps);
    let device_class = executor.device_class();
    let mut log = Log::begin(dir, &device_class, context.work(), steps, steps)?;
    let mut board = Board::open(dir, context.tensorboard, steps)?;
    if let Some(source) = &source {
        log.source(source.clone());
    }
    let mut session = executor.evaluate(&context.job(), weights)?;
    let outcome = Outcome {
        training: record.train.clone().expect("a trained run says what was trained"),
        data: record.data.clone().unwrap_or_else(|| context.data()),
    };
    let held = record.evaluation.is_some().then_some(&record);
    if !evaluate(context, held, &outcome, &device_class, session.as_mut(), &mut board, observer)? {
        log.end(steps, "interrupted")?;
        return Ok(Ending::Interrupted { step: steps });
    }
    log.device_memory(executor.peak_memory());
    log.end(steps, if source.is_some() { "taken-over" } else { "evaluated" })?;
    // That of a training whose evaluation was interrupted.
    checkpoint::clear(&dir.checkpoint())?;
    Ok(Ending::Done)
}

/// `experiment/config/seed-42` of a run's folder.
fn relative(dir: &RunDir) -> String {
    let parts: Vec<_> = dir.path().iter().rev().take(3).collect();
    parts.iter().rev().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Copies a twin's training here; the record comes last, with the evaluation.
fn take_over(context: &Context<'_>, twin: &RunDir) -> Result<Record, Error> {
    let dir = context.dir;
    let mut record = store::read_record(&twin.record())?;
    let copy = |from: &std::path::Path, to: &std::path::Path| -> Result<(), fs::Error> {
        if from.exists() {
            let bytes = fs::read(from)?;
            fs::write_atomic(to, &bytes)?;
        }
        Ok(())
    };
    let whole = |train| store::other_log(twin, train).is_ok_and(|other| other.is_none());
    if record.train.as_ref().is_none_or(whole) {
        copy(&twin.train(), &dir.train())?;
    }
    if context.keep_weights {
        // The weights of one train id never change, so a second name for them is enough.
        fs::link_atomic(&twin.weights(), &dir.weights())?;
    }
    let wanted = comparable(&context.run.point.identity.evaluation);
    // The weights are held to their hash: what is damaged or contradicts itself is evaluated anew.
    let sound =
        store::read_eval(twin).is_ok() && results::contradicting_chunks(twin, &record).is_none();
    if sound && record.evaluation.as_ref().map(comparable) == Some(wanted) {
        copy(&twin.eval(), &dir.eval())?;
    } else {
        record.evaluation = None;
    }
    Ok(record)
}

/// Refuses to add to a record what was measured on other tokens.
fn same_tokens(record: &Record, streams: &Streams) -> Result<(), Error> {
    let Some(data) = &record.data else { return Ok(()) };
    let train = streams.train.as_ref().map(|train| ("train", train, &data.train_tokens));
    let validation = ("validation", &streams.validation, &data.validation_tokens);
    for (split, stream, was) in train.into_iter().chain([validation]) {
        if !was.is_empty() && was != stream.id() {
            let (was, is) = (was.clone(), stream.id().to_owned());
            return Err(Error::OtherTokens { split, was, is });
        }
    }
    Ok(())
}
