//! The training of a run: from its first step, or its newest checkpoint, to its weights.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::board::{Board, StepScalars};
use super::context::Context;
use super::evaluate::{Outcome, evaluate};
use super::executor::{Executor, Start, TrainSession};
use super::observer::{Ending, RunObserver};
use super::provenance::Log;
use super::room;
use super::state::Inspection;
use super::steps::Steps;
use super::streams::Batches;
use super::{Error, executor};
use crate::fs;
use crate::model::Layout;
use crate::plan::{Coverage, eval_id};
use crate::results::{Record, Status, Step, Training, store};
use crate::train::checkpoint::{self, Arena, Owner};
use crate::train::weights;

/// A training at work.
struct UnderWay<'a> {
    context: &'a Context<'a>,
    owner: Owner,
    session: Box<dyn TrainSession>,
    steps: Steps,
    log: Log,
    board: Board,
    durations: Vec<Duration>,
    last_checkpoint: Instant,
    /// Steps that a checkpoint has.
    saved: u64,
    /// Of the last step, if it was carried out here.
    last_loss: Option<f64>,
}

/// How far a training came.
enum Reached {
    /// Its last step.
    End,
    /// A loss or a gradient that is not finite, at this step.
    Divergence(u64),
    /// A signal; so many steps are done, and a checkpoint has them.
    Signal(u64),
}

/// What came of a step.
enum Taken {
    /// It is done, and in the log.
    Done,
    /// So too, but the loss or the gradient is not finite.
    NotFinite,
    /// It was given up.
    Stopped,
}

/// Trains a run, and evaluates it.
///
/// # Errors
/// What stops this run: files, device, a checkpoint of another device class.
pub fn train(
    context: &Context<'_>,
    inspection: &Inspection,
    executor: &dyn Executor,
    observer: &mut dyn RunObserver,
) -> Result<Ending, Error> {
    let dir = context.dir;
    // The others of a sweep may have filled the disk.
    room::fits(context.run, dir)?;
    fs::create_dir_all(dir.path())?;
    store::displace_imported(dir)?;
    let there = store::read_train(dir).unwrap_or_default();
    let logged = there.len() as u64;
    let owner =
        Owner { train_id: context.run.train_id.clone(), device_class: executor.device_class() };
    let before = added_to(context, inspection, &owner.device_class)?;
    let initial = executor.initial(&context.job())?;
    let init = weights::hash_of(&initial);
    let (from, start) = match resume_point(context, &owner, logged)? {
        Some(state) => {
            drop(initial);
            (state.step, Start::Checkpoint(Box::new(state)))
        }
        None => (0, Start::Fresh(initial)),
    };
    let session = executor.train(&context.job(), start)?;
    // The log of a training carried out again says nothing of how far its last attempt came.
    let attempted = if before.is_some() { from } else { logged };
    let log = Log::begin(dir, &owner.device_class, context.work(), from, attempted)?;
    let steps = match before {
        Some(_) if !context.force => Steps::again(dir, there, from, context.steps)?,
        _ => Steps::open(dir, from)?,
    };
    let mut training = UnderWay {
        board: Board::open(dir, context.tensorboard, from)?,
        durations: Vec::new(),
        last_checkpoint: Instant::now(),
        saved: from,
        last_loss: None,
        context,
        owner,
        session,
        steps,
        log,
    };
    observer.training(from, context.steps);
    match training.run(observer)? {
        Reached::End => training.end(init, before, executor, observer),
        Reached::Divergence(step) => training.diverged(step, init),
        Reached::Signal(step) => {
            training.speed();
            training.log.end(step, "interrupted")?;
            Ok(Ending::Interrupted { step })
        }
    }
}

impl UnderWay<'_> {
    /// All steps that are left, as far as they come.
    fn run(&mut self, observer: &mut dyn RunObserver) -> Result<Reached, Error> {
        let (context, mut batch) = (self.context, Vec::new());
        let tokens = context.streams.train.as_ref().expect("opened for runs that train");
        let batches = Batches::new(context.run, tokens)?;
        while self.session.position() < context.steps {
            let step = self.session.position();
            let taken = self.step(&batches, &mut batch, observer)?;
            if matches!(taken, Taken::NotFinite) {
                self.board.flush()?;
                return Ok(Reached::Divergence(step));
            }
            let done = self.session.position();
            let stopping = matches!(taken, Taken::Stopped) || context.stop.load(Ordering::Relaxed);
            let due = self.last_checkpoint.elapsed() >= context.checkpoints.every
                || context.checkpoints.every_steps.is_some_and(|n| done.is_multiple_of(n));
            if due || stopping || done == context.steps {
                self.save(done)?;
            }
            if stopping && done < context.steps {
                self.board.flush()?;
                return Ok(Reached::Signal(done));
            }
        }
        self.board.flush()?;
        Ok(Reached::End)
    }

    /// The next step.
    fn step(
        &mut self,
        batches: &Batches<'_>,
        batch: &mut Vec<u32>,
        observer: &mut dyn RunObserver,
    ) -> Result<Taken, Error> {
        let (context, step) = (self.context, self.session.position());
        let tokens = context.run.point.resolved.protocol.train.tokens(1);
        let began = Instant::now();
        batches.read(step, batch);
        let numbers = match context.lane.run(|| self.session.step(batch)) {
            Err(executor::Error::Stopped) => return Ok(Taken::Stopped),
            numbers => numbers?,
        };
        let took = began.elapsed();
        self.durations.push(took);
        let finite = |x: f64| x.is_finite().then_some(x);
        let line = Step {
            step,
            lr: numbers.lr,
            loss: finite(numbers.loss),
            grad_norm: finite(numbers.grad_norm),
        };
        self.steps.take(&line)?;
        self.last_loss = line.loss;
        self.board.step(StepScalars {
            step,
            loss: numbers.loss,
            lr: numbers.lr,
            grad_norm: numbers.grad_norm,
            tokens_per_s: tokens as f64 / took.as_secs_f64().max(1e-9),
        })?;
        observer.step(&line, context.steps, tokens, took);
        let finite = line.loss.is_some() && line.grad_norm.is_some();
        Ok(if finite { Taken::Done } else { Taken::NotFinite })
    }

    /// Writes a checkpoint after `done` steps, if none has them.
    fn save(&mut self, done: u64) -> Result<(), Error> {
        if done == self.saved {
            return Ok(());
        }
        self.steps.sync()?;
        let (to, layout) = (self.context.dir.checkpoint(), self.session.layout());
        let read = |arena, offset, out: &mut [f32]| {
            self.session.read(arena, offset, out).map_err(io::Error::other)
        };
        if done == self.context.steps {
            // Stands in for the weights until run.json is there.
            let read = |offset, out: &mut [f32]| read(Arena::Weights, offset, out);
            checkpoint::save_trained(&to, &self.owner, layout, done, read)?;
        } else {
            checkpoint::save(&to, &self.owner, layout, done, read)?;
        }
        self.last_checkpoint = Instant::now();
        self.saved = done;
        Ok(())
    }

    /// From the last step to `run.json`.
    fn end(
        mut self,
        init: String,
        before: Option<&Record>,
        executor: &dyn Executor,
        observer: &mut dyn RunObserver,
    ) -> Result<Ending, Error> {
        let (context, dir) = (self.context, self.context.dir);
        // A run resumed after its last step has no step of its own to take the loss from.
        let final_loss = match self.last_loss {
            Some(loss) => Some(loss),
            None => store::read_train(dir)?.last().and_then(|step| step.loss),
        };
        let session = &self.session;
        let read = |offset, out: &mut [f32]| session.read(Arena::Weights, offset, out);
        let hash = weights::hash(session.layout().len(), read)?;
        let training = Training {
            steps: context.steps,
            tokens: context.run.point.resolved.protocol.train.tokens(context.steps),
            final_loss,
            init: Some(init),
            weights: Some(hash),
            log: Some(fs::hash_file(&dir.train())?),
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
        self.speed();
        let Self { session, mut board, mut log, owner, .. } = self;
        let outcome = Outcome { training, data: context.data() };
        let mut session = session.finish();
        if !evaluate(
            context,
            held,
            &outcome,
            &owner.device_class,
            session.as_mut(),
            &mut board,
            observer,
        )? {
            log.end(context.steps, "interrupted")?;
            return Ok(Ending::Interrupted { step: context.steps });
        }
        log.device_memory(executor.peak_memory());
        log.end(context.steps, "done")?;
        checkpoint::clear(&dir.checkpoint())?;
        Ok(Ending::Done)
    }

    /// What is left of a training whose numbers stopped being finite: a record that says so.
    fn diverged(mut self, step: u64, init: String) -> Result<Ending, Error> {
        self.steps.sync()?;
        self.log.error(format!("diverged at step {step}: the loss or the gradient is not finite"));
        let context = self.context;
        let training = Training {
            steps: step + 1,
            tokens: context.run.point.resolved.protocol.train.tokens(step + 1),
            final_loss: None,
            init: Some(init),
            weights: None,
            log: Some(fs::hash_file(&context.dir.train())?),
        };
        let mut record = context.record(Status::Diverged, training, context.data());
        // Nothing was evaluated, so nothing of the evaluation is held.
        let part = Coverage::default().of_part(&context.run.point.identity.evaluation);
        record.eval_id = eval_id(&record.train_id, &part);
        record.evaluation = Some(part);
        store::write_record(context.dir, &record)?;
        self.log.end(step + 1, "diverged")?;
        checkpoint::clear(&context.dir.checkpoint())?;
        Ok(Ending::Diverged { step })
    }

    /// Says in provenance how fast it was.
    fn speed(&mut self) {
        self.log.speed(&self.context.run.point.resolved.protocol, &mut self.durations);
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
) -> Result<Option<&'r Record>, Error> {
    let before = record.train.as_ref();
    let differ = before.map(|before| before.contradictions(training)).unwrap_or_default();
    if differ.is_empty() {
        return Ok(record.evaluation.is_some().then_some(record));
    }
    if context.force {
        return Ok(None);
    }
    let differ: Vec<String> = differ.iter().map(ToString::to_string).collect();
    let run = context.dir.path().display().to_string();
    Err(Error::OtherTraining { run, differ: differ.join("; ") })
}

/// The newest sound checkpoint of a training of which so many steps are in the log.
fn resume_point(
    context: &Context<'_>,
    owner: &Owner,
    logged: u64,
) -> Result<Option<checkpoint::State>, Error> {
    let layout = Layout::new(&context.run.point.resolved.protocol.model);
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
