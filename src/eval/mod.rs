//! Evaluation: perplexity over chunks of the validation tokens.

mod config;
mod perplexity;

pub use config::{Config, Slicing};
pub use perplexity::{chunk_loss, evaluations};
