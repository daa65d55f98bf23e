//! From a path to a merged document: `extends`, then `--set`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::{self, Node};
use crate::diag::{Diagnostic, Place, Source};
use crate::fs;

/// Longest spec file, in bytes: a spec is written by hand.
const MAX_BYTES: u64 = 1 << 20;
/// Longest chain of `extends`.
const MAX_EXTENDS: usize = 16;
/// What the sources of `--set` are called; their paths are relative to the working directory.
const SET_SOURCE: &str = "--set";

/// Why a spec could not be loaded.
#[derive(Debug)]
pub enum Error {
    /// The text is wrong.
    Spec(Vec<Diagnostic>),
    /// The file could not be read.
    File(fs::Error),
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Spec(vec![diagnostic])
    }
}

/// Loads a spec, lays it over what it `extends`, and applies `sets` (`key=value`) last.
///
/// # Errors
/// Unreadable files, syntax errors, a circular `extends`, a malformed `--set`.
pub fn load(path: &Path, sets: &[String]) -> Result<Node, Error> {
    let mut chain = Vec::new();
    let mut document = load_extended(path, None, &mut chain)?;
    for set in sets {
        apply_set(&mut document, set)?;
    }
    Ok(document)
}

/// The folder of the file that a value stands in; the working directory for one of `--set`.
#[must_use]
pub fn folder(node: &Node) -> PathBuf {
    let source = &node.place.source.name;
    let dir = if source == SET_SOURCE { None } else { Path::new(source).parent() };
    dir.unwrap_or(Path::new("")).to_owned()
}

/// The path that a string value names, relative to the file that it stands in.
#[must_use]
pub fn resolve_path(node: &Node, text: &str) -> PathBuf {
    folder(node).join(text)
}

fn load_extended(
    path: &Path,
    from: Option<&Node>,
    chain: &mut Vec<PathBuf>,
) -> Result<Node, Error> {
    let document = parse_file(path, from)?;
    let identity = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let circular = chain.contains(&identity);
    chain.push(identity);
    if let Some(from) = from.filter(|_| circular || chain.len() > MAX_EXTENDS) {
        let message = if circular {
            format!("`{}` extends itself", path.display())
        } else {
            format!("more than {MAX_EXTENDS} specs extend one another")
        };
        return Err(Diagnostic::error("spec::circular-extends", message)
            .at(from.place.clone(), "leads back here")
            .help("a spec may extend only specs that do not extend it")
            .into());
    }
    let Some(extends) = document.get("extends") else { return Ok(document) };
    let Some(text) = extends.as_str() else {
        return Err(Diagnostic::error(
            "spec::wrong-type",
            format!("`extends` must be a string, not {}", extends.kind()),
        )
        .at(extends.place.clone(), "expected a path")
        .into());
    };
    let mut base = load_extended(&resolve_path(extends, text), Some(extends), chain)?;
    base.merge(document);
    Ok(base)
}

fn parse_file(path: &Path, from: Option<&Node>) -> Result<Node, Error> {
    let refuse = |code, message: String, help: &str| {
        let diagnostic = Diagnostic::error(code, message).help(help);
        Error::from(match from {
            Some(node) => diagnostic.at(node.place.clone(), "named here"),
            None => diagnostic,
        })
    };
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(refuse(
                "spec::not-a-file",
                format!("`{shown}` is a folder"),
                "name a spec file (.toml)",
            ));
        }
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(refuse(
                "spec::file-not-found",
                format!("there is no spec `{shown}`"),
                "paths are relative to the working directory, in `extends` to the file itself",
            ));
        }
        Err(e) => return Err(Error::File(fs::Error::at("read", path)(e))),
    }
    let Some(bytes) = fs::read_at_most(path, MAX_BYTES).map_err(Error::File)? else {
        return Err(refuse(
            "spec::too-large",
            format!("`{shown}` is longer than the {MAX_BYTES} bytes that a spec has at most"),
            "is this the right file?",
        ));
    };
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&e.as_bytes()[..at]).lines().count().max(1);
        refuse(
            "spec::not-utf8",
            format!("`{shown}` is not UTF-8: byte {at}, line {line}"),
            "save the file as UTF-8",
        )
    })?;
    let source = Arc::new(Source { name: path.display().to_string(), text });
    node::parse(&source).map_err(Error::Spec)
}

fn apply_set(document: &mut Node, set: &str) -> Result<(), Error> {
    let source = Arc::new(Source { name: SET_SOURCE.into(), text: set.to_owned() });
    let whole = Place::new(&source, 0..set.len());
    let Some((key, _)) = set.split_once('=') else {
        return Err(Diagnostic::error("cli::bad-set", format!("`{set}` is not key=value"))
            .at(whole, "no `=`")
            .help("write --set schedule.lr=3e-4")
            .into());
    };
    let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err(Diagnostic::error("cli::bad-set", format!("`{key}` is not a path of keys"))
            .at(Place::new(&source, 0..key.len()), "an empty key")
            .help("write --set schedule.lr=3e-4")
            .into());
    }
    let value = node::parse_value(&source, key.len() + 1).map_err(|(message, span)| {
        Diagnostic::error("cli::bad-set", format!("not a TOML value: {message}"))
            .at(Place::new(&source, span), "here")
            .help("strings with special characters need quotes: --set 'experiment.name=\"a b\"'")
    })?;
    let key_place = Place::new(&source, 0..key.len());
    document.set(&path, &key_place, value).map_err(|place| {
        Diagnostic::error("cli::bad-set", format!("`{key}` leads through a value, not a table"))
            .at(key_place, "set here")
            .at(place, "this is no table")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::node::Value;

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn codes(result: Result<Node, Error>) -> Vec<&'static str> {
        match result {
            Err(Error::Spec(diagnostics)) => diagnostics.iter().map(|d| d.code).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn extends_is_relative_to_its_file_and_set_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "p/base.toml", "[schedule]\nlr = 1e-3\nseq_len = 8\n");
        write(dir.path(), "p/mid.toml", "extends = \"base.toml\"\n[schedule]\nseq_len = 16\n");
        let top = write(dir.path(), "top.toml", "extends = \"p/mid.toml\"\n[model]\nlayers = 2\n");
        let document = load(&top, &["schedule.lr=2e-3".into(), "model.heads=4".into()]).unwrap();
        let number = |path: &[&str]| match document.at(path).unwrap().value {
            Value::Integer(i) => i as f64,
            Value::Float(x) => x,
            _ => panic!(),
        };
        assert_eq!(number(&["schedule", "seq_len"]), 16.0);
        assert_eq!(number(&["schedule", "lr"]), 2e-3);
        assert_eq!(number(&["model", "heads"]), 4.0);
        assert!(document.at(&["schedule", "lr"]).unwrap().place.line_col().starts_with("--set:1:"));
        let seq_len = document.at(&["schedule", "seq_len"]).unwrap();
        assert!(seq_len.place.line_col().contains("mid.toml:3:11"));
        assert_eq!(resolve_path(seq_len, "x.txt"), dir.path().join("p/x.txt"));
    }

    #[test]
    fn bad_files_and_sets_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let a = write(dir.path(), "a.toml", "extends = \"b.toml\"\n");
        write(dir.path(), "b.toml", "extends = \"a.toml\"\n");
        assert_eq!(codes(load(&a, &[])), ["spec::circular-extends"]);
        let c = write(dir.path(), "c.toml", "extends = \"nope.toml\"\n");
        assert_eq!(codes(load(&c, &[])), ["spec::file-not-found"]);
        assert_eq!(codes(load(&dir.path().join("no.toml"), &[])), ["spec::file-not-found"]);
        assert_eq!(codes(load(dir.path(), &[])), ["spec::not-a-file"]);
        let ok = write(dir.path(), "ok.toml", "a = 1\n");
        for set in ["x", "=1", "a..b=1", "a=[1", "a.b=1"] {
            assert_eq!(codes(load(&ok, &[set.into()])), ["cli::bad-set"], "{set}");
        }
        std::fs::write(dir.path().join("l.toml"), b"a = \"\xff\"").unwrap();
        assert_eq!(codes(load(&dir.path().join("l.toml"), &[])), ["spec::not-utf8"]);
        let big = write(dir.path(), "big.toml", &"#".repeat(1 << 21));
        assert_eq!(codes(load(&big, &[])), ["spec::too-large"]);
        if cfg!(unix) {
            // It has no size, and no end.
            assert_eq!(codes(load(Path::new("/dev/zero"), &[])), ["spec::too-large"]);
        }
    }
}
