//! The factor table of llama.cpp.
//!
//! llama.cpp computes the angle of channel k as `position * base^(-2k/d) / rope_freqs[k]` in f32,
//! with a power that it multiplies up from channel to channel. With base 1 that power is exactly
//! 1, and the angle is `position / P_k`, rounded once.
//!
//! The converter from Hugging Face does not write this tensor: for `LlamaForCausalLM` with type
//! `longrope` it writes the type and drops the factors, and the model that llama.cpp then loads
//! without complaint has other frequencies. `xp export RUN --to gguf` writes a whole file with the
//! table in it; to the GGUF file of a model from elsewhere the table has to be added. With the Python
//! package `gguf`, from the file that [`Table::bytes`] makes (`set.gguf`):
//!
//! ```python
//! from gguf import GGUFReader, GGUFWriter, GGUFValueType
//! model, table = GGUFReader("model.gguf"), GGUFReader("set.gguf")
//! writer = GGUFWriter("out.gguf", "llama")
//! fields = {f.name: f for f in model.fields.values()}
//! fields |= {f.name: f for f in table.fields.values() if f.name.startswith(("llama.", "xp."))}
//! for f in fields.values():
//!     if f.name != "general.architecture" and not f.name.startswith("GGUF."):
//!         sub = f.types[-1] if f.types[0] == GGUFValueType.ARRAY else None
//!         writer.add_key_value(f.name, f.contents(), f.types[0], sub_type=sub)
//! for t in [*model.tensors, *table.tensors]:
//!     if t.name != "rope_freqs.weight" or t in table.tensors:
//!         writer.add_tensor(t.name, t.data, raw_shape=t.data.shape, raw_dtype=t.tensor_type)
//! writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file()
//! writer.close()
//! ```
//!
//! The rows of q and k must be permuted for llama.cpp's pairing of neighbouring dimensions, as
//! the converter does for every Llama model.

use std::io::Write;

use serde_json::{Value, json};

use super::fidelity::divisor;
use super::gguf_file::{self, Tensor};
use super::{Error, text};
use crate::freq::FrequencySet;

pub use super::gguf_file::Metadata;

/// The name under which llama.cpp looks for the divisors.
pub const TENSOR: &str = "rope_freqs.weight";

/// The divisor of a frequency of 0, as llama.cpp's converter writes it: no position turns it.
const ZERO: f32 = 1e30;

/// The divisors of a set and the metadata that go with them, for the architecture `llama`.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The tensor `rope_freqs.weight`: a divisor for each channel, one table for all layers.
    pub factors: Vec<f32>,
    /// Key and value, in the order of the file.
    pub metadata: Vec<(&'static str, Metadata)>,
    /// Largest |(1/P_k) / ω_k - 1| over the channels that turn, in f64.
    pub max_relative_error: f64,
}

/// The table with which llama.cpp computes `set`.
///
/// # Errors
/// [`Error::PartialRotary`] if only a part of a head rotates.
pub fn table(set: &FrequencySet) -> Result<Table, Error> {
    let inv_freq = set.inv_freq_f32();
    let rotary_dim = 2 * inv_freq.len();
    if rotary_dim != set.head_dim as usize {
        return Err(Error::PartialRotary { rotary_dim, head_dim: set.head_dim });
    }
    // A reciprocal above 1e30 would be no slower than a channel that never turns.
    let factors: Vec<f32> = inv_freq.iter().map(|w| divisor(*w).min(ZERO)).collect();
    let error = |(w, p): (&f32, &f32)| (1.0 / f64::from(*p) / f64::from(*w) - 1.0).abs();
    let max_relative_error =
        inv_freq.iter().zip(&factors).filter(|(w, _)| **w > 0.0).map(error).fold(0.0, f64::max);
    let mut metadata = vec![
        ("general.architecture", Metadata::Text("llama".to_owned())),
        ("llama.rope.dimension_count", Metadata::U32(set.head_dim)),
        ("llama.rope.freq_base", Metadata::F32(1.0)),
    ];
    if set.attention_scale != 1.0 {
        let scale = Metadata::F32(set.attention_scale as f32);
        metadata.push(("llama.rope.scaling.attn_factor", scale));
    }
    metadata.push(("xp.freq.expression", Metadata::Text(set.expression.clone())));
    metadata.push(("xp.freq.vec_id", Metadata::Text(set.vec_id.clone())));
    Ok(Table { factors, metadata, max_relative_error })
}

impl Table {
    /// The table as JSON: `metadata` and `tensor` (name, type, shape, data).
    #[must_use]
    pub fn json(&self) -> Value {
        let metadata = self.metadata.iter().map(|(key, value)| {
            let value = match value {
                Metadata::U32(value) => json!(value),
                Metadata::F32(value) => text::number(*value),
                Metadata::Bool(value) => json!(value),
                Metadata::Text(value) => json!(value),
                Metadata::Texts(values) => json!(values),
                Metadata::I32s(values) => json!(values),
            };
            ((*key).to_owned(), value)
        });
        let data: Vec<Value> = self.factors.iter().map(|p| text::number(*p)).collect();
        json!({
            "metadata": metadata.collect::<serde_json::Map<_, _>>(),
            "tensor": {"name": TENSOR, "type": "F32", "shape": [data.len()], "data": data},
            "max_relative_error": self.max_relative_error,
        })
    }

    /// The tensor's name and shape.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        Tensor { name: TENSOR.to_owned(), shape: vec![self.factors.len() as u64] }
    }

    /// The tensor's values, little-endian.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        self.factors.iter().flat_map(|p| p.to_le_bytes()).collect()
    }

    /// The table as a GGUF file with nothing else in it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let data = |_, out: &mut dyn Write| out.write_all(&self.data());
        gguf_file::write(&mut out, &self.metadata, &[self.tensor()], data)
            .expect("memory takes every byte, and the data are the tensor's");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freq::{Context, evaluate};

    fn set(expression: &str) -> FrequencySet {
        evaluate(expression, &Context::new(8)).expect(expression)
    }

    #[test]
    fn divisors_are_reciprocals_to_half_a_unit() {
        let set = set("anchored_poly(theta=500k)");
        let table = table(&set).unwrap();
        assert_eq!(table.factors.len(), 4);
        for (p, w) in table.factors.iter().zip(set.inv_freq_f32()) {
            assert!((f64::from(*p) * f64::from(w) - 1.0).abs() < 2f64.powi(-24));
        }
        assert!(table.max_relative_error > 0.0 && table.max_relative_error < 2f64.powi(-24));
        assert!(!table.metadata.iter().any(|(key, _)| key.ends_with("attn_factor")));
    }

    #[test]
    fn zeros_and_the_attention_scale_have_their_places() {
        let set = FrequencySet {
            inv_freq: vec![1.0, 0.5, 1e-38, 0.0],
            attention_scale: 1.25,
            ..set("geo()")
        };
        let table = table(&set).unwrap();
        assert_eq!(table.factors, [1.0, 2.0, 1e30, 1e30]);
        let scale = ("llama.rope.scaling.attn_factor", Metadata::F32(1.25));
        assert!(table.metadata.contains(&scale));
        let json = table.json();
        assert_eq!(json["metadata"]["llama.rope.scaling.attn_factor"], 1.25);
        assert_eq!(json["tensor"]["data"], json!([1.0, 2.0, 1e30, 1e30]));
    }

    #[test]
    fn a_part_of_a_head_is_refused() {
        let set = FrequencySet { inv_freq: vec![1.0, 0.5], ..set("geo()") };
        assert_eq!(table(&set), Err(Error::PartialRotary { rotary_dim: 4, head_dim: 8 }));
    }

    #[test]
    fn the_file_ends_with_the_aligned_data() {
        let table = table(&set("geo(theta=256)")).unwrap();
        let bytes = table.bytes();
        assert_eq!(&bytes[..8], b"GGUF\x03\x00\x00\x00");
        assert_eq!(bytes.len() % 32, 0);
        let data: Vec<f32> = bytes[bytes.len() - 32..]
            .chunks_exact(4)
            .map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap()))
            .collect();
        assert_eq!(data, [1.0, 4.0, 16.0, 64.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
