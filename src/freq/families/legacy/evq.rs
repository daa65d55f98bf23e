//! EVQ-cosh turned round or on other grids, and behind geometric channels.

use super::super::super::error::Error;
use super::super::{Call, Family, Interval, Param, Shape};

const THETA: Param = Param::required("theta", Interval::above(1.0), "the base");
const TAU: Param = Param::required("tau", Interval::between(0.0, 100.0), "strength of the warp");
const RIGID: Param = Param::required("r", Interval::NOT_NEGATIVE, "channels that stay geometric");

const COSH: Family = Family { name: "legacy_evq_cosh", needs_version: true, ..Family::PLAIN };
const HYBRID: Family = Family { name: "legacy_evq_hybrid", needs_version: true, ..Family::PLAIN };

/// The warp; at tau = 0 these scripts returned 1 - u where the limit is u.
fn phi(u: f64, tau: f64) -> f64 {
    if tau < 1e-8 { 1.0 - u } else { 1.0 - libm::asinh((1.0 - u) * libm::sinh(tau)) / tau }
}

pub(in super::super) const COSH_1: Family = Family {
    version: 1,
    summary: "dense at low frequencies instead of high ones, rising; geometric (ends) at tau = 0",
    formula: "theta^(-(1 - phi(t))), phi(t) = 1 - asinh((1-t) sinh(tau))/tau, 1 - t at tau = 0, t = k/(K-1)",
    source: "hybrid-rope, evq_analysis.py",
    params: &[THETA, TAU],
    min_channels: 2,
    example: "legacy_evq_cosh@1(theta=500k, tau=1.5)",
    eval: |call| closed(call, |phi| 1.0 - phi),
    ..COSH
};

pub(in super::super) const COSH_2: Family = Family {
    version: 2,
    summary: "on the grid of both ends, and rising at tau = 0",
    formula: "theta^(-phi(t)), phi(t) = 1 - asinh((1-t) sinh(tau))/tau, 1 - t at tau = 0, t = k/(K-1)",
    source: "hybrid-rope, eval_extended_3seeds.py",
    params: &[THETA, TAU],
    min_channels: 2,
    example: "legacy_evq_cosh@2(theta=500k, tau=1.414)",
    eval: |call| closed(call, |phi| phi),
    ..COSH
};

#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn closed(call: &Call<'_>, exponent: impl Fn(f64) -> f64) -> Result<Shape, Error> {
    let (theta, tau) = (call.number("theta"), call.number("tau"));
    let last = call.channels() as f64 - 1.0;
    Ok(Shape::plain(call.per_channel(|k| libm::pow(theta, -exponent(phi(k / last, tau))))))
}

pub(in super::super) const HYBRID_1: Family = Family {
    version: 1,
    summary: "r channels of the middle grid, then a warp between its channels r and K-1; r = 0 is evq_cosh",
    formula: "g[k] = theta^(-(k+0.5)/K) for k < r; g[r]^(1-phi(u)) g[K-1]^phi(u), u = (k-r)/(K-r-1), rising at tau = 0",
    source: "hybrid-rope, run_evq_sweep.py",
    params: &[THETA, TAU, RIGID],
    min_channels: 2,
    example: "legacy_evq_hybrid@1(theta=500k, tau=1.5, r=1)",
    eval: |call| {
        let (theta, tau) = (call.number("theta"), call.number("tau"));
        let channels = call.channels() as f64;
        let middle = |k: f64| (k + 0.5) / channels;
        if call.count("r", call.channels())? == 0 {
            // Its own warp has the right limit.
            let warp = |u: f64| if tau < 1e-8 { u } else { phi(u, tau) };
            return Ok(Shape::plain(call.per_channel(|k| libm::pow(theta, -warp(middle(k))))));
        }
        tail(call, |k| libm::pow(theta, -middle(k)))
    },
    ..HYBRID
};

pub(in super::super) const HYBRID_2: Family = Family {
    version: 2,
    summary: "r geometric channels, then a warp between channels r and K-1; r = 0 warps from 1 on",
    formula: "g[k] = theta^(-k/K) for k < r; g[r]^(1-phi(u)) g[K-1]^phi(u), u = (k-r)/(K-r-1), rising at tau = 0",
    source: "hybrid-rope, phase15",
    params: &[THETA, TAU, RIGID],
    min_channels: 2,
    example: "legacy_evq_hybrid@2(theta=500k, tau=1.5, r=0)",
    eval: |call| {
        let (theta, channels) = (call.number("theta"), call.channels() as f64);
        tail(call, |k| libm::pow(theta, -k / channels))
    },
    ..HYBRID
};

/// Channels below r as they are, the others warped between the first of them and the last.
fn tail(call: &Call<'_>, geo: impl Fn(f64) -> f64) -> Result<Shape, Error> {
    let tau = call.number("tau");
    let r = call.count("r", call.channels())? as f64;
    let last = call.channels() as f64 - 1.0;
    Ok(Shape::plain(call.per_channel(|k| {
        if k < r {
            return geo(k);
        }
        let phi = phi((k - r) / (last - r).max(1.0), tau);
        libm::pow(geo(r), 1.0 - phi) * libm::pow(geo(last), phi)
    })))
}
