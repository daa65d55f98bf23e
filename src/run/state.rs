//! What is on disk of a run, and what that leaves to do.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::plan::Run;
use crate::results::{ChunkLoss, Layout, Record, RunDir, Status, all_records, store};
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
    /// The same training, evaluated on other validation data.
    #[error("`{run}` was evaluated on other validation data: {keys}")]
    OtherEvaluation {
        /// The run's folder.
        run: String,
        /// What differs.
        keys: String,
    },
}

/// The finished runs of a results directory by train id: what need not be trained again.
#[derive(Debug, Default)]
pub struct Index {
    by_train_id: BTreeMap<String, RunDir>,
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
        index
    }

    /// Adds a record; the first of a train id stays.
    pub fn add(&mut self, record: &Record, dir: &RunDir) {
        if record.status == Status::Done {
            self.by_train_id.entry(record.train_id.clone()).or_insert_with(|| dir.clone());
        }
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
        true => Some(store::read_record(&dir.record())?).filter(|r| r.status != Status::Imported),
        false => None,
    };
    if let Some(record) = record {
        conflict(run, dir, &record)?;
        let with_record = |state, reason: String| Inspection {
            record: Some(record.clone()),
            ..found(state, reason)
        };
        return Ok(match record.status {
            Status::Diverged => with_record(State::Done, "diverged".into()),
            Status::Failed => with_record(State::Todo, "failed before".into()),
            _ => match missing(&record, &run.point.identity.evaluation) {
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
    if let Some(twin) = index.twin(&run.train_id, dir).filter(|twin| twin.weights().exists()) {
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

fn conflict(run: &Run<'_>, dir: &RunDir, record: &Record) -> Result<(), super::Error> {
    let name = || dir.path().display().to_string();
    if record.train_id != run.train_id {
        let mut keys = Vec::new();
        match &record.freq {
            Some(freq) if freq.vec_id != run.config.freq.vec_id => {
                keys.push(format!("freq: {} -> {}", freq.expression, run.config.freq.expression));
            }
            _ => {}
        }
        if record.seed != run.seed {
            keys.push(format!("seed: {} -> {}", record.seed, run.seed));
        }
        if keys.is_empty() {
            keys.push("the training protocol (see lock.json) or the numerics of this xp".into());
        }
        return Err(Conflict::OtherRun { run: name(), keys: keys.join("; ") }.into());
    }
    if let Some(held) = &record.evaluation {
        let (mut held, mut wanted) = (held.clone(), run.point.identity.evaluation.clone());
        held["chunks"] = Json::Null;
        wanted["chunks"] = Json::Null;
        let differences = crate::canonical::differences(&held, &wanted);
        if !differences.is_empty() {
            let keys: Vec<String> = differences.iter().map(ToString::to_string).collect();
            return Err(Conflict::OtherEvaluation { run: name(), keys: keys.join("; ") }.into());
        }
    }
    Ok(())
}

/// Chunks a length asked for by the canonical evaluation part; `None` is all.
#[must_use]
pub fn chunks_of(evaluation: &Json) -> BTreeMap<u64, Option<u64>> {
    let chunks = evaluation["chunks"].as_object().into_iter().flatten();
    chunks.filter_map(|(length, n)| Some((length.parse().ok()?, n.as_u64()))).collect()
}

/// The larger of two wishes for chunks, length by length.
#[must_use]
pub fn union_of(
    a: &BTreeMap<u64, Option<u64>>,
    b: &BTreeMap<u64, Option<u64>>,
) -> BTreeMap<u64, Option<u64>> {
    let mut union = a.clone();
    for (&length, &n) in b {
        union
            .entry(length)
            .and_modify(|held| *held = if covers(*held, n) { *held } else { n })
            .or_insert(n);
    }
    union
}

fn covers(held: Option<u64>, wanted: Option<u64>) -> bool {
    match (held, wanted) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(held), Some(wanted)) => held >= wanted,
    }
}

/// What a record lacks of the evaluation that is asked for: `512`, `64 (4 of 8 chunks)`.
fn missing(record: &Record, evaluation: &Json) -> Vec<String> {
    let held = record.evaluation.as_ref().map(chunks_of).unwrap_or_default();
    let mut missing = Vec::new();
    for (length, wanted) in chunks_of(evaluation) {
        match held.get(&length) {
            Some(&have) if covers(have, wanted) => {}
            Some(have) => missing.push(format!(
                "length {length} ({} of {} chunks)",
                have.map_or("all".into(), |n| n.to_string()),
                wanted.map_or("all".into(), |n| n.to_string())
            )),
            None => missing.push(format!("length {length}")),
        }
    }
    missing
}

/// The chunks to evaluate: those asked for that fit into the tokens and are not there yet.
#[must_use]
pub fn chunks_to_do(
    wanted: &BTreeMap<u64, Option<u64>>,
    lines: &[ChunkLoss],
    validation_tokens: u64,
) -> Vec<(u64, u64)> {
    let mut todo = Vec::new();
    for (&length, &limit) in wanted {
        let fitting = validation_tokens / length;
        for chunk in 0..limit.map_or(fitting, |n| n.min(fitting)) {
            if !lines.iter().any(|line| line.length == length && line.chunk == chunk) {
                todo.push((length, chunk));
            }
        }
    }
    todo
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wishes_for_chunks_unite_to_the_larger() {
        let a = chunks_of(&json!({"chunks": {"64": 4, "128": "all"}}));
        let b = chunks_of(&json!({"chunks": {"64": 8, "128": 2, "256": 1}}));
        let union = union_of(&a, &b);
        assert_eq!(union, BTreeMap::from([(64, Some(8)), (128, None), (256, Some(1))]));
        assert_eq!(union, union_of(&b, &a));
    }

    #[test]
    fn only_chunks_that_fit_and_are_not_there_are_to_do() {
        let wanted = BTreeMap::from([(4, Some(3)), (8, None), (16, Some(2))]);
        let line = ChunkLoss {
            length: 4,
            transform: None,
            chunk: 1,
            tokens: 3,
            loss: None,
            positions: vec![],
        };
        assert_eq!(chunks_to_do(&wanted, &[line], 20), [(4, 0), (4, 2), (8, 0), (8, 1), (16, 0)]);
    }
}
