//! Holding parsed results against the declaration, then writing them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::parse::{Parsed, ParsedRun};
use super::{Error, store};
use crate::fs;
use crate::results::{
    Declared, Evaluation, Frequencies, Layout, Listing, Lock, Point, Provenance, Record, Recorded,
    RunDir, Status, list,
};

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The seed of a file that names none; not needed if the spec declares exactly one.
    pub seed: Option<u64>,
    /// The point of a spec that sweeps protocols; not needed if the file names protocols.
    pub point: Option<String>,
    /// Leave out configs and seeds that the declaration lacks, instead of refusing the file.
    pub ignore_unknown: bool,
    /// Now, UTC, ISO 8601: the date of the lock or of an amendment.
    pub date: String,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// One entry a run of the file that was taken.
    pub runs: Vec<Imported>,
    /// Runs left out: unknown ones under `ignore_unknown`, and ones without a number.
    pub skipped: Vec<String>,
    /// Whether this import froze the declaration in a new `lock.json`.
    pub froze: bool,
    /// The changes that this import added to `lock.json` as an amendment.
    pub amended: Vec<String>,
}

/// One run of an imported file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Imported {
    /// Sweep point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Config name.
    pub config: String,
    /// The seed.
    pub seed: u64,
    /// Numbers (lengths) that the file has for it.
    pub lengths: usize,
    /// What became of them.
    pub taken: Taken,
}

/// What became of an imported run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// The first result of its config and seed.
    New,
    /// The same values were there already; nothing was written.
    AlreadyThere,
    /// The same values were there, and lengths were added to them.
    Extended,
    /// Other values were there: kept beside them as a further attempt, which does not count.
    FurtherAttempt,
}

impl Outcome {
    /// How many runs were taken in this way.
    #[must_use]
    pub fn count(&self, taken: Taken) -> usize {
        self.runs.iter().filter(|run| run.taken == taken).count()
    }
}

struct Write {
    dir: RunDir,
    record: Record,
    provenance: Provenance,
}

/// Writes the runs of a parsed file as records of status `imported` (nll = ln ppl, chunks and
/// train null) and freezes or amends `lock.json`. Lengths that are not declared are kept.
/// `frequencies` are the declared sets by config name, put into the records.
///
/// # Errors
/// Everything wrong with the file at once; a native run of the same config and seed; results
/// under the same name of another training or other frequencies; another process at work.
/// Nothing is written then.
pub fn import(
    layout: &Layout,
    declared: &Declared,
    parsed: &Parsed,
    frequencies: &BTreeMap<String, Frequencies>,
    options: &Options,
) -> Result<Outcome, Error> {
    let experiment = &declared.experiment;
    // Before the lock is taken, which makes the folder: a wrong file leaves no trace.
    let lock = store::read_lock(&layout.lock(experiment))?;
    let (placed, skipped) = place_all(declared, lock.as_ref(), parsed, options)?;

    let busy = || Error::Busy { path: layout.experiment(experiment) };
    let _guard = fs::try_lock(&layout.guard(experiment))?.ok_or_else(busy)?;
    let lock = store::read_lock(&layout.lock(experiment))?;
    let listing = list(layout, experiment)?;
    if let Some(lock) = &lock {
        let conflicts =
            lock.conflicts(declared, |point, config| has_results(&listing, point, config));
        if !conflicts.is_empty() {
            return Err(Error::Conflict { experiment: experiment.clone(), conflicts });
        }
    }
    let mut outcome = Outcome { skipped, ..Outcome::default() };
    let writes = plan_writes(layout, declared, parsed, frequencies, placed, &mut outcome)?;

    let after_results = || Ok::<_, Error>(!listing.entries.is_empty());
    let (lock, recorded) = Lock::recording(lock, declared, &options.date, after_results)?;
    match recorded {
        Recorded::Frozen => outcome.froze = true,
        Recorded::Amended => {
            outcome.amended = lock.amendments.last().map(|a| a.changes.clone()).unwrap_or_default();
        }
        Recorded::Before => {}
    }
    if recorded != Recorded::Before {
        store::write_lock(&layout.lock(experiment), &lock)?;
    }
    for write in writes {
        store::write_provenance(&write.dir, &write.provenance)?;
        store::write_record(&write.dir, &write.record)?;
    }
    Ok(outcome)
}

/// A parsed run with its place in the declaration.
struct Placed<'a> {
    point: &'a Point,
    seed: u64,
    run: &'a ParsedRun,
}

/// Gives every run its point and seed, or says everything that is wrong.
fn place_all<'a>(
    declared: &'a Declared,
    lock: Option<&Lock>,
    parsed: &'a Parsed,
    options: &Options,
) -> Result<(Vec<Placed<'a>>, Vec<String>), Error> {
    let mut findings = Vec::new();
    let mut unknown = Vec::new();
    let mut placed = Vec::new();
    if options.seed.is_some() && parsed.runs.iter().any(|run| run.seed.is_some()) {
        findings.push("it names seeds itself; leave --seed out".to_owned());
    }
    if let Some(point) = &options.point
        && declared.point(Some(point)).is_none()
    {
        findings.push(format!("the spec has no point `{point}`"));
    }
    let only_seed = match declared.seeds.as_slice() {
        &[seed] => Some(seed),
        _ => None,
    };
    let mut seed_asked = false;
    for run in &parsed.runs {
        let Some(seed) = run.seed.or(options.seed).or(only_seed) else {
            if !std::mem::replace(&mut seed_asked, true) {
                findings.push(format!(
                    "it does not say of which seed it is; give --seed (declared: {})",
                    joined(&declared.seeds)
                ));
            }
            continue;
        };
        let point = match point_of(declared, lock, run, options) {
            Ok(point) => point,
            Err(finding) => {
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
                continue;
            }
        };
        if !point.configs.iter().any(|config| config.name == run.config) {
            unknown.push(format!("config `{}` is not declared", run.config));
        } else if !declared.seeds.contains(&seed) {
            unknown.push(format!(
                "seed {seed} of {} is not declared (declared: {})",
                run.config,
                joined(&declared.seeds)
            ));
        } else {
            placed.push(Placed { point, seed, run });
        }
    }
    unknown.dedup();
    let mut skipped = parsed.skipped.clone();
    if options.ignore_unknown {
        skipped.extend(unknown);
    } else if !unknown.is_empty() {
        findings.extend(unknown);
        findings.push("--ignore-unknown leaves these out".to_owned());
    }
    if findings.is_empty() && placed.is_empty() {
        findings.push(format!("none of its results can be taken: {}", skipped.join("; ")));
    }
    if findings.is_empty() {
        Ok((placed, skipped))
    } else {
        Err(Error::Invalid { file: parsed.file.clone(), findings })
    }
}

fn point_of<'a>(
    declared: &'a Declared,
    lock: Option<&Lock>,
    run: &ParsedRun,
    options: &Options,
) -> Result<&'a Point, String> {
    let candidates: Vec<&Point> = declared
        .points
        .iter()
        .filter(|point| options.point.is_none() || point.name == options.point)
        .collect();
    if let Some(protocol) = &run.protocol {
        let same = |point: &&&Point| point.compatible_protocols(lock).contains(protocol.as_str());
        return candidates.iter().find(same).copied().ok_or_else(|| {
            format!("protocol {protocol} is not the spec's: other settings, no comparison")
        });
    }
    match candidates.as_slice() {
        &[point] => Ok(point),
        _ => Err("the spec sweeps protocols and the file does not say of which point it is; \
                  give --point"
            .to_owned()),
    }
}

/// What is already in the folder of one run.
struct Existing {
    dir: RunDir,
    record: Record,
}

fn plan_writes(
    layout: &Layout,
    declared: &Declared,
    parsed: &Parsed,
    frequencies: &BTreeMap<String, Frequencies>,
    placed: Vec<Placed>,
    outcome: &mut Outcome,
) -> Result<Vec<Write>, Error> {
    let source = format!("{} (blake3 {})", parsed.file, parsed.hash);
    let mut existing: BTreeMap<RunDir, Vec<Existing>> = BTreeMap::new();
    let mut native = Vec::new();
    let mut writes: Vec<Write> = Vec::new();
    for Placed { point, seed, run } in placed {
        let config = &run.config;
        let dir = layout.run(&declared.experiment, point.name.as_deref(), config, seed);
        if !existing.contains_key(&dir) {
            existing.insert(dir.clone(), read_attempts(&dir)?);
        }
        let attempts = existing.get_mut(&dir).expect("inserted above");
        if attempts.iter().any(|attempt| attempt.record.status != Status::Imported) {
            let place = point.name.as_ref().map(|p| format!("{p}/")).unwrap_or_default();
            native.push(format!("{place}{config} seed {seed}"));
            continue;
        }
        let (taken, target, record) = if let Some(attempt) =
            attempts.iter_mut().find(|attempt| agrees(&attempt.record, run))
        {
            let before = attempt.record.eval.len();
            attempt.record.eval.extend(evaluations(run));
            let grown = attempt.record.eval.len() > before;
            let taken = if grown { Taken::Extended } else { Taken::AlreadyThere };
            (taken, attempt.dir.clone(), attempt.record.clone())
        } else {
            let number = attempts.len() as u32 + 1;
            let taken = if number == 1 { Taken::New } else { Taken::FurtherAttempt };
            let record = new_record(declared, point, seed, run, frequencies.get(config));
            let target = dir.attempt(number);
            attempts.push(Existing { dir: target.clone(), record: record.clone() });
            (taken, target, record)
        };
        outcome.runs.push(Imported {
            point: point.name.clone(),
            config: config.clone(),
            seed,
            lengths: run.ppl.len(),
            taken,
        });
        if taken != Taken::AlreadyThere {
            let provenance = provenance(&target, &source)?;
            // A second part of the same attempt replaces the first write of it.
            writes.retain(|write| write.dir != target);
            writes.push(Write { dir: target, record, provenance });
        }
    }
    if native.is_empty() { Ok(writes) } else { Err(Error::NativeRun { runs: native }) }
}

/// The records of a run's attempts 1, 2, … without a gap.
fn read_attempts(dir: &RunDir) -> Result<Vec<Existing>, Error> {
    let mut attempts = Vec::new();
    for number in 1.. {
        let dir = dir.attempt(number);
        if !dir.record().exists() {
            break;
        }
        let record = store::read_record(&dir.record())?;
        attempts.push(Existing { dir, record });
    }
    Ok(attempts)
}

/// Whether the run is the one on record: a length in common, and no length with another value.
fn agrees(record: &Record, run: &ParsedRun) -> bool {
    let mut common = 0;
    for (length, ppl) in &run.ppl {
        match record.eval.get(length) {
            Some(evaluation) if evaluation.ppl == Some(*ppl) => common += 1,
            Some(_) => return false,
            None => {}
        }
    }
    common > 0
}

fn evaluations(run: &ParsedRun) -> impl Iterator<Item = (u64, Evaluation)> {
    run.ppl.iter().map(|(&length, &ppl)| {
        (length, Evaluation { ppl: Some(ppl), nll: Some(libm::log(ppl)), chunks: None })
    })
}

fn new_record(
    declared: &Declared,
    point: &Point,
    seed: u64,
    run: &ParsedRun,
    frequencies: Option<&Frequencies>,
) -> Record {
    Record {
        schema: Record::SCHEMA,
        train_id: String::new(),
        eval_id: String::new(),
        protocol: point.protocol.clone(),
        experiment: declared.experiment.clone(),
        point: point.name.clone(),
        config: run.config.clone(),
        seed,
        freq: frequencies.cloned(),
        status: Status::Imported,
        train: None,
        data: None,
        evaluation: None,
        eval: evaluations(run).collect(),
        transforms: BTreeMap::new(),
    }
}

fn provenance(dir: &RunDir, source: &str) -> Result<Provenance, Error> {
    let mut provenance = store::read_provenance(dir)?.unwrap_or_else(|| Provenance {
        schema: 1,
        versions: BTreeMap::from([("xp".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        ..Provenance::default()
    });
    provenance.source = Some(match provenance.source {
        Some(before) if before != source => format!("{before}; {source}"),
        _ => source.to_owned(),
    });
    Ok(provenance)
}

fn has_results(listing: &Listing, point: Option<&str>, config: &str) -> bool {
    let prefix = match point {
        Some(point) => format!("{point}/{config}/"),
        None => format!("{config}/"),
    };
    let entries = listing.entries.iter().map(|entry| &entry.path);
    let problems = listing.problems.iter().map(|problem| &problem.path);
    entries.chain(problems).any(|path| path.starts_with(&prefix))
}

fn joined(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::ErrorKind;
    use crate::results::testing::{GEO, HYBRID, declared, record};

    const TABLE: &str = include_str!("../../../results/reference/3cfg_3seed.csv");
    const DATE: &str = "2026-01-01T00:00:00Z";

    fn options() -> Options {
        Options { date: DATE.to_owned(), ..Options::default() }
    }

    fn parsed(text: &str) -> Parsed {
        Parsed::from_bytes("table", text.as_bytes()).unwrap()
    }

    fn run(layout: &Layout, text: &str, options: &Options) -> Result<Outcome, Error> {
        import(layout, &declared(), &parsed(text), &BTreeMap::new(), options)
    }

    fn nothing_in(dir: &tempfile::TempDir) -> bool {
        std::fs::read_dir(dir.path()).unwrap().next().is_none()
    }

    #[test]
    fn the_reference_table_comes_in_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let freq = record(GEO, 42, &[]).freq.unwrap();
        let frequencies = BTreeMap::from([(GEO.to_owned(), freq.clone())]);
        let outcome =
            import(&layout, &declared(), &parsed(TABLE), &frequencies, &options()).unwrap();
        assert_eq!((outcome.count(Taken::New), outcome.runs.len(), outcome.froze), (9, 9, true));
        let run_dir = layout.run("3cfg_3seed", None, GEO, 42);
        let first = store::read_record(&run_dir.record()).unwrap();
        assert_eq!(first.status, Status::Imported);
        assert_eq!((first.train.as_ref(), first.train_id.as_str()), (None, ""));
        assert_eq!(first.freq, Some(freq));
        let at = &first.eval[&16384];
        assert_eq!((at.ppl, at.chunks), (Some(18.224), None));
        assert!((at.nll.unwrap() - 18.224f64.ln()).abs() < 1e-12);
        let source = store::read_provenance(&run_dir).unwrap().unwrap().source.unwrap();
        assert!(source.starts_with("table (blake3 "), "{source}");

        let again = import(&layout, &declared(), &parsed(TABLE), &frequencies, &options()).unwrap();
        assert_eq!((again.count(Taken::AlreadyThere), again.froze), (9, false));
        assert!(again.amended.is_empty());
        let listing = list(&layout, "3cfg_3seed").unwrap();
        assert_eq!((listing.entries.len(), listing.problems.len()), (9, 0));
    }

    #[test]
    fn other_values_are_a_further_attempt_and_more_lengths_extend() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let with_seed = Options { seed: Some(42), ..options() };
        let import = |text: &str| run(&layout, text, &with_seed).unwrap().runs[0].taken;
        assert_eq!(import(r#"{"geo_500k": {"2048": 6.8}}"#), Taken::New);
        assert_eq!(import(r#"{"geo_500k": {"2048": 6.9}}"#), Taken::FurtherAttempt);
        assert_eq!(import(r#"{"geo_500k": {"2048": 6.9, "999": 9}}"#), Taken::Extended);
        assert_eq!(import(r#"{"geo_500k": {"999": 9}}"#), Taken::AlreadyThere);
        assert_eq!(import(r#"{"geo_500k": {"2048": 6.8}}"#), Taken::AlreadyThere);
        let first = layout.run("3cfg_3seed", None, GEO, 42);
        assert_eq!(store::read_record(&first.record()).unwrap().eval.len(), 1);
        assert_eq!(store::read_record(&first.attempt(2).record()).unwrap().eval.len(), 2);
        assert!(!first.attempt(3).path().exists());
    }

    #[test]
    fn unknown_configs_and_seeds_are_named_or_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let text = r#"{"results": {"geo_500k": {"42": {"2048": 6.8}, "8": {"2048": 6.9}},
                                   "goe": {"42": {"2048": 6.8}}}}"#;
        let error = run(&layout, text, &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let message = error.to_string();
        assert!(message.contains("config `goe` is not declared"), "{message}");
        assert!(message.contains("seed 8 of geo_500k is not declared"), "{message}");
        assert!(nothing_in(&dir));
        let ignoring = Options { ignore_unknown: true, ..options() };
        let outcome = run(&layout, text, &ignoring).unwrap();
        assert_eq!((outcome.runs.len(), outcome.skipped.len()), (1, 2));
        let error = run(&layout, r#"{"results": {"x": {"1": {"2": 3}}}}"#, &ignoring).unwrap_err();
        assert!(error.to_string().contains("none of its results can be taken"), "{error}");
    }

    #[test]
    fn the_seed_must_be_known() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let flat = r#"{"geo_500k": {"2048": 6.8}, "hybrid_a0.2_t100k": {"2048": 6.7}}"#;
        let error = run(&layout, flat, &options()).unwrap_err().to_string();
        assert_eq!(error.matches("give --seed (declared: 42, 123, 7)").count(), 1, "{error}");
        let with_seed = Options { seed: Some(42), ..options() };
        let nested = r#"{"results": {"geo_500k": {"42": {"2048": 6.8}}}}"#;
        let error = run(&layout, nested, &with_seed).unwrap_err().to_string();
        assert!(error.contains("leave --seed out"), "{error}");
        assert!(nothing_in(&dir));
        let mut one = declared();
        one.seeds = vec![42];
        let outcome = import(&layout, &one, &parsed(flat), &BTreeMap::new(), &options()).unwrap();
        assert!(outcome.runs.iter().all(|run| run.seed == 42));
    }

    #[test]
    fn a_native_run_is_never_replaced_and_nothing_is_written_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let native = layout.run("3cfg_3seed", None, HYBRID, 7);
        store::write_record(&native, &record(HYBRID, 7, &[(2048, 6.5)])).unwrap();
        let error = run(&layout, TABLE, &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(error.to_string().contains("hybrid_a0.2_t100k seed 7"), "{error}");
        assert_eq!(list(&layout, "3cfg_3seed").unwrap().entries.len(), 1);
        assert!(!layout.lock("3cfg_3seed").exists());
    }

    #[test]
    fn a_damaged_record_in_the_way_is_an_integrity_error() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let torn = layout.run("3cfg_3seed", None, HYBRID, 7);
        fs::write_atomic(&torn.record(), b"{").unwrap();
        assert_eq!(run(&layout, TABLE, &options()).unwrap_err().kind(), ErrorKind::Integrity);
    }

    #[test]
    fn another_protocol_is_refused_by_id_by_point_and_by_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let foreign = TABLE.replacen("3cfg_3seed,,", "3cfg_3seed,p9,", 1);
        let error = run(&layout, &foreign, &options()).unwrap_err();
        assert!(error.to_string().contains("protocol p9 is not the spec's"), "{error}");
        let own = TABLE.replace("3cfg_3seed,,", "3cfg_3seed,p0,");
        assert_eq!(run(&layout, &own, &options()).unwrap().runs.len(), 9);

        let mut changed = declared();
        changed.points[0].training["schedule"]["lr"] = serde_json::json!(1e-3);
        changed.points[0].protocol = "p1".to_owned();
        let error = import(&layout, &changed, &parsed(TABLE), &BTreeMap::new(), &options());
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(error.to_string().contains("schedule.lr: 0.0006 → 0.001"), "{error}");

        let mut swept = declared();
        swept.experiment = "swept".to_owned();
        swept.points = ["lr=1", "lr=2"]
            .into_iter()
            .map(|name| {
                let mut point = declared().points.remove(0);
                point.name = Some(name.to_owned());
                point.protocol = name.to_owned();
                point
            })
            .collect();
        let import = |text: &str, options: &Options| {
            import(&layout, &swept, &parsed(text), &BTreeMap::new(), options)
        };
        let error = import(TABLE, &options()).unwrap_err();
        assert!(error.to_string().contains("give --point"), "{error}");
        let by_id = TABLE.replace("3cfg_3seed,,", "3cfg_3seed,lr=2,");
        let outcome = import(&by_id, &options()).unwrap();
        assert!(outcome.runs.iter().all(|run| run.point.as_deref() == Some("lr=2")));
        let chosen = Options { point: Some("lr=1".to_owned()), ..options() };
        assert_eq!(import(TABLE, &chosen).unwrap().count(Taken::New), 9);
    }

    #[test]
    fn a_changed_rule_after_results_becomes_an_amendment() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        run(&layout, TABLE, &options()).unwrap();
        let mut looser = declared();
        looser.win.max_std_over_gap = 2.0;
        let outcome =
            import(&layout, &looser, &parsed(TABLE), &BTreeMap::new(), &options()).unwrap();
        assert_eq!(outcome.amended, ["win rule, max_std_over_gap: 0.5 → 2"]);
        let lock = store::read_lock(&layout.lock("3cfg_3seed")).unwrap().unwrap();
        assert!(lock.amendments[0].after_results);
    }

    #[test]
    fn another_process_at_work_is_waited_for_by_the_user() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let _held = fs::try_lock(&layout.guard("3cfg_3seed")).unwrap().unwrap();
        let error = run(&layout, TABLE, &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(list(&layout, "3cfg_3seed").unwrap().entries.is_empty());
    }
}
