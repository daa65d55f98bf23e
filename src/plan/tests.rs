//! What a check says of whole comparisons, and what it costs nothing to get wrong quietly: ids.

use std::path::Path;

use super::{Checked, MAX_RUNS, Plan, check_document, resolved_toml};
use crate::data::ContentHashes;
use crate::diag::{Diagnostic, Severity};
use crate::spec::load;

fn check(set: &[&str]) -> (Option<Checked>, Vec<Diagnostic>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/tiny.toml");
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    check_document(&load::load(&path, &set).expect("a document"), MAX_RUNS)
}

fn warnings(set: &[&str]) -> Vec<Diagnostic> {
    let (checked, mut found) = check(set);
    assert!(checked.is_some(), "{found:?}");
    found.retain(|d| d.severity == Severity::Warning);
    found
}

/// The warnings of one code about configs, given as the items of `[[config]]`.
fn of_configs(code: &str, configs: &str) -> Vec<Diagnostic> {
    let mut found = warnings(&["experiment.baseline=a", &format!("config=[{configs}]")]);
    found.retain(|d| d.code == code);
    found
}

const SIGMOID: &str = "sigmoid(theta=100k, steepness=8, midpoint=0.5, omf=0.3)";

#[test]
fn a_base_without_a_control_is_told_once_with_the_lines_to_add() {
    let configs = format!(
        "{{name=\"a\", freq=\"geo(theta=500k)\"}}, {{name=\"b\", freq=\"{SIGMOID}\"}}, \
         {{name=\"c\", freq=\"scale({SIGMOID}, c=0.5)\"}}"
    );
    let found = of_configs("freq::base-confounded", &configs);
    assert_eq!(found.len(), 1, "{found:?}");
    let message = "b: base confounded with shape: no geo(theta=100k) control";
    assert_eq!(found[0].message, message);
    assert!(
        found[0].help[0].contains("[[config]]\nname = \"geo_100k\"\nfreq = \"geo(theta=100k)\"")
    );
    assert_eq!(found[0].help[1], "likewise c");
}

#[test]
fn one_table_with_several_bases_is_told_once_with_a_sweep_to_add() {
    let sigmoid = SIGMOID.replace("100k", "{{ t }}");
    let configs = format!(
        "{{name=\"a\", freq=\"geo(theta=500k)\"}}, \
         {{name=\"b{{{{ t }}}}\", freq=\"{sigmoid}\", sweep={{grid={{t=[\"20k\", \"1.5M\"]}}}}}}"
    );
    let found = of_configs("freq::base-confounded", &configs);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.ends_with("no geo(theta=20k, 1500k) control"), "{found:?}");
    assert!(found[0].help[0].contains("theta = [\"20k\", \"1500k\"]"), "{found:?}");
}

#[test]
fn a_plain_geo_or_a_baseline_of_the_same_base_is_a_control() {
    let with = |other: &str| {
        let configs = format!(
            "{{name=\"a\", freq=\"geo(theta=500k)\"}}, {{name=\"b\", freq=\"{SIGMOID}\"}}, {other}"
        );
        of_configs("freq::base-confounded", &configs).len()
    };
    assert_eq!(with("{name=\"c\", freq=\"geo(theta=1e5)\"}"), 0);
    // Something around it makes another shape of it.
    assert_eq!(with("{name=\"c\", freq=\"scale(geo(theta=1e5), c=0.5)\"}"), 1);
    // A table has no base.
    assert_eq!(with("{name=\"c\", freq=\"table([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])\"}"), 1);
    let baseline = format!(
        "{{name=\"a\", freq=\"{SIGMOID}\"}}, {{name=\"b\", freq=\"scale({SIGMOID}, c=0.5)\"}}"
    );
    assert_eq!(of_configs("freq::base-confounded", &baseline), []);
}

#[test]
fn arms_on_different_grids_are_told_unless_there_is_a_control() {
    let with = |others: &str| {
        let configs = format!("{{name=\"a\", freq=\"geo(theta=500k)\"}}, {others}");
        of_configs("freq::grids-differ", &configs)
    };
    let evq = "{name=\"b\", freq=\"evq_cosh(theta=500k)\"}";
    let found = with(evq);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].message, "b: arms on different grids: mid here, std in its baseline `a`");
    assert!(found[0].help[0].ends_with("geo(theta=..., grid=mid)"), "{found:?}");
    assert_eq!(with(&format!("{evq}, {{name=\"c\", freq=\"geo(theta=500k, grid=mid)\"}}")), []);
    assert_eq!(with("{name=\"b\", freq=\"evq_cosh(theta=500k, grid=std)\"}"), []);
    // A family without a grid ends where geo does.
    assert_eq!(with(&format!("{{name=\"b\", freq=\"{SIGMOID}\"}}")), []);
    let own = "{name=\"b\", freq=\"geo(theta=500k, grid=mid)\"}, \
               {name=\"c\", freq=\"evq_cosh(theta=500k)\", baseline=\"b\"}";
    assert_eq!(with(own), []);
}

#[test]
fn transforms_that_say_nothing_are_told() {
    let codes = |transform: &str| {
        let found = warnings(&[&format!("eval.transform={transform}")]);
        found.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(codes("[\"scale({trained}, c=0.5)\"]"), Vec::<&str>::new());
    assert_eq!(codes("[\"scale({trained}, c=1)\"]"), ["freq::no-effect"]);
    assert_eq!(codes("[\"geo(theta=20k)\"]"), ["freq::ignores-trained"]);
}

#[test]
fn transforms_reach_every_kind_of_layer_and_every_point() {
    let (checked, found) = check(&[
        "eval.transform=[\"scale({trained}, c={{ c }})\"]",
        "sweep={grid={c=[0.5, 0.25]}}",
        "config=[{name=\"geo\", freq={local=\"geo(theta=10k)\", global=\"geo(theta=20k)\", pattern=\"LG\"}}]",
    ]);
    let checked = checked.unwrap_or_else(|| panic!("{found:?}"));
    let names: Vec<_> = checked.points.iter().filter_map(|p| p.name.as_deref()).collect();
    assert_eq!(names, ["c=0.5", "c=0.25"]);
    for (point, c) in checked.points.iter().zip([0.5, 0.25]) {
        let transforms = &point.protocol.eval.transforms;
        assert_eq!(transforms[0].expression, format!("scale@1({{trained}}, c={c})"));
        let config = &point.configs[0];
        for sets in config.transformed[0].values() {
            for (set, trained) in sets.sets().iter().zip(config.freq.sets()) {
                assert_eq!(set.inv_freq[3], c * trained.inv_freq[3]);
            }
            assert_eq!(sets.layers(), [0, 1]);
        }
    }
}

#[test]
fn an_error_under_a_transform_is_told_once_at_its_place() {
    // Frequencies above 2 pi: an error that only the trained sets bring about.
    let (checked, found) = check(&["eval.transform=[\"scale({trained}, c=9)\"]"]);
    assert!(checked.is_none());
    let errors: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].code, "freq::aliasing");
    assert!(errors[0].message.starts_with("geo under scale({trained}, c=9)"), "{errors:?}");
}

#[test]
fn what_resolved_prints_is_a_spec_with_the_same_ids() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/layers.toml");
    let checked = |path: &Path| {
        let (checked, found) =
            check_document(&load::load(path, &[]).expect("a document"), MAX_RUNS);
        checked.unwrap_or_else(|| panic!("{found:?}"))
    };
    let written = checked(&path);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let printed = dir.path().join("resolved.toml");
    std::fs::write(&printed, resolved_toml(&written, &written.points[0])).expect("writable");
    let ids = |checked: Checked| {
        let plan = Plan::new(checked, &mut ContentHashes::default()).expect("no files");
        let ids = plan.runs().into_iter().map(|run| (run.train_id, run.eval_id));
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(checked(&printed)), ids(written));
}

#[test]
fn ids_of_specs_without_new_keys_stay() {
    let (checked, _) = check(&[]);
    let plan = Plan::new(checked.expect("good"), &mut ContentHashes::default()).expect("no files");
    let run = &plan.runs()[0];
    assert_eq!(
        [&run.point.protocol_id, &run.train_id, &run.eval_id],
        [
            "45f9e3a735cdbfd2f8fb9e2347691033",
            "424290a2fa955fce760787b4be646fd4",
            "b17fa7e4e5bf810d605893c88e7aae6a"
        ]
    );
}

#[test]
fn each_further_set_of_a_model_adds_its_tables_to_the_predicted_memory() {
    // At the lengths of the file training takes the most, at the other one evaluation does.
    for (lengths, longest) in [("[64, 128, 256]", 64), ("[64, 8000]", 8000)] {
        let peak = |freq: &str| {
            let config = format!("config=[{{name=\"geo\", freq={freq}}}]");
            let (checked, found) = check(&[&config, &format!("eval.lengths={lengths}")]);
            let checked = checked.unwrap_or_else(|| panic!("{found:?}"));
            super::estimate(&checked.points[0], None, false, 2).peak_memory_bytes
        };
        let kinds = |pattern: &str| {
            let sets = "local=\"geo(theta=10k)\", global=\"geo(theta=20k)\"";
            format!("{{{sets}, pattern=\"{pattern}\"}}")
        };
        let one = peak("\"geo(theta=10k)\"");
        // cos and sin, each of head_dim / 2 = 8 values of f32 a position.
        assert_eq!(peak(&kinds("LG")) - one, 2 * 8 * 4 * longest);
        // A kind that no layer is of has no table.
        assert_eq!(peak(&kinds("LLG")), one);
    }
}

#[test]
fn the_declaration_says_where_in_a_sweep_a_config_stands() {
    let set = [
        "config=[{name=\"geo\", freq=\"geo(theta=10k)\"}, \
         {name=\"g{{ t }}\", freq=\"geo(theta={{ t }})\", sweep={grid={t=[\"100k\", 20000]}}}]"
            .to_owned(),
        "sweep={grid={\"schedule.lr\"=[1e-3, 2e-3]}}".to_owned(),
    ];
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/tiny.toml");
    let document = crate::spec::load::load(&path, &set).expect("the tiny spec");
    let (checked, found) = check_document(&document, MAX_RUNS);
    let checked = checked.unwrap_or_else(|| panic!("{found:?}"));
    let declared =
        Plan::new(checked, &mut crate::data::ContentHashes::default()).unwrap().declared();
    let points: Vec<_> = declared.points.iter().map(|point| point.swept["schedule.lr"]).collect();
    assert_eq!(points, [1e-3, 2e-3]);
    let swept = |i: usize| declared.points[1].configs[i].swept.clone();
    assert_eq!(swept(0), None);
    let values = [1, 2].map(|i| swept(i).map(|s| (s.table, s.values["t"])));
    assert_eq!(values, [Some((1, 1e5)), Some((1, 2e4))]);
}
