//! How a run stands, by its files alone: no spec, no data, no lock is needed, and nothing is changed.
//!
//! What [`super::state`] says of a run is what is left to do; this is what a person wants to know of it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::provenance::machine;
use crate::fs::{self, Holder};
use crate::plan::{Coverage, Missing};
use crate::results::{Declared, Layout, Point, Provenance, Record, RunDir, Status, Step};
use crate::results::{last_step, store};
use crate::train::checkpoint;

/// A run elsewhere whose files have not changed for so long is taken for dead.
const SILENCE: Duration = Duration::from_mins(2);

/// What a run is doing, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Steps are being taken.
    Running,
    /// All steps are taken, and chunks are being evaluated.
    Evaluating,
    /// A process has it and has not begun yet.
    Starting,
    /// An error stopped it.
    Failed,
    /// Results of another run lie under its name: another protocol, other frequencies.
    Conflict,
    /// The loss or the gradient stopped being finite.
    Diverged,
    /// A signal stopped it, or a kill; a checkpoint is there or not.
    Interrupted,
    /// Trained; some of the evaluation that is declared is missing.
    Evaluate,
    /// Nothing is there.
    Todo,
    /// Complete.
    Done,
    /// Measured elsewhere.
    Imported,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Evaluating => "evaluating",
            Self::Starting => "starting",
            Self::Failed => "failed",
            Self::Conflict => "conflict",
            Self::Diverged => "diverged",
            Self::Interrupted => "interrupted",
            Self::Evaluate => "evaluate",
            Self::Todo => "todo",
            Self::Done => "done",
            Self::Imported => "imported",
        }
    }

    /// Whether a process is at it.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Evaluating | Self::Starting)
    }

    /// Whether `xp run` would find nothing left to do, or did all it can.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Diverged | Self::Done | Self::Imported)
    }
}

/// Which run a folder is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunName {
    /// Experiment.
    pub experiment: String,
    /// Sweep point, if the experiment sweeps protocols.
    pub point: Option<String>,
    /// Config.
    pub config: String,
    /// Seed.
    pub seed: u64,
    /// 1, or the number of a repeat.
    pub attempt: u32,
}

impl RunName {
    /// `point/config`, as plans and reports call it.
    #[must_use]
    pub fn config(&self) -> String {
        let point = self.point.iter().map(|point| format!("{point}/"));
        let repeat =
            if self.attempt > 1 { format!(" (repeat {})", self.attempt) } else { String::new() };
        format!("{}{}{repeat}", point.collect::<String>(), self.config)
    }
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Which run; `None` where neither its record nor its place tells.
    pub name: Option<RunName>,
    /// Its folder.
    pub dir: RunDir,
    /// Canonical frequency expression, if a record or a declaration tells.
    pub expression: Option<String>,
    /// Train id, likewise.
    pub train_id: Option<String>,
    /// What it is doing, or how it ended.
    pub phase: Phase,
    /// More of it in words: who is at it, what is missing, the error.
    pub words: String,
    /// Steps taken.
    pub step: u64,
    /// Steps of the whole training, if known.
    pub steps: Option<u64>,
    /// The last step of the log.
    pub last: Option<Step>,
    /// Training tokens a second: by the median step of a training that ended, else by what its
    /// attempt has done until now.
    pub tokens_per_s: Option<f64>,
    /// Seconds of training left, if it is running.
    pub left_s: Option<f64>,
    /// `run.json`.
    pub record: Option<Record>,
    /// `provenance.json`.
    pub provenance: Option<Provenance>,
    /// Step of the newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Bytes of the weights, if they were kept.
    pub weights_bytes: Option<u64>,
    /// Files that cannot be read, and why.
    pub problems: Vec<String>,
}

impl Standing {
    /// Looks at a run's folder, which need not be there; `point` is the run's declaration, if there
    /// is one.
    #[must_use]
    pub fn of(dir: &RunDir, name: Option<RunName>, point: Option<&Point>) -> Self {
        let mut problems = Vec::new();
        let mut told = |error: store::Error| problems.push(error.to_string());
        let record = match dir.record().exists() {
            true => store::read_record(&dir.record()).map_err(&mut told).ok(),
            false => None,
        };
        let provenance = store::read_provenance(dir).map_err(&mut told).ok().flatten();
        let last = last_step(dir).map_err(|e| told(e.into())).ok().flatten();
        let step = last.as_ref().map_or(0, |step| step.step + 1);
        let config = name.as_ref().and_then(|name| {
            let configs = &point?.configs;
            configs.iter().find(|config| config.name == name.config)
        });
        let freq = record.as_ref().and_then(|record| record.freq.as_ref());
        let expression =
            freq.map(|freq| &freq.expression).or(config.map(|config| &config.expression));
        let trained = record.as_ref().and_then(|record| record.train.as_ref());
        let finished =
            trained.filter(|_| record.as_ref().is_some_and(|record| record.status == Status::Done));
        let steps = provenance
            .as_ref()
            .and_then(|provenance| provenance.steps)
            .or(finished.map(|train| train.steps));
        let expression = expression.cloned();
        let train_id = record.as_ref().map(|record| record.train_id.clone());
        let mut standing = Self {
            name,
            dir: dir.clone(),
            expression,
            train_id: train_id.filter(|id| !id.is_empty()),
            phase: Phase::Todo,
            words: String::new(),
            // A run whose log was not brought along is as far as its record says.
            step: finished.map_or(step, |train| train.steps.max(step)),
            steps,
            last,
            tokens_per_s: provenance.as_ref().and_then(|provenance| provenance.tokens_per_s),
            left_s: None,
            record,
            provenance,
            checkpoint: checkpoint::list(&dir.checkpoint()).first().map(|found| found.step),
            weights_bytes: std::fs::metadata(dir.weights()).ok().map(|metadata| metadata.len()),
            problems,
        };
        (standing.phase, standing.words) = standing.phase(point);
        if standing.phase == Phase::Running {
            standing.measure();
        }
        standing
    }

    /// Holds the record against the train id that is declared. Results of another run are not this
    /// run's, whatever they are.
    fn hold_against(&mut self, declared: &str) {
        let Some(other) = self.train_id.take_if(|id| *id != declared) else { return };
        self.record = None;
        self.train_id = Some(declared.to_owned());
        if !self.phase.is_active() {
            let short = |id: &str| id.chars().take(12).collect::<String>();
            self.phase = Phase::Conflict;
            self.words = format!(
                "results of another run lie there (train id {}, declared is {}): `xp run` says \
                 which keys differ, and what to do",
                short(&other),
                short(declared)
            );
        }
    }

    /// Whether the train id is that of the declaration: what was measured elsewhere has none.
    fn is_to_be_named(&self) -> bool {
        self.train_id.is_none() && self.phase != Phase::Imported
    }

    fn phase(&self, point: Option<&Point>) -> (Phase, String) {
        if let Some(active) = self.active() {
            return active;
        }
        let error = || {
            let provenance = self.provenance.as_ref();
            provenance.and_then(|provenance| provenance.error.clone()).unwrap_or_default()
        };
        let resume = || match self.checkpoint {
            Some(step) => format!("checkpoint at step {step}"),
            None => "no checkpoint".to_owned(),
        };
        match self.record.as_ref().map(|record| (record, record.status)) {
            Some((_, Status::Imported)) => (Phase::Imported, String::new()),
            Some((_, Status::Diverged)) => (Phase::Diverged, error()),
            Some((_, Status::Failed)) => (Phase::Failed, error()),
            Some((record, Status::Done)) => match point.map(|point| missing(record, point)) {
                Some(missing) if !missing.is_empty() => {
                    (Phase::Evaluate, format!("not evaluated yet: {}", missing.join(", ")))
                }
                _ => (Phase::Done, String::new()),
            },
            None if !self.problems.is_empty() => (Phase::Failed, self.problems.join("; ")),
            None => {
                let attempts = self.provenance.iter().flat_map(|p| &p.attempts);
                match attempts.last().map(|attempt| attempt.outcome.as_str()) {
                    None if self.step == 0 => (Phase::Todo, String::new()),
                    Some("failed") => (Phase::Failed, error()),
                    Some("running" | "killed") => {
                        (Phase::Interrupted, format!("its process is gone; {}", resume()))
                    }
                    _ => (Phase::Interrupted, resume()),
                }
            }
        }
    }

    /// What a process does with the run, and which.
    fn active(&self) -> Option<(Phase, String)> {
        let attempt = self.provenance.as_ref().and_then(|p| p.attempts.last());
        let attempt = attempt.filter(|attempt| attempt.outcome == "running");
        let holder = fs::lock_holder(&self.dir.lock());
        let who = match (holder, attempt) {
            (Holder::Process(id), None) => {
                return Some((Phase::Starting, format!("process {id}")));
            }
            (Holder::Process(id), Some(attempt)) => format!("process {id} on {}", attempt.host),
            (_, None) => return None,
            // Its process would be seen here.
            (Holder::NoneSeen, Some(attempt)) if attempt.host == machine() => return None,
            (_, Some(attempt)) => {
                self.changed().filter(|ago| *ago < SILENCE)?;
                format!("it seems, on {}", attempt.host)
            }
        };
        let all = self.steps.is_some_and(|steps| self.step >= steps);
        Some((if all { Phase::Evaluating } else { Phase::Running }, who))
    }

    /// How long ago the files of the run were changed.
    fn changed(&self) -> Option<Duration> {
        let files = [self.dir.train(), self.dir.provenance(), self.dir.eval()];
        let changed = files.iter().filter_map(|file| modified(file)).max()?;
        Some(SystemTime::now().duration_since(changed).unwrap_or_default())
    }

    /// Speed and time left, by the steps of the attempt that is running.
    fn measure(&mut self) {
        let measured = || {
            let provenance = self.provenance.as_ref()?;
            let attempt = provenance.attempts.last()?;
            let start = humantime::parse_rfc3339(&attempt.start).ok()?;
            let took = modified(&self.dir.train())?.duration_since(start).ok()?.as_secs_f64();
            let taken = self.step.checked_sub(attempt.from_step).filter(|steps| *steps > 0)?;
            // A start is known to the second.
            let step_s = (took > 1.0).then(|| took / taken as f64)?;
            Some((step_s, provenance.tokens_per_step?))
        };
        let Some((step_s, tokens)) = measured() else {
            self.tokens_per_s = None;
            return;
        };
        self.tokens_per_s = Some(tokens as f64 / step_s);
        self.left_s = self.steps.map(|steps| steps.saturating_sub(self.step) as f64 * step_s);
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// What a record lacks of the declared evaluation: `512`, `yarn8 at 512`.
fn missing(record: &Record, point: &Point) -> Vec<String> {
    let held = record.evaluation.as_ref().map(Coverage::read).unwrap_or_default();
    let wanted = Coverage::read(&point.evaluation);
    let told = held.missing(&wanted).into_iter().map(|Missing { transform, length, .. }| {
        let Some(expression) = transform else { return format!("length {length}") };
        let name = point.transforms.iter().find(|t| t.expression == expression);
        format!("{} at {length}", name.map_or(expression, |t| t.name.as_str()))
    });
    told.collect()
}

/// How every declared run of an experiment stands, in the order of the declaration.
#[must_use]
pub fn standings(layout: &Layout, declared: &Declared) -> Vec<Standing> {
    let mut all = Vec::new();
    for point in &declared.points {
        for config in &point.configs {
            for (i, &seed) in declared.seeds.iter().enumerate() {
                for attempt in 1..=declared.repeats {
                    let name = RunName {
                        experiment: declared.experiment.clone(),
                        point: point.name.clone(),
                        config: config.name.clone(),
                        seed,
                        attempt,
                    };
                    let point_name = point.name.as_deref();
                    let dir = layout.run(&declared.experiment, point_name, &config.name, seed);
                    let mut standing = Standing::of(&dir.attempt(attempt), Some(name), Some(point));
                    let declared_id = config.train_ids.get(i);
                    if standing.is_to_be_named() {
                        standing.train_id = declared_id.cloned();
                    } else if let Some(id) = declared_id {
                        standing.hold_against(id);
                    }
                    all.push(standing);
                }
            }
        }
    }
    all
}

/// How the run in a folder stands; what it is of is told by its record, or by its place below a
/// folder with a `lock.json`.
#[must_use]
pub fn standing(dir: &RunDir) -> Standing {
    let absolute = dir.path().canonicalize().unwrap_or_else(|_| dir.path().to_owned());
    let lock = absolute.ancestors().skip(1).take(4).find_map(|folder| {
        let lock = store::read_lock(&folder.join("lock.json")).ok().flatten()?;
        Some((folder.to_owned(), lock))
    });
    let place = lock.as_ref().and_then(|(folder, _)| name_of(&absolute, folder));
    let record = store::read_record(&dir.record()).ok();
    let name = place.or_else(|| {
        record.map(|record| RunName {
            experiment: record.experiment,
            point: record.point,
            config: record.config,
            seed: record.seed,
            attempt: 1,
        })
    });
    let declared = lock.as_ref().map(|(_, lock)| lock.declared_now());
    let point = name.as_ref().and_then(|name| declared?.point(name.point.as_deref()));
    let mut standing = Standing::of(dir, name, point);
    if standing.is_to_be_named()
        && let (Some(name), Some(point), Some(declared)) = (&standing.name, point, declared)
        && let Some(config) = point.configs.iter().find(|config| config.name == name.config)
        && let Some(i) = declared.seeds.iter().position(|seed| *seed == name.seed)
    {
        standing.train_id = config.train_ids.get(i).cloned();
    }
    standing
}

/// Which run a folder below an experiment's is of.
fn name_of(dir: &Path, experiment: &Path) -> Option<RunName> {
    let below = dir.strip_prefix(experiment).ok()?;
    let mut parts = below.iter().map(|part| part.to_str()).collect::<Option<Vec<_>>>()?;
    let last = parts.last()?;
    let attempt = last.strip_prefix("attempt-").and_then(|number| number.parse().ok());
    if attempt.is_some() {
        parts.pop();
    }
    let seed = parts.pop()?.strip_prefix("seed-")?.parse().ok()?;
    let config = parts.pop()?.to_owned();
    let point = parts.pop().map(str::to_owned);
    let experiment = experiment.file_name()?.to_str()?.to_owned();
    parts.is_empty().then_some(RunName {
        experiment,
        point,
        config,
        seed,
        attempt: attempt.unwrap_or(1),
    })
}
