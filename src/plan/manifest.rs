//! A frozen list of runs, a line each: what the tasks of a job array are told to carry out.

use serde::{Deserialize, Serialize};

use super::{Plan, Run};

/// One run of a frozen list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The train id that it had when the list was frozen.
    pub train_id: String,
    /// The eval id likewise.
    pub eval_id: String,
    /// The protocol id.
    pub protocol: String,
    /// Sweep point, if the spec sweeps protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Config name.
    pub config: String,
    /// The seed.
    pub seed: u64,
    /// 1, or the number of a repeat.
    pub attempt: u32,
}

impl Task {
    /// A run as the `index`-th of a list.
    #[must_use]
    pub fn new(index: usize, run: &Run<'_>) -> Self {
        Self {
            index,
            train_id: run.train_id.clone(),
            eval_id: run.eval_id.clone(),
            protocol: run.point.protocol_id.clone(),
            point: run.point.resolved.name.clone(),
            config: run.config.name.clone(),
            seed: run.seed,
            attempt: run.attempt,
        }
    }

    /// Whether it is this run, by name.
    #[must_use]
    pub fn names(&self, run: &Run<'_>) -> bool {
        run.point.resolved.name == self.point
            && run.config.name == self.config
            && run.seed == self.seed
            && run.attempt == self.attempt
    }

    /// Why a plan no longer has the run that was frozen; `None` if it has.
    #[must_use]
    pub fn drift(&self, plan: &Plan) -> Option<String> {
        let point = self.point.as_ref().map(|point| format!("{point}/")).unwrap_or_default();
        let name = format!("{point}{} seed {}", self.config, self.seed);
        let runs = plan.runs();
        let Some(run) = runs.iter().find(|run| self.names(run)) else {
            return Some(format!("the spec has no run {name} any more"));
        };
        let changed = |id: &str, was: &str, is: &str| {
            format!(
                "the spec was changed since {name} was put on the list: its {id} id was {was}, is {is}"
            )
        };
        if run.train_id != self.train_id {
            return Some(changed("train", &self.train_id, &run.train_id));
        }
        (run.eval_id != self.eval_id).then(|| changed("eval", &self.eval_id, &run.eval_id))
    }

    /// A list as JSON lines.
    #[must_use]
    pub fn to_lines(tasks: &[Self]) -> String {
        let line = |task| serde_json::to_string(task).expect("a plain struct is JSON") + "\n";
        tasks.iter().map(line).collect()
    }

    /// The task of an index in a list.
    ///
    /// # Errors
    /// A line that is none, or a list without that index, in words.
    pub fn find(lines: &str, index: usize) -> Result<Self, String> {
        let line = lines.lines().nth(index).ok_or_else(|| {
            format!("it has {} tasks, counted from 0: there is no {index}", lines.lines().count())
        })?;
        let task: Self =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))?;
        match task.index == index {
            true => Ok(task),
            false => {
                Err(format!("line {} has index {}: the list was edited", index + 1, task.index))
            }
        }
    }
}
