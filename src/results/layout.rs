//! Where results lie: `<root>/<experiment>/[<point>/]<config>/seed-<seed>/`.

use std::path::{Path, PathBuf};

/// Folder of an experiment that holds its reports; no config or point may have this name.
pub const REPORT_DIR: &str = "report";
/// Folder of an experiment that holds what `--supersede` moved away.
pub const SUPERSEDED_DIR: &str = "superseded";

/// The paths of a results directory. Pure: it looks at no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the results directory `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The results directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of an experiment.
    #[must_use]
    pub fn experiment(&self, experiment: &str) -> PathBuf {
        self.root.join(experiment)
    }

    /// `lock.json` of an experiment.
    #[must_use]
    pub fn lock(&self, experiment: &str) -> PathBuf {
        self.experiment(experiment).join("lock.json")
    }

    /// The file to hold with [`crate::fs::try_lock`] while an experiment's `lock.json` is
    /// changed or results are imported.
    #[must_use]
    pub fn guard(&self, experiment: &str) -> PathBuf {
        self.experiment(experiment).join(".guard")
    }

    /// The folder of an experiment's reports.
    #[must_use]
    pub fn report(&self, experiment: &str) -> PathBuf {
        self.experiment(experiment).join(REPORT_DIR)
    }

    /// The folder of a report over several experiments.
    #[must_use]
    pub fn combined_report(&self) -> PathBuf {
        self.root.join(REPORT_DIR)
    }

    /// The folder of one run; `point` if the spec sweeps protocols.
    #[must_use]
    pub fn run(&self, experiment: &str, point: Option<&str>, config: &str, seed: u64) -> RunDir {
        let mut path = self.experiment(experiment);
        if let Some(point) = point {
            path.push(point);
        }
        path.push(config);
        path.push(format!("seed-{seed}"));
        RunDir(path)
    }
}

/// The folder of one run, or of a further attempt inside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunDir(pub PathBuf);

impl RunDir {
    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `run.json`: identity, status, metrics.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// `eval.jsonl`: one line a chunk.
    #[must_use]
    pub fn eval(&self) -> PathBuf {
        self.0.join("eval.jsonl")
    }

    /// `train.jsonl`: one line a step.
    #[must_use]
    pub fn train(&self) -> PathBuf {
        self.0.join("train.jsonl")
    }

    /// `provenance.json`: machine, versions, attempts.
    #[must_use]
    pub fn provenance(&self) -> PathBuf {
        self.0.join("provenance.json")
    }

    /// `weights.safetensors`: the final weights.
    #[must_use]
    pub fn weights(&self) -> PathBuf {
        self.0.join("weights.safetensors")
    }

    /// `checkpoint/`: the state of a run under way.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// `tb/`: TensorBoard events.
    #[must_use]
    pub fn tensorboard(&self) -> PathBuf {
        self.0.join("tb")
    }

    /// The file to hold with [`crate::fs::try_lock`] while a process is at the run.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join(".lock")
    }

    /// The folder of attempt `number`: this folder for 1, `attempt-<number>` inside it from 2.
    #[must_use]
    pub fn attempt(&self, number: u32) -> Self {
        if number <= 1 { self.clone() } else { Self(self.0.join(format!("attempt-{number}"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_contract() {
        let layout = Layout::new("results");
        let run = layout.run("search", None, "geo_500k", 42);
        assert_eq!(run.record(), Path::new("results/search/geo_500k/seed-42/run.json"));
        assert_eq!(run.attempt(1), run);
        assert_eq!(
            run.attempt(2).eval(),
            Path::new("results/search/geo_500k/seed-42/attempt-2/eval.jsonl")
        );
        let swept = layout.run("search", Some("lr=0.0003"), "geo_500k", 7);
        assert_eq!(swept.path(), Path::new("results/search/lr=0.0003/geo_500k/seed-7"));
        assert_eq!(layout.report("search"), Path::new("results/search/report"));
        assert_eq!(layout.combined_report(), Path::new("results/report"));
    }
}
