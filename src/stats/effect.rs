//! Sizes of effects, and what a single pair does to them.

use serde::Serialize;

use super::paired::paired_t;
use super::summary::{mean, std};

/// dz, the standardised mean difference of pairs: mean over std (n - 1) of the differences.
///
/// What the power of a paired test depends on; not comparable with Cohen's d of independent samples.
/// Source: Cohen (1988), "Statistical Power Analysis", section 2.3; Lakens (2013).
///
/// `None` with fewer than two differences, without spread, or if one is not finite.
#[must_use]
pub fn dz(differences: &[f64]) -> Option<f64> {
    let std = std(differences, 1)?;
    (std > 0.0).then_some(mean(differences)? / std)
}

/// What the mean difference and its p are without one pair.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Without {
    /// Which pair is left out.
    pub index: usize,
    /// The mean of the others.
    pub mean: f64,
    /// p of their paired t test; `None` with fewer than two.
    pub p: Option<f64>,
}

/// Leave-one-out influence: the result without each pair in turn. A verdict that hangs on one seed
/// shows here.
///
/// Assumes nothing. Source: Tukey (1958), the jackknife.
///
/// Empty with fewer than two differences or if one is not finite.
#[must_use]
pub fn leave_one_out(differences: &[f64]) -> Vec<Without> {
    if differences.len() < 2 || differences.iter().any(|d| !d.is_finite()) {
        return Vec::new();
    }
    let without = |index: usize| {
        let others: Vec<f64> =
            differences.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, d)| *d).collect();
        let p = paired_t(&others, 0.95).map(|test| test.p);
        mean(&others).map(|mean| Without { index, mean, p })
    };
    (0..differences.len()).filter_map(without).collect()
}
