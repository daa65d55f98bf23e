//! Interpolation along a polynomial profile over the band of middle channels.

use super::super::error::Error;
use super::ntk::{FACTOR, by_index};
use super::turns::index_range;
use super::{Call, Family, Interval, Param, Shape};

/// A profile between unchanged and interpolated channels.
pub(super) const BAND_PROFILE: Family = Family {
    name: "band_profile",
    summary: "unchanged below the band of channels with beta to alpha turns, divided by the factor above \
              it, a polynomial profile inside; needs geo",
    formula: "w factor^(-m), m(q) for q = 0..n-1 in the band: q(q+1)/(n(n+1)) (pro), \
              sum over i <= q of 3(n+i)(n-i+1)/(n(n+1)(2n+1)) (tailspline), \
              q(q+1)(3n+2-2q)/(n(n+1)(n+2)) (bm); A = 0.1 ln(factor) + 1",
    source: "MrRoPE-Pro (ICLR 2026) and TailSpline, by hybrid-rope",
    inner: &["inner"],
    params: &[
        FACTOR,
        Param::word("profile", &["pro", "tailspline", "bm"], "pro", "the polynomial"),
        Param::number("beta", Interval::POSITIVE, 32.0, "turns at which the band begins"),
        Param::number("alpha", Interval::POSITIVE, 1.0, "turns at which the band ends"),
    ],
    reads: &["train_len"],
    example: "band_profile(geo(theta=500k), factor=4, profile=pro)",
    eval: band_profile,
    ..Family::PLAIN
};

fn band_profile(call: &Call<'_>) -> Result<Shape, Error> {
    let (factor, profile) = (call.number("factor"), call.choice("profile"));
    let (alpha, beta) = (call.number("alpha"), call.number("beta"));
    if alpha >= beta {
        let message = format!("alpha = {alpha} is not below beta = {beta}");
        return Err(call.contradiction("alpha", message, "not below"));
    }
    let (low, high) = index_range(call, beta, alpha, true)?;
    let n = high - low;
    // Sums up to each q, in the order of i.
    let terms = (1..call.inner[0].inv_freq.len() as u32).map(f64::from);
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(terms.scan(0.0, |sum, i| {
            *sum += 3.0 * (n + i) * (n - i + 1.0);
            Some(*sum)
        }))
        .collect();
    let m = |q: f64| match profile {
        "tailspline" => sums[q as usize] / (n * (n + 1.0) * (2.0 * n + 1.0)),
        "bm" => q * (q + 1.0) * (3.0 * n + 2.0 - 2.0 * q) / (n * (n + 1.0) * (n + 2.0)),
        _ => q * (q + 1.0) / (n * (n + 1.0)),
    };
    let mut shape = by_index(call, |k, w| {
        if k < low {
            w
        } else if k >= high {
            w / factor
        } else {
            w * libm::pow(factor, -m(k - low))
        }
    });
    shape.attention_scale *= 0.1 * libm::log(factor) + 1.0;
    Ok(shape)
}
