//! The folders that a merge reads.

use std::path::{Path, PathBuf};

use super::Error;
use crate::fs;
use crate::results::{Layout, store};

/// A results folder, with the experiments in it.
pub(super) struct Source {
    /// As it was named.
    pub name: PathBuf,
    pub layout: Layout,
    pub experiments: Vec<String>,
}

/// The sources behind the paths that were named.
pub(super) fn find(named: &[PathBuf], destination: &Path) -> Result<Vec<Source>, Error> {
    let wrong = |path: &PathBuf, reason: String| Error::Source { path: path.clone(), reason };
    let mut real: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut sources = Vec::new();
    // A destination that is not there yet cannot lie in a source but through its parent.
    let target = destination.canonicalize().or_else(|_| std::path::absolute(destination));
    let target = target.map_err(fs::Error::at("find", destination))?;
    for path in named {
        if !path.is_dir() {
            let what = if path.exists() { "is not a folder" } else { "is not there" };
            return Err(wrong(path, what.into()));
        }
        let own = path.canonicalize().map_err(fs::Error::at("find", path))?;
        let source = source(path, &own)?;
        // An experiment's folder is held against the destination's folder of the same name.
        let meant = match own == *source.layout.root() {
            true => target.clone(),
            false => target.join(&source.experiments[0]),
        };
        if own == meant {
            return Err(wrong(path, "is the destination itself (--results)".into()));
        }
        if own.starts_with(&target) || target.starts_with(&own) {
            let reason =
                format!("and the destination `{}` lie in each other", destination.display());
            return Err(wrong(path, reason));
        }
        if let Some((other, _)) =
            real.iter().find(|(_, o)| o.starts_with(&own) || own.starts_with(o))
        {
            return Err(wrong(path, format!("and `{}` are, or hold, the same", other.display())));
        }
        real.push((path.clone(), own));
        sources.push(source);
    }
    Ok(sources)
}

/// `own` is the path without links.
fn source(path: &Path, own: &Path) -> Result<Source, Error> {
    let wrong = |reason: String| Error::Source { path: path.to_owned(), reason };
    if own.join("lock.json").is_file() {
        let lock = store::read_lock(&own.join("lock.json"))?;
        let name = lock.map(|lock| lock.declared.experiment).unwrap_or_default();
        if own.file_name().is_none_or(|folder| folder.to_str() != Some(&name)) {
            return Err(wrong(format!("holds experiment {name}: give the folder that name again")));
        }
        let layout = Layout::new(own.parent().unwrap_or(Path::new("/")));
        return Ok(Source { name: path.to_owned(), layout, experiments: vec![name] });
    }
    let layout = Layout::new(own);
    let mut experiments = Vec::new();
    for entry in std::fs::read_dir(own).map_err(fs::Error::at("list", own))? {
        let entry = entry.map_err(fs::Error::at("list", own))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if layout.lock(&name).is_file() {
            experiments.push(name);
        }
    }
    if experiments.is_empty() {
        return Err(wrong(
            "holds no results: a results folder holds experiments, an experiment's has lock.json"
                .into(),
        ));
    }
    experiments.sort();
    Ok(Source { name: path.to_owned(), layout, experiments })
}
