//! The union of results folders: what was carried out on several machines, in one place.
//!
//! Sources stay as they are, and no result of the destination is ever overwritten: a run that both
//! have is one, if its bytes agree, and otherwise the second is kept as a further attempt. All that is
//! wrong is found before anything is written.

mod carry;
mod declarations;
mod plan;
mod sources;
mod whole;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::store::{self, ErrorKind};
use super::{Layout, Problem};
use crate::fs;

/// What became of a run of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// The destination had nothing of it.
    New,
    /// It is there already, with the same bytes or with more.
    AlreadyThere,
    /// The same run, with files that the destination lacked or had a part of.
    Completed,
    /// The same run, with further chunks, lengths or transforms evaluated.
    Extended,
    /// It took the place of one that was not finished, which is in `superseded/` now.
    Replaced,
    /// The destination's is further on: left out.
    LessComplete,
    /// Other bytes than those that are there: kept beside them, as an attempt that does not count.
    FurtherAttempt,
}

/// One run of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Path below the results folder: `<experiment>/[<point>/]<config>/seed-<seed>`.
    pub run: String,
    /// The attempt that it is now, from 1.
    pub attempt: u32,
    /// The source, as it was named.
    pub source: String,
    /// What became of it.
    pub taken: Taken,
}

/// What a merge did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// One entry a run, in the order of sources and paths.
    pub runs: Vec<Merged>,
    /// What the declarations of sources added, by experiment.
    pub amended: Vec<(String, Vec<String>)>,
    /// Files of sources that cannot be used, by source; nothing of their runs was taken.
    pub problems: Vec<(String, Problem)>,
}

impl Outcome {
    /// How many runs were taken in this way.
    #[must_use]
    pub fn count(&self, taken: Taken) -> usize {
        self.runs.iter().filter(|run| run.taken == taken).count()
    }

    /// Whether the destination was (or would be) changed.
    #[must_use]
    pub fn changes(&self) -> bool {
        let still = |run: &Merged| matches!(run.taken, Taken::AlreadyThere | Taken::LessComplete);
        !self.amended.is_empty() || !self.runs.iter().all(still)
    }
}

/// Why nothing was merged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source that is none.
    #[error("`{}` {reason}", path.display())]
    Source {
        /// The source, as it was named.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Results under one name that are not of one experiment.
    #[error(
        "not the results of one experiment, nothing was written:\n  {}\nmerge into another folder \
         (--results DIR), or run one of them under another name (--name)",
        conflicts.join("\n  ")
    )]
    Conflict {
        /// What differs.
        conflicts: Vec<String>,
    },
    /// A process is at a run or at an experiment.
    #[error("another xp process is at `{}`; wait for it and merge again", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A copy that is not what was copied.
    #[error(
        "`{}` was copied to `{}`, which does not hold the same bytes; look after the disk, and merge \
         again",
        from.display(),
        to.display()
    )]
    Copy {
        /// The file.
        from: PathBuf,
        /// Its copy.
        to: PathBuf,
    },
    /// A results file of the destination that is damaged, or a write that failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A folder or file that cannot be read or written.
    #[error(transparent)]
    File(#[from] fs::Error),
}

impl Error {
    /// What kind of trouble this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { .. } => ErrorKind::Usage,
            Self::Conflict { .. } | Self::Busy { .. } => ErrorKind::Integrity,
            Self::Copy { .. } | Self::File(_) => ErrorKind::Environment,
            Self::Store(error) => error.kind(),
        }
    }
}

/// Merges the results of `sources` (results folders, or folders of one experiment) into `layout`; with
/// `dry_run` it only says what it would do. `date` is UTC, ISO 8601: of folders under `superseded/`.
///
/// A merge that was killed is gone on with by merging again; merging again changes nothing.
///
/// # Errors
/// Sources that are none, or that lie in each other; results under one name that are not of one
/// experiment; a process at work at either side: nothing is written then. A file that cannot be
/// read or written.
pub fn merge(
    sources: &[PathBuf],
    layout: &Layout,
    dry_run: bool,
    date: &str,
) -> Result<Outcome, Error> {
    let sources = sources::find(sources, layout.root())?;
    let planned = plan::plan(&sources, layout)?;
    if dry_run || !planned.outcome.changes() {
        return Ok(planned.outcome);
    }
    let mut guards = Vec::new();
    for experiment in planned.experiments() {
        let busy = || Error::Busy { path: layout.experiment(experiment) };
        guards.push(fs::try_lock(&layout.guard(experiment))?.ok_or_else(busy)?);
    }
    // What it rests on may have changed before the experiments were held.
    let planned = plan::plan(&sources, layout)?;
    carry::carry_out(&planned, layout, date)?;
    Ok(planned.outcome)
}

/// A path below the results folder with `/`.
fn shown(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts = below.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}
