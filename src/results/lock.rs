//! Putting declarations on record: the first is frozen, a later one is an amendment.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::{
    changed_keys, comparable_evaluation, frequencies_changed, paired_configs, paired_points, place,
};
use super::{Amendment, Declared, Lock, Point};
use crate::canonical;

/// What putting a declaration on record does to lock.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is the first one.
    Frozen,
    /// It differs from the one that stood.
    Amended,
    /// It stood already.
    Before,
}

impl Lock {
    /// Freezes a declaration before there are results; `date` is UTC, ISO 8601.
    #[must_use]
    pub fn freeze(declared: Declared, date: &str) -> Self {
        Self {
            schema: Self::SCHEMA,
            frozen: date.to_owned(),
            after_results: false,
            declared_hash: declared.hash(),
            declared,
            amendments: Vec::new(),
            data: BTreeMap::new(),
            overlap: BTreeMap::new(),
            known: BTreeSet::new(),
        }
    }

    /// The declaration as it stands after the last amendment.
    #[must_use]
    pub fn declared_now(&self) -> &Declared {
        self.amendments.last().map_or(&self.declared, |amendment| &amendment.declared)
    }

    /// Every declaration that ever stood, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = &Declared> {
        std::iter::once(&self.declared).chain(self.amendments.iter().map(|a| &a.declared))
    }

    /// The amendment that makes `declared` the declaration; `None` if it changes nothing that a
    /// report could show. Pure: push it to `amendments` to make it stand.
    #[must_use]
    pub fn amend(&self, declared: &Declared, date: &str, after_results: bool) -> Option<Amendment> {
        let changes = self.declared_now().changes_to(declared);
        (!changes.is_empty()).then(|| Amendment {
            date: date.to_owned(),
            changes,
            after_results,
            declared: declared.clone(),
        })
    }

    /// The lock.json of an experiment once `declared` is on record, and what that does to it: the first
    /// declaration is frozen, one that differs amends. `date` is UTC, ISO 8601; `after_results` says whether
    /// there are results of the experiment, and is asked only where the answer is recorded. Pure.
    ///
    /// # Errors
    /// Those of `after_results`.
    pub fn recording<E>(
        before: Option<Self>,
        declared: &Declared,
        date: &str,
        after_results: impl FnOnce() -> Result<bool, E>,
    ) -> Result<(Self, Recorded), E> {
        let Some(mut lock) = before else {
            let frozen = Self::freeze(declared.clone(), date);
            return Ok((Self { after_results: after_results()?, ..frozen }, Recorded::Frozen));
        };
        let Some(amendment) = lock.amend(declared, date, false) else {
            return Ok((lock, Recorded::Before));
        };
        lock.amendments.push(Amendment { after_results: after_results()?, ..amendment });
        Ok((lock, Recorded::Amended))
    }

    /// What forbids to add results of `declared` under the same names: a changed training part
    /// of a point, or changed frequencies of a config, that `has_results` (point, config) says
    /// have results. One entry a conflict, naming the keys. Empty: nothing forbids it.
    pub fn conflicts(
        &self,
        declared: &Declared,
        has_results: impl Fn(Option<&str>, &str) -> bool,
    ) -> Vec<String> {
        let mut conflicts = Vec::new();
        let now = self.declared_now();
        for (old, new) in paired_points(now, declared) {
            let with_results: BTreeSet<&str> = old
                .configs
                .iter()
                .map(|config| config.name.as_str())
                .filter(|config| has_results(old.name.as_deref(), config))
                .collect();
            if with_results.is_empty() {
                continue;
            }
            let place = place(new);
            let keys = changed_keys(&old.training, &new.training);
            if !keys.is_empty() {
                conflicts
                    .push(format!("{place}the training protocol differs: {}", keys.join(", ")));
            }
            for (was, is) in paired_configs(old, new) {
                if was.vec_id != is.vec_id && with_results.contains(is.name.as_str()) {
                    conflicts.push(format!("{place}{}", frequencies_changed(was, is)));
                }
            }
        }
        conflicts
    }
}

impl Point {
    /// The protocol ids under which results of this point may stand: its own, and those of
    /// earlier declarations that differ from it in lengths, chunks and transforms alone. A
    /// perplexity does not depend on the other lengths and transforms; chunks are held against
    /// each other column by column.
    #[must_use]
    pub fn compatible_protocols<'a>(&'a self, lock: Option<&'a Lock>) -> BTreeSet<&'a str> {
        let key = |point: &Self| {
            let evaluation = comparable_evaluation(&point.evaluation);
            (canonical::to_string(&point.training), canonical::to_string(&evaluation))
        };
        let own = key(self);
        let earlier = lock.into_iter().flat_map(Lock::versions);
        earlier
            .filter_map(|declared| declared.point(self.name.as_deref()))
            .filter(|point| key(point) == own)
            .chain([self])
            .map(|point| point.protocol.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::{GEO, HYBRID, declared};

    #[test]
    fn order_alone_is_no_amendment_and_amendments_build_on_each_other() {
        let mut lock = Lock::freeze(declared(), "2026-01-01T00:00:00Z");
        let mut new = declared();
        new.seeds.reverse();
        new.points[0].configs.reverse();
        for config in &mut new.points[0].configs {
            config.train_ids.reverse();
        }
        assert_eq!(lock.amend(&new, "2026-01-02T00:00:00Z", true), None);
        new.seeds.push(9);
        let amendment = lock.amend(&new, "2026-01-02T00:00:00Z", true).unwrap();
        assert_eq!(amendment.changes, ["seeds added: 9"]);
        assert!(amendment.after_results);
        lock.amendments.push(amendment);
        assert_eq!(lock.declared_now(), &new);
        assert_eq!(lock.amend(&new, "2026-01-03T00:00:00Z", true), None);
        assert_eq!(lock.versions().count(), 2);
    }

    #[test]
    fn a_changed_training_part_conflicts_only_where_results_are() {
        let lock = Lock::freeze(declared(), "2026-01-01T00:00:00Z");
        let mut new = declared();
        new.points[0].training["schedule"]["lr"] = serde_json::json!(1e-3);
        new.points[0].configs[1].vec_id = "other".to_owned();
        assert_eq!(lock.conflicts(&new, |_, _| false), Vec::<String>::new());
        assert_eq!(
            lock.conflicts(&new, |_, config| config == GEO),
            ["the training protocol differs: schedule.lr: 0.0006 → 0.001"]
        );
        assert_eq!(lock.conflicts(&new, |_, config| config == HYBRID).len(), 2);
        assert_eq!(lock.conflicts(&declared(), |_, _| true), Vec::<String>::new());
    }
}
