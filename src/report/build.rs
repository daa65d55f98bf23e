//! Declarations and records to a [`Report`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::arm::{Absence, Arm, Comparison, Outcome, compare};
use super::model::{Cell, Change, Experiment, Report, Row, RunRow, Section};
use super::verdict::{Case, Verdict, decide};
use super::{caveats, leaderboard, words};
use crate::results::{Config, Declared, Entry, Listing, Lock, Point, Record, Status, changed_keys};
use crate::stats::{PairedT, holm};

/// What a report is made of: one experiment's declaration, its lock, and its folder.
#[derive(Debug, Clone)]
pub struct Input {
    /// The declaration to judge by: of the spec at hand, or [`Lock::declared_now`].
    pub declared: Declared,
    /// `lock.json`, if there is one.
    pub lock: Option<Lock>,
    /// The records and problems of the experiment's folder.
    pub listing: Listing,
}

impl Report {
    /// Judges the records of one or several experiments. Pure and total: whatever the records
    /// hold, what cannot be judged is said, not left out.
    #[must_use]
    pub fn build(inputs: &[Input]) -> Self {
        let experiments: Vec<Experiment> = inputs.iter().map(experiment).collect();
        let leaderboard = leaderboard::build(inputs, &experiments);
        Self { schema: 1, experiments, leaderboard }
    }
}

/// The records of one experiment by (point, config, seed), first attempt first.
type Index<'a> = BTreeMap<(Option<&'a str>, &'a str, u64), Vec<&'a Entry>>;

fn index(listing: &Listing) -> Index<'_> {
    let mut index: Index = BTreeMap::new();
    for entry in &listing.entries {
        let Record { point, config, seed, .. } = &entry.record;
        index.entry((point.as_deref(), config.as_str(), *seed)).or_default().push(entry);
    }
    for attempts in index.values_mut() {
        attempts.sort_by_key(|entry| entry.attempt);
    }
    index
}

fn experiment(input: &Input) -> Experiment {
    let Input { declared, lock, listing } = input;
    let index = index(listing);
    let mut problems = listing.problems.clone();
    let sections: Vec<Section> = declared
        .points
        .iter()
        .map(|point| SectionBuilder::new(input, &index, point).build(&mut problems))
        .collect();
    let change = |amendment: &crate::results::Amendment| Change {
        date: amendment.date.clone(),
        after_results: amendment.after_results,
        changes: amendment.changes.clone(),
    };
    let runs = runs(declared, &index);
    let caveats = caveats::of(input, &sections, &runs);
    Experiment {
        name: declared.experiment.clone(),
        seeds: declared.seeds.clone(),
        std_ddof: declared.std_ddof,
        win: declared.win.clone(),
        rule: caveats::rule_in_words(declared),
        frozen: lock.as_ref().map(|lock| lock.frozen.clone()),
        sections,
        amendments: lock.iter().flat_map(|lock| &lock.amendments).map(change).collect(),
        unrecorded: lock
            .as_ref()
            .map(|lock| lock.declared_now().changes_to(declared))
            .unwrap_or_default(),
        problems,
        caveats,
        runs,
    }
}

/// Every result, declared ones first in the declaration's order, then the others in theirs.
fn runs(declared: &Declared, index: &Index) -> Vec<RunRow> {
    let mut order: Vec<_> = declared
        .points
        .iter()
        .flat_map(|point| point.configs.iter().map(move |config| (point, config)))
        .flat_map(|(point, config)| {
            let key = (point.name.as_deref(), config.name.as_str());
            declared.seeds.iter().map(move |&seed| (key.0, key.1, seed))
        })
        .filter(|key| index.contains_key(key))
        .collect();
    let declared_keys: BTreeSet<_> = order.iter().copied().collect();
    order.extend(index.keys().filter(|key| !declared_keys.contains(*key)));
    order.iter().flat_map(|key| &index[key]).flat_map(|entry| run_rows(entry)).collect()
}

fn run_rows(entry: &Entry) -> Vec<RunRow> {
    let record = &entry.record;
    let row = |eval_len, evaluation: Option<&crate::results::Evaluation>| RunRow {
        experiment: record.experiment.clone(),
        protocol: record.protocol.clone(),
        train_id: record.train_id.clone(),
        config: record.config.clone(),
        seed: record.seed,
        eval_len,
        ppl: evaluation.and_then(|evaluation| evaluation.ppl),
        nll: evaluation.and_then(|evaluation| evaluation.nll),
        chunks: evaluation.and_then(|evaluation| evaluation.chunks),
        status: record.status,
        attempt: entry.attempt,
    };
    if record.eval.is_empty() {
        return vec![row(None, None)];
    }
    record.eval.iter().map(|(&length, evaluation)| row(Some(length), Some(evaluation))).collect()
}

struct SectionBuilder<'a> {
    input: &'a Input,
    index: &'a Index<'a>,
    point: &'a Point,
    protocols: BTreeSet<&'a str>,
    lengths: Vec<u64>,
    /// Chunks that native results have in common, by length.
    chunks: BTreeMap<u64, u64>,
    /// Paths of the files that cannot be used.
    unusable: BTreeSet<&'a str>,
}

impl<'a> SectionBuilder<'a> {
    fn new(input: &'a Input, index: &'a Index<'a>, point: &'a Point) -> Self {
        let declared = &input.declared;
        let lengths: BTreeSet<u64> =
            declared.report_lengths.iter().copied().chain([declared.win.primary_length]).collect();
        let mut builder = Self {
            input,
            index,
            point,
            protocols: point.compatible_protocols(input.lock.as_ref()),
            lengths: lengths.into_iter().collect(),
            chunks: BTreeMap::new(),
            unusable: input.listing.problems.iter().map(|p| p.path.as_str()).collect(),
        };
        builder.chunks = builder.common_chunks();
        builder
    }

    fn first(&self, config: &str, seed: u64) -> Option<&'a Entry> {
        let key = (self.point.name.as_deref(), config, seed);
        self.index.get(&key).and_then(|attempts| attempts.first().copied())
    }

    /// The number of chunks at each length that results must have to be averaged: the declared
    /// one where any result has it, else the largest there is (the text may be too short).
    fn common_chunks(&self) -> BTreeMap<u64, u64> {
        let mut found: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for config in &self.point.configs {
            for &seed in &self.input.declared.seeds {
                let Some(entry) = self.first(&config.name, seed) else { continue };
                if self.whole_run_absence(config, &entry.record).is_none() {
                    for (&length, evaluation) in &entry.record.eval {
                        found.entry(length).or_default().extend(evaluation.chunks);
                    }
                }
            }
        }
        found
            .into_iter()
            .filter_map(|(length, found)| {
                let declared = self.point.lengths.get(&length).copied().flatten();
                let chunks = declared.filter(|n| found.contains(n)).or(found.last().copied())?;
                Some((length, chunks))
            })
            .collect()
    }

    /// Why no number of a record may be averaged, whatever the length.
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

    fn arm(&self, config: &Config, length: u64) -> Arm {
        let seeds = self.input.declared.seeds.iter();
        let outcome = |&seed: &u64| (seed, self.outcome(config, seed, length));
        Arm { name: config.name.clone(), seeds: seeds.map(outcome).collect() }
    }

    fn outcome(&self, config: &Config, seed: u64, length: u64) -> Outcome {
        let Some(Entry { record, .. }) = self.first(&config.name, seed) else {
            return Outcome::Absent(self.without_record(config, seed));
        };
        if let Some(absence) = self.whole_run_absence(config, record) {
            return Outcome::Absent(absence);
        }
        let Some(evaluation) = record.eval.get(&length) else {
            return Outcome::Absent(Absence::NotEvaluated);
        };
        let (Some(ppl), Some(nll)) = (evaluation.ppl, evaluation.nll) else {
            return Outcome::Absent(Absence::NotFinite);
        };
        if let (Some(found), Some(&expected)) = (evaluation.chunks, self.chunks.get(&length))
            && found != expected
        {
            return Outcome::Absent(Absence::Chunks { found, expected });
        }
        Outcome::Value { ppl, nll, imported: record.status == Status::Imported }
    }

    /// Missing, or there but among the problems.
    fn without_record(&self, config: &Config, seed: u64) -> Absence {
        let point = self.point.name.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        let path = format!("{point}{}/seed-{seed}/run.json", config.name);
        if self.unusable.contains(path.as_str()) { Absence::Damaged } else { Absence::Missing }
    }

    fn build(&self, problems: &mut Vec<crate::results::Problem>) -> Section {
        let configs = &self.point.configs;
        let win = &self.input.declared.win;
        let guard_length = win.guard.map(|guard| guard.length);
        // arms[length][config], for every length shown and the guard's.
        let arms: BTreeMap<u64, Vec<Arm>> = self
            .lengths
            .iter()
            .copied()
            .chain(guard_length)
            .collect::<BTreeSet<u64>>()
            .into_iter()
            .map(|length| (length, configs.iter().map(|c| self.arm(c, length)).collect()))
            .collect();
        let by_name: BTreeMap<&str, usize> =
            configs.iter().enumerate().map(|(i, config)| (config.name.as_str(), i)).collect();
        let mut rows: Vec<Row> = configs.iter().map(|config| self.empty_row(config)).collect();
        for &length in &self.lengths {
            let at = &arms[&length];
            let cells = self.cells(length, at, &by_name, arms.get(&guard_length.unwrap_or(0)));
            for (row, cell) in rows.iter_mut().zip(cells) {
                row.cells.push(cell);
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            let has_all = |seed: usize| {
                self.lengths
                    .iter()
                    .all(|length| matches!(arms[length][i].seeds[seed].1, Outcome::Value { .. }))
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
            primary_length: win.primary_length,
            ranking: ranking(&rows),
            missing: missing(&arms),
            rows,
        }
    }

    fn empty_row(&self, config: &Config) -> Row {
        Row {
            config: config.name.clone(),
            expression: config.expression.clone(),
            baseline: config.baseline.clone(),
            n: 0,
            n_expected: self.input.declared.seeds.len(),
            verdict: None,
            reason: String::new(),
            cells: Vec::with_capacity(self.lengths.len()),
        }
    }

    /// One cell a config at a length.
    fn cells(
        &self,
        length: u64,
        arms: &[Arm],
        by_name: &BTreeMap<&str, usize>,
        guard_arms: Option<&Vec<Arm>>,
    ) -> Vec<Cell> {
        let Declared { win, std_ddof, .. } = &self.input.declared;
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
                Some((baseline, compare(arm, &arms[baseline], *std_ddof)))
            })
            .collect();
        let p_values: Vec<f64> =
            compared.iter().flatten().filter_map(|(_, c)| c.paired.map(|t| t.p)).collect();
        let family = compared.iter().flatten().count();
        let mut adjusted = holm(&p_values, family).into_iter();
        let primary = length == win.primary_length;
        let guard = win.guard.filter(|_| primary);
        arms.iter()
            .zip(compared)
            .enumerate()
            .map(|(i, (arm, compared))| {
                let summary = arm.summary(*std_ddof);
                let mut cell = Cell {
                    length,
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
                let p_holm = comparison.paired.and_then(|_| adjusted.next());
                let ten_digits = |value: fn(&PairedT) -> f64| {
                    comparison.paired.map(|paired| words::ten_digits(value(&paired)))
                };
                cell.p_paired = ten_digits(|paired| paired.p);
                cell.ci_low = ten_digits(|paired| paired.low);
                cell.ci_high = ten_digits(|paired| paired.high);
                cell.p_holm = p_holm.map(words::ten_digits);
                cell.gap = comparison.gap;
                cell.gap_pct = comparison.gap_pct;
                let pairs = comparison.pairs;
                cell.seeds_better = (pairs > 0).then(|| format!("{}/{pairs}", comparison.better));
                let decision = decide(&Case {
                    config: arm,
                    baseline: &arms[baseline],
                    comparison: &comparison,
                    win,
                    holm: p_holm.map(|p| (p, family)),
                    guard: guard.zip(guard_arms).map(|(g, at)| (g, &at[i], &at[baseline])),
                });
                cell.verdict = Some(decision.verdict);
                cell.reason = [decision.reason, origin_words(arm, &arms[baseline])]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("; ");
                cell
            })
            .collect()
    }

    /// Records whose frequencies are not those declared under their name.
    fn foreign_frequencies(&self, problems: &mut Vec<crate::results::Problem>) {
        for config in &self.point.configs {
            for &seed in &self.input.declared.seeds {
                let Some(Entry { record, path, .. }) = self.first(&config.name, seed) else {
                    continue;
                };
                if let Some(freq) = record.freq.as_ref().filter(|f| f.vec_id != config.vec_id) {
                    let reason = format!(
                        "its frequencies are {}, declared is {}; use another experiment name, or \
                         --supersede",
                        freq.expression, config.expression
                    );
                    problems.push(crate::results::Problem { path: path.clone(), reason });
                }
            }
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

/// Indices by mean at the primary length; ties and rows without a mean in declared order.
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
fn missing(arms: &BTreeMap<u64, Vec<Arm>>) -> Vec<String> {
    let num_configs = arms.values().next().map_or(0, Vec::len);
    let mut missing = Vec::new();
    for i in 0..num_configs {
        let mut by_words: Vec<(String, Vec<u64>)> = Vec::new();
        for (&length, at) in arms {
            let absent = at[i].all_absent_words();
            match by_words.iter_mut().find(|(known, _)| *known == absent) {
                _ if absent.is_empty() => {}
                Some((_, lengths)) => lengths.push(length),
                None => by_words.push((absent, vec![length])),
            }
        }
        for (absent, lengths) in by_words {
            let name = arms.values().next().map_or("", |at| at[i].name.as_str());
            if lengths.len() == arms.len() {
                missing.push(format!("{name}: {absent}"));
            } else {
                missing.push(format!("{name} at {}: {absent}", words::list(lengths)));
            }
        }
    }
    missing
}
