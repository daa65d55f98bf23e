//! The files of one run: `run.json`, `eval.jsonl`, `train.jsonl`, `provenance.json`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, Difference};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Trained and evaluated.
    Done,
    /// The loss or the gradient stopped being finite.
    Diverged,
    /// Stopped by an error; the error is in `provenance.json`.
    Failed,
    /// Measured elsewhere and brought in by `xp import`.
    Imported,
}

/// `run.json`: identity, status and metrics of one run. Only what is a function of the ids: no
/// clock, no host, no path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Format version, [`Record::SCHEMA`].
    pub schema: u32,
    /// Hash of the training part, frequencies, seed and numerics version; empty if imported.
    pub train_id: String,
    /// Hash of the train id and the evaluation that `eval` holds; empty if imported.
    pub eval_id: String,
    /// The protocol id.
    pub protocol: String,
    /// Experiment name.
    pub experiment: String,
    /// Sweep point, if the spec sweeps protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Config name.
    pub config: String,
    /// The seed.
    pub seed: u64,
    /// The frequency set; `None` if imported results name none.
    pub freq: Option<Frequencies>,
    /// How the run ended.
    pub status: Status,
    /// What was trained; `None` if imported.
    pub train: Option<Training>,
    /// The token streams; `None` if imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataIdentity>,
    /// The evaluation part of the protocol as far as `eval` holds it; `None` if imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<serde_json::Value>,
    /// Metrics by evaluation length, with the frequencies as trained.
    pub eval: BTreeMap<u64, Evaluation>,
    /// Metrics with transformed frequencies: by the transform's canonical expression, then by
    /// evaluation length.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub transforms: BTreeMap<String, BTreeMap<u64, Evaluation>>,
}

impl Record {
    /// Metrics by evaluation length, as trained or under a transform (its canonical expression).
    #[must_use]
    pub fn results(&self, transform: Option<&str>) -> Option<&BTreeMap<u64, Evaluation>> {
        transform.map_or(Some(&self.eval), |expression| self.transforms.get(expression))
    }

    /// The version that this build writes; a newer one on disk is refused.
    pub const SCHEMA: u32 = 1;
}

/// The frequency set of a run, as trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frequencies {
    /// Canonical expression.
    pub expression: String,
    /// The angular frequencies, in radians a position, of the first layer.
    pub inv_freq: Vec<f64>,
    /// Factor on both cos and sin, of the first layer.
    pub attention_scale: f64,
    /// Hash of the canonical expression and its context.
    pub expr_id: String,
    /// Hash of the f32 bytes: what decides "the same set".
    pub vec_id: String,
    /// The sets by kind of layer; `None` if all layers have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerFrequencies>,
}

/// The frequency sets of a run whose layers are of two kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerFrequencies {
    /// The letters L (`local`) and G (`global`), repeated over the layers.
    pub pattern: String,
    /// The set of each kind, by its key in the spec.
    pub sets: BTreeMap<String, Frequencies>,
}

/// What a finished (or diverged) training was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Optimiser steps taken.
    pub steps: u64,
    /// Tokens read: steps x batch_size x seq_len.
    pub tokens: u64,
    /// Loss of the last step, in nats a token; `None` if it was not finite.
    pub final_loss: Option<f64>,
    /// blake3 of the initial weights (f32, little-endian, in the order of the layout); `None` in
    /// records of versions that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// blake3 of the final weights, likewise, whether or not they were kept; `None` too if the
    /// training diverged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// blake3 of the bytes of `train.jsonl`; `None` in records of versions that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl Training {
    /// Takes from another training what this one, being of a former version, does not say.
    pub fn forget_what_it_lacks(&self, other: &mut Self) {
        let pairs = [
            (&self.init, &mut other.init),
            (&self.weights, &mut other.weights),
            (&self.log, &mut other.log),
        ];
        for (own, other) in pairs {
            if own.is_none() {
                *other = None;
            }
        }
    }

    /// Where two carryings-out of one training came to different bits; what one of them does not say,
    /// being of a former version, contradicts nothing.
    #[must_use]
    pub fn contradictions(&self, other: &Self) -> Vec<Difference> {
        let (mut own, mut other) = (self.clone(), other.clone());
        own.forget_what_it_lacks(&mut other);
        other.forget_what_it_lacks(&mut own);
        let json = |training| serde_json::to_value(training).expect("a training is JSON");
        canonical::differences(&json(own), &json(other))
    }
}

/// The token streams that a run read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataIdentity {
    /// Hash of the training token stream.
    pub train_tokens: String,
    /// Hash of the validation token stream.
    pub validation_tokens: String,
    /// Resolved hub revision, for hub data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The metric at one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Perplexity, exp(nll); `None` if not finite.
    pub ppl: Option<f64>,
    /// Mean over chunks of the chunk's mean cross-entropy, nats a token; `None` if not finite.
    pub nll: Option<f64>,
    /// Chunks evaluated; `None` if imported.
    pub chunks: Option<u64>,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nll {
            Some(nll) => write!(f, "nll {nll}")?,
            None => f.write_str("an nll that is not finite")?,
        }
        self.chunks.map_or(Ok(()), |chunks| write!(f, " of {chunks} chunks"))
    }
}

/// A line of `eval.jsonl`: one chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkLoss {
    /// Evaluation length in tokens.
    pub length: u64,
    /// Canonical expression of the transform of the frequencies; `None` as trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
    /// Chunk index; the chunk is `validation[chunk * length .. (chunk + 1) * length]`.
    pub chunk: u64,
    /// Predictions made: length - 1.
    pub tokens: u64,
    /// Mean cross-entropy, nats a token; `None` if not finite.
    pub loss: Option<f64>,
    /// The loss by position of the predicting token.
    pub positions: Vec<PositionLoss>,
}

/// Sum and count of the loss in one half-open range of positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionLoss {
    /// First position of the bucket.
    pub from: u64,
    /// One past the last position of the bucket.
    pub to: u64,
    /// Sum of the cross-entropies, in nats; `None` if not finite.
    pub sum: Option<f64>,
    /// Predictions in the bucket.
    pub count: u64,
}

/// A line of `train.jsonl`: one optimiser step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Step index, from 0.
    pub step: u64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Mean cross-entropy of the batch before the step, nats a token; `None` if not finite.
    pub loss: Option<f64>,
    /// Global gradient norm before clipping; `None` if not finite.
    pub grad_norm: Option<f64>,
}

impl Step {
    /// The first number in which a step, carried out again, differs, in words; `None` if it is the same.
    #[must_use]
    pub fn difference(&self, again: &Self) -> Option<String> {
        let numbers =
            |step: &Self| [step.loss, step.grad_norm, Some(step.lr), Some(step.step as f64)];
        let names = ["loss", "grad_norm", "lr", "number"].into_iter();
        let (name, (own, again)) = names
            .zip(numbers(self).into_iter().zip(numbers(again)))
            .find(|(_, (own, again))| own != again)?;
        let shown = |x: Option<f64>| x.map_or("not finite".to_owned(), |x| x.to_string());
        Some(format!("step {}: {name} {}, trained again {}", self.step, shown(own), shown(again)))
    }
}

/// `provenance.json`: what may differ between two carryings-out of the same run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Format version, 1.
    pub schema: u32,
    /// Host name.
    pub machine: String,
    /// Processor or card, and instruction path: `cpu avx512`.
    pub device_class: String,
    /// Versions: `xp`, `numerics`, and `commit`, of which this xp was built.
    pub versions: BTreeMap<String, String>,
    /// Git commit of the working directory, with `+dirty` if it had changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Threads that the run had at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Runs that were carried out side by side, if more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<usize>,
    /// Steps of the whole training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Tokens that a step reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_step: Option<u64>,
    /// Largest memory of the process up to the end of the run, all that it carried out included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// The same of a GPU's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_peak_memory_bytes: Option<u64>,
    /// Training tokens a second, by the median step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_s: Option<f64>,
    /// Floating-point operations a second, by the same step: what time estimates go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops_per_s: Option<f64>,
    /// Where imported or taken-over results came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The error of a failed run, or the step of divergence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Every try at carrying the run out.
    pub attempts: Vec<Attempt>,
}

/// One try at carrying a run out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// First step that this attempt computed.
    pub from_step: u64,
    /// One past the last step that it computed.
    pub to_step: u64,
    /// Host name.
    pub host: String,
    /// Start, UTC, ISO 8601.
    pub start: String,
    /// End, UTC, ISO 8601; `None` while running or if killed.
    pub end: Option<String>,
    /// `running`, `done`, `diverged`, `failed`, `interrupted`, `killed`, `evaluated`, `taken-over`.
    pub outcome: String,
}
