//! A run held against itself: its files against each other, and its training carried out again.

mod again;
mod identity;
mod watch;

use std::path::Path;

pub use again::{Again, Rerun};

use super::Error;
use crate::eval;
use crate::model::{self, Layout};
use crate::results::{
    self, ChunkLoss, Details, Entry, Lock, Record, RunDir, Status, Training, store,
};
use crate::train::weights;

/// A run that is to be verified.
pub struct Subject {
    /// Its folder.
    pub dir: RunDir,
    /// Its record.
    pub record: Record,
    /// The results folder that it is in.
    layout: results::Layout,
    experiment: String,
    entry: Entry,
    lock: Lock,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file, by its name in the run's folder.
    pub file: String,
    /// What differs, with both values.
    pub what: String,
}

fn finding(file: &str, what: impl Into<String>) -> Finding {
    Finding { file: file.to_owned(), what: what.into() }
}

impl Subject {
    /// Reads a run by its folder; an attempt by its folder inside it.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no run, or none of an experiment; a run.json or lock.json that is
    /// damaged, or that contradicts its place.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        if !path.exists() {
            return Err(Error::Input(format!("there is no `{shown}`")));
        }
        let dir = RunDir(results::absolute_run(path)?);
        if !dir.record().is_file() {
            return Err(Error::Input(format!(
                "`{shown}` holds no run.json: name the folder of a finished run, \
                 results/<experiment>/<config>/seed-<seed>"
            )));
        }
        let nowhere = || {
            Error::Input(format!("no lock.json above `{shown}` says what was declared of the run"))
        };
        let folder = results::experiment_above(dir.path()).ok_or_else(nowhere)?;
        let lock = store::read_lock(&folder.join("lock.json"))?.ok_or_else(nowhere)?;
        let (Some(root), Some(name)) = (folder.parent(), folder.file_name()) else {
            return Err(nowhere());
        };
        let (layout, experiment) =
            (results::Layout::new(root), name.to_string_lossy().into_owned());
        let below = dir.path().strip_prefix(&folder).expect("it was found above the run");
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        let file = format!("{}/run.json", parts.join("/"));
        let listing = results::list(&layout, &experiment)?;
        if let Some(problem) = listing.problems.into_iter().find(|problem| problem.path == file) {
            let (path, reason) = (dir.record(), problem.reason);
            return Err(store::Error::Malformed { path, line: None, reason }.into());
        }
        let entry = listing.entries.into_iter().find(|entry| entry.path == file);
        let entry = entry.ok_or_else(|| {
            Error::Input(format!(
                "`{shown}` is no current result (superseded ones are not verified)"
            ))
        })?;
        Ok(Self { dir, record: entry.record.clone(), layout, experiment, entry, lock })
    }

    /// What in its files contradicts the rest, without computing anything anew: ids, chunks, steps,
    /// weights.
    #[must_use]
    pub fn check_files(&self) -> Vec<Finding> {
        let details = Details::read(&self.layout, &self.experiment, &self.entry);
        let mut found: Vec<Finding> = details
            .problems
            .iter()
            .map(|problem| {
                let name = problem.path.rsplit('/').next().unwrap_or_default();
                finding(name, problem.reason.clone())
            })
            .collect();
        if self.record.status == Status::Imported {
            return found;
        }
        self.check_ids(&mut found);
        self.check_training(&details, &mut found);
        self.check_chunks(&details, &mut found);
        found
    }

    fn check_ids(&self, found: &mut Vec<Finding>) {
        let record = &self.record;
        let Some(point) = self.lock.point_of(record) else {
            let what = "no declaration in lock.json has its train id under this config and seed";
            found.push(finding("run.json", what));
            return;
        };
        self.check_identity(point, found);
        if self.dir.weights().exists() {
            let layout =
                model::Config::of_training(&point.training).map(|model| Layout::new(&model));
            let reason = match layout {
                Err(reason) => Some(reason),
                Ok(layout) => self.wrong_weights(&layout),
            };
            found.extend(reason.map(|reason| finding("weights.safetensors", reason)));
        }
    }

    /// What is wrong with the weights.
    fn wrong_weights(&self, layout: &Layout) -> Option<String> {
        let values = match weights::load(&self.dir.weights(), layout) {
            Ok(values) => values,
            Err(error) => return Some(error.to_string()),
        };
        if values.iter().any(|x| !x.is_finite()) {
            return Some("some weights are not finite".to_owned());
        }
        // Records of former versions have no hash of them.
        let was = self.record.train.as_ref()?.weights.as_ref()?;
        let is = weights::hash_of(&values);
        (is != *was).then(|| format!("the hash of its weights is {is}, run.json has {was}"))
    }

    /// The log of the training must be whole, and end with the loss that run.json has.
    fn check_training(&self, details: &Details, found: &mut Vec<Finding>) {
        let Some(train) = &self.record.train else { return };
        let broken = details.problems.iter().any(|problem| problem.path.ends_with("train.jsonl"));
        if broken || !self.dir.train().exists() {
            return;
        }
        let steps = &details.steps;
        let wrong = steps.iter().enumerate().find(|(i, step)| step.step != *i as u64);
        if let Some((i, step)) = wrong {
            let what = format!("step {i} is missing: there is step {} in its place", step.step);
            found.push(finding("train.jsonl", what));
        } else if steps.len() as u64 != train.steps {
            let what = format!("it has {} steps, run.json says {}", steps.len(), train.steps);
            found.push(finding("train.jsonl", what));
        } else if let Some(last) = steps.last().filter(|last| last.loss != train.final_loss) {
            let (own, says) = (shown(last.loss), shown(train.final_loss));
            found.push(finding(
                "train.jsonl",
                format!("its last loss is {own}, run.json has {says}"),
            ));
        } else if !store::is_log_of(&self.dir, steps).is_ok_and(|as_written| as_written) {
            let what = "it has other bytes than are written of its steps";
            found.push(finding("train.jsonl", what));
        } else if let Some(what) = self.wrong_log(train) {
            found.push(finding("train.jsonl", what));
        }
    }

    /// What the hash of the log says against it.
    fn wrong_log(&self, train: &Training) -> Option<String> {
        let was = train.log.as_deref()?;
        match store::other_log(&self.dir, train) {
            Ok(other) => other.map(|is| format!("its hash is {is}, run.json has {was}")),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The metrics must be those of the chunks to the last bit, and every chunk's loss that of its
    /// positions.
    fn check_chunks(&self, details: &Details, found: &mut Vec<Finding>) {
        if details.problems.iter().any(|problem| problem.path.ends_with("eval.jsonl")) {
            return;
        }
        let lines: Vec<ChunkLoss> = details.chunks.values().flatten().cloned().collect();
        let transforms = self.record.transforms.keys().map(|name| Some(name.as_str()));
        for transform in [None].into_iter().chain(transforms) {
            let results = self.record.results(transform).expect("one of the record's");
            let all = results.keys().map(|&length| (length, None)).collect();
            let own = eval::evaluations(&lines, transform, &all);
            for (length, result) in results {
                if own.get(length) != Some(result) {
                    let nll = own.get(length).map_or("none".to_owned(), |own| shown(own.nll));
                    let under = transform.map(|t| format!(" under {t}")).unwrap_or_default();
                    found.push(finding(
                        "eval.jsonl",
                        format!(
                            "nll at {length}{under}: of its chunks {nll}, run.json has {}",
                            shown(result.nll)
                        ),
                    ));
                }
            }
        }
        let odd = lines.iter().find(|line| {
            let count: u64 = line.positions.iter().map(|part| part.count).sum();
            let sum: Option<f64> = line.positions.iter().map(|part| part.sum).sum();
            let mean = sum.map(|sum| sum / count as f64);
            // The parts were summed apart.
            let near = |(mean, loss): (f64, f64)| (mean - loss).abs() <= 1e-9 * loss.abs();
            count != line.tokens || !mean.zip(line.loss).is_none_or(near)
        });
        if let Some(line) = odd {
            let (chunk, length) = (line.chunk, line.length);
            let what = format!("chunk {chunk} of length {length} is not the sum of its positions");
            found.push(finding("eval.jsonl", what));
        }
    }
}

/// A number for a message.
fn shown(value: Option<f64>) -> String {
    value.map_or("not finite".to_owned(), |value| value.to_string())
}

/// The device class on which a run was carried out, if its provenance says so.
///
/// # Errors
/// A provenance.json that cannot be read.
pub fn device_class(run: &RunDir) -> store::Result<Option<String>> {
    let provenance = store::read_provenance(run)?;
    Ok(provenance.map(|provenance| provenance.device_class).filter(|class| !class.is_empty()))
}
