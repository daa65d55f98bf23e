//! Families made of two others, channel by channel.

use super::super::error::{Error, TYPE};
use super::{Call, Default, Family, Interval, Kind, Param, Shape};

const ALPHA: Param = Param {
    name: "alpha",
    doc: "the share of the second family",
    kind: Kind::Number(Interval::UNIT),
    default: Default::Number(0.2),
};

/// Linear in frequency.
pub(super) const MIX: Family = Family {
    name: "mix",
    version: 1,
    summary: "two families mixed linearly in frequency",
    formula: "(1 - alpha) a + alpha b",
    source: "the unified search experiment (`hybrid`)",
    inner: &["a", "b"],
    params: &[ALPHA],
    own_params: false,
    min_channels: 1,
    declares_zeros: false,
    example: "mix(geo(theta=500k), anchored_poly(theta=500k), alpha=0.2)",
    eval: mix,
};

/// Linear in log frequency.
pub(super) const MIX_LOG: Family = Family {
    name: "mix_log",
    version: 1,
    summary: "two families mixed geometrically",
    formula: "a^(1 - alpha) b^alpha",
    source: "the log-frequency form of mix",
    inner: &["a", "b"],
    params: &[ALPHA],
    own_params: false,
    min_channels: 1,
    declares_zeros: false,
    example: "mix_log(geo(theta=500k), anchored_poly(theta=500k), alpha=0.5)",
    eval: mix_log,
};

fn mix(call: &Call<'_>) -> Result<Shape, Error> {
    let alpha = call.number("alpha");
    combine(call, |a, b| (1.0 - alpha) * a + alpha * b)
}

fn mix_log(call: &Call<'_>) -> Result<Shape, Error> {
    let alpha = call.number("alpha");
    for (shape, inner) in call.inner.iter().zip(&call.expr.inner) {
        if let Some(k) = shape.inv_freq.iter().position(|w| *w <= 0.0) {
            return Err(Error::new(
                TYPE,
                inner.span.0.clone(),
                format!(
                    "mix_log takes logarithms, and channel {k} of {} is not above 0",
                    inner.family.name
                ),
                "not positive everywhere",
            )
            .help("mix(a, b) is linear in frequency and takes zeros"));
        }
    }
    combine(call, |a, b| libm::exp((1.0 - alpha) * libm::log(a) + alpha * libm::log(b)))
}

fn combine(call: &Call<'_>, f: impl Fn(f64, f64) -> f64) -> Result<Shape, Error> {
    let (a, b) = (&call.inner[0], &call.inner[1]);
    if a.attention_scale != b.attention_scale {
        return Err(Error::new(
            TYPE,
            call.expr.span.0.clone(),
            format!(
                "{} of families with different attention scales, {} and {}",
                call.expr.family.name, a.attention_scale, b.attention_scale
            ),
            "which of the two holds?",
        ));
    }
    let inv_freq = a.inv_freq.iter().zip(&b.inv_freq).map(|(a, b)| f(*a, *b)).collect();
    Ok(Shape { inv_freq, attention_scale: a.attention_scale })
}
