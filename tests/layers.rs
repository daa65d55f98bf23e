//! Imports follow the table of ARCHITECTURE.md: data flows one way, leaves import nothing above.

use std::path::Path;

/// For each module, the modules of the crate that it may name.
const MAY_USE: [(&str, &[&str]); 23] = [
    ("diag", &[]),
    ("canonical", &[]),
    ("fs", &[]),
    ("rng", &[]),
    ("tensor_file", &[]),
    ("plot", &[]),
    ("stats", &[]),
    ("freq", &[]),
    ("export", &["freq"]),
    ("ops", &[]),
    ("optim", &["ops"]),
    ("model", &["ops", "rng"]),
    ("data", &["fs", "rng"]),
    ("results", &["canonical", "fs", "tensor_file"]),
    ("eval", &["results"]),
    ("train", &["data", "fs", "model", "ops", "optim", "tensor_file"]),
    ("report", &["canonical", "fs", "plot", "results", "stats"]),
    ("spec", &["diag", "fs", "data", "eval", "freq", "optim", "results", "train"]),
    (
        "plan",
        &[
            "canonical",
            "data",
            "diag",
            "eval",
            "freq",
            "model",
            "optim",
            "results",
            "spec",
            "train",
        ],
    ),
    (
        "release",
        &["canonical", "data", "export", "freq", "fs", "model", "report", "results", "train"],
    ),
    (
        "run",
        &["canonical", "data", "eval", "freq", "fs", "model", "ops", "plan", "results", "train"],
    ),
    ("submit", &["fs", "plan", "results", "run", "train"]),
    (
        "cli",
        &[
            "canonical",
            "data",
            "diag",
            "export",
            "freq",
            "fs",
            "plan",
            "plot",
            "release",
            "report",
            "results",
            "run",
            "spec",
            "submit",
        ],
    ),
];

fn walk(path: &Path, visit: &mut dyn FnMut(&Path, &str)) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a source folder") {
            walk(&entry.expect("readable").path(), visit);
        }
    } else if path.extension().is_some_and(|e| e == "rs") {
        visit(path, &std::fs::read_to_string(path).expect("a source file"));
    }
}

/// The modules after each `crate::` of a text, comments and tests left out.
fn named_modules(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        let name: String =
            after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !name.is_empty() {
            names.push(name);
            continue;
        }
        // use crate::{a, b::c, d}: the names at the outer level.
        let mut depth = 0;
        let mut word = String::new();
        for c in after.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => names.push(std::mem::take(&mut word)),
                c if depth == 1 && !c.is_whitespace() => word.push(c),
                _ => {}
            }
            if depth == 0 {
                names.push(std::mem::take(&mut word));
                break;
            }
        }
    }
    let first = |name: &String| name.split("::").next().unwrap_or_default().to_owned();
    names.iter().map(first).filter(|name| !name.is_empty() && name != "self").collect()
}

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    walk(&src, &mut |path, text| {
        if path.ends_with("tests.rs") || path.ends_with("testing.rs") {
            return;
        }
        let relative = path.strip_prefix(&src).expect("below src");
        let module = relative.iter().next().expect("a name").to_str().expect("UTF-8");
        let module = module.trim_end_matches(".rs");
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else { return };
        seen += 1;
        for used in named_modules(text) {
            if used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: crate::{used}", relative.display()));
            }
        }
    });
    assert!(seen > 60, "only {seen} files were read");
    assert!(wrong.is_empty(), "imports against ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_is_in_the_table() {
    let lib = include_str!("../src/lib.rs");
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = line.trim_end_matches(';');
        assert!(MAY_USE.iter().any(|(name, _)| *name == module), "{module} is not in MAY_USE");
    }
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    walk(&src, &mut |path, text| {
        for word in ["todo!", "unimplemented!", "dbg!", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    });
}
