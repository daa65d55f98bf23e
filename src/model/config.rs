//! The shape of a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::{AttentionShape, Error};

/// The shape of a decoder and what its initial weights depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Attention heads; heads * `head_dim` may differ from `hidden_size`.
    pub heads: usize,
    /// Channels of a head, even: half of them is the number of rotary frequencies.
    pub head_dim: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Added to the mean of squares in every norm.
    pub norm_eps: f64,
    /// Standard deviation of the initial weights of linear layers and the embedding.
    pub init_std: f64,
    /// Whether the head's weight is the embedding.
    pub tie_embeddings: bool,
}

impl Config {
    /// The model of a protocol's training part, as lock.json has it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of_training(training: &serde_json::Value) -> Result<Self, String> {
        let mut value = training["model"].clone();
        if let Some(keys) = value.as_object_mut() {
            keys.shift_remove("init_from");
        }
        let config: Self = serde_json::from_value(value).map_err(|e| e.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// heads * `head_dim`, saturating.
    pub(crate) fn attention_size(&self) -> usize {
        self.heads.saturating_mul(self.head_dim)
    }

    /// Attention over so many rows of so many tokens, of whose heads `rotary_dim` channels rotate.
    pub(super) fn attention_shape(
        &self,
        rows: usize,
        seq_len: usize,
        rotary_dim: usize,
    ) -> AttentionShape {
        AttentionShape { rows, seq_len, heads: self.heads, head_dim: self.head_dim, rotary_dim }
    }

    /// Number of trained values; `u64::MAX` where it would overflow.
    #[must_use]
    pub fn num_parameters(&self) -> u64 {
        let [layers, hidden, attention, intermediate, vocab] = [
            self.layers,
            self.hidden_size,
            self.attention_size(),
            self.intermediate_size,
            self.vocab_size,
        ]
        .map(|x| x as u64);
        let per_row = attention
            .saturating_mul(4)
            .saturating_add(intermediate.saturating_mul(3))
            .saturating_add(2);
        let embeddings = if self.tie_embeddings { vocab } else { vocab.saturating_mul(2) };
        // Every tensor has hidden_size as one of its dimensions.
        layers
            .saturating_mul(per_row)
            .saturating_add(embeddings)
            .saturating_add(1)
            .saturating_mul(hidden)
    }

    /// Refuses shapes that no model has.
    ///
    /// # Errors
    /// [`Error::Shape`] with what would do.
    pub fn check(&self) -> Result<(), Error> {
        let sizes = [
            ("layers", self.layers),
            ("hidden_size", self.hidden_size),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
        ];
        for (what, size) in sizes {
            if size == 0 {
                return Err(Error::shape(what, size, "at least 1"));
            }
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::shape("head_dim", self.head_dim, "even"));
        }
        // Ids are u32 and its largest value masks a target.
        if self.vocab_size as u64 >= u64::from(u32::MAX) {
            return Err(Error::shape("vocab_size", self.vocab_size, "below 2^32 - 1"));
        }
        let parameters = self.num_parameters();
        if parameters > 1 << 40 {
            return Err(Error::shape("the number of parameters", parameters, "at most 2^40"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The 50.9M model of the reference protocol.
    pub(crate) fn reference() -> Config {
        Config {
            layers: 6,
            hidden_size: 512,
            heads: 8,
            head_dim: 64,
            intermediate_size: 2048,
            vocab_size: 50_304,
            norm_eps: 1e-6,
            init_std: 0.02,
            tie_embeddings: true,
        }
    }

    #[test]
    fn the_reference_model_has_50_9m_parameters() {
        assert_eq!(reference().num_parameters(), 50_928_128);
        let untied = Config { tie_embeddings: false, ..reference() };
        assert_eq!(untied.num_parameters(), 50_928_128 + 50_304 * 512);
    }

    #[test]
    fn absurd_sizes_saturate_and_are_refused() {
        for size in [usize::MAX, 1 << 40] {
            let config = Config { layers: size, hidden_size: size, heads: size, ..reference() };
            assert_eq!(config.num_parameters(), u64::MAX);
            assert!(config.check().is_err());
        }
        assert!(Config { head_dim: 63, ..reference() }.check().is_err());
        assert!(Config { layers: 0, ..reference() }.check().is_err());
        assert!(reference().check().is_ok());
    }
}
