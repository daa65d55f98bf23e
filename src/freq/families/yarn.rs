//! Interpolations that leave fast channels as they are: NTK-by-parts, YaRN, Llama 3.

use super::super::error::Error;
use super::ntk::{FACTOR, by_index};
use super::turns::{index_range, linear_ramp, turns};
use super::{Call, Family, Interval, Param, Shape};

const RAMPS: &[&str] = &["log_turns", "turns", "index"];
const TRUNCATE: Param = Param::word(
    "truncate",
    &["true", "false"],
    "true",
    "whether ramp=index rounds its ends to whole channels",
);

/// The paper's blend between interpolated and unchanged, linear in turns.
pub(super) const NTK_BY_PARTS: Family = Family {
    name: "ntk_by_parts",
    summary: "interpolated below alpha turns, unchanged above beta, a ramp between",
    formula: "w (g + (1-g)/factor), g = clamp((r - alpha)/(beta - alpha), 0, 1), r = train_len w / 2 pi",
    source: "YaRN, arXiv 2309.00071, section 3.2",
    inner: &["inner"],
    params: &[
        FACTOR,
        Param::number("alpha", Interval::POSITIVE, 1.0, "turns below which w is divided"),
        Param::number("beta", Interval::POSITIVE, 32.0, "turns above which w stays"),
        Param::word("ramp", RAMPS, "turns", "what the ramp is linear in"),
        TRUNCATE,
    ],
    reads: &["train_len"],
    example: "ntk_by_parts(geo(theta=10k), factor=4, alpha=1, beta=32)",
    eval: |call| blend(call, "alpha", "beta", call.choice("ramp")),
    ..Family::PLAIN
};

/// `YaRN`: the blend and an attention scale.
pub(super) const YARN: Family = Family {
    name: "yarn",
    summary: "NTK-by-parts with an attention scale; ramp=index is what transformers and llama.cpp \
              compute and needs geo inside",
    formula: "w (g + (1-g)/factor), g = clamp(ln(r/beta_slow)/ln(beta_fast/beta_slow), 0, 1), \
              r = train_len w / 2 pi; A = 0.1 ln(factor) + 1",
    source: "YaRN, arXiv 2309.00071; transformers `yarn`; mscale of DeepSeek",
    inner: &["inner"],
    params: &[
        FACTOR,
        Param::number("beta_fast", Interval::POSITIVE, 32.0, "turns above which w stays"),
        Param::number("beta_slow", Interval::POSITIVE, 1.0, "turns below which w is divided"),
        Param::optional("attention_factor", Interval::POSITIVE, "the attention scale itself"),
        Param::optional(
            "mscale",
            Interval::POSITIVE,
            "A = m(mscale)/m(mscale_all_dim), m(x) = 0.1 x ln(factor) + 1",
        ),
        Param::optional("mscale_all_dim", Interval::POSITIVE, "see mscale; both or none"),
        Param::word("ramp", RAMPS, "log_turns", "what the ramp is linear in"),
        TRUNCATE,
    ],
    reads: &["train_len"],
    example: "yarn(geo(theta=10k), factor=4)",
    eval: yarn,
    ..Family::PLAIN
};

/// Llama 3.1's blend.
pub(super) const LLAMA3: Family = Family {
    name: "llama3",
    summary: "the blend of Llama 3.1, linear in turns",
    formula: "w (g + (1-g)/factor), g = clamp((r - low_freq_factor)/(high_freq_factor - low_freq_factor), 0, 1)",
    source: "transformers `llama3`",
    inner: &["inner"],
    params: &[
        Param::number("factor", Interval::from(1.0), 8.0, "the extension of the length"),
        Param::number("low_freq_factor", Interval::POSITIVE, 1.0, "turns below which w is divided"),
        Param::number("high_freq_factor", Interval::POSITIVE, 4.0, "turns above which w stays"),
    ],
    reads: &["train_len"],
    example: "llama3(geo(theta=500k), factor=8)",
    eval: |call| blend(call, "low_freq_factor", "high_freq_factor", "turns"),
    ..Family::PLAIN
};

fn blend(call: &Call<'_>, slow_name: &str, fast_name: &str, ramp: &str) -> Result<Shape, Error> {
    let factor = call.number("factor");
    let (slow, fast) = (call.number(slow_name), call.number(fast_name));
    if slow >= fast {
        let message = format!("{slow_name} = {slow} is not below {fast_name} = {fast}");
        return Err(call.contradiction(slow_name, message, "not below"));
    }
    let mixed = |w: f64, kept: f64| w / factor * (1.0 - kept) + w * kept;
    if ramp == "index" {
        let (low, high) = index_range(call, fast, slow, call.choice("truncate") == "true")?;
        return Ok(by_index(call, |k, w| mixed(w, 1.0 - linear_ramp(k, low, high))));
    }
    let train_len = call.train_len()?;
    Ok(by_index(call, |_, w| {
        let r = turns(w, train_len);
        let kept = if ramp == "log_turns" {
            libm::log(r / slow) / libm::log(fast / slow)
        } else {
            (r - slow) / (fast - slow)
        };
        mixed(w, kept.clamp(0.0, 1.0))
    }))
}

fn yarn(call: &Call<'_>) -> Result<Shape, Error> {
    let mut shape = blend(call, "beta_slow", "beta_fast", call.choice("ramp"))?;
    shape.attention_scale *= attention(call)?;
    Ok(shape)
}

fn attention(call: &Call<'_>) -> Result<f64, Error> {
    let ln_factor = libm::log(call.number("factor"));
    let scale = |mscale: f64| 0.1 * mscale * ln_factor + 1.0;
    let (mscale, all_dim) = (call.optional("mscale"), call.optional("mscale_all_dim"));
    if let Some(given) = call.optional("attention_factor") {
        if mscale.or(all_dim).is_some() {
            let message = "attention_factor and mscale both give the attention scale".to_owned();
            return Err(call.contradiction("attention_factor", message, "give one"));
        }
        return Ok(given);
    }
    match (mscale, all_dim) {
        (Some(mscale), Some(all_dim)) => Ok(scale(mscale) / scale(all_dim)),
        (None, None) => Ok(scale(1.0)),
        (Some(_), None) => Err(call.contradiction(
            "mscale",
            "mscale is used only with mscale_all_dim (transformers ignores it alone)".to_owned(),
            "mscale_all_dim is missing",
        )),
        (None, Some(_)) => Err(call.contradiction(
            "mscale_all_dim",
            "mscale_all_dim is used only with mscale".to_owned(),
            "mscale is missing",
        )),
    }
}
