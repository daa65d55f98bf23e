//! Cross-entropy on the device: logits of a chunk of rows at a time, which become their own
//! gradient and are multiplied into both results at once.

use super::driver::{Address, Driver, Operand, Product};
use super::{Buf, Cuda, Tokens, int};
use crate::ops::backend::{View, ViewMut};
use crate::ops::{Error, HeadShape, Precision};

/// Threads of a block, and bytes of shared memory for what its warps tell each other.
const THREADS: usize = 512;
const PARTIALS: usize = 8 * THREADS / 32;
/// Shared memory that the hardware takes for itself, for every block (compute capability 8 and later).
const RESERVED: usize = 1024;

/// Rows whose logits are held at once: a power of two, at most 2^29 logits.
///
/// Fewer would leave multiprocessors of the largest cards without a tile of dx. Part of the numbers: the
/// gradient of w is summed chunk by chunk.
pub(super) fn rows_per_chunk(vocab_size: usize) -> usize {
    let most = ((1 << 29) / vocab_size).clamp(64, 8192);
    1 << most.ilog2()
}

/// The kernel for rows of logits, and the shared memory in bytes that it holds one in.
///
/// A row that becomes its own gradient is read twice. Held in shared memory it comes from the
/// device's memory once, where two blocks of a multiprocessor can do so; both give the same bits.
fn kernel<D: Driver>(cuda: &Cuda<D>, vocab_size: usize, gradient: bool) -> (String, usize) {
    let precision = cuda.precision;
    let (row, whole) = (vocab_size * precision.bytes(), precision.vector(vocab_size) > 1);
    let fits = 2 * (row + PARTIALS + RESERVED) <= cuda.driver.shared_memory();
    if gradient && precision == Precision::Bf16 && whole && fits {
        return ("cross_entropy_bf16_held".into(), row);
    }
    (precision.kernel("cross_entropy", vocab_size), 0)
}

/// (scale, dx, dw) of a gradient.
pub(super) type Gradient<'a, D> = (f32, &'a ViewMut<'a, Buf<D>>, &'a ViewMut<'a, Buf<D>>);

/// Losses, and with (scale, dx, dw) the gradient of scale * (their sum): dx set, dw added.
pub(super) fn cross_entropy<D: Driver>(
    cuda: &Cuda<D>,
    HeadShape { rows, width, vocab_size }: HeadShape,
    (x, w): (&View<'_, Buf<D>>, &View<'_, Buf<D>>),
    targets: &Tokens<D>,
    losses: &ViewMut<'_, Buf<D>>,
    gradient: Option<Gradient<'_, D>>,
) -> Result<(), Error> {
    assert!(x.len == rows * width && w.len == vocab_size * width);
    assert!(targets.ids.len() == rows && losses.len == rows);
    let precision = cuda.precision;
    let chunk = rows_per_chunk(vocab_size).min(rows);
    let logits = cuda.scratch("logits", chunk * vocab_size * precision.bytes())?;
    let (kernel, held) = kernel(cuda, vocab_size, gradient.is_some());
    let matrix = |at: Address, transposed: bool| Operand { at, precision, transposed };
    let step = |at: Address, values: usize, precision: Precision| {
        at + (values * precision.bytes()) as Address
    };
    for first in (0..rows).step_by(chunk.max(1)) {
        let count = chunk.min(rows - first);
        let x = step(x.at(), first * width, x.buf.precision);
        cuda.driver.multiply(&Product {
            size: [count, vocab_size, width],
            a: matrix(x, false),
            b: w.operand(true),
            c: matrix(logits, false),
            add: false,
        })?;
        let scale = gradient.map_or(0.0, |(scale, ..)| scale);
        let arguments = [
            logits.into(),
            step(targets.memory.at, first, Precision::F32).into(),
            step(losses.at(), first, Precision::F32).into(),
            int(vocab_size),
            scale.into(),
            int(usize::from(gradient.is_some())),
        ];
        cuda.launch(&kernel, [count, 1, 1], (THREADS, PARTIALS + held), &arguments)?;
        if let Some((_, dx, dw)) = gradient {
            cuda.driver.multiply(&Product {
                size: [count, width, vocab_size],
                a: matrix(logits, false),
                b: w.operand(false),
                c: Operand { at: step(dx.at(), first * width, dx.buf.precision), ..dx.operand() },
                add: false,
            })?;
            cuda.driver.multiply(&Product {
                size: [vocab_size, width, count],
                a: matrix(logits, true),
                b: matrix(x, false),
                c: dw.operand(),
                add: true,
            })?;
        }
    }
    Ok(())
}
