//! The language-model head fused with its loss: logits exist for a chunk of rows at a time and
//! become their own gradient in place.

use rayon::prelude::*;

use super::cpu::Cpu;
use super::gemm::{Matrix, gemm};
use super::isa::simd_kernel;
use super::math::{exp_in_place, ln, max, sum_exp};
use super::{Error, Write};

/// The target of a position whose loss does not count.
pub const IGNORE: u32 = u32::MAX;

/// Sizes of the head: x\[rows, width\], w\[`vocab_size`, width\].
#[derive(Debug, Clone, Copy)]
pub struct HeadShape {
    /// Positions.
    pub rows: usize,
    /// Hidden size.
    pub width: usize,
    /// Number of classes.
    pub vocab_size: usize,
}

/// Rows whose logits are held at once: at most 512, and about 128 MiB of logits.
///
/// Part of the numbers: the gradient of w is summed chunk by chunk.
#[must_use]
pub fn rows_per_chunk(vocab_size: usize) -> usize {
    ((1 << 25) / vocab_size.max(1)).clamp(16, 512)
}

simd_kernel! {
    /// Loss of one row of logits: log-sum-exp minus the target's logit.
    fn row_loss<S>(logits: &[f32], target: usize) -> f32 {
        let top = max(logits);
        top + ln(sum_exp::<S>(logits, top)) - logits[target]
    }
}

simd_kernel! {
    /// The same loss; the row becomes `scale` * (softmax - one-hot of the target).
    fn row_gradient<S>(logits: &mut [f32], target: usize, scale: f32) -> f32 {
        let target_logit = logits[target];
        let top = max(logits);
        let sum = exp_in_place::<S>(logits, top);
        let factor = scale / sum;
        for x in logits.iter_mut() {
            *x *= factor;
        }
        logits[target] -= scale;
        top + ln(sum) - target_logit
    }
}

pub(crate) fn forward(
    cpu: &Cpu,
    HeadShape { rows, width, vocab_size }: HeadShape,
    x: &[f32],
    w: &[f32],
    targets: &[u32],
    losses: &mut [f32],
) -> Result<(), Error> {
    assert!(x.len() == rows * width && targets.len() == rows && losses.len() == rows);
    let chunk = rows_per_chunk(vocab_size).min(rows);
    let mut scratch = cpu.pool().take(chunk * vocab_size);
    for first in (0..rows).step_by(chunk.max(1)) {
        cpu.go_on()?;
        let count = chunk.min(rows - first);
        let logits = &mut scratch[..count * vocab_size];
        let left = Matrix::rows(&x[first * width..(first + count) * width], width);
        let right = Matrix::transposed(w, width);
        gemm(cpu, (count, vocab_size, width), left, right, logits, Write::Set);
        let outputs = losses[first..first + count].par_iter_mut();
        let inputs = logits.par_chunks(vocab_size).zip(&targets[first..first + count]);
        outputs.zip(inputs).for_each(|(loss, (logits, &target))| {
            let counted = target != IGNORE;
            *loss = if counted { row_loss(cpu.isa(), logits, target as usize) } else { 0.0 };
        });
    }
    Ok(())
}

pub(crate) fn forward_backward(
    cpu: &Cpu,
    HeadShape { rows, width, vocab_size }: HeadShape,
    (x, w): (&[f32], &[f32]),
    targets: &[u32],
    scale: f32,
    losses: &mut [f32],
    (dx, dw): (&mut [f32], &mut [f32]),
) -> Result<(), Error> {
    assert!(x.len() == rows * width && targets.len() == rows && losses.len() == rows);
    assert!(dx.len() == x.len() && dw.len() == w.len());
    let chunk = rows_per_chunk(vocab_size).min(rows);
    let mut scratch = cpu.pool().take(chunk * vocab_size);
    for first in (0..rows).step_by(chunk.max(1)) {
        cpu.go_on()?;
        let count = chunk.min(rows - first);
        let logits = &mut scratch[..count * vocab_size];
        let x = &x[first * width..(first + count) * width];
        let dx = &mut dx[first * width..(first + count) * width];
        let (left, right) = (Matrix::rows(x, width), Matrix::transposed(w, width));
        gemm(cpu, (count, vocab_size, width), left, right, logits, Write::Set);
        let rows = logits.par_chunks_mut(vocab_size).zip(&targets[first..first + count]);
        rows.zip(&mut losses[first..first + count]).for_each(|((logits, &target), loss)| {
            if target == IGNORE {
                logits.fill(0.0);
                *loss = 0.0;
            } else {
                *loss = row_gradient(cpu.isa(), logits, target as usize, scale);
            }
        });
        let (g, g_t) = (Matrix::rows(logits, vocab_size), Matrix::transposed(logits, vocab_size));
        gemm(cpu, (count, width, vocab_size), g, Matrix::rows(w, width), dx, Write::Set);
        gemm(cpu, (vocab_size, width, count), g_t, left, dw, Write::Add);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, cpus, gradient, noise, wide};
    use super::*;

    /// Losses in f64, straight from the definition.
    fn reference(x: &[f64], w: &[f64], targets: &[u32], width: usize) -> Vec<f64> {
        let rows = x.chunks(width).zip(targets);
        rows.map(|(x, &target)| {
            if target == IGNORE {
                return 0.0;
            }
            let logits: Vec<f64> =
                w.chunks(width).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect();
            let top = logits.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = logits.iter().map(|z| (z - top).exp()).sum();
            top + sum.ln() - logits[target as usize]
        })
        .collect()
    }

    #[test]
    fn losses_and_gradients_match_the_reference() {
        for cpu in cpus() {
            for (rows, width, vocab_size, size) in
                [(1, 3, 2, 1.0), (5, 16, 37, 1.0), (23, 9, 100, 0.2), (4, 8, 33, 30.0)]
            {
                let x: Vec<f32> = noise(rows * width, "x").iter().map(|x| x * size).collect();
                let w = noise(vocab_size * width, "w");
                let mut targets: Vec<u32> =
                    (0..rows).map(|i| (i * 7 % vocab_size) as u32).collect();
                if rows > 1 {
                    targets[rows - 1] = IGNORE;
                }
                let shape = HeadShape { rows, width, vocab_size };
                let scale = 0.25;
                let mut losses = vec![f32::NAN; rows];
                forward(&cpu, shape, &x, &w, &targets, &mut losses)
                    .expect("nobody asks it to stop");
                let want = reference(&wide(&x), &wide(&w), &targets, width);
                check("losses", &losses, &want, 2e-6);

                let mut again = vec![f32::NAN; rows];
                let start = noise(w.len(), "dw");
                let (mut dx, mut dw) = (vec![f32::NAN; x.len()], start.clone());
                let grads = (&mut dx[..], &mut dw[..]);
                forward_backward(&cpu, shape, (&x, &w), &targets, scale, &mut again, grads)
                    .expect("nobody asks it to stop");
                assert_eq!(losses, again, "evaluation and training losses have the same bits");
                let loss = |x: &[f64], w: &[f64]| {
                    f64::from(scale) * reference(x, w, &targets, width).iter().sum::<f64>()
                };
                check("dx", &dx, &gradient(&x, |x| loss(x, &wide(&w))), 3e-6);
                let mut want = gradient(&w, |w| loss(&wide(&x), w));
                want.iter_mut().zip(&start).for_each(|(w, s)| *w += f64::from(*s));
                check("dw", &dw, &want, 3e-6);
            }
        }
    }

    #[test]
    fn several_chunks_give_what_one_row_at_a_time_gives() {
        let (rows, width, vocab_size) = (1030, 8, 12);
        let (x, w) = (noise(rows * width, "x"), noise(vocab_size * width, "w"));
        let targets: Vec<u32> = (0..rows).map(|i| (i % vocab_size) as u32).collect();
        assert!(rows > 2 * rows_per_chunk(vocab_size));
        for cpu in cpus() {
            let mut losses = vec![0.0; rows];
            forward(&cpu, HeadShape { rows, width, vocab_size }, &x, &w, &targets, &mut losses)
                .expect("nobody asks it to stop");
            for i in 0..rows {
                let mut one = [0.0];
                let x = &x[i * width..(i + 1) * width];
                let shape = HeadShape { rows: 1, width, vocab_size };
                forward(&cpu, shape, x, &w, &targets[i..=i], &mut one)
                    .expect("nobody asks it to stop");
                assert_eq!(one[0], losses[i]);
            }
        }
    }

    #[test]
    fn nan_is_seen() {
        for cpu in cpus() {
            let shape = HeadShape { rows: 1, width: 1, vocab_size: 3 };
            let mut losses = [0.0];
            forward(&cpu, shape, &[1.0], &[1.0, f32::NAN, 2.0], &[0], &mut losses)
                .expect("nobody asks it to stop");
            assert!(losses[0].is_nan());
        }
    }
}
