//! What an expression is evaluated for.

use std::ops::Range;

use super::error::{CONTEXT, Error};

/// Largest `head_dim`: far above any model's, and it bounds the work of one evaluation.
pub const MAX_HEAD_DIM: u32 = 4096;

/// The names of the context that arguments can use; a formula has variables of its own.
pub(super) const NAMES: [&str; 4] = ["head_dim", "train_len", "target_len", "seq_len"];

/// How a frequency becomes the f32 that a model is given.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub enum RopeDtype {
    /// Rounded once: `fl32(w)`.
    #[default]
    #[serde(rename = "f32")]
    F32,
    /// Through the reciprocal: `fl32(1 / fl32(1 / w))`. Software that takes divisors of
    /// frequencies instead of frequencies then has every one of them to the bit.
    #[serde(rename = "f32-recip")]
    F32Recip,
}

impl RopeDtype {
    /// Every rounding, with its name in specs and on the command line.
    pub const NAMES: [(Self, &'static str); 2] =
        [(Self::F32, "f32"), (Self::F32Recip, "f32-recip")];

    /// The rounding of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(dtype, _)| *dtype)
    }

    /// Its name in specs and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(dtype, _)| *dtype == self);
        found.expect("NAMES holds every rounding").1
    }

    /// The f32 of a frequency.
    #[must_use]
    pub fn round(self, w: f64) -> f32 {
        match self {
            Self::F32 => w as f32,
            Self::F32Recip => 1.0 / (1.0 / w) as f32,
        }
    }
}

/// What an expression is evaluated for: the model and the lengths in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Dimensions of an attention head: even, from 2 to [`MAX_HEAD_DIM`].
    pub head_dim: u32,
    /// Training length.
    pub train_len: Option<u64>,
    /// The length that is aimed at.
    pub target_len: Option<u64>,
    /// The present length, for families that depend on it at run time.
    pub seq_len: Option<u64>,
    /// How frequencies are rounded to f32.
    pub rope_dtype: RopeDtype,
}

impl Context {
    /// A context without lengths, rounding to f32.
    #[must_use]
    pub fn new(head_dim: u32) -> Self {
        Self {
            head_dim,
            train_len: None,
            target_len: None,
            seq_len: None,
            rope_dtype: RopeDtype::F32,
        }
    }

    /// K, the number of frequencies: `head_dim / 2`.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.head_dim as usize / 2
    }

    /// The value of one of [`NAMES`], if it is known.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        match name {
            "head_dim" => Some(f64::from(self.head_dim)),
            "train_len" => self.train_len.map(|length| length as f64),
            "target_len" => self.target_len.map(|length| length as f64),
            "seq_len" => self.seq_len.map(|length| length as f64),
            _ => None,
        }
    }

    /// Checks `head_dim`, for an expression that stands at `span`.
    pub(super) fn check(&self, span: &Range<usize>) -> Result<(), Error> {
        if self.head_dim.is_multiple_of(2) && (2..=MAX_HEAD_DIM).contains(&self.head_dim) {
            return Ok(());
        }
        Err(Error::new(
            CONTEXT,
            span.clone(),
            format!("head_dim {} does not serve", self.head_dim),
            "for this head_dim there is no set",
        )
        .help(format!("head_dim is even, from 2 to {MAX_HEAD_DIM}")))
    }

    /// `name`, a length, is used at `span` and not known.
    pub(super) fn unknown_length(name: &str, span: Range<usize>) -> Error {
        if name == "seq_len" {
            let message = "this depends on `seq_len`, the length at run time, and none is given";
            return Error::new(CONTEXT, span, message, "another set for another length").help(
                "a config is trained with one set: wrap the trained one in [eval] transform; \
                 `xp freq` takes --seq-len",
            );
        }
        Error::new(
            CONTEXT,
            span,
            format!("`{name}` is used, and no {name} is given"),
            "not known here",
        )
        .help(format!("`xp freq` takes --{}; a spec gives it", name.replace('_', "-")))
    }
}
