//! Training: one run's steps, its state and its checkpoints.

mod config;

pub use config::{Config, Decay, Order, Precision};
