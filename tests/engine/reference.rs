//! An independent decoder in candle: primitive tensor operations and autograd only (candle's
//! own norm, softmax and rope cut gradients silently), in f64.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use xp::model::{Config, Layout, Rope, Ropes};

/// Named variables holding the arena's values.
pub fn variables(config: &Config, params: &[f32]) -> Result<BTreeMap<String, Var>> {
    let mut variables = BTreeMap::new();
    for tensor in Layout::new(config).tensors {
        let values = &params[tensor.range()];
        let value = Tensor::from_slice(values, tensor.shape.as_slice(), &Device::Cpu)?;
        variables.insert(tensor.name, Var::from_tensor(&value.to_dtype(DType::F64)?)?);
    }
    Ok(variables)
}

/// A tensor of f32 values, in f64.
pub fn tensor(values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(values, shape, &Device::Cpu)?.to_dtype(DType::F64)
}

pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(gain)
}

/// cos and sin, \[`seq_len`, `rotary_dim` / 2\]; the angle is rounded to f32, what follows is f64.
fn angles(rope: &Rope, seq_len: usize) -> Result<(Tensor, Tensor)> {
    let half = rope.inv_freq.len();
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in 0..seq_len {
        for frequency in &rope.inv_freq {
            let angle = f64::from(position as f32 * frequency);
            cos.push(angle.cos() * f64::from(rope.attention_scale));
            sin.push(angle.sin() * f64::from(rope.attention_scale));
        }
    }
    let table = |values| Tensor::from_vec(values, (seq_len, half), &Device::Cpu);
    Ok((table(cos)?, table(sin)?))
}

/// x is \[rows, heads, `seq_len`, `head_dim`\]; channels beyond those of the table stay.
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (head_dim, half) = (x.dim(D::Minus1)?, cos.dim(D::Minus1)?);
    let (x1, x2) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let y1 = (x1.broadcast_mul(cos)? - x2.broadcast_mul(sin)?)?;
    let y2 = (x2.broadcast_mul(cos)? + x1.broadcast_mul(sin)?)?;
    if 2 * half == head_dim {
        return Tensor::cat(&[y1, y2], D::Minus1);
    }
    let still = x.narrow(D::Minus1, 2 * half, head_dim - 2 * half)?;
    Tensor::cat(&[y1, y2, still], D::Minus1)
}

/// Causal attention; q, k, v are \[rows, `seq_len`, heads * `head_dim`\] before rotation.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, rope: &Rope) -> Result<Tensor> {
    let (rows, seq_len, width) = q.dims3()?;
    let head_dim = width / heads;
    let (cos, sin) = angles(rope, seq_len)?;
    let split =
        |x: &Tensor| x.reshape((rows, seq_len, heads, head_dim))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (rotate(&split(q)?, &cos, &sin)?, rotate(&split(k)?, &cos, &sin)?, split(v)?);
    let scores = (q.matmul(&k.t()?.contiguous()?)? / (head_dim as f64).sqrt())?;
    let mask: Vec<f64> = (0..seq_len * seq_len)
        .map(|i| if i % seq_len > i / seq_len { -1e30 } else { 0.0 })
        .collect();
    let mask = Tensor::from_vec(mask, (seq_len, seq_len), &Device::Cpu)?;
    let scores = scores.broadcast_add(&mask)?;
    let top = scores.max_keepdim(D::Minus1)?.detach();
    let exp = scores.broadcast_sub(&top)?.exp()?;
    let p = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
    p.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((rows, seq_len, width))
}

pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    (gate / (gate.neg()?.exp()? + 1.0)?)? * up
}

/// Losses \[positions\] of logits \[positions, V\].
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let top = logits.max_keepdim(D::Minus1)?.detach();
    let lse = (logits.broadcast_sub(&top)?.exp()?.sum_keepdim(D::Minus1)?.log()? + top)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), &Device::Cpu)?;
    (lse - logits.gather(&targets, 1)?)?.squeeze(1)
}

/// Losses \[rows * (`seq_len` - 1)\] of the whole model, position by position of each row.
pub fn losses(
    config: &Config,
    ropes: &Ropes,
    vars: &BTreeMap<String, Var>,
    tokens: &[u32],
    rows: usize,
) -> Result<Tensor> {
    let seq_len = tokens.len() / rows;
    // The protocol as written: the first seq_len - 1 tokens predict the last seq_len - 1.
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for row in tokens.chunks(seq_len) {
        inputs.extend_from_slice(&row[..seq_len - 1]);
        targets.extend_from_slice(&row[1..]);
    }
    let inputs = Tensor::from_slice(&inputs, inputs.len(), &Device::Cpu)?;
    let hidden = config.hidden_size;
    let linear = |x: &Tensor, w: &Var| x.broadcast_matmul(&w.as_tensor().t()?);
    let embedding = &vars["model.embed_tokens.weight"];
    let mut x = embedding.index_select(&inputs, 0)?.reshape((rows, seq_len - 1, hidden))?;
    for layer in 0..config.layers {
        let w = |name: &str| &vars[&format!("model.layers.{layer}.{name}.weight")];
        let normed = rms_norm(&x, w("input_layernorm"), config.norm_eps)?;
        let [q, k, v] = ["q", "k", "v"].map(|p| linear(&normed, w(&format!("self_attn.{p}_proj"))));
        let mixed = attention(&q?, &k?, &v?, config.heads, ropes.of_layer(layer))?;
        x = (x + linear(&mixed, w("self_attn.o_proj"))?)?;
        let normed = rms_norm(&x, w("post_attention_layernorm"), config.norm_eps)?;
        let (gate, up) = (linear(&normed, w("mlp.gate_proj"))?, linear(&normed, w("mlp.up_proj"))?);
        x = (x + linear(&swiglu(&gate, &up)?, w("mlp.down_proj"))?)?;
    }
    let x = rms_norm(&x, &vars["model.norm.weight"], config.norm_eps)?;
    let head = if config.tie_embeddings { embedding } else { &vars["lm_head.weight"] };
    let logits = linear(&x, head)?.reshape((targets.len(), config.vocab_size))?;
    cross_entropy(&logits, &targets)
}

/// A tensor's values.
pub fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_vec1()
}

/// Largest |got - want| over |want| + root mean square of `want`: gradients of an embedding have
/// a few large rows among many small ones, each rounded at its own size.
pub fn relative_error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let size = (want.iter().map(|w| w * w).sum::<f64>() / want.len() as f64).sqrt();
    let errors = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).abs() / (w.abs() + size));
    errors.fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
}

/// A geometric frequency set for the first channels of a head.
pub fn rope(rotary_dim: usize, attention_scale: f32) -> Rope {
    let half = rotary_dim / 2;
    let inv_freq = (0..half).map(|k| 1e4f32.powf(-(k as f32) / half as f32)).collect();
    Rope { inv_freq, attention_scale }
}

/// One geometric set for all layers.
pub fn ropes(config: &Config, attention_scale: f32) -> Ropes {
    Ropes::uniform(rope(config.head_dim, attention_scale), config.layers)
}

/// Token ids below `vocab_size`, from a fixed stream.
pub fn tokens(count: usize, vocab_size: usize) -> Vec<u32> {
    let mut stream = xp::rng::Stream::new(5, "test", "tokens");
    (0..count).map(|_| stream.below(vocab_size as u64) as u32).collect()
}

/// Standard normal values, a different stream per name.
pub fn noise(count: usize, name: &str) -> Vec<f32> {
    let mut out = vec![0.0; count];
    xp::rng::fill_normal(3, "test", name, 1.0, &mut out);
    out
}
