//! What a run costs: parameters, tokens, FLOPs, memory, disk.

use super::protocol::Protocol;
use crate::model;

/// The cost of one run of a protocol.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Parameters of the model.
    pub parameters: u64,
    /// Optimiser steps; `None` until the tokens are counted, where nothing bounds them.
    pub steps: Option<u64>,
    /// Tokens read in training.
    pub train_tokens: Option<u64>,
    /// Whether the counts come from the tokens themselves, not from `max_tokens`.
    pub tokens_known: bool,
    /// Floating-point operations of one run's training.
    pub flops: Option<f64>,
    /// Largest memory of training or evaluation, in bytes, as predicted.
    pub peak_memory_bytes: u64,
    /// Bytes on disk that one finished run keeps.
    pub disk_bytes: u64,
}

/// Estimates a run of `protocol`, whose training stream has `tokens` tokens if that is known.
#[must_use]
pub fn estimate(protocol: &Protocol, tokens: Option<u64>, keep_weights: bool) -> Estimate {
    let (m, t) = (&protocol.model, &protocol.train);
    let parameters = m.num_parameters();
    let tokens_known = tokens.is_some();
    // Stories are appended until max_tokens are held, so at least so many are there.
    let steps = tokens.or(protocol.data.train.max_tokens).map(|n| t.steps(n)).or(t.max_steps);
    let train_tokens = steps.map(|steps| t.tokens(steps));
    let longest = protocol.eval.lengths.iter().copied().max().unwrap_or(0);
    let micro_batch = usize::try_from(t.micro_batch_size).unwrap_or(usize::MAX);
    let seq_len = usize::try_from(t.seq_len).unwrap_or(usize::MAX);
    let longest = usize::try_from(longest).unwrap_or(usize::MAX);
    let peak_memory_bytes =
        model::training_memory(m, micro_batch, seq_len).max(model::evaluation_memory(m, longest));
    Estimate {
        parameters,
        steps,
        train_tokens,
        tokens_known,
        flops: train_tokens.map(|n| flops_per_token(protocol) * n as f64),
        peak_memory_bytes,
        disk_bytes: if keep_weights { parameters.saturating_mul(4) } else { 0 } + (1 << 20),
    }
}

/// Floating-point operations a training token: 6 N + 6 layers heads head_dim seq_len, forward
/// and backward of all weights, and of causal attention at half the square (DESIGN section 4).
#[must_use]
pub fn flops_per_token(protocol: &Protocol) -> f64 {
    let (m, t) = (&protocol.model, &protocol.train);
    6.0 * m.num_parameters() as f64
        + 6.0 * m.layers as f64 * m.heads as f64 * m.head_dim as f64 * t.seq_len as f64
}
