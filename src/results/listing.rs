//! What an experiment's folder holds: the records that can be trusted, and the files that cannot.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::layout::{Layout, REPORT_DIR, RunDir, SUPERSEDED_DIR};
use super::{Lock, Record, Status, store};
use crate::fs;

/// Folders between an experiment's and a `run.json`, at most: point, config, seed, attempt.
const MAX_DEPTH: usize = 4;
/// Relative difference between `ppl` and exp(`nll`) that is still rounding.
const PPL_TOLERANCE: f64 = 1e-6;

/// The records of an experiment's folder, in the order of their paths.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Records that agree with their place and with themselves.
    pub entries: Vec<Entry>,
    /// Files that do not; none of their numbers is in `entries`.
    pub problems: Vec<Problem>,
}

/// One `run.json` and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Path below the experiment's folder, with `/`.
    pub path: String,
    /// 1, or the number of the `attempt-<n>` folder.
    pub attempt: u32,
    /// The record.
    pub record: Record,
}

/// A file that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Path below the experiment's folder, with `/`.
    pub path: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// Lists every `run.json` of an experiment but those under `report/` and `superseded/`.
///
/// An experiment without a folder has no records. A file that is torn, newer, or contradicts
/// its place is a [`Problem`], not an error.
///
/// # Errors
/// If a folder cannot be read.
pub fn list(layout: &Layout, experiment: &str) -> fs::Result<Listing> {
    let root = layout.experiment(experiment);
    let mut listing = Listing::default();
    if root.is_dir() {
        walk(&root, &mut Vec::new(), experiment, &mut listing)?;
    }
    Ok(listing)
}

/// Every record that can be trusted, of all experiments under the results directory, first
/// attempts only, with its folder. Folders that cannot be read hold none.
#[must_use]
pub fn all_records(layout: &Layout) -> Vec<(RunDir, Record)> {
    let experiments = folders(layout.root()).unwrap_or_default();
    let mut records = Vec::new();
    for (experiment, folder) in experiments {
        let listing = list(layout, &experiment).unwrap_or_default();
        for entry in listing.entries.into_iter().filter(|entry| entry.attempt == 1) {
            let run = folder.join(&entry.path);
            let run = run.parent().expect("a record lies in a folder").to_owned();
            records.push((RunDir(run), entry.record));
        }
    }
    records
}

/// A run's folder as an absolute path. A results directory may hold links to other disks: the place
/// is the one before the link.
///
/// # Errors
/// If there is no such folder.
pub fn absolute_run(folder: &Path) -> fs::Result<PathBuf> {
    let resolved = folder.canonicalize().map_err(fs::Error::at("open", folder))?;
    let plain = std::path::absolute(folder).map_err(fs::Error::at("open", folder))?;
    let simple = !plain.components().any(|part| part == std::path::Component::ParentDir);
    Ok(if simple && experiment_above(&plain).is_some() { plain } else { resolved })
}

/// The nearest folder above a run's, or an attempt's, that holds a lock.json.
#[must_use]
pub fn experiment_above(run: &Path) -> Option<PathBuf> {
    let above = run.ancestors().skip(1).take(MAX_DEPTH);
    above.into_iter().find(|folder| folder.join("lock.json").is_file()).map(Path::to_owned)
}

/// Every `lock.json` under the results directory that can be read.
#[must_use]
pub fn all_locks(layout: &Layout) -> Vec<Lock> {
    let experiments = folders(layout.root()).unwrap_or_default();
    let lock = |(name, _): (String, PathBuf)| store::read_lock(&layout.lock(&name)).ok().flatten();
    experiments.into_iter().filter_map(lock).collect()
}

fn walk(
    dir: &Path,
    parts: &mut Vec<String>,
    experiment: &str,
    listing: &mut Listing,
) -> fs::Result<()> {
    let record = dir.join("run.json");
    if !parts.is_empty() && record.is_file() {
        visit(&record, parts, experiment, listing);
    }
    if parts.len() == MAX_DEPTH {
        return Ok(());
    }
    let inside_run = parts.last().is_some_and(|part| seed_of(part).is_some());
    for (name, path) in folders(dir)? {
        let skip = match parts.len() {
            0 => name == REPORT_DIR || name == SUPERSEDED_DIR,
            // Nothing below a seed but its attempts: not checkpoint/, not tb/.
            _ => inside_run && attempt_of(&name).is_none(),
        };
        if skip || name.starts_with('.') {
            continue;
        }
        parts.push(name);
        walk(&path, parts, experiment, listing)?;
        parts.pop();
    }
    Ok(())
}

/// The folders in `dir` by name, so that the order does not depend on the file system.
pub(super) fn folders(dir: &Path) -> fs::Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fs::Error::at("list", dir))? {
        let entry = entry.map_err(fs::Error::at("list", dir))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A link to a folder (results moved to another disk) counts as one; the depth is bounded.
        let kind = entry.file_type().map_err(fs::Error::at("inspect", &path))?;
        if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
            folders.push((name, path));
        }
    }
    folders.sort();
    Ok(folders)
}

fn visit(file: &Path, parts: &[String], experiment: &str, listing: &mut Listing) {
    let path = format!("{}/run.json", parts.join("/"));
    let outcome = match store::read_record(file) {
        Ok(record) => match contradiction(&record, parts, experiment) {
            None => Ok(record),
            Some(reason) => Err(reason),
        },
        Err(error) => Err(error.reason()),
    };
    match outcome {
        Ok(record) => {
            let attempt = parts.last().and_then(|part| attempt_of(part)).unwrap_or(1);
            listing.entries.push(Entry { path, attempt, record });
        }
        Err(reason) => listing.problems.push(Problem { path, reason }),
    }
}

/// What contradicts the record: its place, or its own numbers.
fn contradiction(record: &Record, parts: &[String], experiment: &str) -> Option<String> {
    let run = match parts.last() {
        Some(last) if attempt_of(last).is_some() => &parts[..parts.len() - 1],
        _ => parts,
    };
    let place: Option<(Option<&str>, &str, u64)> = match run {
        [config, seed] => seed_of(seed).map(|seed| (None, config.as_str(), seed)),
        [point, config, seed] => {
            seed_of(seed).map(|seed| (Some(point.as_str()), config.as_str(), seed))
        }
        _ => None,
    };
    let Some(place) = place else {
        return Some("it is not in a folder [<point>/]<config>/seed-<seed>".to_owned());
    };
    let own = (record.point.as_deref(), record.config.as_str(), record.seed);
    if own != place {
        let point = |point: Option<&str>| point.map(|p| format!("{p}/")).unwrap_or_default();
        return Some(format!(
            "it says it is {}{} seed {}, but it lies in the folder of {}{} seed {}",
            point(own.0),
            own.1,
            own.2,
            point(place.0),
            place.1,
            place.2
        ));
    }
    if record.experiment != experiment {
        return Some(format!(
            "it belongs to experiment {}, but it lies in the folder of {experiment}",
            record.experiment
        ));
    }
    contradictory_numbers(record)
}

fn contradictory_numbers(record: &Record) -> Option<String> {
    let as_trained = record.eval.iter().map(|(length, result)| (length.to_string(), result));
    let transformed = record.transforms.iter().flat_map(|(expression, evaluations)| {
        let results = evaluations.iter();
        results.map(move |(length, result)| (format!("{length} under {expression}"), result))
    });
    for (place, evaluation) in as_trained.chain(transformed) {
        let (ppl, nll) = match (evaluation.ppl, evaluation.nll) {
            (Some(ppl), Some(nll)) => (ppl, nll),
            // A finite nll above 709 has no finite perplexity.
            (None, _) => continue,
            (Some(_), None) => return Some(format!("at {place} it has a ppl but no nll")),
        };
        let expected = libm::exp(nll);
        if !(ppl > 0.0 && (ppl - expected).abs() <= PPL_TOLERANCE * expected) {
            return Some(format!("at {place} its ppl {ppl} is not exp(nll) = {expected}"));
        }
    }
    if record.status == Status::Imported && !record.train_id.is_empty() {
        return Some("it is imported but has a train id".to_owned());
    }
    None
}

pub(super) fn seed_of(folder: &str) -> Option<u64> {
    canonical_number(folder.strip_prefix("seed-")?)
}

pub(super) fn attempt_of(folder: &str) -> Option<u32> {
    let number = canonical_number(folder.strip_prefix("attempt-")?)?;
    u32::try_from(number).ok().filter(|&n| n >= 2)
}

/// A number as this crate writes it: `007` and `+7` are other names.
fn canonical_number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::testing::{GEO, HYBRID, record};

    #[test]
    fn it_finds_records_and_attempts_and_skips_what_is_not_current() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(list(&layout, "3cfg_3seed").unwrap(), Listing::default());
        let run = layout.run("3cfg_3seed", None, GEO, 42);
        let own = record(GEO, 42, &[(2048, 6.8)]);
        store::write_record(&run, &own).unwrap();
        store::write_record(&run.attempt(2), &own).unwrap();
        for skipped in ["report/x/seed-1", "superseded/abc/geo/seed-42", "geo_500k/seed-42/tb"] {
            let path = layout.experiment("3cfg_3seed").join(skipped).join("run.json");
            fs::write_atomic(&path, b"torn").unwrap();
        }
        let mut swept = record(GEO, 7, &[(2048, 6.8)]);
        swept.point = Some("lr=0.1".to_owned());
        let place = layout.run("3cfg_3seed", Some("lr=0.1"), GEO, 7);
        store::write_record(&place, &swept).unwrap();
        let listing = list(&layout, "3cfg_3seed").unwrap();
        assert_eq!(listing.problems, []);
        let found: Vec<_> = listing.entries.iter().map(|e| (e.path.as_str(), e.attempt)).collect();
        assert_eq!(
            found,
            [
                ("geo_500k/seed-42/run.json", 1),
                ("geo_500k/seed-42/attempt-2/run.json", 2),
                ("lr=0.1/geo_500k/seed-7/run.json", 1),
            ]
        );
    }

    #[test]
    fn torn_foreign_and_contradictory_files_are_problems() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let run = |config, seed| layout.run("3cfg_3seed", None, config, seed);
        fs::write_atomic(&run(GEO, 1).record(), b"{\"schema\": 1, \"tra").unwrap();
        fs::write_atomic(&run(GEO, 2).record(), b"{\"schema\": 9}").unwrap();
        store::write_record(&run(GEO, 3), &record(HYBRID, 3, &[])).unwrap();
        let mut foreign = record(GEO, 4, &[]);
        foreign.experiment = "other".to_owned();
        store::write_record(&run(GEO, 4), &foreign).unwrap();
        let mut wrong = record(GEO, 5, &[(2048, 6.8)]);
        wrong.eval.get_mut(&2048).unwrap().nll = Some(3.0);
        let mut under = record(GEO, 6, &[(2048, 6.8)]);
        let results = BTreeMap::from([(2048, wrong.eval[&2048].clone())]);
        under.transforms.insert("pi({trained}, factor=2)".to_owned(), results);
        store::write_record(&run(GEO, 6), &under).unwrap();
        store::write_record(&run(GEO, 5), &wrong).unwrap();
        let odd = layout.experiment("3cfg_3seed").join("a/run.json");
        fs::write_atomic(&odd, &fs::read(&run(GEO, 5).record()).unwrap()).unwrap();
        let listing = list(&layout, "3cfg_3seed").unwrap();
        assert_eq!(listing.entries, []);
        let reasons: Vec<_> = listing.problems.iter().map(|p| p.reason.as_str()).collect();
        for (reason, expected) in reasons.iter().zip([
            "it is not in a folder",
            "damaged: EOF",
            "it has format 9",
            "it says it is hybrid_a0.2_t100k seed 3, but it lies in the folder of geo_500k seed 3",
            "it belongs to experiment other",
            "at 2048 its ppl 6.8 is not exp(nll)",
            "at 2048 under pi({trained}, factor=2) its ppl 6.8 is not exp(nll)",
        ]) {
            assert!(reason.contains(expected), "{reason} lacks {expected}");
        }
        assert_eq!(reasons.len(), 7);
        let all = format!("{:?}", listing.problems);
        assert!(!all.contains(&dir.path().display().to_string()), "{all}");
    }
}
