//! The geometric set of RoPE.

use super::super::error::{CONTEXT, Error};
use super::{Call, Default, Family, Interval, Kind, Param, Shape};

/// θ^(-u), the frequencies of RoPE.
pub(super) const GEO: Family = Family {
    name: "geo",
    summary: "geometric: the frequencies of RoPE",
    formula: "theta^(-u), with u = k/K (grid=std), (k+0.5)/K (grid=mid) or k/(K-1) (grid=ends)",
    source: "RoFormer, arXiv 2104.09864",
    params: &[
        Param {
            name: "theta",
            doc: "the base",
            kind: Kind::Number(Interval::above(1.0)),
            default: Default::Number(1e4),
        },
        Param {
            name: "grid",
            doc: "where the channels lie on the exponent",
            kind: Kind::Choice(&["std", "mid", "ends"]),
            default: Default::Choice("std"),
        },
    ],
    example: "geo(theta=500k)",
    eval,
    ..Family::PLAIN
};

fn eval(call: &Call<'_>) -> Result<Shape, Error> {
    let theta = call.number("theta");
    let channels = call.channels() as f64;
    let grid = call.choice("grid");
    if grid == "ends" && channels < 2.0 {
        return Err(Error::new(
            CONTEXT,
            call.place("grid"),
            "grid=ends divides by K - 1, and head_dim 2 has one channel",
            "needs head_dim >= 4",
        ));
    }
    let inv_freq = call.per_channel(|k| {
        let u = match grid {
            "mid" => (k + 0.5) / channels,
            "ends" => k / (channels - 1.0),
            _ => k / channels,
        };
        libm::pow(theta, -u)
    });
    Ok(Shape { geometric: Some((theta, grid)), ..Shape::plain(inv_freq) })
}
