//! Families made of one other, frequency by frequency.

use super::super::error::{Error, MISSING_PARAMETER};
use super::{Call, Default, Family, Interval, Kind, Param, Shape};

/// Every frequency times a constant.
pub(super) const SCALE: Family = Family {
    name: "scale",
    version: 1,
    summary: "every frequency times a constant",
    formula: "c w",
    source: "position interpolation (arXiv 2306.15595) is c = 1/factor",
    inner: &["inner"],
    params: &[Param {
        name: "c",
        doc: "the constant",
        kind: Kind::Number(Interval::POSITIVE),
        default: Default::Required,
    }],
    own_params: false,
    min_channels: 1,
    declares_zeros: false,
    example: "scale(geo(theta=10k), c=0.25)",
    eval: scale,
};

/// Frequencies held between two bounds.
pub(super) const CLIP: Family = Family {
    name: "clip",
    version: 1,
    summary: "frequencies held between two bounds, of which one may be left out",
    formula: "min(max(w, min), max)",
    source: "elementary",
    inner: &["inner"],
    params: &[
        Param {
            name: "min",
            doc: "least frequency, radians a position",
            kind: Kind::Number(Interval::NOT_NEGATIVE),
            default: Default::Absent,
        },
        Param {
            name: "max",
            doc: "greatest frequency, radians a position",
            kind: Kind::Number(Interval::POSITIVE),
            default: Default::Absent,
        },
    ],
    own_params: false,
    min_channels: 1,
    declares_zeros: false,
    example: "clip(geo(theta=10k), min=1e-3, max=0.5)",
    eval: clip,
};

#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn scale(call: &Call<'_>) -> Result<Shape, Error> {
    let c = call.number("c");
    Ok(call.inner[0].map(|w| c * w))
}

fn clip(call: &Call<'_>) -> Result<Shape, Error> {
    let (low, high) = (call.optional("min"), call.optional("max"));
    match (low, high) {
        (None, None) => {
            return Err(Error::new(
                MISSING_PARAMETER,
                call.expr.name_span.0.clone(),
                "clip needs `min`, `max` or both",
                "clips nothing",
            ));
        }
        (Some(low), Some(high)) if low > high => {
            return Err(call.contradiction(
                "min",
                format!("min = {low} is above max = {high}"),
                "above max",
            ));
        }
        _ => {}
    }
    Ok(call.inner[0].map(|w| {
        let raised = low.filter(|low| w < *low).unwrap_or(w);
        high.filter(|high| raised > *high).unwrap_or(raised)
    }))
}
