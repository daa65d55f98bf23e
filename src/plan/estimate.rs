//! What a run costs: parameters, tokens, FLOPs, memory, disk.

use super::protocol::Protocol;
use super::resolve::Resolved;
use crate::model;
use crate::train::weights;

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
    /// Tokens read in evaluation, all lengths, as trained and under every transform; `None` if
    /// only the validation text says how many chunks there are.
    pub eval_tokens: Option<u64>,
    /// Floating-point operations of one run's evaluation.
    pub eval_flops: Option<f64>,
    /// Largest memory of training or evaluation, in bytes, as predicted.
    pub peak_memory_bytes: u64,
    /// Bytes on disk that one finished run keeps.
    pub disk_bytes: u64,
}

/// Estimates a run of a point on so many threads, whose training stream has `tokens` tokens if that is known.
#[must_use]
pub fn estimate(
    point: &Resolved,
    tokens: Option<u64>,
    keep_weights: bool,
    threads: usize,
) -> Estimate {
    let protocol = &point.protocol;
    let (m, t) = (&protocol.model, &protocol.train);
    let parameters = m.num_parameters();
    let tokens_known = tokens.is_some();
    // Stories are appended until max_tokens are held, so at least so many are there.
    let steps = tokens.or(protocol.data.train.max_tokens).map(|n| t.steps(n)).or(t.max_steps);
    let train_tokens = steps.map(|steps| t.tokens(steps));
    let sets = point.configs.iter().map(|config| config.freq.used().count()).max().unwrap_or(1);
    let chunks = evaluated(protocol);
    Estimate {
        parameters,
        steps,
        train_tokens,
        tokens_known,
        flops: train_tokens.map(|n| flops_per_token(protocol) * n as f64),
        eval_tokens: chunks.as_ref().map(|chunks| {
            chunks.iter().fold(0, |sum, (l, n)| n.saturating_mul(*l).saturating_add(sum))
        }),
        eval_flops: chunks.map(|chunks| {
            chunks.iter().map(|&(l, n)| n as f64 * l as f64 * eval_flops_per_token(m, l)).sum()
        }),
        peak_memory_bytes: peak_memory(protocol, sets, true, threads),
        disk_bytes: disk_bytes(parameters, keep_weights),
    }
}

/// Bytes on disk that a finished run of so many parameters keeps.
#[must_use]
pub fn disk_bytes(parameters: u64, keep_weights: bool) -> u64 {
    let weights = if keep_weights { weights::bytes(parameters) } else { 0 };
    weights.saturating_add(1 << 20)
}

/// Largest memory of a run on so many threads of the CPU, in bytes, as predicted: of its training or its longest
/// evaluation, with so many frequency sets; of the evaluation alone where nothing is trained.
#[must_use]
pub fn peak_memory(protocol: &Protocol, sets: usize, training: bool, threads: usize) -> u64 {
    let (m, t) = (&protocol.model, &protocol.train);
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let seq_len = size(t.seq_len);
    let longest = size(protocol.eval.lengths.iter().copied().max().unwrap_or(0));
    // One table of cosines and sines is counted by the model; each further set has its own.
    let tables = |length: usize| {
        let values = (sets as u64 - 1).saturating_mul(m.head_dim as u64);
        values.saturating_mul(length as u64).saturating_mul(4)
    };
    let evaluation = model::evaluation_memory(m, longest, threads).saturating_add(tables(longest));
    if !training {
        return evaluation;
    }
    let trained = model::training_memory(m, size(t.micro_batch_size), seq_len, threads);
    trained.saturating_add(tables(seq_len)).max(evaluation)
}

/// Evaluation lengths, each with the chunks of it that are evaluated, under all transforms.
fn evaluated(protocol: &Protocol) -> Option<Vec<(u64, u64)>> {
    let eval = &protocol.eval;
    let times = 1 + eval.transforms.len() as u64;
    let chunks = eval.lengths.iter().map(|&length| {
        let fitting = protocol.data.validation.max_tokens.map(|tokens| tokens / length);
        let n = match (eval.chunks, fitting) {
            (Some(n), Some(fitting)) => n.min(fitting),
            (n, fitting) => n.or(fitting)?,
        };
        Some((length, n.saturating_mul(times)))
    });
    chunks.collect()
}

/// Floating-point operations an evaluation token at a length: the forward third of
/// [`flops_per_token`], at this length.
fn eval_flops_per_token(m: &model::Config, length: u64) -> f64 {
    2.0 * m.num_parameters() as f64
        + 2.0 * m.layers as f64 * m.heads as f64 * m.head_dim as f64 * length as f64
}

/// Floating-point operations a training token: 6 N + 6 layers heads head_dim seq_len, forward
/// and backward of all weights, and of causal attention at half the square (DESIGN section 4).
#[must_use]
pub fn flops_per_token(protocol: &Protocol) -> f64 {
    let (m, t) = (&protocol.model, &protocol.train);
    6.0 * m.num_parameters() as f64
        + 6.0 * m.layers as f64 * m.heads as f64 * m.head_dim as f64 * t.seq_len as f64
}
