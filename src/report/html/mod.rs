//! report.html: one page without a script or a network, to be sent and printed.

mod charts;
mod style;

use std::fmt::Write as _;

use super::detail::tables;
use super::model::{Change, Experiment, Leaderboard, Report, RunRow, Section, place};
use super::table::{self, Table};
use super::verdict::Verdict;
use super::words;
use crate::canonical;
use crate::plot::Chart;

/// Rows of the table of files, at most; runs.csv has them all.
const MOST_FILES: usize = 2_000;

/// The report as one HTML page.
#[must_use]
pub fn html(report: &Report) -> String {
    let names: Vec<&str> = report.experiments.iter().map(|e| e.name.as_str()).collect();
    let title = escape(&words::list(names));
    let mut page = Page(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        style::STYLE
    ));
    if let Some(leaderboard) = &report.leaderboard {
        page.leaderboard(leaderboard);
    }
    for experiment in &report.experiments {
        page.experiment(experiment, report.leaderboard.is_some());
    }
    page.0.push_str("</body>\n</html>\n");
    page.0
}

struct Page(String);

impl Page {
    fn add(&mut self, html: &str) {
        self.0.push_str(html);
        self.0.push('\n');
    }

    fn heading(&mut self, level: u8, id: &str, text: &str) {
        let id = if id.is_empty() { String::new() } else { format!(" id=\"{}\"", escape(id)) };
        self.add(&format!("<h{level}{id}>{}</h{level}>", escape(text)));
    }

    fn paragraph(&mut self, text: &str) {
        self.add(&format!("<p>{}</p>", rich(text)));
    }

    fn list(&mut self, items: impl IntoIterator<Item = String>) {
        self.add("<ul>");
        for item in items {
            self.add(&format!("<li>{}</li>", rich(&item)));
        }
        self.add("</ul>");
    }

    fn table(&mut self, table: &Table) {
        self.0.push_str("<div class=\"wide\"><table>\n<thead><tr>");
        for name in &table.header {
            let _ = write!(self.0, "<th scope=\"col\">{}</th>", escape(name));
        }
        self.0.push_str("</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            self.0.push_str("<tr>");
            for cell in row {
                let class = class_of(cell);
                let _ = write!(self.0, "<td{class}>{}</td>", escape(cell));
            }
            self.0.push_str("</tr>\n");
        }
        self.add("</tbody></table></div>");
    }

    fn chart(&mut self, chart: &Chart) {
        self.add(&format!("<div class=\"wide chart\">{}</div>", chart.svg()));
    }

    fn leaderboard(&mut self, leaderboard: &Leaderboard) {
        if !leaderboard.drift.is_empty() {
            self.paragraph(
                "DRIFT: not all of these follow one protocol, so they are ranked in separate tables \
                 and nothing is compared across them. What differs:",
            );
            self.list(leaderboard.drift.iter().cloned());
        }
        for group in &leaderboard.groups {
            self.heading(2, "", &format!("Leaderboard: {}", group.members.join(", ")));
            self.paragraph(&format!(
                "By mean perplexity at {}. {}",
                group.primary_words(),
                table::RANK_NOTE
            ));
            self.table(&table::of_group(group));
            if let Some(selection) = &group.selection {
                self.paragraph(&selection.words());
            }
        }
    }

    fn experiment(&mut self, experiment: &Experiment, combined: bool) {
        if combined {
            self.heading(2, &experiment.name, &experiment.name);
        }
        for (i, section) in experiment.sections.iter().enumerate() {
            if let Some(point) = &section.point {
                self.heading(2, "", point);
            }
            self.section(experiment, section, i == 0);
        }
        if !experiment.caveats.is_empty() {
            self.heading(2, "", "Before you believe it");
            self.list(experiment.caveats.iter().cloned());
        }
        if !experiment.amendments.is_empty() || !experiment.unrecorded.is_empty() {
            self.heading(2, "", "Changed since the declaration was frozen");
            let amended = experiment.amendments.iter().map(Change::words);
            let unrecorded =
                experiment.unrecorded.iter().map(|change| format!("not on record yet: {change}"));
            self.list(amended.chain(unrecorded));
        }
        if !experiment.problems.is_empty() {
            self.heading(2, "", "Files that were not used");
            self.list(experiment.problems.iter().map(|p| format!("{}: {}", p.path, p.reason)));
        }
        self.files(experiment);
        self.paragraph(&experiment.frozen_words());
    }

    fn section(&mut self, experiment: &Experiment, section: &Section, with_rule: bool) {
        let name = place(&experiment.name, section.point.as_deref());
        let link = |part: &str| format!("{name}-{part}");
        let parts = [
            ("verdicts", "verdicts"),
            ("lengths", "by length"),
            ("positions", "by position"),
            ("training", "training"),
            ("sets", "frequency sets"),
            ("protocol", "protocol"),
        ];
        let links =
            parts.map(|(id, words)| format!("<a href=\"#{}\">{words}</a>", escape(&link(id))));
        self.add(&format!("<nav>{}</nav>", links.join("")));
        self.paragraph(&format!("{}.", table::caption(experiment, section)));
        self.table(&table::of_section(section));
        if !section.transforms.is_empty() {
            self.paragraph(table::TRANSFORM_NOTE);
            let named = section.transforms.iter();
            self.list(named.map(|t| format!("[{}]: `{}`", t.name, t.expression)));
        }
        if let Some(selection) = &section.selection {
            self.paragraph(&selection.words());
        }
        let primary = section.primary().tokens();
        self.heading(3, &link("verdicts"), &format!("Verdicts at {primary}"));
        let judged = section.ranking.iter().map(|&index| &section.rows[index]);
        self.list(judged.filter_map(|row| {
            let verdict = row.verdict?;
            Some(format!("{}: {verdict} against {}: {}.", row.config, row.baseline, row.reason))
        }));
        if with_rule {
            self.paragraph(&experiment.rule);
            if let Some(operating) = &experiment.operating {
                self.paragraph(&operating.words());
            }
        }
        if !section.missing.is_empty() {
            self.heading(3, "", "What is missing");
            self.list(section.missing.iter().cloned());
        }
        self.heading(3, &link("lengths"), "By evaluation length");
        for transform in section.shown_transforms() {
            self.chart(&charts::seeds(experiment, section, transform));
        }
        if section.lengths.len() > 1 {
            self.chart(&charts::lengths(section));
        }
        for column in &section.columns {
            let label = if *column == section.primary() { "primary" } else { "secondary" };
            self.add(&format!(
                "<details{}><summary>At {} ({label})</summary>",
                if *column == section.primary() { " open" } else { "" },
                escape(&column.tokens())
            ));
            self.table(&table::of_column(section, column));
            self.add("</details>");
        }
        self.add(&format!("<p class=\"faint\">{}</p>", escape(table::COLUMN_NOTE)));
        self.detail(section, &link);
        self.heading(3, &link("sets"), "Frequency sets");
        if let Some(chart) = section.detail.as_ref().and_then(charts::sets) {
            self.chart(&chart);
        }
        self.add("<ul>");
        for row in &section.rows {
            let (config, expression) = (escape(&row.config), escape(&row.expression));
            self.add(&format!("<li>{config}: <code>{expression}</code></li>"));
        }
        self.add("</ul>");
        self.protocol(section, &link("protocol"));
    }

    fn detail(&mut self, section: &Section, link: &impl Fn(&str) -> String) {
        let Some(detail) = &section.detail else { return };
        self.heading(3, &link("positions"), "By position");
        if detail.positions.is_empty() {
            self.paragraph("No result here has a loss by position.");
        } else {
            self.paragraph(table::POSITION_NOTE);
        }
        for table in &detail.positions {
            let is_primary = table.column == section.primary();
            let open = if is_primary { " open" } else { "" };
            self.add(&format!(
                "<details{open}><summary>At {}</summary>",
                escape(&table.column.tokens())
            ));
            self.chart(&charts::positions(table));
            self.table(&table.table());
            self.add("</details>");
        }
        if !detail.chunk_pairs.is_empty() {
            self.heading(3, "", "Chunk against chunk");
            self.paragraph(table::CHUNK_NOTE);
            self.table(&tables::of_chunk_pairs(&detail.chunk_pairs));
        }
        if !detail.noise.is_empty() {
            self.heading(3, "", "Where the spread comes from");
            self.paragraph(table::NOISE_NOTE);
            self.table(&tables::of_noise(&detail.noise));
        }
        if detail.more {
            self.paragraph(&format!(
                "Charts, positions and spread are of {} of {} configs: the best by mean, and their \
                 baselines.",
                detail.configs.len(),
                section.rows.len()
            ));
        }
        self.heading(3, &link("training"), "Training");
        match charts::training(detail) {
            Some(chart) => self.chart(&chart),
            None => self.paragraph("No run here was trained by xp."),
        }
        if !detail.machines.is_empty() {
            self.table(&tables::of_machines(&detail.machines));
        }
    }

    fn protocol(&mut self, section: &Section, id: &str) {
        self.heading(3, id, &format!("Protocol {}", section.protocol));
        self.add("<details><summary>Every key that can change a number</summary>");
        let rows = [("training", &section.training), ("evaluation", &section.evaluation)]
            .into_iter()
            .flat_map(|(part, value)| {
                let leaves = canonical::differences(value, &serde_json::json!({}));
                leaves.into_iter().map(move |leaf| {
                    let value = leaf.left.as_ref().map(canonical::to_string).unwrap_or_default();
                    vec![format!("{part}.{}", leaf.key), value]
                })
            })
            .collect();
        let header = ["key", "value"].map(str::to_owned).to_vec();
        self.table(&Table { header, rows, num_keys: 1, num_tail: 0 });
        self.add("</details>");
    }

    /// Which numbers come from which files.
    fn files(&mut self, experiment: &Experiment) {
        self.heading(2, "", "Which numbers come from which files");
        if let Some(reruns) = &experiment.reruns {
            self.paragraph(&reruns.words());
        }
        let header = ["file", "status", "train id", "perplexity by length"];
        let mut runs: Vec<(&RunRow, Vec<String>)> = Vec::new();
        for run in &experiment.runs {
            if runs.last().is_none_or(|(last, _)| last.path != run.path) {
                runs.push((run, Vec::new()));
            }
            let number = run.eval_len.zip(run.ppl).map(|(length, ppl)| {
                let transform = run.transform.iter().map(|name| format!(" [{name}]"));
                format!("{length}{}: {}", transform.collect::<String>(), words::number(ppl))
            });
            if let Some((_, numbers)) = runs.last_mut() {
                numbers.extend(number);
            }
        }
        let total = runs.len();
        let row = |(run, numbers): (&RunRow, Vec<String>)| {
            let status = format!("{:?}", run.status).to_lowercase();
            let id: String = run.train_id.chars().take(12).collect();
            vec![run.path.clone(), status, id, numbers.join(", ")]
        };
        let rows = runs.into_iter().take(MOST_FILES).map(row).collect();
        self.add(&format!("<details><summary>{total} files</summary>"));
        self.table(&Table {
            header: header.map(str::to_owned).to_vec(),
            rows,
            num_keys: 1,
            num_tail: 0,
        });
        if total > MOST_FILES {
            self.paragraph(&format!("{} more are in runs.csv.", total - MOST_FILES));
        }
        self.add("</details>");
    }
}

/// Text in which what stands between backticks is code, as in Markdown.
fn rich(text: &str) -> String {
    let part = |(i, part): (usize, &str)| match i % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    };
    text.split('`').enumerate().map(part).collect::<String>()
}

/// The class of a cell: verdicts have their sign, long texts may wrap.
fn class_of(cell: &str) -> String {
    let word = cell.trim_end_matches(" (secondary)");
    if Verdict::ALL.iter().any(|verdict| verdict.word() == word) {
        return format!(" class=\"verdict {word}\"");
    }
    if cell.chars().count() > 60 { " class=\"long\"".to_owned() } else { String::new() }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
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
    fn hostile_names_stay_text() {
        assert_eq!(escape("<b onclick=\"x\">&\n"), "&lt;b onclick=&quot;x&quot;&gt;&amp; ");
        assert_eq!(class_of("WIN (secondary)"), " class=\"verdict WIN\"");
        assert_eq!(class_of("WIN\"><script>"), "");
    }
}
