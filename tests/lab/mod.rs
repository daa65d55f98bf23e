//! A temporary folder in which the tests run the binary on the tiny spec.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The tiny spec of tests/specs/valid with some text replaced; its path in the folder, where
    /// commands run.
    pub fn spec(&self, name: &str, edits: &[(&str, &str)]) -> String {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/tiny.toml");
        let mut text = std::fs::read_to_string(source).expect("the tiny spec");
        for (from, to) in edits {
            assert!(text.contains(from), "{from} is not in the tiny spec");
            text = text.replace(from, to);
        }
        let path = format!("{name}.toml");
        std::fs::write(self.path(&path), text).expect("a writable folder");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_xp"), args)
    }

    /// A program in the folder, with what `xp` is to have in its environment.
    pub fn command_of(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("XP_CACHE", self.path("cache")).env("COLUMNS", "80");
        command.current_dir(self.dir.path()).env("TMPDIR", self.dir.path());
        command
    }

    pub fn xp(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().expect("xp runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        output
    }
}
