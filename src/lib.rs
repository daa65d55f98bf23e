//! `xp`: language-model pretraining experiments on `RoPE` frequency sets.
//!
//! Data flows one way: [`spec`] → [`plan`] → [`run`] → [`results`] → [`report`].
//! Leaves ([`freq`], [`data`], [`ops`], [`optim`], [`stats`], [`fs`], [`rng`]) import
//! nothing above them; [`cli`] prints and exits and decides nothing.
//! [`release`] passes a trained run on to other software.
//! `ARCHITECTURE.md` has the map and the invariants.

pub mod canonical;
pub mod cli;
pub mod data;
pub mod diag;
pub mod eval;
pub mod export;
pub mod freq;
pub mod fs;
pub mod model;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod plot;
pub mod release;
pub mod report;
pub mod results;
pub mod rng;
pub mod run;
pub mod spec;
pub mod stats;
pub mod submit;
pub mod tensor_file;
pub mod train;
