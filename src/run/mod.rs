//! The interpreter: carries out what a plan asks for and the disk does not hold yet.
//!
//! The only module that sees both plans and training. Whatever the moment of a kill, the next
//! call finds either a finished run, a complete checkpoint, or nothing: `run.json` is written
//! last, and everything before it can be done again to the same bytes.

mod board;
mod carry;
mod context;
#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
mod cuda;
mod declaration;
mod device;
mod evaluate;
pub mod executor;
mod interpret;
mod jobs;
mod kept;
mod lanes;
mod memory;
mod observer;
mod provenance;
mod queue;
mod room;
mod several;
pub mod state;
pub mod status;
mod steps;
mod streams;
mod training;
pub mod verify;

#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
pub use cuda::Cuda;
pub use declaration::on_record;
pub use device::{Cpu, CudaStatus, OpenError, Opened, cuda_status, open};
pub use executor::Executor;
pub use interpret::{Options, Outcome, run, select};
pub use jobs::{Jobs, Speed};
pub use memory::available_memory;
pub use observer::{Ending, Observer, RunObserver};
pub use provenance::{COMMIT, Pace, now, peak_memory};
pub use room::Room;
pub use several::Several;
pub use state::run_dir;
pub use streams::pins;

use crate::{data, fs, results};

/// What stops the interpreter as a whole; the failure of one run does not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A results file.
    #[error(transparent)]
    Results(#[from] results::store::Error),
    /// The data.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] fs::Error),
    /// Results of something else are in the way.
    #[error(
        "{}\nnothing was written; run under another name (--name NAME), or move the old results to superseded/ (--supersede)",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    )]
    Conflict(Vec<String>),
    /// One run's place is taken.
    #[error(transparent)]
    RunConflict(#[from] state::Conflict),
    /// The device.
    #[error(transparent)]
    Executor(#[from] executor::Error),
    /// Tokens that are not those of the experiment's results.
    #[error(
        "the {split} tokens are not those that this experiment began with: {is}; lock.json has {was}. The text, \
         the tokenizer or its software changed under the same name: put it back, or begin anew (--name NAME)"
    )]
    OtherTokens {
        /// Which split.
        split: &'static str,
        /// What lock.json or run.json has.
        was: String,
        /// What is found now.
        is: String,
    },
    /// A training that was carried out again, for a further evaluation, and came to other bits.
    #[error(
        "`{run}`, trained again since its weights were not kept, came to other bits than run.json has: \
         {differ}; results of two trainings are not put together; \
         --force evaluates all of it anew and replaces them"
    )]
    OtherTraining {
        /// The run's folder.
        run: String,
        /// What differs, with both values.
        differ: String,
    },
    /// Weights that are not those of the training.
    #[error(
        "`{}` does not hold the weights that run.json says were trained ({problem}): put the file back, or \
         remove it, and the run is trained again", path.display()
    )]
    OtherWeights {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Chunks that are not those of the metrics that they are to be added to.
    #[error(
        "`{}` is not what run.json was made of: at length {at} it has {is}, run.json {was}; put the file \
         back, or remove it: its chunks are then evaluated again", path.display()
    )]
    OtherChunks {
        /// The file.
        path: std::path::PathBuf,
        /// Length and transform.
        at: String,
        /// The metric in run.json.
        was: String,
        /// That of the file.
        is: String,
    },
    /// A disk that cannot hold what a training ends with.
    #[error(
        "`{}` ends with {:.1} MiB of weights, and that disk has {:.1} MiB left: free some, or use a folder \
         on another disk", run.display(), mib(*needed), mib(*free)
    )]
    Full {
        /// The run's folder.
        run: std::path::PathBuf,
        /// Bytes of its weights.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The spec asks for what its data does not give.
    #[error("{0}")]
    Input(String),
    /// A checkpoint, or results that are to be added to, of another device class.
    #[error(
        "the {what} of `{run}` was made on `{there}`, this is `{here}`: other bits would come out; \
         go on there, or pass --force to go on here"
    )]
    OtherDevice {
        /// What would be gone on with.
        what: &'static str,
        /// The run's folder.
        run: String,
        /// The device class on which it was made.
        there: String,
        /// This device class.
        here: String,
    },
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Whose problem an error is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The spec or the text (exit 2).
    Input,
    /// Disk, device, permission (exit 3).
    Environment,
    /// What is stored is not what it should be (exit 4).
    Integrity,
    /// A signal: nothing is wrong (exit 75).
    Stopped,
}

impl Error {
    /// Whose problem it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Results(e) => match e.kind() {
                results::ErrorKind::Usage => ErrorKind::Input,
                results::ErrorKind::Environment => ErrorKind::Environment,
                results::ErrorKind::Integrity => ErrorKind::Integrity,
            },
            Self::Data(e) => match e.kind() {
                data::ErrorKind::Input => ErrorKind::Input,
                data::ErrorKind::Environment => ErrorKind::Environment,
                data::ErrorKind::Integrity => ErrorKind::Integrity,
                data::ErrorKind::Stopped => ErrorKind::Stopped,
            },
            Self::File(_) | Self::Full { .. } | Self::Executor(executor::Error::Environment(_)) => {
                ErrorKind::Environment
            }
            Self::Executor(executor::Error::Input(_)) | Self::Input(_) => ErrorKind::Input,
            Self::Executor(executor::Error::Stopped) => ErrorKind::Stopped,
            Self::Conflict(_)
            | Self::RunConflict(_)
            | Self::OtherDevice { .. }
            | Self::OtherTraining { .. }
            | Self::OtherWeights { .. }
            | Self::OtherChunks { .. }
            | Self::OtherTokens { .. } => ErrorKind::Integrity,
        }
    }
}
