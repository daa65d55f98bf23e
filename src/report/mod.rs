//! Records to verdicts: what was measured, what may be claimed of it, and what may not.
//!
//! [`Report::build`] turns declarations and records into one neutral table; every format is a
//! function of that table. It knows no specs, and touches no tensor.

mod arm;
mod build;
mod caveats;
mod csv_files;
mod leaderboard;
mod markdown;
mod model;
mod require;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod verdict;
mod words;
mod write;

pub use arm::{Absence, Arm, Comparison, Outcome, compare};
pub use build::Input;
pub use csv_files::{SUMMARY_CSV_HEADER, runs_csv, summary_csv, table_csv};
pub use markdown::markdown;
pub use model::{
    Cell, Change, Experiment, Group, Leaderboard, Report, Row, RunRow, Section, Standing,
};
pub use require::Requirement;
pub use text::text;
pub use verdict::{Case, Decision, LEVEL, Verdict, decide};
pub use write::{Format, json, write, write_all, write_tree};
