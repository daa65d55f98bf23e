//! Attention against a plain f64 reference and its finite differences.

use super::super::rope::rope_table;
use super::super::testing::{check, cpus, gradient, noise, weighted, wide};
use super::*;

/// (out, lse), straight from the definition: every score is held.
fn reference(shape: AttentionShape, qkv: &[f64], cos: &[f64], sin: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let AttentionShape { rows, seq_len, heads, head_dim, rotary_dim } = shape;
    let half = rotary_dim / 2;
    let vector = |row: usize, position: usize, part: usize, head: usize| {
        let at = (((row * seq_len + position) * 3 + part) * heads + head) * head_dim;
        qkv[at..at + head_dim].to_vec()
    };
    let rotated = |x: Vec<f64>, position: usize| -> Vec<f64> {
        let (cos, sin) = (&cos[position * half..], &sin[position * half..]);
        (0..head_dim)
            .map(|i| match i.checked_sub(half) {
                None => x[i] * cos[i] - x[i + half] * sin[i],
                Some(j) if j < half => x[i] * cos[j] + x[j] * sin[j],
                Some(_) => x[i],
            })
            .collect()
    };
    let mut out = vec![0.0; rows * seq_len * heads * head_dim];
    let mut lse = vec![0.0; rows * heads * seq_len];
    for row in 0..rows {
        for head in 0..heads {
            let keys: Vec<_> = (0..seq_len).map(|t| rotated(vector(row, t, 1, head), t)).collect();
            for t in 0..seq_len {
                let q = rotated(vector(row, t, 0, head), t);
                let scores: Vec<f64> = keys[..=t]
                    .iter()
                    .map(|k| q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>())
                    .map(|s| s / (head_dim as f64).sqrt())
                    .collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                lse[(row * heads + head) * seq_len + t] = top + sum.ln();
                for (s, score) in scores.iter().enumerate() {
                    let p = (score - top).exp() / sum;
                    for (d, v) in vector(row, s, 2, head).into_iter().enumerate() {
                        out[((row * seq_len + t) * heads + head) * head_dim + d] += p * v;
                    }
                }
            }
        }
    }
    (out, lse)
}

fn table(rotary_dim: usize, scale: f32, len: usize) -> (Vec<f32>, Vec<f32>) {
    let half = rotary_dim / 2;
    let inv_freq: Vec<f32> = (0..half).map(|k| 100f32.powf(-(k as f32) / half as f32)).collect();
    rope_table(&inv_freq, scale, len)
}

#[test]
fn forward_matches_the_reference_for_every_head_dim_and_odd_lengths() {
    for cpu in cpus() {
        for (head_dim, rotary_dim, seq_len, size) in [
            (2, 2, 1, 1.0),
            (6, 6, 7, 1.0),
            (16, 16, 49, 1.0),
            (16, 6, 49, 1.0),
            (32, 32, 97, 1.0),
            (64, 64, 250, 1.0),
            (64, 16, 100, 1.0),
            (96, 96, 130, 1.0),
            (128, 128, 100, 1.0),
            (16, 16, 60, 20.0),
        ] {
            let shape = AttentionShape { rows: 2, seq_len, heads: 3, head_dim, rotary_dim };
            let tokens = shape.rows * seq_len;
            let qkv: Vec<f32> =
                noise(tokens * 9 * head_dim, "qkv").iter().map(|x| x * size).collect();
            let (cos, sin) = table(rotary_dim, 1.1, seq_len + 3);
            let (mut out, mut lse) = (vec![f32::NAN; tokens * 3 * head_dim], vec![0.0; tokens * 3]);
            forward(&cpu, shape, &qkv, (&cos, &sin), &mut out, &mut lse);
            let (want, want_lse) = reference(shape, &wide(&qkv), &wide(&cos), &wide(&sin));
            // Scores of size s carry an error of about s * 2^-24, which exp turns relative.
            let tolerance = if size > 1.0 { 3e-4 } else { 3e-6 };
            check("out", &out, &want, tolerance);
            check("lse", &lse, &want_lse, tolerance);
        }
    }
}

#[test]
fn backward_matches_finite_differences() {
    for cpu in cpus() {
        for (rows, heads, head_dim, rotary_dim, seq_len) in [
            (1, 1, 2, 2, 1),
            (2, 2, 4, 4, 9),
            (2, 2, 8, 4, 9),
            (1, 1, 6, 6, 60),
            (1, 1, 6, 2, 60),
            (1, 1, 4, 4, 110),
        ] {
            let shape = AttentionShape { rows, seq_len, heads, head_dim, rotary_dim };
            let tokens = rows * seq_len;
            let qkv = noise(tokens * shape.qkv_stride(), "qkv");
            let (cos, sin) = table(rotary_dim, 0.9, seq_len);
            let mut out = vec![0.0; tokens * shape.out_stride()];
            let mut lse = vec![0.0; tokens * heads];
            forward(&cpu, shape, &qkv, (&cos, &sin), &mut out, &mut lse);
            let d_out = noise(out.len(), "d_out");
            let mut d_qkv = vec![f32::NAN; qkv.len()];
            backward(&cpu, shape, (&qkv, &out, &lse), (&cos, &sin), &d_out, &mut d_qkv);
            let (cos, sin) = (wide(&cos), wide(&sin));
            let want = gradient(&qkv, |x| weighted(&reference(shape, x, &cos, &sin).0, &d_out));
            check("d_qkv", &d_qkv, &want, 5e-6);
        }
    }
}

#[test]
fn a_prefix_does_not_see_what_follows_and_nan_is_seen_by_what_follows() {
    let shape = AttentionShape { rows: 1, seq_len: 150, heads: 1, head_dim: 8, rotary_dim: 8 };
    let (cos, sin) = table(8, 1.0, 150);
    for cpu in cpus() {
        let run = |qkv: &[f32]| {
            let (mut out, mut lse) = (vec![0.0; 150 * 8], vec![0.0; 150]);
            forward(&cpu, shape, qkv, (&cos, &sin), &mut out, &mut lse);
            out
        };
        let mut qkv = noise(150 * 24, "qkv");
        let before = run(&qkv);
        qkv[100 * 24 + 9] = f32::NAN; // one channel of the key of position 100
        let after = run(&qkv);
        assert_eq!(before[..100 * 8], after[..100 * 8]);
        assert!(after[100 * 8..].iter().all(|x| x.is_nan()));
    }
}
