//! What is evaluated: complete, no defaults left open.

use serde::{Deserialize, Serialize};

use crate::results::Transform;

/// The evaluation of a protocol, apart from its validation data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Context lengths, in tokens.
    pub lengths: Vec<u64>,
    /// Chunks a length, at most; `None` is all that fit.
    pub chunks: Option<u64>,
    /// How chunks are cut.
    pub slicing: Slicing,
    /// Changes of the trained frequencies under which every length is evaluated besides.
    pub transforms: Vec<Transform>,
}

/// How chunks are cut from the validation tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Slicing {
    /// Chunk i of length L is tokens i*L to (i+1)*L.
    Sequential,
}
