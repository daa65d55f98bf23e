//! What `xp report` prints: aligned text, within 80 columns where the names allow it.

use std::fmt::Write as _;

use super::model::{Experiment, Report, Section};
use super::table::{self, Table};
use super::words;

const WIDTH: usize = 80;
/// Reasons printed a section, at most; report.md has them all.
const MAX_REASONS: usize = 20;

/// The report as plain text: tables, the reason of each verdict, and what to know before
/// believing them.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    if let Some(leaderboard) = &report.leaderboard {
        for drift in &leaderboard.drift {
            wrapped(&mut out, "DRIFT: ", &format!("not one protocol, no common ranking: {drift}"));
        }
        for group in &leaderboard.groups {
            let members = group.members.join(", ");
            let primary = group.primary_words();
            let title = format!(
                "{members}: by mean perplexity at {primary}; gap against the own experiment's \
                 baseline, positive is better"
            );
            wrapped(&mut out, "", &title);
            out.push('\n');
            aligned(&mut out, &table::of_group(group));
            out.push('\n');
            if let Some(selection) = &group.selection {
                wrapped(&mut out, "", &selection.words());
            }
        }
    }
    let combined = report.leaderboard.is_some();
    // A caveat of every experiment is said once.
    let common: Vec<&String> =
        report.experiments.split_first().map_or(Vec::new(), |(first, rest)| {
            let everywhere = |caveat: &&String| rest.iter().all(|e| e.caveats.contains(caveat));
            first.caveats.iter().filter(everywhere).collect()
        });
    for experiment in &report.experiments {
        if !combined {
            for section in &experiment.sections {
                section_text(&mut out, experiment, section);
                if let Some(selection) = &section.selection {
                    wrapped(&mut out, "", &selection.words());
                }
            }
            wrapped(&mut out, "rule: ", &experiment.rule);
            if let Some(operating) = &experiment.operating {
                wrapped(&mut out, "rates: ", &operating.words());
            }
            if let Some(reruns) = &experiment.reruns {
                wrapped(&mut out, "re-runs: ", &reruns.words());
            }
        }
        if combined && let Some(operating) = &experiment.operating {
            wrapped(&mut out, &format!("rates ({}): ", experiment.name), &operating.words());
        }
        notes(&mut out, experiment, combined);
        for caveat in experiment.caveats.iter().filter(|caveat| !common.contains(caveat)) {
            wrapped(&mut out, &format!("note ({}): ", experiment.name), caveat);
        }
    }
    for caveat in common {
        wrapped(&mut out, "note: ", caveat);
    }
    out
}

fn section_text(out: &mut String, experiment: &Experiment, section: &Section) {
    let title = super::model::place(&experiment.name, section.point.as_deref());
    wrapped(out, &format!("{title}: "), &table::caption(experiment, section));
    out.push('\n');
    if section.columns.iter().all(|column| column.transform.is_none()) {
        aligned(out, &table::of_section(section));
    } else {
        by_transform(out, section);
    }
    out.push('\n');
    let rows = section.ranking.iter().map(|&index| &section.rows[index]);
    let judged: Vec<_> = rows.filter(|row| row.verdict.is_some()).collect();
    let several = section.several_baselines();
    for row in judged.iter().take(MAX_REASONS) {
        let against = if several { format!(" against {}", row.baseline) } else { String::new() };
        wrapped(out, &format!("{}{against}: ", row.config), &row.reason);
    }
    if let Some(more @ 1..) = judged.len().checked_sub(MAX_REASONS) {
        let _ = writeln!(out, "({more} more reasons in report.md)");
    }
    out.push('\n');
}

/// One table a transform, under its name and expression: column names as long as `16384
/// [yarn({trained}, factor=8)]` would leave a terminal no room for numbers.
fn by_transform(out: &mut String, section: &Section) {
    for (i, transform) in section.shown_transforms().into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        match transform {
            None => wrapped(out, "", "as trained:"),
            Some(name) => {
                let is = section.transform(name).map_or("not declared", |t| &t.expression);
                let is = if is == name { "" } else { is };
                wrapped(out, &format!("[{name}] "), is);
            }
        }
        aligned(out, &table::of_transform(section, transform));
    }
}

fn notes(out: &mut String, experiment: &Experiment, with_name: bool) {
    let prefix = |kind: &str| {
        if with_name { format!("{kind} ({}): ", experiment.name) } else { format!("{kind}: ") }
    };
    for change in &experiment.amendments {
        wrapped(out, &prefix("amended"), &change.words());
    }
    for change in &experiment.unrecorded {
        wrapped(out, &prefix("changed, not yet recorded"), change);
    }
    for problem in &experiment.problems {
        wrapped(out, &prefix("not used"), &format!("{}: {}", problem.path, problem.reason));
    }
}

/// Appends a table in aligned columns. One too wide is split between its lengths into blocks,
/// each with the naming columns; n and verdict stand in the last.
fn aligned(out: &mut String, table: &Table) {
    let columns = table.header.len();
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            let cells = table.rows.iter().map(|row| &row[i]).chain([&table.header[i]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let width_of = |these: &[usize]| these.iter().map(|&i| widths[i] + 2).sum::<usize>();
    let keys: Vec<usize> = (0..table.num_keys).collect();
    let tail: Vec<usize> = (columns - table.num_tail..columns).collect();
    let mut blocks = vec![keys.clone()];
    let lengths = table.num_keys..columns - table.num_tail;
    for (i, &width) in widths.iter().enumerate().take(lengths.end).skip(lengths.start) {
        let block = blocks.last_mut().expect("starts with one");
        if block.len() > keys.len() && width_of(block) + width > WIDTH {
            blocks.push(keys.iter().copied().chain([i]).collect());
        } else {
            block.push(i);
        }
    }
    let last = blocks.last_mut().expect("starts with one");
    if last.len() > keys.len() + 1 && width_of(last) + width_of(&tail) > WIDTH + 2 {
        // The last length (the primary one, as a rule) moves down beside its verdict.
        let moved = last.pop().expect("longer than its keys");
        blocks.push(keys.iter().copied().chain([moved]).collect());
    }
    blocks.last_mut().expect("starts with one").extend(tail);
    for (number, block) in blocks.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        for row in std::iter::once(&table.header).chain(&table.rows) {
            let mut line = String::new();
            for &i in block {
                let pad = widths[i] + 2 - row[i].chars().count();
                line.push_str(&words::printable(&row[i]));
                line.extend(std::iter::repeat_n(' ', pad));
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
}

/// Appends `label` and `text` in lines of at most [`WIDTH`] columns, continued by two spaces.
fn wrapped(out: &mut String, label: &str, text: &str) {
    let text = words::printable(&format!("{label}{text}"));
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width == 0 {
            width = length;
        } else if width + 1 + length > WIDTH {
            out.push_str("\n  ");
            width = length + 2;
        } else {
            out.push(' ');
            width += 1 + length;
        }
        out.push_str(word);
    }
    out.push('\n');
}
