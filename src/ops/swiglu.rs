//! `SwiGLU`: h = silu(gate) * up, silu(g) = g / (1 + e^-g) (Shazeer 2020).

use rayon::prelude::*;

use super::cpu::Cpu;
use super::isa::simd_kernel;
use super::math::exp;

/// Values of h in one task, about: whole rows.
const TASK: usize = 1 << 14;

simd_kernel! {
    /// h of whole rows.
    fn forward_rows<S>(width: usize, gate_up: &[f32], h: &mut [f32]) {
        for (gate_up, h) in gate_up.chunks_exact(2 * width).zip(h.chunks_exact_mut(width)) {
            let (gate, up) = gate_up.split_at(width);
            for ((h, &g), &u) in h.iter_mut().zip(gate).zip(up) {
                *h = g * u / (1.0 + exp::<S>(-g));
            }
        }
    }
}

simd_kernel! {
    /// The gradient of whole rows, in place; `h` is its gradient and becomes h, in the forward
    /// pass's bits.
    fn backward_rows<S>(width: usize, gate_up: &mut [f32], h: &mut [f32]) {
        for (gate_up, h) in gate_up.chunks_exact_mut(2 * width).zip(h.chunks_exact_mut(width)) {
            // Indexed over slices of one length: the chain of iterators does not vectorise.
            let (gate, up) = gate_up.split_at_mut(width);
            let (up, h) = (&mut up[..width], &mut h[..width]);
            for j in 0..width {
                let (g, u, dh) = (gate[j], up[j], h[j]);
                let divisor = 1.0 + exp::<S>(-g);
                let sigmoid = 1.0 / divisor;
                let silu = g * sigmoid;
                let d_silu = sigmoid + silu * (1.0 - sigmoid);
                (gate[j], up[j], h[j]) = (dh * u * d_silu, dh * silu, g * u / divisor);
            }
        }
    }
}

fn rows_per_task(width: usize) -> usize {
    TASK.div_ceil(width)
}

pub(crate) fn forward(cpu: &Cpu, (rows, width): (usize, usize), gate_up: &[f32], h: &mut [f32]) {
    assert!(gate_up.len() == 2 * rows * width && h.len() == rows * width);
    let task = rows_per_task(width) * width;
    h.par_chunks_mut(task).zip(gate_up.par_chunks(2 * task)).for_each(|(h, gate_up)| {
        forward_rows(cpu.isa(), width, gate_up, h);
    });
}

/// `gate_up` becomes its gradient, and `h`, which holds its own gradient, h again.
pub(crate) fn backward(
    cpu: &Cpu,
    (rows, width): (usize, usize),
    gate_up: &mut [f32],
    h: &mut [f32],
) {
    assert!(gate_up.len() == 2 * rows * width && h.len() == rows * width);
    let task = rows_per_task(width) * width;
    gate_up.par_chunks_mut(2 * task).zip(h.par_chunks_mut(task)).for_each(|(gate_up, h)| {
        backward_rows(cpu.isa(), width, gate_up, h);
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, cpus, gradient, noise, weighted, wide};
    use super::*;

    fn reference(width: usize, gate_up: &[f64]) -> Vec<f64> {
        let mut h = Vec::new();
        for row in gate_up.chunks(2 * width) {
            h.extend((0..width).map(|j| row[j] / (1.0 + (-row[j]).exp()) * row[width + j]));
        }
        h
    }

    #[test]
    fn forward_and_backward_match_the_reference() {
        for cpu in cpus() {
            for (rows, width, size) in [(1, 1, 1.0), (3, 17, 1.0), (70, 300, 1.0), (4, 16, 60.0)] {
                let gate_up: Vec<f32> =
                    noise(2 * rows * width, "x").iter().map(|x| x * size).collect();
                let mut h = vec![0.0; rows * width];
                forward(&cpu, (rows, width), &gate_up, &mut h);
                check("h", &h, &reference(width, &wide(&gate_up)), 1e-6);
                let dh = noise(rows * width, "dh");
                let (mut got, mut again) = (gate_up.clone(), dh.clone());
                backward(&cpu, (rows, width), &mut got, &mut again);
                assert_eq!(again, h, "h, bit for bit");
                if rows * width > 1000 {
                    continue; // finite differences of so many inputs take long
                }
                let want = gradient(&gate_up, |x| weighted(&reference(width, x), &dh));
                check("d_gate_up", &got, &want, 2e-6);
            }
        }
    }

    #[test]
    fn far_gates_stay_finite() {
        for cpu in cpus() {
            let mut h = vec![0.0; 2];
            let mut gate_up = [-1e4, 1e4, 2.0, 2.0];
            forward(&cpu, (1, 2), &gate_up, &mut h);
            assert_eq!(h[1], 2e4);
            assert!(h[0].abs() < 1e-30);
            let mut again = [1.0, 1.0];
            backward(&cpu, (1, 2), &mut gate_up, &mut again);
            assert!(gate_up.iter().all(|x| x.is_finite()), "{gate_up:?}");
            assert_eq!(again, h[..]);
        }
    }
}
