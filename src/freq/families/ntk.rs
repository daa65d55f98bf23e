//! Interpolations that work on the base or on all channels alike.

use super::super::error::Error;
use super::turns::{index_range, linear_ramp};
use super::{Call, Family, Interval, Param, Shape};

pub(super) const FACTOR: Param =
    Param::required("factor", Interval::from(1.0), "the extension of the length");

/// Position interpolation.
pub(super) const PI: Family = Family {
    name: "pi",
    summary: "position interpolation: every frequency divided by the factor",
    formula: "w / factor",
    source: "arXiv 2306.15595; transformers `linear`",
    inner: &["inner"],
    params: &[FACTOR],
    example: "pi(geo(theta=10k), factor=4)",
    eval: |call| {
        let factor = call.number("factor");
        Ok(call.inner[0].map(|w| w / factor))
    },
    ..Family::PLAIN
};

/// A larger base, so that the lowest frequency is interpolated and the highest is not.
pub(super) const NTK: Family = Family {
    name: "ntk",
    summary: "NTK-aware: a larger base; needs geo inside",
    formula: "(theta factor^(d/(d-2)))^(-u)",
    source: "bloc97 2023; jquesnelle/yarn LlamaNTKScaledRotaryEmbedding",
    inner: &["inner"],
    params: &[FACTOR],
    min_channels: 2,
    example: "ntk(geo(theta=10k), factor=4)",
    eval: |call| larger_base(call, call.number("factor")),
    ..Family::PLAIN
};

/// Su's variant: base and frequency both scaled.
pub(super) const NTK_FIXED: Family = Family {
    name: "ntk_fixed",
    summary: "NTK with the base times the factor, and all frequencies scaled; needs geo inside",
    formula: "(theta factor)^(-u) / factor^(2/d)",
    source: "kexue.fm/9706; vLLM ntk_scaling_rope.py",
    inner: &["inner"],
    params: &[FACTOR],
    example: "ntk_fixed(geo(theta=10k), factor=4)",
    eval: |call| {
        let (theta, factor) = (call.inner_theta()?, call.number("factor"));
        let scale = libm::pow(factor, 1.0 / channels(call));
        let base = theta * factor;
        Ok(by_index(call, |k, _| libm::pow(base, -k / channels(call)) / scale))
    },
    ..Family::PLAIN
};

/// Su's mixed-radix variant.
pub(super) const NTK_MIXED: Family = Family {
    name: "ntk_mixed",
    summary: "mixed radix: later channels are divided by more",
    formula: "w / exp(ln(factor) ((k+1)/K)^b)",
    source: "kexue.fm/9706; vLLM ntk_scaling_rope.py (mixed_b)",
    inner: &["inner"],
    params: &[FACTOR, Param::number("b", Interval::POSITIVE, 0.625, "how the division sets in")],
    example: "ntk_mixed(geo(theta=10k), factor=4, b=0.625)",
    eval: |call| {
        let (ln_factor, b) = (libm::log(call.number("factor")), call.number("b"));
        Ok(by_index(call, |k, w| {
            w / libm::exp(ln_factor * libm::pow((k + 1.0) / channels(call), b))
        }))
    },
    ..Family::PLAIN
};

/// NTK whose factor grows with the present length.
pub(super) const DYNAMIC_NTK: Family = Family {
    name: "dynamic_ntk",
    summary: "NTK that grows with the present length n = max(seq_len, train_len); needs geo inside",
    formula: "(theta (factor n/train_len - (factor-1))^(d/(d-2)))^(-u)",
    source: "transformers `dynamic`",
    inner: &["inner"],
    params: &[FACTOR],
    min_channels: 2,
    reads: &["train_len", "seq_len"],
    example: "dynamic_ntk(geo(theta=10k), factor=2)",
    eval: |call| {
        let (factor, train_len) = (call.number("factor"), call.train_len()?);
        let length = call.seq_len()?.max(train_len);
        larger_base(call, factor * length / train_len - (factor - 1.0))
    },
    ..Family::PLAIN
};

/// The precursor of YaRN: linear, NTK and unchanged, blended by index.
pub(super) const PART_NTK: Family = Family {
    name: "part_ntk",
    summary: "linear to NTK at 1.25 to 0.75 turns, to unchanged at 16 to 2, both by index; needs geo",
    formula: "blend of w/factor, ntk(w) and w",
    source: "jquesnelle/yarn LlamaPartNTKScaledRotaryEmbedding",
    inner: &["inner"],
    params: &[FACTOR],
    min_channels: 2,
    reads: &["train_len"],
    example: "part_ntk(geo(theta=10k), factor=4)",
    eval: part_ntk,
    ..Family::PLAIN
};

fn channels(call: &Call<'_>) -> f64 {
    call.inner[0].inv_freq.len() as f64
}

/// The inner set with f(k, w) for each channel.
pub(super) fn by_index(call: &Call<'_>, f: impl Fn(f64, f64) -> f64) -> Shape {
    let inner = &call.inner[0];
    inner.with(inner.inv_freq.iter().enumerate().map(|(k, w)| f(k as f64, *w)).collect())
}

fn larger_base(call: &Call<'_>, factor: f64) -> Result<Shape, Error> {
    let (theta, dim) = (call.inner_theta()?, 2.0 * channels(call));
    let base = theta * libm::pow(factor, dim / (dim - 2.0));
    Ok(by_index(call, |k, _| libm::pow(base, -k / channels(call))))
}

fn part_ntk(call: &Call<'_>) -> Result<Shape, Error> {
    let factor = call.number("factor");
    let ntk = larger_base(call, factor)?;
    let (low, high) = index_range(call, 1.25, 0.75, true)?;
    let (low_base, high_base) = index_range(call, 16.0, 2.0, true)?;
    Ok(by_index(call, |k, w| {
        let mask = 1.0 - linear_ramp(k, low, high);
        let blended = w / factor * (1.0 - mask) + ntk.inv_freq[k as usize] * mask;
        let mask = 1.0 - linear_ramp(k, low_base, high_base);
        blended * (1.0 - mask) + w * mask
    }))
}
