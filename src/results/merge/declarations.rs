//! What several machines declared of one experiment, as one declaration with one history.

use crate::results::{Declared, Lock, Point, changed_keys, comparable_evaluation};

/// One declaration with the seeds, configs, points, lengths and tokens of both, and a history in the
/// order of its dates; or all that forbids it, in words.
pub(super) fn union(ours: &Lock, theirs: &Lock) -> Result<Lock, Vec<String>> {
    let mut problems = Vec::new();
    let declared = of_declared(ours.declared_now(), theirs.declared_now(), &mut problems);
    let mut data = ours.data.clone();
    for (key, found) in &theirs.data {
        match data.get(key) {
            Some(known) if known.id != found.id => problems.push(format!(
                "the tokens differ: {} of {} documents (id {}), and {} of {} (id {})",
                known.tokens, known.documents, known.id, found.tokens, found.documents, found.id
            )),
            _ => {
                data.insert(key.clone(), found.clone());
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }

    // The earlier one was frozen first; what the other had from its beginning came later here.
    let mut versions: Vec<(&str, &Declared, bool)> = Vec::new();
    for lock in [ours, theirs] {
        versions.push((&lock.frozen, &lock.declared, true));
        let amendments = lock.amendments.iter();
        versions.extend(amendments.map(|a| (a.date.as_str(), &a.declared, a.after_results)));
    }
    versions.sort_by_key(|(date, ..)| *date);
    let (frozen, first, _) = versions[0];
    let mut lock = Lock::freeze(first.clone(), frozen);
    for (date, version, after_results) in versions.drain(1..) {
        // On the way to the present one, an earlier version's rules stand as they stood.
        let now = of_declared(version, lock.declared_now(), &mut Vec::new());
        lock.amendments.extend(lock.amend(&now, date, after_results));
    }
    let last = lock.amendments.last().map_or(frozen, |amendment| &amendment.date).to_owned();
    lock.amendments.extend(lock.amend(&declared, &last, true));
    lock.known = ours.known.union(&theirs.known).cloned().collect();
    lock.after_results = ours.after_results || theirs.after_results;
    lock.data = data;
    lock.overlap.clone_from(&ours.overlap);
    lock.overlap.extend(theirs.overlap.iter().map(|(key, shared)| (key.clone(), *shared)));
    Ok(lock)
}

/// The rules of `ours`, which must be those of `theirs`, and the seeds, points and lengths of both.
fn of_declared(ours: &Declared, theirs: &Declared, problems: &mut Vec<String>) -> Declared {
    let mut both = ours.clone();
    both.seeds.extend(theirs.seeds.iter().filter(|seed| !ours.seeds.contains(seed)));
    let lengths = theirs.report_lengths.iter().filter(|n| !ours.report_lengths.contains(n));
    both.report_lengths.extend(lengths);
    // Everything else that a report judges by.
    let rules = |declared: &Declared| Declared {
        seeds: Vec::new(),
        points: Vec::new(),
        report_lengths: Vec::new(),
        ..declared.clone()
    };
    let differ = rules(ours).changes_to(&rules(theirs));
    problems.extend(differ.into_iter().map(|rule| {
        format!("the rules differ: {rule} (`xp run` with one spec at both sides makes them one)")
    }));
    for point in &theirs.points {
        match both.points.iter_mut().find(|own| own.name == point.name) {
            None => both.points.push(point.clone()),
            Some(own) => *own = of_points(own, point, problems),
        }
    }
    if both.points.len() > 1 && both.points.iter().any(|point| point.name.is_none()) {
        problems.push("one sweeps protocols, the other does not".into());
    }
    both
}

/// The lengths and transforms of the one that has all of both, and the configs of both.
fn of_points(ours: &Point, theirs: &Point, problems: &mut Vec<String>) -> Point {
    let place = ours.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let evaluation = changed_keys(
        &comparable_evaluation(&ours.evaluation),
        &comparable_evaluation(&theirs.evaluation),
    );
    if !evaluation.is_empty() {
        problems.push(format!("{place}the evaluation differs: {}", evaluation.join(", ")));
    }
    let holds = |all: &Point, part: &Point| {
        part.lengths.iter().all(|(length, chunks)| all.lengths.get(length) == Some(chunks))
            && part.transforms.iter().all(|transform| all.transforms.contains(transform))
    };
    let mut both = if holds(ours, theirs) {
        ours.clone()
    } else {
        if !holds(theirs, ours) {
            problems.push(format!(
                "{place}each evaluates lengths, chunks or transforms that the other does not: run one \
                 spec that has all of them at either side (weights that are kept are evaluated again)"
            ));
        }
        theirs.clone()
    };
    for config in ours.configs.iter().chain(&theirs.configs) {
        if both.configs.iter().all(|own| own.name != config.name) {
            both.configs.push(config.clone());
        }
    }
    both
}
