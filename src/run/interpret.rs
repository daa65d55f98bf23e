//! A plan, carried out run by run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::carry::{CheckpointPolicy, Context, Ending, Streams, carry_out, record_failure};
use super::executor::Executor;
use super::provenance::now;
use super::state::{Index, Inspection, State, inspect};
use super::{Error, ErrorKind};
use crate::data::{self, Cache, SplitKind};
use crate::fs;
use crate::plan::{Plan, Point, Run, steps_problem};
use crate::results::{self, Layout, Lock, Record, RunDir, Status, Step, store};

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
    /// Stop at the first run that fails.
    pub fail_fast: bool,
    /// Go on from a checkpoint of another device class.
    pub force: bool,
    /// Move results that are in the way to `superseded/`.
    pub supersede: bool,
}

/// Who wants to know how it goes. All methods have empty defaults.
pub trait Observer: data::Progress {
    /// Before the first run: how many there are, and how many are left to do.
    fn begin(&mut self, _total: usize, _todo: usize) {}
    /// A split is being made into tokens.
    fn preparing(&mut self, _kind: SplitKind) {}
    /// The I-th of the runs that are left begins.
    fn run_begins(&mut self, _run: &Run<'_>, _number: usize, _of: usize, _inspection: &Inspection) {
    }
    /// Training begins at a step.
    fn training(&mut self, _run: &Run<'_>, _from: u64, _steps: u64) {}
    /// A step is done.
    fn step(&mut self, _step: &Step, _steps: u64, _tokens: u64, _took: Duration) {}
    /// A chunk is about to be evaluated, as trained or under a transform.
    fn evaluating(&mut self, _transform: Option<&str>, _length: u64, _chunk: usize, _of: usize) {}
    /// The run ended; its record, if it has one.
    fn run_ends(&mut self, _run: &Run<'_>, _ending: &Ending, _record: Option<&Record>) {}
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
    /// Whether a signal stopped it.
    pub interrupted: bool,
}

/// The runs that the options select, in order.
#[must_use]
pub fn select<'p>(plan: &'p Plan, options: &Options<'_>) -> Vec<Run<'p>> {
    let mut runs = plan.runs();
    runs.retain(|run| {
        options.only.as_ref().is_none_or(|only| only.matches(&run.config.name))
            && options.seeds.as_ref().is_none_or(|seeds| seeds.contains(&run.seed))
    });
    let Some((i, n)) = options.shard else { return runs };
    let of_shard = runs.into_iter().enumerate().filter(|(k, _)| *k as u64 % n == i - 1);
    of_shard.map(|(_, run)| run).collect()
}

/// Where a run lies.
#[must_use]
pub fn run_dir(plan: &Plan, run: &Run<'_>, layout: &Layout) -> RunDir {
    let point = run.point.resolved.name.as_deref();
    layout.run(&plan.experiment, point, &run.config.name, run.seed).attempt(run.attempt)
}

/// Carries out what is missing of the selected runs.
///
/// # Errors
/// What stops all runs: conflicting results, data that cannot be had, an unwritable directory.
pub fn run(
    plan: &Plan,
    options: &Options<'_>,
    executor: &dyn Executor,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let runs = select(plan, options);
    let mut outcome = Outcome { selected: runs.len(), ..Outcome::default() };
    refuse_conflicts(plan, &runs, options)?;

    let mut index = Index::scan(options.results);
    let mut todo = Vec::new();
    for run in &runs {
        let dir = run_dir(plan, run, options.results);
        let inspection = inspect(run, &dir, &index)?;
        if inspection.state == State::Done {
            outcome.found += 1;
            let diverged = inspection.record.is_some_and(|r| r.status == Status::Diverged);
            outcome.diverged += usize::from(diverged);
        } else {
            todo.push((run, dir, inspection));
        }
    }
    observer.begin(runs.len(), todo.len());
    // Whatever can be known to fail fails here, before anything is written.
    let mut streams = BTreeMap::new();
    for (run, _, inspection) in &todo {
        executor.check(&run.point.resolved.protocol)?;
        open_streams(&mut streams, run.point, inspection.needs_training(), options, observer)?;
    }
    freeze(plan, options)?;
    let total = todo.len();
    for (number, (run, dir, _)) in todo.into_iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            outcome.interrupted = true;
            break;
        }
        // Looked at again under its lock: another process, or a twin just trained, may have
        // changed what is left to do.
        let Some(_lock) = fs::try_lock(&lock_path(&dir))? else {
            outcome.locked += 1;
            observer.run_ends(run, &Ending::Locked, None);
            continue;
        };
        let inspection = inspect(run, &dir, &index)?;
        observer.run_begins(run, number + 1, total, &inspection);
        let training = inspection.needs_training();
        let (streams, steps) = open_streams(&mut streams, run.point, training, options, observer)?;
        let context = Context {
            run,
            dir: &dir,
            experiment: &plan.experiment,
            streams,
            steps,
            checkpoints: CheckpointPolicy {
                every: Duration::from_secs(plan.spec.output.checkpoint_every_s.unwrap_or(60)),
                every_steps: plan.spec.output.checkpoint_every_steps,
            },
            keep_weights: plan.spec.output.keep_weights.unwrap_or(true),
            force: options.force,
            stop,
        };
        let ending = carry_out(&context, &inspection, executor, observer).unwrap_or_else(|error| {
            outcome.failure = outcome.failure.max(Some(error.kind()));
            record_failure(&context, &error);
            Ending::Failed(error.to_string())
        });
        let record = store::read_record(&dir.record()).ok();
        if let Some(record) = record.as_ref().filter(|_| run.attempt == 1) {
            index.add(record, &dir);
        }
        observer.run_ends(run, &ending, record.as_ref());
        match ending {
            Ending::Done => outcome.finished += 1,
            Ending::Diverged { .. } => outcome.diverged += 1,
            Ending::Interrupted { .. } => outcome.interrupted = true,
            Ending::Failed(_) => outcome.failed += 1,
            Ending::Locked => outcome.locked += 1,
        }
        let failed = outcome.failed + outcome.diverged > 0;
        if outcome.interrupted || (options.fail_fast && failed) {
            break;
        }
    }
    Ok(outcome)
}

fn lock_path(dir: &RunDir) -> std::path::PathBuf {
    dir.path().join(".lock")
}

/// Whether anything native lies under a config's name.
fn has_results(plan: &Plan, layout: &Layout, point: Option<&str>, config: &str) -> bool {
    let seed_dir = layout.run(&plan.experiment, point, config, 0);
    let Some(config_dir) = seed_dir.path().parent() else { return false };
    let seeds = std::fs::read_dir(config_dir).into_iter().flatten().flatten();
    seeds.map(|entry| RunDir(entry.path())).any(|dir| {
        let native = |path: &std::path::Path| {
            store::read_record(path).map_or(true, |record| record.status != Status::Imported)
        };
        (dir.record().exists() && native(&dir.record())) || dir.checkpoint().exists()
    })
}

/// Refuses a changed training part or frequency set under names that have results, or moves the
/// old results away if that is asked for.
fn refuse_conflicts(plan: &Plan, runs: &[Run<'_>], options: &Options<'_>) -> Result<(), Error> {
    let layout = options.results;
    let Some(lock) = store::read_lock(&layout.lock(&plan.experiment))? else { return Ok(()) };
    let conflicts =
        lock.conflicts(&plan.declared(), |point, config| has_results(plan, layout, point, config));
    if conflicts.is_empty() {
        return Ok(());
    }
    if !options.supersede {
        return Err(Error::Conflict(conflicts));
    }
    // A repeat lies in the folder of its first attempt, and moves with it.
    for run in runs.iter().filter(|run| run.attempt == 1) {
        let dir = run_dir(plan, run, layout);
        let path = dir.record();
        let old = path.exists().then(|| store::read_record(&path)).transpose()?;
        let old_id = match old {
            Some(record) if record.train_id != run.train_id => record.train_id,
            None if dir.checkpoint().exists() => "unfinished".to_owned(),
            _ => continue,
        };
        let target = layout
            .experiment(&plan.experiment)
            .join(crate::results::SUPERSEDED_DIR)
            .join(format!("{old_id}-{}", now().replace(':', "")));
        fs::create_dir_all(target.parent().expect("a joined path has a parent"))?;
        std::fs::rename(dir.path(), &target).map_err(fs::Error::at("move", dir.path()))?;
    }
    Ok(())
}

/// Freezes the declaration before the first run, or adds what has changed as an amendment.
fn freeze(plan: &Plan, options: &Options<'_>) -> Result<(), Error> {
    let layout = options.results;
    let _guard = fs::lock(&layout.guard(&plan.experiment))?;
    let path = layout.lock(&plan.experiment);
    let declared = plan.declared();
    let lock = match store::read_lock(&path)? {
        None => Lock::freeze(declared, &now()),
        Some(mut lock) => {
            let Some(mut amendment) = lock.amend(&declared, &now(), true) else {
                return Ok(());
            };
            // Imported results were seen as well as native ones.
            let imported = !results::list(layout, &plan.experiment)?.entries.is_empty();
            amendment.after_results = imported
                || plan.points.iter().any(|point| {
                    point.resolved.configs.iter().any(|config| {
                        has_results(plan, layout, point.resolved.name.as_deref(), &config.name)
                    })
                });
            lock.amendments.push(amendment);
            lock
        }
    };
    Ok(store::write_lock(&path, &lock)?)
}

/// The streams of a point (opened once) and the steps that they give.
fn open_streams<'s>(
    opened: &'s mut BTreeMap<String, Streams>,
    point: &Point,
    needs_training: bool,
    options: &Options<'_>,
    observer: &mut dyn Observer,
) -> Result<(&'s Streams, u64), Error> {
    let protocol = &point.resolved.protocol;
    if !opened.contains_key(&point.protocol_id) {
        observer.preparing(SplitKind::Validation);
        let validation =
            data::prepare(&protocol.data, SplitKind::Validation, options.cache, observer)?;
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
        opened.insert(point.protocol_id.clone(), Streams { train: None, validation });
    }
    let streams = opened.get_mut(&point.protocol_id).expect("inserted above");
    if needs_training && streams.train.is_none() {
        observer.preparing(SplitKind::Train);
        let train = data::prepare(&protocol.data, SplitKind::Train, options.cache, observer)?;
        if let Some(problem) = steps_problem(&protocol.train, train.len()) {
            return Err(Error::Input(problem));
        }
        check_ids(&train, protocol.model.vocab_size, "training")?;
        streams.train = Some(train);
    }
    let steps = streams.train.as_ref().map_or(0, |train| protocol.train.steps(train.len()));
    Ok((streams, steps))
}

fn check_ids(stream: &data::TokenStream, vocab_size: usize, what: &str) -> Result<(), Error> {
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
