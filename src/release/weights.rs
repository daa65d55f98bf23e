//! The weights of a run, with the rows of q and k in the order that other software wants.

use std::io;

use super::error::Error;
use super::run::TrainedRun;
use crate::model::{HeadOrder, Layout};
use crate::train::{Tensors, weights};

/// The weights of a run, read piece by piece.
pub struct Arranged<'a> {
    layout: &'a Layout,
    tensors: Tensors<'a>,
    order: HeadOrder,
}

impl<'a> Arranged<'a> {
    /// Opens the weights, which must be those that run.json has the hash of.
    ///
    /// # Errors
    /// A file that cannot be read, or holds another model or other weights.
    pub fn open(run: &TrainedRun, layout: &'a Layout, order: HeadOrder) -> Result<Self, Error> {
        let mut tensors = Tensors::open(&[run.dir.weights()], layout, &[""])?;
        if let Some(was) = run.record.train.as_ref().and_then(|train| train.weights.as_ref()) {
            let is = weights::hash(layout.len(), |offset, out| tensors.read(0, offset, out))?;
            if is != *was {
                return Err(run.contradiction(format!(
                    "weights.safetensors does not hold the weights that run.json says were trained \
                     (hash {is}, not {was}): take the file from a copy of the run, or remove it and run the \
                     spec again under another name (--name NAME), which trains again"
                )));
            }
        }
        Ok(Self { layout, tensors, order })
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
