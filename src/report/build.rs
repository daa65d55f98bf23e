//! Declarations and records to a [`Report`].

use std::collections::BTreeSet;

use super::input::{Index, Input, index};
use super::model::{Change, Experiment, Report, RunRow, Section};
use super::search::{self, Selection};
use super::section::SectionBuilder;
use super::{caveats, leaderboard, operating, reruns};
use crate::results::{Declared, Entry, Evaluation, Record, Transform};

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
    let mut experiment = Experiment {
        name: declared.experiment.clone(),
        seeds: declared.claim_seeds(),
        std_ddof: declared.std_ddof,
        win: declared.win.clone(),
        rule: caveats::rule_in_words(declared),
        operating: None,
        reruns: reruns::of(&index, declared),
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
    };
    experiment.operating = operating::of(&experiment);
    experiment.caveats.extend(search::grid_edges(declared, &experiment.sections));
    let claimed = operating::Claimed::of(&experiment);
    let selections: Vec<_> = experiment
        .sections
        .iter()
        .map(|section| Selection::of(&search::values(&claimed, section, &experiment.seeds)))
        .collect();
    for (section, selection) in experiment.sections.iter_mut().zip(selections) {
        section.selection = selection;
    }
    experiment
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
    let transforms = |record: &Record| {
        let point = declared.point(record.point.as_deref());
        point.map_or([].as_slice(), |point| &point.transforms)
    };
    order
        .iter()
        .flat_map(|key| &index[key])
        .flat_map(|entry| run_rows(entry, transforms(&entry.record)))
        .collect()
}

/// One row a length as trained, then by transform, declared ones first; one row if there is no
/// result.
fn run_rows(entry: &Entry, transforms: &[Transform]) -> Vec<RunRow> {
    let record = &entry.record;
    let row = |transform: Option<&str>, result: Option<(u64, &Evaluation)>| RunRow {
        experiment: record.experiment.clone(),
        protocol: record.protocol.clone(),
        train_id: record.train_id.clone(),
        point: record.point.clone(),
        config: record.config.clone(),
        seed: record.seed,
        eval_len: result.map(|(length, _)| length),
        transform: transform.map(str::to_owned),
        ppl: result.and_then(|(_, evaluation)| evaluation.ppl),
        nll: result.and_then(|(_, evaluation)| evaluation.nll),
        chunks: result.and_then(|(_, evaluation)| evaluation.chunks),
        status: record.status,
        attempt: entry.attempt,
        path: entry.path.clone(),
    };
    let named = transforms.iter().filter_map(|Transform { name, expression }| {
        Some((Some(name.as_str()), record.transforms.get(expression)?))
    });
    let is_named = |expression: &str| transforms.iter().any(|t| t.expression == expression);
    let others = record.transforms.iter().filter(|(expression, _)| !is_named(expression));
    let others = others.map(|(expression, results)| (Some(expression.as_str()), results));
    let rows: Vec<RunRow> = std::iter::once((None, &record.eval))
        .chain(named)
        .chain(others)
        .flat_map(|(name, evaluations)| {
            let results = evaluations.iter().map(move |(&length, result)| (name, length, result));
            results.collect::<Vec<_>>()
        })
        .map(|(name, length, result)| row(name, Some((length, result))))
        .collect();
    if rows.is_empty() { vec![row(None, None)] } else { rows }
}
