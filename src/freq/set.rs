//! An evaluated expression and its two ids.

use super::ast::Expr;
use super::context::{Context, RopeDtype};
use super::error::Check;

/// The frequencies of a `RoPE`, with what is known about them.
#[derive(Debug, Clone, PartialEq)]
pub struct FrequencySet {
    /// The canonical form.
    pub expression: String,
    /// Dimensions of an attention head.
    pub head_dim: u32,
    /// The angular frequencies, in radians a position: `head_dim / 2` of them, fewer if only
    /// the first dimensions of a head rotate (`partial`).
    pub inv_freq: Vec<f64>,
    /// Factor on both cos and sin.
    pub attention_scale: f64,
    /// The base, if exactly one `theta` occurs.
    pub theta: Option<f64>,
    /// Every `theta` that occurs, ascending, each once.
    pub thetas: Vec<f64>,
    /// The grids that its parts name, in the order of the text, each once.
    pub grids: Vec<&'static str>,
    /// Whether it depends on the length at run time: nothing to train with.
    pub depends_on_seq_len: bool,
    /// How the frequencies are rounded.
    pub rope_dtype: RopeDtype,
    /// Hash of the canonical form and the context it depends on: provenance.
    pub expr_id: String,
    /// Hash of the f32 frequencies and the attention scale: what decides "the same set".
    pub vec_id: String,
    /// What is suspicious or worth knowing.
    pub checks: Vec<Check>,
}

impl FrequencySet {
    /// The frequencies rounded to f32: what a model is given.
    #[must_use]
    pub fn inv_freq_f32(&self) -> Vec<f32> {
        self.inv_freq.iter().map(|w| self.rope_dtype.round(*w)).collect()
    }

    /// The number of positions of a turn of channel `k`; infinite if its frequency is 0.
    #[must_use]
    pub fn period(&self, k: usize) -> f64 {
        std::f64::consts::TAU / self.inv_freq[k]
    }
}

/// blake3 in hex of `xpfreq/1`, the canonical form, `head_dim=` and `train_len=`, each on a line
/// and without a line end after the last. A `train_len` that is not given is written `none`.
/// Only if the expression uses `target_len`, a line `target_len=` follows; likewise `seq_len`; and
/// `rope_dtype=` only if it is not `f32`.
pub(super) fn expr_id(canonical: &str, expr: &Expr, context: &Context) -> String {
    let length = |length: Option<u64>| length.map_or("none".to_owned(), |l| l.to_string());
    let mut text = format!(
        "xpfreq/1\n{canonical}\nhead_dim={}\ntrain_len={}",
        context.head_dim,
        length(context.train_len)
    );
    for (name, value) in [("target_len", context.target_len), ("seq_len", context.seq_len)] {
        if expr.mentions(name) {
            text.push('\n');
            text.push_str(name);
            text.push('=');
            text.push_str(&length(value));
        }
    }
    if context.rope_dtype != RopeDtype::F32 {
        text.push_str("\nrope_dtype=");
        text.push_str(context.rope_dtype.name());
    }
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// blake3 in hex of the frequencies as little-endian f32 and the attention scale as
/// little-endian f64.
pub(super) fn vec_id(inv_freq: &[f64], rope_dtype: RopeDtype, attention_scale: f64) -> String {
    let mut hasher = blake3::Hasher::new();
    for w in inv_freq {
        hasher.update(&rope_dtype.round(*w).to_le_bytes());
    }
    hasher.update(&attention_scale.to_le_bytes());
    hasher.finalize().to_hex().to_string()
}
