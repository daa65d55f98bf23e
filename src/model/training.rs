//! The forward and backward pass of a granule, one explicit sequence of fused operators.
//!
//! Legend: n positions of the part at work, d hidden size, a = heads * `head_dim`, f intermediate size.

use super::Config;
use super::transformer::{Table, Transformer, all, all_mut, targets};
use super::workspace::Workspace;
use crate::ops::{
    AttentionShape, Backend, Error, HeadShape, LinearShape, NormShape, View, ViewMut, Write,
};

impl<B: Backend> Transformer<B> {
    /// Training losses and gradients of `rows` rows (one granule of a batch).
    ///
    /// `tokens` is \[rows, `seq_len`\]; positions 0..`seq_len` - 1 predict their successor.
    /// Adds the gradient of `loss_scale` * (sum of losses) to `grads` and returns the sum of
    /// the rows * (`seq_len` - 1) losses in nats.
    ///
    /// # Errors
    /// [`Error::Token`] for an id outside the vocabulary, [`Error::Shape`] if the tokens are
    /// not `rows` rows of at least two, [`Error::OutOfMemory`]; `grads` is then unchanged. What a device
    /// says, [`Error::Stopped`] too; `grads` then holds anything.
    pub fn forward_backward(
        &mut self,
        params: &B::Buf,
        tokens: &[u32],
        rows: usize,
        loss_scale: f32,
        grads: &mut B::Buf,
    ) -> Result<f64, Error> {
        if rows == 0 || !tokens.len().is_multiple_of(rows) || tokens.len() / rows < 2 {
            let expected = format!("{rows} rows of at least 2 tokens (and rows at least 1)");
            return Err(Error::shape("the number of tokens", tokens.len(), expected));
        }
        let seq_len = tokens.len() / rows;
        self.check_tokens(tokens)?;
        self.prepare_tables(seq_len)?;
        let shape = self.config.attention_shape(rows, seq_len, self.config.head_dim);
        let at_once = self.backend.rows_at_once(shape, self.config.vocab_size) * seq_len;
        // One that is too small goes before the next comes.
        let kept = self.workspace.take().filter(|kept| kept.holds(at_once, tokens.len()));
        let mut workspace = match kept {
            Some(kept) => kept,
            None => Workspace::new(&self.backend, &self.config, at_once, tokens.len())?,
        };
        let mut rounded = self.take_rounded()?;
        let weights = all(params, self.layout.len());
        self.backend.round(weights, &mut rounded)?;
        let weights = self.backend.matrix_input(weights, &rounded);
        let weights = weights.buf;
        let granule = Granule { model: self, params, weights, seq_len, at_once, loss_scale };
        let sum = self.backend.scope(|| granule.run(tokens, &mut workspace, grads));
        self.workspace = Some(workspace);
        self.rounded = Some(rounded);
        sum
    }
}

/// One granule's pass: as many rows at once as the device wants, one part after the other.
struct Granule<'a, B: Backend> {
    model: &'a Transformer<B>,
    params: &'a B::Buf,
    /// The same as matrix inputs.
    weights: &'a B::Buf,
    seq_len: usize,
    /// Positions of a part.
    at_once: usize,
    loss_scale: f32,
}

impl<B: Backend> Granule<'_, B> {
    /// Adds the gradient to `grads` and returns the sum of the losses.
    ///
    /// # Errors
    /// What the device says.
    fn run(
        &self,
        tokens: &[u32],
        w: &mut Workspace<B::Buf>,
        grads: &mut B::Buf,
    ) -> Result<f64, Error> {
        let backend = &self.model.backend;
        let Config { hidden_size: d, vocab_size, .. } = self.model.config;
        let mut parts = Vec::new();
        for (i, tokens) in tokens.chunks(self.at_once).enumerate() {
            let rows = tokens.len() / self.seq_len;
            let part = Part { granule: self, rows, first: i * self.at_once };
            let ids = backend.upload_tokens(tokens)?;
            part.run(tokens, &ids, w, grads)?;
            parts.push((part.first, part.n(), ids));
        }
        // Last, as of a whole granule: the head's gradient goes to the same weights where they are tied.
        for (first, n, ids) in &parts {
            let (dx, table) = (View::new(&w.dx, first * d, n * d), vocab_size * d);
            backend.embedding_backward(d, ids, dx, ViewMut::new(grads, 0, table))?;
        }
        let mut losses = vec![0.0f32; tokens.len()];
        backend.download(all(&w.losses, tokens.len()), &mut losses)?;
        Ok(losses.iter().map(|&loss| f64::from(loss)).sum())
    }
}

/// The pass of some rows.
struct Part<'a, B: Backend> {
    granule: &'a Granule<'a, B>,
    rows: usize,
    /// The first of its positions within the granule.
    first: usize,
}

impl<'a, B: Backend> Part<'a, B> {
    fn model(&self) -> &'a Transformer<B> {
        self.granule.model
    }

    fn param(&self, offset: usize, len: usize) -> View<'_, B::Buf> {
        View::new(self.granule.params, offset, len)
    }

    fn weight(&self, offset: usize, len: usize) -> View<'_, B::Buf> {
        View::new(self.granule.weights, offset, len)
    }

    fn n(&self) -> usize {
        self.rows * self.granule.seq_len
    }

    fn norm_shape(&self) -> NormShape {
        let config = &self.model().config;
        NormShape { rows: self.n(), width: config.hidden_size, eps: config.norm_eps as f32 }
    }

    fn linear_shape(&self, inputs: usize, outputs: usize) -> LinearShape {
        LinearShape { rows: self.n(), inputs, outputs }
    }

    fn table(&self, layer: usize) -> &Table<B::Buf> {
        self.model().tables.as_ref().expect("prepare_tables has made them").of_layer(layer)
    }

    fn attention_shape(&self, layer: usize) -> AttentionShape {
        let rotary_dim = self.table(layer).rotary_dim;
        self.model().config.attention_shape(self.rows, self.granule.seq_len, rotary_dim)
    }

    /// To the losses and to the gradient of the embedded tokens, in `w`.
    fn run(
        &self,
        tokens: &[u32],
        ids: &B::Tokens,
        w: &mut Workspace<B::Buf>,
        grads: &mut B::Buf,
    ) -> Result<(), Error> {
        let backend = &self.model().backend;
        let Config { layers, hidden_size: d, vocab_size, .. } = self.model().config;
        let n = self.n();
        let targets = backend.upload_tokens(&targets(tokens, self.granule.seq_len))?;
        let vocabulary = vocab_size * d;
        let out = all_mut(&mut w.blocks[0].x, n * d);
        backend.embedding(d, self.param(0, vocabulary), ids, out)?;
        for layer in 0..layers {
            self.block_forward(layer, w)?;
        }

        let (final_norm, head) = (self.model().layout.final_norm, self.model().layout.head);
        let gain = self.param(final_norm, d);
        let out = all_mut(&mut w.normed, n * d);
        let rstd = all_mut(&mut w.last_rstd, n);
        backend.rms_norm(self.norm_shape(), all(&w.last, n * d), gain, out, rstd, None)?;
        backend.cross_entropy_backward(
            HeadShape { rows: n, ..self.model().head_shape() },
            all(&w.normed, n * d),
            self.weight(head, vocabulary),
            &targets,
            self.granule.loss_scale,
            ViewMut::new(&mut w.losses, self.first, n),
            all_mut(&mut w.d_normed, n * d),
            ViewMut::new(grads, head, vocabulary),
        )?;
        backend.rms_norm_backward(
            self.norm_shape(),
            all(&w.last, n * d),
            self.param(final_norm, d),
            all(&w.last_rstd, n),
            all_mut(&mut w.d_normed, n * d),
            (ViewMut::new(&mut w.dx, self.first * d, n * d), Write::Set),
            &mut w.dx_rounded,
            ViewMut::new(grads, final_norm, d),
        )?;
        for layer in (0..layers).rev() {
            self.block_backward(layer, w, grads)?;
        }
        Ok(())
    }

    /// x + attention(norm(x)), then x + mlp(norm(x)), to the next block's input.
    fn block_forward(&self, layer: usize, w: &mut Workspace<B::Buf>) -> Result<(), Error> {
        let backend = &self.model().backend;
        let Config { hidden_size: d, heads, intermediate_size: f, .. } = self.model().config;
        let (a, n) = (self.model().config.attention_size(), self.n());
        let at = self.model().layout.blocks[layer];
        let (block, later) = w.blocks[layer..].split_first_mut().expect("layer < layers");
        let table = self.table(layer);

        let gain = self.param(at.input_norm, d);
        let out = all_mut(&mut w.normed, n * d);
        let rstd = all_mut(&mut block.input_rstd, n);
        let carried = Some(all_mut(&mut block.middle, n * d));
        backend.rms_norm(self.norm_shape(), all(&block.x, n * d), gain, out, rstd, carried)?;
        let (shape, weight) = (self.linear_shape(d, 3 * a), self.weight(at.qkv, 3 * a * d));
        let out = all_mut(&mut block.qkv, n * 3 * a);
        backend.linear(shape, all(&w.normed, n * d), weight, out, Write::Set)?;
        backend.attention(
            self.attention_shape(layer),
            all_mut(&mut block.qkv, n * 3 * a),
            (&table.cos, &table.sin),
            all_mut(&mut block.attention, n * a),
            all_mut(&mut block.lse, n * heads),
        )?;
        let (shape, weight) = (self.linear_shape(a, d), self.weight(at.output, d * a));
        let out = all_mut(&mut block.middle, n * d);
        backend.linear(shape, all(&block.attention, n * a), weight, out, Write::Add)?;

        let gain = self.param(at.post_norm, d);
        let out = all_mut(&mut w.normed, n * d);
        let rstd = all_mut(&mut block.middle_rstd, n);
        let next = later.first_mut().map_or(&mut w.last, |block| &mut block.x);
        let carried = Some(all_mut(next, n * d));
        backend.rms_norm(self.norm_shape(), all(&block.middle, n * d), gain, out, rstd, carried)?;
        let (shape, weight) = (self.linear_shape(d, 2 * f), self.weight(at.gate_up, 2 * f * d));
        let out = all_mut(&mut block.gate_up, n * 2 * f);
        backend.linear(shape, all(&w.normed, n * d), weight, out, Write::Set)?;
        let out = all_mut(&mut w.hidden, n * f);
        backend.swiglu(n, f, all(&block.gate_up, n * 2 * f), out)?;
        let (shape, weight) = (self.linear_shape(f, d), self.weight(at.down, d * f));
        backend.linear(shape, all(&w.hidden, n * f), weight, all_mut(next, n * d), Write::Add)
    }

    /// From the gradient of the block's output in `dx` to that of its input, in place.
    fn block_backward(
        &self,
        layer: usize,
        w: &mut Workspace<B::Buf>,
        grads: &mut B::Buf,
    ) -> Result<(), Error> {
        let backend = &self.model().backend;
        let Config { hidden_size: d, heads, intermediate_size: f, .. } = self.model().config;
        let (a, n) = (self.model().config.attention_size(), self.n());
        let at = self.model().layout.blocks[layer];
        let block = &mut w.blocks[layer];
        let table = self.table(layer);

        // MLP: down, SwiGLU, gate and up, norm. SwiGLU and the norm leave their output where their
        // gradient was, which is when the weights behind them get theirs.
        let shape = self.linear_shape(f, d);
        let dy = backend.matrix_input(View::new(&w.dx, self.first * d, n * d), &w.dx_rounded);
        let out = all_mut(&mut w.hidden, n * f);
        backend.linear_backward_input(shape, dy, self.weight(at.down, d * f), out, Write::Set)?;
        let (gate_up, hidden) =
            (all_mut(&mut block.gate_up, n * 2 * f), all_mut(&mut w.hidden, n * f));
        backend.swiglu_backward(n, f, gate_up, hidden)?;
        let dw = ViewMut::new(grads, at.down, d * f);
        backend.linear_backward_weight(shape, dy, all(&w.hidden, n * f), dw, Write::Add)?;
        let shape = self.linear_shape(d, 2 * f);
        let (dy, out) = (all(&block.gate_up, n * 2 * f), all_mut(&mut w.d_normed, n * d));
        let weight = self.weight(at.gate_up, 2 * f * d);
        backend.linear_backward_input(shape, dy, weight, out, Write::Set)?;
        backend.rms_norm_backward(
            self.norm_shape(),
            all(&block.middle, n * d),
            self.param(at.post_norm, d),
            all(&block.middle_rstd, n),
            all_mut(&mut w.d_normed, n * d),
            (ViewMut::new(&mut w.dx, self.first * d, n * d), Write::Add),
            &mut w.dx_rounded,
            ViewMut::new(grads, at.post_norm, d),
        )?;
        let dw = ViewMut::new(grads, at.gate_up, 2 * f * d);
        backend.linear_backward_weight(shape, dy, all(&w.d_normed, n * d), dw, Write::Add)?;

        // Attention: output projection, attention itself, q k v, norm.
        let shape = self.linear_shape(a, d);
        let dy = backend.matrix_input(View::new(&w.dx, self.first * d, n * d), &w.dx_rounded);
        let dw = ViewMut::new(grads, at.output, d * a);
        let out = all_mut(&mut w.d_attention, n * a);
        backend.linear_backward_weight(shape, dy, all(&block.attention, n * a), dw, Write::Add)?;
        backend.linear_backward_input(shape, dy, self.weight(at.output, d * a), out, Write::Set)?;
        backend.attention_backward(
            self.attention_shape(layer),
            all(&block.qkv, n * 3 * a),
            (&table.cos, &table.sin),
            all(&block.attention, n * a),
            all(&block.lse, n * heads),
            all(&w.d_attention, n * a),
            all_mut(&mut w.d_qkv, n * 3 * a),
        )?;
        let shape = self.linear_shape(d, 3 * a);
        let (dy, out) = (all(&w.d_qkv, n * 3 * a), all_mut(&mut w.d_normed, n * d));
        let weight = self.weight(at.qkv, 3 * a * d);
        backend.linear_backward_input(shape, dy, weight, out, Write::Set)?;
        backend.rms_norm_backward(
            self.norm_shape(),
            all(&block.x, n * d),
            self.param(at.input_norm, d),
            all(&block.input_rstd, n),
            all_mut(&mut w.d_normed, n * d),
            (ViewMut::new(&mut w.dx, self.first * d, n * d), Write::Add),
            &mut w.dx_rounded,
            ViewMut::new(grads, at.input_norm, d),
        )?;
        let dw = ViewMut::new(grads, at.qkv, 3 * a * d);
        backend.linear_backward_weight(shape, dy, all(&w.d_normed, n * d), dw, Write::Add)
    }
}
