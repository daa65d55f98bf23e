//! The buffers of a training step, kept from one step to the next.

use super::Config;
use crate::ops::{Backend, Error};

/// What one block leaves for its backward pass. The normed inputs and the MLP's hidden values
/// are not kept: the backward pass writes them again over their gradients.
pub(crate) struct BlockState<T> {
    /// Input of the block, \[n, hidden\].
    pub x: T,
    /// 1 / RMS of the input, \[n\].
    pub input_rstd: T,
    /// \[n, 3, heads, `head_dim`\], as the attention leaves it.
    pub qkv: T,
    /// \[n, heads, `head_dim`\].
    pub attention: T,
    /// \[rows, heads, `seq_len`\].
    pub lse: T,
    /// After the attention's residual, \[n, hidden\].
    pub middle: T,
    /// 1 / RMS of the middle, \[n\].
    pub middle_rstd: T,
    /// \[n, 2, intermediate\]; becomes its own gradient.
    pub gate_up: T,
}

/// Buffers for a granule of `granule` positions, of which n, at most all, go through the model at once.
pub(crate) struct Workspace<T> {
    n: usize,
    granule: usize,
    pub blocks: Vec<BlockState<T>>,
    /// Output of the last block, \[n, hidden\].
    pub last: T,
    pub last_rstd: T,
    /// Normed values, of whichever norm is at work, \[n, hidden\].
    pub normed: T,
    /// The MLP's hidden values, or their gradient, \[n, intermediate\].
    pub hidden: T,
    /// Of the whole granule.
    pub losses: T,
    /// Gradient of the residual stream, \[granule, hidden\]: in the end that of the embedded tokens.
    pub dx: T,
    /// The same as a matrix input, where that is another precision.
    pub dx_rounded: T,
    /// Gradient of a normed input, then that input, \[n, hidden\].
    pub d_normed: T,
    /// \[n, heads, `head_dim`\].
    pub d_attention: T,
    /// \[n, 3, heads, `head_dim`\].
    pub d_qkv: T,
}

impl<T> Workspace<T> {
    pub fn new<B: Backend<Buf = T>>(
        backend: &B,
        config: &Config,
        n: usize,
        granule: usize,
    ) -> Result<Self, Error> {
        let (d, a, f) = (config.hidden_size, config.attention_size(), config.intermediate_size);
        let values = |positions: usize, width: usize| {
            let len = positions.checked_mul(width).ok_or(Error::OutOfMemory {
                what: "activations",
                bytes: u64::MAX,
                free: None,
            })?;
            Ok::<_, Error>(len)
        };
        let whole = |width: usize| backend.zeros(values(granule, width)?, "activations");
        let wide = |width: usize| backend.zeros(values(n, width)?, "activations");
        let matrix = |width: usize| backend.matrix(values(n, width)?, "activations");
        let mut blocks = Vec::new();
        for _ in 0..config.layers {
            blocks.push(BlockState {
                x: wide(d)?,
                input_rstd: wide(1)?,
                qkv: matrix(3 * a)?,
                attention: matrix(a)?,
                lse: wide(config.heads)?,
                middle: wide(d)?,
                middle_rstd: wide(1)?,
                gate_up: matrix(2 * f)?,
            });
        }
        Ok(Self {
            n,
            granule,
            blocks,
            last: wide(d)?,
            last_rstd: wide(1)?,
            normed: matrix(d)?,
            hidden: matrix(f)?,
            losses: whole(1)?,
            dx: whole(d)?,
            dx_rounded: backend.rounded(values(n, d)?, "activations")?,
            d_normed: matrix(d)?,
            d_attention: matrix(a)?,
            d_qkv: matrix(3 * a)?,
        })
    }

    /// Whether it is large enough.
    pub fn holds(&self, n: usize, granule: usize) -> bool {
        self.n >= n && self.granule >= granule
    }

    /// Values held per position that [`Workspace::new`] allocates over n: f32 ones and matrix inputs; the
    /// values of [`Workspace::values_per_granule`] are among them.
    pub fn values_per_position(config: &Config) -> (u64, u64) {
        let [layers, d, a, f, heads] = [
            config.layers,
            config.hidden_size,
            config.attention_size(),
            config.intermediate_size,
            config.heads,
        ]
        .map(|x| x as u128);
        let wide = layers.saturating_mul(2 * d + heads + 2) + 2 * d + 2;
        let matrix = layers.saturating_mul(4 * a + 2 * f) + 2 * d + 4 * a + f;
        let narrow = |values: u128| u64::try_from(values).unwrap_or(u64::MAX);
        (narrow(wide), narrow(matrix))
    }

    /// Those that it holds of every position of the granule.
    pub fn values_per_granule(config: &Config) -> u64 {
        config.hidden_size as u64 + 1
    }
}
