//! Loss and the gradient of every parameter, against candle's autograd in f64.

use candle_core::Result;
use xp::model::{self, Config, Transformer};
use xp::ops::{Cpu, Isa};

use crate::reference::{self, relative_error};

fn configs() -> Vec<(Config, usize, usize)> {
    let small = Config {
        layers: 2,
        hidden_size: 48,
        heads: 3,
        head_dim: 16,
        intermediate_size: 80,
        vocab_size: 131,
        norm_eps: 1e-6,
        init_std: 0.2,
        tie_embeddings: true,
    };
    vec![
        (small.clone(), 3, 37),
        // heads * head_dim differs from hidden_size, head not tied, one short row.
        (Config { heads: 1, head_dim: 64, tie_embeddings: false, ..small.clone() }, 1, 3),
        (Config { heads: 2, head_dim: 96, layers: 1, ..small.clone() }, 2, 130),
        (Config { heads: 1, head_dim: 128, hidden_size: 33, layers: 1, ..small }, 1, 65),
    ]
}

#[test]
fn loss_and_every_gradient_match() -> Result<()> {
    for (config, rows, seq_len) in configs() {
        let mut params = model::init(&config, 42);
        // Gains away from 1, or a gradient that forgets them would pass.
        let noise = reference::noise(params.len(), "gains");
        for tensor in model::Layout::new(&config).tensors.iter().filter(|t| t.is_gain()) {
            for i in tensor.range() {
                params[i] += 0.3 * noise[i];
            }
        }
        let rope = reference::rope(config.head_dim, 1.1);
        let tokens = reference::tokens(rows * seq_len, config.vocab_size);
        let vars = reference::variables(&config, &params)?;
        let scale = 1.0 / (rows * (seq_len - 1)) as f64;
        let losses = reference::losses(&config, &rope, &vars, &tokens, rows)?;
        let sum = losses.sum_all()?;
        let store = (&sum * scale)?.backward()?;
        let sum = sum.to_scalar::<f64>()?;

        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let cpu = Cpu::with_isa(isa).expect("available");
            let mut model = Transformer::new(cpu, &config, &rope).expect("a valid shape");
            let mut grads = vec![0.0; params.len()];
            // Twice: gradients are added to what is there.
            for pass in 1..=2 {
                let got = model
                    .forward_backward(&params, &tokens, rows, scale as f32, &mut grads)
                    .expect("valid tokens");
                assert!((got - sum).abs() < 2e-6 * sum, "{isa}: {got} instead of {sum}");
                for tensor in &model.layout().tensors {
                    let want = store.get(&vars[&tensor.name]).expect("autograd reaches all");
                    let want = (want * f64::from(pass))?;
                    let want = reference::values(&want)?;
                    let error = relative_error(&grads[tensor.range()], &want);
                    assert!(error < 2e-5, "{isa} {} pass {pass}: {error:e}", tensor.name);
                    if tensor.name != "model.embed_tokens.weight" {
                        let reached = want.iter().all(|&w| w != 0.0);
                        assert!(reached, "{}: the test must exercise every value", tensor.name);
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn evaluation_losses_match_position_by_position() -> Result<()> {
    for (config, _, seq_len) in configs() {
        let params = model::init(&config, 7);
        let rope = reference::rope(config.head_dim, 1.0);
        let tokens = reference::tokens(seq_len, config.vocab_size);
        let vars = reference::variables(&config, &params)?;
        let want = reference::values(&reference::losses(&config, &rope, &vars, &tokens, 1)?)?;
        let mut model = Transformer::new(Cpu::new(), &config, &rope).expect("a valid shape");
        let got = model.losses(&params, &tokens).expect("valid tokens");
        let error = relative_error(&got, &want);
        assert!(error < 3e-6, "{error:e}");
    }
    Ok(())
}
