//! Columns under transforms of the trained frequencies.

use super::*;
use crate::results::{Evaluation, Transform};

const YARN: &str = "yarn({trained}, factor=8, ramp=\"index\", lo=0.2, hi=0.9)";
/// A transform without a name of its own is called by its text.
const NTK: &str = "ntk({trained}, factor=4)";
const LENGTHS: [u64; 2] = [2048, 16384];

fn transform(name: &str, expression: &str) -> Transform {
    Transform { name: name.to_owned(), expression: expression.to_owned() }
}

fn evaluations(ppl: [f64; 2]) -> BTreeMap<u64, Evaluation> {
    let of = |ppl: f64| Evaluation { ppl: Some(ppl), nll: Some(libm::log(ppl)), chunks: Some(10) };
    LENGTHS.into_iter().zip(ppl.map(of)).collect()
}

/// [`declared`] with two transforms; the claim is made under `claim`.
fn with_transforms(claim: Option<&str>) -> Declared {
    let mut declared = declared();
    declared.points[0].transforms = vec![transform("yarn8", YARN), transform(NTK, NTK)];
    declared.win.transform = claim.map(str::to_owned);
    declared
}

/// Three seeds of a config: perplexities at the two lengths as trained, under YARN, under NTK.
fn runs(config: &str, [plain, yarn, ntk]: [[f64; 2]; 3]) -> Vec<Entry> {
    [(42, 0.0), (123, 0.01), (7, -0.01)]
        .map(|(seed, shift)| {
            let at = |ppl: [f64; 2]| evaluations(ppl.map(|ppl| ppl + shift));
            let mut record = record(config, seed, &[]);
            record.eval = at(plain);
            record.transforms =
                BTreeMap::from([(YARN.to_owned(), at(yarn)), (NTK.to_owned(), at(ntk))]);
            entry(1, record)
        })
        .to_vec()
}

/// HYBRID is worse than GEO as trained, better under YARN, the same under NTK; it is much worse at
/// 2048 as trained, and `yarn_short` under YARN, where GEO has 6.1.
fn entries(yarn_short: f64) -> Vec<Entry> {
    let mut entries = runs(GEO, [[6.0, 17.0], [6.1, 12.0], [6.5, 14.0]]);
    entries.extend(runs(HYBRID, [[6.9, 18.0], [yarn_short, 11.0], [6.5, 14.0]]));
    entries.extend(runs(ANCHORED, [[6.0, 16.0], [6.1, 13.0], [6.4, 14.5]]));
    entries
}

fn at<'a>(report: &'a Report, config: &str, length: u64, transform: &str) -> &'a Cell {
    row(report, config).cell(&Column::new(length, Some(transform))).unwrap()
}

#[test]
fn columns_are_as_trained_then_transform_by_transform_as_declared() {
    let report = one(with_transforms(None), entries(6.1));
    let section = &report.experiments[0].sections[0];
    let columns: Vec<String> = section.columns.iter().map(Column::to_string).collect();
    assert_eq!(
        columns,
        [
            "2048",
            "16384",
            "2048 [yarn8]",
            "16384 [yarn8]",
            "2048 [ntk({trained}, factor=4)]",
            "16384 [ntk({trained}, factor=4)]"
        ]
    );
    for row in &section.rows {
        assert!(row.cells.iter().map(|cell| &cell.column).eq(&section.columns));
    }
}

#[test]
fn a_column_compares_under_one_transform_and_is_secondary_but_for_the_claims() {
    let report = one(with_transforms(None), entries(6.1));
    // The claim as trained: ANCHORED wins, HYBRID loses but for the guard.
    assert_eq!(row(&report, ANCHORED).verdict, Some(Verdict::Win));
    assert_eq!(row(&report, ANCHORED).reason, cell(&report, ANCHORED, 16384).reason);
    let hybrid = at(&report, HYBRID, 16384, "yarn8");
    assert_eq!((hybrid.verdict, hybrid.primary), (Some(Verdict::Win), false));
    assert!((hybrid.gap.unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(at(&report, ANCHORED, 16384, "yarn8").verdict, Some(Verdict::Loss));
    assert_eq!(at(&report, HYBRID, 16384, NTK).reason, "the means are equal");
    assert_eq!(at(&report, GEO, 16384, NTK).verdict, None);
    let csv = summary_csv(&report);
    let line = |start: &str, end: &str| {
        let found = csv.lines().find(|line| line.starts_with(start) && line.ends_with(end));
        found.unwrap_or_else(|| panic!("{start}…{end} is not in\n{csv}")).to_owned()
    };
    let secondary = line(&format!("3cfg_3seed,p0,{HYBRID},16384"), ",yarn8");
    assert!(secondary.contains("WIN,secondary column: mean better by 1.000"), "{secondary}");
    assert!(line(&format!("3cfg_3seed,p0,{HYBRID},2048"), ",").contains("secondary length: "));
}

#[test]
fn a_claim_under_a_transform_is_judged_and_guarded_under_it() {
    let report = one(with_transforms(Some("yarn8")), entries(6.1));
    let hybrid = row(&report, HYBRID);
    assert_eq!(hybrid.verdict, Some(Verdict::Win), "{}", hybrid.reason);
    // As trained it is 15 % worse at the guard's length, which is not how it is used.
    assert!(hybrid.reason.ends_with("; at 2048 tokens [yarn8] 0.0 % better"), "{}", hybrid.reason);
    assert_eq!(hybrid.primary().unwrap().column, Column::new(16384, Some("yarn8")));
    assert_eq!(row(&report, ANCHORED).verdict, Some(Verdict::Loss));
    assert_eq!(cell(&report, ANCHORED, 16384).verdict, Some(Verdict::Win));
    assert!(!cell(&report, ANCHORED, 16384).primary);
    let first = report.experiments[0].sections[0].ranking[0];
    assert_eq!(report.experiments[0].sections[0].rows[first].config, HYBRID);
    let rule = &report.experiments[0].rule;
    assert!(rule.starts_with("WIN at 16384 tokens [yarn8] (rule `seeds`"), "{rule}");
    assert!(rule.contains("and at 2048 tokens [yarn8] at most 1 % worse"), "{rule}");

    let report = one(with_transforms(Some("yarn8")), entries(6.5));
    assert_eq!(row(&report, HYBRID).verdict, Some(Verdict::Inconclusive));
    let words = "but 6.56 % worse at 2048 tokens [yarn8], the guard allows 1 %";
    assert!(row(&report, HYBRID).reason.contains(words), "{}", row(&report, HYBRID).reason);
}

#[test]
fn a_seed_without_the_transform_makes_its_columns_incomplete_and_no_others() {
    let lacking = |claim: Option<&str>| {
        let mut entries = entries(6.1);
        entries[5].record.transforms.remove(YARN);
        one(with_transforms(claim), entries)
    };
    let report = lacking(Some("yarn8"));
    let hybrid = row(&report, HYBRID);
    assert_eq!(hybrid.verdict, Some(Verdict::Incomplete));
    assert_eq!(hybrid.reason, "seed 7 not evaluated under this transform");
    assert_eq!((hybrid.n, at(&report, HYBRID, 16384, "yarn8").n), (2, 2));
    assert_eq!(cell(&report, HYBRID, 16384).n, 3);
    assert_eq!(row(&report, ANCHORED).verdict, Some(Verdict::Loss));
    assert_eq!(
        report.experiments[0].sections[0].missing,
        [format!(
            "{HYBRID} at 2048 [yarn8], 16384 [yarn8]: seed 7 not evaluated under this transform"
        )]
    );

    let report = lacking(None);
    assert_eq!(row(&report, HYBRID).n, 3);
    assert_ne!(row(&report, HYBRID).verdict, Some(Verdict::Incomplete));
    assert_eq!(at(&report, HYBRID, 16384, "yarn8").verdict, Some(Verdict::Incomplete));
    // The tables say it in the cell, as n is of the claim's columns.
    for output in [text(&report), markdown(&report), table_csv(&report)] {
        assert!(output.contains("11.005 ± 0.007 (2/3)"), "{output}");
    }

    let mut entries = entries(6.1);
    entries[3].record.transforms.get_mut(YARN).unwrap().remove(&16384);
    let other = entries[4].record.transforms.get_mut(YARN).unwrap();
    other.get_mut(&16384).unwrap().chunks = Some(4);
    let report = one(with_transforms(Some("yarn8")), entries);
    let reason = &row(&report, HYBRID).reason;
    assert!(reason.contains("seed 42 not evaluated at this length"), "{reason}");
    assert!(reason.contains("seed 123 evaluated on 4 chunks, the others on 10"), "{reason}");
    assert_eq!(cell(&report, HYBRID, 16384).n, 3);
}

#[test]
fn a_claim_under_a_transform_that_is_not_declared_is_no_claim() {
    let report = one(with_transforms(Some("pi2")), entries(6.1));
    let hybrid = row(&report, HYBRID);
    assert_eq!(hybrid.verdict, Some(Verdict::Incomplete));
    assert!(hybrid.reason.contains("no transform of that name is declared"), "{}", hybrid.reason);
    assert!(text(&report).contains("[pi2] not declared"));
}

#[test]
fn every_format_says_what_a_transform_is() {
    let report = one(with_transforms(Some("yarn8")), entries(6.1));
    insta::assert_snapshot!("text", text(&report));
    insta::assert_snapshot!("md", markdown(&report));
    insta::assert_snapshot!("table_csv", table_csv(&report));
    insta::assert_snapshot!("summary_csv", summary_csv(&report));
    insta::assert_snapshot!("runs_csv", runs_csv(&report));
    assert!(text(&report).lines().all(|line| line.chars().count() <= 80), "{}", text(&report));
    let json: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
    let section = &json["experiments"][0]["sections"][0];
    assert_eq!(
        section["transforms"],
        serde_json::json!([
            {"name": "yarn8", "expression": YARN}, {"name": NTK, "expression": NTK}
        ])
    );
    assert_eq!(section["primary_transform"], "yarn8");
    let cells = section["rows"][0]["cells"].as_array().unwrap();
    let names: Vec<_> =
        cells.iter().map(|c| (c["length"].as_u64().unwrap(), c["transform"].as_str())).collect();
    assert_eq!(names[..3], [(2048, None), (16384, None), (2048, Some("yarn8"))]);
    assert!(cells[0].get("transform").is_none());
}

/// Every length as trained and under two transforms, one of them with a wide name, on a terminal.
#[test]
fn the_text_of_four_lengths_under_two_transforms_fits_a_terminal() {
    let mut four = with_transforms(None);
    four.report_lengths = vec![2048, 4096, 8192, 16384];
    let mut entries = entries(6.1);
    for Entry { record, .. } in &mut entries {
        for results in std::iter::once(&mut record.eval).chain(record.transforms.values_mut()) {
            results.insert(4096, results[&2048].clone());
            results.insert(8192, results[&16384].clone());
        }
    }
    entries[1].record.transforms.clear();
    let text = text(&one(four, entries));
    insta::assert_snapshot!("four_lengths_text", text);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn csv_headers_have_a_transform_column_only_where_there_are_transforms() {
    let first = |csv: &str| csv.lines().next().unwrap().to_owned();
    let plain = one(declared(), reference());
    let with = one(with_transforms(None), entries(6.1));
    let summary = SUMMARY_CSV_HEADER.join(",");
    let runs = import::RUNS_CSV_HEADER.join(",");
    assert_eq!(first(&summary_csv(&plain)), summary);
    assert_eq!(first(&runs_csv(&plain)), runs);
    assert_eq!(first(&summary_csv(&with)), format!("{summary},transform"));
    assert_eq!(first(&runs_csv(&with)), format!("{runs},transform"));
    assert_eq!(
        first(&table_csv(&with)),
        "config,PPL@2048,PPL@16384,PPL@2048 [yarn8],PPL@16384 [yarn8],\
         \"PPL@2048 [ntk({trained}, factor=4)]\",\"PPL@16384 [ntk({trained}, factor=4)]\",\
         n/n_expected,verdict,reason"
    );
    // Results under a transform that is declared no more stand in runs.csv by their expression.
    let undeclared = one(declared(), entries(6.1));
    assert_eq!(first(&runs_csv(&undeclared)), format!("{runs},transform"));
    assert!(runs_csv(&undeclared).contains(",done,\"ntk({trained}, factor=4)\"\n"));
    assert!(!markdown(&undeclared).contains("yarn"));
}

#[test]
fn a_runs_csv_with_transforms_is_imported_as_trained() {
    let csv = runs_csv(&one(with_transforms(None), entries(6.1)));
    let parsed = Parsed::from_bytes("runs.csv", csv.as_bytes()).unwrap();
    assert_eq!(parsed.runs.len(), 9);
    assert!(parsed.runs.iter().all(|run| run.ppl.keys().eq(&LENGTHS)));
    assert_eq!(parsed.skipped.len(), 18);
    assert!(parsed.skipped.contains(&format!("{GEO}, seed 42: under transform yarn8")));

    let mut entries = entries(6.1);
    for entry in &mut entries {
        entry.record.status = Status::Imported;
        entry.record.transforms.clear();
    }
    let report = one(with_transforms(None), entries);
    assert_eq!(row(&report, ANCHORED).verdict, Some(Verdict::Win));
    assert_eq!(row(&report, ANCHORED).n, 3);
    assert_eq!(at(&report, ANCHORED, 2048, "yarn8").n, 0);
    assert!(text(&report).contains("under a transform they have no number"));
}

#[test]
fn requirements_name_a_column_as_tables_do() {
    let report = one(with_transforms(Some("yarn8")), entries(6.1));
    let meets = |text: &str| report.meets(&text.parse().unwrap());
    assert!(meets(&format!("win:{HYBRID}")).is_ok());
    assert!(meets(&format!("win:{HYBRID}@16384[yarn8]")).is_ok());
    assert!(meets(&format!("win:{HYBRID}@16384 [yarn8]")).is_ok());
    assert!(meets(&format!("win:{ANCHORED}@16384")).is_ok());
    assert_eq!(
        meets(&format!("win:{HYBRID}@16384[{NTK}]")).unwrap_err(),
        [format!(
            "3cfg_3seed: {HYBRID} at 16384 tokens [{NTK}]: INCONCLUSIVE (the means are equal), not \
             WIN"
        )]
    );
    let unknown = meets(&format!("win:{HYBRID}@16384[pi]")).unwrap_err();
    assert!(
        unknown[0].contains("no such column (it has 2048, 16384, 2048 [yarn8],"),
        "{unknown:?}"
    );
    for (wrong, why) in [
        ("win:a[yarn8]", "a transform stands after a length"),
        ("win:a@[yarn8]", "does not begin with a number of tokens"),
        ("win:a@8[yarn8", "the `[` is not closed"),
        ("win:@8", "it names no config"),
        ("win:a[t@8]", "a transform stands after a length"),
    ] {
        let error = wrong.parse::<Requirement>().unwrap_err();
        assert!(error.contains(why) && error.contains("win:CONFIG@16384[TRANSFORM]"), "{error}");
    }
}

#[test]
fn results_from_before_a_transform_was_added_are_of_the_same_protocol() {
    let mut new = with_transforms(None);
    new.points[0].protocol = "p1".to_owned();
    let chunks = serde_json::json!({"2048": 10, "16384": 10});
    new.points[0].evaluation["transforms"] = serde_json::json!({YARN: chunks, NTK: chunks});
    // The records stand under p0, the protocol of the declaration without transforms.
    let mut input = input(new, reference());
    input.lock = Some(Lock::freeze(declared(), DATE));
    let report = Report::build(&[input]);
    assert_eq!(row(&report, HYBRID).verdict, Some(Verdict::Inconclusive));
    assert_eq!(cell(&report, HYBRID, 16384).mean_pm_std, "17.324 ± 0.441");
    assert_eq!(at(&report, HYBRID, 16384, "yarn8").verdict, Some(Verdict::Incomplete));
    assert_eq!(
        report.experiments[0].unrecorded,
        [format!("transforms added: yarn8 = {YARN}; {NTK}")]
    );
}

#[test]
fn a_leaderboard_goes_by_what_the_transform_of_the_claim_is_not_by_its_name() {
    let experiment = |name: &str, transform_name: &str, expression: &str| {
        let mut declared = with_transforms(Some(transform_name));
        declared.experiment = name.to_owned();
        declared.points[0].transforms = vec![transform(transform_name, expression)];
        let mut entries = entries(6.1);
        for entry in &mut entries {
            entry.record.experiment = name.to_owned();
        }
        input(declared, entries)
    };
    let same = [experiment("a", "yarn8", YARN), experiment("b", "other_name", YARN)];
    let report = Report::build(&same);
    let groups = &report.leaderboard.as_ref().unwrap().groups;
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].entries[0].mean_pm_std, "11.000 ± 0.010");
    assert!(
        text(&report).starts_with("a, b: by mean perplexity at 16384 tokens [yarn8], which is")
    );
    let words = format!("By mean perplexity at 16384 tokens [yarn8], which is {YARN}.");
    assert!(markdown(&report).contains(&words));

    let differ = [experiment("a", "t", YARN), experiment("b", "t", NTK)];
    let report = Report::build(&differ);
    let leaderboard = report.leaderboard.as_ref().unwrap();
    assert_eq!(leaderboard.groups.len(), 2);
    assert_eq!(leaderboard.drift, [format!("b against a: transform of the claim: {YARN} → {NTK}")]);
    // One name for two things is two columns, each with its expression, and no cell in both.
    let table = table_csv(&report);
    let mut csv = csv::Reader::from_reader(table.as_bytes());
    let header: Vec<String> = csv.headers().unwrap().iter().map(str::to_owned).collect();
    let place = |wanted: &str| header.iter().position(|name| name == wanted).unwrap();
    let (yarn, ntk) =
        (place(&format!("PPL@16384 [t: {YARN}]")), place(&format!("PPL@16384 [t: {NTK}]")));
    let rows: Vec<csv::StringRecord> = csv.into_records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let empty = (row[yarn].is_empty(), row[ntk].is_empty());
        assert_eq!(empty, (&row[2] == "b", &row[2] == "a"));
    }
}

/// Names and expressions come from a spec: they must not break out of a table or a list.
#[test]
fn a_wide_or_hostile_transform_stays_in_its_place() {
    let mut declared = with_transforms(None);
    let hostile = "expr(\"a|b`c\")<script>\u{1b}[2J";
    declared.points[0].transforms = vec![transform(hostile, &"table([1, 0.5]) ".repeat(200))];
    declared.points[0].configs[1].expression = "per_layer(geo(theta=10k)) ".repeat(300);
    let report = one(declared, entries(6.1));
    for output in [text(&report), markdown(&report)] {
        assert!(!output.contains('\u{1b}'), "{output}");
    }
    // A script tag stands between backticks alone.
    let shown = markdown(&report);
    let outside: String = shown.replace("b`c", "").split('`').step_by(2).collect();
    assert!(shown.contains("`[expr(\"a|b'c\")<script> [2J]`"), "{shown}");
    assert!(!outside.contains("<script>"), "{outside}");
    assert!(text(&report).lines().all(|line| line.chars().count() <= 80), "{}", text(&report));
}
