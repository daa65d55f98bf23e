//! What is on disk of a run, and what that leaves to do.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Coverage, Missing, Plan, Run, comparable};
use crate::results::{
    ChunkLoss, Layout, Record, RunDir, Status, all_locks, all_records, changed_keys, store,
};
use crate::train::checkpoint;

/// What is left to do of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Nothing.
    Done,
    /// The weights are there; some evaluation is missing.
    Evaluate,
    /// A checkpoint is there.
    Resume {
        /// Steps done.
        step: u64,
    },
    /// Everything.
    Todo,
}

impl State {
    /// The word for it in `xp plan`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Evaluate => "evaluate",
            Self::Resume { .. } => "resume",
            Self::Todo => "todo",
        }
    }
}

/// The state of a run, and why it is so.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// What is left to do.
    pub state: State,
    /// Why, in words.
    pub reason: String,
    /// The native record, if there is one.
    pub record: Option<Record>,
    /// Another run of the same train id, whose weights can be taken over.
    pub twin: Option<RunDir>,
}

impl Inspection {
    /// Whether steps are left to do.
    #[must_use]
    pub fn needs_training(&self) -> bool {
        matches!(self.state, State::Todo | State::Resume { .. })
    }
}

/// Why a run cannot be carried out under its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A result of another run lies there.
    #[error("`{run}` holds results of another run: {keys}")]
    OtherRun {
        /// The run's folder.
        run: String,
        /// What differs.
        keys: String,
    },
    /// An imported attempt lies where a repeat would.
    #[error(
        "`{run}` holds an imported attempt, where a repeat would lie: move it away, or import it again \
         after the repeats"
    )]
    Imported {
        /// The run's folder.
        run: String,
    },
    /// The same training, evaluated on other validation data.
    #[error("`{run}` was evaluated on other validation data: {keys}")]
    OtherEvaluation {
        /// The run's folder.
        run: String,
        /// What differs.
        keys: String,
    },
}

/// Where a run lies.
#[must_use]
pub fn run_dir(plan: &Plan, run: &Run<'_>, layout: &Layout) -> RunDir {
    let point = run.point.resolved.name.as_deref();
    layout.run(&plan.experiment, point, &run.config.name, run.seed).attempt(run.attempt)
}

/// The finished runs of a results directory by train id: what need not be trained again.
#[derive(Debug, Default)]
pub struct Index {
    by_train_id: BTreeMap<String, RunDir>,
    /// The training part of every protocol that a lock.json has, by protocol id.
    trainings: BTreeMap<String, serde_json::Value>,
}

impl Index {
    /// Reads every `run.json` below the results directory; unreadable ones are left out (the
    /// report names them).
    #[must_use]
    pub fn scan(layout: &Layout) -> Self {
        let mut index = Self::default();
        for (dir, record) in all_records(layout) {
            index.add(&record, &dir);
        }
        for lock in all_locks(layout) {
            for point in lock.versions().flat_map(|declared| &declared.points) {
                let training = || point.training.clone();
                index.trainings.entry(point.protocol.clone()).or_insert_with(training);
            }
        }
        index
    }

    /// Which training keys of a run are others than those that a record was made under; empty if they
    /// are not on record.
    fn changed_training(&self, record: &Record, run: &Run<'_>) -> Vec<String> {
        let old = self.trainings.get(&record.protocol);
        old.map(|old| changed_keys(old, &run.point.identity.training)).unwrap_or_default()
    }

    /// Adds a record; the first of a train id stays.
    pub fn add(&mut self, record: &Record, dir: &RunDir) {
        if record.status == Status::Done {
            self.by_train_id.entry(record.train_id.clone()).or_insert_with(|| dir.clone());
        }
    }

    /// Whether a training has results somewhere below the results directory.
    pub(super) fn has(&self, train_id: &str) -> bool {
        self.by_train_id.contains_key(train_id)
    }

    fn twin(&self, train_id: &str, of: &RunDir) -> Option<RunDir> {
        self.by_train_id.get(train_id).filter(|dir| *dir != of).cloned()
    }
}

/// Looks at what is there of a run.
///
/// # Errors
/// A record that cannot be read, or one that belongs to another run.
pub fn inspect(run: &Run<'_>, dir: &RunDir, index: &Index) -> Result<Inspection, super::Error> {
    let found = |state, reason: String| Inspection { state, reason, record: None, twin: None };
    let record = match dir.record().exists() {
        true => {
            let record = store::read_record(&dir.record())?;
            let imported = record.status == Status::Imported;
            if imported && run.attempt > 1 {
                return Err(Conflict::Imported { run: dir.path().display().to_string() }.into());
            }
            Some(record).filter(|_| !imported)
        }
        false => None,
    };
    if let Some(record) = record {
        conflict(run, dir, &record, index)?;
        let with_record = |state, reason: String| Inspection {
            record: Some(record.clone()),
            ..found(state, reason)
        };
        return Ok(match record.status {
            Status::Diverged => with_record(State::Done, "diverged".into()),
            Status::Failed => with_record(State::Todo, "failed before".into()),
            _ => match missing(&record, run) {
                missing if missing.is_empty() => with_record(State::Done, "complete".into()),
                missing if dir.weights().exists() => with_record(
                    State::Evaluate,
                    format!("not evaluated yet: {}", missing.join(", ")),
                ),
                missing => with_record(
                    State::Todo,
                    format!("not evaluated yet: {}; its weights were not kept", missing.join(", ")),
                ),
            },
        });
    }
    // A repeat is trained again: that is its purpose.
    let twin = index.twin(&run.train_id, dir).filter(|_| run.attempt == 1);
    if let Some(twin) = twin.filter(|twin| twin.weights().exists()) {
        let reason = format!("trained already as {}", twin.path().display());
        return Ok(Inspection { twin: Some(twin), ..found(State::Evaluate, reason) });
    }
    let checkpoint = checkpoint::list(&dir.checkpoint())
        .into_iter()
        .find(|checkpoint| checkpoint.owner.train_id == run.train_id);
    Ok(match checkpoint {
        Some(checkpoint) => {
            let step = checkpoint.step;
            found(State::Resume { step }, format!("checkpoint at step {step}"))
        }
        None => found(State::Todo, "not run yet".into()),
    })
}

fn conflict(
    run: &Run<'_>,
    dir: &RunDir,
    record: &Record,
    index: &Index,
) -> Result<(), super::Error> {
    let name = || dir.path().display().to_string();
    if record.train_id != run.train_id {
        let mut keys = Vec::new();
        match &record.freq {
            Some(freq)
                if freq.vec_id != run.config.freq.vec_id
                    && freq.expr_id == run.config.freq.expr_id =>
            {
                keys.push(format!(
                    "freq: {} gives other numbers than then (vec_id {} -> {}): the arithmetic of \
                     this xp is another",
                    freq.expression, freq.vec_id, run.config.freq.vec_id
                ));
            }
            Some(freq)
                if freq.vec_id != run.config.freq.vec_id
                    && freq.expression == run.config.freq.expression =>
            {
                keys.push(format!(
                    "freq: {} for another head_dim, length or rope_dtype (vec_id {} -> {})",
                    freq.expression, freq.vec_id, run.config.freq.vec_id
                ));
            }
            Some(freq) if freq.vec_id != run.config.freq.vec_id => {
                keys.push(format!("freq: {} -> {}", freq.expression, run.config.freq.expression));
            }
            _ => {}
        }
        if record.seed != run.seed {
            keys.push(format!("seed: {} -> {}", record.seed, run.seed));
        }
        keys.extend(index.changed_training(record, run));
        if keys.is_empty() {
            keys.push("the training protocol (see lock.json) or the numerics of this xp".into());
        }
        return Err(Conflict::OtherRun { run: name(), keys: keys.join("; ") }.into());
    }
    if let Some(held) = &record.evaluation {
        let wanted = comparable(&run.point.identity.evaluation);
        let differences = crate::canonical::differences(&comparable(held), &wanted);
        if !differences.is_empty() {
            let keys: Vec<String> = differences.iter().map(ToString::to_string).collect();
            return Err(Conflict::OtherEvaluation { run: name(), keys: keys.join("; ") }.into());
        }
    }
    Ok(())
}

/// What a record lacks of the evaluation that is asked for: `length 512`, `length 64 (4 of 8
/// chunks)`, `yarn8 at 512`.
fn missing(record: &Record, run: &Run<'_>) -> Vec<String> {
    let held = record.evaluation.as_ref().map(Coverage::read).unwrap_or_default();
    let wanted = Coverage::read(&run.point.identity.evaluation);
    let told =
        held.missing(&wanted).into_iter().map(|Missing { transform, length, held, wanted }| {
            let place = match transform {
                None => format!("length {length}"),
                Some(expression) => format!("{} at {length}", run.point.transform_name(expression)),
            };
            let count = |n: Option<u64>| n.map_or("all".into(), |n| n.to_string());
            match held {
                Some(have) => format!("{place} ({} of {} chunks)", count(have), count(wanted)),
                None => place,
            }
        });
    told.collect()
}

/// The chunks to evaluate under one transform, as (length, chunk): those asked for that fit into
/// the tokens and are not there yet.
#[must_use]
pub fn chunks_to_do(
    transform: Option<&str>,
    wanted: &BTreeMap<u64, Option<u64>>,
    lines: &[ChunkLoss],
    validation_tokens: u64,
) -> Vec<(u64, u64)> {
    let of_transform = lines.iter().filter(|line| line.transform.as_deref() == transform);
    let there: BTreeSet<(u64, u64)> = of_transform.map(|line| (line.length, line.chunk)).collect();
    let mut todo = Vec::new();
    for (&length, &limit) in wanted {
        let fitting = validation_tokens / length;
        let chunks = 0..limit.map_or(fitting, |n| n.min(fitting));
        todo.extend(chunks.map(|chunk| (length, chunk)).filter(|chunk| !there.contains(chunk)));
    }
    todo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chunks_that_fit_and_are_not_there_are_to_do() {
        let wanted = BTreeMap::from([(4, Some(3)), (8, None), (16, Some(2))]);
        let line = |transform: Option<&str>, chunk| ChunkLoss {
            length: 4,
            transform: transform.map(str::to_owned),
            chunk,
            tokens: 3,
            loss: None,
            positions: vec![],
        };
        let lines = [line(None, 1), line(Some("t"), 0)];
        let todo = |transform| chunks_to_do(transform, &wanted, &lines, 20);
        assert_eq!(todo(None), [(4, 0), (4, 2), (8, 0), (8, 1), (16, 0)]);
        assert_eq!(todo(Some("t")), [(4, 1), (4, 2), (8, 0), (8, 1), (16, 0)]);
    }
}
