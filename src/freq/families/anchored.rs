//! Families that go from 1 to `omf` times the lowest geometric frequency, along a curve.

use super::super::error::Error;
use super::{Call, Default, Family, Interval, Kind, Param, Shape};

const THETA: Param = Param {
    name: "theta",
    doc: "the base of the geometric set whose lowest frequency is the anchor",
    kind: Kind::Number(Interval::above(1.0)),
    default: Default::Required,
};

const OMF: Param = Param {
    name: "omf",
    doc: "the low end as a multiple of the anchor theta^(-(K-1)/K)",
    kind: Kind::Number(Interval::POSITIVE),
    default: Default::Number(0.3),
};

/// A logistic curve between the ends; not renormalised, so that ω_0 < 1.
pub(super) const SIGMOID: Family = Family {
    name: "sigmoid",
    summary: "a logistic curve in log frequency, not renormalised to reach its ends",
    formula: "exp(s(t) ln(omf theta^(-(K-1)/K))), s(t) = 1/(1 + exp(-steepness (t - midpoint)))",
    source: "the unified search experiment",
    params: &[
        THETA,
        Param {
            name: "steepness",
            doc: "slope of the curve",
            kind: Kind::Number(Interval::POSITIVE),
            default: Default::Number(8.0),
        },
        Param {
            name: "midpoint",
            doc: "t at which half of the way is gone",
            kind: Kind::Number(Interval::ANY),
            default: Default::Number(0.5),
        },
        OMF,
    ],
    min_channels: 2,
    example: "sigmoid(theta=10k, steepness=8, midpoint=0.5, omf=0.3)",
    eval: sigmoid,
    ..Family::PLAIN
};

/// A power of t between the ends.
pub(super) const ANCHORED_POLY: Family = Family {
    name: "anchored_poly",
    summary: "a power curve in log frequency, from 1 to the low end exactly",
    formula: "exp(t^p ln(omf theta^(-(K-1)/K)))",
    source: "the unified search experiment",
    params: &[
        THETA,
        Param {
            name: "p",
            doc: "the power: above 1, more channels stay near 1",
            kind: Kind::Number(Interval::POSITIVE),
            default: Default::Number(3.9),
        },
        OMF,
    ],
    min_channels: 2,
    example: "anchored_poly(theta=500k, p=3.9, omf=0.3)",
    eval: anchored_poly,
    ..Family::PLAIN
};

fn sigmoid(call: &Call<'_>) -> Result<Shape, Error> {
    let (steepness, midpoint) = (call.number("steepness"), call.number("midpoint"));
    along(call, |t| 1.0 / (1.0 + libm::exp(-steepness * (t - midpoint))))
}

fn anchored_poly(call: &Call<'_>) -> Result<Shape, Error> {
    let p = call.number("p");
    along(call, |t| libm::pow(t, p))
}

/// exp(curve(t) · ln(lowest)): the highest frequency is 1, so its logarithm drops out.
#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn along(call: &Call<'_>, curve: impl Fn(f64) -> f64) -> Result<Shape, Error> {
    let channels = call.channels() as f64;
    let anchor = libm::pow(call.number("theta"), -(channels - 1.0) / channels);
    let ln_lowest = libm::log(call.number("omf") * anchor);
    let inv_freq = call.per_channel(|k| libm::exp(curve(k / (channels - 1.0)) * ln_lowest));
    Ok(Shape::plain(inv_freq))
}
