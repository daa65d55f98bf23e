//! The files that a spec names: globs expanded, existence checked.

use std::path::PathBuf;

use super::load::resolve_path;
use super::node::Node;
use crate::diag::Diagnostic;

/// The files of a `files` value (a path, a glob or a list), in the order given, a glob's sorted.
pub fn expand(node: &Node, found: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let items = match node.as_str() {
        Some(_) => std::slice::from_ref(node),
        None => node.items(),
    };
    let mut files = Vec::new();
    for item in items {
        let Some(text) = item.as_str() else { continue };
        let path = resolve_path(item, text);
        if !text.contains(['*', '?', '[']) {
            if existing_file(item, &path, found) {
                files.push(path);
            }
            continue;
        }
        match glob::glob(&path.to_string_lossy()) {
            Ok(paths) => {
                let before = files.len();
                files.extend(paths.flatten().filter(|p| p.is_file()));
                if files.len() == before {
                    found.push(
                        Diagnostic::error("data::no-file", "no file matches this pattern")
                            .at(item.place.clone(), format!("looked for {}", path.display()))
                            .help("paths in a spec are relative to the file they stand in"),
                    );
                }
                files[before..].sort();
            }
            Err(e) => found.push(
                Diagnostic::error("data::no-file", format!("not a glob pattern: {}", e.msg))
                    .at(item.place.clone(), "in this pattern"),
            ),
        }
    }
    files
}

/// Whether the path of a value is a file; a finding if not.
pub fn existing_file(node: &Node, path: &std::path::Path, found: &mut Vec<Diagnostic>) -> bool {
    let label = if path.is_file() {
        return true;
    } else if path.exists() {
        format!("{} is not a file", path.display())
    } else {
        format!("there is no {}", path.display())
    };
    found.push(
        Diagnostic::error("data::no-file", "a file that the spec names is not there")
            .at(node.place.clone(), label)
            .help("paths in a spec are relative to the file they stand in"),
    );
    false
}
