//! Documents to ids: bytes, or a `tokenizer.json`.

use std::path::Path;

use serde_json::Value;

use super::bpe;
use super::cache::Cache;
use super::config::Tokenizer;
use super::error::Error;
use super::hub::Hub;
use crate::fs;

/// Encodes documents one at a time, adding no special tokens.
///
/// Special tokens that are written in the text are recognised, as the `tokenizers` library does.
#[derive(Debug)]
pub struct Encoder {
    model: Model,
    vocab_size: u32,
}

#[derive(Debug)]
enum Model {
    Bytes,
    Library(Box<tokenizers::Tokenizer>),
}

impl Encoder {
    /// The encoder whose ids are the UTF-8 bytes.
    pub fn bytes() -> Self {
        Self { model: Model::Bytes, vocab_size: 256 }
    }

    /// The encoder of a `tokenizer.json` file.
    ///
    /// # Errors
    /// If the file cannot be read, is not such a file, or encodes at random (BPE dropout).
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|e| Error::input_file(path, e))?;
        Self::from_json(&bytes, path)
    }

    /// As [`Encoder::from_file`] from the file's content; `path` is for messages.
    ///
    /// # Errors
    /// If it is no such file, or encodes at random.
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let fail = |reason: String| Error::Tokenizer { path: path.to_owned(), reason };
        let json: Value = serde_json::from_slice(bytes).map_err(|e| not_json(path, &e))?;
        if largest_id(&json).is_none() {
            return Err(no_vocabulary(path));
        }
        if json["model"]["dropout"].as_f64().is_some_and(|dropout| dropout > 0.0) {
            return Err(fail(
                "its model has `dropout`, so it encodes at random; set `model.dropout` to null"
                    .to_owned(),
            ));
        }
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| fail(format!("not a tokenizer that xp can load: {e}")))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        // The library may number added tokens otherwise than the file says.
        let largest = tokenizer.get_vocab(true).into_values().max();
        let vocab_size =
            largest.and_then(|id| id.checked_add(1)).ok_or_else(|| no_vocabulary(path))?;
        Ok(Self { model: Model::Library(Box::new(tokenizer)), vocab_size })
    }

    /// The ids of a document; `Err` is the library's reason.
    ///
    /// # Errors
    /// If the tokenizer has no id for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        match &self.model {
            Model::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Model::Library(tokenizer) => tokenizer
                .encode_fast(text, false)
                .map(|encoding| encoding.get_ids().to_vec())
                .map_err(|e| e.to_string()),
        }
    }

    /// Largest id that can occur, plus one.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }
}

/// Largest id of a tokenizer plus one: what `vocab_size` of a model must at least be.
///
/// `None` for a hub tokenizer that is not in the local hub cache. For `train_bpe` it is the size
/// asked for, which a small text may not reach.
///
/// # Errors
/// If the file cannot be read or has no vocabulary, or the size to train is out of range.
pub fn tokenizer_vocab_size(tokenizer: &Tokenizer) -> Result<Option<u32>, Error> {
    let path = match tokenizer {
        Tokenizer::Bytes => return Ok(Some(256)),
        Tokenizer::TrainBpe { vocab_size } => {
            check_trained_size(*vocab_size)?;
            return Ok(Some(*vocab_size));
        }
        Tokenizer::File(path) => path.clone(),
        Tokenizer::Hub { id, revision } => {
            let hub = Hub::from_env(Cache::from_env()?.root(), &[])?;
            match hub.cached_tokenizer(id, revision)? {
                Some((path, _)) => path,
                None => return Ok(None),
            }
        }
    };
    let bytes = std::fs::read(&path).map_err(|e| Error::input_file(&path, e))?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|e| not_json(&path, &e))?;
    match largest_id(&json).and_then(|id| id.checked_add(1)) {
        Some(size) => Ok(Some(size)),
        None => Err(no_vocabulary(&path)),
    }
}

/// Checks the size of a BPE to train.
pub(crate) fn check_trained_size(vocab_size: u32) -> Result<(), Error> {
    if (bpe::MIN_VOCAB..=bpe::MAX_VOCAB).contains(&vocab_size) {
        return Ok(());
    }
    Err(Error::Config {
        what: format!("`train_bpe = {vocab_size}` is out of range"),
        remedy: format!("give {} (the bytes alone) to {}", bpe::MIN_VOCAB, bpe::MAX_VOCAB),
    })
}

/// Largest id in the model's vocabulary and the added tokens of a `tokenizer.json`.
fn largest_id(json: &Value) -> Option<u32> {
    let model: Box<dyn Iterator<Item = u64>> = match &json["model"]["vocab"] {
        Value::Object(ids) => Box::new(ids.values().filter_map(Value::as_u64)),
        // Unigram: a list of pieces, the id is the place.
        Value::Array(pieces) => Box::new((pieces.len() as u64).checked_sub(1).into_iter()),
        _ => return None,
    };
    let added = json["added_tokens"].as_array().into_iter().flatten();
    let largest = model.chain(added.filter_map(|token| token["id"].as_u64())).max()?;
    u32::try_from(largest).ok()
}

fn not_json(path: &Path, error: &serde_json::Error) -> Error {
    Error::Tokenizer {
        path: path.to_owned(),
        reason: format!("not JSON ({error}); name a `tokenizer.json` of the tokenizers library"),
    }
}

fn no_vocabulary(path: &Path) -> Error {
    Error::Tokenizer {
        path: path.to_owned(),
        reason: "has no `model.vocab`; name a `tokenizer.json` of the tokenizers library"
            .to_owned(),
    }
}

/// Reads a tokenizer that came from the hub or was made: failures there are not the user's spec.
pub(crate) fn read_tokenizer(path: &Path) -> Result<Encoder, Error> {
    Encoder::from_json(&fs::read(path)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ErrorKind;

    fn load(json: &str) -> Result<Encoder, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, json).unwrap();
        let size = tokenizer_vocab_size(&Tokenizer::File(path.clone()));
        let encoder = Encoder::from_file(&path);
        if let Ok(encoder) = &encoder {
            assert_eq!(size.unwrap(), Some(encoder.vocab_size()));
        }
        encoder
    }

    const WORDS: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":2,"strategy":"LongestFirst","stride":0},
        "padding":{"strategy":{"Fixed":8},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"?"},
        "added_tokens":[{"id":3,"content":"[END]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
        "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"a":0,"b":1,"?":2},"unk_token":"?"}}"#;

    #[test]
    fn bytes_are_their_own_ids() {
        assert_eq!(Encoder::bytes().encode("aé").unwrap(), [97, 0xc3, 0xa9]);
        assert_eq!(tokenizer_vocab_size(&Tokenizer::Bytes).unwrap(), Some(256));
    }

    #[test]
    fn a_tokenizer_file_neither_pads_nor_truncates_and_its_largest_id_counts_added_tokens() {
        let encoder = load(WORDS).unwrap();
        assert_eq!(encoder.encode("a b a c [END]").unwrap(), [0, 1, 0, 2, 3]);
        assert_eq!(encoder.vocab_size(), 4);
    }

    #[test]
    fn files_that_cannot_be_used_say_why() {
        for (json, expected) in [
            ("", "not JSON"),
            ("{}", "no `model.vocab`"),
            (r#"{"model":{"vocab":{}}}"#, "no `model.vocab`"),
            (r#"{"model":{"vocab":{"a":4294967295}}}"#, "not a tokenizer that xp can load"),
            (r#"{"model":{"vocab":{"a":4294967296}}}"#, "no `model.vocab`"),
            (r#"{"model":{"vocab":{"a":1}}}"#, "not a tokenizer that xp can load"),
            (r#"{"model":{"vocab":{"a":1},"dropout":0.1}}"#, "dropout"),
        ] {
            let error = load(json).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.kind(), ErrorKind::Input);
        }
        let missing = Encoder::from_file(Path::new("no/tokenizer.json")).unwrap_err();
        assert!(matches!(missing, Error::Missing { .. }));
    }

    #[test]
    fn the_size_of_a_trained_bpe_has_bounds() {
        for vocab_size in [0, 255, u32::MAX] {
            assert!(tokenizer_vocab_size(&Tokenizer::TrainBpe { vocab_size }).is_err());
        }
        let size = tokenizer_vocab_size(&Tokenizer::TrainBpe { vocab_size: 4096 });
        assert_eq!(size.unwrap(), Some(4096));
    }
}
