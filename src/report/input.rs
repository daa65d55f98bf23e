//! What a report is made of.

use std::collections::BTreeMap;

use crate::results::{Declared, Entry, Listing, Lock, Record};

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

/// The records of one experiment by (point, config, seed), first attempt first.
pub(super) type Index<'a> = BTreeMap<(Option<&'a str>, &'a str, u64), Vec<&'a Entry>>;

pub(super) fn index(listing: &Listing) -> Index<'_> {
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
