//! Initial weights.

use super::{Config, Layout};
use crate::ops::filled;
use crate::rng;

/// The initial parameters under a seed: weights N(0, `init_std`), gains 1.
///
/// Each tensor is its own random stream, named after it: the values of one do not depend on
/// which others exist.
#[must_use]
pub fn init(config: &Config, seed: u64) -> Vec<f32> {
    let layout = Layout::new(config);
    let mut params = filled(layout.len(), 1.0);
    for tensor in layout.tensors.iter().filter(|tensor| !tensor.is_gain()) {
        rng::fill_normal(seed, "init", &tensor.name, config.init_std, &mut params[tensor.range()]);
    }
    params
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::reference;
    use super::*;

    #[test]
    fn weights_are_normal_gains_are_one_and_only_the_named_tensor_changes() {
        let config = Config {
            layers: 2,
            hidden_size: 64,
            heads: 2,
            head_dim: 16,
            vocab_size: 300,
            intermediate_size: 90,
            ..reference()
        };
        let layout = Layout::new(&config);
        let params = init(&config, 42);
        for tensor in &layout.tensors {
            let values = &params[tensor.range()];
            if tensor.is_gain() {
                assert!(values.iter().all(|&x| x == 1.0));
            } else {
                let mean_square =
                    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / values.len() as f64;
                let ratio = mean_square.sqrt() / config.init_std;
                assert!((ratio - 1.0).abs() < 0.06, "{}: {ratio}", tensor.name);
            }
        }
        let untied = Config { tie_embeddings: false, ..config.clone() };
        assert_eq!(init(&untied, 42)[..params.len()], params);
        assert_ne!(init(&config, 43), params);
    }
}
