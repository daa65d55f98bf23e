//! Reading and writing the files of a run.
//!
//! Whole files are replaced atomically, so a reader never sees a part of one. `train.jsonl`
//! grows by one write a line, and its reader takes a cut last line for a kill while writing.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::layout::RunDir;
use super::{ChunkLoss, Lock, Provenance, Record, Status, Step, Training};
use crate::fs;

/// What kind of trouble an error is; `cli` maps it to the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The user's input is wrong: exit 2.
    Usage,
    /// Disk, permission, network: exit 3.
    Environment,
    /// Results that contradict each other or a lock held elsewhere: exit 4.
    Integrity,
}

/// A results file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] fs::Error),
    /// Written by a newer `xp`.
    #[error(
        "`{}` has format {found}, this xp reads up to {supported}; use the newer xp that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u64,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// Not the file that it should be.
    #[error("`{}`{} is damaged: {reason}", path.display(), line.map(|l| format!(", line {l},")).unwrap_or_default())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1, of a file of lines.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// What kind of trouble this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File(_) => ErrorKind::Environment,
            Self::Newer { .. } | Self::Malformed { .. } => ErrorKind::Integrity,
        }
    }

    /// The reason without the path, which may be absolute.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::File(error) => format!("cannot {}: {}", error.action, error.source),
            Self::Newer { found, supported, .. } => {
                format!("it has format {found}, this xp reads up to {supported}; use the newer xp")
            }
            Self::Malformed { line, reason, .. } => {
                let line = line.map(|line| format!(" in line {line}")).unwrap_or_default();
                format!("damaged{line}: {reason}; move it away and run (or import) again")
            }
        }
    }

    pub(super) fn malformed(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { path: path.to_owned(), line: None, reason: reason.to_string() }
    }
}

/// The result of reading or writing a results file.
pub type Result<T> = std::result::Result<T, Error>;

/// A value as this crate writes JSON files: pretty, keys in the order of the type, floats in
/// the shortest form that reads back the same, a newline at the end.
#[must_use]
pub fn to_pretty_json(value: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(value).expect("record types have string keys and no errors");
    text.push('\n');
    text
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    Ok(fs::write_atomic(path, to_pretty_json(value).as_bytes())?)
}

/// Reads a JSON file with a `schema` number: a newer version is refused before anything else of
/// it is looked at.
fn read_json(path: &Path, supported: u32) -> Result<serde_json::Value> {
    let bytes = fs::read(path)?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| Error::malformed(path, error))?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        None => Err(Error::malformed(path, "it has no `schema` number")),
        Some(found) if found > u64::from(supported) => {
            Err(Error::Newer { path: path.to_owned(), found, supported })
        }
        Some(0) => Err(Error::malformed(path, "`schema` is 0; the first format is 1")),
        Some(_) => Ok(value),
    }
}

fn typed<T: DeserializeOwned>(path: &Path, value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::malformed(path, error))
}

/// Writes `run.json`.
///
/// # Errors
/// If the file cannot be written; an older one is then still there.
pub fn write_record(run: &RunDir, record: &Record) -> Result<()> {
    write_json(&run.record(), record)
}

/// Reads a `run.json` by its path.
///
/// # Errors
/// If it cannot be read, is newer than this build, or is not a record.
pub fn read_record(path: &Path) -> Result<Record> {
    typed(path, read_json(path, Record::SCHEMA)?)
}

/// Writes `provenance.json`.
///
/// # Errors
/// If the file cannot be written; an older one is then still there.
pub fn write_provenance(run: &RunDir, provenance: &Provenance) -> Result<()> {
    write_json(&run.provenance(), provenance)
}

/// Reads `provenance.json`; `None` if there is none.
///
/// # Errors
/// If it cannot be read, is newer than this build, or is damaged.
pub fn read_provenance(run: &RunDir) -> Result<Option<Provenance>> {
    let path = run.provenance();
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(typed(&path, read_json(&path, 1)?)?))
}

/// Writes `lock.json`.
///
/// # Errors
/// If the file cannot be written; an older one is then still there.
pub fn write_lock(path: &Path, lock: &Lock) -> Result<()> {
    write_json(path, lock)
}

/// Reads `lock.json`; `None` if there is none.
///
/// # Errors
/// If it cannot be read, is newer than this build, is damaged, or if its frozen declaration no
/// longer has the hash that was frozen with it (it was edited).
pub fn read_lock(path: &Path) -> Result<Option<Lock>> {
    if !path.exists() {
        return Ok(None);
    }
    let value = read_json(path, Lock::SCHEMA)?;
    // The hash is of what stands in the file, not of the types, which may gain fields.
    let hash = super::declared::canonical_hash(value.get("declared").unwrap_or_default());
    let lock: Lock = typed(path, value)?;
    if lock.declared_hash != hash {
        let reason = "`declared` was changed after it was frozen (its hash is not `declared_hash`); \
                      restore the file: changes belong in the spec, and become amendments";
        return Err(Error::malformed(path, reason));
    }
    Ok(Some(lock))
}

/// Writes `eval.jsonl` as a whole, sorted by (transform, length, chunk), as trained first.
///
/// # Errors
/// If the file cannot be written; an older one is then still there.
pub fn write_eval(run: &RunDir, chunks: &[ChunkLoss]) -> Result<()> {
    let mut sorted: Vec<&ChunkLoss> = chunks.iter().collect();
    sorted.sort_by_key(|chunk| (&chunk.transform, chunk.length, chunk.chunk));
    let mut text = String::new();
    for chunk in sorted {
        text.push_str(&to_line(chunk));
    }
    Ok(fs::write_atomic(&run.eval(), text.as_bytes())?)
}

/// Reads `eval.jsonl`; empty if there is none.
///
/// # Errors
/// If it cannot be read or any line is not a chunk: it is written as a whole, so a cut line is
/// damage, not a kill.
pub fn read_eval(run: &RunDir) -> Result<Vec<ChunkLoss>> {
    let path = run.eval();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let (lines, cut) = read_lines(&path)?;
    if cut {
        let line = Some(lines.len() + 1);
        return Err(Error::Malformed { path, line, reason: "the line is cut".to_owned() });
    }
    Ok(lines.into_iter().map(|(value, _)| value).collect())
}

/// `train.jsonl`, open for appending.
#[derive(Debug)]
pub struct TrainLog {
    path: PathBuf,
    file: std::fs::File,
}

impl TrainLog {
    /// Opens `train.jsonl` to continue after step `steps - 1`: the lines of later steps, and a
    /// cut last line, are taken off first. With 0 it starts anew.
    ///
    /// # Errors
    /// If the file cannot be read or opened, or lacks one of the steps before `steps`.
    pub fn open(run: &RunDir, steps: u64) -> Result<Self> {
        truncate_train(run, steps)?;
        let path = run.train();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(fs::Error::at("open", &path))?;
        Ok(Self { path, file })
    }

    /// Appends one step as one write.
    ///
    /// # Errors
    /// If the write fails.
    pub fn append(&mut self, step: &Step) -> Result<()> {
        let line = to_line(step);
        Ok(self.file.write_all(line.as_bytes()).map_err(fs::Error::at("append to", &self.path))?)
    }

    /// Makes the lines so far durable.
    ///
    /// # Errors
    /// If the system cannot sync the file.
    pub fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data().map_err(fs::Error::at("sync", &self.path))?)
    }
}

/// Reads the complete lines of `train.jsonl`; empty if there is none. A cut last line (a kill
/// while writing) is left out.
///
/// # Errors
/// If it cannot be read or a line before the last is not a step.
pub fn read_train(run: &RunDir) -> Result<Vec<Step>> {
    Ok(read_train_lines(&run.train())?.into_iter().map(|(step, _)| step).collect())
}

/// The hash of `train.jsonl`, if it is not the one that a record of the training has.
///
/// # Errors
/// If the file cannot be read, and a record of this version has a hash.
pub fn other_log(run: &RunDir, training: &Training) -> fs::Result<Option<String>> {
    let Some(was) = &training.log else { return Ok(None) };
    Ok(Some(fs::hash_file(&run.train())?).filter(|is| is != was))
}

/// Whether `train.jsonl` is what is written of these steps, byte for byte: as of a run that ended.
///
/// # Errors
/// If it cannot be read.
pub fn is_log_of(run: &RunDir, steps: &[Step]) -> Result<bool> {
    let text: String = steps.iter().map(to_line).collect();
    Ok(fs::read(&run.train())? == text.as_bytes())
}

/// Cuts `train.jsonl` to its first `steps` steps; the bytes of those stay as they are.
///
/// # Errors
/// If it cannot be read or cut, or does not hold the steps 0 to `steps - 1` in order.
pub fn truncate_train(run: &RunDir, steps: u64) -> Result<()> {
    let path = run.train();
    let lines = read_train_lines(&path)?;
    let keep = usize::try_from(steps).unwrap_or(usize::MAX);
    for expected in 0..steps {
        let found = lines.get(expected as usize).map(|(step, _)| step.step);
        if found != Some(expected) {
            let reason = format!("step {expected} of the first {steps} is missing");
            return Err(Error::malformed(&path, reason));
        }
    }
    let end = keep.checked_sub(1).map_or(0, |last| lines[last].1);
    if !path.exists() {
        fs::create_dir_all(run.path())?;
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(&path).map_err(fs::Error::at("open", &path))?;
    file.set_len(end).map_err(fs::Error::at("cut", &path))?;
    Ok(file.sync_data().map_err(fs::Error::at("sync", &path))?)
}

/// The steps of a log and the byte at which each line ends.
fn read_train_lines(path: &Path) -> Result<Vec<(Step, u64)>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let (lines, _cut) = read_lines(path)?;
    Ok(lines)
}

/// The parsed complete lines, each with the byte at which it ends, and whether a last line
/// without an end was left out.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<(Vec<(T, u64)>, bool)> {
    let bytes = fs::read(path)?;
    let mut lines = Vec::new();
    let mut end = 0u64;
    for (index, piece) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if !piece.ends_with(b"\n") {
            return Ok((lines, true));
        }
        end += piece.len() as u64;
        let value = serde_json::from_slice(piece).map_err(|error| Error::Malformed {
            path: path.to_owned(),
            line: Some(index + 1),
            reason: error.to_string(),
        })?;
        lines.push((value, end));
    }
    Ok((lines, false))
}

fn to_line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("record types have no serialisation errors");
    line.push('\n');
    line
}

/// Moves an imported `run.json` (and its provenance) out of the way of a native run, into the
/// next free `attempt-<n>/`; nothing if there is none or it is native. Returns the new folder.
///
/// The native run then is the first attempt, which is the one that counts.
///
/// # Errors
/// If `run.json` cannot be read or a file cannot be moved.
pub fn displace_imported(run: &RunDir) -> Result<Option<RunDir>> {
    let path = run.record();
    if !path.exists() || read_record(&path)?.status != Status::Imported {
        return Ok(None);
    }
    let target = run.attempt(next_attempt(run));
    fs::create_dir_all(target.path())?;
    // The record last: while it is in place, the move can be repeated.
    for (from, to) in [(run.provenance(), target.provenance()), (run.record(), target.record())] {
        if from.exists() {
            std::fs::rename(&from, &to).map_err(fs::Error::at("move", &from))?;
        }
    }
    fs::sync_dir(target.path())?;
    fs::sync_dir(run.path())?;
    Ok(Some(target))
}

/// The first attempt number from 1 without a `run.json`.
#[must_use]
pub fn next_attempt(run: &RunDir) -> u32 {
    let mut number = 1;
    while run.attempt(number).record().exists() {
        number += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::Evaluation;

    fn run_dir() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir(dir.path().join("geo/seed-42"));
        (dir, run)
    }

    fn record(status: Status) -> Record {
        let evaluation = Evaluation { ppl: Some(0.1 + 0.2), nll: Some(-1.0 / 3.0), chunks: None };
        Record {
            schema: 1,
            train_id: String::new(),
            eval_id: String::new(),
            protocol: "p".to_owned(),
            experiment: "e".to_owned(),
            point: None,
            config: "geo".to_owned(),
            seed: 42,
            freq: None,
            status,
            train: None,
            data: None,
            evaluation: None,
            eval: BTreeMap::from([(16384, evaluation.clone()), (2048, evaluation)]),
            transforms: BTreeMap::new(),
        }
    }

    fn step(step: u64) -> Step {
        Step { step, lr: 6e-4, loss: Some(1.5), grad_norm: None }
    }

    #[test]
    fn a_record_reads_back_the_same_and_has_fixed_bytes() {
        let (_dir, run) = run_dir();
        write_record(&run, &record(Status::Done)).unwrap();
        assert_eq!(read_record(&run.record()).unwrap(), record(Status::Done));
        let text = std::fs::read_to_string(run.record()).unwrap();
        assert!(text.starts_with("{\n  \"schema\": 1,\n  \"train_id\""), "{text}");
        assert!(text.contains("0.30000000000000004") && text.ends_with("}\n"), "{text}");
        assert!(text.find("\"2048\"").unwrap() < text.find("\"16384\"").unwrap(), "{text}");
    }

    #[test]
    fn newer_torn_and_foreign_files_are_refused_by_name() {
        let (_dir, run) = run_dir();
        for (text, expected) in [
            (r#"{"schema": 2, "future": true}"#, "has format 2, this xp reads up to 1"),
            (r#"{"schema": 1, "train_id": "#, "is damaged: EOF"),
            (r#"{"schema": 0}"#, "the first format is 1"),
            (r#"{"results": {}}"#, "no `schema` number"),
            (r#"{"schema": 1}"#, "missing field `train_id`"),
            ("", "is damaged: EOF"),
        ] {
            fs::write_atomic(&run.record(), text.as_bytes()).unwrap();
            let error = read_record(&run.record()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains("run.json"), "{error}");
            assert_eq!(error.kind(), ErrorKind::Integrity);
        }
        let missing = read_record(&run.train()).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Environment);
    }

    #[test]
    fn eval_lines_are_sorted_and_a_cut_line_is_damage() {
        let (_dir, run) = run_dir();
        assert_eq!(read_eval(&run).unwrap(), []);
        let chunk = |length, chunk| ChunkLoss {
            length,
            transform: None,
            chunk,
            tokens: length - 1,
            loss: None,
            positions: Vec::new(),
        };
        let under = ChunkLoss { transform: Some("pi(x)".to_owned()), ..chunk(1024, 0) };
        write_eval(&run, &[under.clone(), chunk(4096, 0), chunk(2048, 1), chunk(2048, 0)]).unwrap();
        assert_eq!(read_eval(&run).unwrap().pop(), Some(under));
        write_eval(&run, &[chunk(4096, 0), chunk(2048, 1), chunk(2048, 0)]).unwrap();
        let order = [chunk(2048, 0), chunk(2048, 1), chunk(4096, 0)];
        assert_eq!(read_eval(&run).unwrap(), order);
        let bytes = fs::read(&run.eval()).unwrap();
        std::fs::write(run.eval(), &bytes[..bytes.len() - 3]).unwrap();
        assert!(read_eval(&run).unwrap_err().to_string().contains("line 3, is damaged"));
    }

    #[test]
    fn a_train_log_continues_after_a_kill_with_the_same_bytes() {
        let (_dir, run) = run_dir();
        let mut log = TrainLog::open(&run, 0).unwrap();
        for i in 0..5 {
            log.append(&step(i)).unwrap();
        }
        log.sync().unwrap();
        let whole = fs::read(&run.train()).unwrap();
        // Killed while writing step 4; the checkpoint holds step 3 as the next.
        std::fs::write(run.train(), &whole[..whole.len() - 4]).unwrap();
        assert_eq!(read_train(&run).unwrap(), (0..4).map(step).collect::<Vec<_>>());
        let mut log = TrainLog::open(&run, 3).unwrap();
        assert_eq!(read_train(&run).unwrap().len(), 3);
        log.append(&step(3)).unwrap();
        log.append(&step(4)).unwrap();
        assert_eq!(fs::read(&run.train()).unwrap(), whole);
        let error = TrainLog::open(&run, 6).unwrap_err();
        assert!(error.to_string().contains("step 5 of the first 6 is missing"), "{error}");
        TrainLog::open(&run, 0).unwrap();
        assert_eq!(fs::read(&run.train()).unwrap(), b"");
    }

    #[test]
    fn a_bad_line_inside_a_train_log_is_damage() {
        let (_dir, run) = run_dir();
        TrainLog::open(&run, 0).unwrap();
        let line = to_line(&step(0));
        std::fs::write(run.train(), format!("{line}oops\n{line}")).unwrap();
        assert!(read_train(&run).unwrap_err().to_string().contains("line 2, is damaged"));
    }

    #[test]
    fn a_native_run_displaces_an_imported_one_and_nothing_else() {
        let (_dir, run) = run_dir();
        assert_eq!(displace_imported(&run).unwrap(), None);
        write_record(&run, &record(Status::Imported)).unwrap();
        write_record(&run.attempt(2), &record(Status::Imported)).unwrap();
        assert_eq!(displace_imported(&run).unwrap(), Some(run.attempt(3)));
        assert!(!run.record().exists() && run.attempt(3).record().exists());
        write_record(&run, &record(Status::Done)).unwrap();
        assert_eq!(displace_imported(&run).unwrap(), None);
        assert!(run.record().exists());
    }

    #[test]
    fn an_edited_lock_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock.json");
        assert_eq!(read_lock(&path).unwrap(), None);
        let lock = Lock::freeze(crate::results::testing::declared(), "2026-01-01T00:00:00Z");
        write_lock(&path, &lock).unwrap();
        assert_eq!(read_lock(&path).unwrap(), Some(lock));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            text.replace("\"max_std_over_gap\": 0.5", "\"max_std_over_gap\": 2.0"),
        )
        .unwrap();
        let error = read_lock(&path).unwrap_err();
        assert!(error.to_string().contains("changed after it was frozen"), "{error}");
    }
}
