//! How a run is trained: complete, no defaults left open.

use serde::{Deserialize, Serialize};

use crate::data::OrderKind;
use crate::ops::Precision;
use crate::optim::Decay;

/// The schedule of a protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Tokens a row.
    pub seq_len: u64,
    /// Rows a step.
    pub batch_size: u64,
    /// Rows whose gradient is computed at once; divides `batch_size`.
    pub micro_batch_size: u64,
    /// Passes over the rows.
    pub epochs: u64,
    /// Stop after so many steps.
    pub max_steps: Option<u64>,
    /// Order of the rows.
    pub order: OrderKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Share of the steps with a rising learning rate.
    pub warmup_frac: f64,
    /// How the learning rate falls after the warm-up.
    pub decay: Decay,
    /// Learning rate at the end, as a share of the peak.
    pub min_lr_frac: f64,
    /// Decay rates of Adam's moments.
    pub betas: [f64; 2],
    /// Epsilon of Adam.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm.
    pub grad_clip: f64,
    /// Precision of the matrix inputs.
    pub precision: Precision,
}

impl Config {
    /// Steps that `tokens` training tokens give: `epochs * floor(rows / batch_size)`, before
    /// `max_steps`. PROTOCOL: rows = floor(tokens / seq_len), what is left over is dropped.
    #[must_use]
    pub fn available_steps(&self, tokens: u64) -> u64 {
        (tokens / self.seq_len / self.batch_size).saturating_mul(self.epochs)
    }

    /// Steps of a run over `tokens` training tokens.
    #[must_use]
    pub fn steps(&self, tokens: u64) -> u64 {
        let available = self.available_steps(tokens);
        self.max_steps.map_or(available, |max| max.min(available))
    }

    /// Tokens read in `steps` steps.
    #[must_use]
    pub fn tokens(&self, steps: u64) -> u64 {
        steps.saturating_mul(self.batch_size).saturating_mul(self.seq_len)
    }
}
