//! Every kernel thirty times on the same input: one distinct output. The emulator runs threads and
//! blocks in another order each time, a GPU as it likes.

use std::collections::HashSet;

use xp::ops::cuda::Cuda;
use xp::ops::{AdamWStep, AttentionShape, Backend, HeadShape, NormShape, Write, rope_table};

use crate::device::{Buf, Device, Pair, all, all_kernels, all_mut, both};

const RUNS: usize = 30;
/// Rows, or positions: a device has the time for shapes that fill it.
const SIZE: usize = if cfg!(feature = "cuda-emulator") { 70 } else { 4100 };

/// Runs `kernel` again and again; what it returns must have the same bits.
fn same_bits(pair: &Pair, what: &str, mut kernel: impl FnMut() -> Vec<Buf>) {
    let outputs: HashSet<Vec<Vec<u32>>> = (0..RUNS)
        .map(|_| {
            let bits = |buf| pair.get(buf).into_iter().map(f32::to_bits).collect();
            kernel().iter().map(bits).collect()
        })
        .collect();
    assert_eq!(outputs.len(), 1, "distinct outputs of {what} in {:?}", pair.precision);
}

/// A matrix input of the same `len` values.
fn copied(cuda: &Cuda<Device>, values: &Buf, len: usize) -> Buf {
    let mut out = cuda.matrix(len, "a copy").unwrap();
    cuda.copy(all(values, len), all_mut(&mut out, len)).unwrap();
    out
}

#[test]
fn attention() {
    all_kernels(|pair| {
        for head_dim in [32, 64, 96, 128] {
            let cuda = &pair.cuda;
            // At least three tiles of keys: the memory of the first is used again.
            let (seq_len, heads) = (2 * SIZE, 1);
            let shape = AttentionShape { rows: 1, seq_len, heads, head_dim, rotary_dim: head_dim };
            let (n, width) = (seq_len, heads * head_dim);
            let inv_freq: Vec<f32> = (0..head_dim / 2).map(|i| 0.8f32.powi(i as i32)).collect();
            let (cos, sin) = rope_table(&inv_freq, 1.0, seq_len);
            let (cos, sin) = (cuda.upload(cos).unwrap(), cuda.upload(sin).unwrap());
            let (_, given) = pair.matrix_noise(3 * n * width, "qkv", 1.0);
            let (_, d_out) = pair.matrix_noise(n * width, "d_out", 1.0);
            same_bits(pair, &format!("attention {head_dim}"), || {
                let mut out = cuda.matrix(n * width, "out").unwrap();
                let mut lse = cuda.zeros(n * heads, "lse").unwrap();
                let mut d_qkv = cuda.matrix(3 * n * width, "d_qkv").unwrap();
                let (mut qkv, rope) = (copied(cuda, &given, 3 * n * width), (&cos, &sin));
                let (o, l) = (all_mut(&mut out, n * width), all_mut(&mut lse, n * heads));
                cuda.attention(shape, all_mut(&mut qkv, 3 * n * width), rope, o, l).unwrap();
                let qkv = all(&qkv, 3 * n * width);
                let (o, l) = (all(&out, n * width), all(&lse, n * heads));
                let (d, to) = (all(&d_out, n * width), all_mut(&mut d_qkv, 3 * n * width));
                cuda.attention_backward(shape, qkv, rope, o, l, d, to).unwrap();
                vec![out, lse, d_qkv]
            });
        }
    });
}

#[test]
fn norm() {
    both(|pair| {
        let cuda = &pair.cuda;
        for (rows, width) in [(SIZE, 72), (SIZE / 8, 520), (SIZE / 8, 1032)] {
            let (n, shape) = (rows * width, NormShape { rows, width, eps: 1e-6 });
            let (_, x) = pair.wide_noise(n, "x", 1.0);
            let (_, gain) = pair.wide_noise(width, "gain", 1.0);
            let (_, dy) = pair.matrix_noise(n, "dy", 1.0);
            same_bits(pair, "rms_norm", || {
                let mut y = cuda.matrix(n, "y").unwrap();
                let mut rstd = cuda.zeros(rows, "rstd").unwrap();
                let (mut dx, mut dgain) =
                    (cuda.zeros(n, "dx").unwrap(), cuda.zeros(width, "dgain").unwrap());
                let (x, gain) = (all(&x, n), all(&gain, width));
                let (out, r) = (all_mut(&mut y, n), all_mut(&mut rstd, rows));
                cuda.rms_norm(shape, x, gain, out, r, None).unwrap();
                let (mut again, mut rounded) =
                    (copied(cuda, &dy, n), cuda.rounded(n, "dx").unwrap());
                let (r, d) = (all(&rstd, rows), all_mut(&mut again, n));
                let (to, of_gain) = ((all_mut(&mut dx, n), Write::Add), all_mut(&mut dgain, width));
                cuda.rms_norm_backward(shape, x, gain, r, d, to, &mut rounded, of_gain).unwrap();
                vec![y, rstd, dx, dgain, again, rounded]
            });
        }
    });
}

#[test]
fn swiglu() {
    both(|pair| {
        let cuda = &pair.cuda;
        let (rows, width) = (SIZE, 72);
        let n = rows * width;
        let (_, dy) = pair.matrix_noise(n, "dy", 1.0);
        same_bits(pair, "swiglu", || {
            let (_, mut gate_up) = pair.matrix_noise(2 * n, "gate_up", 1.0);
            let mut h = cuda.matrix(n, "h").unwrap();
            cuda.swiglu(rows, width, all(&gate_up, 2 * n), all_mut(&mut h, n)).unwrap();
            let mut again = copied(cuda, &dy, n);
            let (to, dh) = (all_mut(&mut gate_up, 2 * n), all_mut(&mut again, n));
            cuda.swiglu_backward(rows, width, to, dh).unwrap();
            vec![h, gate_up, again]
        });
    });
}

#[test]
fn head_and_embedding() {
    both(|pair| {
        let cuda = &pair.cuda;
        let (rows, width, vocab_size) = (SIZE, 40, 304);
        let shape = HeadShape { rows, width, vocab_size };
        let (_, x) = pair.matrix_noise(rows * width, "x", 1.0);
        let (_, w) = pair.matrix_noise(vocab_size * width, "w", 1.0);
        let ids: Vec<u32> = (0..rows as u32).map(|i| i * i % 304).collect();
        let ids = cuda.upload_tokens(&ids).unwrap();
        same_bits(pair, "cross_entropy", || {
            let mut losses = cuda.zeros(rows, "losses").unwrap();
            let mut dx = cuda.matrix(rows * width, "dx").unwrap();
            let mut dw = cuda.zeros(vocab_size * width, "dw").unwrap();
            let (x, w) = (all(&x, rows * width), all(&w, vocab_size * width));
            let (l, a) = (all_mut(&mut losses, rows), all_mut(&mut dx, rows * width));
            let b = all_mut(&mut dw, vocab_size * width);
            cuda.cross_entropy_backward(shape, x, w, &ids, 1.0, l, a, b).unwrap();
            vec![losses, dx, dw]
        });
        let (_, dy) = pair.wide_noise(rows * width, "dy", 1.0);
        same_bits(pair, "embedding", || {
            let (_, mut table) = pair.wide_noise(vocab_size * width, "table", 1.0);
            let mut out = cuda.zeros(rows * width, "out").unwrap();
            let to = all_mut(&mut out, rows * width);
            cuda.embedding(width, all(&table, vocab_size * width), &ids, to).unwrap();
            let to = all_mut(&mut table, vocab_size * width);
            cuda.embedding_backward(width, &ids, all(&dy, rows * width), to).unwrap();
            vec![out, table]
        });
    });
}

#[test]
fn optimizer() {
    both(|pair| {
        let cuda = &pair.cuda;
        let n = 30 * SIZE;
        let (_, grads) = pair.wide_noise(n, "grads", 1.0);
        same_bits(pair, "adamw", || {
            let (_, mut params) = pair.wide_noise(n, "params", 1.0);
            let (mut m, mut v) = (cuda.zeros(n, "m").unwrap(), cuda.zeros(n, "v").unwrap());
            let sum = cuda.sum_of_squares(all(&grads, n)).unwrap();
            let clip = (1.0 / sum) as f32;
            let step = AdamWStep::new(1, 1e-2, (0.9, 0.95), 1e-8, 0.1, clip);
            cuda.adamw(&step, &mut params, &grads, &mut m, &mut v).unwrap();
            vec![params, m, v, cuda.upload(vec![clip]).unwrap()]
        });
    });
}
