//! What further attempts of one config and seed show: whether the code repeats itself, and how far
//! a re-run moves where it does not.

use std::collections::BTreeMap;

use serde::Serialize;

use super::input::Index;
use super::words;
use crate::results::{Declared, Entry, Record, Status};

/// The further attempts of an experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reruns {
    /// (config, seed) with several attempts.
    pub runs: usize,
    /// Attempts of theirs after the first.
    pub further: usize,
    /// Declared repeats that are not there.
    pub missing: usize,
    /// Native ones of them with every number of the first.
    pub equal: usize,
    /// Native ones that differ, with what differs.
    pub differing: Vec<String>,
    /// Std of log-perplexity between attempts of one config and seed, as trained, by length.
    pub noise: Vec<RerunNoise>,
}

/// How far a re-run of the same config and seed moves a result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RerunNoise {
    /// Evaluation length, in tokens.
    pub length: u64,
    /// Standard deviation of log-perplexity, pooled over configs and seeds.
    pub std: f64,
    /// Its degrees of freedom.
    pub df: usize,
}

impl Reruns {
    /// In sentences.
    #[must_use]
    pub fn words(&self) -> String {
        let plural = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let mut parts = vec![format!(
            "{} in {}",
            plural(self.further, "further attempt"),
            plural(self.runs, "run")
        )];
        if self.equal > 0 {
            parts.push(format!("{} equal to the first in every number", self.equal));
        }
        if self.missing > 0 {
            parts.push(format!("{} not there yet", plural(self.missing, "declared repeat")));
        }
        if !self.differing.is_empty() {
            parts.push(format!(
                "NOT EQUAL, though on one device class they must be: {}",
                words::list(&self.differing)
            ));
        }
        let noise: Vec<String> = self
            .noise
            .iter()
            .filter(|noise| noise.std > 0.0)
            .map(|noise| {
                format!("{:.1} % at {} (df {})", 100.0 * noise.std, noise.length, noise.df)
            })
            .collect();
        if !noise.is_empty() {
            parts.push(format!("re-run std of log-perplexity {}", words::list(noise)));
        }
        format!("{}.", parts.join("; "))
    }
}

/// `None` without a further attempt that is there or declared.
pub(super) fn of(index: &Index, declared: &Declared) -> Option<Reruns> {
    let mut reruns = Reruns { missing: missing(index, declared), ..Reruns::default() };
    for attempts in index.values().filter(|attempts| attempts.len() > 1) {
        reruns.runs += 1;
        reruns.further += attempts.len() - 1;
        let Some(first) = attempts.iter().find(|entry| entry.record.status == Status::Done) else {
            continue;
        };
        for entry in attempts.iter().filter(|entry| entry.attempt > first.attempt) {
            match difference(&first.record, &entry.record) {
                Compared::Equal => reruns.equal += 1,
                Compared::Differs(what) => {
                    let Record { config, seed, .. } = &entry.record;
                    let attempt = entry.attempt;
                    let place = format!("{config} seed {seed} attempt {attempt}");
                    reruns.differing.push(format!("{place} ({what})"));
                }
                Compared::NotComparable => {}
            }
        }
    }
    reruns.noise = noise(index.values().map(Vec::as_slice));
    (reruns.runs + reruns.missing > 0).then_some(reruns)
}

/// How many repeats of declared runs have no record.
fn missing(index: &Index, declared: &Declared) -> usize {
    let mut missing = 0;
    for point in &declared.points {
        for config in &point.configs {
            for &seed in &declared.seeds {
                let attempts = index.get(&(point.name.as_deref(), config.name.as_str(), seed));
                let there = |number: u32| {
                    attempts.is_some_and(|all| all.iter().any(|entry| entry.attempt == number))
                };
                missing += (2..=declared.repeats).filter(|number| !there(*number)).count();
            }
        }
    }
    missing
}

enum Compared {
    Equal,
    Differs(String),
    /// Imported, or trained otherwise.
    NotComparable,
}

fn difference(first: &Record, again: &Record) -> Compared {
    if again.status == Status::Imported || first.train_id != again.train_id {
        return Compared::NotComparable;
    }
    if first.status != again.status {
        return Compared::Differs("one did not finish".to_owned());
    }
    let mut differs = Vec::new();
    let trained =
        |record: &Record| record.train.as_ref().map(|t| (t.steps, t.tokens, t.final_loss));
    if trained(first) != trained(again) {
        differs.push("training loss".to_owned());
    }
    for (length, result) in &first.eval {
        if again.eval.get(length).is_some_and(|other| other != result) {
            differs.push(format!("perplexity at {length}"));
        }
    }
    for (transform, results) in &first.transforms {
        if again.transforms.get(transform).is_some_and(|others| others != results) {
            differs.push(format!("results under {transform}"));
        }
    }
    if differs.is_empty() { Compared::Equal } else { Compared::Differs(words::list(differs)) }
}

/// Pooled over groups of attempts of one config and seed by one code (imported or native).
pub(super) fn noise<'a>(runs: impl Iterator<Item = &'a [&'a Entry]>) -> Vec<RerunNoise> {
    let mut pooled: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
    for attempts in runs.filter(|attempts| attempts.len() > 1) {
        for imported in [false, true] {
            let mut by_length: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
            for entry in attempts {
                let wanted = if imported { Status::Imported } else { Status::Done };
                for (length, result) in &entry.record.eval {
                    if entry.record.status == wanted {
                        by_length.entry(*length).or_default().extend(result.nll);
                    }
                }
            }
            for (length, values) in by_length.iter().filter(|(_, values)| values.len() > 1) {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
                let (sum, df) = pooled.entry(*length).or_default();
                *sum += squares;
                *df += values.len() - 1;
            }
        }
    }
    let noise = |(length, (squares, df)): (u64, (f64, usize))| RerunNoise {
        length,
        std: (squares / df as f64).sqrt(),
        df,
    };
    pooled.into_iter().map(noise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::{GEO, HYBRID, declared, record};

    fn attempt(attempt: u32, status: Status, config: &str, ppl: f64) -> Entry {
        let mut record = record(config, 42, &[(2048, ppl)]);
        record.status = status;
        if status == Status::Imported {
            (record.train, record.train_id) = (None, String::new());
        }
        Entry { path: String::new(), attempt, record }
    }

    fn found(entries: &[Entry]) -> Option<Reruns> {
        let mut index: Index = BTreeMap::new();
        for entry in entries {
            index.entry((None, entry.record.config.as_str(), 42)).or_default().push(entry);
        }
        of(&index, &declared())
    }

    #[test]
    fn native_attempts_must_be_equal_and_imported_ones_give_the_noise() {
        use Status::{Done, Imported};
        assert_eq!(found(&[attempt(1, Done, GEO, 6.8)]), None);
        let equal = found(&[attempt(1, Done, GEO, 6.8), attempt(2, Done, GEO, 6.8)]).unwrap();
        assert_eq!((equal.runs, equal.further, equal.equal), (1, 1, 1));
        assert_eq!(equal.noise, [RerunNoise { length: 2048, std: 0.0, df: 1 }]);
        assert_eq!(
            equal.words(),
            "1 further attempt in 1 run; 1 equal to the first in every number."
        );
        let other = found(&[attempt(1, Done, GEO, 6.8), attempt(2, Done, GEO, 6.9)]).unwrap();
        assert_eq!(other.differing, ["geo_500k seed 42 attempt 2 (perplexity at 2048)"]);
        // The pooled std of (0, d) and (0, -d) is d/sqrt 2.
        let up = |by: f64| 6.8 * by.exp();
        let imported = found(&[
            attempt(1, Imported, GEO, 6.8),
            attempt(2, Imported, GEO, up(0.06)),
            attempt(1, Imported, HYBRID, 6.8),
            attempt(2, Imported, HYBRID, up(-0.06)),
        ])
        .unwrap();
        assert_eq!((imported.equal, imported.differing.len(), imported.noise[0].df), (0, 0, 2));
        assert!((imported.noise[0].std - 0.06 / 2f64.sqrt()).abs() < 1e-12);
        // Two codes: their difference is no re-run's.
        let mixed = found(&[attempt(1, Done, GEO, 6.8), attempt(2, Imported, GEO, 9.0)]).unwrap();
        assert_eq!((mixed.noise.len(), mixed.differing.len()), (0, 0));
    }
}
