//! Reading a `train.jsonl` that grows: only what is new of it, or only its end.
//!
//! Unlike [`super::store::read_train`], which is for what must be whole, these readers look at a file
//! that another process may be writing: a cut last line is one that is not there yet, and a line
//! that is no step is passed over.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{RunDir, Step};
use crate::fs;

/// Enough for the last line and the one before it.
const TAIL_BYTES: u64 = 4096;

/// The last complete step of a run's log; `None` if there is none.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn last_step(run: &RunDir) -> fs::Result<Option<Step>> {
    let path = run.train();
    let Some((mut file, length)) = open(&path)? else { return Ok(None) };
    let start = length.saturating_sub(TAIL_BYTES);
    let bytes = read_from(&mut file, start).map_err(fs::Error::at("read", &path))?;
    Ok(complete(&bytes).0.rev().find_map(|line| serde_json::from_slice(line).ok()))
}

/// The losses of a log, kept up to date by reading what was added to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Loss by step; a loss that is not finite is left out.
    pub losses: Vec<(u64, f64)>,
    /// The last step.
    pub last: Option<Step>,
    /// Bytes read.
    offset: u64,
}

impl Curve {
    /// Reads what is new. A log that has become shorter (its run was resumed from a checkpoint), or
    /// that goes on with another step than the next, is read from its beginning.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn update(&mut self, run: &RunDir) -> fs::Result<()> {
        let path = run.train();
        let Some((mut file, length)) = open(&path)? else {
            *self = Self::default();
            return Ok(());
        };
        if length < self.offset {
            *self = Self::default();
        }
        let bytes = read_from(&mut file, self.offset).map_err(fs::Error::at("read", &path))?;
        if !self.take(&bytes) {
            *self = Self::default();
            let bytes = read_from(&mut file, 0).map_err(fs::Error::at("read", &path))?;
            self.take(&bytes);
        }
        Ok(())
    }

    /// Appends the steps of complete lines; false if they do not follow what is there.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let (lines, end) = complete(bytes);
        for line in lines {
            let Ok(step) = serde_json::from_slice::<Step>(line) else { continue };
            if self.last.as_ref().is_some_and(|last| step.step != last.step + 1) {
                return false;
            }
            self.losses.extend(step.loss.map(|loss| (step.step, loss)));
            self.last = Some(step);
        }
        self.offset += end as u64;
        true
    }
}

fn open(path: &Path) -> fs::Result<Option<(File, u64)>> {
    match File::open(path) {
        Ok(file) => {
            let length = file.metadata().map_err(fs::Error::at("inspect", path))?.len();
            Ok(Some((file, length)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fs::Error::at("read", path)(error)),
    }
}

fn read_from(file: &mut File, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The complete lines, and where the last of them ends.
fn complete(bytes: &[u8]) -> (impl DoubleEndedIterator<Item = &[u8]>, usize) {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    (bytes[..end].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: &str) -> String {
        format!("{{\"step\":{step},\"lr\":0.1,\"loss\":{loss},\"grad_norm\":1.0}}\n")
    }

    #[test]
    fn a_curve_follows_a_log_that_grows_is_torn_and_is_cut_back() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir(dir.path().to_owned());
        let mut curve = Curve::default();
        curve.update(&run).unwrap();
        assert_eq!((curve.clone(), last_step(&run).unwrap()), (Curve::default(), None));

        let mut text: String = (0..200).map(|step| line(step, "2.5")).collect();
        let torn = line(200, "null");
        std::fs::write(run.train(), format!("{text}{}", &torn[..20])).unwrap();
        curve.update(&run).unwrap();
        assert_eq!((curve.losses.len(), curve.last.as_ref().unwrap().step), (200, 199));
        assert_eq!(last_step(&run).unwrap(), curve.last);

        text.push_str(&torn);
        text.push_str(&line(201, "1.5"));
        std::fs::write(run.train(), &text).unwrap();
        curve.update(&run).unwrap();
        assert_eq!(curve.losses[199..], [(199, 2.5), (201, 1.5)]);

        // Cut back to step 100 and grown beyond what was read: other bytes at the same place.
        let resumed: String = (0..101).chain(101..230).map(|step| line(step, "3.25")).collect();
        std::fs::write(run.train(), &resumed[..resumed.len() - 3]).unwrap();
        curve.update(&run).unwrap();
        assert_eq!(curve.last.as_ref().unwrap().step, 228);
        std::fs::write(run.train(), line(0, "4.0")).unwrap();
        curve.update(&run).unwrap();
        assert_eq!(curve.losses, [(0, 4.0)]);
        std::fs::write(run.train(), "").unwrap();
        assert_eq!(last_step(&run).unwrap(), None);
    }
}
