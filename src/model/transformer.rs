//! The decoder on a device: what it holds, and its passes for training and evaluation.
//!
//! Legend: n = rows * `seq_len` positions, d hidden size, a = heads * `head_dim`, f
//! intermediate size, V vocabulary size.

use std::ops::Range;

use super::training::Granule;
use super::workspace::Workspace;
use super::{Config, Layout, Rope, Ropes};
use crate::ops::{
    Backend, Error, HeadShape, IGNORE, LinearShape, NormShape, View, ViewMut, Write, rope_table,
    rows_per_chunk,
};

/// Positions of one chunk of an evaluation's row-wise parts (norms, projections, MLP).
pub(crate) const EVALUATION_CHUNK: usize = 1024;

/// The rotary tables of a model: one for each distinct frequency set that some layer has.
pub(super) struct Tables<T> {
    /// Positions that they cover.
    covered: usize,
    sets: Vec<Table<T>>,
    /// For each layer the index of its table.
    layers: Vec<usize>,
}

/// cos and sin of one frequency set.
pub(super) struct Table<T> {
    pub cos: T,
    pub sin: T,
    /// Channels of a head that it rotates.
    pub rotary_dim: usize,
}

impl<T> Tables<T> {
    pub(super) fn of_layer(&self, layer: usize) -> &Table<T> {
        &self.sets[self.layers[layer]]
    }
}

/// A decoder on a device: its shape, its frequencies, and buffers kept across steps.
///
/// Parameters and gradients are the caller's, as flat arenas of [`Transformer::layout`].
pub struct Transformer<B: Backend> {
    pub(super) backend: B,
    pub(super) config: Config,
    pub(super) layout: Layout,
    ropes: Ropes,
    /// Made when a sequence needs them; grow to the longest seen.
    pub(super) tables: Option<Tables<B::Buf>>,
    workspace: Option<Workspace<B::Buf>>,
    /// The parameters as matrix inputs, where that is another precision.
    rounded: Option<B::Buf>,
}

pub(super) fn all<T>(buf: &T, len: usize) -> View<'_, T> {
    View::new(buf, 0, len)
}

pub(super) fn all_mut<T>(buf: &mut T, len: usize) -> ViewMut<'_, T> {
    ViewMut::new(buf, 0, len)
}

impl<B: Backend> Transformer<B> {
    /// A decoder of this shape with these frequencies.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero, `head_dim` is odd, or the frequency sets do not fit
    /// ([`Ropes::check`]).
    pub fn new(backend: B, config: &Config, ropes: &Ropes) -> Result<Self, Error> {
        config.check()?;
        ropes.check(config)?;
        Ok(Self {
            backend,
            config: config.clone(),
            layout: Layout::new(config),
            ropes: ropes.clone(),
            tables: None,
            workspace: None,
            rounded: None,
        })
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Where each parameter stands.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The frequencies.
    pub fn ropes(&self) -> &Ropes {
        &self.ropes
    }

    /// Other frequencies from the next step or evaluation on, so that trained weights can be
    /// evaluated under a transform of theirs; setting the former ones again gives the former
    /// bits.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not fit ([`Ropes::check`]); the former ones then stay.
    pub fn set_ropes(&mut self, ropes: &Ropes) -> Result<(), Error> {
        ropes.check(&self.config)?;
        if *ropes != self.ropes {
            self.ropes = ropes.clone();
            self.tables = None;
        }
        Ok(())
    }

    /// Frees activations and scratch; the next step allocates them again. For the pause
    /// between training and evaluation.
    pub fn release(&mut self) {
        self.workspace = None;
        self.rounded = None;
        self.backend.release_scratch();
    }

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

    /// The buffer that holds the parameters as matrix inputs, new or the former one.
    fn take_rounded(&mut self) -> Result<B::Buf, Error> {
        match self.rounded.take() {
            Some(rounded) => Ok(rounded),
            None => self.backend.rounded(self.layout.len(), "weights as matrix inputs"),
        }
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab_size = self.config.vocab_size;
        match tokens.iter().position(|&token| token as usize >= vocab_size) {
            Some(position) => Err(Error::Token { position, token: tokens[position], vocab_size }),
            None => Ok(()),
        }
    }

    /// Makes the rotary table cover `len` positions.
    fn prepare_tables(&mut self, len: usize) -> Result<(), Error> {
        if self.tables.as_ref().is_some_and(|tables| tables.covered >= len) {
            return Ok(());
        }
        // The shorter ones go first.
        self.tables = None;
        let (distinct, layers) = self.ropes.distinct();
        let table = |rope: &Rope| {
            let (cos, sin) = rope_table(&rope.inv_freq, rope.attention_scale, len);
            Ok(Table {
                cos: self.backend.upload(cos)?,
                sin: self.backend.upload(sin)?,
                rotary_dim: 2 * rope.inv_freq.len(),
            })
        };
        let sets = distinct.into_iter().map(table).collect::<Result<_, Error>>()?;
        self.tables = Some(Tables { covered: len, sets, layers });
        Ok(())
    }

    /// Width and classes; rows are the caller's to fill in.
    pub(super) fn head_shape(&self) -> HeadShape {
        let Config { hidden_size, vocab_size, .. } = self.config;
        HeadShape { rows: 0, width: hidden_size, vocab_size }
    }
}

/// The successor of each token; the last of each sequence predicts nothing.
pub(super) fn targets(tokens: &[u32], seq_len: usize) -> Vec<u32> {
    let mut targets: Vec<u32> = tokens[1..].to_vec();
    targets.push(IGNORE);
    for last in targets.iter_mut().skip(seq_len - 1).step_by(seq_len) {
        *last = IGNORE;
    }
    targets
}
