//! The neutral report: what every format shows.
//!
//! Perplexities and gaps are in full precision here; formats round. Everything is in a fixed
//! order that follows the declaration, never the file system.

use serde::Serialize;

use super::verdict::Verdict;
use crate::results::{Problem, Status, WinRule};

/// A report over one or several experiments.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Format version of the JSON form, 1.
    pub schema: u32,
    /// The experiments, in the order given.
    pub experiments: Vec<Experiment>,
    /// All of their configs ranked together; `None` for one experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaderboard: Option<Leaderboard>,
}

/// One experiment's part of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experiment {
    /// Experiment name.
    pub name: String,
    /// Declared seeds.
    pub seeds: Vec<u64>,
    /// 1 (sample) or 0 (population): the divisor of every std is n - ddof.
    pub std_ddof: u8,
    /// The win rule.
    pub win: WinRule,
    /// The win rule as a sentence.
    pub rule: String,
    /// When the declaration was frozen; `None` if there is no `lock.json`.
    pub frozen: Option<String>,
    /// One section a protocol: one, or one a sweep point.
    pub sections: Vec<Section>,
    /// What was added or changed after the declaration was frozen.
    pub amendments: Vec<Change>,
    /// What the declaration at hand changes without `lock.json` saying so yet.
    pub unrecorded: Vec<String>,
    /// Files that could not be used.
    pub problems: Vec<Problem>,
    /// What a reader must know before believing a number.
    pub caveats: Vec<String>,
    /// Every result, one entry a (run, attempt, length): the rows of runs.csv.
    pub runs: Vec<RunRow>,
}

/// A dated change of the declaration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// When, UTC, ISO 8601.
    pub date: String,
    /// Whether results existed then.
    pub after_results: bool,
    /// What, in words.
    pub changes: Vec<String>,
}

/// The configs compared under one protocol.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Sweep point.
    pub point: Option<String>,
    /// Protocol id.
    pub protocol: String,
    /// Training length, in tokens.
    pub seq_len: u64,
    /// Lengths shown, ascending: the report lengths and the primary one.
    pub lengths: Vec<u64>,
    /// Length at which claims are made.
    pub primary_length: u64,
    /// One row a config, in the declaration's order.
    pub rows: Vec<Row>,
    /// Indices of `rows` by mean perplexity at the primary length; those without one last.
    pub ranking: Vec<usize>,
    /// Which declared results are not there.
    pub missing: Vec<String>,
}

/// A config against its baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Config name.
    pub config: String,
    /// Its frequency expression.
    pub expression: String,
    /// Config that it is compared with; its own name for a baseline.
    pub baseline: String,
    /// Seeds with a result at every length shown.
    pub n: usize,
    /// Declared seeds.
    pub n_expected: usize,
    /// The claim at the primary length; `None` for a baseline.
    pub verdict: Option<Verdict>,
    /// Why; empty for a baseline.
    pub reason: String,
    /// One cell a length shown.
    pub cells: Vec<Cell>,
}

impl Row {
    /// Whether the config is compared with itself.
    #[must_use]
    pub fn is_baseline(&self) -> bool {
        self.config == self.baseline
    }

    /// The cell at the primary length.
    #[must_use]
    pub fn primary(&self) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.primary)
    }
}

/// A config at one length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Evaluation length, in tokens.
    pub length: u64,
    /// Whether claims are made at this length; elsewhere a verdict is secondary.
    pub primary: bool,
    /// Seeds with a result here.
    pub n: usize,
    /// Mean perplexity.
    pub mean: Option<f64>,
    /// Its standard deviation over seeds; `None` with one seed.
    pub std: Option<f64>,
    /// `17.324 ± 0.441`.
    pub mean_pm_std: String,
    /// Baseline mean - mean, perplexity: positive is better. `None` for a baseline.
    pub gap: Option<f64>,
    /// The gap in percent of the baseline's mean.
    pub gap_pct: Option<f64>,
    /// `2/3`: paired seeds with a lower perplexity than the baseline's, of the pairs.
    pub seeds_better: Option<String>,
    /// Lower end of the 95 % paired interval of baseline nll - nll: positive is better.
    pub ci_low: Option<f64>,
    /// Upper end of that interval.
    pub ci_high: Option<f64>,
    /// Two-sided p of the paired t test on nll, not corrected.
    pub p_paired: Option<f64>,
    /// The same after Holm's correction over the configs compared at this length.
    pub p_holm: Option<f64>,
    /// The verdict at this length; `None` for a baseline.
    pub verdict: Option<Verdict>,
    /// Why; empty for a baseline.
    pub reason: String,
}

/// One row of runs.csv.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRow {
    /// Experiment name.
    pub experiment: String,
    /// Protocol id.
    pub protocol: String,
    /// Train id; empty if imported.
    pub train_id: String,
    /// Config name.
    pub config: String,
    /// The seed.
    pub seed: u64,
    /// Evaluation length; `None` for a run without any result.
    pub eval_len: Option<u64>,
    /// Perplexity.
    pub ppl: Option<f64>,
    /// Mean cross-entropy, nats a token.
    pub nll: Option<f64>,
    /// Chunks evaluated; `None` if imported.
    pub chunks: Option<u64>,
    /// How the run ended.
    pub status: Status,
    /// 1, or the number of a further attempt, which no mean contains. Not a column of runs.csv.
    pub attempt: u32,
}

/// Configs of several experiments ranked together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leaderboard {
    /// One group a protocol: within a group perplexities can be compared.
    pub groups: Vec<Group>,
    /// With several groups: `DRIFT`, and what differs between the first and each other one.
    pub drift: Vec<String>,
}

/// Configs whose perplexities can be compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The experiments (with their points) in it.
    pub members: Vec<String>,
    /// Length at which it is ranked.
    pub primary_length: u64,
    /// By mean perplexity at that length; those without one last.
    pub entries: Vec<Standing>,
}

/// One config's place in a leaderboard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// From 1; `None` without a mean.
    pub rank: Option<usize>,
    /// Experiment name.
    pub experiment: String,
    /// Sweep point.
    pub point: Option<String>,
    /// Config name.
    pub config: String,
    /// `17.324 ± 0.441`.
    pub mean_pm_std: String,
    /// Mean perplexity.
    pub mean: Option<f64>,
    /// Seeds with a result.
    pub n: usize,
    /// Declared seeds.
    pub n_expected: usize,
    /// Its own experiment's baseline.
    pub baseline: String,
    /// Gap against that baseline; `None` for the baseline itself.
    pub gap: Option<f64>,
    /// The gap in percent of the baseline's mean.
    pub gap_pct: Option<f64>,
    /// The verdict against that baseline; `None` for the baseline itself.
    pub verdict: Option<Verdict>,
    /// Why; empty for a baseline.
    pub reason: String,
}

impl Standing {
    /// Experiment and point: `search` or `search/lr=0.0003`.
    #[must_use]
    pub fn place(&self) -> String {
        place(&self.experiment, self.point.as_deref())
    }
}

/// Experiment and point as one name.
#[must_use]
pub fn place(experiment: &str, point: Option<&str>) -> String {
    match point {
        Some(point) => format!("{experiment}/{point}"),
        None => experiment.to_owned(),
    }
}
