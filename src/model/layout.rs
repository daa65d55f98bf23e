//! Where each tensor stands in the flat arena of parameters (and gradients, and moments).

use std::collections::HashMap;
use std::ops::Range;

use super::Config;

/// One named tensor of the arena, row-major; linear weights are \[out, in\].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Hugging Face Llama name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// First value in the arena.
    pub offset: usize,
}

impl Tensor {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its values' places in the arena.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Whether this is a norm's gain (initialised to 1) and not a weight.
    #[must_use]
    pub fn is_gain(&self) -> bool {
        self.shape.len() == 1
    }
}

/// Offsets of one block; q, k, v are adjacent, and so are gate and up: each group is the one
/// weight of a fused multiply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockOffsets {
    pub input_norm: usize,
    pub qkv: usize,
    pub output: usize,
    pub post_norm: usize,
    pub gate_up: usize,
    pub down: usize,
}

/// The order of all tensors: embedding, blocks, final norm, head if it is not tied.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Tensors by offset, without gaps.
    pub tensors: Vec<Tensor>,
    pub(crate) blocks: Vec<BlockOffsets>,
    pub(crate) final_norm: usize,
    pub(crate) head: usize,
    len: usize,
    by_name: HashMap<String, usize>,
}

impl Layout {
    /// The layout of a model. Sizes must be sane ([`Config::num_parameters`] fits memory): one
    /// entry a tensor is allocated.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let (hidden, attention) = (config.hidden_size, config.attention_size());
        let intermediate = config.intermediate_size;
        let mut builder = Builder::default();
        builder.add("model.embed_tokens.weight".into(), vec![config.vocab_size, hidden]);
        let mut blocks = Vec::new();
        for layer in 0..config.layers {
            let mut add =
                |name: &str, shape| builder.add(format!("model.layers.{layer}.{name}"), shape);
            let input_norm = add("input_layernorm.weight", vec![hidden]);
            let qkv = add("self_attn.q_proj.weight", vec![attention, hidden]);
            add("self_attn.k_proj.weight", vec![attention, hidden]);
            add("self_attn.v_proj.weight", vec![attention, hidden]);
            let output = add("self_attn.o_proj.weight", vec![hidden, attention]);
            let post_norm = add("post_attention_layernorm.weight", vec![hidden]);
            let gate_up = add("mlp.gate_proj.weight", vec![intermediate, hidden]);
            add("mlp.up_proj.weight", vec![intermediate, hidden]);
            let down = add("mlp.down_proj.weight", vec![hidden, intermediate]);
            blocks.push(BlockOffsets { input_norm, qkv, output, post_norm, gate_up, down });
        }
        let final_norm = builder.add("model.norm.weight".into(), vec![hidden]);
        let head = if config.tie_embeddings {
            0
        } else {
            builder.add("lm_head.weight".into(), vec![config.vocab_size, hidden])
        };
        let Builder { tensors, len } = builder;
        let by_name = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Self { tensors, blocks, final_norm, head, len, by_name }
    }

    /// Number of values in the arena.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the arena holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tensor of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }
}

#[derive(Default)]
struct Builder {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Builder {
    /// Appends a tensor and returns its offset.
    fn add(&mut self, name: String, shape: Vec<usize>) -> usize {
        let offset = self.len;
        let count = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        self.len = self.len.saturating_add(count);
        self.tensors.push(Tensor { name, shape, offset });
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::reference;
    use super::*;

    #[test]
    fn tensors_fill_the_arena_in_order() {
        for config in [reference(), Config { tie_embeddings: false, heads: 3, ..reference() }] {
            let layout = Layout::new(&config);
            assert_eq!(layout.len() as u64, config.num_parameters());
            let mut at = 0;
            for tensor in &layout.tensors {
                assert_eq!(tensor.offset, at, "{}", tensor.name);
                assert_eq!(layout.get(&tensor.name), Some(tensor));
                at += tensor.len();
            }
            assert_eq!(layout.get("lm_head.weight").is_some(), !config.tie_embeddings);
        }
    }
}
