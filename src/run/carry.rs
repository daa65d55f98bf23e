//! One run, from wherever it stands to `run.json`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::board::{Board, StepScalars};
use super::evaluate::{Outcome, evaluate};
use super::executor::{Executor, Job, Start};
use super::interpret::RunObserver;
use super::lanes::Lane;
use super::provenance::{self, Log, Work};
use super::state::{Inspection, State};
use super::steps::Steps;
use super::streams::Streams;
use super::{Error, executor};
use crate::data::{Order, TokenStream};
use crate::fs;
use crate::model::Layout;
use crate::plan::{Coverage, Run, comparable, eval_id};
use crate::results::store;
use crate::results::{DataIdentity, Record, RunDir, Status, Step, Training};
use crate::train::checkpoint::{self, Arena, Owner};
use crate::train::weights;

/// How one run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Trained (or taken over) and evaluated.
    Done,
    /// The loss or the gradient stopped being finite.
    Diverged {
        /// The step at which it did.
        step: u64,
    },
    /// A signal came; a checkpoint is there.
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// An error; the message.
    Failed(String),
    /// Another process is at it.
    Locked,
}

/// When checkpoints are written.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointPolicy {
    /// Seconds between two.
    pub every: Duration,
    /// Steps between two, besides.
    pub every_steps: Option<u64>,
}

/// What carrying out a run needs to know.
pub struct Context<'a> {
    /// The run.
    pub run: &'a Run<'a>,
    /// Its folder.
    pub dir: &'a RunDir,
    /// Experiment name.
    pub experiment: &'a str,
    /// The tokens.
    pub streams: &'a Streams,
    /// Steps of the whole run.
    pub steps: u64,
    /// When to checkpoint.
    pub checkpoints: CheckpointPolicy,
    /// Whether the final weights stay.
    pub keep_weights: bool,
    /// Whether TensorBoard's events are written.
    pub tensorboard: bool,
    /// Whether to go on from a checkpoint of another device class.
    pub force: bool,
    /// The threads that it has.
    pub lane: &'a Lane<'a>,
    /// Runs that may be at work beside each other, this one among them.
    pub jobs: usize,
    /// Set by a signal.
    pub stop: &'a AtomicBool,
}

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

/// A run as the arithmetic sees it.
pub fn job<'a>(run: &'a Run<'_>, steps: u64) -> Job<'a> {
    Job { protocol: &run.point.resolved.protocol, freq: &run.config.freq, seed: run.seed, steps }
}

/// The rows of each step of a run.
fn order(run: &Run<'_>, tokens: &TokenStream) -> Result<Order, Error> {
    let train = &run.point.resolved.protocol.train;
    Ok(Order::new(train.order, run.seed, tokens.rows(train.seq_len), train.batch_size)?)
}

/// The tokens of a step's batch.
fn read_batch(run: &Run<'_>, tokens: &TokenStream, order: &Order, step: u64, out: &mut Vec<u32>) {
    let seq_len = run.point.resolved.protocol.train.seq_len;
    out.clear();
    for row in order.batch(step) {
        read_into(tokens, row * seq_len, seq_len, out);
    }
}

/// The tokens of a run's first step.
///
/// # Errors
/// Data without a whole batch.
pub fn first_batch(run: &Run<'_>, tokens: &TokenStream) -> Result<Vec<u32>, Error> {
    let mut batch = Vec::new();
    read_batch(run, tokens, &order(run, tokens)?, 0, &mut batch);
    Ok(batch)
}

fn train(
    context: &Context<'_>,
    inspection: &Inspection,
    executor: &dyn Executor,
    observer: &mut dyn RunObserver,
) -> Result<Ending, Error> {
    let dir = context.dir;
    fs::create_dir_all(dir.path())?;
    store::displace_imported(dir)?;
    let logged = store::read_train(dir).map_or(0, |steps| steps.len() as u64);
    let owner =
        Owner { train_id: context.run.train_id.clone(), device_class: executor.device_class() };
    let before = added_to(context, inspection, &owner.device_class)?;
    let job = job(context.run, context.steps);
    let initial = executor.initial(&job)?;
    let init = weights::hash_of(&initial);
    let (from, start) = match resume_point(context, &owner)? {
        Some(state) => (state.step, Start::Checkpoint(Box::new(state))),
        None => (0, Start::Fresh(initial)),
    };
    let mut session = executor.train(&job, start)?;
    let mut log = Log::begin(dir, &owner.device_class, work(context), from, logged)?;
    let mut steps = match before {
        Some(_) if !context.force => Steps::again(dir, from, context.steps)?,
        _ => Steps::open(dir, from)?,
    };
    let mut board = Board::open(dir, context.tensorboard, from)?;
    observer.training(from, context.steps);

    let protocol = &context.run.point.resolved.protocol.train;
    let tokens = context.streams.train.as_ref().expect("opened for runs that train");
    let order = order(context.run, tokens)?;
    let mut batch = Vec::new();
    let mut durations = Vec::new();
    let mut last_checkpoint = Instant::now();
    let mut last_loss = None;
    while session.position() < context.steps {
        let step = session.position();
        let began = Instant::now();
        read_batch(context.run, tokens, &order, step, &mut batch);
        let numbers = context.lane.run(|| session.step(&batch))?;
        let took = began.elapsed();
        durations.push(took);
        let finite = |x: f64| x.is_finite().then_some(x);
        let line = Step {
            step,
            lr: numbers.lr,
            loss: finite(numbers.loss),
            grad_norm: finite(numbers.grad_norm),
        };
        steps.take(&line)?;
        last_loss = line.loss;
        board.step(StepScalars {
            step,
            loss: numbers.loss,
            lr: numbers.lr,
            grad_norm: numbers.grad_norm,
            tokens_per_s: protocol.tokens(1) as f64 / took.as_secs_f64().max(1e-9),
        })?;
        observer.step(&line, context.steps, protocol.tokens(1), took);
        if line.loss.is_none() || line.grad_norm.is_none() {
            board.flush()?;
            log.error(format!("diverged at step {step}: the loss or the gradient is not finite"));
            return diverged(context, step, init, &steps, log);
        }
        let done = step + 1;
        let stopping = context.stop.load(Ordering::Relaxed);
        let due = last_checkpoint.elapsed() >= context.checkpoints.every
            || context.checkpoints.every_steps.is_some_and(|n| done.is_multiple_of(n));
        let last = done == context.steps;
        if due || stopping || last {
            steps.sync()?;
            let (to, layout) = (dir.checkpoint(), session.layout());
            let read = |arena, offset, out: &mut [f32]| {
                session.read(arena, offset, out).map_err(io::Error::other)
            };
            if last {
                // Stands in for the weights until run.json is there.
                let read = |offset, out: &mut [f32]| read(Arena::Weights, offset, out);
                checkpoint::save_trained(&to, &owner, layout, done, read)?;
            } else {
                checkpoint::save(&to, &owner, layout, done, read)?;
            }
            last_checkpoint = Instant::now();
        }
        if stopping && done < context.steps {
            board.flush()?;
            log.speed(&context.run.point.resolved.protocol, &mut durations);
            log.end(done, "interrupted")?;
            return Ok(Ending::Interrupted { step: done });
        }
    }
    board.flush()?;
    // A run resumed after its last step has no step of its own to take the loss from.
    let last_loss = match last_loss {
        Some(loss) => Some(loss),
        None => store::read_train(dir)?.last().and_then(|step| step.loss),
    };
    let read = |offset, out: &mut [f32]| session.read(Arena::Weights, offset, out);
    let hash = weights::hash(session.layout().len(), read)?;
    let training = Training {
        steps: context.steps,
        tokens: protocol.tokens(context.steps),
        final_loss: last_loss,
        init: Some(init),
        weights: Some(hash),
    };
    let held = match before {
        Some(record) => evaluation_held(context, record, &training)?,
        None => None,
    };
    if context.keep_weights {
        if let Some(file) = checkpoint::trained(&dir.checkpoint(), context.steps) {
            fs::link_atomic(&file, &dir.weights())?;
        } else {
            // Resumed after the last step from a checkpoint of an earlier version.
            let read = |offset, out: &mut [f32]| read(offset, out).map_err(io::Error::other);
            weights::save(&dir.weights(), session.layout(), read)?;
        }
    }
    log.speed(&context.run.point.resolved.protocol, &mut durations);
    let outcome = Outcome { training, data: data_identity(context) };
    let mut session = session.finish();
    if !evaluate(context, held, &outcome, session.as_mut(), &mut board, observer)? {
        log.end(context.steps, "interrupted")?;
        return Ok(Ending::Interrupted { step: context.steps });
    }
    log.device_memory(executor.peak_memory());
    log.end(context.steps, "done")?;
    checkpoint::clear(&dir.checkpoint())?;
    Ok(Ending::Done)
}

/// What provenance says of the work.
fn work(context: &Context<'_>) -> Work {
    Work {
        threads: context.lane.threads(),
        jobs: context.jobs,
        steps: context.steps,
        tokens_per_step: context.run.point.resolved.protocol.train.tokens(1),
    }
}

/// The record whose evaluation a training that is carried out again adds to: its weights were not
/// kept.
fn added_to<'r>(
    context: &Context<'_>,
    inspection: &'r Inspection,
    device_class: &str,
) -> Result<Option<&'r Record>, Error> {
    let record = inspection.record.as_ref().filter(|record| record.status == Status::Done);
    let Some(record) = record else { return Ok(None) };
    let provenance = store::read_provenance(context.dir)?;
    let there = provenance.map(|provenance| provenance.device_class).unwrap_or_default();
    if !there.is_empty() && there != device_class && !context.force {
        return Err(Error::OtherDevice {
            what: "training",
            run: context.dir.path().display().to_string(),
            there,
            here: device_class.to_owned(),
        });
    }
    Ok(Some(record))
}

/// The evaluation that stays beside a training carried out again: that of the same bits.
fn evaluation_held<'r>(
    context: &Context<'_>,
    record: &'r Record,
    training: &Training,
) -> Result<Option<&'r serde_json::Value>, Error> {
    let before = record.train.as_ref();
    let differ = before.map(|before| before.contradictions(training)).unwrap_or_default();
    if differ.is_empty() {
        return Ok(record.evaluation.as_ref());
    }
    if context.force {
        return Ok(None);
    }
    let differ: Vec<String> = differ.iter().map(ToString::to_string).collect();
    let run = context.dir.path().display().to_string();
    Err(Error::OtherTraining { run, differ: differ.join("; ") })
}

/// Appends `len` tokens from `start`, which are there: rows and chunks are cut to fit.
pub(super) fn read_into(stream: &TokenStream, start: u64, len: u64, out: &mut Vec<u32>) {
    let at = out.len();
    out.resize(at + usize::try_from(len).expect("a row fits into memory"), 0);
    assert!(stream.copy_to(start, &mut out[at..]), "rows and chunks end inside the stream");
}

/// The newest sound checkpoint.
fn resume_point(context: &Context<'_>, owner: &Owner) -> Result<Option<checkpoint::State>, Error> {
    let layout = Layout::new(&context.run.point.resolved.protocol.model);
    let logged = store::read_train(context.dir).map_or(0, |steps| steps.len() as u64);
    for found in checkpoint::list(&context.dir.checkpoint()) {
        // A log that is shorter than the checkpoint was tampered with; train.jsonl must be whole.
        if found.owner.train_id != owner.train_id || found.step > logged.min(context.steps) {
            continue;
        }
        if found.owner.device_class != owner.device_class && !context.force {
            return Err(Error::OtherDevice {
                what: "checkpoint",
                run: context.dir.path().display().to_string(),
                there: found.owner.device_class,
                here: owner.device_class.clone(),
            });
        }
        let state = checkpoint::load(&found, &layout);
        // Without moments it is of the last step, or was put where it does not belong.
        let whole =
            |state: &checkpoint::State| state.moments.is_some() || state.step == context.steps;
        if let Some(state) = state.filter(whole) {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

fn diverged(
    context: &Context<'_>,
    step: u64,
    init: String,
    steps: &Steps,
    log: Log,
) -> Result<Ending, Error> {
    steps.sync()?;
    let protocol = &context.run.point.resolved.protocol.train;
    let training = Training {
        steps: step + 1,
        tokens: protocol.tokens(step + 1),
        final_loss: None,
        init: Some(init),
        weights: None,
    };
    let mut record = new_record(context, Status::Diverged, training, data_identity(context));
    // Nothing was evaluated, so nothing of the evaluation is held.
    let part = Coverage::default().of_part(&context.run.point.identity.evaluation);
    record.eval_id = eval_id(&record.train_id, &part);
    record.evaluation = Some(part);
    store::write_record(context.dir, &record)?;
    log.end(step + 1, "diverged")?;
    checkpoint::clear(&context.dir.checkpoint())?;
    Ok(Ending::Diverged { step })
}

/// Says on disk that a run failed, as far as the disk allows: the next call tries again.
pub fn record_failure(context: &Context<'_>, error: &Error) {
    let dir = context.dir;
    if let Ok(Some(mut provenance)) = store::read_provenance(dir) {
        provenance.error = Some(error.to_string());
        if let Some(attempt) = provenance.attempts.last_mut().filter(|a| a.outcome == "running") {
            attempt.outcome = "failed".into();
            attempt.end = Some(super::now());
            attempt.to_step = store::read_train(dir).map_or(0, |steps| steps.len() as u64);
        }
        let _ = store::write_provenance(dir, &provenance);
    }
    if !dir.record().exists() && dir.path().exists() {
        let training =
            Training { steps: 0, tokens: 0, final_loss: None, init: None, weights: None };
        let record = new_record(context, Status::Failed, training, data_identity(context));
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
    let weights = weights::load(&weights_of, &layout)
        .map_err(|e| Error::Executor(executor::Error::Environment(e.to_string())))?;
    if let Some(was) = record.train.as_ref().and_then(|train| train.weights.clone()) {
        let is = weights::hash_of(&weights);
        if is != was {
            return Err(Error::OtherWeights { path: weights_of, was, is });
        }
    }
    let steps = record.train.as_ref().map_or(context.steps, |t| t.steps);
    let mut log = Log::begin(dir, &executor.device_class(), work(context), steps, steps)?;
    let mut board = Board::open(dir, context.tensorboard, steps)?;
    if let Some(source) = &source {
        log.source(source.clone());
    }
    let mut session = executor.evaluate(&job(context.run, context.steps), weights)?;
    let outcome = Outcome {
        training: record.train.clone().expect("a trained run says what was trained"),
        data: record.data.clone().unwrap_or_else(|| data_identity(context)),
    };
    let held = record.evaluation.as_ref();
    if !evaluate(context, held, &outcome, session.as_mut(), &mut board, observer)? {
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

/// Copies a twin's training here; the record comes last, in [`finish`].
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
    copy(&twin.train(), &dir.train())?;
    if context.keep_weights {
        // The weights of one train id never change, so a second name for them is enough.
        fs::link_atomic(&twin.weights(), &dir.weights())?;
    }
    let wanted = comparable(&context.run.point.identity.evaluation);
    if record.evaluation.as_ref().map(comparable) == Some(wanted) {
        copy(&twin.eval(), &dir.eval())?;
    } else {
        record.evaluation = None;
    }
    Ok(record)
}

fn data_identity(context: &Context<'_>) -> DataIdentity {
    let streams = context.streams;
    let train = streams.train.as_ref().and_then(|train| train.revision());
    let revision = streams.validation.revision().or(train);
    DataIdentity {
        train_tokens: streams.train.as_ref().map_or(String::new(), |t| t.id().to_owned()),
        validation_tokens: streams.validation.id().to_owned(),
        revision: revision.map(str::to_owned),
    }
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

pub(super) fn new_record(
    context: &Context<'_>,
    status: Status,
    training: Training,
    data: DataIdentity,
) -> Record {
    let run = context.run;
    Record {
        schema: Record::SCHEMA,
        train_id: run.train_id.clone(),
        eval_id: String::new(),
        protocol: run.point.protocol_id.clone(),
        experiment: context.experiment.to_owned(),
        point: run.point.resolved.name.clone(),
        config: run.config.name.clone(),
        seed: run.seed,
        freq: Some(run.config.freq.recorded()),
        status,
        train: Some(training),
        data: Some(data),
        evaluation: None,
        eval: std::collections::BTreeMap::new(),
        transforms: std::collections::BTreeMap::new(),
    }
}
