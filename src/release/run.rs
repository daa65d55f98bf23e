//! A run's folder, and what its experiment declares of it.

use std::path::{Path, PathBuf};

use super::error::Error;
use crate::model::{self, Layout};
use crate::results::{self, Listing, Lock, Point, Record, RunDir, Status, store};

/// A trained run with its weights, as it lies in a results directory.
#[derive(Debug, Clone)]
pub struct TrainedRun {
    /// Its folder.
    pub dir: RunDir,
    /// Path of its folder below its experiment's, with `/`.
    pub place: String,
    /// 1, or the number of the further attempt.
    pub attempt: u32,
    /// Its record.
    pub record: Record,
    /// The declaration of its experiment.
    pub lock: Lock,
    /// All records of its experiment.
    pub listing: Listing,
    /// The protocol that it was trained under.
    pub point: Point,
    /// The longest length for which its frequencies were evaluated.
    pub target_len: Option<u64>,
    /// The shape of its model.
    pub model: model::Config,
}

impl TrainedRun {
    /// Reads a run by its folder, or by the run.json in it.
    ///
    /// # Errors
    /// A folder that holds no run of an experiment, a run that was not trained to its end, that was
    /// imported, or whose weights were not kept, and files that cannot be read or contradict each other.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let usage = |problem: String| Error::Usage { path: path.to_owned(), problem };
        let folder = match path.file_name() {
            Some(name) if name == "run.json" && !path.is_dir() => {
                path.parent().expect("a file is in a folder").to_owned()
            }
            _ => path.to_owned(),
        };
        let dir = RunDir(absolute(&folder)?);
        if !dir.record().is_file() {
            let what = if dir.path().join("lock.json").is_file() {
                "this is the folder of a whole experiment"
            } else {
                "there is no run.json in it"
            };
            let remedy = "name the folder of a run, results/<experiment>/<config>/seed-<seed>";
            return Err(usage(format!("{what}; {remedy}")));
        }
        let record = store::read_record(&dir.record())?;
        check_status(&record).map_err(&usage)?;
        let Some(experiment) = results::experiment_above(dir.path()) else {
            return Err(usage(
                "no lock.json above it says what was trained; export from the results directory that \
                 the run was made in"
                    .to_owned(),
            ));
        };
        let contradiction =
            |problem: String| Error::Contradiction { path: path.to_owned(), problem };
        let lock = store::read_lock(&experiment.join("lock.json"))?
            .ok_or_else(|| contradiction("its experiment's lock.json is gone".to_owned()))?;
        let name = experiment.file_name().and_then(|name| name.to_str());
        let (Some(root), Some(name)) = (experiment.parent(), name) else {
            return Err(usage("it is in no results directory".to_owned()));
        };
        let listing = results::list_consistent(&results::Layout::new(root), name)?;
        let below = dir.path().strip_prefix(&experiment).expect("it was found above the run");
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        let place = parts.join("/");
        let file = format!("{place}/run.json");
        if let Some(problem) = listing.problems.iter().find(|problem| problem.path == file) {
            return Err(contradiction(problem.reason.clone()));
        }
        let entry = listing.entries.iter().find(|entry| entry.path == file);
        let attempt = entry.map(|entry| entry.attempt).ok_or_else(|| {
            usage(format!("it is no current result of `{name}` (superseded ones are not exported)"))
        })?;
        let point = lock.point_of(&record).cloned().ok_or_else(|| {
            contradiction(format!(
                "no declaration in the lock.json of `{name}` has this run (train id {})",
                record.train_id
            ))
        })?;
        let target_len = point.lengths.keys().copied().max();
        let model = model::Config::of_training(&point.training).map_err(|reason| {
            contradiction(format!(
                "the model in the lock.json of `{name}` cannot be read: {reason}"
            ))
        })?;
        let run = Self { dir, place, attempt, record, lock, listing, point, target_len, model };
        if !run.dir.weights().is_file() {
            return Err(Error::Missing {
                path: run.dir.weights(),
                problem:
                    "the weights were not kept; set `keep_weights = true` in [output] and run the \
                          spec again under another name (--name NAME), which trains again"
                        .to_owned(),
            });
        }
        Ok(run)
    }

    /// The layout of its weights.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::new(&self.model)
    }

    /// The lengths at which it was evaluated, as trained or under any transform, ascending.
    #[must_use]
    pub fn lengths(&self) -> Vec<u64> {
        let transformed = self.record.transforms.values().flat_map(|by_length| by_length.keys());
        let mut lengths: Vec<u64> = self.record.eval.keys().chain(transformed).copied().collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// An error of what is asked of this run.
    pub(super) fn usage(&self, problem: impl Into<String>) -> Error {
        Error::Usage { path: self.dir.path().to_owned(), problem: problem.into() }
    }

    /// An error of this run's files.
    pub(super) fn contradiction(&self, problem: impl Into<String>) -> Error {
        Error::Contradiction { path: self.dir.path().to_owned(), problem: problem.into() }
    }
}

fn absolute(folder: &Path) -> Result<PathBuf, Error> {
    if !folder.exists() {
        return Err(Error::Usage {
            path: folder.to_owned(),
            problem: "there is no such folder; name that of a run, \
                      results/<experiment>/<config>/seed-<seed>"
                .to_owned(),
        });
    }
    Ok(results::absolute_run(folder)?)
}

fn check_status(record: &Record) -> Result<(), String> {
    match record.status {
        Status::Done => Ok(()),
        Status::Diverged => Err("the run diverged: its weights are no model".to_owned()),
        Status::Failed => Err("the run failed; carry it out with `xp run` first".to_owned()),
        Status::Imported => {
            Err("the run was imported: its numbers were measured elsewhere, and its \
                                 weights are not here"
                .to_owned())
        }
    }
}
