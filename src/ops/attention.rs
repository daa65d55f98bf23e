//! Causal softmax attention with rotary embedding, in tiles: no more than a block of queries
//! against a block of keys is ever held (Dao et al. 2022), and the backward pass recomputes
//! probabilities from the log-sum-exp that the forward pass leaves.
//!
//! Legend: L sequence length, D head dimension, P = D padded to whole tiles; q, k, v stand
//! interleaved as \[L, 3, heads, D\]. Softmax scale 1/sqrt(D) enters by the queries.

mod backward;
mod forward;
mod panels;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

/// Queries of one tile: a multiple of every micro-kernel's rows.
const QUERY_BLOCK: usize = 48;
/// Keys of one tile: a multiple of every micro-kernel's rows and columns.
const KEY_BLOCK: usize = 96;
/// The widest micro-kernel's columns: what D is padded to at most.
const MAX_COLUMNS: usize = 32;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Sequences.
    pub rows: usize,
    /// Tokens of each.
    pub seq_len: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head, even.
    pub head_dim: usize,
    /// Channels of a head that rotate, even: the first ones, channel i with i + `rotary_dim` / 2
    /// (Black et al. 2022, GPT-NeoX). The others enter as they are.
    pub rotary_dim: usize,
}

impl AttentionShape {
    /// Values of one token's q, k and v: the row stride of `qkv`.
    fn qkv_stride(self) -> usize {
        3 * self.heads * self.head_dim
    }

    /// Values of one token's output.
    fn out_stride(self) -> usize {
        self.heads * self.head_dim
    }

    pub(super) fn softmax_scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn check(self, qkv: usize, table: usize, out: usize, lse: usize) {
        let tokens = self.rows * self.seq_len;
        assert!(self.head_dim.is_multiple_of(2), "head_dim is even");
        assert!(qkv == tokens * self.qkv_stride(), "qkv is [tokens, 3, heads, head_dim]");
        assert!(out == tokens * self.out_stride(), "out is [tokens, heads, head_dim]");
        assert!(lse == tokens * self.heads, "lse is [rows, heads, seq_len]");
        assert!(self.rotary_dim.is_multiple_of(2), "rotary_dim is even");
        assert!(self.rotary_dim <= self.head_dim, "no more channels rotate than a head has");
        assert!(table >= self.seq_len * self.rotary_dim / 2, "the rope table covers seq_len");
    }
}

/// Values of scratch that (forward, backward) need on the CPU with `threads` threads.
#[must_use]
pub fn attention_scratch(shape: AttentionShape, threads: usize) -> (u64, u64) {
    let AttentionShape { rows, seq_len, heads, head_dim, .. } = shape;
    let up = |n: usize, to: usize| (n as u64).div_ceil(to as u64).saturating_mul(to as u64);
    let padded = up(head_dim, MAX_COLUMNS);
    let length = up(seq_len, KEY_BLOCK);
    let head = length.saturating_mul(padded);
    let all_heads = head.saturating_mul(rows as u64).saturating_mul(heads as u64);
    let at_once = (threads as u64).min((rows as u64).saturating_mul(heads as u64));
    (all_heads.saturating_mul(2), head.saturating_mul(5).saturating_mul(at_once))
}

#[cfg(test)]
mod tests;
