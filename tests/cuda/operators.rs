//! Every operator against the CPU's, which is held to f64 references and finite differences.

use xp::ops::{
    AdamWStep, AttentionShape, Backend, Buffer, HeadShape, IGNORE, LinearShape, NormShape, View,
    ViewMut, Write, rope_table,
};

use crate::device::{Pair, all, all_kernels, all_mut, both, zeros};

#[test]
fn linear() {
    both(|pair| {
        let shape = LinearShape { rows: 37, inputs: 40, outputs: 56 };
        let LinearShape { rows, inputs, outputs } = shape;
        let Pair { cpu, cuda, .. } = pair;
        let (x, dx) = pair.matrix_noise(rows * inputs, "x", 1.0);
        let (w, dw) = pair.matrix_noise(outputs * inputs, "w", 1.0);
        let (dy, ddy) = pair.matrix_noise(rows * outputs, "dy", 1.0);
        for write in [Write::Set, Write::Add] {
            // Into f32, as the residual stream and gradients of weights are.
            let (mut want, mut got) = pair.wide_noise(rows * outputs, "y", 1.0);
            let y = all_mut(&mut want, rows * outputs);
            cpu.linear(shape, all(&x, x.len()), all(&w, w.len()), y, write).unwrap();
            let y = all_mut(&mut got, rows * outputs);
            cuda.linear(shape, all(&dx, x.len()), all(&dw, w.len()), y, write).unwrap();
            pair.check("y", &pair.get(&got), &want, 1e-5, 0.01);

            let (mut want, mut got) = pair.wide_noise(rows * inputs, "dx", 1.0);
            let to = all_mut(&mut want, rows * inputs);
            let (a, b) = (all(&dy, dy.len()), all(&w, w.len()));
            cpu.linear_backward_input(shape, a, b, to, write).unwrap();
            let to = all_mut(&mut got, rows * inputs);
            let (a, b) = (all(&ddy, dy.len()), all(&dw, w.len()));
            cuda.linear_backward_input(shape, a, b, to, write).unwrap();
            pair.check("dx", &pair.get(&got), &want, 1e-5, 0.01);

            let (mut want, mut got) = pair.wide_noise(outputs * inputs, "dw", 1.0);
            let to = all_mut(&mut want, outputs * inputs);
            let (a, b) = (all(&dy, dy.len()), all(&x, x.len()));
            cpu.linear_backward_weight(shape, a, b, to, write).unwrap();
            let to = all_mut(&mut got, outputs * inputs);
            let (a, b) = (all(&ddy, dy.len()), all(&dx, x.len()));
            cuda.linear_backward_weight(shape, a, b, to, write).unwrap();
            pair.check("dw", &pair.get(&got), &want, 1e-5, 0.01);
        }
        // Into a matrix input, as the projections are.
        let (mut want, mut got) = (zeros(rows * outputs), pair.matrix(&vec![0.0; rows * outputs]));
        let y = all_mut(&mut want, rows * outputs);
        cpu.linear(shape, all(&x, x.len()), all(&w, w.len()), y, Write::Set).unwrap();
        let y = all_mut(&mut got, rows * outputs);
        cuda.linear(shape, all(&dx, x.len()), all(&dw, w.len()), y, Write::Set).unwrap();
        pair.check("y", &pair.get(&got), &want, 1e-5, 1.0);
    });
}

#[test]
fn rms_norm() {
    both(|pair| {
        let rows_in_registers = [(1, 8, 1.0), (70, 96, 1.0), (9, 512, 1.0), (21, 520, 1e4)];
        for (rows, width, size) in
            [(3, 37, 1.0), (7, 1032, 1.0)].into_iter().chain(rows_in_registers)
        {
            let Pair { cpu, cuda, .. } = pair;
            let (n, shape) = (rows * width, NormShape { rows, width, eps: 1e-6 });
            let (x, x_on) = pair.wide_noise(n, "x", size);
            let (gain, gain_on) = pair.wide_noise(width, "gain", 1.0);
            let (mut want, mut want_rstd) = (zeros(n), zeros(rows));
            let (y, rstd) = (all_mut(&mut want, n), all_mut(&mut want_rstd, rows));
            cpu.rms_norm(shape, all(&x, n), all(&gain, width), y, rstd, None).unwrap();
            let mut y_on = cuda.matrix(n, "y").unwrap();
            let mut got_rstd = cuda.zeros(rows, "rstd").unwrap();
            let (y, rstd) = (all_mut(&mut y_on, n), all_mut(&mut got_rstd, rows));
            let mut carried = cuda.zeros(n, "carried").unwrap();
            let to = Some(all_mut(&mut carried, n));
            cuda.rms_norm(shape, all(&x_on, n), all(&gain_on, width), y, rstd, to).unwrap();
            assert_eq!(pair.get(&carried), *x, "x, bit for bit");
            pair.check("y", &pair.get(&y_on), &want, 1e-5, 1.0);
            pair.check("rstd", &pair.get(&got_rstd), &want_rstd, 1e-5, 0.01);

            let (dy_given, _) = pair.matrix_noise(n, "dy", 1.0);
            for write in [Write::Set, Write::Add] {
                let (mut want, mut got) = pair.wide_noise(n, "dx", 1.0 / size);
                let (mut want_gain, mut got_gain) = pair.wide_noise(width, "dgain", 1.0);
                let mut dy = dy_given.clone();
                let (rstd, dy) = (all(&want_rstd, rows), all_mut(&mut dy, n));
                let (to, dgain) = ((all_mut(&mut want, n), write), all_mut(&mut want_gain, width));
                let (x, gain, none) = (all(&x, n), all(&gain, width), &mut zeros(0));
                cpu.rms_norm_backward(shape, x, gain, rstd, dy, to, none, dgain).unwrap();
                let (mut again, mut rounded) =
                    (pair.matrix(&dy_given), cuda.rounded(n, "dx").unwrap());
                let (rstd, dy) = (all(&got_rstd, rows), all_mut(&mut again, n));
                let (to, dgain) = ((all_mut(&mut got, n), write), all_mut(&mut got_gain, width));
                let (x, gain) = (all(&x_on, n), all(&gain_on, width));
                cuda.rms_norm_backward(shape, x, gain, rstd, dy, to, &mut rounded, dgain).unwrap();
                pair.check("dx", &pair.get(&got), &want, 1e-5, 0.01);
                pair.check("dgain", &pair.get(&got_gain), &want_gain, 1e-5, 0.01);
                assert_eq!(pair.get(&again), pair.get(&y_on), "y, bit for bit");
                let mut input = vec![0.0; n];
                cuda.download(cuda.matrix_input(all(&got, n), &rounded), &mut input).unwrap();
                assert_eq!(input, pair.round(&pair.get(&got)), "dx as a matrix input");
            }
        }
    });
}

#[test]
fn swiglu() {
    both(|pair| {
        for (rows, width, size) in [(1, 1, 1.0), (3, 17, 1.0), (40, 64, 1.0), (4, 16, 60.0)] {
            let Pair { cpu, cuda, .. } = pair;
            let n = rows * width;
            let (mut x, mut x_on) = pair.matrix_noise(2 * n, "x", size);
            let (mut want, mut got) = (zeros(n), cuda.matrix(n, "h").unwrap());
            cpu.swiglu(rows, width, all(&x, 2 * n), all_mut(&mut want, n)).unwrap();
            cuda.swiglu(rows, width, all(&x_on, 2 * n), all_mut(&mut got, n)).unwrap();
            pair.check("h", &pair.get(&got), &want, 1e-5, 1.0);
            let (mut dh, mut again) = pair.matrix_noise(n, "dh", 1.0);
            let (to, dh) = (all_mut(&mut x, 2 * n), all_mut(&mut dh, n));
            cpu.swiglu_backward(rows, width, to, dh).unwrap();
            let (to, dh) = (all_mut(&mut x_on, 2 * n), all_mut(&mut again, n));
            cuda.swiglu_backward(rows, width, to, dh).unwrap();
            pair.check("d_gate_up", &pair.get(&x_on), &x, 1e-5, 1.0);
            assert_eq!(pair.get(&again), pair.get(&got), "h, bit for bit");
        }
    });
}

/// (rows, seq_len, heads, head_dim, rotary_dim).
const ATTENTION: [(usize, usize, usize, usize, usize); 12] = [
    (1, 1, 1, 8, 8),
    (2, 65, 2, 32, 32),
    (1, 150, 2, 64, 64),
    (1, 64, 3, 64, 32),
    (1, 70, 1, 40, 16),
    (2, 33, 1, 96, 96),
    (1, 130, 1, 96, 96),
    (1, 129, 1, 128, 128),
    (1, 40, 2, 128, 6),
    (1, 63, 1, 16, 0),
    (2, 193, 1, 64, 64),
    (1, 193, 1, 104, 104),
];

#[test]
fn attention() {
    all_kernels(|pair| {
        for (rows, seq_len, heads, head_dim, rotary_dim) in ATTENTION {
            let Pair { cpu, cuda, .. } = pair;
            let shape = AttentionShape { rows, seq_len, heads, head_dim, rotary_dim };
            let (n, width) = (rows * seq_len, heads * head_dim);
            let inv_freq: Vec<f32> = (0..rotary_dim / 2).map(|i| 0.5f32.powi(i as i32)).collect();
            // A longer table than needed, as a model has it after a longer sequence.
            let (cos, sin) = rope_table(&inv_freq, 1.1, seq_len + 3);
            let on = (cuda.upload(cos.clone()).unwrap(), cuda.upload(sin.clone()).unwrap());
            let (mut qkv, mut qkv_on) = pair.matrix_noise(3 * n * width, "qkv", 1.0);
            // The device rounds q and k once they are rotated: the reference starts from there.
            rotate(shape, &mut qkv, &cos, &sin);
            let mut rotated = Buffer::from(pair.round(&qkv));
            let plain = AttentionShape { rotary_dim: 0, ..shape };
            let none = (&zeros(0), &zeros(0));
            let (mut out, mut lse) = (zeros(n * width), zeros(n * heads));
            let (a, b) = (all_mut(&mut out, n * width), all_mut(&mut lse, n * heads));
            cpu.attention(plain, all_mut(&mut rotated, 3 * n * width), none, a, b).unwrap();
            let mut out_on = cuda.matrix(n * width, "out").unwrap();
            let mut lse_on = cuda.zeros(n * heads, "lse").unwrap();
            let (a, b) = (all_mut(&mut out_on, n * width), all_mut(&mut lse_on, n * heads));
            let rope = (&on.0, &on.1);
            cuda.attention(shape, all_mut(&mut qkv_on, 3 * n * width), rope, a, b).unwrap();
            let what = format!("{shape:?}");
            // Probabilities and the result are rounded, each by at most 2^-8 of its value: of the sum of
            // probabilities times |v|.
            let mut sizes = zeros(n * width);
            let a = all_mut(&mut sizes, n * width);
            let mut positive = rotated.clone();
            for row in positive.chunks_exact_mut(3 * width) {
                row[2 * width..].iter_mut().for_each(|v| *v = v.abs());
            }
            let (from, mut b) = (all_mut(&mut positive, 3 * n * width), zeros(n * heads));
            cpu.attention(plain, from, none, a, all_mut(&mut b, n * heads)).unwrap();
            let sizes: Vec<f64> = sizes.iter().map(|&size| size.into()).collect();
            let (name, got) = (format!("out {what}"), pair.get(&out_on));
            pair.check_sized(&name, &got, (&out, &sizes), 1e-5, 2.05);
            pair.check_norm(&name, &got, &out, 2e-6, 0.75);
            pair.check(&format!("lse {what}"), &pair.get(&lse_on), &lse, 1e-5, 0.01);

            let (d_out, d_out_on) = pair.matrix_noise(n * width, "d_out", 1.0);
            let out = Buffer::from(pair.get(&out_on));
            let mut want = zeros(3 * n * width);
            let (o, l, d) = (all(&out, out.len()), all(&lse, lse.len()), all(&d_out, out.len()));
            let to = all_mut(&mut want, 3 * n * width);
            cpu.attention_backward(plain, all(&rotated, qkv.len()), none, o, l, d, to).unwrap();
            let back: Vec<f32> = sin.iter().map(|s| -s).collect();
            rotate(shape, &mut want, &cos, &back);
            let mut got = cuda.matrix(3 * n * width, "d_qkv").unwrap();
            let (o, l) = (all(&out_on, out.len()), all(&lse_on, lse.len()));
            let (d, to) = (all(&d_out_on, out.len()), all_mut(&mut got, 3 * n * width));
            let rope = (&on.0, &on.1);
            cuda.attention_backward(shape, all(&qkv_on, qkv.len()), rope, o, l, d, to).unwrap();
            // Probabilities, their gradients and the result are rounded, and sums of rounded terms
            // cancel.
            pair.check(&format!("d_qkv {what}"), &pair.get(&got), &want, 2e-5, 4.0);
        }
    });
}

/// Rotates q and k of [positions, 3, heads, head_dim] as their formula says.
fn rotate(shape: AttentionShape, qkv: &mut [f32], cos: &[f32], sin: &[f32]) {
    let AttentionShape { seq_len, heads, head_dim, rotary_dim, .. } = shape;
    let half = rotary_dim / 2;
    for (i, head) in qkv.chunks_exact_mut(head_dim).enumerate() {
        let position = i / (3 * heads) % seq_len;
        if i / heads % 3 < 2 {
            for c in 0..half {
                let (cos, sin) = (cos[position * half + c], sin[position * half + c]);
                let (x, y) = (head[c], head[c + half]);
                (head[c], head[c + half]) = (x * cos - y * sin, y * cos + x * sin);
            }
        }
    }
}

#[test]
fn attention_refuses_heads_that_no_kernel_carries() {
    both(|pair| {
        let shape = AttentionShape { rows: 1, seq_len: 2, heads: 1, head_dim: 130, rotary_dim: 0 };
        let cuda = &pair.cuda;
        let (_, mut qkv) = pair.matrix_noise(2 * 390, "qkv", 1.0);
        let empty = cuda.zeros(0, "table").unwrap();
        let (mut out, mut lse) = (cuda.matrix(260, "out").unwrap(), cuda.zeros(2, "lse").unwrap());
        let (a, b) = (all_mut(&mut out, 260), all_mut(&mut lse, 2));
        let qkv = all_mut(&mut qkv, 780);
        let error = cuda.attention(shape, qkv, (&empty, &empty), a, b).unwrap_err();
        assert!(error.to_string().starts_with("head_dim is 130; it must be "), "{error}");
    });
}

#[test]
fn cross_entropy() {
    both(|pair| {
        for (rows, width, vocab_size, size) in [
            (1, 8, 5, 1.0),
            (70, 16, 97, 1.0),
            (33, 24, 640, 1.0),
            (5, 16, 64, 100.0),
            // In bf16 a row of several rounds, held in shared memory; then rows that are too long for it.
            // Small logits: else sums of so many terms show the multiply's rounding and nothing else.
            (3, 8, 20_000, 0.01),
            (2, 8, 60_000, 0.01),
            (130, 8, 1 << 21, 0.01),
        ] {
            if vocab_size > 1 << 20 && cfg!(feature = "cuda-emulator") {
                continue; // several chunks of rows: for a device that has the time
            }
            let Pair { cpu, cuda, .. } = pair;
            let shape = HeadShape { rows, width, vocab_size };
            let (x, x_on) = pair.matrix_noise(rows * width, "x", f32::sqrt(size));
            let (w, w_on) = pair.matrix_noise(vocab_size * width, "w", f32::sqrt(size));
            let mut targets: Vec<u32> = (0..rows).map(|i| (i * 7919 % vocab_size) as u32).collect();
            targets[rows / 2] = IGNORE;
            let targets_on = cuda.upload_tokens(&targets).unwrap();
            let (x_view, w_view) = (all(&x, x.len()), all(&w, w.len()));
            let (x_on, w_on) = (all(&x_on, x.len()), all(&w_on, w.len()));

            let (mut want, mut got) = (zeros(rows), cuda.zeros(rows, "losses").unwrap());
            cpu.cross_entropy(shape, x_view, w_view, &targets, all_mut(&mut want, rows)).unwrap();
            let to = all_mut(&mut got, rows);
            cuda.cross_entropy(shape, x_on, w_on, &targets_on, to).unwrap();
            // Rounding a logit, which is about size * sqrt(width), is an absolute error of the loss
            // and a relative one of the gradient: some units of the last place in f32, half a unit
            // in bf16.
            let of_logits = f64::from(size) * (width as f64).sqrt();
            let of_f32 = 1e-5 + 3e-7 * of_logits;
            pair.check("losses", &pair.get(&got), &want, of_f32, 1.0 + of_logits);

            let (mut want_dx, mut got_dx) = (zeros(x.len()), cuda.matrix(x.len(), "dx").unwrap());
            let (mut want_dw, mut got_dw) = pair.wide_noise(w.len(), "dw", 0.01);
            let (l, dx) = (all_mut(&mut want, rows), all_mut(&mut want_dx, x.len()));
            let dw = all_mut(&mut want_dw, w.len());
            cpu.cross_entropy_backward(shape, x_view, w_view, &targets, 0.5, l, dx, dw).unwrap();
            let (l, dx) = (all_mut(&mut got, rows), all_mut(&mut got_dx, x.len()));
            let dw = all_mut(&mut got_dw, w.len());
            cuda.cross_entropy_backward(shape, x_on, w_on, &targets_on, 0.5, l, dx, dw).unwrap();
            pair.check("losses", &pair.get(&got), &want, of_f32, 1.0 + of_logits);
            pair.check("dx", &pair.get(&got_dx), &want_dx, of_f32, 2.0 * (1.0 + of_logits));
            pair.check("dw", &pair.get(&got_dw), &want_dw, of_f32, 2.0 * (1.0 + of_logits));
        }
    });
}

#[test]
fn embedding() {
    both(|pair| {
        let Pair { cpu, cuda, .. } = pair;
        for width in [64, 70] {
            let vocab = 9;
            // One id often enough to be cut into several pieces.
            let tokens: Vec<u32> =
                (0..150).map(|i| if i % 3 == 0 { 4 } else { i * 31 % 9 }).collect();
            let n = tokens.len() * width;
            let tokens_on = cuda.upload_tokens(&tokens).unwrap();
            let (table, table_on) = pair.wide_noise(vocab * width, "table", 1.0);
            let (mut want, mut got) = (zeros(n), cuda.zeros(n, "out").unwrap());
            cpu.embedding(width, all(&table, vocab * width), &tokens, all_mut(&mut want, n))
                .unwrap();
            let table_view = all(&table_on, vocab * width);
            cuda.embedding(width, table_view, &tokens_on, all_mut(&mut got, n)).unwrap();
            assert_eq!(pair.get(&got), *want);

            let (dy, dy_on) = pair.wide_noise(n, "dy", 1.0);
            let (mut want, mut got) = pair.wide_noise(vocab * width, "dtable", 1.0);
            let to = all_mut(&mut want, vocab * width);
            cpu.embedding_backward(width, &tokens, all(&dy, n), to).unwrap();
            let to = all_mut(&mut got, vocab * width);
            cuda.embedding_backward(width, &tokens_on, all(&dy_on, n), to).unwrap();
            pair.check("dtable", &pair.get(&got), &want, 1e-5, 0.01);
        }
    });
}

#[test]
fn optimizer() {
    both(|pair| {
        let Pair { cpu, cuda, .. } = pair;
        for len in [1, 40, 40_003] {
            let (mut params, mut params_on) = pair.wide_noise(len, "params", 1.0);
            let (mut m, mut m_on) = pair.wide_noise(len, "m", 0.0);
            let (mut v, mut v_on) = pair.wide_noise(len, "v", 0.0);
            for t in 1..=3 {
                let (grads, grads_on) = pair.wide_noise(len, &format!("g{t}"), 1.0);
                let sum = cuda.sum_of_squares(all(&grads_on, len)).unwrap();
                let want = cpu.sum_of_squares(all(&grads, len)).unwrap();
                assert!((sum - want).abs() <= 1e-12 * want, "{sum} {want}");
                let step = AdamWStep::new(t, 1e-2, (0.9, 0.95), 1e-8, 0.1, 0.5);
                cpu.adamw(&step, &mut params, &grads, &mut m, &mut v).unwrap();
                cuda.adamw(&step, &mut params_on, &grads_on, &mut m_on, &mut v_on).unwrap();
            }
            pair.check("params", &pair.get(&params_on), &params, 1e-6, 1e-3);
            pair.check("m", &pair.get(&m_on), &m, 1e-6, 1e-3);
            pair.check("v", &pair.get(&v_on), &v, 1e-6, 1e-3);
        }
        let (_, huge) = (0, cuda.upload(vec![1e30, 1e30]).unwrap());
        assert!(cuda.sum_of_squares(all(&huge, 2)).unwrap().is_finite());
    });
}

#[test]
fn views_copies_and_rounding() {
    both(|pair| {
        let cuda = &pair.cuda;
        let (x, x_on) = pair.wide_noise(1003, "x", 1.0);
        let mut rounded = cuda.rounded(1000, "rounded").unwrap();
        let values = View::new(&x_on, 4, 999);
        cuda.round(values, &mut rounded).unwrap();
        let view = cuda.matrix_input(values, &rounded);
        let mut out = vec![0.0; 999];
        cuda.download(view, &mut out).unwrap();
        assert_eq!(out, pair.round(&x[4..]));

        let mut y = cuda.zeros(1003, "y").unwrap();
        cuda.copy(View::new(&x_on, 1, 5), ViewMut::new(&mut y, 998, 5)).unwrap();
        assert_eq!(pair.get(&y)[998..], x[1..6]);
        cuda.clear(ViewMut::new(&mut y, 999, 3)).unwrap();
        assert_eq!(pair.get(&y)[997..], [0.0, x[1], 0.0, 0.0, 0.0, x[5]]);
    });
}

#[test]
fn what_is_not_a_number_stays_so() {
    both(|pair| {
        let cuda = &pair.cuda;
        let (seq_len, head_dim) = (70, 32);
        let shape = AttentionShape { rows: 1, seq_len, heads: 1, head_dim, rotary_dim: 0 };
        let (n, empty) = (seq_len * head_dim, cuda.zeros(0, "table").unwrap());
        let (mut qkv, _) = pair.matrix_noise(3 * n, "qkv", 1.0);
        qkv[3 * head_dim * 10] = f32::NAN;
        let mut qkv_on = pair.matrix(&qkv);
        let mut out = cuda.matrix(n, "out").unwrap();
        let mut lse = cuda.zeros(seq_len, "lse").unwrap();
        let (a, b) = (all_mut(&mut out, n), all_mut(&mut lse, seq_len));
        let qkv = all_mut(&mut qkv_on, 3 * n);
        cuda.attention(shape, qkv, (&empty, &empty), a, b).unwrap();
        let out = pair.get(&out);
        assert!(out[10 * head_dim..11 * head_dim].iter().all(|x| x.is_nan()));
        assert!(out[..10 * head_dim].iter().all(|x| x.is_finite()));

        let shape = HeadShape { rows: 2, width: 8, vocab_size: 64 };
        let mut x = vec![1.0; 16];
        x[3] = f32::NAN;
        let (x_on, (_, w_on)) = (pair.matrix(&x), pair.matrix_noise(64 * 8, "w", 1.0));
        let targets = cuda.upload_tokens(&[1, 2]).unwrap();
        let mut losses = cuda.zeros(2, "losses").unwrap();
        let to = all_mut(&mut losses, 2);
        cuda.cross_entropy(shape, all(&x_on, 16), all(&w_on, 512), &targets, to).unwrap();
        let losses = pair.get(&losses);
        assert!(losses[0].is_nan() && losses[1].is_finite());
    });
}
