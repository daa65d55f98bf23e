//! Results measured elsewhere, brought in as records of status `imported`.
//!
//! A file is parsed ([`Parsed::from_bytes`]), held against the declaration, and only when
//! nothing is wrong is anything written ([`import`]). Three shapes are taken:
//!
//! - `{config: {length: ppl}}`, of one seed;
//! - `{"results": {config: {seed: {length: ppl}}}}`, other keys beside `results` are ignored;
//! - a `runs.csv` with the header that a report writes. Rows under a transform are left out: an
//!   imported result is as trained.

mod apply;
mod parse;

use std::path::PathBuf;

pub use apply::{Imported, Options, Outcome, Taken, import};
pub use parse::{Parsed, ParsedRun, RUNS_CSV_HEADER};

use super::store::{self, ErrorKind};
use crate::fs;

/// Findings listed in one message, at most; the rest is counted.
const MAX_FINDINGS: usize = 20;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is none of the three shapes.
    #[error(
        "`{file}` does not hold results: {reason}\n\
         expected one of:\n  \
         {{config: {{length: ppl}}}}, with --seed\n  \
         {{\"results\": {{config: {{seed: {{length: ppl}}}}}}}}\n  \
         a runs.csv with the header {header}",
        header = RUNS_CSV_HEADER.join(",")
    )]
    NotResults {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds results, but not ones that can be taken.
    #[error("`{file}` cannot be imported, nothing was written:\n  {}", listed(findings))]
    Invalid {
        /// Name of the file.
        file: String,
        /// Everything that is wrong.
        findings: Vec<String>,
    },
    /// Native runs of the same config and seed are there.
    #[error(
        "xp has run these itself and imported results never replace a run: {}; import under \
         another experiment name (--name)",
        listed(runs)
    )]
    NativeRun {
        /// The runs.
        runs: Vec<String>,
    },
    /// The spec is another experiment than the one that has results under its name.
    #[error(
        "experiment {experiment} has results of another declaration:\n  {}\nuse another name \
         (--name), or --supersede to move the old results away",
        listed(conflicts)
    )]
    Conflict {
        /// Experiment name.
        experiment: String,
        /// What differs.
        conflicts: Vec<String>,
    },
    /// Another process changes the experiment.
    #[error("another xp process is changing `{}`; wait for it and try again", path.display())]
    Busy {
        /// The experiment's folder.
        path: PathBuf,
    },
    /// An existing results file is damaged, or a write failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A folder or file cannot be read or written.
    #[error(transparent)]
    File(#[from] fs::Error),
}

impl Error {
    /// What kind of trouble this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotResults { .. } | Self::Invalid { .. } => ErrorKind::Usage,
            Self::NativeRun { .. } | Self::Conflict { .. } | Self::Busy { .. } => {
                ErrorKind::Integrity
            }
            Self::Store(error) => error.kind(),
            Self::File(_) => ErrorKind::Environment,
        }
    }
}

fn listed(items: &[String]) -> String {
    let shown = items.iter().take(MAX_FINDINGS).cloned().collect::<Vec<_>>().join("\n  ");
    match items.len().checked_sub(MAX_FINDINGS) {
        Some(more @ 1..) => format!("{shown}\n  and {more} more"),
        _ => shown,
    }
}
