//! A report's files.

use std::path::{Path, PathBuf};

use super::build::Input;
use super::csv_files::{runs_csv, summary_csv, table_csv};
use super::markdown::markdown;
use super::model::Report;
use crate::fs;
use crate::results::Layout;
use crate::results::store::to_pretty_json;

/// A file format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// summary.csv, runs.csv and table.csv.
    Csv,
    /// report.md.
    Markdown,
    /// report.json.
    Json,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Csv, Self::Markdown, Self::Json];

    /// The format of a name that `--format` takes.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "csv" => Some(Self::Csv),
            "md" => Some(Self::Markdown),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The report as one JSON object, with a newline at the end.
#[must_use]
pub fn json(report: &Report) -> String {
    to_pretty_json(report)
}

/// Writes a report's files of these formats into `dir` and returns their paths.
///
/// # Errors
/// If a file cannot be written; each file is replaced as a whole or not at all.
pub fn write(report: &Report, dir: &Path, formats: &[Format]) -> fs::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for format in formats {
        let files = match format {
            Format::Csv => vec![
                ("summary.csv", summary_csv(report)),
                ("runs.csv", runs_csv(report)),
                ("table.csv", table_csv(report)),
            ],
            Format::Markdown => vec![("report.md", markdown(report))],
            Format::Json => vec![("report.json", json(report))],
        };
        for (name, text) in files {
            let path = dir.join(name);
            fs::write_atomic(&path, text.as_bytes())?;
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Writes a report's files of every format into `dir`.
///
/// # Errors
/// As [`write()`].
pub fn write_all(report: &Report, dir: &Path) -> fs::Result<Vec<PathBuf>> {
    write(report, dir, &Format::ALL)
}

/// Judges the inputs and writes each experiment's own report into its folder, and, of several,
/// the one over all into `<results>/report/`. Returns the report to show and all paths.
///
/// # Errors
/// As [`write()`].
pub fn write_tree(
    layout: &Layout,
    inputs: &[Input],
    formats: &[Format],
) -> fs::Result<(Report, Vec<PathBuf>)> {
    let report = Report::build(inputs);
    let mut paths = Vec::new();
    for experiment in &report.experiments {
        let own = Report { schema: 1, experiments: vec![experiment.clone()], leaderboard: None };
        paths.extend(write(&own, &layout.report(&experiment.name), formats)?);
    }
    if report.leaderboard.is_some() {
        paths.extend(write(&report, &layout.combined_report(), formats)?);
    }
    Ok((report, paths))
}
