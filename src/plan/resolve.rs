//! From a plain spec to a complete protocol with its configs: every default filled in, every
//! expression evaluated.

use std::collections::BTreeMap;

use crate::data::OrderKind;
use crate::data::{self, Source, Split, SplitKind};
use crate::diag::Diagnostic;
use crate::freq::RopeDtype;
use crate::optim::Decay;
use crate::results::{Guard, Rule, SeedShare, Swept, WinRule};
use crate::spec::node::Node;
use crate::spec::types::{Chunks, OneOrMany, Packing, Spec, Tokenizer};
use crate::spec::{check, files, load};
use crate::train::{Initial, Precision};
use crate::{eval, model, train};

use super::expand::PointDocument;
use super::freqs;
use super::layers::ResolvedConfig;
use super::protocol::Protocol;
use super::transforms::Transform;

/// A sweep point with nothing left open.
#[derive(Debug)]
pub struct Resolved {
    /// Folder name, if the spec sweeps protocols.
    pub name: Option<String>,
    /// The protocol.
    pub protocol: Protocol,
    /// The frequency sets, in the spec's order.
    pub configs: Vec<ResolvedConfig>,
    /// How frequencies are rounded to f32: part of the sets.
    pub rope_dtype: RopeDtype,
    /// The rendered document: where each value came from.
    pub document: Node,
    /// Keys and variables of the experiment-wide sweep that are numbers.
    pub swept: BTreeMap<String, f64>,
    /// Where in a sweep each of `configs` stands.
    pub config_swept: Vec<Option<Swept>>,
}

/// The win rule of a spec with its defaults. The guard's default length is the training length;
/// it cannot be checked where that is not evaluated, so there is none then.
pub fn win_rule(spec: &Spec, seq_len: u64, lengths: &[u64]) -> WinRule {
    let win = &spec.report.win;
    let guard = win.guard.as_ref();
    let guard = Guard {
        length: guard.and_then(|g| g.length).unwrap_or(seq_len),
        max_worse_pct: guard.and_then(|g| g.max_worse_pct).unwrap_or(1.0),
    };
    let share = win.min_seeds_better.clone().unwrap_or_else(|| "2/3".into());
    WinRule {
        rule: win.rule.unwrap_or(Rule::Auto),
        primary_length: win
            .primary_length
            .or_else(|| lengths.iter().copied().max())
            .unwrap_or(seq_len),
        transform: win.transform.clone(),
        guard: lengths.contains(&guard.length).then_some(guard),
        max_std_over_gap: win.max_std_over_gap.unwrap_or(0.5),
        tie_margin_pct: win.tie_margin_pct,
        min_gain: win.min_gain,
        tuning_seeds: win.tuning_seeds.clone().unwrap_or_default(),
        looks: win.looks.clone().unwrap_or_default(),
        min_seeds_better: SeedShare::try_from(share).unwrap_or(SeedShare { num: 2, den: 3 }),
    }
}

/// Resolves a point. `None` if something needed is missing; the findings say what.
pub fn resolve(point: PointDocument, found: &mut Vec<Diagnostic>) -> Option<Resolved> {
    let PointDocument { name, document, spec, swept, config_swept } = point;
    let model = model_config(&spec);
    let train = train_config(&spec);
    let mut eval = eval_config(&spec);
    let data = data_config(&document, &spec, found);
    let init_from = spec.model.init_from.as_deref();
    let init_from = init_from.and_then(|text| initial(&document, text, model.as_ref(), found));
    let setting = freqs::Setting::new(&spec, model.as_ref(), train.as_ref(), eval.as_ref())?;
    let (configs, transforms) = freqs::configs(&document, &spec, &setting, found);
    if let Some(eval) = &mut eval {
        eval.transforms = transforms.iter().map(Transform::declared).collect();
    }
    let (model, train, eval, data, configs) = (model?, train?, eval?, data?, configs?);
    tokenizer_fits(&document, &model, &data, found);
    steps(&document, &train, &data, found);
    let protocol = Protocol { model, init_from, data, train, eval };
    let rope_dtype = spec.model.rope_dtype.unwrap_or_default();
    Some(Resolved { name, protocol, configs, rope_dtype, document, swept, config_swept })
}

/// The weights that a spec starts from, if they are there and of this model.
fn initial(
    document: &Node,
    text: &str,
    model: Option<&model::Config>,
    found: &mut Vec<Diagnostic>,
) -> Option<Initial> {
    let node = document.at(&["model", "init_from"])?;
    let path = load::resolve_path(node, text);
    if !path.is_dir() && !files::existing_file(node, &path, found) {
        return None;
    }
    let unfit = |label: String| {
        Diagnostic::error("spec::init-from", "the model cannot start from these weights")
            .at(node.place.clone(), label)
    };
    let initial = match Initial::find(&path) {
        Ok(initial) => initial,
        Err(error) => {
            found.push(unfit(error.to_string()).help(
                "name a safetensors file, or a folder with config.json and model.safetensors (or \
                 its index and shards), as Hugging Face has a Llama model",
            ));
            return None;
        }
    };
    // A model that is not one has its own findings.
    let Some(model) = model.filter(|model| model.check().is_ok()) else { return Some(initial) };
    match initial.misfits(model) {
        Ok(misfits) if misfits.is_empty() => {}
        Ok(misfits) => {
            let keys: Vec<&str> = misfits.iter().map(|misfit| misfit.key).collect();
            let mut finding = unfit(format!("its config.json differs in {}", keys.join(", ")));
            for misfit in misfits {
                let problem = format!("{}: {}", misfit.key, misfit.problem);
                finding = match misfit.ours {
                    Some(ours) => finding.at(document.place_of(&["model", ours]), problem),
                    None => finding.help(problem),
                };
            }
            found.push(finding);
            return None;
        }
        Err(error) => {
            found.push(unfit(error.to_string()));
            return None;
        }
    }
    match initial.check_tensors(model) {
        Ok(()) => Some(initial),
        Err(error) => {
            found.push(unfit(error.to_string()));
            None
        }
    }
}

fn to_usize(n: u64) -> Option<usize> {
    usize::try_from(n).ok()
}

fn model_config(spec: &Spec) -> Option<model::Config> {
    let m = &spec.model;
    let (hidden, heads) = (m.hidden_size?, m.heads?);
    Some(model::Config {
        layers: to_usize(m.layers?)?,
        hidden_size: to_usize(hidden)?,
        heads: to_usize(heads)?,
        head_dim: to_usize(m.head_dim.unwrap_or(hidden / heads))?,
        intermediate_size: to_usize(m.intermediate_size?)?,
        vocab_size: to_usize(m.vocab_size?)?,
        norm_eps: m.norm_eps.unwrap_or(1e-6),
        init_std: m.init_std.unwrap_or(0.02),
        tie_embeddings: m.tie_embeddings.unwrap_or(true),
    })
}

fn train_config(spec: &Spec) -> Option<train::Config> {
    let s = &spec.schedule;
    let batch_size = s.batch_size?;
    let betas = s.betas.as_deref().unwrap_or(&[0.9, 0.95]);
    Some(train::Config {
        seq_len: s.seq_len?,
        batch_size,
        micro_batch_size: s.micro_batch_size.unwrap_or(batch_size),
        epochs: s.epochs.unwrap_or(1),
        max_steps: s.max_steps,
        order: s.order.unwrap_or(OrderKind::Shuffled),
        lr: s.lr?,
        warmup_frac: s.warmup_frac.unwrap_or(0.02),
        decay: s.decay.unwrap_or(Decay::Cosine),
        min_lr_frac: s.min_lr_frac.unwrap_or(0.0),
        betas: [*betas.first()?, *betas.get(1)?],
        eps: s.eps.unwrap_or(1e-8),
        weight_decay: s.weight_decay.unwrap_or(0.1),
        grad_clip: s.grad_clip.unwrap_or(1.0),
        precision: s.precision.unwrap_or(Precision::F32),
    })
}

fn eval_config(spec: &Spec) -> Option<eval::Config> {
    Some(eval::Config {
        lengths: spec.eval.lengths.clone()?,
        chunks: match spec.eval.chunks.unwrap_or(Chunks::Count(10)) {
            Chunks::Count(n) => Some(n),
            Chunks::All => None,
        },
        slicing: spec.eval.slicing.unwrap_or(eval::Slicing::Sequential),
        transforms: Vec::new(),
    })
}

fn data_config(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) -> Option<data::Config> {
    let d = &spec.data;
    let before = found.len();
    let mut split = |kind: SplitKind, written: &crate::spec::types::Split| {
        let files =
            document.at(&["data", kind.word(), "files"]).map(|node| files::expand(node, found));
        Split {
            name: written.split.clone().unwrap_or_else(|| kind.word().to_owned()),
            dataset_files: written.dataset_files.clone().map(|files| match files {
                OneOrMany::One(file) => vec![file],
                OneOrMany::Many(files) => files,
            }),
            files,
            max_tokens: written.max_tokens,
        }
    };
    let train = split(SplitKind::Train, &d.train);
    let validation = split(SplitKind::Validation, &d.validation);
    let tokenizer = tokenizer(document, d.tokenizer.as_ref()?, found);
    let source = match d.dataset.as_deref() {
        Some("synthetic:stories") => Source::Synthetic,
        Some(id) => Source::Hub {
            id: id.to_owned(),
            revision: d.revision.clone().unwrap_or_else(|| "main".into()),
        },
        None => Source::Local,
    };
    (found.len() == before).then_some(())?;
    Some(data::Config {
        source,
        endpoints: d.endpoints.clone().unwrap_or_default(),
        text_column: d.text_column.clone().unwrap_or_else(|| "text".into()),
        tokenizer: tokenizer?,
        separator: d.separator.clone(),
        packing: match d.packing {
            None | Some(Packing::Stream) => data::Packing::Stream,
            // Without a length the spec is incomplete, and nothing comes of it.
            Some(Packing::Aligned) => {
                data::Packing::Aligned { row: spec.schedule.seq_len.unwrap_or(2) }
            }
        },
        train,
        validation,
    })
}

/// `"bytes"`, `{ train_bpe = N }`, a path (it ends in .json or begins with a dot or slash), or a
/// hub id, which may have a revision.
fn tokenizer(
    document: &Node,
    written: &Tokenizer,
    found: &mut Vec<Diagnostic>,
) -> Option<data::Tokenizer> {
    let text = match written {
        Tokenizer::TrainBpe { train_bpe } => {
            let vocab_size = u32::try_from(*train_bpe).ok()?;
            return Some(data::Tokenizer::TrainBpe { vocab_size });
        }
        Tokenizer::Named(text) => text,
    };
    let is_path = std::path::Path::new(text).extension().is_some_and(|e| e == "json")
        || text.starts_with(['.', '/', '~']);
    if text == "bytes" {
        Some(data::Tokenizer::Bytes)
    } else if is_path {
        let node = document.at(&["data", "tokenizer"])?;
        let path = load::resolve_path(node, text);
        files::existing_file(node, &path, found).then_some(data::Tokenizer::File(path))
    } else {
        let (id, revision) = text.rsplit_once('@').unwrap_or((text, "main"));
        Some(data::Tokenizer::Hub { id: id.to_owned(), revision: revision.to_owned() })
    }
}

fn tokenizer_fits(
    document: &Node,
    model: &model::Config,
    data: &data::Config,
    found: &mut Vec<Diagnostic>,
) {
    // The others are held against the vocabulary before anything is resolved.
    if !matches!(data.tokenizer, data::Tokenizer::File(_)) {
        return;
    }
    match data::tokenizer_vocab_size(&data.tokenizer) {
        Ok(Some(size)) if (model.vocab_size as u64) < u64::from(size) => {
            found.push(check::vocabulary_too_small(
                document,
                model.vocab_size as u64,
                u64::from(size),
            ));
        }
        Ok(_) => {}
        Err(error) => found.push(
            Diagnostic::error("data::tokenizer", error.to_string())
                .at(document.place_of(&["data", "tokenizer"]), "named here"),
        ),
    }
}

/// As far as the token count is known from `max_tokens`: that there are enough for `max_steps`.
fn steps(document: &Node, train: &train::Config, data: &data::Config, found: &mut Vec<Diagnostic>) {
    let Some(tokens) = data.train.max_tokens else { return };
    if let Some(problem) = steps_problem(train, tokens) {
        let key = if train.available_steps(tokens) == 0 { "batch_size" } else { "max_steps" };
        found.push(
            Diagnostic::error("spec::steps", problem)
                .at(document.place_of(&["schedule", key]), "asks for more than there is")
                .at(document.place_of(&["data", "train", "max_tokens"]), "the training tokens"),
        );
    }
}

/// Why `tokens` training tokens do not carry a schedule; `None` if they do.
pub fn steps_problem(train: &train::Config, tokens: u64) -> Option<String> {
    let rows = tokens / train.seq_len;
    let available = train.available_steps(tokens);
    let (batch, seq_len) = (train.batch_size, train.seq_len);
    if available == 0 {
        Some(format!(
            "{tokens} tokens make {rows} rows of {seq_len}: less than one batch of {batch}"
        ))
    } else {
        train.max_steps.filter(|&max| max > available).map(|max| {
            format!(
                "max_steps {max} is more than the {available} steps that {tokens} tokens give \
                 ({rows} rows of {seq_len}, {batch} a step, {} epochs)",
                train.epochs
            )
        })
    }
}
