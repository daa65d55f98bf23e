//! Optimisation: `AdamW` with visible state, gradient clipping, learning-rate schedules.

mod adamw;
mod clip;
mod schedule;

pub use adamw::{AdamW, AdamWConfig};
pub use clip::{clip_factor, global_norm};
pub use schedule::{Decay, Schedule};
