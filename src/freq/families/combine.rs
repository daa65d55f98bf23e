//! Families made of two others, channel by channel.

use super::super::error::{Error, RANGE, TYPE};
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
    summary: "two families mixed linearly in frequency",
    formula: "(1 - alpha) a + alpha b",
    source: "the unified search experiment (`hybrid`)",
    inner: &["a", "b"],
    params: &[ALPHA],
    example: "mix(geo(theta=500k), anchored_poly(theta=500k), alpha=0.2)",
    eval: mix,
    ..Family::PLAIN
};

/// Linear in log frequency.
pub(super) const MIX_LOG: Family = Family {
    name: "mix_log",
    summary: "two families mixed geometrically",
    formula: "a^(1 - alpha) b^alpha",
    source: "the log-frequency form of mix",
    inner: &["a", "b"],
    params: &[ALPHA],
    example: "mix_log(geo(theta=500k), anchored_poly(theta=500k), alpha=0.5)",
    eval: mix_log,
    ..Family::PLAIN
};

/// The first channels of one, the others of another.
pub(super) const SPLICE: Family = Family {
    name: "splice",
    summary: "channels below `at` of the first family, the others of the second",
    formula: "a if k < at, else b",
    source: "elementary; hybrids that keep the first channels geometric",
    inner: &["a", "b"],
    params: &[Param::required("at", Interval::NOT_NEGATIVE, "channels of the first family")],
    example: "splice(geo(theta=10k), geo(theta=500k), at=1)",
    eval: splice,
    ..Family::PLAIN
};

/// One set up to a length, another beyond.
pub(in super::super) const AT: Family = Family {
    name: "at",
    summary: "the first family whose length the present one does not exceed, else the last",
    formula: "a if seq_len <= N, else b",
    source: "the short and long factors of LongRoPE, for any families",
    syntax: Some("len<=N: a, ..., else: b"),
    reads: &["seq_len"],
    example: "at(len<=2048: geo(theta=10k), else: geo(theta=500k))",
    choose: Some(by_length),
    eval: |call| Ok(call.inner[0].clone()),
    ..Family::PLAIN
};

/// The place of the first bound that the present length does not exceed.
fn by_length(call: &Call<'_>) -> Result<usize, Error> {
    let bounds = call.list("len");
    let rises = |i: usize| if i == 0 { bounds[0] >= 1.0 } else { bounds[i] > bounds[i - 1] };
    if let Some(i) = (0..bounds.len()).find(|&i| !rises(i)) {
        let what = if i == 0 { "at least 1" } else { "above the one before it" };
        return Err(Error::new(
            RANGE,
            call.place_in_list("len", i),
            format!("the length {} of `at` is not {what}", bounds[i]),
            "lengths rise, from 1 on",
        ));
    }
    let seq_len = call.seq_len()?;
    Ok(bounds.iter().position(|bound| seq_len <= *bound).unwrap_or(bounds.len()))
}

fn splice(call: &Call<'_>) -> Result<Shape, Error> {
    let at = call.count("at", call.inner[0].inv_freq.len())?;
    combine(call, |k, a, b| if k < at { a } else { b })
}

fn mix(call: &Call<'_>) -> Result<Shape, Error> {
    let alpha = call.number("alpha");
    combine(call, |_, a, b| (1.0 - alpha) * a + alpha * b)
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
    combine(call, |_, a, b| libm::exp((1.0 - alpha) * libm::log(a) + alpha * libm::log(b)))
}

pub(super) fn combine(call: &Call<'_>, f: impl Fn(usize, f64, f64) -> f64) -> Result<Shape, Error> {
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
    if a.inv_freq.len() != b.inv_freq.len() {
        return Err(Error::new(
            TYPE,
            call.expr.span.0.clone(),
            format!(
                "{} of families with {} and {} channels",
                call.expr.family.name,
                a.inv_freq.len(),
                b.inv_freq.len()
            ),
            "partial goes around both: partial(mix(a, b), pct=...)",
        ));
    }
    let pairs = a.inv_freq.iter().zip(&b.inv_freq).enumerate();
    Ok(a.with(pairs.map(|(k, (a, b))| f(k, *a, *b)).collect()))
}
