//! Families made of one other, frequency by frequency.

use std::f64::consts::TAU;

use super::super::error::{Error, LENGTH, MISSING_PARAMETER, RANGE};
use super::{Call, Default, Family, Interval, Kind, Param, Shape};

/// Every frequency times a constant.
pub(super) const SCALE: Family = Family {
    name: "scale",
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
    example: "scale(geo(theta=10k), c=0.25)",
    eval: scale,
    ..Family::PLAIN
};

/// Frequencies held between two bounds.
pub(super) const CLIP: Family = Family {
    name: "clip",
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
    example: "clip(geo(theta=10k), min=1e-3, max=0.5)",
    eval: clip,
    ..Family::PLAIN
};

/// Descending order.
pub(super) const SORT: Family = Family {
    name: "sort",
    summary: "the same frequencies in descending order",
    formula: "the k-th largest w",
    source: "elementary",
    inner: &["inner"],
    example: "sort(table([0.5, 1]))",
    eval: |call| {
        let mut inv_freq = call.inner[0].inv_freq.clone();
        inv_freq.sort_by(|a, b| b.total_cmp(a));
        Ok(call.inner[0].with(inv_freq))
    },
    ..Family::PLAIN
};

/// An attention scale.
pub(super) const ATTN: Family = Family {
    name: "attn",
    summary: "the same frequencies, cos and sin multiplied: attention logits by its square",
    formula: "w; A = scale times the inner attention scale",
    source: "transformers `attention_factor`",
    inner: &["inner"],
    params: &[Param::required("scale", Interval::POSITIVE, "factor on cos and sin")],
    example: "attn(geo(theta=10k), scale=1.1)",
    eval: |call| {
        let mut shape = call.inner[0].clone();
        shape.attention_scale *= call.number("scale");
        Ok(shape)
    },
    ..Family::PLAIN
};

/// Whole periods.
pub(super) const RESONANCE: Family = Family {
    name: "resonance",
    summary: "every period rounded to a whole number of positions, halves to even",
    formula: "2 pi / round(2 pi / w)",
    source: "Resonance RoPE, arXiv 2403.00071",
    inner: &["inner"],
    example: "resonance(geo(theta=10k))",
    eval: |call| {
        Ok(call.inner[0].map(|w| if w == 0.0 { 0.0 } else { TAU / libm::rint(TAU / w).max(1.0) }))
    },
    ..Family::PLAIN
};

/// Only the first dimensions of a head rotate.
pub(super) const PARTIAL: Family = Family {
    name: "partial",
    summary: "only the first int(head_dim pct) dimensions of a head rotate; the inner set is that of a \
              head of so many",
    formula: "w of head_dim int(head_dim pct)",
    source: "GPT-NeoX, Phi: transformers `partial_rotary_factor`",
    inner: &["inner"],
    params: &[Param::required("pct", Interval::UNIT, "the share of the dimensions that rotates")],
    inner_head_dim: Some(rotary_dim),
    example: "partial(geo(theta=10k), pct=0.5)",
    eval: |call| Ok(call.inner[0].clone()),
    ..Family::PLAIN
};

fn rotary_dim(call: &Call<'_>) -> Result<u32, Error> {
    let pct = call.number("pct");
    // Truncated like int() of the libraries that use it.
    let dim = (f64::from(call.context.head_dim) * pct) as u32;
    if dim >= 2 && dim.is_multiple_of(2) {
        return Ok(dim);
    }
    Err(Error::new(
        RANGE,
        call.place("pct"),
        format!("pct = {pct} of head_dim {} is {dim} dimensions", call.context.head_dim),
        "must be even and at least 2",
    ))
}

/// Searched factors, one list up to the training length, another beyond.
pub(super) const LONGROPE: Family = Family {
    name: "longrope",
    summary: "every frequency divided by a factor of its own: `short` up to train_len, `long` beyond; \
              attention_factor makes factor needless",
    formula: "w / short[k] if seq_len <= train_len, else w / long[k]; A = sqrt(1 + ln(factor)/ln(train_len))",
    source: "LongRoPE, arXiv 2402.13753; transformers `longrope`",
    inner: &["inner"],
    params: &[
        Param {
            name: "short",
            doc: "divisors up to the training length",
            kind: Kind::NamedList,
            default: Default::Required,
        },
        Param {
            name: "long",
            doc: "divisors beyond the training length",
            kind: Kind::NamedList,
            default: Default::Required,
        },
        Param {
            name: "factor",
            doc: "the extension of the length",
            kind: Kind::Number(Interval::POSITIVE),
            default: Default::ComputedUnless("target_len / train_len", "attention_factor"),
        },
        Param::optional("attention_factor", Interval::POSITIVE, "the attention scale itself"),
    ],
    reads: &["train_len", "seq_len"],
    example: "longrope(geo(theta=10k), short=[1, 1], long=[1, 4])",
    eval: longrope,
    ..Family::PLAIN
};

fn longrope(call: &Call<'_>) -> Result<Shape, Error> {
    let channels = call.inner[0].inv_freq.len();
    for name in ["short", "long"] {
        let list = call.list(name);
        if list.len() != channels {
            return Err(Error::new(
                LENGTH,
                call.place(name),
                format!("`{name}` has {} values, and {channels} are needed", list.len()),
                "one for each channel",
            ));
        }
        if let Some(bad) = list.iter().find(|value| **value <= 0.0) {
            let message = format!("`{name}` holds {bad}: divisors are above 0");
            return Err(call.contradiction(name, message, "not above 0"));
        }
    }
    let (train_len, seq_len) = (call.train_len()?, call.seq_len()?);
    let divisors = call.list(if seq_len <= train_len { "short" } else { "long" });
    let inner = &call.inner[0];
    let mut shape = inner.with(inner.inv_freq.iter().zip(divisors).map(|(w, by)| w / by).collect());
    shape.attention_scale *= if let Some(scale) = call.optional("attention_factor") {
        scale
    } else {
        let factor = call.number("factor");
        // ln(train_len) is 0 at a length of 1, where nothing is extended.
        if factor <= 1.0 || train_len <= 1.0 {
            1.0
        } else {
            libm::sqrt(1.0 + libm::log(factor) / libm::log(train_len))
        }
    };
    Ok(shape)
}

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
