//! The seeds of one config in one column, and two of these side by side.

use std::collections::BTreeMap;

use super::words;
use crate::stats::{Interval, PairedT, Summary, bca, dz, paired_t, sign_flip, summarize, welch_t};

/// Level of the intervals; what rule `ci` and Holm's correction claim at.
pub const LEVEL: f64 = 0.95;

/// The declared seeds of a config in one column, each with its result or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Config name.
    pub name: String,
    /// One entry a declared seed, in the order declared.
    pub seeds: Vec<(u64, Outcome)>,
}

/// The result of one seed in one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A result.
    Value {
        /// Perplexity, finite.
        ppl: f64,
        /// Mean cross-entropy in nats a token, finite.
        nll: f64,
        /// Whether it was measured elsewhere.
        imported: bool,
    },
    /// No result that may be averaged.
    Absent(Absence),
}

/// Why a seed has no result in a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// There is no record.
    Missing,
    /// The record cannot be used; it is among the problems.
    Damaged,
    /// The run failed.
    Failed,
    /// The training diverged.
    Diverged,
    /// The run was not evaluated at this length.
    NotEvaluated,
    /// The run was not evaluated under this transform at any length.
    NotTransformed,
    /// The declaration has no transform of this name.
    UnknownTransform,
    /// The loss is not finite.
    NotFinite,
    /// Evaluated on another number of chunks than the others.
    Chunks {
        /// Chunks of this result.
        found: u64,
        /// Chunks of the others.
        expected: u64,
    },
    /// Run under another protocol; says which, and what differs if that is known.
    Drift(String),
}

impl Absence {
    /// The reason in words, to stand after the seeds that it applies to.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Missing => "missing".to_owned(),
            Self::Damaged => "damaged (see the problems)".to_owned(),
            Self::Failed => "failed".to_owned(),
            Self::Diverged => "diverged".to_owned(),
            Self::NotEvaluated => "not evaluated at this length".to_owned(),
            Self::NotTransformed => "not evaluated under this transform".to_owned(),
            Self::UnknownTransform => {
                "not evaluated: no transform of that name is declared".to_owned()
            }
            Self::NotFinite => "with a loss that is not finite".to_owned(),
            Self::Chunks { found, expected } => {
                format!("evaluated on {found} chunks, the others on {expected}")
            }
            Self::Drift(what) => what.clone(),
        }
    }
}

impl Arm {
    /// The same without the seed at a place.
    #[must_use]
    pub fn without(&self, index: usize) -> Self {
        let mut seeds = self.seeds.clone();
        seeds.remove(index);
        Self { name: self.name.clone(), seeds }
    }

    /// The perplexities that are there, in the order of the seeds.
    #[must_use]
    pub fn perplexities(&self) -> Vec<f64> {
        self.values().map(|(_, ppl, _)| ppl).collect()
    }

    /// Count, mean and std of the perplexities that are there.
    #[must_use]
    pub fn summary(&self, ddof: u8) -> Summary {
        summarize(&self.perplexities(), ddof)
    }

    /// (seed, ppl, nll) of the results that are there.
    fn values(&self) -> impl Iterator<Item = (u64, f64, f64)> {
        self.seeds.iter().filter_map(|(seed, outcome)| match outcome {
            Outcome::Value { ppl, nll, .. } => Some((*seed, *ppl, *nll)),
            Outcome::Absent(_) => None,
        })
    }

    /// Whether every declared seed has a result.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.seeds.iter().all(|(_, outcome)| matches!(outcome, Outcome::Value { .. }))
    }

    /// Which seeds lack a result and why: `seed 7 missing; seeds 1, 2 diverged`; empty if none.
    #[must_use]
    pub fn absent_words(&self) -> String {
        self.words_where(|absence| !matches!(absence, Absence::Drift(_)))
    }

    /// As [`Arm::absent_words`], with the seeds run under another protocol.
    pub(super) fn all_absent_words(&self) -> String {
        self.words_where(|_| true)
    }

    pub(super) fn drift_words(&self) -> String {
        self.words_where(|absence| matches!(absence, Absence::Drift(_)))
    }

    fn words_where(&self, wanted: impl Fn(&Absence) -> bool) -> String {
        let mut by_reason: BTreeMap<&Absence, Vec<u64>> = BTreeMap::new();
        for (seed, outcome) in &self.seeds {
            match outcome {
                Outcome::Absent(absence) if wanted(absence) => {
                    by_reason.entry(absence).or_default().push(*seed);
                }
                _ => {}
            }
        }
        by_reason
            .into_iter()
            .map(|(absence, seeds)| format!("{} {}", words::seeds(&seeds), absence.words()))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// (imported seeds, native seeds) among the results that are there.
    #[must_use]
    pub fn origins(&self) -> (Vec<u64>, Vec<u64>) {
        let mut origins = (Vec::new(), Vec::new());
        for (seed, outcome) in &self.seeds {
            match outcome {
                Outcome::Value { imported: true, .. } => origins.0.push(*seed),
                Outcome::Value { imported: false, .. } => origins.1.push(*seed),
                Outcome::Absent(_) => {}
            }
        }
        origins
    }
}

/// The numbers of a comparison in one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The config's perplexities.
    pub config: Summary,
    /// The baseline's perplexities.
    pub baseline: Summary,
    /// Baseline mean − config mean, perplexity: positive is better.
    pub gap: Option<f64>,
    /// The gap in percent of the baseline's mean.
    pub gap_pct: Option<f64>,
    /// Seeds with a result of both arms.
    pub pairs: usize,
    /// Pairs in which the config's perplexity is lower.
    pub better: usize,
    /// Pairs in which the config's perplexity is higher.
    pub worse: usize,
    /// Paired t of baseline nll − config nll (positive is better); only if no seed is absent.
    pub paired: Option<PairedT>,
    /// p of the exact sign-flip test of the same differences; likewise.
    pub sign_flip: Option<f64>,
    /// Their mean over their std; likewise.
    pub dz: Option<f64>,
    /// p of Welch's t test of the two arms' nll, as if seeds were not shared; likewise.
    pub welch: Option<f64>,
    /// Bias-corrected and accelerated bootstrap interval of the same mean difference, from ten seeds on;
    /// likewise, and only where `with_bootstrap` asks for it.
    pub bca: Option<Interval>,
}

/// Compares a config with its baseline; the two arms hold the same seeds in the same order.
#[must_use]
pub fn compare(config: &Arm, baseline: &Arm, ddof: u8, with_bootstrap: bool) -> Comparison {
    let mut differences = Vec::new();
    let nll = |arm: &Arm| arm.values().map(|(_, _, nll)| nll).collect::<Vec<f64>>();
    let of_both = (nll(baseline), nll(config));
    let (mut better, mut worse) = (0, 0);
    for ((_, config), (_, baseline)) in config.seeds.iter().zip(&baseline.seeds) {
        if let (
            Outcome::Value { ppl: config_ppl, nll: config_nll, .. },
            Outcome::Value { ppl: baseline_ppl, nll: baseline_nll, .. },
        ) = (config, baseline)
        {
            better += usize::from(config_ppl < baseline_ppl);
            worse += usize::from(config_ppl > baseline_ppl);
            differences.push(baseline_nll - config_nll);
        }
    }
    let complete = config.is_complete() && baseline.is_complete();
    let (config, baseline) = (config.summary(ddof), baseline.summary(ddof));
    let gap = baseline.mean.zip(config.mean).map(|(b, c)| b - c).filter(|gap| gap.is_finite());
    let gap_pct = gap.zip(baseline.mean).map(|(gap, mean)| 100.0 * gap / mean);
    let paired = complete.then(|| paired_t(&differences, LEVEL)).flatten();
    Comparison {
        config,
        baseline,
        gap,
        gap_pct,
        pairs: differences.len(),
        better,
        worse,
        paired,
        sign_flip: complete.then(|| sign_flip(&differences)).flatten(),
        dz: complete.then(|| dz(&differences)).flatten(),
        welch: complete.then(|| welch_t(&of_both.0, &of_both.1, LEVEL)).flatten().map(|t| t.p),
        bca: (complete && with_bootstrap).then(|| bca(&differences, LEVEL)).flatten(),
    }
}
