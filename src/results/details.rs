//! What lies beside a `run.json`: the chunks, the training curve, where it came from.

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    ChunkLoss, Entry, Evaluation, Layout, Listing, Problem, Provenance, Record, RunDir, Status,
    Step, list, store,
};
use crate::fs;

/// Relative difference between the mean of a run's chunks and its `nll` that is still rounding.
const NLL_TOLERANCE: f64 = 1e-9;

/// The files beside one `run.json`, as far as they are there and agree with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// The chunks by transform (canonical expression; `None` as trained) and length.
    pub chunks: Columns,
    /// The steps of the training.
    pub steps: Vec<Step>,
    /// Where the run was carried out.
    pub provenance: Option<Provenance>,
    /// Files that cannot be used: torn, or in contradiction to `run.json`.
    pub problems: Vec<Problem>,
}

impl Details {
    /// Reads what lies beside a record. Total: what cannot be read is among the problems.
    #[must_use]
    pub fn read(layout: &Layout, experiment: &str, entry: &Entry) -> Self {
        let file = layout.experiment(experiment).join(&entry.path);
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        let below = entry.path.trim_end_matches("run.json");
        let run = RunDir(folder);
        let mut details = Self::default();
        let mut problem = |name: &str, reason: String| {
            details.problems.push(Problem { path: format!("{below}{name}"), reason });
        };
        let chunks = store::read_eval(&run).unwrap_or_else(|error| {
            problem("eval.jsonl", error.reason());
            Vec::new()
        });
        let by_column = columns(chunks);
        let contradiction = by_column.iter().find_map(|((transform, length), chunks)| {
            let results = entry.record.results(transform.as_deref());
            contradiction(results.and_then(|results| results.get(length)), *length, chunks)
        });
        match contradiction {
            Some(reason) => problem("eval.jsonl", reason),
            None => details.chunks = by_column,
        }
        match store::read_train(&run) {
            Err(error) => problem("train.jsonl", error.reason()),
            Ok(steps) => match wrong_steps(entry, &steps) {
                Some(reason) => problem("train.jsonl", reason),
                None => details.steps = steps,
            },
        }
        match store::read_provenance(&run) {
            Err(error) => problem("provenance.json", error.reason()),
            Ok(provenance) => details.provenance = provenance,
        }
        details
    }
}

/// As [`list`], and a record whose metrics are not those of the chunks beside it is a [`Problem`] too: one of
/// the two files was changed, and nothing says which. A file of chunks that is not there, or that a kill left
/// ahead of the record, contradicts nothing.
///
/// # Errors
/// If a folder cannot be read.
pub fn list_consistent(layout: &Layout, experiment: &str) -> fs::Result<Listing> {
    let mut listing = list(layout, experiment)?;
    let root = layout.experiment(experiment);
    let mut problems = Vec::new();
    listing.entries.retain(|entry| {
        let file = root.join(&entry.path);
        let run = RunDir(file.parent().map(Path::to_owned).unwrap_or_default());
        let reason = contradicting_chunks(&run, &entry.record);
        let path = entry.path.clone();
        problems.extend(reason.clone().map(|reason| Problem { path, reason }));
        reason.is_none()
    });
    listing.problems.extend(problems);
    listing.problems.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

/// Why a record's metrics are not those of the chunks beside it.
#[must_use]
pub fn contradicting_chunks(run: &RunDir, record: &Record) -> Option<String> {
    if record.status != Status::Done {
        return None;
    }
    // What cannot be read contradicts nothing; `Details` tells of it.
    let chunks = store::read_eval(run).ok()?;
    columns(chunks).iter().find_map(|((transform, length), chunks)| {
        let result = record.results(transform.as_deref())?.get(length)?;
        let all = result.chunks == Some(chunks.len() as u64);
        let reason = all.then(|| contradiction(Some(result), *length, chunks))??;
        Some(format!("eval.jsonl contradicts it: {reason}; put back the one that was changed"))
    })
}

/// Chunks by transform (canonical expression; `None` as trained) and length.
type Columns = BTreeMap<(Option<String>, u64), Vec<ChunkLoss>>;

fn columns(chunks: Vec<ChunkLoss>) -> Columns {
    let mut columns = Columns::new();
    for chunk in chunks {
        columns.entry((chunk.transform.clone(), chunk.length)).or_default().push(chunk);
    }
    columns
}

/// Why chunks are not those of a result.
fn contradiction(result: Option<&Evaluation>, length: u64, chunks: &[ChunkLoss]) -> Option<String> {
    let Some(result) = result else {
        return Some(format!("it has chunks of length {length}, run.json has no result there"));
    };
    if result.chunks != Some(chunks.len() as u64) {
        let declared = result.chunks.map_or("no number of".to_owned(), |n| n.to_string());
        let found = chunks.len();
        return Some(format!(
            "it has {found} chunks of length {length}, run.json {declared} chunks"
        ));
    }
    let sum = chunks.iter().map(|chunk| chunk.loss).sum::<Option<f64>>();
    let mean = sum.map(|sum| sum / chunks.len() as f64);
    let same = match (mean, result.nll) {
        (Some(mean), Some(nll)) => (mean - nll).abs() <= NLL_TOLERANCE * nll.abs(),
        (mean, nll) => mean == nll,
    };
    let shown = |x: Option<f64>| x.map_or("not finite".to_owned(), |x| x.to_string());
    let (mean, nll) = (shown(mean), shown(result.nll));
    (!same).then(|| {
        format!("the mean of its chunks of length {length} is {mean}, run.json has nll {nll}")
    })
}

fn wrong_steps(entry: &Entry, steps: &[Step]) -> Option<String> {
    let trained = entry.record.train.as_ref().filter(|_| entry.record.status == Status::Done)?;
    let found = steps.len() as u64;
    (found > 0 && found != trained.steps)
        .then(|| format!("it has {found} steps, run.json {}", trained.steps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::{GEO, record};

    fn chunk(chunk: u64, loss: f64) -> ChunkLoss {
        ChunkLoss {
            length: 2048,
            transform: None,
            chunk,
            tokens: 2047,
            loss: Some(loss),
            positions: Vec::new(),
        }
    }

    /// A record of two chunks, whose mean loss is 2.
    fn two_chunks() -> Record {
        let mut record = record(GEO, 42, &[(2048, 2f64.exp())]);
        let result = record.eval.get_mut(&2048).unwrap();
        (result.nll, result.chunks) = (Some(2.0), Some(2));
        record
    }

    #[test]
    fn a_record_whose_metrics_are_not_those_of_its_chunks_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let run = layout.run("3cfg_3seed", None, GEO, 42);
        store::write_record(&run, &two_chunks()).unwrap();
        let infinite = |at| ChunkLoss { loss: None, ..chunk(at, 0.0) };
        let other = || ChunkLoss { transform: Some("pi()".into()), ..chunk(0, 9.0) };
        for (chunks, why) in [
            (vec![], None),
            (vec![chunk(0, 1.5), chunk(1, 2.5)], None),
            // As a kill leaves them that came while more was evaluated.
            (vec![chunk(0, 1.5), chunk(1, 2.5), chunk(2, 9.0), other()], None),
            (vec![chunk(0, 1.5), chunk(1, 2.6)], Some("length 2048 is 2.05, run.json has nll 2;")),
            (vec![chunk(0, 1.5), infinite(1)], Some("length 2048 is not finite, run.json has")),
        ] {
            store::write_eval(&run, &chunks).unwrap();
            let listing = list_consistent(&layout, "3cfg_3seed").unwrap();
            assert_eq!(listing.entries.len(), usize::from(why.is_none()), "{chunks:?}");
            let reasons = listing.problems.iter().map(|p| (p.path.as_str(), p.reason.as_str()));
            let reasons: Vec<_> = reasons.collect();
            match (reasons.as_slice(), why) {
                ([], None) => {}
                ([(path, reason)], Some(why)) => {
                    assert_eq!(*path, format!("{GEO}/seed-42/run.json"));
                    assert!(reason.contains(why), "{reason}");
                }
                _ => panic!("{reasons:?}"),
            }
        }
        fs::write_atomic(&run.eval(), b"torn").unwrap();
        assert_eq!(list_consistent(&layout, "3cfg_3seed").unwrap().entries.len(), 1);
    }

    #[test]
    fn files_that_contradict_run_json_are_problems_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, mut own) = (Layout::new(dir.path()), two_chunks());
        own.train.as_mut().unwrap().steps = 1;
        let run = layout.run("3cfg_3seed", None, GEO, 42);
        let entry = Entry { path: format!("{GEO}/seed-42/run.json"), attempt: 1, record: own };
        let read = || Details::read(&layout, "3cfg_3seed", &entry);
        let reasons = |details: &Details| -> Vec<String> {
            details.problems.iter().map(|p| format!("{}: {}", p.path, p.reason)).collect()
        };
        assert_eq!(read(), Details::default(), "without the files there is nothing to say");

        store::write_eval(&run, &[chunk(0, 1.5), chunk(1, 2.5)]).unwrap();
        fs::write_atomic(&run.train(), b"{\"step\":0,\"lr\":0.1,\"loss\":3.0,\"grad_norm\":1.0}\n")
            .unwrap();
        let good = read();
        assert_eq!(reasons(&good), [""; 0]);
        assert_eq!((good.chunks[&(None, 2048)].len(), good.steps.len()), (2, 1));

        for (chunks, why) in [
            (vec![chunk(0, 1.5), chunk(1, 2.6)], "the mean of its chunks of length 2048 is 2.05"),
            (vec![chunk(0, 2.0)], "it has 1 chunks of length 2048, run.json 2 chunks"),
            (vec![ChunkLoss { length: 64, ..chunk(0, 2.0) }], "run.json has no result there"),
        ] {
            store::write_eval(&run, &chunks).unwrap();
            let details = read();
            assert!(details.chunks.is_empty());
            let reasons = reasons(&details);
            assert!(reasons[0].starts_with("geo_500k/seed-42/eval.jsonl: "), "{reasons:?}");
            assert!(reasons[0].contains(why), "{reasons:?}");
        }
        fs::write_atomic(&run.eval(), b"{\"length\":20").unwrap();
        fs::write_atomic(&run.train(), b"{}\n").unwrap();
        fs::write_atomic(&run.provenance(), b"{").unwrap();
        let reasons = reasons(&read());
        assert_eq!(reasons.len(), 3, "{reasons:?}");
        assert!(reasons.iter().all(|reason| reason.contains("damaged")), "{reasons:?}");
        assert!(!reasons.concat().contains(&dir.path().display().to_string()));
    }
}
