//! Carrying a run out again, and comparing what comes out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::watch::Watch;
use super::{Finding, Subject, finding, shown};
use crate::canonical;
use crate::data::Cache;
use crate::model::Layout;
use crate::plan::Plan;
use crate::results::{self, Record, RunDir, Status, store};
use crate::run::{Error, Executor, Jobs, Observer, Options, interpret, run_dir};
use crate::train::weights;

/// How to carry a run out again.
pub struct Again<'a> {
    /// Only so many first steps; the whole run if there are no more.
    pub steps: Option<u64>,
    /// Where it is carried out: a folder that is empty.
    pub scratch: &'a Path,
    /// Where tokens lie.
    pub cache: &'a Cache,
    /// The device.
    pub executor: &'a dyn Executor,
    /// Who wants to know how it goes.
    pub observer: &'a dyn Observer,
    /// Set by a signal.
    pub stop: &'a Arc<AtomicBool>,
}

/// What came of carrying a run out again.
pub enum Rerun {
    /// A signal came first.
    Interrupted,
    /// It was compared.
    Compared {
        /// Steps whose numbers were compared.
        steps: u64,
        /// Whether the results were too.
        whole: bool,
        /// What differs.
        found: Vec<Finding>,
    },
}

impl Subject {
    /// Carries the run out again in `scratch`, of which nothing is needed afterwards, and compares
    /// what comes out byte for byte; with `steps` only the losses of so many first steps.
    ///
    /// # Errors
    /// [`Error::Input`] if `plan` is not what the run was made of, or the run has no training of its
    /// own; what stops [`interpret::run`].
    pub fn rerun(&self, mut plan: Plan, again: &Again<'_>) -> Result<Rerun, Error> {
        let record = &self.record;
        if matches!(record.status, Status::Imported | Status::Failed) {
            let why = if record.status == Status::Failed { "failed" } else { "was imported" };
            return Err(Error::Input(format!("the run {why}: there is nothing to train again")));
        }
        plan.experiment.clone_from(&record.experiment);
        plan.repeats = 1;
        plan.points.retain(|point| point.resolved.name == record.point);
        plan.spec.output.keep_weights = Some(true);
        plan.spec.output.tensorboard = Some(false);
        let own = plan
            .runs()
            .into_iter()
            .find(|run| run.config.name == record.config && run.seed == record.seed);
        let own = own.ok_or_else(|| {
            let (config, seed) = (&record.config, record.seed);
            Error::Input(format!("the spec has no run {config} with seed {seed} at this point"))
        })?;
        if own.train_id != record.train_id {
            return Err(Error::Input(format!(
                "the spec trains another run under this name (train id {}, not {}); `xp diff` says \
                 what differs",
                own.train_id, record.train_id
            )));
        }
        let layout = results::Layout::new(again.scratch);
        let dir = run_dir(&plan, &own, &layout);
        let options = Options {
            results: &layout,
            cache: again.cache,
            only: Some(
                glob::Pattern::new(&glob::Pattern::escape(&record.config)).expect("escaped"),
            ),
            seeds: Some(vec![record.seed]),
            shard: None,
            task: None,
            jobs: Jobs::Given(1),
            fail_fast: true,
            force: false,
            supersede: false,
        };
        let watch = Watch {
            inner: again.observer,
            stop: again.stop,
            left: AtomicU64::new(again.steps.unwrap_or(u64::MAX)),
            reached: AtomicBool::new(false),
        };
        let outcome = interpret::run(&plan, &options, again.executor, &watch, again.stop)?;
        let reached = watch.reached.load(Ordering::Relaxed);
        if outcome.interrupted && !reached {
            return Ok(Rerun::Interrupted);
        }
        if outcome.failed > 0 {
            let provenance = store::read_provenance(&dir)?.and_then(|provenance| provenance.error);
            return Err(Error::Input(format!(
                "it failed when it was trained again: {}",
                provenance.unwrap_or_default()
            )));
        }
        let mut found = Vec::new();
        let steps = self.compare_steps(&dir, again.steps, &mut found)?;
        if !reached {
            self.compare_results(&dir, &plan, &mut found)?;
        }
        Ok(Rerun::Compared { steps, whole: !reached, found })
    }

    /// The number of steps that were compared.
    fn compare_steps(
        &self,
        again: &RunDir,
        limit: Option<u64>,
        found: &mut Vec<Finding>,
    ) -> Result<u64, Error> {
        if !self.dir.train().exists() {
            found.push(finding("train.jsonl", "it is not there"));
            return Ok(0);
        }
        let limit = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let (ours, theirs) = (store::read_train(&self.dir)?, store::read_train(again)?);
        let (ours, theirs) = (&ours[..ours.len().min(limit)], &theirs[..theirs.len().min(limit)]);
        let differs = ours.iter().zip(theirs).find_map(|(own, other)| own.difference(other));
        if let Some(differs) = differs {
            found.push(finding("train.jsonl", differs));
        } else if ours.len() != theirs.len() {
            let what = format!("it has {} steps, trained again {}", ours.len(), theirs.len());
            found.push(finding("train.jsonl", what));
        }
        Ok(ours.len().min(theirs.len()) as u64)
    }

    fn compare_results(
        &self,
        again: &RunDir,
        plan: &Plan,
        found: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let mut theirs = store::read_record(&again.record())?;
        // An evaluation of other lengths is another eval id; what both hold must be equal.
        let chunks = |dir: &RunDir| -> Result<BTreeMap<_, _>, Error> {
            let lines = store::read_eval(dir)?;
            Ok(lines.into_iter().map(|c| ((c.transform.clone(), c.length, c.chunk), c)).collect())
        };
        let (own_chunks, other_chunks) = (chunks(&self.dir)?, chunks(again)?);
        let differs = own_chunks.iter().find_map(|(key, own)| {
            other_chunks.get(key).filter(|other| *other != own).map(|other| (key, own, other))
        });
        if let Some(((transform, length, chunk), own, other)) = differs {
            let under = transform.as_ref().map(|t| format!(" under {t}")).unwrap_or_default();
            found.push(finding(
                "eval.jsonl",
                format!(
                    "chunk {chunk} of length {length}{under}: loss {}, evaluated again {}",
                    shown(own.loss),
                    shown(other.loss)
                ),
            ));
        }
        // What a record of a former version does not say is not compared.
        if let (Some(own), Some(train)) = (&self.record.train, &mut theirs.train) {
            own.forget_what_it_lacks(train);
        }
        let part = |record: &Record| {
            let mut value = serde_json::to_value(record).expect("a record is JSON");
            if theirs.eval_id != self.record.eval_id
                && let Some(keys) = value.as_object_mut()
            {
                for key in ["eval_id", "protocol", "evaluation", "eval", "transforms"] {
                    keys.remove(key);
                }
            }
            value
        };
        let differences = canonical::differences(&part(&self.record), &part(&theirs));
        if let Some(difference) = differences.first() {
            found.push(finding("run.json", format!("{difference} when carried out again")));
        }
        if self.dir.weights().exists() && again.weights().exists() {
            let protocol = plan.points.first().map(|point| &point.resolved.protocol.model);
            let layout = Layout::new(protocol.expect("the point of the run"));
            self.compare_weights(again, &layout, found)?;
        }
        Ok(())
    }

    fn compare_weights(
        &self,
        again: &RunDir,
        layout: &Layout,
        found: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let name = "weights.safetensors";
        if crate::fs::hash_file(&self.dir.weights())? == crate::fs::hash_file(&again.weights())? {
            return Ok(());
        }
        let load = |dir: &RunDir| weights::load(&dir.weights(), layout);
        let (ours, theirs) = match (load(&self.dir), load(again)) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (Err(error), _) | (_, Err(error)) => {
                found.push(finding(name, error.to_string()));
                return Ok(());
            }
        };
        let bits = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits();
        let differ = ours.iter().zip(&theirs).filter(bits).count();
        let first = layout.tensors.iter().find_map(|tensor| {
            let pairs = ours[tensor.range()].iter().zip(&theirs[tensor.range()]);
            let (i, (own, other)) = pairs.enumerate().find(|(_, pair)| bits(pair))?;
            Some(format!("value {i} of {} is {own:e}, trained again {other:e}", tensor.name))
        });
        let what = match first {
            Some(first) => format!("{differ} of {} values differ: {first}", ours.len()),
            None => "the values are equal, the bytes of the file are not".to_owned(),
        };
        found.push(finding(name, what));
        Ok(())
    }
}
