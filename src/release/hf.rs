//! A folder in the layout of Hugging Face models.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::card;
use super::error::Error;
use super::frequencies::Chosen;
use super::run::TrainedRun;
use super::tokenizer::Tokenizer;
use super::weights::Arranged;
use crate::export::config::{self, Form};
use crate::export::{Fidelity, pretty};
use crate::fs;
use crate::model::HeadOrder;
use crate::train::weights;

/// What makes the folder a model: written last, so that a part of an export is not taken for one.
const CONFIG: &str = "config.json";
/// The files of an export but that one, in the order in which they are written.
const OTHERS: [&str; 5] = [
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "README.md",
];

/// What an export gives back: the files, the fidelity as a sentence and as JSON, notes.
pub(super) type Outcome = (Vec<PathBuf>, String, Value, Vec<String>);

/// Writes the folder.
///
/// # Errors
/// A folder that holds something, a set that `LlamaForCausalLM` has no room for, a file that cannot be read
/// or written.
pub(super) fn write(
    run: &TrainedRun,
    chosen: &Chosen,
    tokenizer: Option<&Tokenizer>,
    folder: &Path,
    force: bool,
) -> Result<Outcome, Error> {
    let (hidden, heads) = (run.model.hidden_size, run.model.heads);
    if !hidden.is_multiple_of(heads) {
        return Err(run.usage(format!(
            "transformers refuses a Llama model whose hidden size ({hidden}) is not a multiple of its \
             number of heads ({heads}), whatever its head_dim; --to gguf takes it"
        )));
    }
    let whole = chosen.whole_heads(run)?;
    let made = config::config_up_to(&whole, &chosen.context, chosen.length);
    let layout = run.layout();
    let (head_dim, rotary_dim) = (run.model.head_dim, chosen.rotary_dim());
    let order = HeadOrder::halves(head_dim, rotary_dim);
    let rearranged = !order.is_identity();
    let mut values = Arranged::open(run, &layout, order)?;
    make_room(folder, force)?;

    let rotary = format!("{rotary_dim} of {head_dim}");
    let texts = if rearranged { vec![(weights::ROTARY_KEY, rotary.as_str())] } else { Vec::new() };
    fs::write_atomic_with(&folder.join(OTHERS[0]), |out| {
        weights::write_with(out, &layout, &[""], &texts, |_, offset, out| {
            let after = layout.tensors.partition_point(|tensor| tensor.offset <= offset);
            let tensor = after.checked_sub(1).expect("the first tensor begins the arena");
            values.read(tensor, offset - layout.tensors[tensor].offset, out)
        })
    })?;
    let fidelity = fidelity_words(made.form, made.fidelity, chosen.set.inv_freq.len());
    let end = tokenizer.and_then(|tokenizer| tokenizer.end);
    let mut notes = Vec::new();
    let write = |name: &str, bytes: &[u8]| fs::write_atomic(&folder.join(name), bytes);
    if let Some(tokenizer) = tokenizer {
        write("tokenizer.json", &tokenizer.bytes)?;
        write("tokenizer_config.json", pretty(&tokenizer.hf_config(chosen.length)).as_bytes())?;
        if tokenizer.json["post_processor"]["type"] == "TemplateProcessing" {
            notes.push(
                "the tokenizer adds tokens of its own to a text, and the run was trained without them: \
                 encode with add_special_tokens=False"
                    .to_owned(),
            );
        }
    }
    let generation = json!({"bos_token_id": end, "eos_token_id": end, "pad_token_id": end});
    write("generation_config.json", pretty(&generation).as_bytes())?;
    let card = card::card(run, chosen, tokenizer, &fidelity, &notes);
    write("README.md", card.as_bytes())?;
    let config = model_config(run, end, made.keys, rearranged.then_some(rotary_dim));
    write(CONFIG, pretty(&Value::Object(config)).as_bytes())?;

    let written = OTHERS.iter().chain([&CONFIG]).map(|name| folder.join(name));
    let files = written.filter(|path| path.is_file()).collect();
    let exact = made.form == Form::LongRope && made.fidelity.is_exact();
    let fidelity_json = json!({
        "bit_exact": exact,
        "channels_off": made.fidelity.channels,
        "max_ulp": made.fidelity.max_ulp,
    });
    Ok((files, fidelity, fidelity_json, notes))
}

/// Refuses a folder that holds something; with `force` the files of an earlier export, which may have been
/// killed, go: config.json first.
fn make_room(folder: &Path, force: bool) -> Result<(), Error> {
    let usage =
        |problem: &str| Error::Usage { path: folder.to_owned(), problem: problem.to_owned() };
    if folder.exists() && !folder.is_dir() {
        return Err(usage("it is a file; --to hf writes a folder"));
    }
    if !folder.is_dir() {
        return Ok(());
    }
    let list = fs::Error::at("list", folder);
    let empty = std::fs::read_dir(folder).map_err(list)?.next().is_none();
    if !empty && !force {
        return Err(usage(
            "the folder is not empty; name another, or replace the model in it with --force",
        ));
    }
    for name in std::iter::once(CONFIG).chain(OTHERS) {
        let path = folder.join(name);
        if path.is_file() {
            std::fs::remove_file(&path).map_err(fs::Error::at("remove", &path))?;
        }
    }
    Ok(fs::remove_unfinished(folder)?)
}

/// config.json of a `LlamaForCausalLM`. The library's defaults of the ids (1, 2) are Llama's own: each
/// key that decides anything is written.
fn model_config(
    run: &TrainedRun,
    end: Option<u64>,
    frequencies: Map<String, Value>,
    rearranged: Option<usize>,
) -> Map<String, Value> {
    let model = &run.model;
    let keys = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.heads,
        "head_dim": model.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": model.norm_eps,
        "initializer_range": model.init_std,
        "tie_word_embeddings": model.tie_embeddings,
        "attention_bias": false,
        "attention_dropout": 0.0,
        "mlp_bias": false,
        "pretraining_tp": 1,
        "use_cache": true,
        "dtype": "float32",
        "bos_token_id": end,
        "eos_token_id": end,
        // An id here would freeze its embedding: padding is generation's affair.
        "pad_token_id": null,
    });
    let Value::Object(mut keys) = keys else { unreachable!("it is written as an object") };
    keys.extend(frequencies);
    if let Some(rotary_dim) = rearranged {
        keys["xp_freq"]["rotary_dim"] = json!(rotary_dim);
    }
    keys
}

fn fidelity_words(form: Form, fidelity: Fidelity, channels: usize) -> String {
    match form {
        Form::LongRope if fidelity.is_exact() => {
            format!("bit-exact: transformers computes the same {channels} f32 frequencies")
        }
        Form::LongRope => format!(
            "not bit-exact: in transformers {} of {channels} frequencies differ by at most {} ulp \
             (rope_dtype = \"f32-recip\" in training makes an export exact)",
            fidelity.channels, fidelity.max_ulp
        ),
        Form::Default { theta } => format!(
            "not bit-exact: the frequencies are a plain geo of theta {theta}, which transformers computes \
             itself in f32; {} of {channels} differ by at most {} ulp",
            fidelity.channels, fidelity.max_ulp
        ),
    }
}
