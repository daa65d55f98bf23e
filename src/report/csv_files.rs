//! summary.csv, runs.csv and table.csv.
//!
//! Numbers are in full precision (the shortest text that reads back the same), absent ones are
//! empty. Statistics that come out of special functions have ten significant digits.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::{Report, Row};
use super::table::n_of;
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

/// `summary.csv`: one row a (protocol, config, length), in declared order.
#[must_use]
pub fn summary_csv(report: &Report) -> String {
    let mut rows = Vec::new();
    for experiment in &report.experiments {
        for section in &experiment.sections {
            for row in &section.rows {
                for cell in &row.cells {
                    let secondary = !cell.primary && cell.verdict.is_some();
                    let label = if secondary { "secondary length: " } else { "" };
                    rows.push(vec![
                        experiment.name.clone(),
                        section.protocol.clone(),
                        row.config.clone(),
                        cell.length.to_string(),
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
                    ]);
                }
            }
        }
    }
    to_csv(&SUMMARY_CSV_HEADER, &rows)
}

/// `runs.csv`: one row a (run, attempt, length); further attempts follow the first.
#[must_use]
pub fn runs_csv(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .experiments
        .iter()
        .flat_map(|experiment| &experiment.runs)
        .map(|run| {
            vec![
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
            ]
        })
        .collect();
    to_csv(&RUNS_CSV_HEADER, &rows)
}

/// `table.csv`: one row a config, ranked at the primary length. A sweep adds the column `point`;
/// a report over several experiments `group`, `rank` and `experiment` (ranks count within a
/// group: protocols of different groups cannot be compared).
#[must_use]
pub fn table_csv(report: &Report) -> String {
    let sections = || report.experiments.iter().flat_map(|experiment| &experiment.sections);
    let mut lengths: Vec<u64> = sections().flat_map(|s| &s.lengths).copied().collect();
    lengths.sort_unstable();
    lengths.dedup();
    let with_points = sections().any(|section| section.point.is_some());
    let mut header: Vec<String> = Vec::new();
    if report.leaderboard.is_some() {
        header.extend(["group", "rank", "experiment"].map(str::to_owned));
    }
    if with_points {
        header.push("point".to_owned());
    }
    header.push("config".to_owned());
    header.extend(lengths.iter().map(|length| format!("PPL@{length}")));
    header.extend(["n/n_expected", "verdict", "reason"].map(str::to_owned));

    let line = |mut line: Vec<String>, point: Option<&str>, row: &Row| {
        if with_points {
            line.push(point.unwrap_or_default().to_owned());
        }
        line.push(row.config.clone());
        for length in &lengths {
            let cell = row.cells.iter().find(|cell| cell.length == *length);
            line.push(cell.map(|cell| cell.mean_pm_std.clone()).unwrap_or_default());
        }
        line.push(n_of(row.n, row.n_expected));
        line.push(row.verdict.map(|verdict| verdict.word().to_owned()).unwrap_or_default());
        line.push(row.reason.clone());
        line
    };
    let by_name: BTreeMap<_, &Row> = report
        .experiments
        .iter()
        .flat_map(|experiment| experiment.sections.iter().map(move |section| (experiment, section)))
        .flat_map(|(experiment, section)| {
            let place = (experiment.name.as_str(), section.point.as_deref());
            section.rows.iter().map(move |row| ((place, row.config.as_str()), row))
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
                rows.extend(row.map(|row| line(start, entry.point.as_deref(), row)));
            }
        }
    } else {
        for section in sections() {
            for &index in &section.ranking {
                rows.push(line(Vec::new(), section.point.as_deref(), &section.rows[index]));
            }
        }
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    to_csv(&header, &rows)
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
