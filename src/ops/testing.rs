//! What the operators' tests share: inputs, f64 finite differences, comparison.

use super::{Cpu, Isa};
use crate::rng;

/// One backend per instruction path of this machine.
pub(crate) fn cpus() -> Vec<Cpu> {
    Isa::ALL.into_iter().filter_map(|isa| Cpu::with_isa(isa).ok()).collect()
}

/// `len` standard normal numbers, a different stream per name.
pub(crate) fn noise(len: usize, name: &str) -> Vec<f32> {
    let mut out = vec![0.0; len];
    rng::fill_normal(1, "test", name, 1.0, &mut out);
    out
}

/// The same values in f64.
pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Σ y * dy: a scalar whose gradient with respect to y is dy.
pub(crate) fn weighted(y: &[f64], dy: &[f32]) -> f64 {
    y.iter().zip(dy).map(|(y, &d)| y * f64::from(d)).sum()
}

/// Central differences of `loss` at `x`, error about 1e-9 of the function's scale.
pub(crate) fn gradient(x: &[f32], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = wide(x);
    (0..x.len())
        .map(|i| {
            let (middle, h) = (x[i], 1e-5 * x[i].abs().max(1.0));
            x[i] = middle + h;
            let above = loss(&x);
            x[i] = middle - h;
            let below = loss(&x);
            x[i] = middle;
            (above - below) / (2.0 * h)
        })
        .collect()
}

/// Every |got - want| within `tolerance` * (|want| + root mean square of `want`): absolute and
/// relative at once, tied to the scale of the tensor.
pub(crate) fn check(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let mean = want.iter().map(|w| w * w).sum::<f64>() / want.len().max(1) as f64;
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - w).abs();
        let bound = tolerance * (w.abs() + mean.sqrt()) + 1e-9;
        assert!(error <= bound, "{what}[{i}]: {g} instead of {w} (bound {bound:e})");
    }
}
