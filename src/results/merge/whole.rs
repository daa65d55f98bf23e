//! Whether a finished run's files are all of what its `run.json` speaks of: a copy may have been cut off.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::fs;
use crate::results::{Record, RunDir, Status, last_step, store};
use crate::tensor_file::read_header;

/// The files of a finished run that are there and are not whole, each with what is wrong. Bytes within
/// weights are not looked at: whoever reads them holds them to their hash.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn torn(run: &RunDir, record: &Record) -> fs::Result<Vec<(PathBuf, String)>> {
    if !matches!(record.status, Status::Done | Status::Diverged) {
        return Ok(Vec::new());
    }
    let found = [
        (run.train(), torn_log(run, record)?),
        (run.weights(), torn_weights(&run.weights())?),
        (run.eval(), torn_chunks(run, record)),
    ];
    Ok(found.into_iter().filter_map(|(path, reason)| Some((path, reason?))).collect())
}

fn torn_log(run: &RunDir, record: &Record) -> fs::Result<Option<String>> {
    let Some(train) = record.train.as_ref().filter(|_| run.train().exists()) else {
        return Ok(None);
    };
    if train.log.is_some() {
        let other = store::other_log(run, train)?;
        return Ok(other.map(|_| "it is not the log whose hash run.json has".to_owned()));
    }
    let steps = last_step(run)?.map_or(0, |last| last.step + 1);
    Ok((steps != train.steps).then(|| format!("it has {steps} steps, run.json {}", train.steps)))
}

fn torn_weights(path: &Path) -> fs::Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let read = || {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        read_header(&mut file, len)
    };
    Ok(read().map_err(fs::Error::at("read", path))?.err())
}

fn torn_chunks(run: &RunDir, record: &Record) -> Option<String> {
    if !run.eval().exists() {
        return None;
    }
    let lines = match store::read_eval(run) {
        Ok(lines) => lines,
        Err(error) => return Some(error.reason()),
    };
    let transforms = record.transforms.keys().map(|name| Some(name.as_str()));
    [None].into_iter().chain(transforms).find_map(|transform| {
        record.results(transform)?.iter().find_map(|(length, result)| {
            let own = lines.iter().filter(|line| line.length == *length);
            let own = own.filter(|line| line.transform.as_deref() == transform);
            let (own, wanted) = (own.count() as u64, result.chunks?);
            (own < wanted).then(|| {
                format!("it has {own} of the {wanted} chunks of length {length} that run.json has")
            })
        })
    })
}
