//! A GGUF file of llama.cpp's architecture `llama`, in f32.
//!
//! What llama.cpp does with it was read in its source and run (tests/reference/export_model.py): q and k
//! are rotated in neighbouring pairs, angles are divided by `rope_freqs.weight`, and `attn_factor`
//! multiplies cos and sin.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::error::Error;
use super::frequencies::Chosen;
use super::hf::Outcome;
use super::run::TrainedRun;
use super::tokenizer::Tokenizer;
use super::weights::Arranged;
use crate::export::gguf::{self, Metadata};
use crate::export::gguf_file::{self, Tensor};
use crate::fs;
use crate::model::{self, HeadOrder};

/// Values moved at a time.
const PIECE: usize = 1 << 16;

/// Writes the file.
///
/// # Errors
/// A file that is there already, a set or a tokenizer that llama.cpp has no room for, a file that cannot be
/// read or written.
pub(super) fn write(
    run: &TrainedRun,
    chosen: &Chosen,
    tokenizer: Option<&Tokenizer>,
    path: &Path,
    force: bool,
) -> Result<Outcome, Error> {
    let usage = |problem: String| Error::Usage { path: path.to_owned(), problem };
    if path.is_dir() {
        return Err(usage("it is a folder; --to gguf writes a file".to_owned()));
    }
    if path.exists() && !force {
        return Err(usage("it is there already; replace it with --force".to_owned()));
    }
    let whole = chosen.whole_heads(run)?;
    let table = gguf::table(&whole).expect("whole heads rotate");
    let (mut metadata, mut notes) = (table.metadata.clone(), Vec::new());
    metadata.extend(of_model(run, chosen));
    match tokenizer {
        Some(tokenizer) => {
            let (keys, said) = of_tokenizer(&tokenizer.json, tokenizer.end, run.model.vocab_size)
                .map_err(|why| {
                run.usage(format!(
                    "llama.cpp cannot tokenise as this run was trained: {why}; export without a \
                         tokenizer with --no-tokenizer, and give it token ids"
                ))
            })?;
            metadata.extend(keys);
            notes.extend(said);
        }
        None => metadata.push(("tokenizer.ggml.model", Metadata::Text("none".to_owned()))),
    }
    let layout = run.layout();
    let order = HeadOrder::neighbours(run.model.head_dim, chosen.rotary_dim());
    let mut values = Arranged::open(run, &layout, order)?;
    let stored = layout.tensors.iter().map(|tensor| Tensor {
        name: name(&tensor.name),
        shape: tensor.shape.iter().rev().map(|&n| n as u64).collect(),
    });
    let tensors: Vec<Tensor> = stored.chain([table.tensor()]).collect();
    let mut buffer = vec![0.0; PIECE];
    fs::write_atomic_with(path, |out| {
        gguf_file::write(out, &metadata, &tensors, |index, out| match layout.tensors.get(index) {
            Some(tensor) => copy(&mut values, index, tensor, &mut buffer, out),
            None => out.write_all(&table.data()),
        })
    })?;
    let error = table.max_relative_error;
    let fidelity = format!(
        "llama.cpp divides positions by 1/frequency: exact to a relative {error:.1e}, in f32"
    );
    Ok((vec![path.to_owned()], fidelity, json!({"max_relative_error": error}), notes))
}

fn copy(
    values: &mut Arranged<'_>,
    index: usize,
    tensor: &model::Tensor,
    buffer: &mut [f32],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for first in (0..tensor.len()).step_by(buffer.len()) {
        let piece = &mut buffer[..PIECE.min(tensor.len() - first)];
        values.read(index, first, piece)?;
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|x| x.to_le_bytes()));
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// llama.cpp's name of a tensor.
fn name(hf: &str) -> String {
    let Some(rest) = hf.strip_prefix("model.layers.") else {
        return match hf {
            "model.embed_tokens.weight" => "token_embd.weight",
            "model.norm.weight" => "output_norm.weight",
            "lm_head.weight" => "output.weight",
            other => other,
        }
        .to_owned();
    };
    let (layer, part) = rest.split_once('.').expect("a block's tensor has a name");
    let part = match part {
        "input_layernorm.weight" => "attn_norm.weight",
        "self_attn.q_proj.weight" => "attn_q.weight",
        "self_attn.k_proj.weight" => "attn_k.weight",
        "self_attn.v_proj.weight" => "attn_v.weight",
        "self_attn.o_proj.weight" => "attn_output.weight",
        "post_attention_layernorm.weight" => "ffn_norm.weight",
        "mlp.gate_proj.weight" => "ffn_gate.weight",
        "mlp.up_proj.weight" => "ffn_up.weight",
        "mlp.down_proj.weight" => "ffn_down.weight",
        other => other,
    };
    format!("blk.{layer}.{part}")
}

fn of_model(run: &TrainedRun, chosen: &Chosen) -> Vec<(&'static str, Metadata)> {
    let model = &run.model;
    // A model's sizes are bounded far below: it was trained.
    let number = |n: usize| Metadata::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let text = |text: &str| Metadata::Text(text.to_owned());
    let length = u32::try_from(chosen.length).unwrap_or(u32::MAX);
    vec![
        ("general.type", text("model")),
        ("general.name", Metadata::Text(format!("{}/{}", run.record.experiment, run.place))),
        ("general.file_type", Metadata::U32(0)),
        ("llama.context_length", Metadata::U32(length)),
        ("llama.embedding_length", number(model.hidden_size)),
        ("llama.block_count", number(model.layers)),
        ("llama.feed_forward_length", number(model.intermediate_size)),
        ("llama.attention.head_count", number(model.heads)),
        ("llama.attention.head_count_kv", number(model.heads)),
        ("llama.attention.key_length", number(model.head_dim)),
        ("llama.attention.value_length", number(model.head_dim)),
        ("llama.attention.layer_norm_rms_epsilon", Metadata::F32(model.norm_eps as f32)),
        ("llama.vocab_size", number(model.vocab_size)),
        ("xp.train_id", text(&run.record.train_id)),
        ("xp.protocol", text(&run.record.protocol)),
    ]
}

/// What is written of a tokenizer, and what there is to say of it.
type TokenizerKeys = (Vec<(&'static str, Metadata)>, Vec<String>);

/// A byte-level BPE as llama.cpp's tokenizer `gpt2`; `Err` is why it is none.
fn of_tokenizer(
    json: &Value,
    end: Option<u64>,
    vocab_size: usize,
) -> Result<TokenizerKeys, String> {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const USER_DEFINED: i32 = 4;
    const UNUSED: i32 = 5;
    let model = &json["model"];
    let mut notes = Vec::new();
    if model["type"] != "BPE" {
        return Err(format!("its model is {}, not BPE", model["type"]));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[key].as_str().is_some_and(|text| !text.is_empty()) {
            return Err(format!("its model has a `{key}`"));
        }
    }
    let merges = merges(model)?;
    let splitter = &json["pre_tokenizer"];
    if splitter["type"] != "ByteLevel" {
        return Err(format!("it splits words by {}, not by GPT-2's rule", splitter["type"]));
    }
    if splitter["add_prefix_space"] != json!(false) {
        return Err("it puts a space before a text".to_owned());
    }
    // How a text is split matters only where something is merged.
    if splitter["use_regex"] == json!(false) && !merges.is_empty() {
        return Err("it merges over the bounds of words".to_owned());
    }
    match json["normalizer"]["type"].as_str() {
        None => {}
        Some("NFC") => notes.push(
            "the tokenizer composes characters (NFC), llama.cpp does not: give it composed text"
                .to_owned(),
        ),
        Some(other) => return Err(format!("it normalises text by {other}")),
    }
    let mut tokens: Vec<String> = (0..vocab_size).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; vocab_size];
    let mut put = |id: &Value, text: &str, kind: i32| {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        let id = id.filter(|&id| id < vocab_size);
        let id = id.ok_or_else(|| format!("the id of `{text}` is past the model's vocabulary"))?;
        text.clone_into(&mut tokens[id]);
        types[id] = kind;
        Ok::<_, String>(())
    };
    for (text, id) in model["vocab"].as_object().into_iter().flatten() {
        put(id, text, NORMAL)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == json!(true) { CONTROL } else { USER_DEFINED };
        put(&added["id"], added["content"].as_str().unwrap_or_default(), kind)?;
    }
    // Without an id llama.cpp takes 11, which is a token of text.
    let end = end.or_else(|| never(&types, model));
    let end = end.and_then(|id| u32::try_from(id).ok());
    let text = |text: &str| Metadata::Text(text.to_owned());
    let mut keys = vec![
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Metadata::Texts(tokens)),
        ("tokenizer.ggml.token_type", Metadata::I32s(types)),
        ("tokenizer.ggml.merges", Metadata::Texts(merges)),
        ("tokenizer.ggml.add_bos_token", Metadata::Bool(false)),
        ("tokenizer.ggml.add_eos_token", Metadata::Bool(false)),
    ];
    if let Some(end) = end {
        keys.push(("tokenizer.ggml.bos_token_id", Metadata::U32(end)));
        keys.push(("tokenizer.ggml.eos_token_id", Metadata::U32(end)));
    }
    Ok((keys, notes))
}

/// An id that no text gives: one that pads the vocabulary, or that of byte 255, which is not in UTF-8.
fn never(types: &[i32], model: &Value) -> Option<u64> {
    let padding = types.iter().position(|&kind| kind == 5).map(|id| id as u64);
    padding.or_else(|| model["vocab"]["\u{ff}"].as_u64())
}

/// The merges in the form of GPT-2's file: two texts with a space between.
fn merges(model: &Value) -> Result<Vec<String>, String> {
    let merges = model["merges"].as_array().into_iter().flatten().map(|merge| match merge {
        Value::String(text) => Ok(text.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(a), Value::String(b)] if !a.contains(' ') && !b.contains(' ') => {
                Ok(format!("{a} {b}"))
            }
            _ => Err(format!("{merge} is no merge of two texts without spaces")),
        },
        _ => Err(format!("{merge} is no merge")),
    });
    merges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Value {
        json!({
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "added_tokens": [
                {"id": 3, "content": "<|endoftext|>", "special": true},
                {"id": 4, "content": "  ", "special": false},
            ],
            "model": {
                "type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3},
                "merges": [["a", "b"]],
            },
        })
    }

    fn key<'a>(keys: &'a [(&'static str, Metadata)], name: &str) -> Option<&'a Metadata> {
        keys.iter().find(|(key, _)| key.ends_with(name)).map(|(_, value)| value)
    }

    #[test]
    fn tokens_have_their_types_and_the_vocabulary_is_filled_up() {
        let (keys, notes) = of_tokenizer(&tokenizer(), Some(3), 6).unwrap();
        assert!(notes.is_empty());
        let texts = ["a", "b", "ab", "<|endoftext|>", "  ", "[PAD5]"].map(str::to_owned).to_vec();
        assert_eq!(key(&keys, ".tokens"), Some(&Metadata::Texts(texts)));
        assert_eq!(key(&keys, ".token_type"), Some(&Metadata::I32s(vec![1, 1, 1, 3, 4, 5])));
        assert_eq!(key(&keys, ".merges"), Some(&Metadata::Texts(vec!["a b".to_owned()])));
        assert_eq!(key(&keys, ".eos_token_id"), Some(&Metadata::U32(3)));
        let mut strings = tokenizer();
        strings["model"]["merges"] = json!(["a b"]);
        assert_eq!(of_tokenizer(&strings, Some(3), 6).unwrap().0, keys);
    }

    #[test]
    fn a_text_without_an_end_ends_at_no_token_of_text() {
        let end = |json: &Value, vocab_size| {
            let (keys, _) = of_tokenizer(json, None, vocab_size).unwrap();
            key(&keys, ".eos_token_id").cloned()
        };
        assert_eq!(end(&tokenizer(), 6), Some(Metadata::U32(5)));
        assert_eq!(end(&tokenizer(), 5), None);
        let mut bytes = tokenizer();
        bytes["model"]["vocab"]["\u{ff}"] = json!(0);
        assert_eq!(end(&bytes, 5), Some(Metadata::U32(0)));
    }

    #[test]
    fn what_llama_cpp_would_tokenise_otherwise_is_refused() {
        for (change, why) in [
            (("/model/type", json!("Unigram")), "not BPE"),
            (("/model/merges", json!([["a"]])), "no merge"),
            (("/pre_tokenizer/type", json!("Whitespace")), "not by GPT-2's rule"),
            (("/pre_tokenizer/add_prefix_space", json!(true)), "a space before"),
            (("/pre_tokenizer/use_regex", json!(false)), "over the bounds of words"),
            (("/normalizer", json!({"type": "Lowercase"})), "Lowercase"),
            (("/added_tokens/0/id", json!(6)), "past the model's vocabulary"),
        ] {
            let mut json = tokenizer();
            *json.pointer_mut(change.0).unwrap() = change.1;
            let error = of_tokenizer(&json, None, 6).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let mut composed = tokenizer();
        composed["normalizer"] = json!({"type": "NFC"});
        assert_eq!(of_tokenizer(&composed, None, 6).unwrap().1.len(), 1);
    }

    #[test]
    fn every_tensor_has_llama_cpps_name() {
        assert_eq!(name("model.layers.12.self_attn.q_proj.weight"), "blk.12.attn_q.weight");
        assert_eq!(name("model.norm.weight"), "output_norm.weight");
        let config = model::Config {
            layers: 1,
            hidden_size: 4,
            heads: 1,
            head_dim: 4,
            intermediate_size: 4,
            vocab_size: 4,
            norm_eps: 1e-6,
            init_std: 0.02,
            tie_embeddings: false,
        };
        for tensor in &model::Layout::new(&config).tensors {
            let named = name(&tensor.name);
            assert!(!named.contains("model") && !named.contains("proj"), "{named}");
        }
    }
}
