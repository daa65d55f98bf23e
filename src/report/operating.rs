//! How often the rule of an experiment claims falsely, and what it finds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::arm::LEVEL;
use super::column::Column;
use super::model::{Experiment, RunRow, Section};
use super::verdict::{RECORD_LEVEL, effective_rule};
use super::words;
use crate::results::{Rule, WinRule};
use crate::stats::{ClaimRule, Setting, claim_rates, correlation};

/// True gaps, in standard deviations over seeds, for which the power is given.
const EFFECTS: [f64; 2] = [1.0, 2.0];
/// Fewer seeds say nothing of a correlation: with three, one of -0.8 comes as easily as of 0.8.
const SEEDS_TO_MEASURE: usize = 5;

/// Rates of the rule at the declared number of seeds, by simulation of normal results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operating {
    /// Declared seeds.
    pub n: usize,
    /// Correlation between configs under one seed that is assumed: rounded to a tenth.
    pub correlation: f64,
    /// Whether it was measured on the results; 0 is assumed where they are too few.
    pub measured: bool,
    /// Share of comparisons in which WIN is claimed though nothing is there.
    pub false_win: f64,
    /// (gap in standard deviations over seeds, share of comparisons in which WIN is claimed).
    pub power: Vec<(f64, f64)>,
}

impl Operating {
    /// In a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let source =
            if self.measured { "as measured" } else { "assumed: too few seeds to measure it" };
        let percent = |share: f64| {
            if share > 0.0 && share < 0.001 {
                "less than 0.1 %".to_owned()
            } else {
                format!("{:.1} %", 100.0 * share)
            }
        };
        let power = self
            .power
            .iter()
            .map(|(effect, share)| format!("of {effect} std in {}", percent(*share)));
        format!(
            "At n = {} and a correlation of {:.1} between configs under one seed ({source}) this rule \
             claims a WIN where nothing is there in {} of comparisons, and finds a true gap {} \
             (simulated, without the guard; std over seeds).",
            self.n,
            self.correlation,
            percent(self.false_win),
            words::list(power)
        )
    }
}

/// A rule as it is simulated.
pub(super) fn claim_rule(rule: Rule, win: &WinRule, ddof: u8, comparisons: usize) -> ClaimRule {
    match rule {
        Rule::Ci => {
            let level = 1.0 - (1.0 - LEVEL) / win.num_looks() as f64;
            ClaimRule::Interval { level, comparisons }
        }
        // One-sided at its level is the two-sided interval at twice that. The margin would make both
        // rates smaller; in standard deviations it is not known before the results.
        Rule::Record => {
            let level = 1.0 - 2.0 * (1.0 - RECORD_LEVEL) / win.num_looks() as f64;
            ClaimRule::Interval { level, comparisons }
        }
        Rule::Auto | Rule::Seeds => ClaimRule::Seeds {
            max_std_over_gap: win.max_std_over_gap,
            better: (win.min_seeds_better.num, win.min_seeds_better.den),
            ddof,
        },
    }
}

/// Configs that are compared with a baseline: in the sweep point that has most of them.
pub(super) fn comparisons(sections: &[Section]) -> usize {
    let compared = |section: &Section| section.rows.iter().filter(|row| !row.is_baseline()).count();
    sections.iter().map(compared).max().unwrap_or(0)
}

/// The rates of an experiment's rule; `None` with one seed, with which nothing is claimed.
pub(super) fn of(experiment: &Experiment) -> Option<Operating> {
    let (n, win) = (experiment.seeds.len(), &experiment.win);
    let rule = effective_rule(win.rule, n)?;
    let rule = claim_rule(rule, win, experiment.std_ddof, comparisons(&experiment.sections));
    let measured = measured_correlation(experiment);
    let correlation = measured.unwrap_or(0.0);
    let win = |effect| {
        let setting = Setting { n, correlation, effect };
        claim_rates(&rule, &setting).map(|rates| rates.win)
    };
    Some(Operating {
        n,
        correlation,
        measured: measured.is_some(),
        false_win: win(0.0)?,
        power: EFFECTS.into_iter().filter_map(|effect| Some((effect, win(effect)?))).collect(),
    })
}

/// The mean cross-entropy of first attempts in the column of the claim.
pub(super) struct Claimed<'a>(BTreeMap<(&'a str, &'a str, u64), f64>);

impl<'a> Claimed<'a> {
    pub fn of(experiment: &'a Experiment) -> Self {
        let column = Column::of_claim(&experiment.win);
        let here = |run: &&RunRow| {
            run.attempt == 1
                && run.eval_len == Some(column.length)
                && run.transform == column.transform
        };
        let value = |run: &'a RunRow| {
            Some(((run.protocol.as_str(), run.config.as_str(), run.seed), run.nll?))
        };
        Self(experiment.runs.iter().filter(here).filter_map(value).collect())
    }

    pub fn nll(&self, section: &Section, config: &str, seed: u64) -> Option<f64> {
        self.0.get(&(section.protocol.as_str(), config, seed)).copied()
    }
}

/// The correlation of log-perplexities between configs and their baselines over seeds in the column
/// of the claim: the mean over configs of Fisher's z, to a tenth, from 0 to 0.9. (A seed is common
/// to both or to neither: it does not make one better and the other worse.)
pub(super) fn measured_correlation(experiment: &Experiment) -> Option<f64> {
    if experiment.seeds.len() < SEEDS_TO_MEASURE {
        return None;
    }
    let claimed = Claimed::of(experiment);
    let mut all = Vec::new();
    for section in &experiment.sections {
        for row in section.rows.iter().filter(|row| !row.is_baseline()) {
            let pair = |seed: &u64| {
                let of = |config| claimed.nll(section, config, *seed);
                Some((of(&row.config)?, of(&row.baseline)?))
            };
            let (own, baseline): (Vec<f64>, Vec<f64>) =
                experiment.seeds.iter().filter_map(pair).unzip();
            all.extend(correlation(&own, &baseline));
        }
    }
    if all.is_empty() {
        return None;
    }
    // A correlation of 1 has no z.
    let z = all.iter().map(|r| libm::atanh(r.clamp(-0.99, 0.99))).sum::<f64>() / all.len() as f64;
    Some((10.0 * libm::tanh(z).clamp(0.0, 0.9)).round() / 10.0)
}
