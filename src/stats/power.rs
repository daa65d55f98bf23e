//! How often a rule claims something: falsely where nothing is there, rightly where something is.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::random::SplitMix;
use super::summary::{mean, std};

/// Simulated experiments of one rate, up to 100 seeds: its standard error is below 0.25 percentage
/// points. With more seeds fewer are simulated, so that the time stays the same.
const EXPERIMENTS: usize = 40_000;
/// Most pairs of one rate.
const PAIRS: usize = 100 * EXPERIMENTS;

/// A rule of claiming that one config is better than its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClaimRule {
    /// The mean is better, the larger of the two stds at most `max_std_over_gap` of the gap, and at
    /// least `better.0` of `better.1` of the pairs better.
    Seeds {
        /// Largest std over the gap.
        max_std_over_gap: f64,
        /// Least share of the pairs, as a fraction.
        better: (u32, u32),
        /// 1 (sample) or 0 (population).
        ddof: u8,
    },
    /// The paired t interval excludes zero at `level`, as the strictest of `comparisons` tests under
    /// Holm's correction.
    Interval {
        /// 0.95 for 95 %.
        level: f64,
        /// How many configs are compared.
        comparisons: usize,
    },
}

/// What an experiment is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Seeds, each of which gives a pair.
    pub n: usize,
    /// Correlation between the results of two configs under one seed, from -1 to 1.
    pub correlation: f64,
    /// True difference of the means, in standard deviations over seeds.
    pub effect: f64,
}

/// How often a rule claims.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Share of experiments in which the config is claimed to be better.
    pub win: f64,
    /// Share in which it is claimed to be worse.
    pub loss: f64,
}

/// Simulates experiments in a setting and applies a rule to each.
///
/// Assumes results that are normal with one variance, as log-perplexities nearly are. Seeded by the
/// number of seeds alone, so that rates of one n are over the same experiments and can be compared
/// closely. Source: the simulation of the rules' operating characteristics that fixed the defaults.
///
/// `None` with fewer than two seeds, or a correlation or effect that is no number of its range.
#[must_use]
pub fn claim_rates(rule: &ClaimRule, setting: &Setting) -> Option<Rates> {
    let Setting { n, correlation, effect } = *setting;
    if n < 2 || !(-1.0..=1.0).contains(&correlation) || !effect.is_finite() {
        return None;
    }
    let needed = match *rule {
        ClaimRule::Seeds { .. } => 0.0,
        ClaimRule::Interval { level, comparisons } => {
            let student = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
            student.inverse_cdf(1.0 - (1.0 - level) / 2.0 / comparisons.max(1) as f64)
        }
    };
    let own = libm::sqrt(1.0 - correlation * correlation);
    let mut random = SplitMix::seeded_by([n as u64].into_iter());
    let (mut wins, mut losses) = (0u32, 0u32);
    let (mut baseline, mut config) = (vec![0.0; n], vec![0.0; n]);
    let experiments = EXPERIMENTS.min(PAIRS / n).max(1_000);
    for _ in 0..experiments {
        for (baseline, config) in baseline.iter_mut().zip(&mut config) {
            let (shared, other) = random.normal_pair();
            *baseline = shared;
            *config = correlation * shared + own * other - effect;
        }
        match claim(rule, needed, &baseline, &config) {
            Some(true) => wins += 1,
            Some(false) => losses += 1,
            None => {}
        }
    }
    let share = |count: u32| f64::from(count) / experiments as f64;
    Some(Rates { win: share(wins), loss: share(losses) })
}

/// Whether the config is claimed to be better or worse, if anything is claimed; lower is better.
fn claim(rule: &ClaimRule, needed: f64, baseline: &[f64], config: &[f64]) -> Option<bool> {
    let differences: Vec<f64> = baseline.iter().zip(config).map(|(b, c)| b - c).collect();
    let gap = mean(&differences)?;
    match *rule {
        ClaimRule::Seeds { max_std_over_gap, better, ddof } => {
            let spread = std(baseline, ddof)?.max(std(config, ddof)?);
            let in_direction = differences.iter().filter(|d| (**d > 0.0) == (gap > 0.0)).count();
            let enough = in_direction as u64 * u64::from(better.1)
                >= u64::from(better.0) * differences.len() as u64;
            (spread <= max_std_over_gap * gap.abs() && enough).then_some(gap > 0.0)
        }
        ClaimRule::Interval { .. } => {
            let error = std(&differences, 1)? / (differences.len() as f64).sqrt();
            (gap.abs() > needed * error).then_some(gap > 0.0)
        }
    }
}

/// The least number of seeds, up to `most`, with which a rule finds an effect in at least `power` of
/// experiments; `None` if no such number does.
#[must_use]
pub fn seeds_needed(
    rule: &ClaimRule,
    correlation: f64,
    effect: f64,
    power: f64,
    most: usize,
) -> Option<usize> {
    let finds = |n: usize| {
        let setting = Setting { n, correlation, effect };
        claim_rates(rule, &setting).is_some_and(|rates| rates.win >= power)
    };
    match rule {
        // With n the std does not shrink: below this gap its power falls towards none.
        ClaimRule::Seeds { max_std_over_gap, .. } => {
            const FALLEN: usize = 10;
            let falls = effect * max_std_over_gap < 1.0;
            let most = if falls { most.min(FALLEN) } else { most };
            (2..=most).find(|n| finds(*n))
        }
        ClaimRule::Interval { .. } => {
            if most < 2 || !finds(most) {
                return None;
            }
            let (mut too_few, mut enough) = (1, most);
            while enough - too_few > 1 {
                let middle = usize::midpoint(too_few, enough);
                if finds(middle) { enough = middle } else { too_few = middle }
            }
            Some(enough)
        }
    }
}

/// The least effect, in standard deviations over seeds, that a rule finds with `n` seeds in at least
/// `power` of experiments; to a hundredth. `None` if it finds none below 100.
#[must_use]
pub fn detectable(rule: &ClaimRule, n: usize, correlation: f64, power: f64) -> Option<f64> {
    let finds = |effect: f64| {
        let setting = Setting { n, correlation, effect };
        claim_rates(rule, &setting).is_some_and(|rates| rates.win >= power)
    };
    if !finds(100.0) {
        return None;
    }
    let (mut too_small, mut enough) = (0u32, 10_000u32);
    while enough - too_small > 1 {
        let middle = u32::midpoint(too_small, enough);
        if finds(f64::from(middle) / 100.0) { enough = middle } else { too_small = middle }
    }
    Some(f64::from(enough) / 100.0)
}

/// Pearson's correlation of pairs; `None` with fewer than three or without spread in either.
#[must_use]
pub fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() < 3 || a.len() != b.len() {
        return None;
    }
    let (mean_a, mean_b) = (mean(a)?, mean(b)?);
    let products: f64 = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
    let spread = std(a, 1)? * std(b, 1)? * (a.len() - 1) as f64;
    (spread > 0.0).then(|| (products / spread).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(rule: &ClaimRule, n: usize, correlation: f64, effect: f64) -> f64 {
        claim_rates(rule, &Setting { n, correlation, effect }).expect("a setting").win
    }

    fn seeds(max_std_over_gap: f64) -> ClaimRule {
        ClaimRule::Seeds { max_std_over_gap, better: (2, 3), ddof: 1 }
    }

    /// Values of an independent simulation of 200,000 experiments a row.
    #[test]
    fn rates_are_those_of_the_published_simulation() {
        for (max_std_over_gap, n, correlation, effect, want) in [
            (f64::INFINITY, 3, 0.0, 0.0, 0.420),
            (f64::INFINITY, 5, 0.0, 0.0, 0.182),
            (1.0, 3, 0.0, 0.0, 0.107),
            (1.0, 5, 0.0, 0.0, 0.049),
            (1.0, 10, 0.0, 0.0, 0.012),
            (0.5, 3, 0.0, 0.0, 0.022),
            (0.5, 5, 0.0, 0.0, 0.003),
            (0.5, 10, 0.0, 0.0, 0.000),
            (1.0, 3, 0.0, 1.0, 0.44),
            (0.5, 3, 0.0, 1.0, 0.14),
            (1.0, 3, 0.0, 2.0, 0.82),
            (0.5, 3, 0.0, 2.0, 0.42),
            (0.5, 3, 0.0, 3.0, 0.73),
            (1.0, 3, 0.8, 0.0, 0.025),
            (0.5, 3, 0.8, 0.0, 0.003),
        ] {
            let got = rate(&seeds(max_std_over_gap), n, correlation, effect);
            assert!((got - want).abs() < 0.0085, "k {max_std_over_gap} n {n} d {effect}: {got}");
        }
        let t = ClaimRule::Interval { level: 0.90, comparisons: 1 };
        assert!((rate(&t, 3, 0.0, 0.0) - 0.05).abs() < 0.004);
        assert!((rate(&t, 3, 0.8, 2.0) - 0.95).abs() < 0.006);
    }

    #[test]
    fn wins_and_losses_are_as_likely_where_nothing_is_there() {
        let setting = Setting { n: 4, correlation: 0.3, effect: 0.0 };
        let rates = claim_rates(&seeds(1.0), &setting).unwrap();
        assert!((rates.win - rates.loss).abs() < 0.006, "{rates:?}");
        assert_eq!(claim_rates(&seeds(1.0), &setting), Some(rates), "the same every time");
    }

    /// Paired t power by scipy: statsmodels TTestPower with nobs=n, effect = d/sqrt(2 (1-rho)).
    #[test]
    fn seeds_and_effects_agree_with_each_other() {
        let rule = ClaimRule::Interval { level: 0.95, comparisons: 1 };
        let n = seeds_needed(&rule, 0.5, 1.0, 0.8, 100).expect("a number");
        // dz = 1: statsmodels gives ten pairs a power of 0.803, nine 0.748.
        assert_eq!(n, 10);
        let effect = detectable(&rule, 10, 0.5, 0.8).expect("an effect");
        assert!((0.97..1.03).contains(&effect), "{effect}");
        assert_eq!(seeds_needed(&rule, 0.0, 0.01, 0.8, 50), None);
        // The seed rule loses power as seeds are added.
        assert!(rate(&seeds(0.5), 3, 0.0, 1.0) > 3.0 * rate(&seeds(0.5), 10, 0.0, 1.0));
        assert_eq!(seeds_needed(&seeds(0.5), 0.0, 1.0, 0.8, 40), None);
    }

    #[test]
    fn settings_that_are_none_have_no_rate() {
        let rule = seeds(0.5);
        for (n, correlation, effect) in [(1, 0.0, 0.0), (3, 1.5, 0.0), (3, 0.0, f64::NAN)] {
            assert_eq!(claim_rates(&rule, &Setting { n, correlation, effect }), None);
        }
        assert_eq!(correlation(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(correlation(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), Some(1.0));
    }
}
