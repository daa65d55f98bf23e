//! The tokenizer of tokens that were made before, for whoever passes a trained model on.

use serde_json::{Map, Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::cache::Cache;
use super::entry::Entry;
use super::error::Error;
use super::hub::Hub;
use super::stream::TokenFacts;
use crate::fs;

/// A `tokenizer.json`, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTokenizer {
    /// The content of the file.
    pub json: Vec<u8>,
    /// Where it is from, in words.
    pub origin: String,
}

/// The tokenizer of a split's [`identity`](super::identity()), as far as this machine holds it: in the
/// hub's cache folder (at the commit that the tokens were made with, where the token cache still knows
/// it), in the cache as a trained one or as a copy of a file, or, for `"bytes"`, written down here.
/// Fetches and trains nothing.
///
/// # Errors
/// An identity of no tokenizer, a cache folder that cannot be read.
pub fn find_tokenizer(identity: &Value, cache: &Cache) -> Result<Option<FoundTokenizer>, Error> {
    let tokenizer = &identity["tokenizer"];
    let found = |json: Vec<u8>, origin: String| Ok(Some(FoundTokenizer { json, origin }));
    // What the revisions meant when the tokens were made.
    let facts = || {
        let tokens = Entry::new(cache.root(), "tokens", "tokens.bin", identity.clone());
        Ok::<_, Error>(tokens.facts::<TokenFacts>()?.map(|(facts, _)| facts))
    };
    if tokenizer == "bytes" {
        return found(bytes_tokenizer(), "the bytes of the text".to_owned());
    }
    if let (Some(id), Some(revision)) = (tokenizer["hub"].as_str(), tokenizer["revision"].as_str())
    {
        let commit = facts()?.and_then(|facts| facts.tokenizer_revision);
        let revision = commit.as_deref().unwrap_or(revision);
        let hub = Hub::from_env(cache.root(), &[])?;
        return match hub.cached_tokenizer(id, revision)? {
            Some((path, commit)) => {
                found(fs::read(&path)?, format!("{id} of the hub, commit {commit}"))
            }
            None => Ok(None),
        };
    }
    if let Some(hash) = tokenizer["file"].as_str() {
        let path = cache.tokenizer_copy(hash);
        if !path.is_file() {
            return Ok(None);
        }
        let json = fs::read(&path)?;
        if blake3::hash(&json).to_hex().as_str() != hash {
            let reason = "do not have the hash that is their name".to_owned();
            return Err(Error::Corrupt { path, reason });
        }
        return found(json, format!("the file of blake3 {hash}"));
    }
    if let Some(size) = tokenizer["train_bpe"].as_u64() {
        // One that was trained on hub text is one of the commit's.
        let mut tokenizer = tokenizer.clone();
        if let Some(commit) = facts()?.and_then(|facts| facts.revision)
            && tokenizer["text"]["hub"].is_string()
        {
            tokenizer["text"]["revision"] = json!(commit);
        }
        let entry = cache.trained_tokenizer(tokenizer);
        if entry.facts::<Value>()?.is_none() {
            return Ok(None);
        }
        let payload = entry.get_or_make::<Value>(|_| {
            Err(Error::Environment {
                what: "the trained tokenizer in the cache is damaged".to_owned(),
                remedy: "run `xp data SPEC`, which trains it again".to_owned(),
            })
        })?;
        let origin = format!("a byte-level BPE of {size} ids, trained on the train split");
        return found(payload.map.to_vec(), origin);
    }
    Err(Error::Config {
        what: format!("{tokenizer} is no tokenizer that this xp knows"),
        remedy: "use the xp that made the tokens".to_owned(),
    })
}

/// A `tokenizer.json` whose ids are the UTF-8 bytes: byte-level BPE without a merge, its alphabet
/// (GPT-2's characters for bytes) numbered by the bytes.
fn bytes_tokenizer() -> Vec<u8> {
    let mut vocab = Map::new();
    for (byte, character) in byte_alphabet().into_iter().enumerate() {
        vocab.insert(character.to_string(), json!(byte));
    }
    let level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": use_regex,
        })
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": level(false), "post_processor": null,
        "decoder": level(false),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    });
    let mut json = serde_json::to_vec_pretty(&tokenizer).expect("JSON is JSON");
    json.push(b'\n');
    json
}

/// GPT-2's character for each byte: itself if it is printable, otherwise the next one from U+0100 on.
fn byte_alphabet() -> Vec<char> {
    let known = ByteLevel::alphabet();
    let mut next = 0x100;
    let alphabet = (0..=255u8).map(|byte| {
        let own = char::from(byte);
        if known.contains(&own) {
            return own;
        }
        next += 1;
        char::from_u32(next - 1).expect("below the surrogates")
    });
    alphabet.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::Encoder;
    use crate::data::entry::Made;

    #[test]
    fn the_tokenizer_of_bytes_gives_the_bytes_and_takes_them_back() {
        let json = bytes_tokenizer();
        let ours = Encoder::from_json(&json, Path::new("bytes")).unwrap();
        let library = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        assert_eq!(ours.vocab_size(), 256);
        for text in ["", "plain text", "  two\n\tkinds of space ", "é ☃ \u{10ffff}\u{0}\u{7f}"] {
            let bytes = Encoder::bytes().encode(text).unwrap();
            assert_eq!(ours.encode(text).unwrap(), bytes, "{text:?}");
            assert_eq!(library.decode(&bytes, false).unwrap(), text);
        }
    }

    #[test]
    fn a_copy_of_a_file_is_taken_by_its_hash_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let hash = blake3::hash(b"content").to_hex().to_string();
        let identity = json!({"tokenizer": {"file": hash}});
        assert_eq!(find_tokenizer(&identity, &cache).unwrap(), None);
        let path = cache.tokenizer_copy(&hash);
        fs::write_atomic(&path, b"content").unwrap();
        let found = find_tokenizer(&identity, &cache).unwrap().unwrap();
        assert_eq!(found.json, b"content");
        fs::write_atomic(&path, b"other").unwrap();
        assert!(matches!(find_tokenizer(&identity, &cache), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_trained_tokenizer_is_found_if_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let tokenizer = json!({"text": "t", "train_bpe": 300, "trainer": 1});
        let identity = json!({ "tokenizer": tokenizer });
        assert_eq!(find_tokenizer(&identity, &cache).unwrap(), None);
        let entry = Entry::new(dir.path(), "tokenizers", "tokenizer.json", tokenizer);
        entry
            .get_or_make(|file| {
                file.write_all(b"trained").unwrap();
                Ok(Made::alone(Value::Null))
            })
            .unwrap();
        assert_eq!(find_tokenizer(&identity, &cache).unwrap().unwrap().json, b"trained");
        assert!(find_tokenizer(&json!({"tokenizer": 3}), &cache).is_err());
    }
}
