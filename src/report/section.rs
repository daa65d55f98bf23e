//! One protocol's records to a [`Section`]: which results count, and what they allow to be said.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::amended::Amended;
use super::arm::{Absence, Arm, Comparison, Outcome, compare};
use super::column::Column;
use super::input::{Index, Input};
use super::model::{Cell, Row, Section};
use super::verdict::{Case, Decision, Verdict, decide, hinges_on, test_p};
use super::words;
use crate::results::{
    Config, Declared, Entry, Evaluation, Lock, Point, Problem, Record, Rule, Status, changed_keys,
};
use crate::stats::{PairedT, holm};

pub(super) struct SectionBuilder<'a> {
    input: &'a Input,
    index: &'a Index<'a>,
    point: &'a Point,
    protocols: BTreeSet<&'a str>,
    lengths: Vec<u64>,
    /// The declared seeds but those that configs were chosen on.
    seeds: Vec<u64>,
    /// As trained, then the transforms in declared order; the claim's even if undeclared.
    transforms: Vec<Option<&'a str>>,
    /// Chunks that native results have in common, by transform and length.
    chunks: BTreeMap<(Option<&'a str>, u64), u64>,
    /// What was changed after results existed.
    amended: Amended,
    /// Paths of the files that cannot be used.
    unusable: BTreeSet<&'a str>,
}

impl<'a> SectionBuilder<'a> {
    pub(super) fn new(input: &'a Input, index: &'a Index<'a>, point: &'a Point) -> Self {
        let declared = &input.declared;
        let names = point.transforms.iter().map(|transform| Some(transform.name.as_str()));
        let mut transforms: Vec<Option<&str>> = std::iter::once(None).chain(names).collect();
        let claim = declared.win.transform.as_deref();
        if !transforms.contains(&claim) {
            transforms.push(claim);
        }
        let lengths: BTreeSet<u64> =
            declared.report_lengths.iter().copied().chain([declared.win.primary_length]).collect();
        let mut builder = Self {
            input,
            index,
            point,
            protocols: point.compatible_protocols(input.lock.as_ref()),
            lengths: lengths.into_iter().collect(),
            seeds: declared.claim_seeds(),
            transforms,
            chunks: BTreeMap::new(),
            amended: Amended::of(input, point),
            unusable: input.listing.problems.iter().map(|p| p.path.as_str()).collect(),
        };
        builder.chunks = builder.common_chunks();
        builder
    }

    fn first(&self, config: &str, seed: u64) -> Option<&'a Entry> {
        let key = (self.point.name.as_deref(), config, seed);
        self.index.get(&key).and_then(|attempts| attempts.first().copied())
    }

    /// The number of chunks in each column that results must have to be averaged: the declared
    /// one where any result has it, else the largest there is (the text may be too short).
    fn common_chunks(&self) -> BTreeMap<(Option<&'a str>, u64), u64> {
        let mut found: BTreeMap<(Option<&str>, u64), BTreeSet<u64>> = BTreeMap::new();
        for config in &self.point.configs {
            for &seed in &self.seeds {
                let Some(entry) = self.first(&config.name, seed) else { continue };
                if self.whole_run_absence(config, &entry.record).is_some() {
                    continue;
                }
                for &transform in &self.transforms {
                    let evaluations = self.evaluations(&entry.record, transform);
                    for (&length, evaluation) in evaluations.into_iter().flatten() {
                        found.entry((transform, length)).or_default().extend(evaluation.chunks);
                    }
                }
            }
        }
        found
            .into_iter()
            .filter_map(|(column, found)| {
                let declared = self.point.lengths.get(&column.1).copied().flatten();
                let chunks = declared.filter(|n| found.contains(n)).or(found.last().copied())?;
                Some((column, chunks))
            })
            .collect()
    }

    /// Why no number of a record may be averaged, whatever the column.
    fn whole_run_absence(&self, config: &Config, record: &Record) -> Option<Absence> {
        match record.status {
            Status::Failed => return Some(Absence::Failed),
            Status::Diverged => return Some(Absence::Diverged),
            Status::Done | Status::Imported => {}
        }
        if !self.protocols.contains(record.protocol.as_str()) {
            return Some(Absence::Drift(self.drift_words(&record.protocol)));
        }
        let foreign = record.freq.as_ref().is_some_and(|freq| freq.vec_id != config.vec_id);
        foreign.then_some(Absence::Damaged)
    }

    /// What differs between a foreign protocol and this point's, if the lock knows it.
    fn drift_words(&self, protocol: &str) -> String {
        let versions =
            self.input.lock.iter().flat_map(Lock::versions).chain([&self.input.declared]);
        let known =
            versions.flat_map(|declared| &declared.points).find(|point| point.protocol == protocol);
        let keys = known.map(|known| {
            let mut keys = changed_keys(&known.training, &self.point.training);
            keys.extend(changed_keys(&known.evaluation, &self.point.evaluation));
            words::list(keys)
        });
        let differs = keys.filter(|keys| !keys.is_empty()).map(|keys| format!(" ({keys})"));
        format!(
            "run under protocol {protocol}, declared is {}{}",
            self.point.protocol,
            differs.unwrap_or_default()
        )
    }

    /// What a seed of a config gave in a column; `None` if the config is not declared.
    pub(super) fn outcome_of(&self, config: &str, seed: u64, column: &Column) -> Option<Outcome> {
        let config = self.point.configs.iter().find(|known| known.name == config)?;
        Some(self.outcome(config, seed, column))
    }

    fn arm(&self, config: &Config, column: &Column) -> Arm {
        let seeds = self.seeds.iter();
        let outcome = |&seed: &u64| (seed, self.outcome(config, seed, column));
        Arm { name: config.name.clone(), seeds: seeds.map(outcome).collect() }
    }

    fn outcome(&self, config: &Config, seed: u64, column: &Column) -> Outcome {
        let Some(Entry { record, .. }) = self.first(&config.name, seed) else {
            return Outcome::Absent(self.without_record(config, seed));
        };
        if let Some(absence) = self.whole_run_absence(config, record) {
            return Outcome::Absent(absence);
        }
        let transform = column.transform.as_deref();
        let evaluation = match self.evaluations(record, transform) {
            Ok(evaluations) => evaluations.get(&column.length),
            Err(absence) => return Outcome::Absent(absence),
        };
        let Some(evaluation) = evaluation else {
            return Outcome::Absent(Absence::NotEvaluated);
        };
        let (Some(ppl), Some(nll)) = (evaluation.ppl, evaluation.nll) else {
            return Outcome::Absent(Absence::NotFinite);
        };
        let expected = self.chunks.get(&(transform, column.length)).copied();
        if let (Some(found), Some(expected)) = (evaluation.chunks, expected)
            && found != expected
        {
            return Outcome::Absent(Absence::Chunks { found, expected });
        }
        Outcome::Value { ppl, nll, imported: record.status == Status::Imported }
    }

    /// The results of a record as trained, or under the transform of a name.
    fn evaluations<'r>(
        &self,
        record: &'r Record,
        transform: Option<&str>,
    ) -> Result<&'r BTreeMap<u64, Evaluation>, Absence> {
        let Some(name) = transform else { return Ok(&record.eval) };
        let declared = self.point.transforms.iter().find(|transform| transform.name == name);
        let declared = declared.ok_or(Absence::UnknownTransform)?;
        record.transforms.get(&declared.expression).ok_or(Absence::NotTransformed)
    }

    /// Missing, or there but among the problems.
    fn without_record(&self, config: &Config, seed: u64) -> Absence {
        let point = self.point.name.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        let path = format!("{point}{}/seed-{seed}/run.json", config.name);
        if self.unusable.contains(path.as_str()) { Absence::Damaged } else { Absence::Missing }
    }

    /// The seeds of every config in every column shown and in the guard's: first as trained, then
    /// transform by transform, each in the order of the lengths.
    fn columns(&self) -> Vec<(Column, Vec<Arm>)> {
        let guard = Column::of_guard(&self.input.declared.win);
        let mut columns = Vec::new();
        for &transform in &self.transforms {
            let guard = guard.iter().filter(|guard| guard.transform.as_deref() == transform);
            let guard = guard.map(|guard| guard.length);
            let lengths: BTreeSet<u64> = self.lengths.iter().copied().chain(guard).collect();
            for length in lengths {
                let column = Column::new(length, transform);
                let configs = self.point.configs.iter();
                let arms = configs.map(|config| self.arm(config, &column)).collect();
                columns.push((column, arms));
            }
        }
        columns
    }

    pub(super) fn build(&self, problems: &mut Vec<Problem>) -> Section {
        let configs = &self.point.configs;
        let win = &self.input.declared.win;
        let columns = self.columns();
        let guard = Column::of_guard(win)
            .and_then(|guard| columns.iter().find(|(column, _)| *column == guard))
            .map(|(_, arms)| arms.as_slice());
        let shown: Vec<&(Column, Vec<Arm>)> =
            columns.iter().filter(|(column, _)| self.lengths.contains(&column.length)).collect();
        let by_name: BTreeMap<&str, usize> =
            configs.iter().enumerate().map(|(i, config)| (config.name.as_str(), i)).collect();
        let mut rows: Vec<Row> = configs.iter().map(|config| self.empty_row(config)).collect();
        for (column, arms) in &shown {
            let cells = self.cells(column, arms, &by_name, guard);
            for (row, cell) in rows.iter_mut().zip(cells) {
                row.cells.push(cell);
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            let has_all = |seed: usize| {
                shown
                    .iter()
                    .filter(|(column, _)| column.transform == win.transform)
                    .all(|(_, arms)| matches!(arms[i].seeds[seed].1, Outcome::Value { .. }))
            };
            row.n = (0..row.n_expected).filter(|&seed| has_all(seed)).count();
            if let Some(primary) = row.cells.iter().find(|cell| cell.primary) {
                row.verdict = primary.verdict;
                row.reason = primary.reason.clone();
            }
        }
        self.foreign_frequencies(problems);
        Section {
            point: self.point.name.clone(),
            protocol: self.point.protocol.clone(),
            seq_len: self.point.seq_len,
            lengths: self.lengths.clone(),
            transforms: self.point.transforms.clone(),
            columns: shown.iter().map(|(column, _)| column.clone()).collect(),
            primary_length: win.primary_length,
            primary_transform: win.transform.clone(),
            ranking: ranking(&rows),
            selection: None,
            missing: missing(&columns),
            training: self.point.training.clone(),
            evaluation: self.point.evaluation.clone(),
            detail: None,
            rows,
        }
    }

    fn empty_row(&self, config: &Config) -> Row {
        Row {
            config: config.name.clone(),
            expression: config.expression.clone(),
            baseline: config.baseline.clone(),
            n: 0,
            n_expected: self.seeds.len(),
            verdict: None,
            reason: String::new(),
            cells: Vec::with_capacity(self.lengths.len() * self.transforms.len()),
        }
    }

    /// One cell a config in a column.
    fn cells(
        &self,
        column: &Column,
        arms: &[Arm],
        by_name: &BTreeMap<&str, usize>,
        guard_arms: Option<&[Arm]>,
    ) -> Vec<Cell> {
        let Declared { win, std_ddof, .. } = &self.input.declared;
        let primary = *column == Column::of_claim(win);
        let compared: Vec<Option<(usize, Comparison)>> = self
            .point
            .configs
            .iter()
            .zip(arms)
            .map(|(config, arm)| {
                if config.baseline == config.name {
                    return None;
                }
                let &baseline = by_name.get(config.baseline.as_str())?;
                Some((baseline, compare(arm, &arms[baseline], *std_ddof, primary)))
            })
            .collect();
        let p_values: Vec<f64> =
            compared.iter().flatten().filter_map(|(_, c)| test_p(c, win)).collect();
        let family = compared.iter().flatten().count();
        let mut adjusted = holm(&p_values, family).into_iter();
        let guard = win.guard.filter(|_| primary);
        arms.iter()
            .zip(compared)
            .enumerate()
            .map(|(i, (arm, compared))| {
                let summary = arm.summary(*std_ddof);
                let mut cell = Cell {
                    column: column.clone(),
                    primary,
                    n: summary.n,
                    mean: summary.mean,
                    std: summary.std,
                    mean_pm_std: words::mean_pm_std(summary.mean, summary.std),
                    gap: None,
                    gap_pct: None,
                    seeds_better: None,
                    ci_low: None,
                    ci_high: None,
                    p_paired: None,
                    p_holm: None,
                    p_sign_flip: None,
                    dz: None,
                    p_welch: None,
                    bca: None,
                    hinges_on: Vec::new(),
                    verdict: None,
                    reason: String::new(),
                };
                let Some((baseline, comparison)) = compared else {
                    let config = &self.point.configs[i];
                    if config.baseline != config.name {
                        cell.verdict = Some(Verdict::Incomplete);
                        cell.reason = format!("baseline {} is not declared", config.baseline);
                    }
                    return cell;
                };
                let p_holm = test_p(&comparison, win).and_then(|_| adjusted.next());
                let ten_digits = |value: fn(&PairedT) -> f64| {
                    comparison.paired.map(|paired| words::ten_digits(value(&paired)))
                };
                cell.p_paired = ten_digits(|paired| paired.p);
                cell.ci_low = ten_digits(|paired| paired.low);
                cell.ci_high = ten_digits(|paired| paired.high);
                cell.p_holm = p_holm.map(words::ten_digits);
                cell.p_sign_flip = comparison.sign_flip.map(words::ten_digits);
                cell.dz = comparison.dz.map(words::ten_digits);
                cell.p_welch = comparison.welch.map(words::ten_digits);
                cell.bca = comparison.bca;
                cell.gap = comparison.gap;
                cell.gap_pct = comparison.gap_pct;
                let pairs = comparison.pairs;
                cell.seeds_better = (pairs > 0).then(|| format!("{}/{pairs}", comparison.better));
                let case = Case {
                    config: arm,
                    baseline: &arms[baseline],
                    comparison: &comparison,
                    win,
                    holm: p_holm.map(|p| (p, family)),
                    guard: guard.zip(guard_arms).map(|(g, at)| (g, &at[i], &at[baseline])),
                };
                let mut decision = decide(&case);
                cell.hinges_on = hinges_on(&case, decision.verdict, *std_ddof);
                self.demote(&mut decision, &arm.name, &arms[baseline].name);
                cell.verdict = Some(decision.verdict);
                let hinges = hinges_words(&cell.hinges_on);
                cell.reason = [decision.reason, hinges, origin_words(arm, &arms[baseline])]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("; ");
                cell
            })
            .collect()
    }

    /// Takes back what may not be claimed because of how the results came about: changes after results,
    /// runs that the declaration hides.
    fn demote(&self, decision: &mut Decision, config: &str, baseline: &str) {
        let Decision { verdict, reason } = decision;
        if !(verdict.is_claim() || *verdict == Verdict::Tie) {
            return;
        }
        let hidden = (self.input.declared.win.rule == Rule::Record)
            .then(|| self.undeclared_seeds(&[config, baseline]))
            .filter(|seeds| !seeds.is_empty());
        if let Some(seeds) = hidden {
            *reason = format!(
                "{reason}; but there are undeclared results of it or its baseline ({}): a record needs \
                 all runs",
                words::seeds(&seeds)
            );
            *verdict = Verdict::Incomplete;
        } else if let Some(why) = self.amended.why([config, baseline]) {
            *reason = format!("the rule says {verdict} ({reason}), but {why}");
            *verdict = Verdict::Exploratory;
        }
    }

    /// Seeds of these configs that have results and are neither declared nor tuning seeds.
    fn undeclared_seeds(&self, configs: &[&str]) -> Vec<u64> {
        let Declared { seeds, win, .. } = &self.input.declared;
        let known = |seed: &u64| seeds.contains(seed) || win.tuning_seeds.contains(seed);
        let found: BTreeSet<u64> = self
            .index
            .keys()
            .filter(|(point, config, _)| {
                *point == self.point.name.as_deref() && configs.contains(config)
            })
            .map(|(_, _, seed)| *seed)
            .filter(|seed| !known(seed))
            .collect();
        found.into_iter().collect()
    }

    /// Records whose frequencies are not those declared under their name.
    fn foreign_frequencies(&self, problems: &mut Vec<Problem>) {
        for config in &self.point.configs {
            for &seed in &self.seeds {
                let Some(Entry { record, path, .. }) = self.first(&config.name, seed) else {
                    continue;
                };
                if let Some(freq) = record.freq.as_ref().filter(|f| f.vec_id != config.vec_id) {
                    let reason = format!(
                        "its frequencies are {}, declared is {}; use another experiment name, or \
                         --supersede",
                        freq.expression, config.expression
                    );
                    problems.push(Problem { path: path.clone(), reason });
                }
            }
        }
    }
}

/// Says that a claim hangs on single seeds.
fn hinges_words(seeds: &[u64]) -> String {
    match seeds {
        [] => String::new(),
        [seed] => format!("it hangs on seed {seed}: without it the rule would not hold"),
        seeds => {
            let seeds = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            format!("it hangs on single seeds: without any one of {seeds} the rule would not hold")
        }
    }
}

/// Says it where imported and native results meet in one mean or one comparison.
fn origin_words(config: &Arm, baseline: &Arm) -> String {
    let (config_origins, baseline_origins) = (config.origins(), baseline.origins());
    let mut parts = Vec::new();
    for (arm, (imported, native)) in [(config, &config_origins), (baseline, &baseline_origins)] {
        if !imported.is_empty() && !native.is_empty() {
            parts.push(format!(
                "{}: {} imported, {} run by xp, so two codes share one mean",
                arm.name,
                words::seeds(imported),
                words::seeds(native)
            ));
        }
    }
    let all = |origins: &(Vec<u64>, Vec<u64>)| match (origins.0.is_empty(), origins.1.is_empty()) {
        (false, true) => Some("imported"),
        (true, false) => Some("run by xp"),
        _ => None,
    };
    if let (Some(ours), Some(theirs)) = (all(&config_origins), all(&baseline_origins))
        && ours != theirs
    {
        parts.push(format!("{ours}, but its baseline {theirs}: the difference may be the code's"));
    }
    parts.join("; ")
}

/// Indices by mean in the primary column; ties and rows without a mean in declared order.
fn ranking(rows: &[Row]) -> Vec<usize> {
    let mean = |i: usize| rows[i].primary().and_then(|cell| cell.mean);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| by_mean(mean(a), mean(b)));
    order
}

/// Ascending, no mean last.
pub(super) fn by_mean(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Which declared seeds of which config lack a result, once each if it is the same everywhere.
fn missing(columns: &[(Column, Vec<Arm>)]) -> Vec<String> {
    let num_configs = columns.first().map_or(0, |(_, arms)| arms.len());
    let mut missing = Vec::new();
    for i in 0..num_configs {
        let mut by_words: Vec<(String, Vec<&Column>)> = Vec::new();
        for (column, arms) in columns {
            let absent = arms[i].all_absent_words();
            match by_words.iter_mut().find(|(known, _)| *known == absent) {
                _ if absent.is_empty() => {}
                Some((_, these)) => these.push(column),
                None => by_words.push((absent, vec![column])),
            }
        }
        for (absent, these) in by_words {
            let name = columns.first().map_or("", |(_, arms)| arms[i].name.as_str());
            if these.len() == columns.len() {
                missing.push(format!("{name}: {absent}"));
            } else {
                missing.push(format!("{name} at {}: {absent}", words::list(these)));
            }
        }
    }
    missing
}
