//! How much the best of many looks better than it is.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// Expected largest of `n` independent standard normal values: by how many standard errors the best of
/// `n` equal candidates looks better than they are.
///
/// The integral of `x n phi(x) Phi(x)^(n-1)` by Simpson's rule; 0 for `n` below 2.
#[must_use]
pub fn expected_best(n: usize) -> f64 {
    const STEPS: usize = 4_000;
    const END: f64 = 10.0;
    if n < 2 {
        return 0.0;
    }
    let normal = Normal::standard();
    let power = (n - 1) as f64;
    let density = |x: f64| x * n as f64 * normal.pdf(x) * normal.cdf(x).powf(power);
    let width = 2.0 * END / STEPS as f64;
    let sum: f64 = (0..=STEPS)
        .map(|i| {
            let weight = match i {
                0 | STEPS => 1.0,
                i if i % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * density(-END + width * i as f64)
        })
        .sum();
    sum * width / 3.0
}

/// The share of their distance from the common mean that candidates keep when their means are shrunk:
/// the positive-part James-Stein factor 1 - (k - 3) v / S, where `v` is the variance of each mean by
/// noise alone and S the sum of squared deviations of the `k` means.
///
/// Assumes means that are normal around true values which are normal themselves. Source: Efron and
/// Morris (1975), "Data analysis using Stein's estimator and its generalizations", JASA 70.
///
/// `None` with fewer than four means, if one is not finite, or if they do not differ.
#[must_use]
pub fn kept_share(means: &[f64], variance: f64) -> Option<f64> {
    let k = means.len();
    if k < 4 || !variance.is_finite() || variance < 0.0 || means.iter().any(|m| !m.is_finite()) {
        return None;
    }
    let center = means.iter().sum::<f64>() / k as f64;
    let squares: f64 = means.iter().map(|mean| (mean - center) * (mean - center)).sum();
    (squares > 0.0).then(|| (1.0 - (k - 3) as f64 * variance / squares).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same integral by mpmath 1.3 with 30 digits.
    #[test]
    fn the_expected_best_is_the_integral() {
        for (n, want) in [
            (2, 0.564_189_583_5),
            (3, 0.846_284_375_3),
            (4, 1.029_375_373_0),
            (5, 1.162_964_473_6),
            (10, 1.538_752_730_8),
            (100, 2.507_593_636_4),
            (1000, 3.241_435_769_1),
        ] {
            let got = expected_best(n);
            assert!((got - want).abs() < 1e-9, "{n}: {got} is not {want}");
        }
        assert_eq!((expected_best(0), expected_best(1)), (0.0, 0.0));
    }

    #[test]
    fn noise_shrinks_and_signal_stays() {
        let means = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(kept_share(&means, 0.0), Some(1.0));
        // S = 10, k - 3 = 2: 1 - 2 * 1/10.
        assert_eq!(kept_share(&means, 1.0), Some(0.8));
        assert_eq!(kept_share(&means, 100.0), Some(0.0));
        assert_eq!(kept_share(&means[..3], 1.0), None);
        assert_eq!(kept_share(&[1.0; 5], 1.0), None);
    }
}
