//! Weights to start from: a safetensors file, or a Llama checkpoint in the layout of the Hugging Face
//! hub. Which files hold the weights, and whether they are of this model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Tensors, weights};
use crate::fs;
use crate::model::{Config, Layout};

/// What a folder's weights are called if they are in one file.
const WHOLE: &str = "model.safetensors";
/// What lists the shards of a folder's weights.
const INDEX: &str = "model.safetensors.index.json";
/// What says of which model they are.
const CONFIG: &str = "config.json";

/// Weights to start from, as found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initial {
    /// As the spec names it: a file of weights, a folder, or an index of shards.
    pub path: PathBuf,
    /// The files that hold the weights, by name: what enters ids, by content.
    pub files: Vec<PathBuf>,
    /// Their config.json; `None` for a file of weights, which is only held against the shapes.
    config: Option<PathBuf>,
}

/// Why weights cannot be started from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] fs::Error),
    /// It is no checkpoint.
    #[error("`{}` is no checkpoint to start from: {reason}", path.display())]
    NotACheckpoint {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The weights are not those that the model needs.
    #[error(transparent)]
    Weights(#[from] weights::Error),
}

/// A key in which a checkpoint's config.json is not the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// The key of config.json.
    pub key: &'static str,
    /// The key of the spec's `[model]`; `None` where a spec has no choice.
    pub ours: Option<&'static str>,
    /// In words: `4 in its config.json, 8 here`.
    pub problem: String,
}

impl Initial {
    /// Finds the files of a checkpoint: `path` is a safetensors file, an index of shards
    /// (`model.safetensors.index.json`), or a folder with `config.json` and one of the two.
    ///
    /// # Errors
    /// A folder without weights, an index that names no files, a file that is not there.
    pub fn find(path: &Path) -> Result<Self, Error> {
        let not = |reason: String| Error::NotACheckpoint { path: path.to_owned(), reason };
        let of_folder = |folder: &Path, files: Vec<PathBuf>| {
            let config = folder.join(CONFIG);
            if !config.is_file() {
                return Err(not(format!("there is no {CONFIG} beside the weights")));
            }
            Ok(Self { path: path.to_owned(), files, config: Some(config) })
        };
        if path.is_dir() {
            let (whole, index) = (path.join(WHOLE), path.join(INDEX));
            return if whole.is_file() {
                of_folder(path, vec![whole])
            } else if index.is_file() {
                of_folder(path, shards(&index)?)
            } else {
                Err(not(format!("the folder has neither {WHOLE} nor {INDEX}")))
            };
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            let folder = path.parent().unwrap_or(Path::new("."));
            return of_folder(folder, shards(path)?);
        }
        Ok(Self { path: path.to_owned(), files: vec![path.to_owned()], config: None })
    }

    /// In which keys of config.json a checkpoint is not this model; none without a config.json.
    ///
    /// # Errors
    /// A config.json that cannot be read.
    pub fn misfits(&self, model: &Config) -> Result<Vec<Misfit>, Error> {
        Ok(self.keys()?.map_or(Vec::new(), |keys| misfits(&keys, model)))
    }

    /// The keys of config.json, if there is one.
    fn keys(&self) -> Result<Option<Map<String, Value>>, Error> {
        let Some(path) = &self.config else { return Ok(None) };
        let not = |reason: String| Error::NotACheckpoint { path: path.clone(), reason };
        let value: Value = serde_json::from_slice(&fs::read(path)?)
            .map_err(|error| not(format!("its config.json is not JSON: {error}")))?;
        let Value::Object(keys) = value else { return Err(not("it is no JSON object".into())) };
        Ok(Some(keys))
    }

    /// Holds names and shapes against the model, by the files' headers alone.
    ///
    /// # Errors
    /// A file that cannot be read, or that does not hold the model's tensors; an export of a run in
    /// which a part of a head rotates, if other software has written the weights again since: the
    /// order of their rows is then no longer known.
    pub fn check_tensors(&self, model: &Config) -> Result<(), Error> {
        let layout = Layout::new(model);
        let tensors = Tensors::open(&self.files, &layout, &[""])?;
        let exported = self.keys()?.is_some_and(|keys| !keys_rotary_dim(&keys).is_null());
        if exported && !tensors.are_rearranged() {
            let reason = "it was exported with the rows of q and k rearranged (xp_freq.rotary_dim in its \
                          config.json), and its weights were saved again by software that does not say \
                          so; start from the run's own weights.safetensors, or from the export as it was"
                .to_owned();
            return Err(Error::NotACheckpoint { path: self.path.clone(), reason });
        }
        Ok(())
    }

    /// The weights, in the order of the layout.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn load(&self, layout: &Layout) -> Result<Vec<f32>, weights::Error> {
        weights::load_shards(&self.files, layout)
    }
}

/// Of how many dimensions of a head `xp export` says that they rotate, where it is not all; null if it
/// says nothing.
fn keys_rotary_dim(keys: &Map<String, Value>) -> &Value {
    keys.get("xp_freq").map_or(&Value::Null, |freq| &freq["rotary_dim"])
}

/// The files that an index names, each once, by name.
fn shards(index: &Path) -> Result<Vec<PathBuf>, Error> {
    let not = |reason: String| Error::NotACheckpoint { path: index.to_owned(), reason };
    let value: Value = serde_json::from_slice(&fs::read(index)?)
        .map_err(|error| not(format!("the index is not JSON: {error}")))?;
    let map = value["weight_map"].as_object().filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| not("it has no `weight_map` of tensors and files".to_owned()))?;
    let folder = index.parent().unwrap_or(Path::new("."));
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        let name = file.as_str().map(Path::new);
        let plain = name.filter(|name| name.file_name() == Some(name.as_os_str()));
        let name = plain.ok_or_else(|| not(format!("its file of `{tensor}` is no file name")))?;
        files.insert(folder.join(name));
    }
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(not(format!("its shard `{}` is not there", missing.display())));
    }
    Ok(files.into_iter().collect())
}

/// Each key that decides the function, with what `LlamaConfig` of transformers takes where it is
/// missing.
fn misfits(keys: &Map<String, Value>, model: &Config) -> Vec<Misfit> {
    let number = |key: &str| keys.get(key).filter(|value| !value.is_null());
    let or = |key: &str, default: Value| number(key).cloned().unwrap_or(default);
    let hidden = or("hidden_size", json!(4096));
    let heads = or("num_attention_heads", json!(32));
    let head_dim = match (hidden.as_u64(), heads.as_u64()) {
        (Some(hidden), Some(heads)) if heads > 0 => json!(hidden / heads),
        _ => Value::Null,
    };
    let kv_heads = or("num_key_value_heads", heads.clone());
    let mut found = Vec::new();
    let mut hold = |key: &'static str, ours: Option<&'static str>, theirs: &Value, want: Value| {
        // 1 and 1.0 are one number.
        let same = match (theirs.as_f64(), want.as_f64()) {
            (Some(theirs), Some(want)) => theirs == want,
            _ => *theirs == want,
        };
        if !same {
            let problem = format!("{theirs} in its config.json, {want} here");
            found.push(Misfit { key, ours, problem });
        }
    };
    hold("model_type", None, &or("model_type", Value::Null), json!("llama"));
    hold(
        "num_hidden_layers",
        Some("layers"),
        &or("num_hidden_layers", json!(32)),
        json!(model.layers),
    );
    hold("hidden_size", Some("hidden_size"), &hidden, json!(model.hidden_size));
    hold("num_attention_heads", Some("heads"), &heads, json!(model.heads));
    hold("head_dim", Some("head_dim"), &or("head_dim", head_dim), json!(model.head_dim));
    hold(
        "intermediate_size",
        Some("intermediate_size"),
        &or("intermediate_size", json!(11_008)),
        json!(model.intermediate_size),
    );
    hold(
        "vocab_size",
        Some("vocab_size"),
        &or("vocab_size", json!(32_000)),
        json!(model.vocab_size),
    );
    hold("rms_norm_eps", Some("norm_eps"), &or("rms_norm_eps", json!(1e-6)), json!(model.norm_eps));
    hold(
        "tie_word_embeddings",
        Some("tie_embeddings"),
        &or("tie_word_embeddings", json!(false)),
        json!(model.tie_embeddings),
    );
    hold("hidden_act", None, &or("hidden_act", json!("silu")), json!("silu"));
    hold("attention_bias", None, &or("attention_bias", json!(false)), json!(false));
    hold("mlp_bias", None, &or("mlp_bias", json!(false)), json!(false));
    if kv_heads.as_u64() != heads.as_u64() {
        found.push(Misfit {
            key: "num_key_value_heads",
            ours: None,
            problem: format!(
                "{kv_heads} for {heads} heads: grouped queries, and in xp's model every head has \
                 its own key and value"
            ),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Config {
        Config {
            layers: 2,
            hidden_size: 8,
            heads: 2,
            head_dim: 4,
            intermediate_size: 16,
            vocab_size: 10,
            norm_eps: 1e-5,
            init_std: 0.02,
            tie_embeddings: true,
        }
    }

    fn config() -> Value {
        json!({
            "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 10,
            "num_attention_heads": 2, "intermediate_size": 16, "rms_norm_eps": 1e-05,
            "tie_word_embeddings": true, "head_dim": null, "rope_theta": 5e5,
        })
    }

    #[test]
    fn a_config_of_the_model_fits_and_every_key_that_differs_is_named() {
        let keys = |change: &dyn Fn(&mut Value)| {
            let mut config = config();
            change(&mut config);
            let Value::Object(keys) = config else { unreachable!() };
            misfits(&keys, &model()).into_iter().map(|misfit| misfit.key).collect::<Vec<_>>()
        };
        assert!(keys(&|_| {}).is_empty());
        for (key, value) in [
            ("model_type", json!("mistral")),
            ("num_hidden_layers", json!(3)),
            ("head_dim", json!(8)),
            ("intermediate_size", json!(17)),
            ("vocab_size", json!(11)),
            ("rms_norm_eps", json!(1e-6)),
            ("tie_word_embeddings", json!(false)),
            ("hidden_act", json!("gelu")),
            ("attention_bias", json!(true)),
            ("mlp_bias", json!(true)),
            ("num_key_value_heads", json!(1)),
        ] {
            assert_eq!(keys(&|config| config[key] = value.clone()), [key]);
        }
        let several = keys(&|config| {
            config["hidden_size"] = json!(16);
            config.as_object_mut().unwrap().remove("vocab_size");
        });
        assert_eq!(several, ["hidden_size", "head_dim", "vocab_size"]);
    }

    #[test]
    fn files_are_found_by_folder_index_or_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let reason = |path: &Path| Initial::find(path).unwrap_err().to_string();
        assert!(reason(dir.path()).contains("neither model.safetensors nor"));
        let index = |text: &str| std::fs::write(path(INDEX), text).unwrap();
        for (text, why) in [
            ("[", "not JSON"),
            ("{}", "no `weight_map`"),
            (r#"{"weight_map": {"a": "../b.safetensors"}}"#, "no file name"),
            (r#"{"weight_map": {"a": 3}}"#, "no file name"),
            (r#"{"weight_map": {"a": "b.safetensors"}}"#, "b.safetensors` is not there"),
        ] {
            index(text);
            assert!(reason(dir.path()).contains(why), "{text}");
        }
        index(r#"{"weight_map": {"a": "2.st", "b": "1.st", "c": "2.st"}}"#);
        for name in ["1.st", "2.st"] {
            std::fs::write(path(name), "").unwrap();
        }
        assert!(reason(dir.path()).contains("no config.json"));
        std::fs::write(path(CONFIG), config().to_string()).unwrap();
        let folder = Initial::find(dir.path()).unwrap();
        assert_eq!(folder.files, [path("1.st"), path("2.st")]);
        assert_eq!(Initial::find(&path(INDEX)).unwrap().files, folder.files);
        assert_eq!(folder.misfits(&model()).unwrap(), []);
        std::fs::write(path(WHOLE), "").unwrap();
        assert_eq!(Initial::find(dir.path()).unwrap().files, [path(WHOLE)]);
        let file = Initial::find(&path("1.st")).unwrap();
        assert_eq!((file.files.len(), file.misfits(&model()).unwrap()), (1, vec![]));
    }
}
