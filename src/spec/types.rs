//! What a person may write: the spec's tables and keys.
//!
//! Everything is optional here, because a spec may be a part of one (`extends`); what a complete
//! one needs is `check`'s. The JSON schema is made from these types, and the loader checks a
//! document against that same schema, so the two cannot drift apart.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::names;
use crate::data::OrderKind;
use crate::eval::Slicing;
use crate::freq::RopeDtype;
use crate::optim::Decay;
use crate::results::Rule;
use crate::train::Precision;

/// An experiment: one TOML file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Another spec that this one is laid over, relative to this file. Tables merge key by key;
    /// arrays and `[[config]]` replace.
    pub extends: Option<String>,
    /// Name, seeds and baseline.
    pub experiment: Experiment,
    /// The decoder.
    pub model: Model,
    /// Text and tokenizer.
    pub data: Data,
    /// Training.
    pub schedule: Schedule,
    /// Evaluation.
    pub eval: Eval,
    /// The frequency sets that are compared.
    pub config: Vec<Config>,
    /// What is kept on disk; changes no number.
    pub output: Output,
    /// What the report shows and what it may claim.
    pub report: Report,
    /// An experiment-wide sweep: each point is a protocol of its own. A dotted key is a spec
    /// path (`"schedule.lr"`), a plain one a template variable.
    pub sweep: Option<Sweep>,
}

/// Name, seeds and baseline.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Experiment {
    /// Name of the experiment and of its folder under `results/`.
    #[schemars(extend("pattern" = names::PATTERN))]
    pub name: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// Each config is trained once with every seed.
    #[schemars(length(min = 1), inner(range(min = 0, max = i64::MAX)), extend("uniqueItems" = true))]
    pub seeds: Option<Vec<u64>>,
    /// Carry every (config, seed) out so many times, to see that the code repeats itself, or how far
    /// a re-run moves where it does not. Only the first counts. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    pub repeats: Option<u32>,
    /// The config that the others are compared with. Default: the first.
    pub baseline: Option<String>,
    /// Fail the check unless every shape is compared with a `geo` of its own theta: a difference then
    /// cannot come from the base. Default: a warning where no such `geo` is there.
    pub control: Option<Control>,
    /// Fail the check if a protocol key differs from another spec's.
    pub hold_fixed: Option<HoldFixed>,
}

/// What every config must be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// A `geo` of the config's own theta.
    SameTheta,
}

/// `hold_fixed = { as = "3cfg_3seed.toml", except = ["model"] }`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldFixed {
    /// The spec to agree with, relative to this file.
    pub r#as: String,
    /// Tables or keys that may differ: `model`, `schedule.lr`.
    #[serde(default)]
    pub except: Vec<String>,
}

/// The decoder: pre-norm, RMSNorm, RoPE attention, SwiGLU, no biases.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 10_000))]
    pub layers: Option<u64>,
    /// Width of the residual stream.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub hidden_size: Option<u64>,
    /// Attention heads.
    #[schemars(range(min = 1, max = 100_000))]
    pub heads: Option<u64>,
    /// Width of a head, even. Default: hidden_size / heads.
    #[schemars(range(min = 2, max = 4096), extend("multipleOf" = 2))]
    pub head_dim: Option<u64>,
    /// Width of the SwiGLU layer.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub intermediate_size: Option<u64>,
    /// Rows of the embedding; at least the tokenizer's vocabulary.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub vocab_size: Option<u64>,
    /// Epsilon of RMSNorm. Default: 1e-6.
    #[schemars(range(min = 0, max = 1))]
    pub norm_eps: Option<f64>,
    /// Standard deviation of the initial weights. Default: 0.02.
    #[schemars(range(min = 0, max = 100))]
    pub init_std: Option<f64>,
    /// Whether the head is the embedding. Default: true.
    pub tie_embeddings: Option<bool>,
    /// Start from these weights: a safetensors file with Hugging Face Llama names, or a Llama
    /// checkpoint as Hugging Face has it: a folder with config.json and model.safetensors, or
    /// model.safetensors.index.json with its shards.
    pub init_from: Option<String>,
    /// How frequencies are rounded to f32: once, or as the reciprocal of a rounded reciprocal,
    /// for sets that other software takes as periods. Default: "f32".
    pub rope_dtype: Option<RopeDtype>,
}

/// Text and tokenizer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// A hub id, or `synthetic:stories`: a corpus that xp generates itself.
    #[schemars(extend("if" = {"pattern": "^synthetic:[^{]*$"}, "then" = {"enum": ["synthetic:stories"]}))]
    pub dataset: Option<String>,
    /// Revision of the hub dataset. Default: "main".
    pub revision: Option<String>,
    /// Servers to ask for hub data instead of the hub, in this order: mirrors. They change no number:
    /// every file is checked against the hash of its revision. `HF_ENDPOINT` goes first.
    #[schemars(length(min = 1), inner(regex(pattern = r"^https?://[^/ ]+[^ ]*$")), extend("uniqueItems" = true))]
    pub endpoints: Option<Vec<String>>,
    /// Column or field that holds the text. Default: "text".
    pub text_column: Option<String>,
    /// A hub id (with a revision: "owner/name@revision"), a path to a tokenizer.json, "bytes", or
    /// { train_bpe = 4096 }.
    pub tokenizer: Option<Tokenizer>,
    /// A string put after each document and tokenised. Default: none.
    pub separator: Option<String>,
    /// How training documents fill rows: "stream" joins them and cuts anywhere, "aligned" begins every
    /// row with a document and drops what of the last one does not fit. Default: "stream".
    pub packing: Option<Packing>,
    /// The training text.
    pub train: Split,
    /// The validation text.
    pub validation: Split,
}

/// How training documents fill rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// Joined, and cut anywhere.
    Stream,
    /// Every row begins with a document.
    Aligned,
}

/// One split of the data.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// Split of the dataset. Default: "train" or "validation".
    pub split: Option<String>,
    /// Files of the dataset instead of those that the split's name finds: a path, a glob or a list,
    /// read in this order ("sample/10BT/*.parquet").
    pub dataset_files: Option<OneOrMany>,
    /// Local files instead: a path, a glob or a list, relative to this file (.txt, .jsonl, .parquet;
    /// text also as .gz or .zst).
    pub files: Option<OneOrMany>,
    /// Stop after the document that reaches so many tokens. Default: all.
    #[schemars(range(min = 1, max = 1_000_000_000_000_000u64))]
    pub max_tokens: Option<u64>,
}

/// Training.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Training length: tokens a row.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub seq_len: Option<u64>,
    /// Rows a step.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: Option<u64>,
    /// Rows that one gradient is summed over; divides batch_size. Default: batch_size. Fewer take less memory on a GPU.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub micro_batch_size: Option<u64>,
    /// Passes over the training rows, each in its own order. Default: 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: Option<u64>,
    /// Stop after so many steps. Default: none.
    #[schemars(range(min = 1, max = 1_000_000_000_000u64))]
    pub max_steps: Option<u64>,
    /// Order of the rows. Default: "shuffled".
    pub order: Option<OrderKind>,
    /// Peak learning rate.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub lr: Option<f64>,
    /// Share of the steps with a rising learning rate. Default: 0.02.
    #[schemars(range(min = 0, max = 1))]
    pub warmup_frac: Option<f64>,
    /// How the learning rate falls after the warm-up. Default: "cosine".
    pub decay: Option<Decay>,
    /// Learning rate at the end, as a share of the peak. Default: 0.
    #[schemars(range(min = 0, max = 1))]
    pub min_lr_frac: Option<f64>,
    /// Decay rates of Adam's two moments. Default: [0.9, 0.95].
    #[schemars(length(min = 2, max = 2), inner(range(min = 0, max = 0.999_999_999)))]
    pub betas: Option<Vec<f64>>,
    /// Epsilon of Adam. Default: 1e-8.
    #[schemars(range(min = 0, max = 1))]
    pub eps: Option<f64>,
    /// Decoupled weight decay, on all parameters. Default: 0.1.
    #[schemars(range(min = 0, max = 1000))]
    pub weight_decay: Option<f64>,
    /// Largest global gradient norm. Default: 1.0.
    #[schemars(range(min = 0), extend("exclusiveMinimum" = 0))]
    pub grad_clip: Option<f64>,
    /// Precision of the matrix inputs. Default: "f32".
    pub precision: Option<Precision>,
}

/// Evaluation.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Context lengths in tokens.
    #[schemars(length(min = 1), inner(range(min = 2, max = 16_777_216)), extend("uniqueItems" = true))]
    pub lengths: Option<Vec<u64>>,
    /// Chunks a length, or "all". Default: 10.
    pub chunks: Option<Chunks>,
    /// How chunks are cut from the validation tokens. Default: "sequential".
    pub slicing: Option<Slicing>,
    /// Evaluate besides with the trained frequencies changed: an expression with `{trained}`
    /// where the trained set stands (`yarn({trained}, factor=8)`), or a list of such.
    pub transform: Option<Transforms>,
}

/// A named frequency set.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the config and of its folder; may hold `{{ variables }}` of its sweep.
    #[schemars(extend("pattern" = names::PATTERN))]
    pub name: Option<String>,
    /// A frequency expression: `geo(theta=500k)`; or one for each kind of layer:
    /// `{ local = "geo(theta=10k)", global = "nope()", pattern = "LLLG" }`. May hold
    /// `{{ variables }}`.
    pub freq: Option<Freq>,
    /// The config to compare with. Default: the experiment's baseline. May hold `{{ variables }}`.
    pub baseline: Option<String>,
    /// One table, many configs: variables for the templates above.
    pub sweep: Option<Sweep>,
}

/// A sweep: the product of `grid`, `zip` and `list`, less what `exclude` drops.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sweep {
    /// Axes that are combined in all ways.
    #[schemars(extend("additionalProperties" = {"type": "array", "minItems": 1, "items": {"type": ["number", "string", "boolean"]}}))]
    pub grid: BTreeMap<String, Vec<serde_json::Value>>,
    /// Axes of one length that run side by side.
    #[schemars(extend("additionalProperties" = {"type": "array", "minItems": 1, "items": {"type": ["number", "string", "boolean"]}}))]
    pub zip: BTreeMap<String, Vec<serde_json::Value>>,
    /// Explicit rows.
    #[schemars(length(min = 1), extend("items" = {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["number", "string", "boolean"]}}))]
    pub list: Option<Vec<BTreeMap<String, serde_json::Value>>>,
    /// Rows for which this expression is true are left out: `alpha > 0.2 and theta == "100k"`.
    pub exclude: Option<String>,
}

/// What is kept on disk; changes no number.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Keep the final weights; an evaluation added later needs them. Default: true.
    pub keep_weights: Option<bool>,
    /// Seconds between checkpoints. Default: 60.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub checkpoint_every_s: Option<u64>,
    /// Steps between checkpoints, besides. Default: none.
    #[schemars(range(min = 1, max = 1_000_000_000_000u64))]
    pub checkpoint_every_steps: Option<u64>,
    /// Write TensorBoard's event files into `tb/` of each run. Default: true.
    pub tensorboard: Option<bool>,
}

/// What the report shows and what it may claim.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Lengths shown. Default: eval.lengths.
    #[schemars(length(min = 1), inner(range(min = 2, max = 16_777_216)), extend("uniqueItems" = true))]
    pub lengths: Option<Vec<u64>>,
    /// 1 for the sample's standard deviation, 0 for the population's. Default: 1.
    #[schemars(range(min = 0, max = 1))]
    pub std_ddof: Option<u8>,
    /// The rule by which a win may be claimed, fixed before the first run.
    pub win: Win,
}

/// The rule by which a win may be claimed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Win {
    /// "seeds" for few seeds, "ci" for many, "auto" chooses by their number; "record" asks for a stated
    /// gain at p < 0.01 and for all runs. Default: "auto".
    pub rule: Option<Rule>,
    /// Rule "record": the gain in mean log-perplexity to be exceeded, in nats a token.
    #[schemars(range(min = 0, max = 100))]
    pub min_gain: Option<f64>,
    /// Seeds on which configs were chosen: in no mean and no claim. Default: none.
    #[schemars(inner(range(min = 0, max = i64::MAX)), extend("uniqueItems" = true))]
    pub tuning_seeds: Option<Vec<u64>>,
    /// Numbers of seeds at which the results are looked at, ascending, each at its share of the level.
    /// Seeds may then be added from one look to the next without losing the claim.
    #[schemars(inner(range(min = 2, max = 10_000)), extend("uniqueItems" = true))]
    pub looks: Option<Vec<u32>>,
    /// The length at which the claim is made. Default: the longest.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub primary_length: Option<u64>,
    /// The transform of `[eval]` under which the claim is made, by name. Default: as trained.
    pub transform: Option<String>,
    /// Where a winner may not be much worse. Default: at most 1 % at the training length.
    pub guard: Option<Guard>,
    /// Rule "seeds": the larger std may be at most this times the gap. Default: 0.5.
    #[schemars(range(min = 0, max = 1000))]
    pub max_std_over_gap: Option<f64>,
    /// TIE where no win can be claimed and the 95 % interval of the difference lies within so many
    /// percent of the perplexity. Default: no verdict TIE.
    #[schemars(range(min = 0, max = 100))]
    pub tie_margin_pct: Option<f64>,
    /// Rule "seeds": this share of the seeds must be better. Default: "2/3".
    #[schemars(regex(pattern = r"^[0-9]+/[1-9][0-9]*$"))]
    pub min_seeds_better: Option<String>,
}

/// Where a winner may not be much worse.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// Evaluation length. Default: the training length.
    #[schemars(range(min = 2, max = 16_777_216))]
    #[serde(default)]
    pub length: Option<u64>,
    /// Allowed worsening of the mean perplexity, in percent. Default: 1.
    #[schemars(range(min = 0, max = 1_000_000))]
    #[serde(default)]
    pub max_worse_pct: Option<f64>,
}

/// A tokenizer: a name or path, or one that is trained on the train split.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Tokenizer {
    /// A hub id, a path, or "bytes".
    Named(String),
    /// Byte-level BPE of so many tokens.
    TrainBpe {
        /// Size of the vocabulary.
        train_bpe: u64,
    },
}

impl JsonSchema for Tokenizer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tokenizer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A hub id (with a revision: \"owner/name@revision\"), a path to a tokenizer.json, \"bytes\", or { train_bpe = 4096 }.",
            "type": ["string", "object"],
            "properties": {
                "train_bpe": {
                    "description": "Size of the byte-level BPE vocabulary, trained on the train split.",
                    "type": "integer",
                    "minimum": 257,
                    "maximum": 1_000_000
                }
            },
            "required": ["train_bpe"],
            "additionalProperties": false
        })
    }
}

/// The frequencies of a model: of all its layers, or by kind of layer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Freq {
    /// All layers have this set.
    Same(String),
    /// Two kinds of layers.
    PerLayer(PerLayer),
}

/// `{ local = "geo(theta=10k)", global = "nope()", pattern = "LLLG" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerLayer {
    /// Expression of the layers `L`.
    pub local: String,
    /// Expression of the layers `G`.
    pub global: String,
    /// Letters L and G, repeated over the layers.
    pub pattern: String,
}

impl JsonSchema for Freq {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Freq".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "object"],
            "properties": {
                "local": {
                    "description": "The frequency expression of the layers L.",
                    "type": "string"
                },
                "global": {
                    "description": "The frequency expression of the layers G.",
                    "type": "string"
                },
                "pattern": {
                    "description": "Letters L and G, repeated over the layers: \"LLLG\".",
                    "type": "string",
                    "pattern": r"^[LG]+$|\{\{"
                }
            },
            "required": ["local", "global", "pattern"],
            "additionalProperties": false
        })
    }
}

/// One transform or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Transforms {
    /// One.
    One(String),
    /// Several.
    Many(Vec<Transform>),
}

/// An expression, called by its text or by a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Transform {
    /// Called by its text.
    Plain(String),
    /// Called by a name.
    Named(NamedTransform),
}

/// `{ name = "yarn8", freq = "yarn({trained}, factor=8)" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedTransform {
    /// What reports call it.
    pub name: String,
    /// An expression with `{trained}` where the trained set stands.
    pub freq: String,
}

impl Transforms {
    /// Name and expression of each, and the keys from `eval.transform` to the expression.
    #[must_use]
    pub fn list(&self) -> Vec<(&str, &str, Vec<String>)> {
        match self {
            Self::One(text) => vec![(text, text, Vec::new())],
            Self::Many(many) => {
                let many = many.iter().enumerate().map(|(i, transform)| match transform {
                    Transform::Plain(text) => (text.as_str(), text.as_str(), vec![i.to_string()]),
                    Transform::Named(NamedTransform { name, freq }) => {
                        (name.as_str(), freq.as_str(), vec![i.to_string(), "freq".into()])
                    }
                });
                many.collect()
            }
        }
    }
}

impl JsonSchema for Transforms {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Transforms".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "minItems": 1,
            "items": {
                "type": ["string", "object"],
                "properties": {
                    "name": {
                        "description": "What reports call the transform.",
                        "type": "string",
                        "minLength": 1
                    },
                    "freq": {
                        "description": "An expression with {trained} where the trained set stands.",
                        "type": "string"
                    }
                },
                "required": ["name", "freq"],
                "additionalProperties": false
            }
        })
    }
}

/// A string or a list of strings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "minItems": 1,
            "items": { "type": "string" }
        })
    }
}

/// Chunks a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// At most so many.
    Count(u64),
    /// All that fit into the validation tokens.
    All,
}

impl<'de> Deserialize<'de> for Chunks {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(word) if word == "all" => Ok(Self::All),
            value => value
                .as_u64()
                .map(Self::Count)
                .ok_or_else(|| serde::de::Error::custom("chunks are a whole number or \"all\"")),
        }
    }
}

impl JsonSchema for Chunks {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Chunks".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "minimum": 1,
            "maximum": 1_000_000_000,
            "x-words": ["all"]
        })
    }
}
