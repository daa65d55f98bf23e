//! What was changed after results existed: claims that rest on it are exploratory.

use std::collections::{BTreeMap, BTreeSet};

use super::input::Input;
use super::words;
use crate::results::{Config, Declared, Listing, Lock, Point};

/// Why claims under a declaration are exploratory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Amended {
    /// Of every config.
    all: Vec<String>,
    /// Of single configs.
    configs: BTreeMap<String, String>,
    /// Seeds of a config whose results another experiment had before they were declared in this one.
    known: BTreeMap<String, BTreeSet<u64>>,
}

impl Amended {
    /// Compares the declaration at hand with the last that stood before there were results.
    pub fn of(input: &Input, point: &Point) -> Self {
        let mut amended = Self::default();
        amended.all.extend(never_frozen(input).map(str::to_owned));
        amended.known = known(input, point);
        let Some(before) = before_results(input) else { return amended };
        let now = &input.declared;
        amended.all.extend(seeds(before, now));
        if before.win != now.win || before.std_ddof != now.std_ddof {
            amended.all.push("the win rule was changed after results existed".to_owned());
        }
        if let Some(old) = before.point(point.name.as_deref()) {
            for config in &point.configs {
                let was = old.configs.iter().find(|was| was.name == config.name);
                let other = |was: &Config| was.baseline != config.baseline;
                let why = match was {
                    None => "was added",
                    Some(was) if was.vec_id != config.vec_id => "was given other frequencies",
                    Some(was) if other(was) => "was given another baseline",
                    Some(_) => continue,
                };
                let why = format!("{} {why} after results existed", config.name);
                amended.configs.insert(config.name.clone(), why);
            }
        }
        amended
    }

    /// Why a claim about a config and its baseline is exploratory; `None` if nothing speaks against it.
    pub fn why(&self, configs: [&str; 2]) -> Option<String> {
        let own = configs.iter().filter_map(|config| self.configs.get(*config));
        let known = self.known_of(configs);
        let why: BTreeSet<&String> = self.all.iter().chain(own).chain(&known).collect();
        (!why.is_empty()).then(|| words::list(why))
    }

    /// That of some seeds both sides were known. With one of them new, nobody knew how they compare.
    fn known_of(&self, [config, baseline]: [&str; 2]) -> Option<String> {
        let both = self.known.get(config)?.intersection(self.known.get(baseline)?);
        let both: Vec<u64> = both.copied().collect();
        (!both.is_empty()).then(|| {
            format!(
                "another experiment had results of {config} and {baseline} with {} before this one was \
                 declared",
                words::seeds(&both)
            )
        })
    }
}

/// A comparison of which no more can be said than EXPLORATORY, whatever its results.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Foregone {
    /// The point of a sweep of protocols.
    pub point: Option<String>,
    /// The config.
    pub config: String,
    /// What it is compared with.
    pub baseline: String,
    /// Why.
    pub reason: String,
}

/// The comparisons that an experiment declares now of which no more can be said than EXPLORATORY, and why: known
/// before what is missing of the results is computed.
#[must_use]
pub fn foregone(lock: &Lock) -> Vec<Foregone> {
    // What is on record says whether there were results.
    let (declared, listing) = (lock.declared_now().clone(), Listing::default());
    let input = Input { declared, lock: Some(lock.clone()), listing };
    let of = |point: &Point| {
        let amended = Amended::of(&input, point);
        let compared = point.configs.iter().filter(|config| config.baseline != config.name);
        let found = compared.filter_map(|Config { name, baseline, .. }| {
            let reason = amended.why([name, baseline])?;
            let (config, baseline) = (name.clone(), baseline.clone());
            Some(Foregone { point: point.name.clone(), config, baseline, reason })
        });
        found.collect::<Vec<_>>()
    };
    input.declared.points.iter().flat_map(of).collect()
}

/// The seeds of each config whose results another experiment had.
fn known(input: &Input, point: &Point) -> BTreeMap<String, BTreeSet<u64>> {
    let Some(lock) = &input.lock else { return BTreeMap::new() };
    let claimed = input.declared.claim_seeds();
    let of = |config: &Config| {
        let runs = input.declared.seeds.iter().zip(&config.train_ids);
        let known = runs.filter(|(seed, id)| claimed.contains(seed) && lock.known.contains(*id));
        known.map(|(&seed, _)| seed).collect()
    };
    point.configs.iter().map(|config| (config.name.clone(), of(config))).collect()
}

/// Why nothing says what was declared before there were results; `None` if lock.json does.
pub(super) fn never_frozen(input: &Input) -> Option<&'static str> {
    match &input.lock {
        None if input.listing.entries.is_empty() => None,
        None => Some("there is no lock.json that says what was declared before the results"),
        Some(lock) => lock.after_results.then_some(
            "its lock.json was written after results existed: what was declared before them is lost",
        ),
    }
}

/// The last declaration that stood before there were results; `None` if the one at hand is it.
fn before_results(input: &Input) -> Option<&Declared> {
    let lock = input.lock.as_ref()?;
    let mut before = &lock.declared;
    for amendment in &lock.amendments {
        if amendment.after_results {
            return Some(before);
        }
        before = &amendment.declared;
    }
    // What is not on record yet comes after whatever is there.
    (!input.listing.entries.is_empty()).then_some(before)
}

/// Seeds added or removed, but for those that a declared look allows.
fn seeds(before: &Declared, now: &Declared) -> Option<String> {
    let (old, new) = (before.claim_seeds(), now.claim_seeds());
    let without = |these: &[u64], others: &[u64]| -> Vec<u64> {
        these.iter().copied().filter(|seed| !others.contains(seed)).collect()
    };
    let (added, removed) = (without(&new, &old), without(&old, &new));
    if !removed.is_empty() {
        return Some(format!("{} removed after results existed", words::seeds_were(&removed)));
    }
    let allowed = u32::try_from(new.len()).is_ok_and(|n| before.win.looks.contains(&n));
    if added.is_empty() || allowed {
        return None;
    }
    let looks = match before.win.looks.as_slice() {
        [] => "no looks were declared".to_owned(),
        looks => format!("the declared looks are at {} seeds", words::list(looks)),
    };
    Some(format!("{} added after results existed and {looks}", words::seeds_were(&added)))
}
