//! `xp` and a hub: what is fetched, what is kept, and every way in which it can fail, through the
//! binary: messages, exit codes, files.

mod failures;
mod fetching;
mod moving;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) use server::{Fault, Server};

/// A folder with a spec that reads a hub dataset, caches of its own, and a hub.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Server,
}

pub(crate) const DATASET: &str = "datasets/tiny/stories";

/// So many stories as lines of JSON; each part has others.
pub(crate) fn stories(part: &str, n: usize) -> String {
    let line = |i| format!("{{\"text\": \"Story {i} of {part}, which is not long.\"}}\n");
    (0..n).map(line).collect()
}

impl Place {
    /// Four training shards of about 4 KB and one validation file.
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), server: Server::start() };
        for i in 0..4 {
            let name = format!("data/train-{i:05}-of-00004.jsonl");
            place.server.put(DATASET, &name, stories(&format!("shard {i}"), 80));
        }
        place.server.put(DATASET, "data/validation.jsonl", stories("validation", 60));
        place.server.put(DATASET, "README.md", "# Stories");
        place.spec("", 6000);
        place
    }

    /// Writes the spec: more keys of `[data]`, and the training tokens (bytes) wanted.
    pub(crate) fn spec(&self, data: &str, tokens: u64) {
        let text = format!(
            r#"
[experiment]
name = "tiny"
seeds = [1]
[model]
layers = 1
hidden_size = 16
heads = 1
intermediate_size = 32
vocab_size = 256
[data]
dataset = "tiny/stories"
tokenizer = "bytes"
{data}
[data.train]
max_tokens = {tokens}
[data.validation]
max_tokens = 2000
[schedule]
seq_len = 32
batch_size = 4
max_steps = 3
lr = 1e-3
[eval]
lengths = [32, 64]
chunks = 2
[[config]]
name = "geo"
freq = "geo(theta=10k)"
"#
        );
        std::fs::write(self.path("spec.toml"), text).unwrap();
    }

    /// A spec with a tokenizer of the hub that knows two words; its text with `"bytes"` instead.
    pub(crate) fn words(&self) -> String {
        let words = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
            "model":{"type":"WordLevel","vocab":{"?":0,"Story":1,"of":2},"unk_token":"?"}}"#;
        self.server.put("models/tiny/words", "tokenizer.json", words);
        self.spec("", 600);
        let spec = std::fs::read_to_string(self.path("spec.toml")).unwrap();
        std::fs::write(self.path("spec.toml"), spec.replace("\"bytes\"", "\"tiny/words\""))
            .unwrap();
        spec
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `xp` with the caches of this place and its hub.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xp"));
        command.args(args).current_dir(self.dir.path());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["HF_", "XP_"].iter().any(|p| name.starts_with(p))
                || name.to_lowercase().ends_with("_proxy")
            {
                command.env_remove(&name);
            }
        }
        command
            .env("HF_HOME", self.path("hf"))
            .env("XP_CACHE", self.path("cache"))
            .env("HF_ENDPOINT", &self.server.url)
            .env("XP_HUB_RETRY_S", "0");
        command
    }

    pub(crate) fn xp(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// `xp data spec.toml`: exit code and stderr.
    pub(crate) fn data(&self) -> (i32, String) {
        told(&self.xp(&["data", "spec.toml"]))
    }

    /// `xp data spec.toml --json`, which must work.
    pub(crate) fn json(&self) -> serde_json::Value {
        let output = self.xp(&["data", "spec.toml", "--json"]);
        assert!(output.status.success(), "{}", told(&output).1);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The folder of the dataset in the hub cache.
    pub(crate) fn repository(&self) -> PathBuf {
        self.path("hf/hub/datasets--tiny--stories")
    }
}

/// Exit code and stderr, which holds no panic.
pub(crate) fn told(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code().unwrap_or(-1), text)
}

/// Files below a folder, as paths relative to it.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
