//! A plan, carried out run by run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::carry::{carry_out, record_failure, tidy};
use super::context::{CheckpointPolicy, Context, job};
use super::declaration::{freeze, refuse_conflicts};
use super::executor::{self, Executor, no_threads};
use super::jobs::{self, Jobs, Trial};
use super::lanes::{Lanes, side_by_side};
use super::observer::{Ending, Observer};
use super::queue::Queue;
use super::room::{self, Room};
use super::state::{Index, State, inspect, run_dir};
use super::streams::{Batches, Opened};
use super::{Error, ErrorKind};
use crate::data::{self, Cache};
use crate::fs;
use crate::plan::{self, Plan, Run, estimate};
use crate::results::{Layout, RunDir, Status, store};

/// What to carry out and how; changes no number.
pub struct Options<'a> {
    /// Where results lie.
    pub results: &'a Layout,
    /// Where tokens lie.
    pub cache: &'a Cache,
    /// Only configs whose name matches.
    pub only: Option<glob::Pattern>,
    /// Only these of the declared seeds.
    pub seeds: Option<Vec<u64>>,
    /// Only the I-th of every N runs, from 1.
    pub shard: Option<(u64, u64)>,
    /// Only this run.
    pub task: Option<plan::Task>,
    /// Runs carried out side by side; the results do not depend on it.
    pub jobs: Jobs,
    /// Begin no run after one that fails.
    pub fail_fast: bool,
    /// Go on from a checkpoint of another device class.
    pub force: bool,
    /// Move results that are in the way to `superseded/`.
    pub supersede: bool,
}

/// What became of the selected runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Runs selected.
    pub selected: usize,
    /// Runs that were there already.
    pub found: usize,
    /// Runs finished now.
    pub finished: usize,
    /// Runs that diverged, now or before.
    pub diverged: usize,
    /// Runs that failed.
    pub failed: usize,
    /// The worst kind of failure.
    pub failure: Option<ErrorKind>,
    /// Runs that another process is at.
    pub locked: usize,
    /// Runs that were not begun: because of `fail_fast`, or as no device answered any more.
    pub not_begun: usize,
    /// Whether a signal stopped it.
    pub interrupted: bool,
}

/// The runs that the options select, in the order in which they are carried out.
#[must_use]
pub fn select<'p>(plan: &'p Plan, options: &Options<'_>) -> Vec<Run<'p>> {
    let mut runs = plan.runs();
    runs.retain(|run| {
        options.only.as_ref().is_none_or(|only| only.matches(&run.config.name))
            && options.seeds.as_ref().is_none_or(|seeds| seeds.contains(&run.seed))
            && options.task.as_ref().is_none_or(|task| task.names(run))
    });
    if let Some((i, n)) = options.shard {
        let mut place = 0..;
        runs.retain(|_| place.next().is_some_and(|k: u64| k % n == i - 1));
    }
    plan.seed_by_seed(&mut runs);
    runs
}

/// Carries out what is missing of the selected runs.
///
/// # Errors
/// What stops all runs: conflicting results, data that cannot be had, an unwritable directory.
pub fn run(
    plan: &Plan,
    options: &Options<'_>,
    executor: &dyn Executor,
    observer: &dyn Observer,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome, Error> {
    let runs = select(plan, options);
    let mut outcome = Outcome { selected: runs.len(), ..Outcome::default() };
    refuse_conflicts(plan, &runs, options.results, options.supersede)?;

    let index = Index::scan(options.results);
    let mut todo = Vec::new();
    for run in &runs {
        let dir = run_dir(plan, run, options.results);
        let inspection = inspect(run, &dir, &index)?;
        if inspection.state == State::Done {
            // A folder that can only be read keeps what was left in it.
            let record = inspection.record.expect("what is done has a record");
            let _ = tidy(&dir, &record);
            outcome.found += 1;
            outcome.diverged += usize::from(record.status == Status::Diverged);
        } else {
            todo.push((run, dir, inspection.needs_training()));
        }
    }
    observer.begin(runs.len(), todo.len());
    // Whatever can be known to fail fails here, before anything is written.
    let asked = match options.jobs {
        Jobs::Given(jobs) => jobs.clamp(1, todo.len().max(1)),
        Jobs::Measured => 1,
    };
    for point in &plan.points {
        let mut of_point =
            todo.iter().filter(|(run, ..)| std::ptr::eq(run.point, point)).peekable();
        if of_point.peek().is_some() {
            let training = of_point.any(|(.., training)| *training);
            executor.check(&point.resolved.protocol, training, asked)?;
        }
    }
    let trainings = || todo.iter().filter(|(.., training)| *training);
    trainings().try_for_each(|(run, dir, _)| room::fits(run, dir))?;
    let room = Room::of(trainings().map(|(run, dir, _)| (*run, dir)), plan.keeps_weights());
    if let Some(room) = room.filter(|room| !room.suffices()) {
        observer.little_room(&room);
    }
    let lock = store::read_lock(&options.results.lock(&plan.experiment))?;
    let streams = Opened::new(lock.as_ref());
    for (run, _, training) in &todo {
        match streams.open(run.point, *training, options.cache, observer) {
            Err(Error::Data(data::Error::Stopped)) => {
                return Ok(Outcome { interrupted: true, ..outcome });
            }
            opened => opened?,
        };
    }
    freeze(plan, options.results, &streams, &index, observer)?;
    let trainings: Vec<&Run<'_>> =
        todo.iter().filter(|(.., training)| *training).map(|(run, ..)| *run).collect();
    let lanes = Lanes::new(rayon::current_num_threads());
    let jobs = match options.jobs {
        Jobs::Given(_) => asked,
        Jobs::Measured => match executor.jobs() {
            Some(jobs) => jobs.clamp(1, todo.len().max(1)),
            None => {
                match measure(&trainings, &lanes, options, executor, observer, &streams, stop) {
                    Err(Error::Executor(executor::Error::Stopped)) => {
                        return Ok(Outcome { interrupted: true, ..outcome });
                    }
                    jobs => jobs?,
                }
            }
        },
    };
    let items = todo.into_iter().enumerate().map(|(i, (run, dir, _))| {
        // Repeats are trained again beside their first attempt; the others wait for their twin.
        let key = format!("{} {}", run.train_id, run.attempt);
        (key, Task { run, dir, number: i + 1 })
    });
    let items: Vec<_> = items.collect();
    let sweep = Sweep {
        plan,
        options,
        executor,
        observer,
        stop,
        total: items.len(),
        streams,
        lanes,
        jobs,
        workers: AtomicUsize::new(jobs),
        queue: Queue::new(items),
        index: Mutex::new(index),
        outcome: Mutex::new(outcome),
    };
    let ends = side_by_side(jobs, || sweep.work()).map_err(no_threads)?;
    ends.into_iter().collect::<Result<Vec<()>, Error>>()?;
    let mut outcome =
        sweep.outcome.into_inner().expect("no code panics while it holds the outcome");
    outcome.not_begun = sweep.queue.into_left();
    Ok(outcome)
}

/// The number of runs side by side that trains the most tokens a second.
fn measure(
    trainings: &[&Run<'_>],
    lanes: &Lanes,
    options: &Options<'_>,
    executor: &dyn Executor,
    observer: &dyn Observer,
    streams: &Opened,
    stop: &Arc<AtomicBool>,
) -> Result<usize, Error> {
    let Some(first) = trainings.first() else { return Ok(1) };
    let (streams, steps) = streams.open(first.point, true, options.cache, observer)?;
    let tokens = streams.train.as_ref().expect("opened for runs that train");
    let mut batch = Vec::new();
    Batches::new(first, tokens)?.read(0, &mut batch);
    observer.measuring();
    let speeds = jobs::measure(&Trial {
        executor,
        job: job(first, steps, stop),
        batch: &batch,
        runs: trainings.len(),
        threads: lanes.threads(),
        memory: estimate(&first.point.resolved, Some(tokens.len()), false, lanes.threads())
            .peak_memory_bytes,
    })?;
    let jobs = jobs::best(&speeds);
    observer.side_by_side(jobs, &speeds);
    Ok(jobs)
}

/// One run of the queue.
struct Task<'a> {
    run: &'a Run<'a>,
    dir: RunDir,
    /// Its place among those that are left, from 1.
    number: usize,
}

/// What the workers share.
struct Sweep<'a> {
    plan: &'a Plan,
    options: &'a Options<'a>,
    executor: &'a dyn Executor,
    observer: &'a dyn Observer,
    stop: &'a Arc<AtomicBool>,
    /// Runs that are left to do.
    total: usize,
    streams: Opened,
    lanes: Lanes,
    jobs: usize,
    /// Workers that are left.
    workers: AtomicUsize,
    queue: Queue<Task<'a>>,
    index: Mutex<Index>,
    outcome: Mutex<Outcome>,
}

impl Sweep<'_> {
    /// Carries out one run after another until none is left, a signal comes, or a run stops all.
    fn work(&self) -> Result<(), Error> {
        while let Some((key, task)) = self.queue.take() {
            if self.stop.load(Ordering::Relaxed) {
                self.queue.close();
                self.outcome().interrupted = true;
                break;
            }
            let ending = self.carry(&task);
            self.queue.done(&key);
            let ending = ending.inspect_err(|_| {
                self.queue.close();
            })?;
            let failed = matches!(ending, Ending::Failed(_));
            let mut outcome = self.outcome();
            match ending {
                Ending::Done => outcome.finished += 1,
                Ending::Diverged { .. } => outcome.diverged += 1,
                Ending::Interrupted { .. } => outcome.interrupted = true,
                Ending::Failed(_) => outcome.failed += 1,
                Ending::Locked => outcome.locked += 1,
            }
            if self.options.fail_fast && outcome.failed + outcome.diverged > 0 {
                self.queue.close();
            }
            drop(outcome);
            if failed && self.is_one_too_many() {
                break;
            }
        }
        Ok(())
    }

    /// Whether there are more workers than the devices that still answer have work for, and this one is to
    /// go. A lost device would else fail the rest of the queue, faster than the others carry it out.
    fn is_one_too_many(&self) -> bool {
        let (answering, all) = self.executor.answering();
        let wanted = (self.jobs * answering).div_ceil(all);
        let fewer = |workers| (workers > wanted).then(|| workers - 1);
        self.workers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().expect("no code panics while it holds the outcome")
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no code panics while it holds the index")
    }

    fn carry(&self, Task { run, dir, number }: &Task<'_>) -> Result<Ending, Error> {
        // Looked at again under its lock: another process, or a twin just trained, may have
        // changed what is left to do.
        let Some(_lock) = fs::try_lock(&dir.lock())? else {
            self.observer.run_locked(run);
            return Ok(Ending::Locked);
        };
        let inspection = inspect(run, dir, &self.index())?;
        let mut observer = self.observer.run_begins(run, *number, self.total, &inspection);
        let training = inspection.needs_training();
        let (streams, steps) =
            self.streams.open(run.point, training, self.options.cache, self.observer)?;
        let output = &self.plan.spec.output;
        let context = Context {
            run,
            dir,
            experiment: &self.plan.experiment,
            streams: &streams,
            steps,
            checkpoints: CheckpointPolicy {
                every: Duration::from_secs(output.checkpoint_every_s.unwrap_or(60)),
                every_steps: output.checkpoint_every_steps,
            },
            keep_weights: self.plan.keeps_weights(),
            tensorboard: output.tensorboard.unwrap_or(true),
            force: self.options.force,
            lane: &self.lanes.lane(),
            jobs: self.jobs,
            stop: self.stop,
        };
        let done = carry_out(&context, &inspection, self.executor, observer.as_mut());
        let ending = done.unwrap_or_else(|error| {
            let mut outcome = self.outcome();
            outcome.failure = outcome.failure.max(Some(error.kind()));
            record_failure(&context, &error);
            Ending::Failed(error.to_string())
        });
        let record = store::read_record(&dir.record()).ok();
        if let Some(record) = record.as_ref().filter(|_| run.attempt == 1) {
            self.index().add(record, dir);
        }
        observer.ends(&ending, record.as_ref());
        Ok(ending)
    }
}
