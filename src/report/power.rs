//! What an experiment can show before it is run: how many seeds an effect needs, what n seeds find.

use serde::Serialize;

use super::model::Experiment;
use super::operating::{Claimed, claim_rule, measured_correlation};
use super::verdict::effective_rule;
use crate::results::{Rule, WinRule};
use crate::stats::{Setting, claim_rates, detectable, seeds_needed, std};

/// Most seeds that are looked at.
pub const MOST_SEEDS: usize = 100;

/// What is assumed of the results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Premises {
    /// The win rule.
    pub win: WinRule,
    /// The divisor of a std is n - ddof.
    pub std_ddof: u8,
    /// Configs compared, for Holm's correction.
    pub comparisons: usize,
    /// Std of log-perplexity over seeds, if it is known.
    pub std: Option<f64>,
    /// Correlation between configs under one seed.
    pub correlation: f64,
    /// Where std and correlation are from, in words.
    pub source: String,
    /// The true gap to find, in standard deviations over seeds.
    pub effect: Option<f64>,
    /// Share of experiments in which an effect is to be found.
    pub power: f64,
}

/// What a number of seeds does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prospect {
    /// Seeds.
    pub n: usize,
    /// The rule that applies.
    pub rule: Rule,
    /// Share of comparisons in which WIN is claimed though nothing is there.
    pub false_win: f64,
    /// Least gap that is found often enough, in standard deviations over seeds.
    pub detectable: Option<f64>,
    /// The same in percent of the baseline's perplexity, if the std is known.
    pub detectable_pct: Option<f64>,
    /// How often the gap of the premises is found.
    pub finds_effect: Option<f64>,
}

/// What each of `ns` numbers of seeds does; those with which nothing is claimed are left out.
#[must_use]
pub fn prospects(premises: &Premises, ns: &[usize]) -> Vec<Prospect> {
    let prospect = |&n: &usize| {
        let rule = effective_rule(premises.win.rule, n)?;
        let claim = claim_rule(rule, &premises.win, premises.std_ddof, premises.comparisons);
        let win = |effect| {
            let setting = Setting { n, correlation: premises.correlation, effect };
            claim_rates(&claim, &setting).map(|rates| rates.win)
        };
        let detectable = detectable(&claim, n, premises.correlation, premises.power);
        Some(Prospect {
            n,
            rule,
            false_win: win(0.0)?,
            detectable,
            detectable_pct: detectable.zip(premises.std).map(|(effect, std)| percent(effect * std)),
            finds_effect: premises.effect.and_then(win),
        })
    };
    ns.iter().filter_map(prospect).collect()
}

/// The least number of seeds, up to [`MOST_SEEDS`], with which each rule finds the gap of the premises.
#[must_use]
pub fn needed(premises: &Premises) -> Vec<(Rule, Option<usize>)> {
    let Some(effect) = premises.effect else { return Vec::new() };
    let rules = match premises.win.rule {
        Rule::Auto => vec![Rule::Seeds, Rule::Ci],
        rule => vec![rule],
    };
    let of = |rule| {
        let claim = claim_rule(rule, &premises.win, premises.std_ddof, premises.comparisons);
        (rule, seeds_needed(&claim, premises.correlation, effect, premises.power, MOST_SEEDS))
    };
    rules.into_iter().map(of).collect()
}

/// A difference of log-perplexities as percent of the larger perplexity.
fn percent(difference: f64) -> f64 {
    100.0 * (1.0 - libm::exp(-difference))
}

/// A gap in percent of the baseline's perplexity as a difference of log-perplexities.
#[must_use]
pub fn log_gap(percent: f64) -> f64 {
    -libm::log(1.0 - percent / 100.0)
}

/// What the results of an experiment say of std and correlation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Std of log-perplexity over seeds in the column of the claim, pooled over configs.
    pub std: f64,
    /// Its degrees of freedom.
    pub df: usize,
    /// Correlation between configs and their baselines; `None` with too few seeds.
    pub correlation: Option<f64>,
}

/// Measures them; `None` without a config that has two seeds.
#[must_use]
pub fn measured(experiment: &Experiment) -> Option<Measured> {
    let claimed = Claimed::of(experiment);
    let (mut squares, mut df) = (0.0, 0usize);
    for section in &experiment.sections {
        for row in &section.rows {
            let of_seed = |seed: &u64| claimed.nll(section, &row.config, *seed);
            let values: Vec<f64> = experiment.seeds.iter().filter_map(of_seed).collect();
            if let Some(std) = std(&values, 1) {
                squares += std * std * (values.len() - 1) as f64;
                df += values.len() - 1;
            }
        }
    }
    let std = (squares / df.max(1) as f64).sqrt();
    (df > 0).then(|| Measured { std, df, correlation: measured_correlation(experiment) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn premises(rule: Rule) -> Premises {
        Premises {
            win: WinRule::new(rule, 16384),
            std_ddof: 1,
            comparisons: 1,
            std: Some(0.05),
            correlation: 0.5,
            source: "a test".to_owned(),
            effect: Some(1.0),
            power: 0.8,
        }
    }

    #[test]
    fn a_paired_t_test_needs_what_textbooks_say() {
        assert_eq!(needed(&premises(Rule::Ci)), [(Rule::Ci, Some(10))]);
        let both = needed(&premises(Rule::Auto));
        assert_eq!(both, [(Rule::Seeds, None), (Rule::Ci, Some(10))]);
        let rows = prospects(&premises(Rule::Auto), &[1, 3, 10]);
        assert_eq!(
            rows.iter().map(|r| (r.n, r.rule)).collect::<Vec<_>>(),
            [(3, Rule::Seeds), (10, Rule::Ci)]
        );
        let ten = &rows[1];
        assert!((ten.false_win - 0.025).abs() < 0.003, "{ten:?}");
        assert!((ten.finds_effect.unwrap() - 0.803).abs() < 0.01, "{ten:?}");
        // A gap of one std of 5 % is 4.9 % of the perplexity.
        assert!((ten.detectable_pct.unwrap() - 4.9).abs() < 0.2, "{ten:?}");
    }

    #[test]
    fn more_comparisons_find_less() {
        let one = &prospects(&premises(Rule::Ci), &[8])[0];
        let five = &prospects(&Premises { comparisons: 5, ..premises(Rule::Ci) }, &[8])[0];
        assert!(five.false_win < one.false_win && five.detectable > one.detectable);
    }

    #[test]
    fn percent_and_log_gap_are_inverse() {
        for gap in [0.5, 3.0, 20.0] {
            assert!((percent(log_gap(gap)) - gap).abs() < 1e-12);
        }
    }
}
