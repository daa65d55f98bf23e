//! What a plan declares, against what its experiment has on record.

use std::collections::BTreeSet;

use super::Error;
use super::observer::Observer;
use super::provenance::now;
use super::state::{Index, run_dir};
use super::streams::Opened;
use crate::fs;
use crate::plan::{Plan, Run};
use crate::results::{self, Layout, Lock, Recorded, RunDir, Status, store};

/// Whether anything native lies under a config's name.
fn has_results(plan: &Plan, layout: &Layout, point: Option<&str>, config: &str) -> bool {
    let seed_dir = layout.run(&plan.experiment, point, config, 0);
    let Some(config_dir) = seed_dir.path().parent() else { return false };
    let seeds = std::fs::read_dir(config_dir).into_iter().flatten().flatten();
    seeds.map(|entry| RunDir(entry.path())).any(|dir| {
        let native = |path: &std::path::Path| {
            store::read_record(path).map_or(true, |record| record.status != Status::Imported)
        };
        (dir.record().exists() && native(&dir.record())) || dir.checkpoint().exists()
    })
}

/// Refuses a changed training part or frequency set under names that have results, or moves the
/// old results away if that is asked for.
pub(super) fn refuse_conflicts(
    plan: &Plan,
    runs: &[Run<'_>],
    layout: &Layout,
    supersede: bool,
) -> Result<(), Error> {
    let Some(lock) = store::read_lock(&layout.lock(&plan.experiment))? else { return Ok(()) };
    let conflicts =
        lock.conflicts(&plan.declared(), |point, config| has_results(plan, layout, point, config));
    if conflicts.is_empty() {
        return Ok(());
    }
    if !supersede {
        return Err(Error::Conflict(conflicts));
    }
    // A repeat lies in the folder of its first attempt, and moves with it.
    for run in runs.iter().filter(|run| run.attempt == 1) {
        let dir = run_dir(plan, run, layout);
        let path = dir.record();
        let old = path.exists().then(|| store::read_record(&path)).transpose()?;
        let old_id = match old {
            Some(record) if record.train_id != run.train_id => record.train_id,
            None if dir.checkpoint().exists() => "unfinished".to_owned(),
            _ => continue,
        };
        let target = layout
            .experiment(&plan.experiment)
            .join(crate::results::SUPERSEDED_DIR)
            .join(format!("{old_id}-{}", now().replace(':', "")));
        fs::create_dir_all(target.parent().expect("a joined path has a parent"))?;
        std::fs::rename(dir.path(), &target).map_err(fs::Error::at("move", dir.path()))?;
    }
    Ok(())
}

/// The lock.json of a plan once its declaration is on record, and whether it is another than the one
/// that is there. Writes nothing.
///
/// # Errors
/// Results that cannot be read.
pub fn on_record(plan: &Plan, layout: &Layout, index: &Index) -> Result<(Lock, bool), Error> {
    // Imported results were seen as well as native ones.
    let after_results = || -> Result<bool, Error> {
        Ok(!results::list(layout, &plan.experiment)?.entries.is_empty()
            || plan.points.iter().any(|point| {
                point.resolved.configs.iter().any(|config| {
                    has_results(plan, layout, point.resolved.name.as_deref(), &config.name)
                })
            }))
    };
    let before = store::read_lock(&layout.lock(&plan.experiment))?;
    let declared_before: BTreeSet<String> =
        before.iter().flat_map(Lock::train_ids).map(str::to_owned).collect();
    let (mut lock, recorded) = Lock::recording(before, &plan.declared(), &now(), after_results)?;
    // What was known elsewhere when it was declared here was not declared before it was known.
    let known = |id: &&str| !declared_before.contains(*id) && index.has(id);
    let known: Vec<String> =
        lock.train_ids().into_iter().filter(known).map(str::to_owned).collect();
    let changed = recorded != Recorded::Before || !known.is_empty();
    lock.known.extend(known);
    Ok((lock, changed))
}

/// Freezes the declaration before the first run, or adds what has changed as an amendment.
pub(super) fn freeze(
    plan: &Plan,
    layout: &Layout,
    streams: &Opened,
    index: &Index,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let _guard = fs::lock(&layout.guard(&plan.experiment))?;
    fs::remove_unfinished(&layout.experiment(&plan.experiment))?;
    let (mut lock, mut changed) = on_record(plan, layout, index)?;
    observer.declared(&lock);
    changed |= streams.record(&mut lock);
    if changed {
        store::write_lock(&layout.lock(&plan.experiment), &lock)?;
    }
    Ok(())
}
