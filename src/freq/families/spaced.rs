//! Sets that are evenly spaced, and the set without rotation.

use std::f64::consts::TAU;

use super::super::error::Error;
use super::{Call, Family, Interval, Param, Shape};

const W_MAX: Param =
    Param::number("w_max", Interval::POSITIVE, 1.0, "the first frequency, radians a position");

/// Evenly spaced in frequency.
pub(super) const UNIFORM: Family = Family {
    name: "uniform",
    summary: "evenly spaced in frequency, both ends included",
    formula: "w_max + t (w_min - w_max)",
    source: "FoPE, arXiv 2412.17739 (get_inv_freq, linear)",
    params: &[
        W_MAX,
        Param::required("w_min", Interval::NOT_NEGATIVE, "the last frequency, radians a position"),
    ],
    min_channels: 2,
    declares_zeros: true,
    example: "uniform(w_max=1, w_min=1e-4)",
    eval: uniform,
    ..Family::PLAIN
};

/// Evenly spaced in log frequency.
pub(super) const LOG_UNIFORM: Family = Family {
    name: "log_uniform",
    summary: "evenly spaced in log frequency, both ends included",
    formula: "w_max (w_min / w_max)^t",
    source: "FoPE, arXiv 2412.17739 (get_inv_freq, uniform)",
    params: &[
        W_MAX,
        Param::required("w_min", Interval::POSITIVE, "the last frequency, radians a position"),
    ],
    min_channels: 2,
    example: "log_uniform(w_max=1, w_min=1e-4)",
    eval: log_uniform,
    ..Family::PLAIN
};

/// Even harmonics of the training length.
pub(super) const HARMONIC: Family = Family {
    name: "harmonic",
    summary: "even harmonics of the training length; the last channel does not rotate",
    formula: "2 pi / train_len * 2 (K-1-k)",
    source: "FoPE, arXiv 2412.17739 (get_inv_freq)",
    declares_zeros: true,
    reads: &["train_len"],
    example: "harmonic()",
    eval: harmonic,
    ..Family::PLAIN
};

/// No rotation.
pub(super) const NOPE: Family = Family {
    name: "nope",
    summary: "no rotation: NoPE, and DroPE when it replaces a trained set",
    formula: "0",
    source: "NoPE, arXiv 2305.19466; DroPE, arXiv 2512.12167",
    declares_zeros: true,
    example: "nope()",
    eval: nope,
    ..Family::PLAIN
};

#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn uniform(call: &Call<'_>) -> Result<Shape, Error> {
    let (high, low, last) = (call.number("w_max"), call.number("w_min"), call.channels() as f64);
    // Weighted from both ends, so that both are exact.
    Ok(Shape::plain(call.per_channel(|k| {
        let t = k / (last - 1.0);
        high * (1.0 - t) + low * t
    })))
}

#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn log_uniform(call: &Call<'_>) -> Result<Shape, Error> {
    let (high, low, last) = (call.number("w_max"), call.number("w_min"), call.channels() as f64);
    let (ln_high, ln_low) = (libm::log(high), libm::log(low));
    Ok(Shape::plain(call.per_channel(|k| {
        let t = k / (last - 1.0);
        libm::exp(ln_high * (1.0 - t) + ln_low * t)
    })))
}

fn harmonic(call: &Call<'_>) -> Result<Shape, Error> {
    let (length, last) = (call.train_len()?, call.channels() as f64 - 1.0);
    Ok(Shape::plain(call.per_channel(|k| TAU / length * (2.0 * (last - k)))))
}

#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn nope(call: &Call<'_>) -> Result<Shape, Error> {
    Ok(Shape::plain(call.per_channel(|_| 0.0)))
}
