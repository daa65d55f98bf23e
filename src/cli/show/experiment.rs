//! All runs of an experiment in one table.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::common::{counted, duration};
use super::super::screen::{Screen, Table, shortened};
use crate::results::{Declared, Layout};
use crate::run::status::{Phase, RunName, Standing, standings};

/// A cell with nothing to say.
const NONE: &str = "-";
/// Longest name in a table.
const LONGEST_NAME: usize = 40;

/// What was found of an experiment.
pub struct Seen {
    /// Its name.
    pub experiment: String,
    /// Its folder.
    pub folder: String,
    /// Lengths that its reports show.
    pub lengths: Vec<u64>,
    /// Every declared run.
    pub runs: Vec<Standing>,
    /// The spec, if it was named.
    pub source: Option<String>,
}

/// Looks at all runs of an experiment.
pub fn look(layout: &Layout, declared: &Declared, source: Option<&Path>) -> Seen {
    Seen {
        experiment: declared.experiment.clone(),
        folder: layout.experiment(&declared.experiment).display().to_string(),
        lengths: declared.report_lengths.clone(),
        runs: standings(layout, declared),
        source: source.map(|path| path.display().to_string()),
    }
}

impl Seen {
    /// Runs by phase.
    pub fn counts(&self) -> BTreeMap<Phase, usize> {
        let mut counts = BTreeMap::new();
        for run in &self.runs {
            *counts.entry(run.phase).or_default() += 1;
        }
        counts
    }

    /// `2 running, 7 todo`.
    pub fn counted(&self) -> String {
        let counts = self.counts().into_iter().map(|(phase, n)| format!("{n} {}", phase.word()));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// Whether nothing is left to wait for.
    pub fn is_final(&self) -> bool {
        self.runs.iter().all(|run| run.phase.is_final())
    }

    /// The spec, else the folder.
    fn named(&self) -> &str {
        self.source.as_ref().unwrap_or(&self.folder)
    }

    /// What to do next, and the command for it; `None` if it is being done.
    pub fn next(&self) -> Option<(&'static str, String)> {
        if self.runs.iter().any(|run| run.phase.is_active()) {
            return None;
        }
        // A run that failed is tried again.
        let left = self.runs.iter().any(|run| !run.phase.is_final() || run.phase == Phase::Failed);
        Some(match left {
            true => ("go on", format!("xp run {}", self.source.as_deref().unwrap_or("SPEC"))),
            false => ("judge", format!("xp report {}", self.named())),
        })
    }
}

/// The table, the counts, and how to go on. While it is watched, of the runs at most `most`, first
/// those that somebody may want to look after.
pub fn text(seen: &Seen, screen: &Screen, most: Option<usize>) -> String {
    let (mut out, watched) = (String::new(), most.is_some());
    let mut shown: Vec<&Standing> = seen.runs.iter().collect();
    if let Some(most) = most.filter(|most| shown.len() > *most) {
        // Stable: the order of the declaration within each.
        shown.sort_by_key(|run| run.phase);
        shown.truncate(most);
    }
    let rest = seen.runs.len() - shown.len();
    let mut table = Table { keys: 2, ..Table::default() };
    let columns = ["config", "seed", "state", "step", "loss", "tok/s"];
    table.header.extend(columns.map(str::to_owned));
    // Of results only what any run has.
    let has = |length: &u64| {
        let mut records = seen.runs.iter().filter_map(|run| run.record.as_ref());
        records.any(|record| record.eval.contains_key(length))
    };
    let lengths: Vec<u64> = seen.lengths.iter().copied().filter(|length| has(length)).collect();
    table.header.extend(lengths.iter().map(|length| format!("PPL@{length}")));
    for run in &shown {
        table.rows.push(row(run, &lengths));
        table.phases.push(run.phase);
    }
    table.drop_empty(NONE);
    let runs = counted(seen.runs.len(), "run");
    out.push_str(&format!("{}: {runs} in {}\n\n", seen.experiment, seen.folder));
    screen.table(&mut out, &table);
    if rest > 0 {
        out.push_str(&format!("({rest} more)\n"));
    }
    out.push('\n');
    let in_trouble = [Phase::Failed, Phase::Diverged, Phase::Conflict];
    for run in shown.iter().filter(|run| in_trouble.contains(&run.phase)) {
        let seed = run.name.as_ref().map_or(0, |name| name.seed);
        screen.wrapped(&mut out, &format!("{} seed {seed}: ", config(run)), &run.words);
    }
    let left: f64 = seen.runs.iter().filter_map(|run| run.left_s).fold(0.0, f64::max);
    let left = if left > 0.0 {
        format!("; those running need about {} more to train", duration(left))
    } else {
        String::new()
    };
    screen.wrapped(&mut out, "", &format!("{}{left}", seen.counted()));
    match seen.next() {
        Some((what, command)) => out.push_str(&format!("{what}: {command}\n")),
        None if watched => out.push_str("Ctrl-C ends the watch, not the runs\n"),
        None => out.push_str(&format!("follow: xp show {} --watch\n", seen.named())),
    }
    out
}

fn config(run: &Standing) -> String {
    let name = run.name.as_ref().map_or_else(|| "?".to_owned(), RunName::config);
    shortened(&name, LONGEST_NAME)
}

fn row(run: &Standing, lengths: &[u64]) -> Vec<String> {
    let none = || NONE.to_owned();
    let step = match (run.phase, run.step, run.steps) {
        (_, 0, _) => none(),
        (Phase::Done | Phase::Evaluate, step, _) | (_, step, None) => step.to_string(),
        (_, step, Some(steps)) => format!("{step}/{steps}"),
    };
    let final_loss = run.record.as_ref().and_then(|record| record.train.as_ref()?.final_loss);
    let loss = match &run.last {
        Some(last) => last.loss,
        None => final_loss,
    };
    let mut cells = vec![
        config(run),
        run.name.as_ref().map_or_else(none, |name| name.seed.to_string()),
        run.phase.word().to_owned(),
        step,
        loss.map_or_else(none, |loss| format!("{loss:.4}")),
        run.tokens_per_s.map_or_else(none, speed),
    ];
    for length in lengths {
        let result = run.record.as_ref().and_then(|record| record.eval.get(length));
        cells.push(result.and_then(|e| e.ppl).map_or_else(none, |ppl| format!("{ppl:.3}")));
    }
    cells
}

/// Tokens a second in few characters.
pub fn speed(tokens_per_s: f64) -> String {
    match tokens_per_s {
        s if s >= 1e6 => format!("{:.2}M", s / 1e6),
        s if s >= 1e3 => format!("{:.1}k", s / 1e3),
        s => format!("{s:.0}"),
    }
}
