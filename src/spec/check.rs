//! What a complete spec needs beyond its structure: keys that must be there, names, and values
//! that must agree. One function a rule; each pushes what it finds and none stops the others.

use std::collections::BTreeMap;

use super::hints::nearest;
use super::names;
use super::node::Node;
use super::types::{Config, Freq, Spec};
use crate::diag::{Diagnostic, Place};
use crate::results::{Rule, SeedShare};

/// Runs every rule on one rendered document. `complete` is false while the structure is broken:
/// keys that seem to be missing may then be the misspelt ones.
pub fn check(document: &Node, spec: &Spec, complete: bool) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if complete {
        missing_keys(document, spec, &mut found);
    }
    experiment_name(document, spec, &mut found);
    config_names(document, spec, &mut found);
    baselines(document, spec, &mut found);
    model_shape(document, spec, &mut found);
    batches(document, spec, &mut found);
    tokenizer_fits(document, spec, &mut found);
    data_sources(document, spec, complete, &mut found);
    dataset_files(document, spec, &mut found);
    endpoints(document, spec, &mut found);
    layer_patterns(document, spec, &mut found);
    transform_names(document, spec, &mut found);
    report_lengths(document, spec, &mut found);
    found
}

/// Whether a key is there, whatever its value.
fn has(document: &Node, path: &[&str]) -> bool {
    document.at(path).is_some()
}

fn missing_keys(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let needed: [(&str, &[&str]); 5] = [
        ("experiment", &["name", "seeds"]),
        ("model", &["layers", "hidden_size", "heads", "intermediate_size", "vocab_size"]),
        ("data", &["tokenizer"]),
        ("schedule", &["seq_len", "batch_size", "lr"]),
        ("eval", &["lengths"]),
    ];
    for (table, keys) in needed {
        let missing: Vec<String> = keys
            .iter()
            .filter(|key| !has(document, &[table, key]))
            .map(|key| format!("`{key}`"))
            .collect();
        if !missing.is_empty() {
            let plural = if missing.len() == 1 { "key" } else { "keys" };
            let list = missing.join(", ");
            found.push(
                Diagnostic::error("spec::missing-key", format!("[{table}] lacks the {plural} {list}"))
                    .at(document.place_of(&[table]), format!("add {list}"))
                    .help("a spec that only serves `extends` need not be complete; one that is checked must"),
            );
        }
    }
    if spec.config.is_empty() {
        found.push(
            Diagnostic::error("spec::missing-key", "there is no [[config]]")
                .at(document.place_of(&["config"]), "add at least one frequency set")
                .help("[[config]]\nname = \"geo_10k\"\nfreq = \"geo(theta=10k)\""),
        );
    }
    for (i, config) in spec.config.iter().enumerate() {
        for (key, missing) in [("name", config.name.is_none()), ("freq", config.freq.is_none())] {
            if missing {
                found.push(
                    Diagnostic::error(
                        "spec::missing-key",
                        format!("a config lacks the key `{key}`"),
                    )
                    .at(document.place_of(&["config", &i.to_string()]), format!("add `{key}`")),
                );
            }
        }
    }
}

fn experiment_name(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    if let Some(reason) = spec.experiment.name.as_deref().and_then(names::unsafe_because) {
        found.push(
            Diagnostic::error("spec::bad-name", "the experiment's name cannot be a folder")
                .at(document.place_of(&["experiment", "name"]), reason),
        );
    }
}

fn config_place(document: &Node, index: usize, key: &str) -> Place {
    document.place_of(&["config", &index.to_string(), key])
}

fn config_names(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (i, name) in named(&spec.config) {
        let place = config_place(document, i, "name");
        if let Some(reason) = names::unsafe_because(name) {
            found.push(
                Diagnostic::error(
                    "spec::bad-name",
                    format!("the config name {name:?} cannot be a folder"),
                )
                .at(place.clone(), reason),
            );
        }
        // Case-folding file systems would put both into one folder.
        if let Some(&first) = seen.get(&name.to_lowercase()) {
            let place_of_first = config_place(document, first, "name");
            let mut diagnostic = Diagnostic::error(
                "spec::duplicate-config",
                format!("two configs are called `{name}`"),
            )
            .at(place.clone(), "again");
            diagnostic = if place_of_first == place {
                diagnostic.help("put a swept variable into the name: name = \"geo_t{{ theta }}\"")
            } else {
                diagnostic.at(place_of_first, "first").help("give each config its own name")
            };
            found.push(diagnostic);
        } else {
            seen.insert(name.to_lowercase(), i);
        }
    }
}

/// The configs with a name; one whose template could not be rendered is told already.
fn named(configs: &[Config]) -> impl Iterator<Item = (usize, &str)> {
    let named = configs.iter().enumerate().filter_map(|(i, c)| Some((i, c.name.as_deref()?)));
    named.filter(|(_, name)| !name.contains("{{"))
}

fn baselines(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let known: Vec<&str> = named(&spec.config).map(|(_, name)| name).collect();
    if known.is_empty() {
        return;
    }
    let mut wanted = Vec::new();
    if let Some(name) = spec.experiment.baseline.as_deref() {
        wanted.push((name, document.place_of(&["experiment", "baseline"])));
    }
    for (i, config) in spec.config.iter().enumerate() {
        if let Some(name) = config.baseline.as_deref() {
            wanted.push((name, config_place(document, i, "baseline")));
        }
    }
    for (name, place) in wanted.into_iter().filter(|(name, _)| !known.contains(name)) {
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the configs are {}", known.join(", ")),
        };
        found.push(
            Diagnostic::error("spec::unknown-baseline", format!("there is no config `{name}`"))
                .at(place, "compared with this")
                .help(help),
        );
    }
}

fn model_shape(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let model = &spec.model;
    if let (Some(hidden), Some(heads), false) =
        (model.hidden_size, model.heads, has(document, &["model", "head_dim"]))
    {
        let whole = hidden % heads == 0;
        if !whole || (hidden / heads) % 2 != 0 || hidden / heads < 2 {
            let problem = if whole {
                format!("head_dim would be {}, and RoPE turns pairs of channels", hidden / heads)
            } else {
                format!("{hidden} is not a multiple of {heads} heads")
            };
            found.push(
                Diagnostic::error("spec::shape", "no `head_dim` follows from hidden_size / heads")
                    .at(document.place_of(&["model", "hidden_size"]), problem)
                    .at(document.place_of(&["model", "heads"]), "with so many heads")
                    .help("give an even `head_dim`, or change hidden_size or heads"),
            );
        }
    }
}

fn batches(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let schedule = &spec.schedule;
    if let (Some(batch), Some(micro)) = (schedule.batch_size, schedule.micro_batch_size)
        && batch % micro != 0
    {
        found.push(
            Diagnostic::error(
                "spec::shape",
                format!("batch_size {batch} is no multiple of micro_batch_size {micro}"),
            )
            .at(document.place_of(&["schedule", "micro_batch_size"]), "does not divide batch_size")
            .at(document.place_of(&["schedule", "batch_size"]), "the batch")
            .help("gradients are summed in granules of micro_batch_size rows"),
        );
    }
}

fn tokenizer_fits(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    use super::types::Tokenizer;
    let size = match &spec.data.tokenizer {
        Some(Tokenizer::Named(name)) if name == "bytes" => 256,
        Some(Tokenizer::TrainBpe { train_bpe }) => *train_bpe,
        _ => return,
    };
    if let Some(vocab) = spec.model.vocab_size.filter(|&vocab| vocab < size) {
        found.push(vocabulary_too_small(document, vocab, size));
    }
}

/// The finding for a model whose embedding has fewer rows than the tokenizer has ids.
pub fn vocabulary_too_small(document: &Node, vocab_size: u64, tokenizer_size: u64) -> Diagnostic {
    Diagnostic::error(
        "spec::vocabulary",
        format!("vocab_size {vocab_size} is too small for a tokenizer with {tokenizer_size} ids"),
    )
    .at(document.place_of(&["model", "vocab_size"]), format!("at least {tokenizer_size}"))
    .at(document.place_of(&["data", "tokenizer"]), format!("{tokenizer_size} ids"))
    .help(format!("set vocab_size = {tokenizer_size} or more"))
}

fn data_sources(document: &Node, spec: &Spec, complete: bool, found: &mut Vec<Diagnostic>) {
    let data = &spec.data;
    for (name, split) in [("train", &data.train), ("validation", &data.validation)] {
        let files = has(document, &["data", name, "files"]);
        match data.dataset.as_deref() {
            None if complete && !files && !has(document, &["data", "dataset"]) => found.push(
                Diagnostic::error(
                    "spec::missing-key",
                    format!("the {name} text comes from nowhere"),
                )
                .at(document.place_of(&["data", name]), "neither `dataset` nor `files`")
                .help("set [data] dataset, or files in [data.train] and [data.validation]"),
            ),
            Some(dataset) if dataset.starts_with("synthetic:") && !files => {
                if dataset != "synthetic:stories" {
                    found.push(
                        Diagnostic::error(
                            "spec::unknown-value",
                            format!("there is no `{dataset}`"),
                        )
                        .at(document.place_of(&["data", "dataset"]), "not a generated corpus")
                        .help("the generated corpus is \"synthetic:stories\""),
                    );
                } else if split.max_tokens.is_none()
                    && !has(document, &["data", name, "max_tokens"])
                {
                    found.push(
                        Diagnostic::error(
                            "spec::missing-key",
                            format!("[data.{name}] needs `max_tokens`: generated text has no end"),
                        )
                        .at(document.place_of(&["data", "dataset"]), "generated without end")
                        .help(format!("[data.{name}]\nmax_tokens = \"1M\"")),
                    );
                }
            }
            _ => {}
        }
    }
}

/// One thing says which text a split is: `files`, `dataset_files` or `split`.
fn dataset_files(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let dataset = spec.data.dataset.as_deref();
    for (name, split) in [("train", &spec.data.train), ("validation", &spec.data.validation)] {
        if split.dataset_files.is_none() {
            continue;
        }
        let place = |key: &str| document.place_of(&["data", name, key]);
        let conflict = |what: String, key: &str, label: &str| {
            Diagnostic::error("spec::dataset-files", what)
                .at(place("dataset_files"), "files of the hub dataset")
                .at(place(key), label.to_owned())
        };
        if has(document, &["data", name, "files"]) {
            found.push(
                conflict(format!("the {name} text comes from two places"), "files", "local files")
                    .help("keep one of them"),
            );
        } else if has(document, &["data", name, "split"]) {
            found.push(
                conflict(
                    format!("the {name} files are given twice"),
                    "split",
                    "the files with this name",
                )
                .help("keep `split` where the name finds the files, `dataset_files` where not"),
            );
        } else if dataset.is_none_or(|dataset| dataset.starts_with("synthetic:")) {
            found.push(
                Diagnostic::error(
                    "spec::dataset-files",
                    "there is no hub dataset to take files of",
                )
                .at(place("dataset_files"), "files of a hub dataset")
                .help("set [data] dataset to a hub id; local files are named in `files`"),
            );
        }
    }
}

fn endpoints(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    for (i, endpoint) in spec.data.endpoints.iter().flatten().enumerate() {
        let address = endpoint.strip_prefix("https://").or(endpoint.strip_prefix("http://"));
        let host = address.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '"' | '<' | '>' | '\\');
        if host.is_none_or(str::is_empty) || !endpoint.chars().all(plain) {
            found.push(
                Diagnostic::error("spec::bad-endpoint", "a server is given by its address")
                    .at(
                        document.place_of(&["data", "endpoints", &i.to_string()]),
                        "not a web address",
                    )
                    .help(
                        "write it whole, without a name or password in it: \"https://hub.example\"",
                    ),
            );
        }
    }
}

fn layer_patterns(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    for (i, config) in spec.config.iter().enumerate() {
        let Some(Freq::PerLayer(freq)) = &config.freq else { continue };
        let pattern = freq.pattern.as_str();
        let bad = pattern.find(|c| c != 'L' && c != 'G');
        if (pattern.is_empty() || bad.is_some()) && !pattern.contains("{{") {
            let index = i.to_string();
            let node = document.at(&["config", &index, "freq", "pattern"]);
            let place = match (node, bad) {
                (Some(node), Some(at)) => {
                    let letter = pattern[at..].chars().next().map_or(1, char::len_utf8);
                    node.inside(at..at + letter)
                }
                _ => document.place_of(&["config", &index, "freq", "pattern"]),
            };
            found.push(
                Diagnostic::error("spec::bad-pattern", "a pattern of layers is letters L and G")
                    .at(place, if bad.is_some() { "neither L nor G" } else { "no layer at all" })
                    .help("\"LLLG\": three layers with `local`, one with `global`, and so on"),
            );
        }
    }
}

fn transform_names(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let transforms = spec.eval.transform.as_ref().map(|t| t.list()).unwrap_or_default();
    let place = |keys: &[String]| {
        // A named one stands at [i].freq; its name beside it.
        let mut path = vec!["eval", "transform"];
        path.extend(keys.iter().map(|key| if key == "freq" { "name" } else { key.as_str() }));
        document.place_of(&path)
    };
    for (i, (name, _, keys)) in transforms.iter().enumerate() {
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            found.push(
                Diagnostic::error("spec::bad-name", "a transform needs a name to report it by")
                    .at(place(keys), "no name"),
            );
        } else if let Some((_, _, first)) = transforms[..i].iter().find(|(n, _, _)| n == name) {
            found.push(
                Diagnostic::error(
                    "spec::duplicate-transform",
                    format!("two transforms are called `{name}`"),
                )
                .at(place(keys), "again")
                .at(place(first), "first")
                .help("give each transform its own name: { name = \"…\", freq = \"…\" }"),
            );
        }
    }
    let Some(wanted) = &spec.report.win.transform else { return };
    let names: Vec<&str> = transforms.iter().map(|(name, _, _)| *name).collect();
    if names.contains(&wanted.as_str()) || wanted.contains("{{") {
        return;
    }
    let help = match nearest(wanted, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => {
            "declare it: [eval] transform = [{ name = \"…\", freq = \"…\" }]".into()
        }
        None => format!("the transforms are {}", names.join(", ")),
    };
    found.push(
        Diagnostic::error(
            "spec::unknown-transform",
            format!("there is no transform `{wanted}` in [eval]"),
        )
        .at(document.place_of(&["report", "win", "transform"]), "the claim would be made under it")
        .help(help),
    );
}

fn report_lengths(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let Some(lengths) = &spec.eval.lengths else { return };
    let mut need = Vec::new();
    for (i, length) in spec.report.lengths.iter().flatten().enumerate() {
        need.push((*length, document.place_of(&["report", "lengths", &i.to_string()])));
    }
    if let Some(length) = spec.report.win.primary_length {
        need.push((length, document.place_of(&["report", "win", "primary_length"])));
    }
    if let Some(length) = spec.report.win.guard.as_ref().and_then(|g| g.length) {
        need.push((length, document.place_of(&["report", "win", "guard", "length"])));
    }
    for (length, place) in need.into_iter().filter(|(length, _)| !lengths.contains(length)) {
        found.push(
            Diagnostic::error("spec::unknown-length", format!("{length} is not evaluated"))
                .at(place, "reported")
                .at(document.place_of(&["eval", "lengths"]), "the lengths that are")
                .help(format!("add {length} to [eval] lengths")),
        );
    }
    if let Some(share) = &spec.report.win.min_seeds_better
        && let Err(reason) = SeedShare::try_from(share.clone())
    {
        found.push(
            Diagnostic::error("spec::bad-share", reason)
                .at(document.place_of(&["report", "win", "min_seeds_better"]), "not a share")
                .help("write a fraction of at most 1 in quotes: \"2/3\""),
        );
    }
    win_rule(document, spec, found);
}

/// What a win rule needs besides its own keys.
fn win_rule(document: &Node, spec: &Spec, found: &mut Vec<Diagnostic>) {
    let win = &spec.report.win;
    let place = |key: &str| document.place_of(&["report", "win", key]);
    let is_record = win.rule == Some(Rule::Record);
    let refuse = |message: &str, key: &str, label: &str| {
        Diagnostic::error("spec::win-rule", message.to_owned()).at(place(key), label)
    };
    if is_record && win.min_gain.is_none() {
        found.push(
            refuse("rule \"record\" has no `min_gain`", "rule", "asks for a stated gain")
                .help("say by how many nats a token a record must be beaten: min_gain = 0.005"),
        );
    }
    if !is_record && win.min_gain.is_some() {
        found.push(
            refuse("`min_gain` belongs to rule \"record\"", "min_gain", "has no effect")
                .help("set rule = \"record\", or drop it"),
        );
    }
    let seeds = spec.experiment.seeds.as_deref().unwrap_or_default();
    let tuning = win.tuning_seeds.as_deref().unwrap_or_default();
    let left = seeds.iter().filter(|seed| !tuning.contains(seed)).count();
    if !seeds.is_empty() && left == 0 {
        found.push(
            refuse("every seed is a tuning seed", "tuning_seeds", "nothing is left to claim on")
                .help("add seeds to [experiment] seeds that no config was chosen on"),
        );
    }
    let looks = win.looks.as_deref().unwrap_or_default();
    let rising = looks.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising {
        found.push(refuse("`looks` do not rise", "looks", "out of order"));
    } else if !looks.is_empty() && left > 0 && !looks.contains(&(left as u32)) {
        found.push(
            refuse(
                &format!("{left} seeds are none of the declared looks"),
                "looks",
                "the numbers of seeds at which a claim may be made",
            )
            .help("have as many seeds as a look says; tuning seeds do not count"),
        );
    }
}
