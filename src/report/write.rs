//! A report's files.

use std::path::{Path, PathBuf};

use super::csv_files::{runs_csv, summary_csv, table_csv};
use super::detail;
use super::html::html;
use super::input::Input;
use super::markdown::markdown;
use super::model::Report;
use super::tex::tex;
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
    /// report.tex.
    Tex,
    /// report.html.
    Html,
    /// report.json.
    Json,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Csv, Self::Markdown, Self::Tex, Self::Html, Self::Json];

    /// The format of a name that `--format` takes.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "csv" => Some(Self::Csv),
            "md" => Some(Self::Markdown),
            "tex" => Some(Self::Tex),
            "html" => Some(Self::Html),
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
            Format::Tex => vec![("report.tex", tex(report))],
            Format::Html => vec![("report.html", html(report))],
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

/// Judges the inputs, each with the results directory that it lies in.
#[must_use]
pub fn judge(sources: &[(Layout, Input)]) -> Report {
    let (layouts, inputs): (Vec<Layout>, Vec<Input>) = sources.iter().cloned().unzip();
    let mut report = Report::build(&inputs);
    detail::attach(&mut report, &inputs, &layouts);
    report
}

/// Writes each experiment's own report into its folder, and, of several, the one over all into `report/`
/// of the first one's directory: `layouts` are the results directories of the report's experiments.
/// Returns all paths.
///
/// # Errors
/// As [`write()`].
pub fn write_tree(
    report: &Report,
    layouts: &[Layout],
    formats: &[Format],
) -> fs::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (experiment, layout) in report.experiments.iter().zip(layouts) {
        let own = Report { schema: 1, experiments: vec![experiment.clone()], leaderboard: None };
        paths.extend(write(&own, &layout.report(&experiment.name), formats)?);
    }
    if let Some(layout) = layouts.first().filter(|_| report.leaderboard.is_some()) {
        paths.extend(write(report, &layout.combined_report(), formats)?);
    }
    Ok(paths)
}
