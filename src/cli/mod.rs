//! The commands.

pub mod freq;
