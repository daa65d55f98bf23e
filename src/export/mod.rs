//! A frequency set in the form that other software takes.
//!
//! | form | software | what it is |
//! | --- | --- | --- |
//! | [`config`] | Hugging Face transformers, vLLM | keys of config.json: `rope_parameters`, `max_position_embeddings` |
//! | [`gguf`] | llama.cpp | the tensor `rope_freqs.weight` and its metadata, as JSON or as a GGUF file |
//! | [`gguf_file`] | llama.cpp | the container: metadata and tensors |
//! | [`npy`] | NumPy, and what reads its files | the frequencies |
//!
//! No software takes the frequencies ω themselves: the configurations have room for *divisors* of
//! the frequencies of some θ. With θ = 1 those are all 1, and P_k = fl32(1/ω_k) are the divisors.
//! The library computes fl32(1/P_k), which is ω_k for about 86 % of the f32 values and off by a
//! unit in the last place for the others: they are the reciprocal of no f32. [`Fidelity`] says
//! what a set loses on this way; a set that was rounded by `rope_dtype = "f32-recip"` loses
//! nothing, because it was put through the same rounding before training.
//!
//! Pure: numbers in, text or bytes out.

pub mod config;
mod fidelity;
pub mod gguf;
pub mod gguf_file;
pub mod npy;
mod text;

pub use fidelity::Fidelity;
pub use text::pretty;

/// Why a set has no such form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither a target nor a training length is known.
    #[error("the longest length to serve is not known")]
    NoLength,
    /// The llama architecture of llama.cpp rotates whole heads.
    #[error(
        "llama.cpp rotates whole heads in its llama architecture and refuses a model in which \
         {rotary_dim} of {head_dim} dimensions rotate"
    )]
    PartialRotary {
        /// Dimensions of a head that the set rotates.
        rotary_dim: usize,
        /// Dimensions of a head.
        head_dim: u32,
    },
}
