//! The interpreter with a mock executor: losses are a formula of the run, so that sweep, store
//! and report are tested to the last digit.

mod lab;
mod mock;
mod transforms;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xp::plan::Plan;
use xp::report::{Input, Report, summary_csv};
use xp::results::{self, store};
use xp::run::executor::{self, Job, Start, TrainSession};
use xp::run::state::{Index, inspect};
use xp::run::{Error, ErrorKind, Executor as _, Several, run_dir};
use xp::train::checkpoint::Arena;

use lab::{Lab, plan};
use mock::{Dying, Mock, TRAINED};
use transforms::BOTH;

#[test]
fn what_a_kill_behind_the_record_left_is_removed_and_written_down() {
    let lab = Lab::new();
    let plan = plan(&[]);
    lab.all(&plan, "r");
    let layout = lab.layout("r");
    let [done, again] = [0, 1].map(|i| run_dir(&plan, &plan.runs()[i], &layout));
    let killed = |dir: &results::RunDir| {
        std::fs::create_dir_all(dir.checkpoint().join("step-00000030")).unwrap();
        let parts = [dir.path().join(".xp-a.tmp"), dir.checkpoint().join("step-00000030/state")];
        parts.iter().for_each(|path| std::fs::write(path, "a part").unwrap());
        let mut provenance = store::read_provenance(dir).unwrap().expect("of a run");
        provenance.attempts[0].outcome = "running".into();
        store::write_provenance(dir, &provenance).unwrap();
    };
    let left = |dir: &results::RunDir| {
        let provenance = store::read_provenance(dir).unwrap().expect("of a run");
        let outcomes: Vec<_> = provenance.attempts.into_iter().map(|a| a.outcome).collect();
        let there = [dir.checkpoint(), dir.path().join(".xp-a.tmp")].map(|path| path.exists());
        (there, outcomes.join(" "))
    };
    let before = lab.bytes(&plan, "r");
    killed(&done);
    killed(&again);
    std::fs::remove_file(again.record()).unwrap();
    let of_experiment = layout.lock(&plan.experiment).with_file_name(".xp-b.tmp");
    std::fs::write(&of_experiment, "a part").unwrap();
    // What another process is at stays.
    let held = xp::fs::try_lock(&done.lock()).unwrap();
    lab.all(&plan, "r");
    assert_eq!(left(&done), ([true, true], "running".into()));
    assert_eq!(left(&again), ([false, false], "killed done".into()));
    assert!(!of_experiment.exists());
    drop(held);
    lab.all(&plan, "r");
    assert_eq!(left(&done), ([false, false], "killed".into()));
    assert_eq!(lab.bytes(&plan, "r"), before);
}

#[test]
fn weights_that_the_disk_cannot_hold_are_refused_before_anything_is_written() {
    let lab = Lab::new();
    // 1.6e15 bytes.
    let plan = plan(&["model.layers=100", "model.hidden_size=1000000", "model.heads=62500"]);
    let error = lab.refusal(&plan, "r");
    assert!(matches!(error, Error::Full { needed, free, .. } if needed > free), "{error}");
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(!lab.layout("r").experiment(&plan.experiment).exists());
}

#[test]
fn a_row_that_memory_cannot_hold_is_refused_where_it_is_trained() {
    if xp::run::available_memory().is_none() {
        println!("skipped: this system does not say how much memory is free");
        return;
    }
    // 16 million positions of a row, which is not split, through a hundred layers: 1e12 bytes.
    let plan = plan(&[
        "model.layers=100",
        "schedule.seq_len=16777216",
        "schedule.batch_size=1",
        "schedule.max_steps=1",
        "data.train.max_tokens=100000000",
    ]);
    let protocol = &plan.points[0].resolved.protocol;
    let cpu = xp::run::Cpu::new();
    let error = cpu.check(protocol, true, 1).unwrap_err().to_string();
    assert!(error.starts_with("a run needs"), "{error}");
    assert!(error.contains("GiB of this machine's memory, of which"), "{error}");
    cpu.check(protocol, false, 1).unwrap();
    let error = cpu.check(protocol, false, 1 << 30).unwrap_err().to_string();
    assert!(error.contains("side by side") && error.contains("--jobs"), "{error}");
}

#[test]
fn a_step_or_a_chunk_that_is_given_up_leaves_the_session_as_it_was() {
    let plan = plan(&[]);
    let run = &plan.runs()[0];
    let stop = Arc::new(AtomicBool::new(false));
    let (protocol, freq) = (&run.point.resolved.protocol, &run.config.freq);
    let job = Job { protocol, freq, seed: run.seed, steps: 3, stop: &stop };
    let train = &protocol.train;
    let count = (train.batch_size * train.seq_len) as usize;
    let tokens: Vec<u32> = (0..count).map(|i| (i * 31 % 200) as u32).collect();
    let cpu = xp::run::Cpu::new();
    let open = || {
        let start = Start::Fresh(cpu.initial(&job).unwrap());
        cpu.train(&job, start).unwrap()
    };
    let state = |session: &dyn TrainSession| {
        [Arena::Weights, Arena::ExpAvg, Arena::ExpAvgSq].map(|arena| {
            let mut values = vec![f32::NAN; session.layout().len()];
            session.read(arena, 0, &mut values).unwrap();
            values
        })
    };
    let (mut whole, mut stopped) = (open(), open());
    let (mut given_up, mut delay) = (0, Duration::ZERO);
    for step in 0..3 {
        let want = whole.step(&tokens).unwrap();
        // Later and later in the step, until one is through.
        let got = loop {
            let before = state(stopped.as_ref());
            let came = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(delay);
                    stop.store(true, Ordering::Relaxed);
                });
                stopped.step(&tokens)
            });
            stop.store(false, Ordering::Relaxed);
            delay += Duration::from_micros(200);
            match came {
                Ok(numbers) => break numbers,
                Err(error) => {
                    assert!(matches!(error, executor::Error::Stopped), "{error}");
                    assert!(state(stopped.as_ref()) == before && stopped.position() == step);
                    given_up += 1;
                }
            }
        };
        assert_eq!(got, want);
        assert!(state(stopped.as_ref()) == state(whole.as_ref()));
    }
    assert!(given_up > 0);
    let (mut whole, mut stopped) = (whole.finish(), stopped.finish());
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(stopped.losses(&tokens), Err(executor::Error::Stopped)));
    stop.store(false, Ordering::Relaxed);
    assert_eq!(stopped.losses(&tokens).unwrap(), whole.losses(&tokens).unwrap());
}

#[test]
fn what_another_experiment_had_before_is_on_record_where_it_is_declared() {
    let lab = Lab::new();
    let of = |name: &str, seeds: &str| {
        plan(&[&format!("experiment.name={name}"), &format!("experiment.seeds={seeds}")])
    };
    let known = |name: &str| {
        let lock = store::read_lock(&lab.layout("r").lock(name)).unwrap().expect("it was run");
        lock.known.into_iter().collect::<Vec<_>>()
    };
    let ids = |plan: &Plan, seeds: &[u64]| {
        let runs = plan.runs().into_iter().filter(|run| seeds.contains(&run.seed));
        let mut ids: Vec<_> = runs.map(|run| run.train_id).collect();
        ids.sort();
        ids
    };
    lab.all(&of("first", "[1]"), "r");
    assert_eq!(known("first"), [""; 0]);
    let again = of("again", "[1, 2]");
    assert_eq!(lab.all(&again, "r").opened, [TRAINED, TRAINED, 0, 0]);
    assert_eq!(known("again"), ids(&again, &[1]));
    // Its own results are none that it had not declared; what was added later may be.
    lab.all(&again, "r");
    assert_eq!(known("again"), ids(&again, &[1]));
    lab.all(&of("first", "[1, 3]"), "r");
    assert_eq!(known("first"), [""; 0]);
    let more = of("again", "[1, 2, 3]");
    lab.all(&more, "r");
    assert_eq!(known("again"), ids(&more, &[1, 3]));
}

#[test]
fn chunks_that_are_not_those_of_the_record_are_not_added_to() {
    type Edit<'a> = &'a dyn Fn(&mut Vec<String>);

    let lab = Lab::new();
    let short = plan(&[BOTH]);
    let longer = plan(&[BOTH, "eval.lengths=[64, 128, 256, 512]"]);
    lab.all(&longer, "whole");
    let edit = |lines: &mut Vec<String>, edited: usize| {
        let line = lines[edited].replacen("\"loss\":", "\"loss\":1", 1);
        lines[edited] = line;
    };
    let edits: [(&str, Edit<'_>); 5] = [
        ("at length 64 it has nll 4", &|lines| edit(lines, 1)),
        ("at length 256 under scale@1", &|lines| edit(lines, 35)),
        (" of 5 chunks, run.json nll ", &|lines| lines.push(lines[0].clone())),
        // The chunk that is missing is evaluated again; then its neighbour is seen.
        ("at length 128 it has nll ", &|lines| {
            edit(lines, 6);
            lines.remove(4);
        }),
        ("", &|lines| drop(lines.drain(..30))),
    ];
    for (i, (said, edit)) in edits.into_iter().enumerate() {
        let results = format!("r{i}");
        lab.all(&short, &results);
        let dir = run_dir(&short, &short.runs()[0], &lab.layout(&results));
        let before = std::fs::read(dir.record()).unwrap();
        let text = std::fs::read_to_string(dir.eval()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        edit(&mut lines);
        std::fs::write(dir.eval(), lines.join("\n") + "\n").unwrap();
        if !said.is_empty() {
            let outcome = lab.run(&longer, &results, u64::MAX, u64::MAX).outcome;
            assert_eq!((outcome.failed, outcome.failure), (1, Some(ErrorKind::Integrity)));
            assert!(std::fs::read(dir.record()).unwrap() == before, "{said}");
            let error = store::read_provenance(&dir).unwrap().unwrap().error.unwrap();
            assert!(error.contains(said), "{error}");
            std::fs::remove_file(dir.eval()).unwrap();
        }
        lab.all(&longer, &results);
        assert!(lab.bytes(&longer, &results) == lab.bytes(&longer, "whole"), "{said}");
    }
}

#[test]
fn a_training_carried_out_again_for_another_specs_lengths_keeps_its_checkpoint() {
    let lab = Lab::new();
    let short = plan(&["output.keep_weights=false"]);
    let longer = plan(&["output.keep_weights=false", "eval.lengths=[64, 128, 256, 512]"]);
    lab.all(&short, "r");
    // Stopped by a signal; then as if it had been killed.
    for outcome in ["interrupted", "running"] {
        assert!(lab.run(&longer, "r", 10, u64::MAX).outcome.interrupted);
        let dir = run_dir(&longer, &longer.runs()[0], &lab.layout("r"));
        let mut provenance = store::read_provenance(&dir).unwrap().expect("of a run");
        provenance.attempts.last_mut().unwrap().outcome = outcome.into();
        store::write_provenance(&dir, &provenance).unwrap();
        assert_eq!(lab.all(&short, "r").opened, [0; 0]);
        assert!(dir.checkpoint().exists(), "{outcome}");
    }
    assert_eq!(lab.all(&longer, "r").opened, [20, 0, 0, 0]);
    assert_eq!(lab.states(&longer, "r"), ["done: complete"; 4]);
}

#[test]
fn the_report_of_a_formula_is_the_formula() {
    let lab = Lab::new();
    let plan = plan(&[]);
    // Stopped in the middle of the first run, then carried out to the end.
    assert!(lab.run(&plan, "r", 7, u64::MAX).outcome.interrupted);
    let did = lab.all(&plan, "r");
    assert_eq!((did.outcome.finished, did.outcome.failed, did.outcome.found), (4, 0, 0));
    assert_eq!(did.opened, [7, 0, 0, 0]);
    let layout = lab.layout("r");

    let input = Input {
        declared: plan.declared(),
        lock: store::read_lock(&layout.lock("tiny")).unwrap(),
        listing: results::list(&layout, "tiny").unwrap(),
    };
    assert!(input.listing.problems.is_empty());
    let report = Report::build(&[input]);
    let csv = summary_csv(&report);
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let header = rows.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|h| h == name).expect("a column");
    let mut seen = 0;
    for row in rows.records().map(Result::unwrap) {
        let lower = if &row[column("config")] == "geo" { 0.0 } else { 0.25 };
        let ppl: Vec<f64> = [1.0, 2.0].map(|seed: f64| (2.0 - lower + seed / 64.0).exp()).into();
        let mean = f64::midpoint(ppl[0], ppl[1]);
        let std = (ppl[1] - ppl[0]).abs() / 2f64.sqrt();
        let number = |name: &str| row[column(name)].parse::<f64>().expect("a number");
        assert!((number("mean") / mean - 1.0).abs() < 1e-12, "{row:?}");
        assert!((number("std") / std - 1.0).abs() < 1e-9, "{row:?}");
        if lower > 0.0 {
            assert_eq!(&row[column("seeds_better")], "2/2");
            assert_eq!(&row[column("verdict")], "WIN");
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn repeats_train_again_and_are_compared_with_the_first() {
    let lab = Lab::new();
    let twice = plan(&["experiment.repeats=2"]);
    let did = lab.all(&twice, "r");
    // Nothing is taken over: a repeat begins at step 0 like its first attempt.
    assert_eq!(did.opened, [0; 8]);
    let layout = lab.layout("r");
    let runs = twice.runs();
    assert_eq!((runs[0].attempt, runs[4].attempt, runs.len()), (1, 2, 8));
    let repeat = run_dir(&twice, &runs[4], &layout);
    assert!(repeat.path().ends_with("seed-1/attempt-2"), "{repeat:?}");
    assert_eq!(lab.record(&twice, "r", 0), lab.record(&twice, "r", 4));
    assert!(lab.record(&twice, "r", 0).train.and_then(|train| train.init).is_some());
    assert!(lab.states(&twice, "r").iter().all(|state| state == "done: complete"));

    let report = |plan: &Plan| {
        let input = xp::report::Input {
            declared: plan.declared(),
            lock: store::read_lock(&layout.lock("tiny")).unwrap(),
            listing: results::list(&layout, "tiny").unwrap(),
        };
        xp::report::Report::build(&[input]).experiments.remove(0)
    };
    let reruns = report(&twice).reruns.expect("further attempts");
    assert_eq!((reruns.runs, reruns.further, reruns.equal, reruns.missing), (4, 4, 4, 0));
    // One more is declared: it is missing, and no mean changes.
    let thrice = plan(&["experiment.repeats=3"]);
    let experiment = report(&thrice);
    assert_eq!(experiment.reruns.expect("still there").missing, 4);
    assert_eq!(experiment.sections, report(&twice).sections);
    assert!(experiment.unrecorded.contains(&"repeats: 2 → 3".to_owned()));

    // A repeat never lands on an imported attempt.
    let third = run_dir(&thrice, &thrice.runs()[8], &layout);
    let mut imported = lab.record(&thrice, "r", 0);
    (imported.status, imported.train, imported.train_id) =
        (results::Status::Imported, None, String::new());
    store::write_record(&third, &imported).unwrap();
    let refused = inspect(&thrice.runs()[8], &third, &Index::scan(&layout)).unwrap_err();
    assert!(refused.to_string().contains("holds an imported attempt"), "{refused}");
}

#[test]
fn a_run_that_would_run_again_says_which_keys_differ() {
    let lab = Lab::new();
    lab.all(&plan(&[]), "r");
    let other = plan(&["schedule.lr=0.002", "schedule.warmup_frac=0.1"]);
    let layout = lab.layout("r");
    let run = &other.runs()[0];
    let refused = inspect(run, &run_dir(&other, run, &layout), &Index::scan(&layout)).unwrap_err();
    let message = refused.to_string();
    assert!(
        message.contains("schedule.lr: 0.003 → 0.002; schedule.warmup_frac: 0.02 → 0.1"),
        "{message}"
    );
}

#[test]
fn a_change_after_an_import_is_a_change_after_results() {
    let lab = Lab::new();
    let tiny = plan(&[]);
    let layout = lab.layout("r");
    lab.all(&tiny, "elsewhere");
    let mut imported = lab.record(&tiny, "elsewhere", 0);
    (imported.status, imported.train, imported.train_id) =
        (results::Status::Imported, None, String::new());
    store::write_record(&run_dir(&tiny, &tiny.runs()[0], &layout), &imported).unwrap();
    let lock = results::Lock::freeze(tiny.declared(), "2026-01-01T00:00:00Z");
    store::write_lock(&layout.lock("tiny"), &lock).unwrap();
    lab.all(&plan(&["report.win.max_std_over_gap=0.9"]), "r");
    let lock = store::read_lock(&layout.lock("tiny")).unwrap().expect("a lock");
    assert_eq!(lock.amendments.len(), 1);
    assert!(lock.amendments[0].after_results);
}

#[test]
fn runs_side_by_side_give_the_same_bytes_also_after_a_stop() {
    let lab = Lab::new();
    let both = plan(&[BOTH, "experiment.repeats=2"]);
    lab.all(&both, "one");
    for (jobs, steps, chunks) in [(3, u64::MAX, u64::MAX), (2, 45, u64::MAX), (4, u64::MAX, 50)] {
        let results = format!("{jobs}");
        let stopped = lab.run_with(&both, &results, (steps, chunks), jobs).outcome.interrupted;
        assert_eq!(stopped, jobs != 3);
        let did = lab.run_with(&both, &results, (u64::MAX, u64::MAX), jobs);
        assert_eq!((did.outcome.interrupted, did.outcome.failed), (false, 0));
        assert_eq!(lab.bytes(&both, &results), lab.bytes(&both, "one"));
    }
}

#[test]
fn an_end_too_early_leaves_configs_that_can_be_compared() {
    let lab = Lab::new();
    let plan = plan(&[]);
    // Two runs of 30 steps, and a step of the third.
    assert!(lab.run(&plan, "r", 61, u64::MAX).outcome.interrupted);
    let runs = plan.runs();
    let states = lab.states(&plan, "r");
    let found = runs.iter().zip(&states).map(|(run, state)| {
        (run.config.name.as_str(), run.seed, state.split(':').next().expect("a word"))
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("geo", 1, "done"),
            ("geo", 2, "resume"),
            ("mix_a0.2", 1, "done"),
            ("mix_a0.2", 2, "todo")
        ]
    );
}

#[test]
fn a_lost_device_fails_one_run_and_not_the_rest_of_the_queue() {
    let lab = Lab::new();
    let plan = plan(&["experiment.seeds=[1, 2, 3, 4, 5, 6]"]);
    let devices = Several::new(vec![Box::new(Dying::after(0)), Box::<Mock>::default()]).unwrap();
    let outcome = lab.outcome_on(&plan, "several", &devices);
    assert_eq!((outcome.finished, outcome.failed, outcome.not_begun), (11, 1, 0));

    // Nothing is left to carry out the others, which are not touched.
    let outcome = lab.outcome_on(&plan, "one", &Dying::after(2));
    assert_eq!((outcome.finished, outcome.failed, outcome.not_begun), (2, 1, 9));
    let outcome = lab.all(&plan, "one").outcome;
    assert_eq!((outcome.found, outcome.finished, outcome.not_begun), (2, 10, 0));
}

#[test]
fn side_by_side_a_second_name_of_one_set_still_waits_for_the_weights_of_the_first() {
    let lab = Lab::new();
    let plan = plan(&[
        "config=[{name=\"geo\", freq=\"geo(theta=10k)\"}, {name=\"again\", freq=\"geo(theta=10k)\"}]",
    ]);
    assert_eq!(plan.runs().len(), 4);
    let mut opened = lab.run_with(&plan, "r", (u64::MAX, u64::MAX), 4).opened;
    opened.sort_unstable();
    assert_eq!(opened, [0, 0, TRAINED, TRAINED]);
}
