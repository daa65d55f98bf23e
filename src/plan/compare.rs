//! Protocols side by side: every key with its value and where it came from, `hold_fixed`, and
//! what differs between two.

use serde_json::{Value as Json, json};

use super::resolve::Resolved;
use super::{Checked, check_document};
use crate::data::{Packing, Source, Split, Tokenizer};
use crate::diag::Diagnostic;
use crate::spec::load;
use crate::spec::node::Node;

/// Where a resolved value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Written at `file:line:col`.
    Written(String),
    /// The default of the key.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Written(place) => f.write_str(place),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Every key of a point with its value, as a spec writes it; null for "none".
#[must_use]
pub fn resolved_keys(point: &Resolved) -> Vec<(&'static str, &'static str, Json)> {
    let protocol = &point.protocol;
    let (m, d, t, e) = (&protocol.model, &protocol.data, &protocol.train, &protocol.eval);
    let (dataset, revision) = match &d.source {
        Source::Synthetic => (json!("synthetic:stories"), Json::Null),
        Source::Hub { id, revision, .. } => (json!(id), json!(revision)),
        Source::Local => (Json::Null, Json::Null),
    };
    let tokenizer = match &d.tokenizer {
        Tokenizer::Bytes => json!("bytes"),
        Tokenizer::TrainBpe { vocab_size } => json!({ "train_bpe": vocab_size }),
        Tokenizer::File(path) => json!(path),
        Tokenizer::Hub { id, revision } if revision == "main" => json!(id),
        Tokenizer::Hub { id, revision } => json!(format!("{id}@{revision}")),
    };
    // Name, files of the dataset, local files: one of them counts.
    let split = |s: &Split| match (&s.files, &s.dataset_files) {
        (Some(files), _) => (Json::Null, Json::Null, json!(files)),
        (None, Some(files)) => (Json::Null, json!(files), Json::Null),
        (None, None) => (json!(s.name), Json::Null, Json::Null),
    };
    let packing = match d.packing {
        Packing::Stream => "stream",
        Packing::Aligned { .. } => "aligned",
    };
    let transforms = match e.transforms.as_slice() {
        [] => Json::Null,
        transforms => {
            let list = transforms.iter();
            list.map(|t| json!({ "name": t.name, "freq": t.expression })).collect()
        }
    };
    let (train_split, train_dataset_files, train_files) = split(&d.train);
    let (validation_split, validation_dataset_files, validation_files) = split(&d.validation);
    vec![
        ("model", "layers", json!(m.layers)),
        ("model", "hidden_size", json!(m.hidden_size)),
        ("model", "heads", json!(m.heads)),
        ("model", "head_dim", json!(m.head_dim)),
        ("model", "intermediate_size", json!(m.intermediate_size)),
        ("model", "vocab_size", json!(m.vocab_size)),
        ("model", "norm_eps", json!(m.norm_eps)),
        ("model", "init_std", json!(m.init_std)),
        ("model", "tie_embeddings", json!(m.tie_embeddings)),
        ("model", "init_from", json!(protocol.init_from.as_ref().map(|initial| &initial.path))),
        ("model", "rope_dtype", json!(point.rope_dtype)),
        ("data", "dataset", dataset),
        ("data", "revision", revision),
        ("data", "text_column", json!(d.text_column)),
        ("data", "tokenizer", tokenizer),
        ("data", "separator", json!(d.separator)),
        ("data", "packing", json!(packing)),
        ("data.train", "split", train_split),
        ("data.train", "dataset_files", train_dataset_files),
        ("data.train", "files", train_files),
        ("data.train", "max_tokens", json!(d.train.max_tokens)),
        ("data.validation", "split", validation_split),
        ("data.validation", "dataset_files", validation_dataset_files),
        ("data.validation", "files", validation_files),
        ("data.validation", "max_tokens", json!(d.validation.max_tokens)),
        ("schedule", "seq_len", json!(t.seq_len)),
        ("schedule", "batch_size", json!(t.batch_size)),
        ("schedule", "micro_batch_size", json!(t.micro_batch_size)),
        ("schedule", "epochs", json!(t.epochs)),
        ("schedule", "max_steps", json!(t.max_steps)),
        ("schedule", "order", json!(t.order)),
        ("schedule", "lr", json!(t.lr)),
        ("schedule", "warmup_frac", json!(t.warmup_frac)),
        ("schedule", "decay", json!(t.decay)),
        ("schedule", "min_lr_frac", json!(t.min_lr_frac)),
        ("schedule", "betas", json!(t.betas)),
        ("schedule", "eps", json!(t.eps)),
        ("schedule", "weight_decay", json!(t.weight_decay)),
        ("schedule", "grad_clip", json!(t.grad_clip)),
        ("schedule", "precision", json!(t.precision)),
        ("eval", "lengths", json!(e.lengths)),
        ("eval", "chunks", e.chunks.map_or(json!("all"), |n| json!(n))),
        ("eval", "slicing", json!(e.slicing)),
        ("eval", "transform", transforms),
    ]
}

/// The keys of a point as one JSON object of dotted paths, for comparisons.
fn flat(point: &Resolved) -> Json {
    let keys = resolved_keys(point);
    keys.into_iter().map(|(table, key, value)| (format!("{table}.{key}"), value)).collect()
}

/// Where a key's value was written.
#[must_use]
pub fn origin(document: &Node, table: &str, key: &str) -> Origin {
    let path: Vec<&str> = table.split('.').chain([key]).collect();
    document.at(&path).map_or(Origin::Default, |node| Origin::Written(node.place.line_col()))
}

/// A resolved point as TOML: a spec that says everything, each value with its origin.
#[must_use]
pub fn resolved_toml(checked: &Checked, point: &Resolved) -> String {
    let mut out = String::new();
    if let Some(name) = &point.name {
        out.push_str(&format!("# sweep point {name}\n"));
    }
    let mut lines: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut add = |table: &str, line: String, origin: String| {
        if lines.last().is_none_or(|(last, _)| last != table) {
            lines.push((table.to_owned(), Vec::new()));
        }
        let (_, table_lines) = lines.last_mut().expect("pushed above");
        table_lines.push((line, origin));
    };
    for (key, value) in [("name", json!(checked.experiment)), ("seeds", json!(checked.seeds))] {
        let origin = origin(&point.document, "experiment", key);
        add("[experiment]", format!("{key} = {}", toml_value(&value)), origin.to_string());
    }
    for (table, key, value) in resolved_keys(point) {
        let origin = origin(&point.document, table, key);
        let line = if value.is_null() {
            format!("# {key} = none")
        } else {
            format!("{key} = {}", toml_value(&value))
        };
        add(&format!("[{table}]"), line, origin.to_string());
    }
    for (i, config) in point.configs.iter().enumerate() {
        let index = i.to_string();
        let place = |key: &str| {
            point
                .document
                .at(&["config", &index, key])
                .map_or("default".into(), |node| node.place.line_col())
        };
        let table = format!("[[config]]\u{0}{i}");
        let quoted = |text: &str| toml_value(&json!(text));
        // The canonical form of two kinds of layers is a TOML table already.
        let freq = match config.freq.by_kind() {
            Some(_) => config.freq.expression.clone(),
            None => quoted(&config.freq.expression),
        };
        for (key, value) in
            [("name", quoted(&config.name)), ("freq", freq), ("baseline", quoted(&config.baseline))]
        {
            add(&table, format!("{key} = {value}"), place(key));
        }
    }
    for (table, table_lines) in lines {
        let header = table.split('\u{0}').next().unwrap_or_default();
        out.push_str(&format!("\n{header}\n"));
        let width = table_lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        for (line, origin) in table_lines {
            out.push_str(&format!("{line:<width$}  # {origin}\n", width = width.min(60)));
        }
    }
    out.trim_start().to_owned()
}

fn toml_value(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(k, v)| format!("{k} = {}", toml_value(v))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", "))
        }
        // JSON strings are TOML basic strings, and JSON numbers TOML numbers.
        other => other.to_string(),
    }
}

/// Carries out `hold_fixed`: every protocol key of the named spec must have the same value here,
/// except those listed.
pub fn hold_fixed(checked: &Checked, max_runs: u64) -> Vec<Diagnostic> {
    let Some(hold) = &checked.spec.experiment.hold_fixed else { return Vec::new() };
    let document = &checked.points[0].document;
    let Some(node) = document.at(&["experiment", "hold_fixed"]) else { return Vec::new() };
    let Some(as_node) = node.get("as") else { return Vec::new() };
    let refuse = |message: String, label: String| {
        Diagnostic::error("spec::hold-fixed", message).at(as_node.place.clone(), label)
    };
    let path = load::resolve_path(as_node, &hold.r#as);
    let other = match load::load(&path, &[]) {
        Ok(other) => other,
        Err(load::Error::File(e)) => return vec![refuse(e.to_string(), "named here".into())],
        Err(load::Error::Spec(found)) => {
            let reason = found.first().map_or(String::new(), |d| d.message.clone());
            return vec![refuse(
                format!("the spec to agree with is not valid: {reason}"),
                "named here".into(),
            )];
        }
    };
    let (Some(other), _) = check_document(&other, max_runs) else {
        let label = format!("run `xp check {}`", path.display());
        return vec![refuse("the spec to agree with is not valid".into(), label)];
    };
    let mut found = Vec::new();
    let theirs = flat(&other.points[0]);
    for point in &checked.points {
        for difference in crate::canonical::differences(&theirs, &flat(point)) {
            let key = difference.key.as_str();
            let excepted = hold.except.iter().any(|e| {
                key == e || key.strip_prefix(e.as_str()).is_some_and(|rest| rest.starts_with('.'))
            });
            if excepted {
                continue;
            }
            let path: Vec<&str> = key.split('.').collect();
            let show = |v: &Option<Json>| v.as_ref().map_or("none".into(), Json::to_string);
            found.push(
                Diagnostic::error(
                    "spec::hold-fixed",
                    format!(
                        "`{key}` is not held fixed: {} there, {} here",
                        show(&difference.left),
                        show(&difference.right)
                    ),
                )
                .at(point.document.place_of(&path), "differs")
                .at(node.place.clone(), format!("from {}", hold.r#as))
                .help(format!("take {key} over, or add it to `except`")),
            );
        }
    }
    found
}
