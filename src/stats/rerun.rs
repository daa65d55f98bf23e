//! Whether differences between two carryings-out are no more than re-runs of one would differ.

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF, FisherSnedecor, Normal, StudentsT};

/// How likely differences as large come from re-run noise alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RerunTest {
    /// Two-sided p of their mean: a shift that all of them share.
    pub shift: f64,
    /// p of their mean square: a spread wider than re-runs have.
    pub spread: f64,
}

/// Tests `differences` of pairs of runs against a re-run standard deviation `std` with `df` degrees of
/// freedom (`None`: known exactly).
///
/// Assumes that re-runs are normal with one std, and independent: a difference of two then has the
/// variance 2 std^2. With an estimated std the mean over its own error is Student's t with `df`, and
/// the mean square over 2 std^2 is F with (n, `df`) degrees of freedom.
///
/// `None` without differences, if one is not finite, if `std` is not positive, or with 0 degrees of
/// freedom.
#[must_use]
pub fn rerun_test(differences: &[f64], std: f64, df: Option<usize>) -> Option<RerunTest> {
    let n = differences.len() as f64;
    let usable = !differences.is_empty() && differences.iter().all(|d| d.is_finite());
    if !(usable && std > 0.0 && std.is_finite()) || df == Some(0) {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / n;
    let squares = differences.iter().map(|d| d * d).sum::<f64>();
    let t = (mean / (std * (2.0 / n).sqrt())).abs();
    let ratio = squares / (2.0 * std * std);
    let (shift, spread) = match df {
        None => (Normal::standard().sf(t), ChiSquared::new(n).ok()?.sf(ratio)),
        Some(df) => {
            let df = df as f64;
            let student = StudentsT::new(0.0, 1.0, df).ok()?;
            (student.sf(t), FisherSnedecor::new(n, df).ok()?.sf(ratio / n))
        }
    };
    Some(RerunTest { shift: (2.0 * shift).min(1.0), spread })
}
