//! Common mistakes of the command line, told with what would be right.

use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::exit::{self, Exit};

/// Names that a message lists, at most.
const MOST_NAMES: usize = 6;

/// What to say instead of "unrecognized subcommand" where a spec or folder stands in a command's
/// place.
pub fn of_command(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let ContextValue::String(word) = error.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    let path = Path::new(word);
    let shown = path.display();
    if path.is_dir() {
        Some(format!("`{shown}` is a folder, not a command; did you mean `xp show {shown}`?"))
    } else if path.is_file() || is_toml(path) {
        Some(format!(
            "`{shown}` is a file, not a command; `xp check {shown}` looks at a spec, \
             `xp run {shown}` carries it out"
        ))
    } else {
        None
    }
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// Refuses what cannot be a spec before its text is looked at.
///
/// # Errors
/// A folder, a file that is not there, a JSON file; with what is there instead.
pub fn refuse_other_than_spec(path: &Path) -> Result<(), Exit> {
    let shown = path.display();
    let message = if path.is_dir() {
        if path.join("lock.json").is_file() {
            format!(
                "`{shown}` holds results, not a spec; `xp show {shown}` and `xp report {shown}` read it"
            )
        } else {
            let specs = listed(&specs_in(path));
            format!("`{shown}` is a folder; name a spec{specs}")
        }
    } else if path.is_symlink() && !path.exists() {
        format!("`{shown}` is a link to a file that is not there")
    } else if !path.exists() {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let specs = specs_in(folder);
        match nearest(path, &specs) {
            Some(near) => format!("there is no `{shown}`; did you mean `{}`?", near.display()),
            None if specs.is_empty() => {
                format!("there is no `{shown}`; `xp init {shown}` writes a spec to start from")
            }
            None => format!("there is no `{shown}`; beside it{}", listed(&specs)),
        }
    } else if path.extension().is_some_and(|extension| extension == "json" || extension == "csv") {
        format!(
            "`{shown}` is no spec: a spec is TOML (`xp init` writes one); \
             `xp import` takes results, `xp show` a run.json"
        )
    } else {
        return Ok(());
    };
    Err(Exit::new(exit::USAGE, message))
}

/// The TOML files of a folder, by name.
fn specs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut specs: Vec<PathBuf> = entries
        .map(|entry| match folder == Path::new(".") {
            true => entry.file_name().into(),
            false => entry.path(),
        })
        .filter(|path| is_toml(path) && path.file_name().is_some_and(|name| name != "Cargo.toml"))
        .collect();
    specs.sort();
    specs
}

/// `: a.toml, b.toml and 3 more`.
fn listed(specs: &[PathBuf]) -> String {
    if specs.is_empty() {
        return String::new();
    }
    let names = specs.iter().take(MOST_NAMES).map(|path| path.display().to_string());
    let names = names.collect::<Vec<_>>().join(", ");
    match specs.len().checked_sub(MOST_NAMES) {
        Some(more @ 1..) => format!(": {names} and {more} more"),
        _ => format!(": {names}"),
    }
}

/// The file that was probably meant: the same name with its ending, or one like it.
fn nearest<'a>(path: &Path, specs: &'a [PathBuf]) -> Option<&'a PathBuf> {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let wanted = stem(path)?;
    let like = |spec: &PathBuf| stem(spec).map_or(0.0, |stem| strsim::jaro_winkler(&stem, &wanted));
    let best = specs.iter().max_by(|a, b| like(a).total_cmp(&like(b)))?;
    (like(best) > 0.85).then_some(best)
}
