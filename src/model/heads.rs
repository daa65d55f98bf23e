//! The order of the rows of q and k within a head: which channels turn together.
//!
//! Frequency k turns channels k and k + K of a head of this crate, K = `rotary_dim` / 2, and the
//! channels from 2 K on are not rotated. Other software pairs other channels. Rows of q and k that
//! change places together change no score, so weights in another order are the same model to
//! software that pairs in that order.

use super::Tensor;

impl Tensor {
    /// Whether its rows are channels that are rotated: q and k of a block.
    #[must_use]
    pub fn is_rotated(&self) -> bool {
        self.name.ends_with(".q_proj.weight") || self.name.ends_with(".k_proj.weight")
    }
}

/// An order of the rows of every head: row i of a head in this order is row `source[i]` of the head
/// as this crate has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadOrder {
    source: Vec<usize>,
}

impl HeadOrder {
    /// Pairs (i, i + `head_dim` / 2), as transformers rotates a whole head. Pair k < `rotary_dim` / 2
    /// is the pair of frequency k; the channels that are not rotated make up the pairs after those.
    /// With `rotary_dim` = `head_dim` this is the order of this crate.
    #[must_use]
    pub fn halves(head_dim: usize, rotary_dim: usize) -> Self {
        let (first, second) = pairs(head_dim, rotary_dim);
        Self { source: first.into_iter().chain(second).collect() }
    }

    /// Pairs (2 i, 2 i + 1), as llama.cpp rotates a head of its `llama` architecture; otherwise as
    /// [`HeadOrder::halves`].
    #[must_use]
    pub fn neighbours(head_dim: usize, rotary_dim: usize) -> Self {
        let (first, second) = pairs(head_dim, rotary_dim);
        Self { source: first.into_iter().zip(second).flat_map(|(a, b)| [a, b]).collect() }
    }

    /// The order that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let mut source = vec![0; self.source.len()];
        for (to, &from) in self.source.iter().enumerate() {
            source[from] = to;
        }
        Self { source }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.source.iter().enumerate().all(|(to, &from)| to == from)
    }

    /// Copies the values from `first` on of a tensor of rows of `width` values in this order;
    /// `read(offset, out)` copies them from the tensor in the other.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn read<E>(
        &self,
        width: usize,
        first: usize,
        out: &mut [f32],
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = self.source.len();
        let mut done = 0;
        while done < out.len() {
            let (row, column) = ((first + done) / width, (first + done) % width);
            let from = row / head * head + self.source[row % head];
            let count = (width - column).min(out.len() - done);
            read(from * width + column, &mut out[done..done + count])?;
            done += count;
        }
        Ok(())
    }
}

/// The first and the second channel of each pair: those that turn, then the others.
fn pairs(head_dim: usize, rotary_dim: usize) -> (Vec<usize>, Vec<usize>) {
    let (turning, still) = (rotary_dim / 2, (head_dim - rotary_dim) / 2);
    let first = (0..turning).chain(rotary_dim..rotary_dim + still).collect();
    let second = (turning..rotary_dim).chain(rotary_dim + still..head_dim).collect();
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_where_other_software_looks_for_them() {
        assert!(HeadOrder::halves(8, 8).is_identity());
        // Frequency 0 turns 0 and 2, frequency 1 turns 1 and 3; 4 to 7 stand still.
        assert_eq!(HeadOrder::halves(8, 4).source, [0, 1, 4, 5, 2, 3, 6, 7]);
        assert_eq!(HeadOrder::neighbours(8, 8).source, [0, 4, 1, 5, 2, 6, 3, 7]);
        assert_eq!(HeadOrder::neighbours(8, 4).source, [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(HeadOrder::halves(6, 2).source, [0, 2, 3, 1, 4, 5]);
    }

    #[test]
    fn pieces_of_any_size_give_the_tensor_in_the_other_order_and_back() {
        // Two heads of four rows of three.
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let arranged = |order: &HeadOrder, values: &[f32], piece: usize| {
            let mut out = vec![0.0; values.len()];
            for (i, part) in out.chunks_mut(piece).enumerate() {
                let read = |from: usize, part: &mut [f32]| {
                    part.copy_from_slice(&values[from..from + part.len()]);
                    Ok::<_, ()>(())
                };
                order.read(3, i * piece, part, read).unwrap();
            }
            out
        };
        let order = HeadOrder::neighbours(4, 4);
        let rows = |rows: [usize; 8]| -> Vec<f32> {
            rows.iter().flat_map(|row| values[3 * row..3 * row + 3].to_vec()).collect()
        };
        for piece in [1, 2, 3, 5, 24] {
            let there = arranged(&order, &values, piece);
            assert_eq!(there, rows([0, 2, 1, 3, 4, 6, 5, 7]));
            assert_eq!(arranged(&order.inverse(), &there, piece), values);
        }
    }

    #[test]
    fn q_and_k_alone_are_rotated() {
        let tensor = |name: &str| Tensor { name: name.into(), shape: vec![1, 1], offset: 0 };
        for (name, is) in [
            ("model.layers.3.self_attn.q_proj.weight", true),
            ("model.layers.0.self_attn.k_proj.weight", true),
            ("model.layers.0.self_attn.v_proj.weight", false),
            ("model.embed_tokens.weight", false),
        ] {
            assert_eq!(tensor(name).is_rotated(), is, "{name}");
        }
    }
}
