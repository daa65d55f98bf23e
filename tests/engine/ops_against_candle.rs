//! Each operator's backward pass against candle's autograd, at sizes too large for finite
//! differences.

use candle_core::{Result, Var};
use xp::ops::{
    AttentionShape, Backend, Buffer, Cpu, HeadShape, Isa, LinearShape, NormShape, View, ViewMut,
    Write, rope_table,
};

use crate::reference::{self, relative_error, tensor, values};

fn cpus() -> Vec<Cpu> {
    Isa::ALL.into_iter().filter_map(|isa| Cpu::with_isa(isa).ok()).collect()
}

fn var(data: &[f32], shape: &[usize]) -> Result<Var> {
    Var::from_tensor(&tensor(data, shape)?)
}

fn noise(count: usize, name: &str) -> Buffer {
    reference::noise(count, name).into()
}

fn filled(count: usize, value: f32) -> Buffer {
    vec![value; count].into()
}

fn view(buf: &Buffer) -> View<'_, Buffer> {
    View::new(buf, 0, buf.len())
}

fn view_mut(buf: &mut Buffer) -> ViewMut<'_, Buffer> {
    let len = buf.len();
    ViewMut::new(buf, 0, len)
}

#[test]
fn attention() -> Result<()> {
    for (rows, seq_len, heads, head_dim, rotary_dim) in [
        (1, 193, 2, 64, 64),
        (2, 100, 1, 32, 32),
        (1, 96, 3, 16, 16),
        (1, 145, 1, 96, 96),
        (2, 50, 1, 128, 128),
        (1, 193, 2, 64, 16),
        (2, 100, 1, 32, 20),
        (1, 145, 1, 96, 2),
    ] {
        let rope = reference::rope(rotary_dim, 1.2);
        let (tokens, a) = (rows * seq_len, heads * head_dim);
        let mut qkv = noise(tokens * 3 * a, "qkv");
        let x = var(&qkv, &[rows, seq_len, 3 * a])?;
        let part = |i: usize| x.narrow(2, i * a, a)?.contiguous();
        let out = reference::attention(&part(0)?, &part(1)?, &part(2)?, heads, &rope)?;
        let d_out = noise(tokens * a, "d_out");
        let loss = (&out * &tensor(&d_out, &[rows, seq_len, a])?)?.sum_all()?;
        let want = values(loss.backward()?.get(&x).expect("x is a variable"))?;
        let want_out = values(&out)?;
        let shape = AttentionShape { rows, seq_len, heads, head_dim, rotary_dim };
        let (cos, sin) = rope_table(&rope.inv_freq, rope.attention_scale, seq_len);
        let (cos, sin) = (Buffer::from(cos), Buffer::from(sin));
        for cpu in cpus() {
            let (mut out, mut lse) = (filled(tokens * a, 0.0), filled(tokens * heads, 0.0));
            let rope = (&cos, &sin);
            let outputs = (view_mut(&mut out), view_mut(&mut lse));
            cpu.attention(shape, view_mut(&mut qkv), rope, outputs.0, outputs.1).expect("cpu");
            let error = relative_error(&out, &want_out);
            assert!(error < 1e-5, "out {error:e}");
            let mut got = filled(qkv.len(), f32::NAN);
            let (saved, d_out) = ((view(&qkv), view(&out), view(&lse)), view(&d_out));
            cpu.attention_backward(
                shape,
                saved.0,
                rope,
                saved.1,
                saved.2,
                d_out,
                view_mut(&mut got),
            )
            .expect("cpu");
            let error = relative_error(&got, &want);
            assert!(error < 2e-5, "d_qkv {error:e}");
        }
    }
    Ok(())
}

#[test]
fn head_and_cross_entropy() -> Result<()> {
    let (rows, width, vocab_size) = (600, 40, 517);
    let (x, w) = (noise(rows * width, "x"), noise(vocab_size * width, "w"));
    let targets = reference::tokens(rows, vocab_size);
    let (x_var, w_var) = (var(&x, &[rows, width])?, var(&w, &[vocab_size, width])?);
    let losses = reference::cross_entropy(&x_var.matmul(&w_var.t()?)?, &targets)?;
    let scale = 0.01;
    let store = (losses.sum_all()? * scale)?.backward()?;
    let want = |v: &Var| values(store.get(v).expect("a variable"));
    for cpu in cpus() {
        let shape = HeadShape { rows, width, vocab_size };
        let (mut got, mut dx) = (filled(rows, 0.0), filled(x.len(), f32::NAN));
        let mut dw = filled(w.len(), 0.0);
        cpu.cross_entropy_backward(
            shape,
            view(&x),
            view(&w),
            &targets,
            scale as f32,
            view_mut(&mut got),
            view_mut(&mut dx),
            view_mut(&mut dw),
        )
        .expect("cpu");
        for (what, got, want) in [
            ("losses", &got, values(&losses)?),
            ("dx", &dx, want(&x_var)?),
            ("dw", &dw, want(&w_var)?),
        ] {
            let error = relative_error(got, &want);
            assert!(error < 1e-5, "{what} {error:e}");
        }
    }
    Ok(())
}

#[test]
fn linear_norm_and_swiglu() -> Result<()> {
    // norm → gate and up → swiglu: each backward pass feeds the next.
    let (rows, width, inner) = (77, 50, 36);
    let (x, gain) = (noise(rows * width, "x"), noise(width, "gain"));
    let (w, dh) = (noise(2 * inner * width, "w"), noise(rows * inner, "dh"));
    let (x_var, gain_var) = (var(&x, &[rows, width])?, var(&gain, &[width])?);
    let w_var = var(&w, &[2 * inner, width])?;
    let normed = reference::rms_norm(&x_var, &gain_var, 1e-5)?;
    let gate_up = normed.matmul(&w_var.t()?)?;
    let h = reference::swiglu(&gate_up.narrow(1, 0, inner)?, &gate_up.narrow(1, inner, inner)?)?;
    let store = (&h * &tensor(&dh, &[rows, inner])?)?.sum_all()?.backward()?;
    let want = |v: &Var| values(store.get(v).expect("a variable"));
    for cpu in cpus() {
        let norm = NormShape { rows, width, eps: 1e-5 };
        let linear = LinearShape { rows, inputs: width, outputs: 2 * inner };
        let (mut y, mut rstd) = (filled(x.len(), 0.0), filled(rows, 0.0));
        let mut gate_up = filled(rows * 2 * inner, 0.0);
        let mut got_h = filled(rows * inner, 0.0);
        let (mut dw, mut dy, mut dx) =
            (filled(w.len(), 0.0), filled(x.len(), 0.0), filled(x.len(), 0.0));
        let mut d_gain = filled(width, 0.0);
        let mut run = || -> std::result::Result<(), xp::ops::Error> {
            let (out, r) = (view_mut(&mut y), view_mut(&mut rstd));
            cpu.rms_norm(norm, view(&x), view(&gain), out, r, None)?;
            cpu.linear(linear, view(&y), view(&w), view_mut(&mut gate_up), Write::Set)?;
            cpu.swiglu(rows, inner, view(&gate_up), view_mut(&mut got_h))?;
            let mut dh = dh.clone();
            cpu.swiglu_backward(rows, inner, view_mut(&mut gate_up), view_mut(&mut dh))?;
            let (g, out) = (view(&gate_up), view_mut(&mut dw));
            cpu.linear_backward_weight(linear, g, view(&y), out, Write::Add)?;
            let (g, out) = (view(&gate_up), view_mut(&mut dy));
            cpu.linear_backward_input(linear, g, view(&w), out, Write::Set)?;
            let out = (view_mut(&mut dx), view_mut(&mut d_gain));
            let (x, gain, rstd, dy) = (view(&x), view(&gain), view(&rstd), view_mut(&mut dy));
            let dx = (out.0, Write::Set);
            cpu.rms_norm_backward(norm, x, gain, rstd, dy, dx, &mut filled(0, 0.0), out.1)
        };
        run().expect("cpu");
        for (what, got, want) in [
            ("h", &got_h, values(&h)?),
            ("dw", &dw, want(&w_var)?),
            ("dx", &dx, want(&x_var)?),
            ("d_gain", &d_gain, want(&gain_var)?),
        ] {
            let error = relative_error(got, &want);
            assert!(error < 1e-5, "{what} {error:e}");
        }
    }
    Ok(())
}
