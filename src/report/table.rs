//! The tables that people read: the same cells for Markdown and the terminal.

use std::collections::BTreeMap;

use super::column::Column;
use super::model::{Cell, Experiment, Group, Row, Section, Standing};
use super::verdict::Verdict;
use super::words;

/// Where a bootstrap interval stands in [`of_column`], where there is one: after the t interval.
const BOOTSTRAP_COLUMN: usize = 7;
/// The column that names baselines, where there are several.
pub(super) const AGAINST: &str = "against";
/// What a rank is not.
pub(super) const RANK_NOTE: &str = "The gap is against the baseline of the same experiment, in percent of its mean; positive is \
     better. A rank is no claim: the best of many configs looks better than it is.";
/// What stands in [`of_column`].
pub(super) const COLUMN_NOTE: &str = "gap: baseline mean − mean, in perplexity; positive is better. Interval and p: paired t test on \
     baseline − config mean log-perplexity, not corrected for the number of configs. p, \
     unpaired: Welch's t test, which takes no account of shared seeds.";
/// What columns with a name in brackets are.
pub(super) const TRANSFORM_NOTE: &str = "Columns with a name in brackets are evaluated with the trained frequencies transformed, config and \
     baseline alike:";
/// What a table of the loss by position is.
pub(super) const POSITION_NOTE: &str = "Mean cross-entropy in nats a token, mean ± std over seeds, by the position of the token in its \
     chunk; in brackets the gap to the baseline, positive is better. What is better only beyond the \
     training length extrapolates; what is better everywhere models better.";
/// What a comparison chunk by chunk is.
pub(super) const CHUNK_NOTE: &str = "The same chunks of text for config and baseline, mean over paired seeds. The interval says how \
     much depends on the choice of text with these trained weights; it says nothing of other seeds.";
/// What the parts of the spread are.
pub(super) const NOISE_NOTE: &str = "Standard deviations of log-perplexity at the length of the claim, so 1 % is one percent of the \
     perplexity. Seeds: between seeds, re-run noise taken off. Chunks: of the mean over the text, \
     common to all runs on that text.";

/// A table of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Column names.
    pub header: Vec<String>,
    /// Rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
    /// How many columns at the start name the row.
    pub num_keys: usize,
    /// How many columns at the end belong to the whole row (n, verdict).
    pub num_tail: usize,
}

/// One row a config, by mean in the primary column: `mean ± std` a column, n, verdict.
pub(super) fn of_section(section: &Section) -> Table {
    let names = section.columns.iter().map(|column| format!("PPL@{column}"));
    section_table(section, names.collect(), |_| true, true)
}

/// The columns of one transform (`None`: as trained) of [`of_section`], named by their lengths
/// alone; n and verdict are the claim's, so they stand beside its transform.
pub(super) fn of_transform(section: &Section, transform: Option<&str>) -> Table {
    let wanted = |column: &Column| column.transform.as_deref() == transform;
    let columns = section.columns.iter().filter(|column| wanted(column));
    let names = columns.map(|column| format!("PPL@{}", column.length)).collect();
    section_table(section, names, wanted, section.primary_transform.as_deref() == transform)
}

fn section_table(
    section: &Section,
    names: Vec<String>,
    wanted: impl Fn(&Column) -> bool,
    with_claim: bool,
) -> Table {
    let several = section.several_baselines();
    let tail = |against: String, n: String, verdict: String| {
        let tail = several.then_some(against).into_iter().chain([n, verdict]);
        tail.filter(|_| with_claim)
    };
    let [named, n, verdict] = [AGAINST, "n", "verdict"].map(str::to_owned);
    let header: Vec<String> =
        std::iter::once("config".to_owned()).chain(names).chain(tail(named, n, verdict)).collect();
    let row = |&index: &usize| {
        let row = &section.rows[index];
        let mut cells = vec![row.config.clone()];
        let shown = row.cells.iter().filter(|cell| wanted(&cell.column));
        cells.extend(shown.map(|cell| or_dash(&mean_words(section, row, cell))));
        let word = verdict_word(row.is_baseline(), row.verdict);
        cells.extend(tail(against(&row.config, &row.baseline), n_of(row.n, row.n_expected), word));
        cells
    };
    let num_tail = match (with_claim, several) {
        (false, _) => 0,
        (true, false) => 2,
        (true, true) => 3,
    };
    Table { header, rows: section.ranking.iter().map(row).collect(), num_keys: 1, num_tail }
}

/// `mean ± std`, with the cell's own n where seeds lack and the row's n does not say so: that one
/// speaks for the columns of the claim's transform alone.
pub(super) fn mean_words(section: &Section, row: &Row, cell: &Cell) -> String {
    let said = cell.column.transform == section.primary_transform;
    if said || cell.n == 0 || cell.n == row.n_expected {
        return cell.mean_pm_std.clone();
    }
    format!("{} ({})", cell.mean_pm_std, n_of(cell.n, row.n_expected))
}

/// One row a config of a group, ranked in its primary column (its transform is the title's).
pub(super) fn of_group(group: &Group) -> Table {
    let entries = &group.entries;
    // Where an experiment has one baseline, the row of that one says which.
    let mut baselines = BTreeMap::new();
    let several = entries
        .iter()
        .any(|entry| *baselines.entry(entry.place()).or_insert(&entry.baseline) != &entry.baseline);
    let names = ["rank", "experiment", "config"].map(str::to_owned).into_iter();
    let named = several.then(|| AGAINST.to_owned());
    let tail = ["gap", "n", "verdict"].map(str::to_owned);
    let ppl = format!("PPL@{}", group.primary_length);
    let header: Vec<String> = names.chain([ppl]).chain(named).chain(tail).collect();
    let row = |entry: &Standing| {
        let keys = [
            entry.rank.map_or("-".to_owned(), |rank| rank.to_string()),
            entry.place(),
            entry.config.clone(),
            or_dash(&entry.mean_pm_std),
        ];
        let tail = [
            gap_pct(entry.gap_pct),
            n_of(entry.n, entry.n_expected),
            verdict_word(entry.config == entry.baseline, entry.verdict),
        ];
        let against = against(&entry.config, &entry.baseline);
        keys.into_iter().chain(several.then_some(against)).chain(tail).collect()
    };
    let num_tail = if several { 4 } else { 3 };
    Table { header, rows: entries.iter().map(row).collect(), num_keys: 3, num_tail }
}

/// One row a config in one column, with everything that the verdict rests on.
pub(super) fn of_column(section: &Section, column: &Column) -> Table {
    let header = [
        "config",
        "n",
        "mean ± std",
        "gap",
        "gap %",
        "seeds better",
        "log-PPL difference, 95 % interval",
        "p",
        "p, unpaired",
        "verdict",
    ];
    let several = section.several_baselines();
    let with_bootstrap =
        section.rows.iter().filter_map(|row| row.cell(column)).any(|c| c.bca.is_some());
    let mut rows: Vec<(&Row, &Cell)> =
        section.rows.iter().filter_map(|row| Some((row, row.cell(column)?))).collect();
    rows.sort_by(|(_, a), (_, b)| super::section::by_mean(a.mean, b.mean));
    let row = |(row, cell): (&Row, &Cell)| {
        let number = |value: Option<f64>| value.map(words::number).unwrap_or_default();
        let range =
            |low: f64, high: f64| format!("{} to {}", words::number(low), words::number(high));
        let interval = cell.ci_low.zip(cell.ci_high).map(|(low, high)| range(low, high));
        let mut cells = vec![
            row.config.clone(),
            n_of(cell.n, row.n_expected),
            or_dash(&cell.mean_pm_std),
            number(cell.gap),
            gap_pct(cell.gap_pct),
            cell.seeds_better.clone().unwrap_or_default(),
            interval.unwrap_or_default(),
            cell.p_paired.map(words::p_value).unwrap_or_default(),
            cell.p_welch.map(words::p_value).unwrap_or_default(),
            cell_verdict(row, cell),
        ];
        if with_bootstrap {
            let interval = cell.bca.map(|bca| range(bca.low, bca.high)).unwrap_or_default();
            cells.insert(BOOTSTRAP_COLUMN, interval);
        }
        if several {
            cells.insert(1, against(&row.config, &row.baseline));
        }
        cells
    };
    let mut header = header.map(str::to_owned).to_vec();
    if with_bootstrap {
        header.insert(BOOTSTRAP_COLUMN, "bootstrap interval (BCa)".to_owned());
    }
    if several {
        header.insert(1, AGAINST.to_owned());
    }
    Table { header, rows: rows.into_iter().map(row).collect(), num_keys: 1, num_tail: 1 }
}

/// The word in one column; a claim elsewhere than in the primary one says `secondary`.
fn cell_verdict(row: &Row, cell: &Cell) -> String {
    let word = verdict_word(row.is_baseline(), cell.verdict);
    if !cell.primary && cell.verdict.is_some_and(Verdict::is_claim) {
        format!("{word} (secondary)")
    } else {
        word
    }
}

/// What a config is compared with; nothing for a baseline.
pub(super) fn against(config: &str, baseline: &str) -> String {
    if config == baseline { String::new() } else { baseline.to_owned() }
}

pub(super) fn n_of(n: usize, n_expected: usize) -> String {
    format!("{n}/{n_expected}")
}

fn verdict_word(is_baseline: bool, verdict: Option<Verdict>) -> String {
    match verdict {
        Some(verdict) => verdict.word().to_owned(),
        None if is_baseline => "baseline".to_owned(),
        None => String::new(),
    }
}

fn gap_pct(gap_pct: Option<f64>) -> String {
    gap_pct.map(|pct| format!("{pct:+.1} %")).unwrap_or_default()
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// What was compared, as one line: configs, seeds, what the cells are.
pub(super) fn caption(experiment: &Experiment, section: &Section) -> String {
    let seeds = words::seeds(&experiment.seeds);
    let spread = if experiment.seeds.len() > 1 {
        format!(", mean ± std (ddof = {})", experiment.std_ddof)
    } else {
        String::new()
    };
    format!(
        "{} configs, {seeds}; perplexity{spread}; trained at {} tokens; protocol {}",
        section.rows.len(),
        section.seq_len,
        section.protocol
    )
}
