//! Records to verdicts: what was measured, what may be claimed of it, and what may not.
//!
//! [`Report::build`] turns declarations and records into one neutral table; every format is a
//! function of that table. It knows no specs, and touches no tensor.
//!
//! A [`Column`] is an evaluation length, as trained or under a transform of the trained frequencies.
//! The claim is made in one column; its guard is judged under the same transform, and in every
//! other column a verdict is secondary. A column compares config and baseline under one transform,
//! with its own Holm correction.

mod align;
mod amended;
mod arm;
mod build;
mod caveats;
mod column;
mod csv_files;
mod detail;
mod html;
mod input;
mod leaderboard;
mod markdown;
mod model;
mod operating;
pub mod power;
mod require;
mod reruns;
mod search;
mod section;
mod table;
#[cfg(test)]
mod tests;
mod tex;
mod text;
mod verdict;
mod words;
mod write;

pub use align::{Alignment, Alignments, Exact, Length, Pair, Side, align};
pub use amended::{Foregone, foregone};
pub use arm::{Absence, Arm, Comparison, LEVEL, Outcome, compare};
pub use column::Column;
pub use csv_files::{SUMMARY_CSV_HEADER, runs_csv, summary_csv, table_csv};
pub use detail::{Bucket, ChunkPairs, Curve, Detail, Machine, Noise, PositionRow, PositionTable};
pub use html::html;
pub use input::Input;
pub use markdown::markdown;
pub use model::{
    Cell, Change, Experiment, Group, Leaderboard, Report, Row, RunRow, Section, Standing,
};
pub use require::Requirement;
pub use reruns::{RerunNoise, Reruns};
pub use search::Selection;
pub use tex::tex;
pub use text::text;
pub use verdict::{Case, Decision, RECORD_LEVEL, Verdict, decide};
pub use write::{Format, json, judge, write, write_tree};
