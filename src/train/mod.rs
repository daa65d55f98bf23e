//! Training: one run's steps, its state and its checkpoints.

pub mod checkpoint;
mod config;
pub mod llama;
mod tensors;
mod trainer;
pub mod weights;

pub use crate::ops::Precision;
pub use config::Config;
pub use llama::Initial;
pub use tensors::Tensors;
pub use trainer::{StepNumbers, Trainer};
