//! Ramps between channels that turn often within the training length and channels that do not.

use std::f64::consts::TAU;

use super::super::error::Error;
use super::Call;

/// The channel index (a real number) whose frequency turns `turns` times within `train_len` in
/// the geometric set of `theta`: d ln(L / (2 pi turns)) / (2 ln theta), as transformers'
/// `find_correction_dim`.
pub(super) fn index_of_turns(turns: f64, dim: f64, theta: f64, train_len: f64) -> f64 {
    dim * libm::log(train_len / (turns * TAU)) / (2.0 * libm::log(theta))
}

/// The ramp from 0 at channel `low` to 1 at `high`, as transformers' `linear_ramp_factor`.
pub(super) fn linear_ramp(k: f64, low: f64, high: f64) -> f64 {
    // The library's own way around a division by zero.
    let high = if low == high { high + 0.001 } else { high };
    ((k - low) / (high - low)).clamp(0.0, 1.0)
}

/// The two channels between which an index ramp runs, as transformers'
/// `find_correction_range`: `fast` turns, `slow` turns, kept within 0..d-1.
pub(super) fn index_range(
    call: &Call<'_>,
    fast: f64,
    slow: f64,
    truncate: bool,
) -> Result<(f64, f64), Error> {
    let (theta, train_len) = (call.inner_theta()?, call.train_len()?);
    let dim = 2.0 * call.inner[0].inv_freq.len() as f64;
    let at = |turns| index_of_turns(turns, dim, theta, train_len);
    let (low, high) = (at(fast), at(slow));
    let (low, high) = if truncate { (libm::floor(low), libm::ceil(high)) } else { (low, high) };
    Ok((low.max(0.0), high.min(dim - 1.0)))
}

/// Turns of a frequency within a length.
pub(super) fn turns(w: f64, length: f64) -> f64 {
    length * w / TAU
}
