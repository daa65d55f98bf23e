//! The weights of a run, with the rows of q and k in the order that other software wants.

use std::io;

use super::error::Error;
use super::run::TrainedRun;
use crate::model::{HeadOrder, Layout};
use crate::train::Tensors;

/// The weights of a run, read piece by piece.
pub struct Arranged<'a> {
    layout: &'a Layout,
    tensors: Tensors<'a>,
    order: HeadOrder,
}

impl<'a> Arranged<'a> {
    /// Opens the weights.
    ///
    /// # Errors
    /// A file that cannot be read, or holds another model.
    pub fn open(run: &TrainedRun, layout: &'a Layout, order: HeadOrder) -> Result<Self, Error> {
        Ok(Self { layout, tensors: Tensors::open(&[run.dir.weights()], layout, &[""])?, order })
    }

    /// Copies values of one tensor of the layout, from `first` of it on.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&mut self, tensor: usize, first: usize, out: &mut [f32]) -> io::Result<()> {
        let stored = &self.layout.tensors[tensor];
        let tensors = &mut self.tensors;
        let mut plain = |first: usize, out: &mut [f32]| {
            tensors.read(0, stored.offset + first, out).map_err(io::Error::other)
        };
        if stored.is_rotated() {
            self.order.read(stored.shape[1], first, out, plain)
        } else {
            plain(first, out)
        }
    }
}
