//! report.md: the whole report, to be read from top to bottom.

use std::fmt::Write as _;

use super::detail::{Detail, tables};
use super::model::{Experiment, Leaderboard, Report, Section};
use super::table::{self, Table};
use crate::results::Transform;

/// The report as Markdown (GitHub's tables).
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out = Out(String::new());
    if let Some(leaderboard) = &report.leaderboard {
        out.leaderboard(report, leaderboard);
    }
    for experiment in &report.experiments {
        out.experiment(experiment, report.leaderboard.is_some());
    }
    format!("{}\n", out.0.trim_end())
}

struct Out(String);

impl Out {
    /// A line and an empty one after it.
    fn block(&mut self, text: &str) {
        let _ = write!(self.0, "{text}\n\n");
    }

    fn list(&mut self, items: impl IntoIterator<Item = String>) {
        for item in items {
            let _ = writeln!(self.0, "- {item}");
        }
        self.0.push('\n');
    }

    fn table(&mut self, table: &Table) {
        let line = |cells: &[String]| -> String {
            cells.iter().fold("|".to_owned(), |line, cell| format!("{line} {} |", escape(cell)))
        };
        let _ = writeln!(self.0, "{}", line(&table.header));
        let _ = writeln!(self.0, "|{}", " --- |".repeat(table.header.len()));
        for row in &table.rows {
            let _ = writeln!(self.0, "{}", line(row));
        }
        self.0.push('\n');
    }

    fn leaderboard(&mut self, report: &Report, leaderboard: &Leaderboard) {
        let names: Vec<&str> = report.experiments.iter().map(|e| e.name.as_str()).collect();
        self.block(&format!("# {}", escape(&names.join(", "))));
        if !leaderboard.drift.is_empty() {
            self.block(
                "**DRIFT**: not all of these follow one protocol, so they are ranked in separate \
                 tables and nothing is compared across them. What differs:",
            );
            self.list(leaderboard.drift.iter().map(|text| escape(text)));
        }
        for group in &leaderboard.groups {
            let members = group.members.join(", ");
            self.block(&format!("## Leaderboard: {}", escape(&members)));
            let primary = escape(&group.primary_words());
            self.block(&format!("By mean perplexity at {primary}. {}", table::RANK_NOTE));
            self.table(&table::of_group(group));
            if let Some(selection) = &group.selection {
                self.block(&escape(&selection.words()));
            }
        }
    }

    fn experiment(&mut self, experiment: &Experiment, combined: bool) {
        let (h1, h2) = if combined { ("##", "###") } else { ("#", "##") };
        self.block(&format!("{h1} {}", escape(&experiment.name)));
        self.block(&escape(&experiment.rule));
        if let Some(operating) = &experiment.operating {
            self.block(&escape(&operating.words()));
        }
        for section in &experiment.sections {
            if let Some(point) = &section.point {
                self.block(&format!("{h2} {}", escape(point)));
            }
            self.section(experiment, section, h2);
        }
        if !experiment.caveats.is_empty() {
            self.block(&format!("{h2} Before you believe it"));
            self.list(experiment.caveats.iter().map(|text| escape(text)));
        }
        if !experiment.amendments.is_empty() || !experiment.unrecorded.is_empty() {
            self.block(&format!("{h2} Changed since the declaration was frozen"));
            self.list(experiment.amendments.iter().map(|change| escape(&change.words())));
        }
        if !experiment.unrecorded.is_empty() {
            self.block(
                "The spec of this report differs from the declaration on record (the next `xp \
                 run` records it as an amendment):",
            );
            self.list(experiment.unrecorded.iter().map(|text| escape(text)));
        }
        if !experiment.problems.is_empty() {
            self.block(&format!("{h2} Files that were not used"));
            self.list(
                experiment
                    .problems
                    .iter()
                    .map(|problem| format!("{}: {}", code(&problem.path), escape(&problem.reason))),
            );
        }
        if let Some(reruns) = &experiment.reruns {
            self.block(&format!("{h2} Runs carried out again"));
            self.block(&escape(&reruns.words()));
        }
        self.block(&escape(&experiment.frozen_words()));
    }

    fn detail(&mut self, detail: &Detail, section: &Section, heading: &str) {
        let primary = section.primary();
        if let Some(positions) = detail.positions.iter().find(|table| table.column == primary) {
            let tokens = escape(&primary.tokens());
            self.block(&format!("{heading} Loss by position at {tokens}"));
            self.block(table::POSITION_NOTE);
            self.table(&positions.table());
        }
        if !detail.chunk_pairs.is_empty() {
            self.block(&format!("{heading} Chunk against chunk"));
            self.block(table::CHUNK_NOTE);
            self.table(&tables::of_chunk_pairs(&detail.chunk_pairs));
        }
        if !detail.noise.is_empty() {
            self.block(&format!("{heading} Where the spread comes from"));
            self.block(table::NOISE_NOTE);
            self.table(&tables::of_noise(&detail.noise));
        }
        if !detail.machines.is_empty() {
            self.block(&format!("{heading} Carried out on"));
            self.table(&tables::of_machines(&detail.machines));
        }
        if detail.more {
            let (shown, all) = (detail.configs.len(), section.rows.len());
            self.block(&format!(
                "Positions, chunks and spread are of {shown} of {all} configs: the best by mean, \
                 and their baselines."
            ));
        }
    }

    fn section(&mut self, experiment: &Experiment, section: &Section, heading: &str) {
        self.block(&escape(&format!("{}.", table::caption(experiment, section))));
        self.table(&table::of_section(section));
        let primary = escape(&section.primary().tokens());
        self.block(&format!("By mean perplexity at {primary}; a rank is no claim."));
        if let Some(selection) = &section.selection {
            self.block(&escape(&selection.words()));
        }
        if !section.transforms.is_empty() {
            self.block(table::TRANSFORM_NOTE);
            self.list(section.transforms.iter().map(|Transform { name, expression }| {
                format!("{}: {}", code(&format!("[{name}]")), code(expression))
            }));
        }
        let reasons: Vec<String> = section
            .ranking
            .iter()
            .map(|&index| &section.rows[index])
            .filter_map(|row| {
                let verdict = row.verdict?;
                let text = format!("{}: {verdict} against {}", row.config, row.baseline);
                Some(escape(&format!("{text}: {}.", row.reason)))
            })
            .collect();
        if !reasons.is_empty() {
            self.block(&format!("{heading} Verdicts at {primary}"));
            self.list(reasons);
        }
        if !section.missing.is_empty() {
            self.block(&format!("{heading} What is missing"));
            self.list(section.missing.iter().map(|text| escape(text)));
        }
        for column in &section.columns {
            let label = if *column == section.primary() { "primary" } else { "secondary" };
            self.block(&format!("{heading} At {} ({label})", escape(&column.tokens())));
            self.table(&table::of_column(section, column));
        }
        self.block(table::COLUMN_NOTE);
        if let Some(detail) = &section.detail {
            self.detail(detail, section, heading);
        }
        self.block(&format!("{heading} Frequency sets"));
        self.list(
            section
                .rows
                .iter()
                .map(|row| format!("{}: {}", escape(&row.config), code(&row.expression))),
        );
    }
}

/// A text as it is, in one line that cannot be left.
fn code(text: &str) -> String {
    let inside = |c: char| match c {
        '`' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    format!("`{}`", text.chars().map(inside).collect::<String>())
}

/// A text that cannot break out of a table cell or into HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' => out.push_str("\\|"),
            '<' => out.push_str("&lt;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_inside_their_cell() {
        assert_eq!(escape("a|b\n<script>"), "a\\|b &lt;script>");
        assert_eq!(code("a`b\n<c>"), "`a'b <c>`");
    }
}
