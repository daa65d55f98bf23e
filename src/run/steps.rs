//! Where the steps of a training go: to the end of `train.jsonl`, or, of a training carried out again,
//! against those that are there.

use super::Error;
use crate::results::store::TrainLog;
use crate::results::{RunDir, Step};

/// Who is told of each step.
pub(super) enum Steps {
    /// `train.jsonl`, open at its end.
    New(TrainLog),
    /// The steps of the training that is carried out again, all of them: the file stays as it is.
    Again(RunDir, Vec<Step>),
}

impl Steps {
    /// Opens the log of a training that goes on after step `from - 1`.
    pub fn open(dir: &RunDir, from: u64) -> Result<Self, Error> {
        Ok(Self::New(TrainLog::open(dir, from)?))
    }

    /// The log of a training carried out again, of `steps` steps, of which it holds these; one that is
    /// not whole goes on after step `from - 1`.
    pub fn again(dir: &RunDir, held: Vec<Step>, from: u64, steps: u64) -> Result<Self, Error> {
        if held.len() as u64 == steps {
            Ok(Self::Again(dir.clone(), held))
        } else {
            Self::open(dir, from)
        }
    }

    /// Takes a step.
    ///
    /// # Errors
    /// A write that fails; a step that is another than it was.
    pub fn take(&mut self, step: &Step) -> Result<(), Error> {
        match self {
            Self::New(log) => Ok(log.append(step)?),
            Self::Again(dir, held) => {
                let was = usize::try_from(step.step).ok().and_then(|at| held.get(at));
                let Some(differ) = was.and_then(|was| was.difference(step)) else { return Ok(()) };
                Err(Error::OtherTraining { run: dir.path().display().to_string(), differ })
            }
        }
    }

    /// Makes the steps so far durable.
    ///
    /// # Errors
    /// If the system cannot sync the file.
    pub fn sync(&self) -> Result<(), Error> {
        match self {
            Self::New(log) => Ok(log.sync()?),
            Self::Again(..) => Ok(()),
        }
    }
}
