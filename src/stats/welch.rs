//! Welch's t test of two independent samples.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::summary::{mean, std};

/// What Welch's t test says of two samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WelchT {
    /// Degrees of freedom (Welch and Satterthwaite), not a whole number.
    pub df: f64,
    /// Mean of the first less mean of the second.
    pub difference: f64,
    /// Difference over its standard error.
    pub t: f64,
    /// Two-sided p of "the means are equal".
    pub p: f64,
    /// Lower end of the interval of the difference.
    pub low: f64,
    /// Upper end of the interval of the difference.
    pub high: f64,
}

/// Welch's t test of `a` against `b`, and the interval of the difference of their means at `level`.
///
/// Assumes independent samples that are about normal; their variances and sizes may differ. For
/// configs that share seeds [`super::paired_t`] is the sharper one where pairs are correlated.
/// Source: Welch (1947), "The generalization of Student's problem when several different
/// population variances are involved", Biometrika 34.
///
/// `None` with fewer than two values in a sample, a value that is not finite, or no spread in both.
#[must_use]
pub fn welch_t(a: &[f64], b: &[f64], level: f64) -> Option<WelchT> {
    if !(0.0..1.0).contains(&level) {
        return None;
    }
    let difference = mean(a)? - mean(b)?;
    let part = |values: &[f64]| std(values, 1).map(|std| std * std / values.len() as f64);
    let (part_a, part_b) = (part(a)?, part(b)?);
    let variance = part_a + part_b;
    if variance <= 0.0 {
        return None;
    }
    let term = |part: f64, n: usize| part * part / (n - 1) as f64;
    let df = variance * variance / (term(part_a, a.len()) + term(part_b, b.len()));
    let student = StudentsT::new(0.0, 1.0, df).ok()?;
    let std_error = variance.sqrt();
    let t = difference / std_error;
    let half_width = student.inverse_cdf(f64::midpoint(1.0, level)) * std_error;
    let p = (2.0 * student.sf(t.abs())).min(1.0);
    Some(WelchT {
        df,
        difference,
        t,
        p,
        low: difference - half_width,
        high: difference + half_width,
    })
}
