//! What win rules make of results that came about in the wrong way: added seeds, changed rules, hidden
//! runs, seeds that configs were chosen on.

use super::*;
use crate::results::Rule;

const AFTER: &str = "2026-01-05T00:00:00Z";

/// Native results of two configs at both report lengths: a clear win of HYBRID.
fn results(seeds: &[u64]) -> Vec<Entry> {
    let of = |config: &str, at: f64| {
        let one = move |&seed: &u64| {
            let wobble = 0.01 * (seed % 7) as f64;
            let ppl = [(2048, 6.8 - at / 10.0), (16384, 18.0 - at + wobble)];
            entry(1, record(config, seed, &ppl))
        };
        seeds.iter().map(one).collect::<Vec<_>>()
    };
    [of(GEO, 0.0), of(HYBRID, 1.0)].concat()
}

fn two_configs(seeds: &[u64]) -> Declared {
    let mut declared = declared();
    declared.seeds = seeds.to_vec();
    declared.points[0].configs = [GEO, HYBRID].map(|name| config(name, GEO, seeds)).to_vec();
    declared
}

/// The report of `now` where `frozen` stood before the results.
fn after(frozen: &Declared, now: &Declared, recorded: bool, entries: Vec<Entry>) -> Report {
    let mut lock = Lock::freeze(frozen.clone(), DATE);
    if recorded {
        lock.amendments.extend(lock.amend(now, AFTER, true));
    }
    let listing = Listing { entries, problems: Vec::new() };
    Report::build(&[Input { declared: now.clone(), lock: Some(lock), listing }])
}

fn said(report: &Report) -> (Verdict, String) {
    let row = row(report, HYBRID);
    (row.verdict.unwrap(), row.reason.clone())
}

#[test]
fn without_a_lock_from_before_the_results_a_claim_is_exploratory() {
    let declared = two_configs(&[1, 2, 3]);
    let lock = Lock::freeze(declared.clone(), DATE);
    let late = Lock { after_results: true, ..lock.clone() };
    for (lock, said_of_it) in [
        (Some(lock), None),
        (Some(late), Some("its lock.json was written after results existed")),
        (None, Some("there is no lock.json that says what was declared before the results")),
    ] {
        let listing = Listing { entries: results(&[1, 2, 3]), problems: Vec::new() };
        let report = Report::build(&[Input { declared: declared.clone(), lock, listing }]);
        let (verdict, reason) = said(&report);
        let caveats = report.experiments[0].caveats.join("\n");
        match said_of_it {
            None => assert!(verdict == Verdict::Win && !caveats.contains("lock.json"), "{caveats}"),
            Some(why) => {
                assert_eq!(verdict, Verdict::Exploratory);
                assert!(
                    reason.starts_with("the rule says WIN (") && reason.contains(why),
                    "{reason}"
                );
                assert!(
                    caveats.starts_with(&format!("Nothing can be claimed: {why}")),
                    "{caveats}"
                );
            }
        }
    }
    let listing = Listing { entries: Vec::new(), problems: Vec::new() };
    let report = Report::build(&[Input { declared, lock: None, listing }]);
    assert!(report.experiments[0].caveats.iter().all(|caveat| !caveat.contains("lock.json")));
}

#[test]
fn a_comparison_that_another_experiment_had_before_is_not_claimed_anew() {
    let declared = two_configs(&[1, 2, 3]);
    let ids = |name: &str, n: usize| {
        let config = declared.points[0].configs.iter().find(|config| config.name == name);
        config.unwrap().train_ids[..n].to_vec()
    };
    // Of the baseline alone, of the config alone, of different seeds of both, of one seed of both.
    let different = [ids(GEO, 1), vec![ids(HYBRID, 2).remove(1)]].concat();
    for (known, verdict) in [
        (ids(GEO, 3), Verdict::Win),
        (ids(HYBRID, 3), Verdict::Win),
        (different, Verdict::Win),
        ([ids(GEO, 1), ids(HYBRID, 1)].concat(), Verdict::Exploratory),
        ([ids(GEO, 3), ids(HYBRID, 3)].concat(), Verdict::Exploratory),
    ] {
        let lock =
            Lock { known: known.iter().cloned().collect(), ..Lock::freeze(declared.clone(), DATE) };
        let listing = Listing { entries: results(&[1, 2, 3]), problems: Vec::new() };
        let input = Input { declared: declared.clone(), lock: Some(lock), listing };
        let (got, reason) = said(&Report::build(&[input]));
        assert_eq!(got, verdict, "{known:?}: {reason}");
        let why = "but another experiment had results of hybrid_a0.2_t100k and geo_500k with seed";
        assert_eq!(reason.contains(why), verdict == Verdict::Exploratory, "{reason}");
    }
}

#[test]
fn seeds_added_after_results_make_a_claim_exploratory_unless_the_look_was_declared() {
    let (three, five) = ([1, 2, 3], [1, 2, 3, 4, 5]);
    let frozen = two_configs(&three);
    assert_eq!(said(&after(&frozen, &frozen, false, results(&three))).0, Verdict::Win);
    for recorded in [true, false] {
        let (verdict, reason) =
            said(&after(&frozen, &two_configs(&five), recorded, results(&five)));
        assert_eq!(verdict, Verdict::Exploratory);
        assert!(reason.starts_with("the rule says WIN ("), "{reason}");
        assert!(reason.contains("seeds 4, 5 were added after results existed"), "{reason}");
        assert!(reason.contains("no looks were declared"), "{reason}");
    }
    // Declared looks: at one of them the claim stands, with less of the level; elsewhere it does not.
    let with_looks = |seeds: &[u64]| {
        let mut declared = two_configs(seeds);
        declared.win.looks = vec![3, 5];
        declared
    };
    let report = after(&with_looks(&three), &with_looks(&five), true, results(&five));
    assert_eq!(said(&report).0, Verdict::Win);
    assert!(report.experiments[0].rule.contains("Looks were declared at 3, 5 seeds"));
    let four = [1, 2, 3, 4];
    let (verdict, reason) =
        said(&after(&with_looks(&three), &with_looks(&four), true, results(&four)));
    assert_eq!(verdict, Verdict::Exploratory);
    assert!(reason.contains("the declared looks are at 3, 5 seeds"), "{reason}");
    // Before there were results anything may be changed.
    let mut lock = Lock::freeze(frozen.clone(), DATE);
    lock.amendments.extend(lock.amend(&two_configs(&five), AFTER, false));
    let listing = Listing { entries: results(&five), problems: Vec::new() };
    let input = Input { declared: two_configs(&five), lock: Some(lock), listing };
    assert_eq!(said(&Report::build(&[input])).0, Verdict::Win);
}

#[test]
fn rules_configs_and_removed_seeds_are_no_better() {
    let seeds = [1, 2, 3];
    let frozen = two_configs(&seeds);
    let mut other_rule = frozen.clone();
    other_rule.win.max_std_over_gap = 0.9;
    let (verdict, reason) = said(&after(&frozen, &other_rule, true, results(&seeds)));
    assert_eq!(verdict, Verdict::Exploratory);
    assert!(reason.contains("the win rule was changed after results existed"), "{reason}");
    // A seed that does not fit is not dropped.
    let (verdict, reason) = said(&after(&frozen, &two_configs(&[1, 2]), true, results(&seeds)));
    assert_eq!(verdict, Verdict::Exploratory);
    assert!(reason.contains("seed 3 was removed"), "{reason}");
    // Of an added config the claim is exploratory, of the others it stands.
    let mut more = frozen.clone();
    more.points[0].configs.push(config(ANCHORED, GEO, &seeds));
    let mut entries = results(&seeds);
    let copies = |e: &Entry| record(ANCHORED, e.record.seed, &[(2048, 6.7), (16384, 16.9)]);
    let added: Vec<Entry> = entries[..3].iter().map(|e| entry(1, copies(e))).collect();
    entries.extend(added);
    let report = after(&frozen, &more, true, entries);
    assert_eq!(said(&report).0, Verdict::Win);
    let row = row(&report, ANCHORED);
    assert_eq!(row.verdict, Some(Verdict::Exploratory));
    assert!(row.reason.contains("was added after results existed"), "{}", row.reason);
}

#[test]
fn a_record_needs_the_stated_gain_all_runs_and_other_seeds_than_those_it_was_tuned_on() {
    let seeds = [1, 2, 3, 4, 5, 6];
    let record_rule = |min_gain: f64, tuning: &[u64]| {
        let mut declared = two_configs(&seeds);
        declared.win.rule = Rule::Record;
        declared.win.min_gain = Some(min_gain);
        declared.win.tuning_seeds = tuning.to_vec();
        declared
    };
    // The gain is ln(18/17) = 0.0572 nats, the same for every seed within 0.0002.
    let report = |declared: &Declared, entries| one(declared.clone(), entries);
    let won = report(&record_rule(0.05, &[]), results(&seeds));
    assert_eq!(said(&won).0, Verdict::Win, "{}", said(&won).1);
    assert!(said(&won).1.contains("for more than 0.05 nats"), "{}", said(&won).1);
    assert!(won.experiments[0].rule.contains("by more than 0.05 nats at p < 0.01"));
    let (verdict, reason) = said(&report(&record_rule(0.06, &[]), results(&seeds)));
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("the rule asks for less than 0.01"), "{reason}");
    // The other way round: a loss.
    let mut swapped = record_rule(0.05, &[]);
    for config in &mut swapped.points[0].configs {
        config.baseline = HYBRID.to_owned();
    }
    let lost = report(&swapped, results(&seeds));
    assert_eq!(row(&lost, GEO).verdict, Some(Verdict::Loss));

    // A seed that was run and is not declared.
    let (verdict, reason) =
        said(&report(&record_rule(0.05, &[]), results(&[1, 2, 3, 4, 5, 6, 99])));
    assert_eq!(verdict, Verdict::Incomplete);
    assert!(reason.contains("seed 99"), "{reason}");

    // Tuning seeds are in no mean and no claim, wherever they are declared.
    let tuned = report(&record_rule(0.05, &[1, 99]), results(&[1, 2, 3, 4, 5, 6, 99]));
    let row = row(&tuned, HYBRID);
    assert_eq!((row.n, row.n_expected, row.verdict), (5, 5, Some(Verdict::Win)));
    assert_eq!(tuned.experiments[0].seeds, [2, 3, 4, 5, 6]);
    let caveats = tuned.experiments[0].caveats.concat();
    assert!(caveats.contains("Configs were chosen on seeds 1, 99"), "{caveats}");
}

#[test]
fn the_best_at_the_end_of_a_swept_range_is_a_caveat() {
    let seeds = [1, 2, 3];
    let mut declared = two_configs(&seeds);
    let names = ["h1", "h2", "h3"];
    declared.points[0].configs = vec![config(GEO, GEO, &seeds)];
    for (name, alpha) in names.into_iter().zip([0.1, 0.2, 0.3]) {
        let values = BTreeMap::from([("alpha".to_owned(), alpha)]);
        let swept = Some(crate::results::Swept { table: 1, values });
        declared.points[0]
            .configs
            .push(crate::results::Config { swept, ..config(name, GEO, &seeds) });
    }
    let caveats = |ppl: [f64; 3]| {
        let of = |(name, ppl): (&str, f64)| {
            let one = move |&seed: &u64| {
                entry(1, record(name, seed, &[(2048, 6.8), (16384, ppl + 0.001 * seed as f64)]))
            };
            seeds.iter().map(one).collect::<Vec<_>>()
        };
        let mut entries: Vec<Entry> = names.into_iter().zip(ppl).flat_map(of).collect();
        entries.extend(of((GEO, 18.0)));
        let report = one(declared.clone(), entries);
        assert_eq!(report.experiments[0].sections[0].selection.as_ref().unwrap().candidates, 4);
        report.experiments[0].caveats.join("; ")
    };
    assert!(
        caveats([17.0, 16.5, 16.0]).contains("Grid edge: of alpha = 0.1, 0.2, 0.3 the best is 0.3")
    );
    assert!(!caveats([17.0, 16.0, 16.5]).contains("Grid edge"));
}

#[test]
fn from_ten_seeds_on_a_bootstrap_interval_stands_beside_the_t_interval() {
    let seeds: Vec<u64> = (1..=10).collect();
    let report = one(two_configs(&seeds), results(&seeds));
    let cell = cell(&report, HYBRID, 16384);
    let bca = cell.bca.unwrap();
    let (low, high) = (cell.ci_low.unwrap(), cell.ci_high.unwrap());
    assert!(bca.low > 0.0 && bca.low < bca.high, "{bca:?}");
    assert!((bca.low - low).abs() < high - low && (bca.high - high).abs() < high - low, "{bca:?}");
    assert!(cell.p_welch.unwrap() < 1e-6);
    assert!(markdown(&report).contains("bootstrap interval (BCa)"));
    let few = one(two_configs(&[1, 2, 3]), results(&[1, 2, 3]));
    assert!(!markdown(&few).contains("bootstrap interval (BCa)"));
}

#[test]
fn validation_text_that_was_trained_on_is_told() {
    let seeds = [1, 2, 3];
    let declared = two_configs(&seeds);
    let report = |documents: u64| {
        let mut lock = Lock::freeze(declared.clone(), "2026-01-01T00:00:00Z");
        let point = &declared.points[0];
        let shared = crate::results::SharedDocuments {
            documents,
            of_documents: 40,
            tokens: 25 * documents,
            of_tokens: 1000,
        };
        let key = crate::results::SharedDocuments::key(&point.training, &point.evaluation);
        lock.overlap.insert(key, shared);
        let entries = results(&seeds);
        let listing = Listing { entries, ..Listing::default() };
        let input = Input { declared: declared.clone(), lock: Some(lock), listing };
        Report::build(&[input]).experiments[0].caveats.join("; ")
    };
    assert!(
        report(3)
            .contains("3 of 40 validation documents (7.5 % of the tokens) are in the training"),
        "{}",
        report(3)
    );
    assert!(!report(0).contains("validation documents"));
}
