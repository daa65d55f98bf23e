//! Why a run cannot be exported.

use std::path::PathBuf;

use crate::results::{ErrorKind, store};
use crate::{data, fs, train};

/// Why a run cannot be exported: where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A results file.
    #[error(transparent)]
    Results(#[from] store::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] fs::Error),
    /// The tokenizer or a cache.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The weights are not those of the declared model.
    #[error(transparent)]
    Weights(#[from] train::weights::Error),
    /// What is asked for cannot be done.
    #[error("`{}`: {problem}", path.display())]
    Usage {
        /// The run, or the file in question.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Something that the export needs is not on this machine.
    #[error("`{}`: {problem}", path.display())]
    Missing {
        /// The run, or the file in question.
        path: PathBuf,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The run's files contradict each other.
    #[error("`{}`: {problem}", path.display())]
    Contradiction {
        /// The run, or the file in question.
        path: PathBuf,
        /// What contradicts what.
        problem: String,
    },
}

impl Error {
    /// Whose problem it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Results(error) => error.kind(),
            Self::File(_)
            | Self::Missing { .. }
            | Self::Weights(train::weights::Error::File(_)) => ErrorKind::Environment,
            Self::Data(error) => match error.kind() {
                data::ErrorKind::Input => ErrorKind::Usage,
                data::ErrorKind::Environment | data::ErrorKind::Stopped => ErrorKind::Environment,
                data::ErrorKind::Integrity => ErrorKind::Integrity,
            },
            Self::Usage { .. } => ErrorKind::Usage,
            Self::Contradiction { .. } | Self::Weights(_) => ErrorKind::Integrity,
        }
    }
}
