//! Evaluation against the training forward pass.

use xp::model::{self, Config, Transformer};
use xp::ops::{Buffer, Cpu, Isa};

use crate::reference;

#[test]
fn a_row_evaluates_to_its_training_loss_and_a_prefix_to_a_prefix() {
    let config = Config {
        layers: 2,
        hidden_size: 40,
        heads: 2,
        head_dim: 16,
        intermediate_size: 64,
        vocab_size: 97,
        norm_eps: 1e-6,
        init_std: 0.1,
        tie_embeddings: false,
    };
    let params = Buffer::from(model::init(&config, 9));
    // Longer than an evaluation chunk, and no multiple of anything.
    let tokens = reference::tokens(2309, config.vocab_size);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let cpu = Cpu::with_isa(isa).expect("available");
        let ropes = reference::ropes(&config, 1.0);
        let mut model = Transformer::new(cpu, &config, &ropes).expect("a valid shape");
        let losses = model.losses(&params, &tokens).expect("valid tokens");
        assert_eq!(losses.len(), tokens.len() - 1);
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        let mut grads = Buffer::from(vec![0.0; params.len()]);
        let trained =
            model.forward_backward(&params, &tokens, 1, 1.0, &mut grads).expect("valid tokens");
        assert_eq!(sum, trained, "{isa}: the same bits");
        let prefix = model.losses(&params, &tokens[..700]).expect("valid tokens");
        assert_eq!(prefix, losses[..699], "{isa}: causal, so the same bits");
    }
}
