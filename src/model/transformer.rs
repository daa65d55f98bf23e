//! The decoder on a device: what it holds for its passes.

use super::workspace::Workspace;
use super::{Config, Layout, Rope, Ropes};
use crate::ops::{Backend, Error, HeadShape, IGNORE, View, ViewMut, rope_table};

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
    pub(super) workspace: Option<Workspace<B::Buf>>,
    /// The parameters as matrix inputs, where that is another precision.
    pub(super) rounded: Option<B::Buf>,
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

    /// The buffer that holds the parameters as matrix inputs, new or the former one.
    pub(super) fn take_rounded(&mut self) -> Result<B::Buf, Error> {
        match self.rounded.take() {
            Some(rounded) => Ok(rounded),
            None => self.backend.rounded(self.layout.len(), "weights as matrix inputs"),
        }
    }

    pub(super) fn check_tokens(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab_size = self.config.vocab_size;
        match tokens.iter().position(|&token| token as usize >= vocab_size) {
            Some(position) => Err(Error::Token { position, token: tokens[position], vocab_size }),
            None => Ok(()),
        }
    }

    /// Makes the rotary table cover `len` positions.
    pub(super) fn prepare_tables(&mut self, len: usize) -> Result<(), Error> {
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
