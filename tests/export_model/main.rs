//! `xp export`: the files, what llama.cpp and transformers compute with them, and what is refused.
//!
//! The values of transformers were made by tests/reference/export_model.py with the real library, on
//! weights that no step changes, and so are the same bits everywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

mod computed;
mod files;
#[path = "../reference/logits.rs"]
#[expect(dead_code, reason = "its main is for the script")]
mod logits;
mod refusals;

/// A folder with the runs of reference/export/export.toml.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// Carries the spec out, with settings of its own.
    fn new(sets: &[&str]) -> Self {
        let lab = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        lab.run("r", sets);
        lab
    }

    fn run(&self, results: &str, sets: &[&str]) {
        let spec = reference().join("export/export.toml");
        let mut args = vec!["run", spec.to_str().expect("UTF-8"), "--results", results, "-q"];
        args.extend(sets.iter().flat_map(|set| ["--set", set]));
        ok(&self.xp(&args));
    }

    fn xp(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xp"));
        command.args(args).env("XP_CACHE", self.path("cache"));
        command.env("HF_HUB_CACHE", self.path("hub")).env("HF_HUB_OFFLINE", "1");
        command.current_dir(self.dir.path()).output().expect("xp runs")
    }

    fn export(&self, config: &str, to: &str, destination: &str, more: &[&str]) -> Output {
        let run = format!("r/export/{config}/seed-0");
        self.xp(&[&["export", &run, "--to", to, destination], more].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run_of(&self, config: &str) -> PathBuf {
        self.path(&format!("r/export/{config}/seed-0"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).expect(name)).expect("JSON")
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).expect(name);
        assert!(text.contains(from), "{from} is not in {name}");
        std::fs::write(self.path(name), text.replacen(from, to, 1)).expect(name);
    }
}

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ok(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
}

/// Every file of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable"));
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, std::fs::read(entry.path()).expect("readable"))
    };
    entries.map(read).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digits: Vec<_> =
        sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}
