//! The neutral report: what every format shows.
//!
//! Perplexities and gaps are in full precision here; formats round. Everything is in a fixed
//! order that follows the declaration, never the file system.

use serde::Serialize;

use super::column::Column;
use super::detail::Detail;
use super::operating::Operating;
use super::reruns::Reruns;
use super::search::Selection;
use super::verdict::Verdict;
use crate::results::{Problem, Status, Transform, WinRule};
use crate::stats::Interval;

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

impl Report {
    /// Whether anything in it was or is to be evaluated under a transform.
    #[must_use]
    pub fn has_transforms(&self) -> bool {
        self.experiments.iter().any(|experiment| {
            experiment.sections.iter().any(|section| !section.transforms.is_empty())
                || experiment.runs.iter().any(|run| run.transform.is_some())
        })
    }
}

/// One experiment's part of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experiment {
    /// Experiment name.
    pub name: String,
    /// Declared seeds but those that configs were chosen on, which `win` has.
    pub seeds: Vec<u64>,
    /// 1 (sample) or 0 (population): the divisor of every std is n - ddof.
    pub std_ddof: u8,
    /// The win rule.
    pub win: WinRule,
    /// The win rule as a sentence.
    pub rule: String,
    /// How often the rule claims falsely, and what it finds; `None` with one seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operating: Option<Operating>,
    /// What further attempts show; `None` if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reruns: Option<Reruns>,
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
    /// Every result, one entry a (run, attempt, transform, length): the rows of runs.csv.
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

impl Change {
    /// In words: when, whether results existed, what.
    #[must_use]
    pub fn words(&self) -> String {
        let when = if self.after_results { "after results" } else { "before any result" };
        format!("{} ({when}): {}", self.date, self.changes.join("; "))
    }
}

impl Experiment {
    /// When the declaration was frozen, in a sentence.
    #[must_use]
    pub fn frozen_words(&self) -> String {
        match &self.frozen {
            Some(date) => format!("Declaration frozen {date}."),
            None => "The declaration was never frozen (there is no lock.json).".to_owned(),
        }
    }
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
    /// Transforms of the trained frequencies under which every length is shown besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Transform>,
    /// What the cells of a row are: every length as trained, then transform by transform.
    #[serde(skip)]
    pub columns: Vec<Column>,
    /// Length at which claims are made.
    pub primary_length: u64,
    /// Transform under which claims are made; `None` as trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_transform: Option<String>,
    /// One row a config, in the declaration's order.
    pub rows: Vec<Row>,
    /// Indices of `rows` by mean perplexity in the primary column; those without one last.
    pub ranking: Vec<usize>,
    /// The best of many configs after shrinking; `None` with few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Which declared results are not there.
    pub missing: Vec<String>,
    /// The training part of the protocol.
    #[serde(skip)]
    pub training: serde_json::Value,
    /// The evaluation part of the protocol.
    #[serde(skip)]
    pub evaluation: serde_json::Value,
    /// What lies beside the records; `None` if it was not looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

impl Section {
    /// Whether not all configs are compared with one baseline, so that each verdict must name its own.
    #[must_use]
    pub fn several_baselines(&self) -> bool {
        self.rows.windows(2).any(|rows| rows[0].baseline != rows[1].baseline)
    }

    /// The transforms of the columns in their order, `None` as trained.
    #[must_use]
    pub fn shown_transforms(&self) -> Vec<Option<&str>> {
        let mut shown = Vec::new();
        for column in &self.columns {
            let transform = column.transform.as_deref();
            if !shown.contains(&transform) {
                shown.push(transform);
            }
        }
        shown
    }

    /// The column in which claims are made.
    #[must_use]
    pub fn primary(&self) -> Column {
        Column::new(self.primary_length, self.primary_transform.as_deref())
    }

    /// What a transform of this name is here.
    #[must_use]
    pub fn transform(&self, name: &str) -> Option<&Transform> {
        self.transforms.iter().find(|transform| transform.name == name)
    }
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
    /// Seeds with a result at every length shown, as trained or under the transform of the claim.
    pub n: usize,
    /// Declared seeds.
    pub n_expected: usize,
    /// The claim, made in the primary column; `None` for a baseline.
    pub verdict: Option<Verdict>,
    /// Why; empty for a baseline.
    pub reason: String,
    /// One cell a column, in the section's order.
    pub cells: Vec<Cell>,
}

impl Row {
    /// Whether the config is compared with itself.
    #[must_use]
    pub fn is_baseline(&self) -> bool {
        self.config == self.baseline
    }

    /// The cell in which the claim is made.
    #[must_use]
    pub fn primary(&self) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.primary)
    }

    /// The cell of a column.
    #[must_use]
    pub fn cell(&self, column: &Column) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.column == *column)
    }
}

/// A config in one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Evaluation length, and the transform if there is one.
    #[serde(flatten)]
    pub column: Column,
    /// Whether claims are made in this column; elsewhere a verdict is secondary.
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
    /// p of the rule's test after Holm's correction over the configs compared in this column: of
    /// `p_paired`, or with rule `record` one-sided of the stated gain.
    pub p_holm: Option<f64>,
    /// Two-sided p of the exact sign-flip test on nll, not corrected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_sign_flip: Option<f64>,
    /// Mean over std of the paired differences of nll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dz: Option<f64>,
    /// Two-sided p of Welch's t test on nll, which takes the seeds of the two as not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_welch: Option<f64>,
    /// BCa bootstrap interval of baseline nll - nll, 95 %, in the column of the claim, from ten seeds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bca: Option<Interval>,
    /// Seeds without any one of which the claim would not be made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hinges_on: Vec<u64>,
    /// The verdict in this column; `None` for a baseline.
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
    /// Sweep point. Not a column of runs.csv.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Config name.
    pub config: String,
    /// The seed.
    pub seed: u64,
    /// Evaluation length; `None` for a run without any result.
    pub eval_len: Option<u64>,
    /// Transform of the trained frequencies: its name, or its canonical expression if it is not
    /// declared; `None` as trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
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
    /// The `run.json` that it comes from, below the experiment's folder.
    #[serde(skip)]
    pub path: String,
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
    /// Transform under which it is ranked, by the name that the first member has for it; `None`
    /// as trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_transform: Option<Transform>,
    /// The best of many configs after shrinking; `None` with few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// By mean perplexity there; those without one last.
    pub entries: Vec<Standing>,
}

impl Group {
    /// The column by which it is ranked.
    #[must_use]
    pub fn primary(&self) -> Column {
        let transform = self.primary_transform.as_ref();
        Column::new(self.primary_length, transform.map(|transform| transform.name.as_str()))
    }

    /// That column in a sentence, with what its transform is.
    pub(super) fn primary_words(&self) -> String {
        let is = self.primary_transform.as_ref().map(|t| format!(", which is {}", t.expression));
        format!("{}{}", self.primary().tokens(), is.unwrap_or_default())
    }
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
