//! Frequencies transformed after the training.

use xp::plan::Plan;
use xp::results::store;
use xp::run::run_dir;

use super::lab::{Lab, plan};
use super::mock::TRAINED;

pub(crate) const HALF: &str =
    "eval.transform=[{name = \"half\", freq = \"scale({trained}, c=0.5)\"}]";
pub(crate) const QUARTER: &str =
    "eval.transform=[{name = \"quarter\", freq = \"scale({trained}, c=0.25)\"}]";
pub(crate) const BOTH: &str = "eval.transform=[{name = \"half\", freq = \"scale({trained}, c=0.5)\"}, \
                    {name = \"quarter\", freq = \"scale({trained}, c=0.25)\"}]";
pub(crate) const HALF_OF: &str = "scale@1({trained}, c=0.5)";
pub(crate) const QUARTER_OF: &str = "scale@1({trained}, c=0.25)";

#[test]
fn a_transform_added_later_only_evaluates_and_one_dropped_is_kept() {
    let lab = Lab::new();
    let plain = plan(&[]);
    assert_eq!(lab.all(&plain, "r").opened, [0; 4]);
    let before = lab.record(&plain, "r", 0);
    assert!(before.transforms.is_empty());

    let half = plan(&[HALF]);
    let states = lab.states(&half, "r");
    assert_eq!(states[0], "evaluate: not evaluated yet: half at 64, half at 128, half at 256");
    // Three lengths of four chunks a run, from the trained weights.
    let did = lab.all(&half, "r");
    assert_eq!((did.opened.as_slice(), did.evaluated), (&[TRAINED; 4][..], 4 * 12));
    let after = lab.record(&half, "r", 0);
    assert_eq!((&after.train_id, &after.eval), (&before.train_id, &before.eval));
    assert_ne!(after.eval_id, before.eval_id);
    assert_eq!(after.eval_id, half.runs()[0].eval_id);
    let lower = f64::from(2.0f32 - 0.5 + 1.0 / 64.0);
    assert_eq!(after.eval[&256].nll, Some(lower + 0.5));
    let transformed = &after.transforms[HALF_OF];
    assert_eq!(transformed.keys().copied().collect::<Vec<_>>(), [64, 128, 256]);
    assert!(transformed.values().all(|e| e.nll == Some(lower) && e.chunks == Some(4)));
    assert_eq!(half.declared().points[0].transforms[0].expression, HALF_OF);

    // What the spec drops stays; nothing is done for it.
    assert!(lab.states(&plain, "r").iter().all(|state| state == "done: complete"));
    let quarter = plan(&[QUARTER]);
    assert_eq!(lab.all(&quarter, "r").evaluated, 4 * 12);
    let both = lab.record(&quarter, "r", 0);
    assert_eq!(both.transforms.keys().collect::<Vec<_>>(), [QUARTER_OF, HALF_OF]);
    // The other way round, and in one go: the same bytes.
    let wanted = plan(&[BOTH]);
    assert!(lab.states(&wanted, "r").iter().all(|state| state == "done: complete"));
    let (stepwise, once) = (lab.bytes(&wanted, "r"), lab.all(&wanted, "once"));
    assert_eq!(once.evaluated, 4 * 36);
    let protocol = |plan: &Plan| plan.points[0].protocol_id.clone();
    let renamed = stepwise.iter().map(|text| text.replace(&protocol(&quarter), &protocol(&wanted)));
    assert_eq!(renamed.collect::<Vec<_>>(), lab.bytes(&wanted, "once"));
    // The additions are on record.
    let lock = store::read_lock(&lab.layout("r").lock("tiny")).unwrap().expect("a lock");
    let changes: Vec<_> = lock.amendments.iter().flat_map(|a| a.changes.clone()).collect();
    assert_eq!(
        changes,
        [
            "transforms added: half = scale@1({trained}, c=0.5)",
            "transforms added: quarter = scale@1({trained}, c=0.25)",
            "transforms removed: half = scale@1({trained}, c=0.5)"
        ]
    );
}

/// Chunks of an evaluation that was stopped.
fn kept(lab: &Lab, plan: &Plan, results: &str) -> std::path::PathBuf {
    run_dir(plan, &plan.runs()[0], &lab.layout(results)).checkpoint().join("eval.json")
}

#[test]
fn a_kill_between_transforms_loses_at_most_one_of_them() {
    let lab = Lab::new();
    let both = plan(&[BOTH]);
    lab.all(&both, "whole");
    for (keep, stop_at) in [("true", 20), ("false", 20), ("true", 5), ("true", 30), ("false", 30)] {
        let set = format!("output.keep_weights={keep}");
        let both = plan(&[BOTH, &set]);
        let results = format!("{keep}{stop_at}");
        // Trained, then stopped while it evaluates the first run.
        let did = lab.run(&both, &results, u64::MAX, stop_at);
        assert!(did.outcome.interrupted);
        assert_eq!((did.opened.as_slice(), did.evaluated), (&[0][..], stop_at));
        let state = &lab.states(&both, &results)[0];
        let half = "half at 64, half at 128, half at 256";
        let missing = match stop_at {
            20 => format!("not evaluated yet: {}, {half}", half.replace("half", "quarter")),
            _ => format!("not evaluated yet: {half}"),
        };
        match (keep, stop_at) {
            (_, 5) => assert_eq!(state, "resume: checkpoint at step 30"),
            ("true", _) => assert_eq!(*state, format!("evaluate: {missing}")),
            _ => assert_eq!(*state, format!("todo: {missing}; its weights were not kept")),
        }
        // As if it had been killed. Whole transforms are not evaluated again, and nothing is trained again.
        std::fs::remove_file(kept(&lab, &both, &results)).unwrap();
        let did = lab.all(&both, &results);
        let from = if keep == "true" && stop_at > 12 { TRAINED } else { 30 };
        assert_eq!(did.opened, [from, 0, 0, 0]);
        let kept = stop_at / 12 * 12;
        assert_eq!(did.evaluated, 4 * 36 - kept);
        assert_eq!(lab.bytes(&both, &results), lab.bytes(&both, "whole"));
        let first = run_dir(&both, &both.runs()[0], &lab.layout(&results));
        assert!(!first.checkpoint().exists());
    }
}

#[test]
fn a_signal_while_it_evaluates_loses_no_chunk() {
    let lab = Lab::new();
    lab.all(&plan(&[BOTH]), "whole");
    for keep in ["true", "false"] {
        let both = plan(&[BOTH, &format!("output.keep_weights={keep}")]);
        // However little time an attempt has, it comes further: a job of a batch system that evaluates for longer
        // than its time limit ends.
        let mut evaluated = 0;
        loop {
            let did = lab.run(&both, keep, u64::MAX, 5);
            evaluated += did.evaluated;
            if !did.outcome.interrupted {
                break;
            }
        }
        assert_eq!(evaluated, 4 * 36);
        assert_eq!(lab.bytes(&both, keep), lab.bytes(&both, "whole"));
        assert!(!kept(&lab, &both, keep).exists());
    }
}

#[test]
fn kept_chunks_of_something_else_and_damaged_ones_are_evaluated_anew() {
    let lab = Lab::new();
    let both = plan(&[BOTH]);
    lab.all(&both, "whole");
    for (i, (from, to)) in [
        ("\"loss\":", "\"loss\":1"),
        ("\"device_class\":\"mock", "\"device_class\":\"other"),
        ("}", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let results = format!("r{i}");
        assert!(lab.run(&both, &results, u64::MAX, 7).outcome.interrupted);
        let path = kept(&lab, &both, &results);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert_eq!(lab.all(&both, &results).evaluated, 4 * 36, "{from}");
        assert_eq!(lab.bytes(&both, &results), lab.bytes(&both, "whole"));
    }
}

#[test]
fn kept_chunks_that_are_not_asked_for_any_more_are_left_out() {
    let lab = Lab::new();
    let (both, plain) = (plan(&[BOTH]), plan(&["eval.lengths=[128, 256]"]));
    lab.all(&plain, "whole");
    // Two chunks of the second length, and four of the first, which then is dropped.
    assert!(lab.run(&both, "r", u64::MAX, 6).outcome.interrupted);
    assert_eq!(lab.all(&plain, "r").evaluated, 4 * 8 - 2);
    assert_eq!(lab.bytes(&plain, "r"), lab.bytes(&plain, "whole"));
}

#[test]
fn transforms_are_taken_over_with_the_training() {
    let lab = Lab::new();
    lab.all(&plan(&[HALF]), "r");
    let again = plan(&[BOTH, "experiment.name=again"]);
    let did = lab.all(&again, "r");
    assert_eq!((did.opened.as_slice(), did.evaluated), (&[TRAINED; 4][..], 4 * 12));
    assert_eq!(lab.record(&again, "r", 0).transforms.len(), 2);
}

#[test]
fn what_is_damaged_of_a_twin_is_evaluated_anew() {
    let lab = Lab::new();
    lab.all(&plan(&[BOTH, "experiment.name=again"]), "whole");
    for (i, damage) in ["torn", "\"loss\":1"].into_iter().enumerate() {
        let results = format!("r{i}");
        let (first, again) = (plan(&[BOTH]), plan(&[BOTH, "experiment.name=again"]));
        lab.all(&first, &results);
        let twin = run_dir(&first, &first.runs()[0], &lab.layout(&results));
        let text = std::fs::read_to_string(twin.eval()).unwrap();
        std::fs::write(twin.eval(), text.replacen("\"loss\":", damage, 1)).unwrap();
        let log = std::fs::read(twin.train()).unwrap();
        std::fs::write(twin.train(), &log[..log.len() / 2]).unwrap();
        let did = lab.all(&again, &results);
        assert_eq!((did.opened.as_slice(), did.evaluated), (&[TRAINED; 4][..], 36), "{damage}");
        let dirs = again.runs().into_iter().map(|run| run_dir(&again, &run, &lab.layout(&results)));
        let logs: Vec<bool> = dirs.map(|dir| dir.train().exists()).collect();
        assert_eq!(logs, [false, true, true, true]);
        assert!(lab.bytes(&again, &results) == lab.bytes(&again, "whole"), "{damage}");
    }
}

#[test]
fn a_transform_that_aims_at_the_longest_length_keeps_its_results_apart() {
    let lab = Lab::new();
    let to_target =
        "eval.transform=[{name = \"aim\", freq = \"scale({trained}, c=train_len/target_len)\"}]";
    let (short, long) =
        (plan(&[to_target]), plan(&[to_target, "eval.lengths=[64, 128, 256, 512]"]));
    lab.all(&short, "r");
    // Another target is another transform: the lengths held were made with other frequencies.
    let states = lab.states(&long, "r");
    assert_eq!(
        states[0],
        "evaluate: not evaluated yet: length 512, aim at 64, aim at 128, aim at 256, aim at 512"
    );
    assert_eq!(lab.all(&long, "r").evaluated, 4 * (4 + 16));
    assert_eq!(lab.record(&long, "r", 0).transforms.len(), 2);
    assert!(lab.states(&short, "r").iter().all(|state| state == "done: complete"));
}
