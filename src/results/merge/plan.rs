//! What a merge will do, found out by reading alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::sources::Source;
use super::whole::torn;
use super::{Error, Merged, Outcome, Taken, declarations, shown};
use crate::fs::{self, Holder};
use crate::results::{self, Layout, Lock, Problem, Record, RunDir, Status, last_step, store};

/// A merge that nothing forbids.
pub(super) struct Planned {
    /// lock.json of each experiment, and whether it is to be written.
    pub locks: BTreeMap<String, (Lock, bool)>,
    pub steps: Vec<Step>,
    pub outcome: Outcome,
}

/// One run that is to be written.
pub(super) struct Step {
    pub experiment: String,
    pub to: RunDir,
    pub from: RunDir,
    pub taken: Taken,
}

impl Planned {
    /// The experiments of the sources.
    pub fn experiments(&self) -> impl Iterator<Item = &str> {
        self.locks.keys().map(String::as_str)
    }
}

/// One carrying-out of a run, as it lies in a folder.
struct Side {
    dir: RunDir,
    record: Option<Record>,
}

impl Side {
    /// `None` if there is nothing of a run.
    fn read(dir: RunDir) -> store::Result<Option<Self>> {
        let path = dir.record();
        let record = path.exists().then(|| store::read_record(&path)).transpose()?;
        let begun = record.is_some() || dir.checkpoint().is_dir();
        Ok(begun.then_some(Self { dir, record }))
    }

    /// How far it is: 2 with results, 1 after a failure, 0 under way.
    fn rank(&self) -> u8 {
        match self.record.as_ref().map(|record| record.status) {
            Some(Status::Done | Status::Diverged | Status::Imported) => 2,
            Some(Status::Failed) => 1,
            None => 0,
        }
    }

    fn is(&self, status: Status) -> bool {
        self.record.as_ref().is_some_and(|record| record.status == status)
    }

    fn steps(&self) -> fs::Result<u64> {
        Ok(last_step(&self.dir)?.map_or(0, |step| step.step + 1))
    }

    /// Its files that are not whole.
    fn torn(&self) -> fs::Result<Vec<(PathBuf, String)>> {
        self.record.as_ref().map_or(Ok(Vec::new()), |record| torn(&self.dir, record))
    }

    /// Whether a file is there, and all of it.
    fn has(&self, file: &Path) -> fs::Result<bool> {
        Ok(file.exists() && self.torn()?.iter().all(|(torn, _)| torn != file))
    }

    /// Whether it is the very carrying-out of the other: the same host at the same time.
    fn is_copy_of(&self, other: &Self) -> fs::Result<bool> {
        Ok(same_bytes(&self.dir.record(), &other.dir.record())?
            && same_bytes(&self.dir.provenance(), &other.dir.provenance())?)
    }
}

/// Two files of the same bytes; two that are missing are the same.
fn same_bytes(a: &Path, b: &Path) -> fs::Result<bool> {
    match (a.exists(), b.exists()) {
        (true, true) => Ok(fs::hash_file(a)? == fs::hash_file(b)?),
        (a, b) => Ok(a == b),
    }
}

/// The attempts of a run by number, as they will stand: in the destination or still in a source.
type Attempts = BTreeMap<u32, Side>;

/// What merging the sources into the destination means.
pub(super) fn plan(sources: &[Source], layout: &Layout) -> Result<Planned, Error> {
    let mut planned =
        Planned { locks: BTreeMap::new(), steps: Vec::new(), outcome: Outcome::default() };
    let mut conflicts = Vec::new();
    let mut standing: BTreeMap<RunDir, Attempts> = BTreeMap::new();
    for source in sources {
        for experiment in &source.experiments {
            let listing = results::list_consistent(&source.layout, experiment)?;
            let name = source.name.display().to_string();
            let problems = listing.problems.iter().map(|problem| {
                let path = format!("{experiment}/{}", problem.path);
                (name.clone(), Problem { path, reason: problem.reason.clone() })
            });
            planned.outcome.problems.extend(problems);
            let damaged: BTreeSet<&str> =
                listing.problems.iter().map(|p| p.path.as_str()).collect();
            let known = conflicts.len();
            declaration(source, layout, experiment, &mut planned, &mut conflicts)?;
            if conflicts.len() > known {
                continue;
            }
            let root = source.layout.experiment(experiment);
            for run in run_dirs(&root)? {
                let below = shown(&root, run.path());
                let target = RunDir(layout.experiment(experiment).join(&below));
                if !standing.contains_key(&target) {
                    standing.insert(target.clone(), attempts(&target)?);
                }
                let held = standing.get_mut(&target).expect("inserted above");
                for number in numbers(&run)? {
                    let dir = run.attempt(number);
                    if damaged.contains(shown(&root, &dir.record()).as_str()) {
                        continue;
                    }
                    refuse_busy(&dir)?;
                    let Some(side) = Side::read(dir)? else { continue };
                    if let Some((file, reason)) = side.torn()?.into_iter().next() {
                        let path = format!("{experiment}/{}", shown(&root, &file));
                        let reason = format!("{reason}; copy the run once more, and merge again");
                        planned.outcome.problems.push((name.clone(), Problem { path, reason }));
                        continue;
                    }
                    let place = format!("{experiment}/{below}");
                    match take(number, &side, held)? {
                        Ok((taken, attempt)) => {
                            let to = target.attempt(attempt);
                            planned.outcome.runs.push(Merged {
                                run: place,
                                attempt,
                                source: name.clone(),
                                taken,
                            });
                            if !matches!(taken, Taken::AlreadyThere | Taken::LessComplete) {
                                planned.steps.push(Step {
                                    experiment: experiment.clone(),
                                    to,
                                    from: side.dir.clone(),
                                    taken,
                                });
                                stand(held, attempt, side);
                            }
                        }
                        Err(conflict) => conflicts.push(format!("{place}: {conflict}")),
                    }
                }
            }
        }
    }
    if conflicts.is_empty() { Ok(planned) } else { Err(Error::Conflict { conflicts }) }
}

/// Adds a source's declaration of an experiment to what stands.
fn declaration(
    source: &Source,
    layout: &Layout,
    experiment: &str,
    planned: &mut Planned,
    conflicts: &mut Vec<String>,
) -> Result<(), Error> {
    let theirs =
        store::read_lock(&source.layout.lock(experiment))?.expect("found by its lock.json");
    let ours = match planned.locks.get(experiment) {
        Some((lock, _)) => Some(lock.clone()),
        None => store::read_lock(&layout.lock(experiment))?,
    };
    let Some(ours) = ours else {
        // What stands there without a lock.json was made under nobody knows what.
        let lost = !results::list(layout, experiment)?.entries.is_empty();
        let lock = Lock { after_results: theirs.after_results || lost, ..theirs };
        planned.locks.insert(experiment.to_owned(), (lock, true));
        return Ok(());
    };
    // Frequencies without results at either side may change; training and sets with results not.
    let has_results = |layout: &Layout, point: Option<&str>, config: &str| {
        let any_seed = layout.run(experiment, point, config, 0);
        any_seed.path().parent().is_some_and(Path::is_dir)
    };
    let mut found = ours.conflicts(theirs.declared_now(), |point, config| {
        has_results(layout, point, config) || has_results(&source.layout, point, config)
    });
    let own = match declarations::union(&ours, &theirs) {
        Ok(lock) => {
            let changes = ours.declared_now().changes_to(lock.declared_now());
            if !changes.is_empty() {
                planned.outcome.amended.push((experiment.to_owned(), changes));
            }
            let before = planned.locks.get(experiment).is_some_and(|(_, changed)| *changed);
            let changed = before || lock != ours;
            Some((lock, changed))
        }
        Err(problems) => {
            found.extend(problems);
            None
        }
    };
    conflicts.extend(found.iter().map(|conflict| format!("{experiment}: {conflict}")));
    planned.locks.extend(own.map(|own| (experiment.to_owned(), own)));
    Ok(())
}

/// Puts an attempt where it will stand. An imported one that stood there gets the next free number, as
/// [`store::displace_imported`] moves it.
fn stand(held: &mut Attempts, attempt: u32, side: Side) {
    let before = held.insert(attempt, side).filter(|before| before.is(Status::Imported));
    if let Some(before) = before {
        let mut next = 1;
        while held.contains_key(&next) {
            next += 1;
        }
        held.insert(next, before);
    }
}

/// What becomes of a source's attempt beside those that stand, and as which attempt; or why the two
/// cannot be of one experiment.
fn take(
    number: u32,
    theirs: &Side,
    held: &Attempts,
) -> Result<std::result::Result<(Taken, u32), String>, Error> {
    let Some(ours) = held.get(&number) else { return Ok(Ok((Taken::New, number))) };
    for (&attempt, side) in held {
        if theirs.record.is_some() && theirs.is_copy_of(side)? {
            let taken =
                if completes(theirs, side)? { Taken::Completed } else { Taken::AlreadyThere };
            return Ok(Ok((taken, attempt)));
        }
    }
    let ids = |side: &Side| side.record.as_ref().map(|r| r.train_id.clone()).unwrap_or_default();
    let (own_id, other_id) = (ids(ours), ids(theirs));
    if !own_id.is_empty() && !other_id.is_empty() && own_id != other_id {
        return Ok(Err(format!(
            "another training stands there (train id {own_id}, not {other_id})"
        )));
    }
    // A native run takes the place of an imported one, which is kept as a further attempt.
    let native = !theirs.is(Status::Imported) && theirs.rank() == 2;
    if (number == 1 && native && ours.is(Status::Imported)) || ours.rank() < theirs.rank() {
        return Ok(Ok((Taken::Replaced, number)));
    }
    if theirs.rank() < 2 {
        let further = ours.rank() == theirs.rank() && theirs.steps()? > ours.steps()?;
        return Ok(Ok((if further { Taken::Replaced } else { Taken::LessComplete }, number)));
    }
    let last = held.keys().next_back().copied().unwrap_or(0);
    let beside = (Taken::FurtherAttempt, last + 1);
    Ok(Ok(relation(ours, theirs)?.map_or(beside, |taken| (taken, number))))
}

/// What two finished carryings-out of one training are to each other; `None` if they contradict.
fn relation(ours: &Side, theirs: &Side) -> Result<Option<Taken>, Error> {
    let (Some(own), Some(other)) = (&ours.record, &theirs.record) else { return Ok(None) };
    let same_training = match (&own.train, &other.train) {
        (Some(own), Some(other)) => own.contradictions(other).is_empty(),
        (own, other) => own == other,
    };
    if !same_training || own.status != other.status || own.status == Status::Imported {
        return Ok((own == other).then_some(Taken::AlreadyThere));
    }
    let (own_weights, other_weights) = (ours.dir.weights(), theirs.dir.weights());
    if ours.has(&own_weights)?
        && other_weights.exists()
        && !same_bytes(&own_weights, &other_weights)?
    {
        return Ok(None);
    }
    let chunks = |side: &Side| -> store::Result<BTreeSet<String>> {
        let chunks = store::read_eval(&side.dir)?;
        Ok(chunks.iter().map(|chunk| format!("{chunk:?}")).collect())
    };
    let (own_chunks, other_chunks) = (chunks(ours)?, chunks(theirs)?);
    Ok(
        if own_chunks == other_chunks
            && *own != (Record { train: own.train.clone(), ..other.clone() })
        {
            None
        } else if other_chunks.is_subset(&own_chunks) {
            Some(if completes(theirs, ours)? { Taken::Completed } else { Taken::AlreadyThere })
        } else if own_chunks.is_subset(&other_chunks) {
            Some(Taken::Extended)
        } else {
            None
        },
    )
}

/// Whether our side lacks weights, events or a log that theirs has, or has a part of them.
fn completes(theirs: &Side, ours: &Side) -> fs::Result<bool> {
    let files = |dir: &RunDir| [dir.weights(), dir.train(), dir.eval(), dir.tensorboard()];
    let torn = ours.torn()?;
    let lacks = |file: &Path| !file.exists() || torn.iter().any(|(torn, _)| torn == file);
    let pairs = files(&theirs.dir).into_iter().zip(files(&ours.dir));
    Ok(pairs.into_iter().any(|(theirs, ours)| theirs.exists() && lacks(&ours)))
}

/// A run that a process is at is not copied: half of it would be of another time.
fn refuse_busy(run: &RunDir) -> Result<(), Error> {
    match fs::lock_holder(&run.lock()) {
        Holder::Process(_) => Err(Error::Busy { path: run.path().to_owned() }),
        Holder::NoneSeen | Holder::Unknown => Ok(()),
    }
}

/// The attempts that stand in the destination.
fn attempts(run: &RunDir) -> Result<Attempts, Error> {
    let mut attempts = Attempts::new();
    for number in numbers(run)? {
        if let Some(side) = Side::read(run.attempt(number))? {
            attempts.insert(number, side);
        }
    }
    Ok(attempts)
}

/// The attempts that a run's folder has folders for, ascending.
fn numbers(run: &RunDir) -> fs::Result<Vec<u32>> {
    let mut numbers = vec![1];
    if run.path().is_dir() {
        let further = results::listing::folders(run.path())?;
        numbers.extend(further.iter().filter_map(|(name, _)| results::listing::attempt_of(name)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Every folder of a run below an experiment's, in the order of their paths.
fn run_dirs(experiment: &Path) -> fs::Result<Vec<RunDir>> {
    let mut found = Vec::new();
    // Below an experiment: configs, or points with configs in them.
    let mut levels = vec![(experiment.to_owned(), 0)];
    while let Some((folder, depth)) = levels.pop() {
        for (name, path) in results::listing::folders(&folder)? {
            let outside = [results::REPORT_DIR, results::SUPERSEDED_DIR].contains(&name.as_str());
            if name.starts_with('.') || (depth == 0 && outside) {
                continue;
            }
            if depth > 0 && results::listing::seed_of(&name).is_some() {
                found.push(RunDir(path));
            } else if depth < 2 {
                levels.push((path, depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}
