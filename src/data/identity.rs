//! What a split's token stream depends on, as canonical JSON: contents, revisions, versions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::bpe;
use super::config::{Config, Packing, Source, SplitKind, Tokenizer};
use super::error::Error;
use super::format::{Format, Kind};
use super::synthetic;
use crate::fs;

/// Content hashes of files, remembered by path, size and modification time.
#[derive(Debug, Default)]
pub struct ContentHashes {
    memo: HashMap<PathBuf, (Stamp, String)>,
}

type Stamp = (u64, Option<SystemTime>);

impl ContentHashes {
    /// The blake3 of a file, in hexadecimal.
    ///
    /// # Errors
    /// If the file cannot be read or changes meanwhile.
    pub fn hash(&mut self, path: &Path) -> Result<String, Error> {
        let before = stamp(path)?;
        if let Some((known, hash)) = self.memo.get(path)
            && *known == before
        {
            return Ok(hash.clone());
        }
        let hash = fs::hash_file(path)?;
        if stamp(path)? != before {
            return Err(Error::Changed { path: path.to_owned() });
        }
        self.memo.insert(path.to_owned(), (before, hash.clone()));
        Ok(hash)
    }

    /// Checks that no file was written to since it was hashed.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        for (path, (known, _)) in &self.memo {
            if stamp(path)? != *known {
                return Err(Error::Changed { path: path.clone() });
            }
        }
        Ok(())
    }
}

fn stamp(path: &Path) -> Result<Stamp, Error> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::input_file(path, e))?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    Ok((metadata.len(), metadata.modified().ok()))
}

/// What the token stream of a split depends on, with sorted keys; no names, no paths, no network.
///
/// Local files and a local tokenizer enter by content, hub data by id, revision and split as
/// written, generated text by the generator's version.
///
/// # Errors
/// If a local file cannot be read, or the split names no text or no end of it.
pub fn identity(
    config: &Config,
    kind: SplitKind,
    hashes: &mut ContentHashes,
) -> Result<Value, Error> {
    let split = config.split(kind);
    if matches!(config.source, Source::Synthetic)
        && split.files.is_none()
        && split.max_tokens.is_none()
    {
        return Err(Error::Config {
            what: format!(
                "`synthetic:stories` never ends, and [data.{}] has no max_tokens",
                kind.word()
            ),
            remedy: "set it, for example `max_tokens = \"2M\"`".to_owned(),
        });
    }
    let mut identity = Map::new();
    identity.insert("documents".to_owned(), documents(config, kind, hashes)?);
    identity.insert("max_tokens".to_owned(), json!(split.max_tokens));
    // Only where it is not the default: what was made before it could be chosen keeps its identity.
    if let Packing::Aligned { row } = config.packing
        && kind == SplitKind::Train
    {
        identity.insert("packing".to_owned(), json!({ "aligned": row }));
    }
    identity.insert("separator".to_owned(), json!(config.separator));
    identity.insert("tokenizer".to_owned(), tokenizer(config, hashes)?);
    Ok(Value::Object(identity))
}

/// What the text of a split depends on.
fn documents(config: &Config, kind: SplitKind, hashes: &mut ContentHashes) -> Result<Value, Error> {
    let split = config.split(kind);
    if let Some(files) = &split.files {
        if files.is_empty() {
            return Err(no_files(kind));
        }
        let files = files
            .iter()
            .map(|path| {
                let format = Format::of(path)?;
                let blake3 = hashes.hash(path)?;
                Ok(match format.kind {
                    Kind::Text => json!({ "blake3": blake3, "format": format.word() }),
                    Kind::JsonLines | Kind::Parquet => json!({
                        "blake3": blake3, "column": config.text_column, "format": format.word(),
                    }),
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        return Ok(json!({ "files": files }));
    }
    match &config.source {
        Source::Local => Err(no_files(kind)),
        Source::Hub { id, revision } if split.dataset_files.is_some() => Ok(json!({
            "column": config.text_column, "files": split.dataset_files, "hub": id,
            "revision": revision,
        })),
        Source::Hub { id, revision } => Ok(json!({
            "column": config.text_column, "hub": id, "revision": revision, "split": split.name,
        })),
        Source::Synthetic => {
            synthetic::check_split(&split.name)?;
            Ok(json!({
                "split": split.name, "synthetic": "stories", "version": synthetic::VERSION,
            }))
        }
    }
}

/// What the tokenizer depends on.
pub(crate) fn tokenizer(config: &Config, hashes: &mut ContentHashes) -> Result<Value, Error> {
    Ok(match &config.tokenizer {
        Tokenizer::Bytes => json!("bytes"),
        Tokenizer::TrainBpe { vocab_size } => json!({
            "text": documents(config, SplitKind::Train, hashes)?,
            "train_bpe": vocab_size,
            "trainer": bpe::VERSION,
        }),
        Tokenizer::File(path) => json!({ "file": hashes.hash(path)? }),
        Tokenizer::Hub { id, revision } => json!({ "hub": id, "revision": revision }),
    })
}

fn no_files(kind: SplitKind) -> Error {
    Error::NoText {
        split: kind.word(),
        what: format!(
            "no `dataset` and no files; set `dataset` in [data], or `files` in [data.{}] to a path or glob that matches something",
            kind.word()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::config::Split;

    fn split(name: &str, files: Option<Vec<PathBuf>>) -> Split {
        Split { name: name.to_owned(), dataset_files: None, files, max_tokens: Some(10) }
    }

    fn config(train: Vec<PathBuf>, tokenizer: Tokenizer) -> Config {
        Config {
            source: Source::Synthetic,
            text_column: "text".to_owned(),
            tokenizer,
            separator: None,
            packing: Packing::Stream,
            endpoints: Vec::new(),
            train: split("train", Some(train)),
            validation: split("validation", None),
        }
    }

    fn of(config: &Config, kind: SplitKind) -> String {
        identity(config, kind, &mut ContentHashes::default()).unwrap().to_string()
    }

    #[test]
    fn names_and_paths_do_not_enter_but_contents_and_choices_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (a, b) = (file("a.txt", "same"), file("b.txt", "same"));
        let (c, d) = (file("c.txt", "other"), file("d.jsonl", "{\"text\": \"\"}"));
        let base = config(vec![a.clone()], Tokenizer::Bytes);
        let train = of(&base, SplitKind::Train);
        assert_eq!(train, of(&config(vec![b], Tokenizer::Bytes), SplitKind::Train));
        assert!(!train.contains("a.txt"));

        let mut seen = vec![train.clone()];
        let mut differs = |changed: &Config| {
            let other = of(changed, SplitKind::Train);
            assert!(!seen.contains(&other), "{other}");
            seen.push(other);
        };
        differs(&config(vec![c.clone()], Tokenizer::Bytes));
        differs(&config(vec![a.clone(), c.clone()], Tokenizer::Bytes));
        differs(&config(vec![c.clone(), a.clone()], Tokenizer::Bytes));
        differs(&config(vec![d.clone()], Tokenizer::Bytes));
        differs(&Config { text_column: "body".into(), ..config(vec![d], Tokenizer::Bytes) });
        differs(&Config { separator: Some("\n".into()), ..base.clone() });
        differs(&Config {
            train: Split { max_tokens: None, ..base.train.clone() },
            ..base.clone()
        });
        differs(&config(vec![a.clone()], Tokenizer::File(c.clone())));
        differs(&config(vec![a.clone()], Tokenizer::TrainBpe { vocab_size: 300 }));
        let hub = |revision: &str| Tokenizer::Hub { id: "x/y".into(), revision: revision.into() };
        differs(&config(vec![a.clone()], hub("main")));
        differs(&config(vec![a.clone()], hub("v2")));
        // The text column of a .txt file is not read.
        let other = Config { text_column: "body".into(), ..base.clone() };
        assert_eq!(train, of(&other, SplitKind::Train));

        // Servers are no part of the data; how training rows are filled is, of training alone.
        let mirrored = Config { endpoints: vec!["https://mirror".into()], ..base.clone() };
        assert_eq!(train, of(&mirrored, SplitKind::Train));
        let aligned = Config { packing: Packing::Aligned { row: 8 }, ..base.clone() };
        differs(&aligned);
        differs(&Config { packing: Packing::Aligned { row: 16 }, ..base.clone() });
        assert_eq!(of(&aligned, SplitKind::Validation), of(&base, SplitKind::Validation));

        // A trained tokenizer ties the validation tokens to the train text.
        let bpe = Tokenizer::TrainBpe { vocab_size: 300 };
        assert_ne!(
            of(&config(vec![a], bpe.clone()), SplitKind::Validation),
            of(&config(vec![c], bpe), SplitKind::Validation),
        );
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        fn check(value: &Value) {
            if let Value::Object(map) = value {
                assert!(map.keys().is_sorted(), "{value}");
            }
            match value {
                Value::Object(map) => map.values().for_each(check),
                Value::Array(list) => list.iter().for_each(check),
                _ => {}
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.jsonl");
        std::fs::write(&path, "{}").unwrap();
        let mut config = config(vec![path], Tokenizer::TrainBpe { vocab_size: 300 });
        for source in
            [Source::Synthetic, Source::Hub { id: "a/b".to_owned(), revision: "main".to_owned() }]
        {
            config.source = source;
            for kind in [SplitKind::Train, SplitKind::Validation] {
                check(&identity(&config, kind, &mut ContentHashes::default()).unwrap());
            }
        }
        config.tokenizer = Tokenizer::Hub { id: "a/b".to_owned(), revision: "main".to_owned() };
        check(&identity(&config, SplitKind::Train, &mut ContentHashes::default()).unwrap());
    }

    #[test]
    fn a_split_without_text_or_end_says_what_to_set() {
        let mut config = config(vec![], Tokenizer::Bytes);
        let error = |config: &Config, kind| {
            identity(config, kind, &mut ContentHashes::default()).unwrap_err().to_string()
        };
        assert!(error(&config, SplitKind::Train).contains("`files` in [data.train]"));
        config.validation.max_tokens = None;
        assert!(error(&config, SplitKind::Validation).contains("max_tokens"));
        config.validation = split("test", None);
        assert!(error(&config, SplitKind::Validation).contains("`test`"));
        config.source = Source::Local;
        assert!(error(&config, SplitKind::Validation).contains("`files` in [data.validation]"));
    }

    #[test]
    fn a_changed_file_is_hashed_again_and_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "one").unwrap();
        let mut hashes = ContentHashes::default();
        let first = hashes.hash(&path).unwrap();
        assert_eq!(first, blake3::hash(b"one").to_hex().to_string());
        hashes.check_unchanged().unwrap();
        std::fs::write(&path, "three").unwrap();
        assert!(matches!(hashes.check_unchanged(), Err(Error::Changed { .. })));
        assert_eq!(hashes.hash(&path).unwrap(), blake3::hash(b"three").to_hex().to_string());
    }
}
