//! Root-mean-square norm: y = x / sqrt(mean(x²) + eps) * gain (Zhang and Sennrich 2019).

use rayon::prelude::*;

use super::backend::{NormShape, Write};
use super::cpu::Cpu;
use super::isa::simd_kernel;
use super::math::{LANES, add_lanes, dot};

/// Rows of one task, and of one partial sum of the gain's gradient.
pub(super) const ROWS: usize = 64;

simd_kernel! {
    /// Norm of whole rows.
    fn forward_rows<S>(x: &[f32], gain: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
        let width = gain.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(rstd);
        for ((x, y), rstd) in rows {
            let scale = 1.0 / (dot::<S>(x, x) / width as f32 + eps).sqrt();
            *rstd = scale;
            for j in 0..width {
                y[j] = x[j] * scale * gain[j];
            }
        }
    }
}

simd_kernel! {
    /// Gradient of whole rows; `d_gain` is a partial sum that starts at zero. `y` holds its own
    /// gradient and becomes the norm again, in the forward pass's bits.
    fn backward_rows<S>(
        x: &[f32],
        gain: &[f32],
        rstd: &[f32],
        y: &mut [f32],
        dx: &mut [f32],
        add: bool,
        d_gain: &mut [f32],
    ) {
        let width = gain.len();
        let d_gain = &mut d_gain[..width];
        let inputs = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(rstd);
        for (((x, dy), &rstd), dx) in inputs.zip(dx.chunks_exact_mut(width)) {
            let mut lanes = [0.0f32; LANES];
            let whole = width - width % LANES;
            for j in (0..whole).step_by(LANES) {
                let (x, dy, gain) = (&x[j..j + LANES], &dy[j..j + LANES], &gain[j..j + LANES]);
                for q in 0..LANES {
                    lanes[q] = S::mul_add(dy[q] * gain[q], x[q], lanes[q]);
                }
            }
            for j in whole..width {
                lanes[j - whole] = S::mul_add(dy[j] * gain[j], x[j], lanes[j - whole]);
            }
            // d rstd / dx folded in: dx = rstd * (dy gain - x * rstd² * mean(dy gain x)).
            let pull = add_lanes(lanes) * rstd * rstd / width as f32;
            if add {
                for j in 0..width {
                    dx[j] += rstd * (dy[j] * gain[j] - x[j] * pull);
                }
            } else {
                for j in 0..width {
                    dx[j] = rstd * (dy[j] * gain[j] - x[j] * pull);
                }
            }
            for j in 0..width {
                d_gain[j] = S::mul_add(dy[j] * rstd, x[j], d_gain[j]);
                dy[j] = x[j] * rstd * gain[j];
            }
        }
    }
}

pub(crate) fn forward(
    cpu: &Cpu,
    NormShape { rows, width, eps }: NormShape,
    x: &[f32],
    gain: &[f32],
    y: &mut [f32],
    rstd: &mut [f32],
) {
    assert!(x.len() == rows * width && y.len() == x.len(), "x and y are rows of width");
    assert!(gain.len() == width && rstd.len() == rows, "one gain a column, one rstd a row");
    let chunks = y.par_chunks_mut(ROWS * width).zip(rstd.par_chunks_mut(ROWS));
    chunks.zip(x.par_chunks(ROWS * width)).for_each(|((y, rstd), x)| {
        forward_rows(cpu.isa(), x, gain, eps, y, rstd);
    });
}

/// `y` holds its own gradient and becomes the norm again.
pub(crate) fn backward(
    cpu: &Cpu,
    NormShape { rows, width, .. }: NormShape,
    (x, gain, rstd): (&[f32], &[f32], &[f32]),
    y: &mut [f32],
    dx: &mut [f32],
    write: Write,
    d_gain: &mut [f32],
) {
    assert!(x.len() == rows * width && y.len() == x.len() && dx.len() == x.len());
    assert!(gain.len() == width && rstd.len() == rows && d_gain.len() == width);
    let mut partial = cpu.pool().take(rows.div_ceil(ROWS) * width);
    partial.fill(0.0);
    let outputs = dx.par_chunks_mut(ROWS * width).zip(partial.par_chunks_mut(width));
    let inputs = x.par_chunks(ROWS * width).zip(y.par_chunks_mut(ROWS * width));
    outputs.zip(inputs.zip(rstd.par_chunks(ROWS))).for_each(|((dx, sum), ((x, y), rstd))| {
        backward_rows(cpu.isa(), x, gain, rstd, y, dx, write == Write::Add, sum);
    });
    for sum in partial.chunks_exact(width) {
        for (total, part) in d_gain.iter_mut().zip(sum) {
            *total += part;
        }
    }
}

#[cfg(test)]
pub(crate) mod reference {
    /// The norm in f64, straight from its formula.
    pub(crate) fn forward(x: &[f64], gain: &[f64], eps: f64) -> Vec<f64> {
        let width = gain.len();
        let mut y = Vec::new();
        for row in x.chunks(width) {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
            y.extend(row.iter().zip(gain).map(|(x, g)| x / (mean + eps).sqrt() * g));
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, cpus, gradient, noise, weighted, wide};
    use super::*;

    #[test]
    fn forward_and_backward_match_the_reference() {
        for cpu in cpus() {
            for (rows, width, size) in
                [(1, 3, 1.0), (3, 16, 1.0), (70, 37, 1.0), (130, 96, 1.0), (5, 64, 1e4)]
            {
                let x: Vec<f32> = noise(rows * width, "x").iter().map(|x| x * size).collect();
                let (gain, dy) = (noise(width, "gain"), noise(rows * width, "dy"));
                let shape = NormShape { rows, width, eps: 1e-6 };
                let (mut y, mut rstd) = (vec![0.0; rows * width], vec![0.0; rows]);
                forward(&cpu, shape, &x, &gain, &mut y, &mut rstd);
                check("y", &y, &reference::forward(&wide(&x), &wide(&gain), 1e-6), 1e-6);

                let start = noise(rows * width, "dx");
                for write in [Write::Set, Write::Add] {
                    let (mut dx, mut d_gain) = (start.clone(), vec![1.0; width]);
                    let (saved, mut again) = ((&x[..], &gain[..], &rstd[..]), dy.clone());
                    backward(&cpu, shape, saved, &mut again, &mut dx, write, &mut d_gain);
                    assert_eq!(again, y, "y, bit for bit");
                    let loss =
                        |x: &[f64], g: &[f64]| weighted(&reference::forward(x, g, 1e-6), &dy);
                    let mut want = gradient(&x, |x| loss(x, &wide(&gain)));
                    if write == Write::Add {
                        want.iter_mut().zip(&start).for_each(|(w, s)| *w += f64::from(*s));
                    }
                    check("dx", &dx, &want, 3e-6);
                    let mut want = gradient(&gain, |g| loss(&wide(&x), g));
                    want = want.iter().map(|w| w + 1.0).collect();
                    check("d_gain", &d_gain, &want, 3e-6);
                }
            }
        }
    }
}
