//! summary.csv, runs.csv and table.csv.
//!
//! Numbers are in full precision (the shortest text that reads back the same), absent ones are
//! empty. Statistics that come out of special functions have ten significant digits.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::column::Column;
use super::model::{Report, Row, Section};
use super::table::{AGAINST, against, mean_words, n_of};
use crate::results::import::RUNS_CSV_HEADER;

/// The columns of `summary.csv`, in order.
pub const SUMMARY_CSV_HEADER: [&str; 19] = [
    "experiment",
    "protocol",
    "config",
    "eval_len",
    "n",
    "n_expected",
    "mean",
    "std",
    "std_ddof",
    "mean_pm_std",
    "baseline",
    "gap",
    "gap_pct",
    "seeds_better",
    "ci_low",
    "ci_high",
    "p_paired",
    "verdict",
    "reason",
];

/// What both long files have as a last column if anything is evaluated under a transform.
const TRANSFORM_COLUMN: &str = "transform";

/// `summary.csv`: one row a (protocol, config, column), in declared order. With transforms a last
/// column `transform` names the row's, empty as trained.
#[must_use]
pub fn summary_csv(report: &Report) -> String {
    let with_transforms = report.has_transforms();
    let mut rows = Vec::new();
    for experiment in &report.experiments {
        for section in &experiment.sections {
            for row in &section.rows {
                for cell in &row.cells {
                    let secondary = !cell.primary && cell.verdict.is_some();
                    let label = match secondary {
                        false => "",
                        true if cell.column.transform == section.primary_transform => {
                            "secondary length: "
                        }
                        true => "secondary column: ",
                    };
                    let mut line = vec![
                        experiment.name.clone(),
                        section.protocol.clone(),
                        row.config.clone(),
                        cell.column.length.to_string(),
                        cell.n.to_string(),
                        row.n_expected.to_string(),
                        number(cell.mean),
                        number(cell.std),
                        experiment.std_ddof.to_string(),
                        cell.mean_pm_std.clone(),
                        row.baseline.clone(),
                        number(cell.gap),
                        number(cell.gap_pct),
                        cell.seeds_better.clone().unwrap_or_default(),
                        number(cell.ci_low),
                        number(cell.ci_high),
                        number(cell.p_paired),
                        cell.verdict.map(|verdict| verdict.word().to_owned()).unwrap_or_default(),
                        format!("{label}{}", cell.reason),
                    ];
                    line.extend(
                        with_transforms.then(|| transform_field(cell.column.transform.as_deref())),
                    );
                    rows.push(line);
                }
            }
        }
    }
    to_csv(&with_last(&SUMMARY_CSV_HEADER, with_transforms), &rows)
}

/// `runs.csv`: one row a (run, attempt, transform, length); further attempts follow the first. The
/// last column is as in [`summary_csv`].
#[must_use]
pub fn runs_csv(report: &Report) -> String {
    let with_transforms = report.has_transforms();
    let rows: Vec<Vec<String>> = report
        .experiments
        .iter()
        .flat_map(|experiment| &experiment.runs)
        .map(|run| {
            let mut line = vec![
                run.experiment.clone(),
                run.protocol.clone(),
                run.train_id.clone(),
                run.config.clone(),
                run.seed.to_string(),
                run.eval_len.map(|length| length.to_string()).unwrap_or_default(),
                number(run.ppl),
                number(run.nll),
                run.chunks.map(|chunks| chunks.to_string()).unwrap_or_default(),
                word(&run.status),
            ];
            line.extend(with_transforms.then(|| transform_field(run.transform.as_deref())));
            line
        })
        .collect();
    to_csv(&with_last(&RUNS_CSV_HEADER, with_transforms), &rows)
}

fn with_last<'a>(header: &[&'a str], with_transforms: bool) -> Vec<&'a str> {
    header.iter().copied().chain(with_transforms.then_some(TRANSFORM_COLUMN)).collect()
}

fn transform_field(transform: Option<&str>) -> String {
    transform.unwrap_or_default().to_owned()
}

/// `table.csv`: one row a config, ranked in the primary column. A sweep adds the column `point`;
/// a report over several experiments `group`, `rank` and `experiment` (ranks count within a
/// group: protocols of different groups cannot be compared), and configs with several baselines
/// `against`, the row's own.
#[must_use]
pub fn table_csv(report: &Report) -> String {
    let sections = || report.experiments.iter().flat_map(|experiment| &experiment.sections);
    let columns = TableColumns::of(sections());
    let with_points = sections().any(|section| section.point.is_some());
    let mut header: Vec<String> = Vec::new();
    if report.leaderboard.is_some() {
        header.extend(["group", "rank", "experiment"].map(str::to_owned));
    }
    if with_points {
        header.push("point".to_owned());
    }
    header.push("config".to_owned());
    header.extend(columns.headers());
    let with_baselines = sections().any(Section::several_baselines);
    header.extend(with_baselines.then(|| AGAINST.to_owned()));
    header.extend(["n/n_expected", "verdict", "reason"].map(str::to_owned));

    let line = |mut line: Vec<String>, section: &Section, row: &Row| {
        if with_points {
            line.push(section.point.clone().unwrap_or_default());
        }
        line.push(row.config.clone());
        line.extend(columns.cells(section, row));
        line.extend(with_baselines.then(|| against(&row.config, &row.baseline)));
        line.push(n_of(row.n, row.n_expected));
        line.push(row.verdict.map(|verdict| verdict.word().to_owned()).unwrap_or_default());
        line.push(row.reason.clone());
        line
    };
    let by_name: BTreeMap<_, (&Section, &Row)> = report
        .experiments
        .iter()
        .flat_map(|experiment| experiment.sections.iter().map(move |section| (experiment, section)))
        .flat_map(|(experiment, section)| {
            let place = (experiment.name.as_str(), section.point.as_deref());
            section.rows.iter().map(move |row| ((place, row.config.as_str()), (section, row)))
        })
        .collect();
    let mut rows = Vec::new();
    if let Some(leaderboard) = &report.leaderboard {
        for (group, number) in leaderboard.groups.iter().zip(1..) {
            for entry in &group.entries {
                let place = (entry.experiment.as_str(), entry.point.as_deref());
                let row = by_name.get(&(place, entry.config.as_str()));
                let rank = entry.rank.map(|rank| rank.to_string()).unwrap_or_default();
                let start = vec![i32::to_string(&number), rank, entry.experiment.clone()];
                rows.extend(row.map(|(section, row)| line(start, section, row)));
            }
        }
    } else {
        for section in sections() {
            for &index in &section.ranking {
                rows.push(line(Vec::new(), section, &section.rows[index]));
            }
        }
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    to_csv(&header, &rows)
}

/// The perplexity columns of `table.csv`: those of all sections, every length as trained, then
/// transform by transform. One name for two expressions makes two columns.
struct TableColumns<'a>(Vec<(Column, Option<&'a str>)>);

impl<'a> TableColumns<'a> {
    fn of(sections: impl Iterator<Item = &'a Section> + Clone) -> Self {
        let lengths: BTreeSet<u64> =
            sections.clone().flat_map(|section| &section.lengths).copied().collect();
        let mut transforms: Vec<(Option<&str>, Option<&str>)> = vec![(None, None)];
        for section in sections {
            for column in &section.columns {
                let transform = (column.transform.as_deref(), expression(section, column));
                if !transforms.contains(&transform) {
                    transforms.push(transform);
                }
            }
        }
        let columns = transforms.into_iter().flat_map(|(name, expression)| {
            let column = move |&length: &u64| (Column::new(length, name), expression);
            lengths.iter().map(column).collect::<Vec<_>>()
        });
        Self(columns.collect())
    }

    /// `PPL@16384 [yarn8]`; where that is not one thing, with the expression after the name.
    fn headers(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(column, expression)| {
            let same = self.0.iter().filter(|(other, _)| other == column).count();
            let Column { length, transform } = column;
            match (transform, expression) {
                (Some(name), Some(expression)) if same > 1 => {
                    format!("PPL@{length} [{name}: {expression}]")
                }
                _ => format!("PPL@{column}"),
            }
        })
    }

    /// A row's means; empty where its section has no such column.
    fn cells(&self, section: &Section, row: &Row) -> impl Iterator<Item = String> {
        self.0.iter().map(|(column, is)| {
            let cell = row.cell(column).filter(|_| expression(section, column) == *is);
            cell.map(|cell| mean_words(section, row, cell)).unwrap_or_default()
        })
    }
}

/// What the transform of a column is in a section.
fn expression<'a>(section: &'a Section, column: &Column) -> Option<&'a str> {
    let transform = section.transform(column.transform.as_deref()?)?;
    Some(transform.expression.as_str())
}

fn to_csv(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).expect("writing to memory");
    for row in rows {
        writer.write_record(row).expect("rows are as long as the header");
    }
    let bytes = writer.into_inner().expect("flushing to memory");
    String::from_utf8(bytes).expect("all fields are UTF-8")
}

/// Shortest text that reads back the same; scientific where plain digits would run long.
fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value == 0.0 || (1e-5..1e15).contains(&value.abs()) => value.to_string(),
        Some(value) => format!("{value:e}"),
    }
}

/// A unit variant as it stands in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}
