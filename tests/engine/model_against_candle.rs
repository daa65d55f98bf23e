//! Loss and the gradient of every parameter, against candle's autograd in f64.

use candle_core::Result;
use xp::model::{self, Config, Ropes, Transformer};
use xp::ops::{Buffer, Cpu, Isa};

use crate::reference::{self, relative_error};

/// Shapes with frequencies, rows and lengths.
fn cases() -> Vec<(Config, Ropes, usize, usize)> {
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
    let scaled = |config: &Config| reference::ropes(config, 1.1);
    let partial = Ropes::uniform(reference::rope(6, 0.9), 2);
    let by_layer = vec![reference::rope(16, 1.0), reference::rope(4, 1.3)];
    let untied = Config { heads: 1, head_dim: 64, tie_embeddings: false, ..small.clone() };
    let wide = Config { heads: 2, head_dim: 96, layers: 1, ..small.clone() };
    let odd = Config { heads: 1, head_dim: 128, hidden_size: 33, layers: 1, ..small.clone() };
    let three = Config { layers: 3, ..small.clone() };
    vec![
        (small.clone(), scaled(&small), 3, 37),
        // heads * head_dim differs from hidden_size, head not tied, one short row.
        (untied.clone(), scaled(&untied), 1, 3),
        (wide.clone(), scaled(&wide), 2, 130),
        (odd.clone(), scaled(&odd), 1, 65),
        // Some channels of a head do not rotate; layers differ.
        (small, partial, 3, 37),
        (three, Ropes::patterned(by_layer, &[0, 1], 3), 2, 20),
    ]
}

#[test]
fn loss_and_every_gradient_match() -> Result<()> {
    for (config, ropes, rows, seq_len) in cases() {
        let mut params = Buffer::from(model::init(&config, 42));
        // Gains away from 1, or a gradient that forgets them would pass.
        let noise = reference::noise(params.len(), "gains");
        for tensor in model::Layout::new(&config).tensors.iter().filter(|t| t.is_gain()) {
            for i in tensor.range() {
                params[i] += 0.3 * noise[i];
            }
        }
        let tokens = reference::tokens(rows * seq_len, config.vocab_size);
        let vars = reference::variables(&config, &params)?;
        let scale = 1.0 / (rows * (seq_len - 1)) as f64;
        let losses = reference::losses(&config, &ropes, &vars, &tokens, rows)?;
        let sum = losses.sum_all()?;
        let store = (&sum * scale)?.backward()?;
        let sum = sum.to_scalar::<f64>()?;

        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let cpu = Cpu::with_isa(isa).expect("available");
            let mut model = Transformer::new(cpu, &config, &ropes).expect("a valid shape");
            let mut grads = Buffer::from(vec![0.0; params.len()]);
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
    for (config, ropes, _, seq_len) in cases() {
        let params = Buffer::from(model::init(&config, 7));
        let tokens = reference::tokens(seq_len, config.vocab_size);
        let vars = reference::variables(&config, &params)?;
        let want = reference::values(&reference::losses(&config, &ropes, &vars, &tokens, 1)?)?;
        let mut model = Transformer::new(Cpu::new(), &config, &ropes).expect("a valid shape");
        let got = model.losses(&params, &tokens).expect("valid tokens");
        let error = relative_error(&got, &want);
        assert!(error < 3e-6, "{error:e}");
    }
    Ok(())
}

#[test]
fn other_frequencies_take_effect_and_the_former_give_the_former_bits() {
    let (config, ropes, ..) = cases().pop().expect("a list");
    let params = Buffer::from(model::init(&config, 7));
    let tokens = reference::tokens(50, config.vocab_size);
    let mut model = Transformer::new(Cpu::new(), &config, &ropes).expect("a valid shape");
    let mut losses = |ropes: &Ropes| {
        model.set_ropes(ropes).expect("they fit");
        model.losses(&params, &tokens).expect("valid tokens")
    };
    let before = losses(&ropes);
    let scaled = |scale: f32| reference::ropes(&config, scale);
    let others: Vec<Vec<f32>> = [
        scaled(1.0),
        scaled(1.2),
        Ropes { layers: vec![1, 0, 1], ..ropes.clone() },
        Ropes::uniform(reference::rope(4, 1.3), config.layers),
    ]
    .iter()
    .map(&mut losses)
    .collect();
    for (i, other) in others.iter().enumerate() {
        assert_ne!(*other, before);
        assert!(others[..i].iter().all(|earlier| earlier != other));
    }
    assert_eq!(losses(&ropes), before);
}
