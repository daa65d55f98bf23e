//! From a plain spec to a complete protocol with its configs: every default filled in, every
//! expression evaluated.

use crate::data::OrderKind;
use crate::data::{self, Source, Split, SplitKind};
use crate::diag::{Diagnostic, Severity};
use crate::freq::{self, FrequencySet};
use crate::optim::Decay;
use crate::results::{Guard, Rule, SeedShare, WinRule};
use crate::spec::node::Node;
use crate::spec::types::{Chunks, Spec, Tokenizer};
use crate::spec::{check, files, load};
use crate::train::Precision;
use crate::{eval, model, train};

use super::expand::PointDocument;
use super::protocol::Protocol;

/// A sweep point with nothing left open.
#[derive(Debug)]
pub struct Resolved {
    /// Folder name, if the spec sweeps protocols.
    pub name: Option<String>,
    /// The protocol.
    pub protocol: Protocol,
    /// The frequency sets, in the spec's order.
    pub configs: Vec<ResolvedConfig>,
    /// The rendered document: where each value came from.
    pub document: Node,
}

/// A named frequency set with what it is compared to.
#[derive(Debug, Clone)]
pub struct ResolvedConfig {
    /// Config name.
    pub name: String,
    /// Name of its baseline; its own for a baseline.
    pub baseline: String,
    /// The evaluated expression.
    pub freq: FrequencySet,
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
        transform: None,
        guard: lengths.contains(&guard.length).then_some(guard),
        max_std_over_gap: win.max_std_over_gap.unwrap_or(0.5),
        min_seeds_better: SeedShare::try_from(share).unwrap_or(SeedShare { num: 2, den: 3 }),
    }
}

/// Resolves a point. `None` if something needed is missing; the findings say what.
pub fn resolve(point: PointDocument, found: &mut Vec<Diagnostic>) -> Option<Resolved> {
    let PointDocument { name, document, spec } = point;
    let model = model_config(&spec);
    let train = train_config(&spec);
    let eval = eval_config(&spec);
    let data = data_config(&document, &spec, found);
    let init_from = spec.model.init_from.as_deref().and_then(|text| {
        let node = document.at(&["model", "init_from"])?;
        let path = load::resolve_path(node, text);
        files::existing_file(node, &path, found).then_some(path)
    });
    let configs = configs(&document, &spec, model.as_ref(), train.as_ref(), eval.as_ref(), found);
    let (model, train, eval, data, configs) = (model?, train?, eval?, data?, configs?);
    tokenizer_fits(&document, &model, &data, found);
    steps(&document, &train, &data, found);
    let protocol = Protocol { model, init_from, data, train, eval };
    Some(Resolved { name, protocol, configs, document })
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
        text_column: d.text_column.clone().unwrap_or_else(|| "text".into()),
        tokenizer: tokenizer?,
        separator: d.separator.clone(),
        train,
        validation,
    })
}

/// `"bytes"`, `{ train_bpe = N }`, a path (it ends in .json or begins with a dot or slash), or a
/// hub id.
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
        Some(data::Tokenizer::Hub { id: text.clone(), revision: "main".into() })
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

fn configs(
    document: &Node,
    spec: &Spec,
    model: Option<&model::Config>,
    train: Option<&train::Config>,
    eval: Option<&eval::Config>,
    found: &mut Vec<Diagnostic>,
) -> Option<Vec<ResolvedConfig>> {
    // A broken model shape must not hide a broken expression: most are checked at any head_dim.
    let head_dim = model.map_or(64, |m| m.head_dim);
    let context = freq::Context {
        head_dim: u32::try_from(head_dim).ok()?,
        train_len: train.map(|t| t.seq_len),
        target_len: eval.and_then(|e| e.lengths.iter().copied().max()),
        seq_len: None,
        rope_dtype: freq::RopeDtype::F32,
    };
    let first = spec.config.first().and_then(|c| c.name.clone());
    let experiment_baseline = spec.experiment.baseline.clone().or(first);
    let mut resolved = Vec::new();
    let mut checks = Vec::new();
    let mut complete = true;
    for (i, config) in spec.config.iter().enumerate() {
        let (Some(name), Some(text)) = (&config.name, &config.freq) else {
            complete = false;
            continue;
        };
        // A template that could not be rendered is told already.
        if text.contains("{{") {
            complete = false;
            continue;
        }
        let index = i.to_string();
        let node = document.at(&["config", &index, "freq"])?;
        match freq::evaluate(text, &context) {
            Ok(set) if set.inv_freq.len() != head_dim / 2 => {
                complete = false;
                found.push(
                    Diagnostic::error(
                        "freq::context",
                        format!(
                            "{} of {} frequencies: this xp does not train partial rotary",
                            set.inv_freq.len(),
                            head_dim / 2
                        ),
                    )
                    .at(node.place.clone(), "partial rotary")
                    .help("p_rope(...) stops channels and keeps their number"),
                );
            }
            Ok(set) => {
                checks.extend(set.checks.iter().map(|check| (name, node, check.clone())));
                let baseline = config.baseline.clone().or_else(|| experiment_baseline.clone())?;
                resolved.push(ResolvedConfig { name: name.clone(), baseline, freq: set });
            }
            Err(errors) => {
                complete = false;
                found.extend(errors.into_iter().map(|e| freq_error(node, e)));
            }
        }
    }
    found.extend(grouped(checks));
    same_sets(document, &resolved, found);
    complete.then_some(resolved)
}

/// What the checks of all sets found; one table with many configs is told once, by its first.
fn grouped(checks: Vec<(&String, &Node, freq::Check)>) -> Vec<Diagnostic> {
    let mut groups: Vec<(Diagnostic, Vec<&String>)> = Vec::new();
    for (name, node, check) in checks {
        let severity = match check.severity {
            freq::Severity::Warning => Severity::Warning,
            freq::Severity::Info => Severity::Note,
        };
        let place = node.inside(check.span);
        let same = |d: &Diagnostic| d.code == check.code && d.places[0].0 == place;
        if let Some((_, others)) = groups.iter_mut().find(|(d, _)| same(d)) {
            others.push(name);
        } else {
            let message = format!("{name}: {}", check.message);
            let diagnostic = Diagnostic::new(check.code, severity, message).at(place, "");
            groups.push((diagnostic, Vec::new()));
        }
    }
    let told = groups.into_iter().map(|(diagnostic, others)| match others.as_slice() {
        [] => diagnostic,
        [one] => diagnostic.help(format!("likewise {one}")),
        [first, .., last] => {
            diagnostic.help(format!("likewise {} more, {first} to {last}", others.len()))
        }
    });
    told.collect()
}

/// An error inside an expression, at its place in the TOML file.
fn freq_error(node: &Node, error: freq::Error) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(error.code, error.message).at(node.inside(error.span), error.label);
    match error.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

fn same_sets(document: &Node, configs: &[ResolvedConfig], found: &mut Vec<Diagnostic>) {
    for (i, config) in configs.iter().enumerate() {
        let Some(first) = configs[..i].iter().position(|c| c.freq.vec_id == config.freq.vec_id)
        else {
            continue;
        };
        found.push(
            Diagnostic::warning(
                "freq::same-set",
                format!(
                    "`{}` and `{}` are the same frequency set",
                    configs[first].name, config.name
                ),
            )
            .at(document.place_of(&["config", &i.to_string(), "freq"]), "same numbers")
            .at(document.place_of(&["config", &first.to_string(), "freq"]), "as here")
            .help("it is trained once and reported under both names"),
        );
    }
}
