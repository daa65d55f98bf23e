//! Training: one run's steps, its state and its checkpoints.

pub mod checkpoint;
mod config;
mod trainer;
pub mod weights;

pub use crate::ops::Precision;
pub use config::Config;
pub use trainer::{StepNumbers, Trainer};
