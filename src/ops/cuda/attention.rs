//! Attention on the device: q and k are rotated in place, once for both passes, then the kernels of one
//! precision and padded head dimension.

use super::driver::{Argument, Driver};
use super::{Buf, Cuda, int, long, wide};
use crate::ops::backend::{View, ViewMut};
use crate::ops::{AttentionShape, Error, Precision};

/// Head dimensions that kernels are compiled for; others are padded to the next.
const PADDED: [usize; 4] = [32, 64, 96, 128];

/// The head dimension that kernels are compiled for, if there is one for `head_dim`.
///
/// # Errors
/// [`Error::Shape`] for one that is too large, or whose rows do not begin on 16 bytes.
pub(super) fn padded(head_dim: usize, precision: Precision) -> Result<usize, Error> {
    let whole = precision == Precision::F32 || head_dim.is_multiple_of(8);
    PADDED.into_iter().find(|&padded| whole && head_dim <= padded).ok_or_else(|| {
        let expected = match precision {
            Precision::F32 => "at most 128 on CUDA",
            Precision::Bf16 => "a multiple of 8, at most 128, in bf16",
        };
        Error::shape("head_dim", head_dim, expected)
    })
}

/// The sizes as the kernels take them.
fn argument(shape: AttentionShape) -> Argument {
    let AttentionShape { seq_len, heads, head_dim, rotary_dim, .. } = shape;
    let [a, b, c, d] = [seq_len, heads, head_dim, rotary_dim]
        .map(|n| i32::try_from(n).expect("sizes below 2^31").to_ne_bytes());
    Argument::members([a, b, c, d, shape.softmax_scale().to_ne_bytes()])
}

/// The kernels of a precision and padded head dimension: how they are named, and launched.
struct Kernels {
    /// What their names have in the precision's place.
    family: &'static str,
    /// The padded head dimension.
    d: usize,
    /// Queries or keys of one tile.
    tile: usize,
    /// Tiles of queries that a block of the forward pass takes, each with 128 threads of its own.
    tiles: usize,
    /// Shared memory in bytes: forward, dk and dv, dq.
    shared: [usize; 3],
}

impl Kernels {
    /// Those for heads of `head_dim` channels on this device.
    fn choose<D: Driver>(cuda: &Cuda<D>, head_dim: usize) -> Result<Self, Error> {
        let precision = cuda.precision;
        let (d, family) = (padded(head_dim, precision)?, precision.suffix());
        Ok(match precision {
            Precision::F32 => {
                let tile = 32;
                let (rows, square) = (tile * (d + 1), tile * (tile + 1));
                let values =
                    [3 * rows + square, 4 * rows + 2 * square + 2 * tile, 4 * rows + square];
                Self { family, d, tile, tiles: 1, shared: values.map(|n| 4 * n) }
            }
            Precision::Bf16 => {
                let (tile, hopper) = (64, d % 64 == 0 && cuda.driver.warpgroups());
                // Rows are padded there, swizzled here.
                let rows = 2 * tile * if hopper { d } else { d + 8 };
                let stages = if d > 96 && !hopper { 1 } else { 2 };
                let backward = 2 * rows + stages * 2 * rows;
                let (family, tiles) = if hopper { ("hopper", 2) } else { (family, 1) };
                let shared = [(tiles + 4) * rows, backward + stages * 2 * 4 * tile, backward];
                Self { family, d, tile, tiles, shared }
            }
        })
    }
}

/// Rotates q and k of `qkv` in place.
fn rotate<D: Driver>(
    cuda: &Cuda<D>,
    shape: AttentionShape,
    qkv: &ViewMut<'_, Buf<D>>,
    (cos, sin): (&Buf<D>, &Buf<D>),
) -> Result<(), Error> {
    let AttentionShape { rows, seq_len, heads, head_dim, rotary_dim } = shape;
    let (n, half) = (rows * seq_len, rotary_dim / 2);
    wide(cos);
    wide(sin);
    assert!(cos.len >= seq_len * half && sin.len >= seq_len * half, "angles of every position");
    let arguments = [
        qkv.at().into(),
        cos.memory.at.into(),
        sin.memory.at.into(),
        long(n),
        int(seq_len),
        int(heads),
        int(head_dim),
        int(rotary_dim),
    ];
    // Whole vectors must lie within each half, and begin on 16 bytes.
    let whole = half.is_multiple_of(8) && head_dim.is_multiple_of(8);
    let (single, vector) = if whole { ("", 8) } else { ("_single", 1) };
    let kernel = format!("rotate_{}{single}", cuda.precision.suffix());
    cuda.launch_flat(&kernel, n * 2 * heads * half / vector, 1, &arguments)
}

pub(super) fn forward<D: Driver>(
    cuda: &Cuda<D>,
    shape: AttentionShape,
    qkv: &ViewMut<'_, Buf<D>>,
    rope: (&Buf<D>, &Buf<D>),
    out: &ViewMut<'_, Buf<D>>,
    lse: &ViewMut<'_, Buf<D>>,
) -> Result<(), Error> {
    let AttentionShape { rows, seq_len, heads, head_dim, .. } = shape;
    let (n, width) = (rows * seq_len, heads * head_dim);
    assert!(qkv.len == 3 * n * width && out.len == n * width && lse.len == n * heads);
    let Kernels { family, d, tile, tiles, shared } = Kernels::choose(cuda, head_dim)?;
    rotate(cuda, shape, qkv, rope)?;
    let arguments = [argument(shape), qkv.at().into(), out.at().into(), lse.at().into()];
    let grid = [seq_len.div_ceil(tiles * tile), heads, rows];
    let kernel = format!("attention_{family}_{d}");
    cuda.launch(&kernel, grid, (tiles * 128, shared[0]), &arguments)
}

pub(super) fn backward<D: Driver>(
    cuda: &Cuda<D>,
    shape: AttentionShape,
    qkv: &View<'_, Buf<D>>,
    rope: (&Buf<D>, &Buf<D>),
    (out, lse): (&View<'_, Buf<D>>, &View<'_, Buf<D>>),
    d_out: &View<'_, Buf<D>>,
    d_qkv: &ViewMut<'_, Buf<D>>,
) -> Result<(), Error> {
    let AttentionShape { rows, seq_len, heads, head_dim, .. } = shape;
    let (n, width) = (rows * seq_len, heads * head_dim);
    assert!(qkv.len == 3 * n * width && d_qkv.len == 3 * n * width);
    assert!(out.len == n * width && d_out.len == n * width && lse.len == n * heads);
    let Kernels { family, d, tile, shared, .. } = Kernels::choose(cuda, head_dim)?;
    let delta = cuda.scratch("sums of out times its gradient", 4 * n * heads)?;
    let of_shape = argument(shape);
    let arguments = [of_shape, out.at().into(), d_out.at().into(), delta.into(), long(n * heads)];
    let kernel = format!("attention_delta_{}", cuda.precision.suffix());
    // Lanes that share a head's channels.
    let lanes = match cuda.precision {
        Precision::F32 => 32,
        Precision::Bf16 => 8,
    };
    cuda.launch(&kernel, [(n * heads).div_ceil(128 / lanes), 1, 1], (128, 0), &arguments)?;

    let (cos, sin) = (rope.0.memory.at, rope.1.memory.at);
    let arguments = [
        of_shape,
        qkv.at().into(),
        d_out.at().into(),
        lse.at().into(),
        delta.into(),
        cos.into(),
        sin.into(),
        d_qkv.at().into(),
    ];
    let grid = [seq_len.div_ceil(tile), heads, rows];
    let kernel = format!("attention_backward_kv_{family}_{d}");
    cuda.launch(&kernel, grid, (128, shared[1]), &arguments)?;
    let kernel = format!("attention_backward_q_{family}_{d}");
    cuda.launch(&kernel, grid, (128, shared[2]), &arguments)
}
