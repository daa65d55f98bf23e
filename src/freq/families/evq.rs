//! Exponent-warped geometric sets: theta^(-phi(u)).

use super::super::error::{CONTEXT, Error};
use super::{Call, Family, Interval, Param, Shape};

const THETA: Param = Param::required("theta", Interval::above(1.0), "the base");

/// The warp of EVQ: phi = 1 - asinh((1-u) sinh tau) / tau.
pub(super) const EVQ_COSH: Family = Family {
    name: "evq_cosh",
    summary: "a cosh-shaped density of exponents; tau = 0 is geometric on the same grid",
    formula: "theta^(-phi(u)), phi = 1 - asinh((1-u) sinh(tau))/tau, u by grid: (k+0.5)/K (mid), k/K \
              (std), k/(K-1) (ends), or mid with phi mapped to 0..(K-1)/K (anchored)",
    source: "hybrid-rope (EVQ-cosh), its rule for tau included",
    params: &[
        THETA,
        Param::computed(
            "tau",
            Interval::between(0.0, 100.0),
            "head_dim / sqrt(train_len)",
            "strength of the warp",
        ),
        Param::word("grid", &["mid", "std", "ends", "anchored"], "mid", "where u lies"),
    ],
    example: "evq_cosh(theta=500k, tau=1.414, grid=mid)",
    eval: evq_cosh,
    ..Family::PLAIN
};

/// The exponential warp.
pub(super) const EVQ_EXP: Family = Family {
    name: "evq_exp",
    summary: "an exponential density of exponents",
    formula: "theta^(-phi), phi = ((1 + beta)^u - 1)/beta, u = k/K",
    source: "hybrid-rope (EVQ-exp)",
    params: &[THETA, Param::number("beta", Interval::POSITIVE, 3.0, "strength of the warp")],
    example: "evq_exp(theta=500k, beta=3)",
    eval: evq_exp,
    ..Family::PLAIN
};

fn evq_cosh(call: &Call<'_>) -> Result<Shape, Error> {
    let (theta, tau, grid) = (call.number("theta"), call.number("tau"), call.choice("grid"));
    let channels = call.channels() as f64;
    if channels < 2.0 && matches!(grid, "ends" | "anchored") {
        return Err(Error::new(
            CONTEXT,
            call.place("grid"),
            format!("grid={grid} divides by K - 1, and there is one channel"),
            "needs two channels",
        ));
    }
    let phi = |u: f64| {
        if tau == 0.0 { u } else { 1.0 - libm::asinh((1.0 - u) * libm::sinh(tau)) / tau }
    };
    let (first, last) = (phi(0.5 / channels), phi((channels - 0.5) / channels));
    let end = (channels - 1.0) / channels;
    Ok(Shape::plain(call.per_channel(|k| {
        let exponent = match grid {
            "std" => phi(k / channels),
            "ends" => phi(k / (channels - 1.0)),
            "anchored" => (phi((k + 0.5) / channels) - first) / (last - first) * end,
            _ => phi((k + 0.5) / channels),
        };
        libm::pow(theta, -exponent)
    })))
}

#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn evq_exp(call: &Call<'_>) -> Result<Shape, Error> {
    let (theta, beta, channels) =
        (call.number("theta"), call.number("beta"), call.channels() as f64);
    Ok(Shape::plain(
        call.per_channel(|k| libm::pow(theta, -(libm::pow(1.0 + beta, k / channels) - 1.0) / beta)),
    ))
}
