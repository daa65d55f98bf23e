//! The pass of one sequence, of which nothing is kept for a backward pass.
//!
//! Legend: n positions, d hidden size, a = heads * `head_dim`, f intermediate size, V vocabulary size.

use std::ops::Range;

use super::Config;
use super::transformer::{Transformer, all, all_mut, targets};
use crate::ops::{
    Backend, Error, HeadShape, LinearShape, NormShape, View, ViewMut, Write, rows_per_chunk,
};

/// Positions of one chunk of an evaluation's row-wise parts (norms, projections, MLP).
pub(crate) const EVALUATION_CHUNK: usize = 1024;

impl<B: Backend> Transformer<B> {
    /// Losses of one sequence of L tokens, in nats: L - 1 values, value p for the prediction of
    /// token p + 1. Memory grows with L, nothing is kept for a backward pass.
    ///
    /// # Errors
    /// As [`Transformer::forward_backward`].
    pub fn losses(&mut self, params: &B::Buf, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let n = tokens.len();
        let head = self.head_shape();
        let targets = targets(tokens, n);
        let mut losses = None;
        self.for_each_head_chunk(params, tokens, |backend, rows, normed, weight| {
            if losses.is_none() {
                losses = Some(backend.zeros(n, "activations of an evaluation")?);
            }
            let losses = losses.as_mut().expect("it was made");
            let ids = backend.upload_tokens(&targets[rows.clone()])?;
            let out = ViewMut::new(losses, rows.start, rows.len());
            let shape = HeadShape { rows: rows.len(), ..head };
            backend.cross_entropy(shape, normed, weight, &ids, out)
        })?;
        let losses = losses.expect("at least two tokens make a chunk");
        let mut out = vec![0.0; n - 1];
        self.backend.download(all(&losses, n - 1), &mut out)?;
        Ok(out)
    }

    /// Logits of one sequence of L tokens, \[L, V\]: row p is the scores of all ids as the successor of
    /// token p. Held whole on the host, so for looking into a model, not for evaluating it.
    ///
    /// # Errors
    /// As [`Transformer::forward_backward`].
    pub fn logits(&mut self, params: &B::Buf, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let (inputs, outputs) = (self.config.hidden_size, self.config.vocab_size);
        let mut logits = Vec::new();
        self.for_each_head_chunk(params, tokens, |backend, rows, normed, weight| {
            let rows = rows.len();
            let mut scores = backend.zeros(rows * outputs, "logits")?;
            let shape = LinearShape { rows, inputs, outputs };
            let out = all_mut(&mut scores, rows * outputs);
            backend.linear(shape, normed, weight, out, Write::Set)?;
            let done = logits.len();
            logits.resize(done + rows * outputs, 0.0);
            backend.download(all(&scores, rows * outputs), &mut logits[done..])
        })?;
        Ok(logits)
    }

    /// Runs one sequence through the blocks, and gives its normed last states to `head` a chunk of
    /// positions at a time, with the head's weight.
    fn for_each_head_chunk(
        &mut self,
        params: &B::Buf,
        tokens: &[u32],
        mut head: impl FnMut(&B, Range<usize>, View<'_, B::Buf>, View<'_, B::Buf>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let n = tokens.len();
        if n < 2 {
            return Err(Error::shape("the number of tokens", n, "at least 2"));
        }
        self.check_tokens(tokens)?;
        self.prepare_tables(n)?;
        let Config { hidden_size: d, heads, intermediate_size: f, .. } = self.config;
        let a = self.config.attention_size();
        let mut rounded = self.take_rounded()?;
        let backend = &self.backend;
        let weights = all(params, self.layout.len());
        backend.round(weights, &mut rounded)?;
        let weights = backend.matrix_input(weights, &rounded).buf;
        let chunk = EVALUATION_CHUNK.min(n);
        let wide = |len: usize| backend.zeros(len, "activations of an evaluation");
        let matrix = |len: usize| backend.matrix(len, "activations of an evaluation");
        let (mut x, mut qkv, mut attention) = (wide(n * d)?, matrix(n * 3 * a)?, matrix(n * a)?);
        let (mut lse, mut rstd) = (wide(n * heads)?, wide(chunk)?);
        let mut normed = matrix(chunk * d)?;
        let (mut gate_up, mut hidden) = (matrix(chunk * 2 * f)?, matrix(chunk * f)?);
        let tables = self.tables.as_ref().expect("prepare_tables has made them");
        let param = |offset: usize, len: usize| View::new(params, offset, len);
        let weight = |offset: usize, len: usize| View::new(weights, offset, len);
        let chunks = || (0..n).step_by(chunk).map(|first| (first, chunk.min(n - first)));
        let norm = |rows: usize| NormShape { rows, width: d, eps: self.config.norm_eps as f32 };

        let ids = backend.upload_tokens(tokens)?;
        let vocabulary = self.config.vocab_size * d;
        backend.embedding(d, param(0, vocabulary), &ids, all_mut(&mut x, n * d))?;
        for (layer, block) in self.layout.blocks.iter().enumerate() {
            for (first, c) in chunks() {
                let input = View::new(&x, first * d, c * d);
                let gain = param(block.input_norm, d);
                let out = all_mut(&mut normed, c * d);
                backend.rms_norm(norm(c), input, gain, out, all_mut(&mut rstd, c), None)?;
                let shape = LinearShape { rows: c, inputs: d, outputs: 3 * a };
                let out = ViewMut::new(&mut qkv, first * 3 * a, c * 3 * a);
                let w = weight(block.qkv, 3 * a * d);
                backend.linear(shape, all(&normed, c * d), w, out, Write::Set)?;
            }
            let table = tables.of_layer(layer);
            backend.attention(
                self.config.attention_shape(1, n, table.rotary_dim),
                all_mut(&mut qkv, n * 3 * a),
                (&table.cos, &table.sin),
                all_mut(&mut attention, n * a),
                all_mut(&mut lse, n * heads),
            )?;
            for (first, c) in chunks() {
                let shape = LinearShape { rows: c, inputs: a, outputs: d };
                let (input, w) =
                    (View::new(&attention, first * a, c * a), weight(block.output, d * a));
                let out = ViewMut::new(&mut x, first * d, c * d);
                backend.linear(shape, input, w, out, Write::Add)?;

                let input = View::new(&x, first * d, c * d);
                let gain = param(block.post_norm, d);
                let out = all_mut(&mut normed, c * d);
                backend.rms_norm(norm(c), input, gain, out, all_mut(&mut rstd, c), None)?;
                let shape = LinearShape { rows: c, inputs: d, outputs: 2 * f };
                let w = weight(block.gate_up, 2 * f * d);
                let out = all_mut(&mut gate_up, c * 2 * f);
                backend.linear(shape, all(&normed, c * d), w, out, Write::Set)?;
                let out = all_mut(&mut hidden, c * f);
                backend.swiglu(c, f, all(&gate_up, c * 2 * f), out)?;
                let shape = LinearShape { rows: c, inputs: f, outputs: d };
                let w = weight(block.down, d * f);
                let out = ViewMut::new(&mut x, first * d, c * d);
                backend.linear(shape, all(&hidden, c * f), w, out, Write::Add)?;
            }
        }
        // No longer than the head's own chunks, so that each is one multiply.
        let head_chunk = rows_per_chunk(self.config.vocab_size).min(chunk);
        for first in (0..n).step_by(head_chunk) {
            let c = head_chunk.min(n - first);
            let input = View::new(&x, first * d, c * d);
            let gain = param(self.layout.final_norm, d);
            let out = all_mut(&mut normed, c * d);
            backend.rms_norm(norm(c), input, gain, out, all_mut(&mut rstd, c), None)?;
            let weight = weight(self.layout.head, vocabulary);
            head(backend, first..first + c, all(&normed, c * d), weight)?;
        }
        self.rounded = Some(rounded);
        Ok(())
    }
}
