//! The bias-corrected and accelerated bootstrap interval of a mean.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use super::random::SplitMix;
use super::summary::mean;

/// Fewest values: below, the interval covers far less than it says (75 % for 95 % at n = 3).
pub const FEWEST: usize = 10;
/// Resamples of [`bca`].
const RESAMPLES: usize = 9_999;

/// An interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The `BCa` interval of the mean of `values` at `level`, from 9,999 resamples.
///
/// Assumes independent values and no distribution. The resamples are drawn by a generator that is
/// seeded with the values, so that the same values always give the same interval. Source: Efron
/// (1987), "Better bootstrap confidence intervals", JASA 82.
///
/// `None` with fewer than [`FEWEST`] values, without spread, or if one is not finite.
#[must_use]
pub fn bca(values: &[f64], level: f64) -> Option<Interval> {
    if values.len() < FEWEST || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let observed = mean(values)?;
    let mut random = SplitMix::seeded_by(values.iter().map(|value| value.to_bits()));
    let n = values.len();
    let replicates: Vec<f64> = (0..RESAMPLES)
        .map(|_| (0..n).map(|_| values[random.below(n)]).sum::<f64>() / n as f64)
        .collect();
    let total: f64 = values.iter().sum();
    let jackknife: Vec<f64> = values.iter().map(|v| (total - v) / (n - 1) as f64).collect();
    bca_of(observed, replicates, &jackknife, level)
}

/// The `BCa` interval of a statistic from its bootstrap replicates and jackknife values.
///
/// Quantiles of the replicates are linear between order statistics. `None` where the replicates
/// have no spread, or all lie on one side of the observed value.
#[must_use]
pub fn bca_of(
    observed: f64,
    mut replicates: Vec<f64>,
    jackknife: &[f64],
    level: f64,
) -> Option<Interval> {
    let normal = Normal::standard();
    replicates.sort_by(f64::total_cmp);
    let count = replicates.len() as f64;
    let below = replicates.iter().filter(|r| **r < observed).count() as f64;
    let equal = replicates.iter().filter(|r| **r == observed).count() as f64;
    let share = (below + equal / 2.0) / count;
    if !(share > 0.0 && share < 1.0) {
        return None;
    }
    let bias = normal.inverse_cdf(share);
    let center = mean(jackknife)?;
    let deviations = jackknife.iter().map(|value| center - value);
    let (squares, cubes) = deviations.fold((0.0, 0.0), |(s, c), d| (s + d * d, c + d * d * d));
    if squares <= 0.0 {
        return None;
    }
    let acceleration = cubes / (6.0 * squares.powf(1.5));
    let end = |tail: f64| {
        let z = bias + normal.inverse_cdf(tail);
        quantile(&replicates, normal.cdf(bias + z / (1.0 - acceleration * z)))
    };
    let tail = (1.0 - level) / 2.0;
    Some(Interval { low: end(tail), high: end(1.0 - tail) })
}

/// Linear between the order statistics of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * part
}
