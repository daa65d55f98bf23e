//! One sample a mistake, with its whole rendered message; every error code has one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Codes that no spec file can show, and where they are tested instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cli::bad-set", "spec::load"),
    ("spec::internal", "a bug of xp, if it ever shows"),
    ("spec::not-utf8", "spec::load: the file could not be edited as text"),
    ("spec::too-large", "spec::load: a file of a megabyte"),
    ("freq::context", "freq: a spec always gives the context"),
    ("freq::too-large", "freq: an expression of 64 KiB"),
    ("freq::spec", "cli::freq: a spec beside expressions"),
    ("freq::export", "tests/export.rs: xp freq --export"),
    ("freq::write", "xp freq --csv"),
    ("freq::same-set", "a warning"),
    ("freq::base-confounded", "a warning: plan::tests"),
    ("freq::grids-differ", "a warning: plan::tests"),
    ("freq::ignores-trained", "a warning: plan::tests"),
    ("freq::no-effect", "a warning: plan::tests"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn samples() -> Vec<PathBuf> {
    let folder = root().join("tests/specs/invalid");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the samples are there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

fn check(path: &Path) -> (i32, String) {
    let relative = path.strip_prefix(root()).expect("below the root");
    let output = Command::new(env!("CARGO_BIN_EXE_xp"))
        .args(["check", "--color", "never"])
        .arg(relative)
        .current_dir(root())
        .output()
        .expect("xp runs");
    let code = output.status.code().expect("xp is not killed");
    (code, String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn every_sample_is_refused_with_its_message() {
    for path in samples() {
        let (code, stderr) = check(&path);
        let name = path.file_stem().expect("a file").to_str().expect("UTF-8").to_owned();
        assert_eq!(code, 2, "{name}: {stderr}");
        assert!(!stderr.contains("panicked"), "{name}: {stderr}");
        insta::with_settings!({ snapshot_path => "specs/invalid", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, stderr);
        });
    }
}

/// The code in a sample's name: `spec-unknown-key-elsewhere` shows `spec::unknown-key`.
fn shown_codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for path in samples() {
        let (_, stderr) = check(&path);
        for line in stderr.lines() {
            if let Some(code) = line.strip_prefix("error[").and_then(|l| l.split(']').next()) {
                codes.insert(code.to_owned());
            }
        }
    }
    codes
}

/// Every code that stands in the source, from its quoted form.
fn source_codes(dir: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("a source folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            source_codes(&path, codes);
            continue;
        }
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for quoted in text.split('"').skip(1).step_by(2) {
            let layer = quoted.split("::").next().unwrap_or_default();
            let kind = quoted.strip_prefix(layer).and_then(|k| k.strip_prefix("::"));
            let is_kind =
                |k: &str| k.chars().all(|c| c.is_ascii_lowercase() || "-0123456789".contains(c));
            if ["spec", "sweep", "template", "data", "cli", "freq"].contains(&layer)
                && kind.is_some_and(|k| !k.is_empty() && is_kind(k))
            {
                codes.insert(quoted.to_owned());
            }
        }
    }
}

#[test]
fn every_error_code_has_a_sample() {
    let mut codes = BTreeSet::new();
    source_codes(&root().join("src"), &mut codes);
    assert!(codes.len() > 40, "{codes:?}");
    let warnings: BTreeSet<&str> = xp::freq::CHECKS.iter().map(|(code, _)| *code).collect();
    let shown = shown_codes();
    let missing: Vec<&String> = codes
        .iter()
        .filter(|code| !shown.contains(*code) && !warnings.contains(code.as_str()))
        .filter(|code| !ELSEWHERE.iter().any(|(elsewhere, _)| elsewhere == code))
        .collect();
    assert!(missing.is_empty(), "no sample in tests/specs/invalid shows {missing:?}");
}

#[test]
fn valid_specs_and_the_shipped_ones_pass() {
    let shared = root().join("../shared/data").is_dir();
    for pattern in ["tests/specs/valid/*.toml", "specs/*.toml"] {
        for path in glob::glob(&root().join(pattern).to_string_lossy()).expect("a pattern") {
            let path = path.expect("a readable folder");
            let text = std::fs::read_to_string(&path).expect("a spec");
            assert!(text.starts_with("#:schema "), "{}: no schema line", path.display());
            if text.contains("../shared/") && !shared {
                eprintln!("skipped: {} reads ../shared/data, which is not there", path.display());
                continue;
            }
            let (code, stderr) = check(&path);
            assert_eq!(code, 0, "{}: {stderr}", path.display());
        }
    }
}
