//! What lies beside the records of the configs that a reader looks at first: the loss by position,
//! chunk against chunk, training curves, where the spread comes from, and the machines.

mod curves;
mod noise;
mod positions;
pub(super) mod tables;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::arm::Outcome;
use super::column::Column;
use super::input::{Index, Input, index};
use super::model::{Experiment, Report, Section};
use super::section::SectionBuilder;
use crate::results::{ChunkLoss, Details, Entry, Layout};
pub use curves::Curve;
pub use noise::Noise;
pub use positions::{Bucket, ChunkPairs, PositionRow, PositionTable};

/// Configs of a section that are looked into, at most: the best by mean, and their baselines.
const MOST_CONFIGS: usize = 12;
/// Runs of a section that are looked into, at most.
const MOST_RUNS: usize = 400;

/// What the files beside the records of a section's first configs say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Detail {
    /// The configs looked into, in declared order.
    pub configs: Vec<String>,
    /// Whether there are more.
    pub more: bool,
    /// The loss by position, a table a column that has native results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<PositionTable>,
    /// Chunk against chunk in the column of the claim, a config each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chunk_pairs: Vec<ChunkPairs>,
    /// Where the spread in the column of the claim comes from, a config each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub noise: Vec<Noise>,
    /// The training loss, a curve a config.
    #[serde(skip)]
    pub curves: Vec<Curve>,
    /// The frequencies as trained, of the first layer: (config, radians a position).
    #[serde(skip)]
    pub sets: Vec<(String, Vec<f64>)>,
    /// Where the runs were carried out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
}

/// Runs that were carried out alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Processor or card, and instruction path; or where imported results came from.
    pub device: String,
    /// Versions of `xp` and of its numerics, and the git commit.
    pub versions: String,
    /// How many runs.
    pub runs: usize,
}

/// A column as files name it: the transform's canonical expression, and the length.
type Key = (Option<String>, u64);

fn key(section: &Section, column: &Column) -> Key {
    let name = column.transform.as_ref();
    let expression =
        name.map(|name| section.transform(name).map_or(name.clone(), |t| t.expression.clone()));
    (expression, column.length)
}

/// The files of one config: by seed, then by attempt.
struct Looked<'a> {
    config: &'a str,
    baseline: &'a str,
    seeds: Vec<(u64, Vec<(&'a Entry, &'a Details)>)>,
}

impl Looked<'_> {
    /// The first attempt of a seed.
    fn first(&self, seed: u64) -> Option<&Details> {
        let (_, attempts) = self.seeds.iter().find(|(known, _)| *known == seed)?;
        attempts.iter().find(|(entry, _)| entry.attempt == 1).map(|(_, details)| *details)
    }

    /// The chunks of a seed's first attempt in a column.
    fn chunks(&self, seed: u64, key: &Key) -> Option<&Vec<ChunkLoss>> {
        self.first(seed)?.chunks.get(key)
    }
}

/// Looks into the folders of the first configs of every section, and says there what it finds.
pub(super) fn attach(report: &mut Report, inputs: &[Input], layouts: &[Layout]) {
    for ((experiment, input), layout) in report.experiments.iter_mut().zip(inputs).zip(layouts) {
        let index = index(&input.listing);
        let mut problems = Vec::new();
        let mut sections = std::mem::take(&mut experiment.sections);
        for (section, point) in sections.iter_mut().zip(&input.declared.points) {
            let builder = SectionBuilder::new(input, &index, point);
            let names = chosen(section);
            let entries = entries(&names, section, input, &index);
            let read = |entry: &&Entry| {
                (entry.path.clone(), Details::read(layout, &experiment.name, entry))
            };
            let details: BTreeMap<String, Details> = entries.iter().map(read).collect();
            for details in details.values() {
                problems.extend(details.problems.iter().cloned());
            }
            section.detail = Some(of(section, experiment, &builder, &names, &index, &details));
        }
        experiment.sections = sections;
        experiment.problems.extend(problems);
    }
}

/// The names of the best configs and of their baselines, in declared order.
fn chosen(section: &Section) -> Vec<String> {
    let mut names = BTreeSet::new();
    for &index in &section.ranking {
        let row = &section.rows[index];
        let more = [&row.config, &row.baseline];
        if names.len() + more.iter().filter(|name| !names.contains(**name)).count() <= MOST_CONFIGS
        {
            names.extend(more);
        }
    }
    let rows = section.rows.iter().filter(|row| names.contains(&row.config));
    rows.map(|row| row.config.clone()).collect()
}

/// The records of these configs, as many as may be looked into.
fn entries<'a>(
    names: &[String],
    section: &Section,
    input: &Input,
    index: &Index<'a>,
) -> Vec<&'a Entry> {
    let place = |name: &String| {
        input
            .declared
            .seeds
            .iter()
            .filter_map(|&seed| {
                index
                    .get(&(section.point.as_deref(), name.as_str(), seed))
                    .map(|entries| entries.iter())
            })
            .flatten()
            .copied()
            .collect::<Vec<_>>()
    };
    names.iter().flat_map(place).take(MOST_RUNS).collect()
}

fn of(
    section: &Section,
    experiment: &Experiment,
    builder: &SectionBuilder,
    names: &[String],
    index: &Index,
    details: &BTreeMap<String, Details>,
) -> Detail {
    let looked: Vec<Looked> = section
        .rows
        .iter()
        .filter(|row| names.contains(&row.config))
        .map(|row| {
            let attempts = |&seed: &u64| {
                let key = (section.point.as_deref(), row.config.as_str(), seed);
                let entries = index.get(&key)?;
                // Nothing of a run that is in no mean.
                let counted = section.columns.iter().any(|column| {
                    matches!(
                        builder.outcome_of(&row.config, seed, column),
                        Some(Outcome::Value { .. })
                    )
                });
                counted.then(|| {
                    let found = entries
                        .iter()
                        .filter_map(|&entry| Some((entry, details.get(&entry.path)?)));
                    (seed, found.collect::<Vec<_>>())
                })
            };
            let seeds = experiment.seeds.iter().filter_map(attempts).collect();
            Looked { config: &row.config, baseline: &row.baseline, seeds }
        })
        .collect();
    Detail {
        configs: names.to_vec(),
        more: names.len() < section.rows.len(),
        positions: positions::tables(section, &looked, experiment.std_ddof),
        chunk_pairs: positions::chunk_pairs(section, &looked),
        noise: noise::of(section, &looked),
        curves: curves::of(&looked),
        sets: sets(&looked),
        machines: machines(&looked),
    }
}

fn sets(looked: &[Looked]) -> Vec<(String, Vec<f64>)> {
    let set = |one: &Looked| {
        let mut records = one.seeds.iter().flat_map(|(_, attempts)| attempts);
        let set = records.find_map(|(entry, _)| entry.record.freq.as_ref())?;
        Some((one.config.to_owned(), set.inv_freq.clone()))
    };
    looked.iter().filter_map(set).collect()
}

/// A commit by its first digits, with its `+dirty`.
fn short(commit: &str) -> String {
    let (id, mark) = commit.split_once('+').map_or((commit, ""), |(id, _)| (id, "+dirty"));
    format!("{}{mark}", id.chars().take(12).collect::<String>())
}

fn machines(looked: &[Looked]) -> Vec<Machine> {
    let mut counted: BTreeMap<(String, String), usize> = BTreeMap::new();
    let attempts = looked.iter().flat_map(|one| &one.seeds).flat_map(|(_, attempts)| attempts);
    for provenance in attempts.filter_map(|(_, details)| details.provenance.as_ref()) {
        let device = match &provenance.source {
            Some(source) => format!("imported or taken over from {source}"),
            None => provenance.device_class.clone(),
        };
        let version = |(name, version): (&String, &String)| match name.as_str() {
            "commit" => format!("{name} {}", short(version)),
            _ => format!("{name} {version}"),
        };
        let versions = provenance.versions.iter().map(version);
        let git = provenance.git.iter().map(|commit| format!("git {}", short(commit)));
        let versions = versions.chain(git).collect::<Vec<_>>().join(", ");
        *counted.entry((device, versions)).or_default() += 1;
    }
    let machine = |((device, versions), runs)| Machine { device, versions, runs };
    counted.into_iter().map(machine).collect()
}
