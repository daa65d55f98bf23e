//! Carrying out a planned merge.

use std::io::Read;
use std::path::Path;

use super::plan::{Planned, Step};
use super::whole::torn;
use super::{Error, Taken, shown};
use crate::fs;
use crate::results::{Layout, RunDir, SUPERSEDED_DIR, store};

/// Folders that are being copied begin with this; a merge that was killed leaves them.
const UNFINISHED: &str = ".xp-merge-";

/// Writes lock.json of the experiments, then the runs.
pub(super) fn carry_out(planned: &Planned, layout: &Layout, date: &str) -> Result<(), Error> {
    // All locks before anything is written: a run that is at work stops the whole merge.
    let mut locks = Vec::new();
    for step in &planned.steps {
        if !locks.iter().any(|(run, _)| *run == &step.to) {
            let busy = || Error::Busy { path: step.to.path().to_owned() };
            locks.push((&step.to, fs::try_lock(&step.to.lock())?.ok_or_else(busy)?));
        }
    }
    for (experiment, (lock, changed)) in &planned.locks {
        if *changed {
            fs::remove_unfinished(&layout.experiment(experiment))?;
            store::write_lock(&layout.lock(experiment), lock)?;
        }
    }
    for step in &planned.steps {
        match step.taken {
            Taken::Replaced => {
                if store::displace_imported(&step.to)?.is_none() {
                    set_aside(step, layout, date)?;
                }
                copy_run(&step.from, &step.to, true)?;
            }
            // The chunks before the record, as an evaluation writes them.
            Taken::Extended => {
                for (from, to) in
                    [(step.from.eval(), step.to.eval()), (step.from.record(), step.to.record())]
                {
                    copy_file(&from, &to)?;
                }
                copy_run(&step.from, &step.to, false)?;
            }
            Taken::Completed => copy_run(&step.from, &step.to, false)?,
            _ => copy_run(&step.from, &step.to, true)?,
        }
    }
    Ok(())
}

/// Moves what is not finished out of the way; the folder of the run stays, with its lock and attempts.
fn set_aside(step: &Step, layout: &Layout, date: &str) -> Result<(), Error> {
    let experiment = layout.experiment(&step.experiment);
    let name = shown(&experiment, step.to.path()).replace('/', "-");
    let target = RunDir(
        experiment
            .join(SUPERSEDED_DIR)
            .join(format!("unfinished-{name}-{}", date.replace(':', ""))),
    );
    fs::create_dir_all(target.path())?;
    // The record last: while it is in place, the move can be gone on with.
    for entry in entries(step.to.path())? {
        let from = step.to.path().join(&entry);
        std::fs::rename(&from, target.path().join(&entry)).map_err(fs::Error::at("move", &from))?;
    }
    fs::sync_dir(target.path())?;
    Ok(fs::sync_dir(step.to.path())?)
}

/// Copies a run's files that the destination lacks or has a part of, or all of them; run.json comes last,
/// with which the run is there.
fn copy_run(from: &RunDir, to: &RunDir, all: bool) -> Result<(), Error> {
    fs::create_dir_all(to.path())?;
    fs::remove_unfinished(to.path())?;
    for left in crate::results::listing::folders(to.path())? {
        if left.0.starts_with(UNFINISHED) {
            std::fs::remove_dir_all(&left.1).map_err(fs::Error::at("remove", &left.1))?;
        }
    }
    let record = store::read_record(&to.record()).ok();
    let torn = record.map_or(Ok(Vec::new()), |record| torn(to, &record))?;
    let torn: Vec<_> = torn.into_iter().map(|(path, _)| path).collect();
    for name in entries(from.path())? {
        let (source, target) = (from.path().join(&name), to.path().join(&name));
        if !all && target.exists() && !torn.contains(&target) {
            continue;
        }
        if source.is_dir() {
            let unfinished = to.path().join(format!("{UNFINISHED}{name}"));
            copy_folder(&source, &unfinished)?;
            if target.exists() {
                std::fs::remove_dir_all(&target).map_err(fs::Error::at("remove", &target))?;
            }
            std::fs::rename(&unfinished, &target).map_err(fs::Error::at("move", &unfinished))?;
            fs::sync_dir(to.path())?;
        } else {
            copy_file(&source, &target)?;
        }
    }
    Ok(())
}

/// The names of what belongs to one carrying-out: not its lock, not further attempts, not what a
/// killed process left. run.json comes last.
fn entries(run: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(run).map_err(fs::Error::at("list", run))? {
        let entry = entry.map_err(fs::Error::at("list", run))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().map_err(fs::Error::at("inspect", &entry.path()))?;
        if !name.starts_with('.') && !name.starts_with("attempt-") && !kind.is_symlink() {
            names.push(name);
        }
    }
    names.sort_by_key(|name| (name == "run.json", name.clone()));
    Ok(names)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to)?;
    for name in entries(from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() { copy_folder(&source, &target)? } else { copy_file(&source, &target)? }
    }
    Ok(())
}

/// Copies a file and reads the copy again: what it holds must be what was read.
fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let mut source = std::fs::File::open(from).map_err(fs::Error::at("read", from))?;
    let mut hasher = blake3::Hasher::new();
    let mut failed = None;
    let written = fs::write_atomic_with(to, |file| {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                // Told apart from a write that fails: the path in the message is another.
                Err(error) => {
                    failed = Some(error);
                    return Err(std::io::Error::other("the source cannot be read"));
                }
            };
            hasher.update(&buffer[..n]);
            file.write_all(&buffer[..n])?;
        }
    });
    if let Some(error) = failed {
        return Err(fs::Error::at("read", from)(error).into());
    }
    written?;
    if fs::hash_file(to)? != hasher.finalize().to_hex().as_str() {
        return Err(Error::Copy { from: from.to_owned(), to: to.to_owned() });
    }
    Ok(())
}
