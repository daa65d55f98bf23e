//! Sum of squares, for the global gradient norm.

use rayon::prelude::*;

use super::cpu::Cpu;
use super::isa::simd_kernel;

/// Values of one partial sum.
const CHUNK: usize = 1 << 15;

simd_kernel! {
    /// Sum of the squares of one chunk in f64: squares of large gradients overflow f32.
    fn chunk_sum<S>(values: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 16];
        let chunks = values.chunks_exact(16);
        let rest = chunks.remainder();
        for x in chunks {
            for j in 0..16 {
                lanes[j] += f64::from(x[j]) * f64::from(x[j]);
            }
        }
        for (j, &x) in rest.iter().enumerate() {
            lanes[j] += f64::from(x) * f64::from(x);
        }
        lanes.iter().sum()
    }
}

pub(crate) fn sum_of_squares(cpu: &Cpu, values: &[f32]) -> f64 {
    let partial: Vec<f64> =
        values.par_chunks(CHUNK).map(|chunk| chunk_sum(cpu.isa(), chunk)).collect();
    partial.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{cpus, noise};
    use super::*;

    #[test]
    fn matches_a_plain_sum_and_does_not_overflow() {
        for cpu in cpus() {
            for len in [0, 1, 17, 100_001] {
                let x = noise(len, "x");
                let want: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
                let got = sum_of_squares(&cpu, &x);
                assert!((got - want).abs() <= 1e-12 * want, "{got} {want}");
            }
            assert!(sum_of_squares(&cpu, &[1e30, 1e30]).is_finite());
            assert!(sum_of_squares(&cpu, &[f32::NAN]).is_nan());
        }
    }
}
