//! The tokenizer that a run was trained with, as the other software takes it.

use std::path::Path;

use serde_json::{Value, json};

use super::TokenizerFrom;
use super::error::Error;
use super::run::TrainedRun;
use crate::data::{self, Cache, FoundTokenizer, find_tokenizer};
use crate::fs;

/// The token that ends a document in the tokenizers of GPT-2 and GPT-NeoX.
const END: &str = "<|endoftext|>";

/// A `tokenizer.json` and what other files repeat of it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// The file, byte for byte.
    pub bytes: Vec<u8>,
    /// The same, read.
    pub json: Value,
    /// Where it is from, in words.
    pub origin: String,
    /// The id of `<|endoftext|>`, if it has that token: what ends a text.
    pub end: Option<u64>,
}

impl Tokenizer {
    /// The tokenizer of a run; `None` if none is wanted.
    ///
    /// # Errors
    /// If it is not on this machine, or a file is not the one that the run was trained with.
    pub fn of(run: &TrainedRun, from: &TokenizerFrom) -> Result<Option<Self>, Error> {
        let data = &run.point.training["data"];
        let found = match from {
            TokenizerFrom::Nowhere => return Ok(None),
            TokenizerFrom::File(path) => given(data, path)?,
            TokenizerFrom::Caches => {
                find_tokenizer(data, &Cache::from_env()?)?.ok_or_else(|| missing(run, data))?
            }
        };
        let path = match from {
            TokenizerFrom::File(path) => path.as_path(),
            _ => Path::new("tokenizer.json"),
        };
        let unusable = |problem: String| Error::Usage { path: path.to_owned(), problem };
        let json: Value = serde_json::from_slice(&found.json)
            .map_err(|error| unusable(format!("it is no tokenizer.json: {error}")))?;
        let size = data::Encoder::from_json(&found.json, path)?.vocab_size();
        if u64::from(size) > run.model.vocab_size as u64 {
            return Err(unusable(format!(
                "it has {size} ids and the model {}: the run was trained with another",
                run.model.vocab_size
            )));
        }
        let end = id_of(&json, END);
        Ok(Some(Self { bytes: found.json, json, origin: found.origin, end }))
    }

    /// `tokenizer_config.json`: how transformers wraps the tokenizer for texts of up to `length`
    /// tokens.
    #[must_use]
    pub fn hf_config(&self, length: u64) -> Value {
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": length,
            "clean_up_tokenization_spaces": false,
        });
        if self.end.is_some() {
            config["bos_token"] = json!(END);
            config["eos_token"] = json!(END);
        }
        if let Some(unknown) = self.json["model"]["unk_token"].as_str() {
            config["unk_token"] = json!(unknown);
        }
        config
    }
}

/// The id of a token, added or of the vocabulary.
fn id_of(json: &Value, token: &str) -> Option<u64> {
    let mut added = json["added_tokens"].as_array().into_iter().flatten();
    let added =
        added.find(|entry| entry["content"] == token).and_then(|entry| entry["id"].as_u64());
    added.or_else(|| json["model"]["vocab"][token].as_u64())
}

/// A file that a user names, as far as it can be held against what the run was trained with.
fn given(data: &Value, path: &Path) -> Result<FoundTokenizer, Error> {
    let unusable = |problem: String| Error::Usage { path: path.to_owned(), problem };
    let tokenizer = &data["tokenizer"];
    if tokenizer == "bytes" {
        return Err(unusable(
            "the run was trained on bytes, whose tokenizer xp writes itself; leave --tokenizer out"
                .to_owned(),
        ));
    }
    let json = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => unusable("there is no such file".to_owned()),
        _ => fs::Error { action: "read", path: path.to_owned(), source }.into(),
    })?;
    let hash = blake3::hash(&json).to_hex().to_string();
    let origin = match tokenizer["file"].as_str() {
        Some(trained) if trained == hash => format!("the file of blake3 {hash}"),
        Some(trained) => {
            return Err(unusable(format!(
                "the run was trained with the tokenizer of blake3 {trained}, this one has {hash}"
            )));
        }
        None => format!("a file of blake3 {hash}, given by hand for {tokenizer}"),
    };
    Ok(FoundTokenizer { json, origin })
}

fn missing(run: &TrainedRun, data: &Value) -> Error {
    let tokenizer = &data["tokenizer"];
    let (what, remedy) = if let Some(id) = tokenizer["hub"].as_str() {
        (
            format!("its tokenizer `{id}` is not in the hub's cache folder"),
            "fetch it with `xp data SPEC`",
        )
    } else if let Some(hash) = tokenizer["file"].as_str() {
        (format!("its tokenizer, a file of blake3 {hash}, is not in the cache"), "name the file")
    } else {
        (
            "its trained tokenizer is not in the cache".to_owned(),
            "make it again with `xp data SPEC`",
        )
    };
    let file = if tokenizer["file"].is_string() { " with" } else { ", or name a copy with" };
    Error::Missing {
        path: run.dir.path().to_owned(),
        problem: format!(
            "{what}; {remedy}{file} --tokenizer FILE, or export without one with --no-tokenizer"
        ),
    }
}
