//! Spec × sweep × seeds → an ordered list of runs, each with its ids.
//!
//! The stages: `expand` carries out sweeps and templates, `resolve` fills in defaults and
//! evaluates expressions, [`Plan::new`] hashes content into ids. Nothing here trains or writes;
//! what must be read from disk is asked for through [`Contents`].

mod compare;
mod controls;
mod coverage;
mod estimate;
mod expand;
mod findings;
mod freqs;
mod layers;
mod manifest;
mod protocol;
mod resolve;
mod sweep;
mod template;
#[cfg(test)]
mod tests;
mod transforms;

use crate::data;
use crate::diag::{Diagnostic, any_error};
use crate::results::{self, Declared};
use crate::spec::check;
use crate::spec::node::Node;
use crate::spec::types::Spec;

pub use compare::{Origin, hold_fixed, origin, resolved_keys, resolved_toml};
pub use coverage::{Chunks, Coverage, Missing, comparable};
pub use estimate::{Estimate, disk_bytes, estimate, flops_per_token, peak_memory};
pub use layers::{LayerSets, ResolvedConfig};
pub use manifest::Task;
pub use protocol::{Contents, Identity, NUMERICS_VERSION, Protocol, eval_id};
pub use resolve::{Resolved, steps_problem};

/// Runs that a spec may expand to unless `--max-runs` says otherwise.
pub const MAX_RUNS: u64 = 10_000;

/// A checked spec: complete, but not yet hashed.
#[derive(Debug)]
pub struct Checked {
    /// Experiment name.
    pub experiment: String,
    /// Seeds, in the spec's order.
    pub seeds: Vec<u64>,
    /// Sweep points, in order.
    pub points: Vec<Resolved>,
    /// The first point's spec: what no sweep can reach is the same in all.
    pub spec: Spec,
}

/// Checks a loaded document: structure, sweeps, templates, rules, expressions. The findings may
/// be warnings; the result is there only if none is an error.
pub fn check_document(document: &Node, max_runs: u64) -> (Option<Checked>, Vec<Diagnostic>) {
    let (points, mut found) = expand::expand(document, max_runs);
    let sound = !any_error(&found);
    let mut resolved = Vec::new();
    let mut spec = None;
    for point in points {
        let mut own = check::check(&point.document, &point.spec, sound);
        spec.get_or_insert_with(|| point.spec.clone());
        resolved.extend(resolve::resolve(point, &mut own));
        for diagnostic in own {
            if !found.contains(&diagnostic) {
                found.push(diagnostic);
            }
        }
    }
    duplicate_points(&resolved, &mut found);
    point_names(&resolved, &mut found);
    if any_error(&found) {
        return (None, found);
    }
    let checked = spec.and_then(|spec| {
        let experiment = spec.experiment.name.clone()?;
        let seeds = spec.experiment.seeds.clone()?;
        Some(Checked { experiment, seeds, points: resolved, spec })
    });
    (checked, found)
}

fn point_names(points: &[Resolved], found: &mut Vec<Diagnostic>) {
    for name in points.iter().filter_map(|p| p.name.as_deref()) {
        if let Some(reason) = crate::spec::names::unsafe_because(name) {
            found.push(
                Diagnostic::error(
                    "spec::bad-name",
                    format!("the sweep point {name:?} cannot be a folder"),
                )
                .at(points[0].document.place.clone(), reason)
                .help("sweep fewer keys at once, or values that make a name"),
            );
        }
    }
}

fn duplicate_points(points: &[Resolved], found: &mut Vec<Diagnostic>) {
    for (i, point) in points.iter().enumerate() {
        let same = points[..i].iter().find(|other| {
            other.protocol == point.protocol
                && other.configs.len() == point.configs.len()
                && other
                    .configs
                    .iter()
                    .zip(&point.configs)
                    .all(|(a, b)| a.name == b.name && a.freq.vec_id == b.freq.vec_id)
        });
        if let Some(other) = same {
            let (a, b) = (other.name.as_deref().unwrap_or(""), point.name.as_deref().unwrap_or(""));
            found.push(
                Diagnostic::error(
                    "sweep::same-point",
                    format!("the points `{a}` and `{b}` are the same"),
                )
                .at(point.document.place.clone(), "in this spec")
                .help("a swept variable is used nowhere, or a value is swept twice"),
            );
        }
    }
}

/// An experiment with all its ids.
#[derive(Debug)]
pub struct Plan {
    /// Experiment name.
    pub experiment: String,
    /// How many times every (config, seed) is carried out.
    pub repeats: u32,
    /// Seeds, in the spec's order.
    pub seeds: Vec<u64>,
    /// Sweep points, in order.
    pub points: Vec<Point>,
    /// The spec, for what no id depends on: output, report.
    pub spec: Spec,
}

/// One protocol and the configs compared under it.
#[derive(Debug)]
pub struct Point {
    /// The resolved point.
    pub resolved: Resolved,
    /// Its canonical form.
    pub identity: Identity,
    /// The protocol id.
    pub protocol_id: String,
}

/// One (protocol, config, seed).
#[derive(Debug, Clone)]
pub struct Run<'p> {
    /// The point.
    pub point: &'p Point,
    /// The config.
    pub config: &'p ResolvedConfig,
    /// The seed.
    pub seed: u64,
    /// 1, or the number of a repeat: the same run once more, from its first step.
    pub attempt: u32,
    /// The train id.
    pub train_id: String,
    /// The eval id of the whole evaluation that the spec asks for.
    pub eval_id: String,
}

impl Point {
    /// What the spec calls a transform, by its canonical expression; that itself if it is none
    /// of the spec's.
    #[must_use]
    pub fn transform_name<'a>(&'a self, expression: &'a str) -> &'a str {
        let transforms = &self.resolved.protocol.eval.transforms;
        let own = transforms.iter().find(|t| t.expression == expression);
        own.map_or(expression, |transform| transform.name.as_str())
    }
}

impl Run<'_> {
    /// The frequency sets to evaluate with at a length: as trained, or under a transform, by its
    /// canonical expression. `None` if the spec does not ask for it there.
    #[must_use]
    pub fn sets(&self, transform: Option<&str>, length: u64) -> Option<&LayerSets> {
        let Some(transform) = transform else { return Some(&self.config.freq) };
        let transforms = &self.point.resolved.protocol.eval.transforms;
        let index = transforms.iter().position(|t| t.expression == transform)?;
        self.config.transformed.get(index)?.get(&length).map(std::sync::Arc::as_ref)
    }
}

impl Plan {
    /// Hashes the content that the spec names.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn new(checked: Checked, contents: &mut dyn Contents) -> Result<Self, data::Error> {
        let mut points = Vec::new();
        for resolved in checked.points {
            let identity = resolved.protocol.identify(contents)?;
            let protocol_id = identity.protocol_id();
            points.push(Point { resolved, identity, protocol_id });
        }
        Ok(Self {
            experiment: checked.experiment,
            repeats: checked.spec.experiment.repeats.unwrap_or(1),
            seeds: checked.seeds,
            points,
            spec: checked.spec,
        })
    }

    /// Whether a run's weights stay when it is done.
    #[must_use]
    pub fn keeps_weights(&self) -> bool {
        self.spec.output.keep_weights.unwrap_or(true)
    }

    /// All runs: point by point, config by config, seed by seed; then the repeats, likewise.
    #[must_use]
    pub fn runs(&self) -> Vec<Run<'_>> {
        let mut runs = Vec::new();
        for attempt in 1..=self.repeats {
            for point in &self.points {
                for config in &point.resolved.configs {
                    for &seed in &self.seeds {
                        let train_id = point.identity.train_id(&config.freq.vec_id, seed);
                        let eval_id = point.identity.eval_id(&train_id);
                        runs.push(Run { point, config, seed, attempt, train_id, eval_id });
                    }
                }
            }
        }
        runs
    }

    /// Puts runs in the order in which they are carried out: every config under one seed before the next
    /// seed, so that what ends too early leaves pairs to compare. Repeats come last.
    pub fn seed_by_seed(&self, runs: &mut [Run<'_>]) {
        let place = |seed| self.seeds.iter().position(|declared| *declared == seed);
        runs.sort_by_key(|run| (run.attempt, place(run.seed)));
    }

    /// What the experiment declares, as lock.json freezes it and a report judges by it.
    #[must_use]
    pub fn declared(&self) -> Declared {
        let lengths = &self.points[0].resolved.protocol.eval.lengths;
        let points = self.points.iter().map(|point| {
            let protocol = &point.resolved.protocol;
            let swept = point.resolved.config_swept.iter();
            let configs =
                point.resolved.configs.iter().zip(swept).map(|(config, swept)| results::Config {
                    swept: swept.clone(),
                    name: config.name.clone(),
                    baseline: config.baseline.clone(),
                    expression: config.freq.expression.clone(),
                    expr_id: config.freq.expr_id.clone(),
                    vec_id: config.freq.vec_id.clone(),
                    train_ids: self
                        .seeds
                        .iter()
                        .map(|&seed| point.identity.train_id(&config.freq.vec_id, seed))
                        .collect(),
                });
            let chunks = protocol.eval.lengths.iter().map(|&l| (l, protocol.eval.chunks));
            results::Point {
                name: point.resolved.name.clone(),
                protocol: point.protocol_id.clone(),
                seq_len: protocol.train.seq_len,
                lengths: chunks.collect(),
                transforms: protocol.eval.transforms.clone(),
                training: point.identity.training.clone(),
                evaluation: point.identity.evaluation.clone(),
                configs: configs.collect(),
                swept: point.resolved.swept.clone(),
            }
        });
        Declared {
            experiment: self.experiment.clone(),
            seeds: self.seeds.clone(),
            repeats: self.repeats,
            points: points.collect(),
            report_lengths: self.spec.report.lengths.clone().unwrap_or_else(|| lengths.clone()),
            std_ddof: self.spec.report.std_ddof.unwrap_or(1),
            win: resolve::win_rule(
                &self.spec,
                self.points[0].resolved.protocol.train.seq_len,
                lengths,
            ),
        }
    }
}
