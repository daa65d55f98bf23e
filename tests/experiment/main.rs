//! Whole experiments through the binary: same bytes for any thread count and after kills,
//! nothing trained twice, nothing overwritten; and what the machine around them does.

mod foregone;
#[path = "../lab/mod.rs"]
mod lab;
#[cfg(unix)]
mod surroundings;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use lab::Lab;

impl Lab {
    fn run(&self, spec: &str, results: &str, more: &[&str]) -> Output {
        let mut args = vec!["run", spec, "--results", results];
        args.extend(more);
        self.xp(&args)
    }

    fn plan(&self, spec: &str, results: &str) -> Value {
        let output = self.xp(&["plan", spec, "--results", results, "--json"]);
        serde_json::from_slice(&output.stdout).expect("plan prints JSON")
    }

    fn states(&self, spec: &str, results: &str) -> Vec<String> {
        let plan = self.plan(spec, results);
        let runs = plan["runs"].as_array().expect("runs").iter();
        runs.map(|run| run["state"].as_str().expect("a word").to_owned()).collect()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(path)).expect(path)).expect("JSON")
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The bytes that must be a function of the ids, by path below `dir`.
fn digest(dir: &Path) -> BTreeMap<String, blake3::Hash> {
    let mut found = BTreeMap::new();
    collect(dir, dir, &mut found);
    found
}

fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<String, blake3::Hash>) {
    let deterministic = ["run.json", "eval.jsonl", "train.jsonl", "weights.safetensors"];
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if deterministic.contains(&path.file_name().unwrap().to_str().unwrap()) {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, blake3::hash(&std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn one_two_and_four_threads_give_the_same_bytes() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    for threads in ["1", "2", "4"] {
        let output = lab.run(&spec, threads, &["--threads", threads]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    let one = digest(&lab.path("1"));
    assert_eq!(one.len(), 16);
    assert_eq!(one, digest(&lab.path("2")));
    assert_eq!(one, digest(&lab.path("4")));
}

#[test]
fn runs_side_by_side_give_the_same_bytes_and_end_as_one_at_a_time_does() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    assert_eq!(code(&lab.run(&spec, "one", &["--jobs", "1"])), 0);
    let want = digest(&lab.path("one"));
    for (jobs, threads) in [("2", "1"), ("3", "2"), ("9", "3")] {
        let results = format!("jobs-{jobs}");
        let output = lab.run(&spec, &results, &["-j", jobs, "--threads", threads]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(digest(&lab.path(&results)), want, "{jobs} jobs");
    }
    let path = "jobs-3/tiny/geo/seed-1/provenance.json";
    assert_eq!(lab.json(path)["jobs"], 3);

    let hot = "lr = 1e6\ngrad_clip = 1e30\nweight_decay = 1000\nwarmup_frac = 0";
    let spec = lab.spec("bad", &[("lr = 3e-3", hot)]);
    let output = lab.run(&spec, "bad", &["--jobs", "2"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("4 of 4 runs diverged"), "{}", stderr(&output));
}

#[test]
fn the_number_of_runs_side_by_side_is_measured_where_that_costs_little() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[("max_steps = 30", "max_steps = 400"), ("= 40000", "= 400000")]);
    let output = lab.run(&spec, "measured", &["--threads", "2"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("at a time: ") && told.contains("--jobs N chooses"), "{told}");
    let output = lab.run(&spec, "given", &["--jobs", "1"]);
    assert!(!stderr(&output).contains("at a time"));
    assert_eq!(digest(&lab.path("measured")), digest(&lab.path("given")));
}

#[test]
fn the_peak_of_memory_is_what_the_plan_predicts() {
    let lab = Lab::new();
    let edits = [
        ("vocab_size = 256", "vocab_size = 8000"),
        ("seq_len = 64", "seq_len = 512"),
        ("max_steps = 30", "max_steps = 2"),
        ("lengths = [64, 128, 256]", "lengths = [1024]"),
        ("chunks = 4", "chunks = 1"),
    ];
    let spec = lab.spec("memory", &edits);
    // What makes the tokens is another process.
    assert_eq!(code(&lab.run(&spec, "first", &["--only", "geo", "--seeds", "1"])), 0);
    let output = lab.run(&spec, "second", &["--only", "geo", "--seeds", "1"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let Some(peak) =
        lab.json("second/tiny/geo/seed-1/provenance.json")["peak_memory_bytes"].as_f64()
    else {
        eprintln!("skipped: this system does not tell a process its peak of memory");
        return;
    };
    let plan = lab.plan(&spec, "second");
    let predicted = plan["protocols"][0]["peak_memory_bytes"].as_f64().expect("a prediction");
    let ratio = predicted / peak;
    assert!((ratio - 1.0).abs() < 0.15, "predicted {predicted}, was {peak}");
}

#[test]
fn what_is_done_is_not_done_again_and_a_length_only_evaluates() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
    let before = digest(&lab.path("r"));
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
    assert_eq!(digest(&lab.path("r")), before);
    assert_eq!(lab.states(&spec, "r"), ["done"; 4]);

    let more = lab
        .spec("more", &[("[64, 128, 256]", "[64, 128, 256, 512]"), ("chunks = 4", "chunks = 6")]);
    assert_eq!(lab.states(&more, "r"), ["evaluate"; 4]);
    assert_eq!(code(&lab.run(&more, "r", &[])), 0);
    let after = digest(&lab.path("r"));
    for (path, hash) in &before {
        let same = after[path] == *hash;
        assert_eq!(same, !path.ends_with("run.json") && !path.ends_with("eval.jsonl"), "{path}");
    }
    assert_eq!(lab.states(&more, "r"), ["done"; 4]);
    // The smaller evaluation is still covered, and nothing of it was lost.
    assert_eq!(lab.states(&spec, "r"), ["done"; 4]);
    let record = lab.json("r/tiny/geo/seed-1/run.json");
    assert_eq!(record["eval"]["64"]["chunks"], 6);
    assert!(record["eval"]["512"]["ppl"].is_number());
    // The same evaluation made in one go has the same bytes.
    assert_eq!(code(&lab.run(&more, "once", &[])), 0);
    assert_eq!(digest(&lab.path("once")), after);
    // What was added after results existed is on record.
    let lock = lab.json("r/tiny/lock.json");
    assert_eq!(lock["amendments"].as_array().expect("amendments").len(), 1);
    assert_eq!(lock["amendments"][0]["after_results"], true);
    assert_eq!(lock["after_results"], Value::Null);
    // So is that nothing says what was declared before them.
    std::fs::remove_file(lab.path("r/tiny/lock.json")).unwrap();
    let output = lab.run(&more, "r", &[]);
    assert_eq!(lab.json("r/tiny/lock.json")["after_results"], true);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Nothing can be claimed: its lock.json was written after"), "{text}");
}

#[test]
fn another_protocol_or_frequency_set_under_the_same_name_is_refused() {
    let lab = Lab::new();
    assert_eq!(code(&lab.run(&lab.spec("tiny", &[]), "r", &[])), 0);
    let before = digest(&lab.path("r"));
    let lr = lab.spec("lr", &[("lr = 3e-3", "lr = 1e-3")]);
    let output = lab.run(&lr, "r", &[]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("schedule.lr"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--name"), "{}", stderr(&output));
    let freq = lab.spec("freq", &[("freq = \"geo(theta=10k)\"", "freq = \"geo(theta=20k)\"")]);
    let output = lab.run(&freq, "r", &[]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("geo"), "{}", stderr(&output));
    let recip =
        lab.spec("recip", &[("vocab_size = 256", "vocab_size = 256\nrope_dtype = \"f32-recip\"")]);
    let output = lab.run(&recip, "r", &[]);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert!(stderr(&output).contains("rope_dtype"), "{}", stderr(&output));
    let data = lab.spec("data", &[("max_tokens = 8000", "max_tokens = 9000")]);
    let output = lab.run(&data, "r", &[]);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert!(stderr(&output).contains("max_tokens"), "{}", stderr(&output));
    assert_eq!(digest(&lab.path("r")), before);

    // As an xp with another arithmetic would have left it: other numbers for one expression.
    let path = lab.path("r/tiny/geo/seed-1/run.json");
    let text = std::fs::read_to_string(&path).expect("there");
    let record = lab.json("r/tiny/geo/seed-1/run.json");
    let (train_id, vec_id) = (&record["train_id"], &record["freq"]["vec_id"]);
    let other = |id: &Value| id.as_str().expect("an id").chars().rev().collect::<String>();
    let changed = text
        .replace(train_id.as_str().expect("an id"), &other(train_id))
        .replace(vec_id.as_str().expect("an id"), &other(vec_id));
    std::fs::write(&path, changed).expect("writable");
    let output = lab.run(&lab.spec("tiny", &[]), "r", &[]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("gives other numbers than then"), "{}", stderr(&output));
    std::fs::write(&path, text).expect("writable");

    assert_eq!(code(&lab.run(&lr, "r", &["--name", "tiny_lr"])), 0);
    assert_eq!(digest(&lab.path("r")).len(), 2 * before.len());
    assert_eq!(code(&lab.run(&lr, "r", &["--supersede"])), 0);
    let superseded = std::fs::read_dir(lab.path("r/tiny/superseded")).expect("moved there");
    assert_eq!(superseded.count(), 4);
    assert_eq!(lab.states(&lr, "r"), ["done"; 4]);
}

#[test]
fn the_same_training_under_another_name_is_taken_over() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
    let again = lab.spec("again", &[("name = \"tiny\"", "name = \"again\"")]);
    assert_eq!(lab.states(&again, "r"), ["evaluate"; 4]);
    assert_eq!(code(&lab.run(&again, "r", &[])), 0);
    let provenance = lab.json("r/again/geo/seed-1/provenance.json");
    assert_eq!(provenance["source"], "trained as tiny/geo/seed-1");
    assert_eq!(provenance["attempts"][0]["outcome"], "taken-over");
    let of = |name: &str, file: &str| {
        std::fs::read(lab.path(&format!("r/{name}/geo/seed-2/{file}"))).expect("there")
    };
    for file in ["weights.safetensors", "train.jsonl", "eval.jsonl"] {
        assert_eq!(of("tiny", file), of("again", file), "{file}");
    }
}

#[test]
fn two_names_of_one_set_are_trained_once() {
    let lab = Lab::new();
    let twins = lab.spec(
        "twins",
        &[
            ("name = \"mix_a{{ alpha }}\"", "name = \"geo_again{{ '' }}\""),
            (
                "mix(geo(theta=10k), anchored_poly(theta=10k, p=3.9, omf=0.3), alpha={{ alpha }})",
                "geo(theta=1e4)",
            ),
        ],
    );
    let check = lab.xp(&["check", &twins]);
    assert!(stderr(&check).contains("freq::same-set"), "{}", stderr(&check));
    assert_eq!(code(&lab.run(&twins, "r", &[])), 0);
    let provenance = lab.json("r/tiny/geo_again/seed-1/provenance.json");
    assert_eq!(provenance["source"], "trained as tiny/geo/seed-1");
}

/// Kills `xp run` once `train.jsonl` has `lines` lines; whether it was still running.
fn kill_after(lab: &Lab, spec: &str, results: &str, log: &Path, lines: usize) -> bool {
    let mut child = lab
        .command(&["run", spec, "--results", results])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("xp runs");
    let have = || std::fs::read_to_string(log).map_or(0, |text| text.matches('\n').count());
    // Bounded by the run itself: it ends with all its lines written.
    while child.try_wait().expect("a child").is_none() && have() < lines {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let running = child.try_wait().expect("a child").is_none();
    child.kill().ok();
    child.wait().expect("a child");
    running
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let lab = Lab::new();
    let spec = lab.spec(
        "big",
        &[
            ("seeds = [1, 2]", "seeds = [1]"),
            ("max_steps = 30", "max_steps = 500"),
            ("max_tokens = 40000", "max_tokens = 300000"),
            ("[eval]", "[output]\ncheckpoint_every_steps = 40\n\n[eval]"),
            // Two kinds of layers, one of which rotates half of each head.
            (
                "freq = \"geo(theta=10k)\"",
                "freq = { local = \"partial(geo(theta=10k), pct=0.5)\", global = \"attn(geo(), \
                 scale=1.2)\", pattern = \"LG\" }",
            ),
        ],
    );
    assert_eq!(code(&lab.run(&spec, "whole", &[])), 0);
    let log = lab.path("killed/tiny/geo/seed-1/train.jsonl");
    let kills = [90, 210, 330].map(|lines| kill_after(&lab, &spec, "killed", &log, lines));
    assert_eq!(lab.states(&spec, "killed")[0], "resume");
    assert_eq!(code(&lab.run(&spec, "killed", &[])), 0);
    assert!(kills.iter().filter(|&&k| k).count() >= 2, "{kills:?}");
    assert_eq!(digest(&lab.path("killed")), digest(&lab.path("whole")));
    let attempts = lab.json("killed/tiny/geo/seed-1/provenance.json")["attempts"].clone();
    let attempts = attempts.as_array().expect("attempts");
    assert_eq!(attempts[0]["outcome"], "killed");
    assert!(attempts.last().unwrap()["from_step"].as_u64().unwrap() >= 200, "{attempts:?}");
    assert!(!lab.path("killed/tiny/geo/seed-1/checkpoint").exists());
}

/// A schedule that no training survives.
const DIVERGES: &str = "lr = 1e6\ngrad_clip = 1e30\nweight_decay = 1000\nwarmup_frac = 0";

#[test]
fn a_run_answers_with_one_json_object() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[("max_steps = 30", "max_steps = 2")]);
    let json = |more: &[&str]| -> Value {
        let output = lab.run(&spec, "r", &[&["--json"], more].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("one object")
    };
    let before = json(&["--dry-run", "--seeds", "2"]);
    let paths = ["r/tiny/geo/seed-2", "r/tiny/mix_a0.2/seed-2"];
    for (run, path) in before["runs"].as_array().unwrap().iter().zip(paths) {
        assert_eq!((run["state"].as_str(), run["path"].as_str()), (Some("todo"), Some(path)));
    }
    let report = json(&[]);
    let printed = lab.xp(&["report", &spec, "--results", "r", "--json"]);
    assert_eq!(report, serde_json::from_slice::<Value>(&printed.stdout).unwrap());
}

#[test]
fn a_diverged_run_says_so_and_counts_as_missing() {
    let lab = Lab::new();
    let spec = lab.spec("hot", &[("lr = 3e-3", DIVERGES)]);
    let output = lab.run(&spec, "r", &["--quiet"]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("geo seed 1: diverged at step"), "{}", stderr(&output));
    let record = lab.json("r/tiny/geo/seed-1/run.json");
    assert_eq!(record["status"], "diverged");
    assert!(record["train"]["final_loss"].is_null());
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("INCOMPLETE"), "{table}");
    assert_eq!(lab.states(&spec, "r"), ["done"; 4]);
}

#[test]
fn an_experiment_sweep_has_a_folder_a_point() {
    let lab = Lab::new();
    let spec =
        lab.spec("swept", &[("[eval]", "[sweep.grid]\n\"schedule.lr\" = [1e-3, 3e-3]\n\n[eval]")]);
    let plan = lab.plan(&spec, "r");
    assert_eq!(plan["protocols"].as_array().unwrap().len(), 2);
    assert_eq!(plan["runs"].as_array().unwrap().len(), 8);
    assert_eq!(code(&lab.run(&spec, "r", &["--shard", "1/2"])), 0);
    assert_eq!(lab.states(&spec, "r").iter().filter(|s| *s == "done").count(), 4);
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
    assert!(lab.path("r/tiny/lr=0.001/geo/seed-1/run.json").exists());
    assert!(lab.path("r/tiny/lr=0.003/mix_a0.2/seed-2/run.json").exists());
}

#[test]
fn bad_input_at_run_time_writes_nothing() {
    let lab = Lab::new();
    let data = lab.path("text.txt");
    std::fs::write(&data, "Once there was a cat.\n<|endoftext|>\n").unwrap();
    let files = |text: &str| format!("[data.validation]\nfiles = \"{text}\"");
    let short = lab.spec("short", &[("[data.validation]", &files("text.txt"))]);
    let output = lab.run(&short, "r", &[]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("not one chunk of length 64"), "{}", stderr(&output));
    std::fs::write(&data, b"caf\xe9\n<|endoftext|>\n").unwrap();
    let output = lab.run(&short, "r", &[]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let bf16 = lab.spec("bf16", &[("lr = 3e-3", "lr = 3e-3\nprecision = \"bf16\"")]);
    assert_eq!(code(&lab.xp(&["check", &bf16])), 0);
    let output = lab.run(&bf16, "r", &[]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("bf16"), "{}", stderr(&output));
    for (args, exit) in [
        (&["--seeds", "9"][..], 2),
        (&["--only", "nothing*"], 2),
        (&["--shard", "3/2"], 2),
        (&["--device", "cuda"], 3),
        (&["--threads", "0"], 2),
    ] {
        let output = lab.run(&lab.spec("tiny", &[]), "r", args);
        assert_eq!(code(&output), exit, "{args:?}: {}", stderr(&output));
    }
    assert!(!lab.path("r").exists());
}

#[test]
fn a_failed_run_says_why_also_when_quiet_and_the_others_are_carried_out() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let provenance = lab.path("r/tiny/geo/seed-1/provenance.json");
    std::fs::create_dir_all(&provenance).unwrap();
    let output = lab.run(&spec, "r", &["--quiet"]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let told = stderr(&output);
    let why = "geo seed 1: failed: cannot read `r/tiny/geo/seed-1/provenance.json`: ";
    assert!(told.contains(why) && told.ends_with("error: 1 of 4 runs failed\n"), "{told}");
    std::fs::remove_dir(&provenance).unwrap();
    assert_eq!(lab.states(&spec, "r"), ["todo", "done", "done", "done"]);
    let output = lab.run(&spec, "r", &["--quiet"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

#[test]
fn a_run_locked_by_another_process_is_left_alone() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let lock = lab.path("r/tiny/geo/seed-1/.lock");
    let held = xp::fs::try_lock(&lock).unwrap().expect("free");
    let output = lab.run(&spec, "r", &["--quiet"]);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("geo seed 1: another process is at it"),
        "{}",
        stderr(&output)
    );
    assert_eq!(lab.states(&spec, "r"), ["todo", "done", "done", "done"]);
    drop(held);
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
}

#[test]
fn without_weights_an_added_length_trains_again_and_loses_nothing() {
    let lab = Lab::new();
    let drop = ("[eval]", "[output]\nkeep_weights = false\n\n[eval]");
    let spec = lab.spec("tiny", &[drop]);
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
    assert!(!lab.path("r/tiny/geo/seed-1/weights.safetensors").exists());
    let other = lab.spec("other", &[drop, ("[64, 128, 256]", "[64, 512]")]);
    assert_eq!(lab.states(&other, "r"), ["todo"; 4]);
    assert_eq!(code(&lab.run(&other, "r", &[])), 0);
    let record = lab.json("r/tiny/geo/seed-1/run.json");
    for length in ["64", "128", "256", "512"] {
        assert!(record["eval"][length]["ppl"].is_number(), "{length}");
    }
    assert_eq!(lab.states(&spec, "r"), ["done"; 4]);
}

#[test]
fn the_evaluations_of_two_trainings_are_not_put_together() {
    let lab = Lab::new();
    let drop = ("[eval]", "[output]\nkeep_weights = false\n\n[eval]");
    let spec = lab.spec("tiny", &[drop]);
    let longer = lab.spec("longer", &[drop, ("[64, 128, 256]", "[64, 512]")]);
    let one = ["--only", "geo", "--seeds", "1"];
    assert_eq!(code(&lab.run(&spec, "r", &one)), 0);
    let edit = |file: &str, from: &str, to: &str| {
        let path = lab.path(&format!("r/tiny/geo/seed-1/{file}"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    };
    let record = || std::fs::read(lab.path("r/tiny/geo/seed-1/run.json")).unwrap();
    let refused = |expected: &str| {
        let before = record();
        let output = lab.run(&longer, "r", &one);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 4, "{text}");
        assert!(text.contains(expected), "{text}");
        assert_eq!(record(), before, "{expected}");
    };
    // Known before it is trained: another device class would have other bits.
    edit("provenance.json", "\"device_class\": \"cpu ", "\"device_class\": \"gpu ");
    refused("the training of `");
    edit("provenance.json", "\"device_class\": \"gpu ", "\"device_class\": \"cpu ");
    // Known at the first step that is another; the former steps stay.
    let log = || std::fs::read_to_string(lab.path("r/tiny/geo/seed-1/train.jsonl")).unwrap();
    let whole = log();
    let line = whole.lines().nth(1).expect("a second step");
    let other = line.replace("\"loss\":", "\"loss\":1");
    edit("train.jsonl", line, &other);
    refused("step 1: loss 1");
    assert_eq!(log(), whole.replace(line, &other));
    edit("train.jsonl", &other, line);
    // Known once it is trained: as if the former training had come to other weights.
    let hash = lab.json("r/tiny/geo/seed-1/run.json")["train"]["weights"].clone();
    let hash = hash.as_str().expect("the hash of the weights");
    edit("run.json", hash, &"0".repeat(64));
    refused(&format!("weights: \"{}\" -> \"{hash}\"", "0".repeat(64)));
    refused("results of two trainings are not put together");
    assert_eq!(code(&lab.run(&longer, "r", &[&one[..], &["--force"]].concat())), 0);
    let forced = lab.json("r/tiny/geo/seed-1/run.json");
    assert_eq!(forced["train"]["weights"], hash);
    assert_eq!(log(), whole);
    let lengths: Vec<_> = forced["eval"].as_object().unwrap().keys().collect();
    assert_eq!(lengths, ["64", "512"], "the chunks of the other training are gone");
    // A record of a version that wrote no hash contradicts nothing.
    edit("run.json", &format!("\"{hash}\""), "null");
    assert_eq!(code(&lab.run(&spec, "r", &one)), 0);
    assert_eq!(lab.json("r/tiny/geo/seed-1/run.json")["train"]["weights"], hash);
}

#[test]
fn damaged_weights_are_not_evaluated() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let longer = lab.spec("longer", &[("[64, 128, 256]", "[64, 512]")]);
    let one = ["--only", "geo", "--seeds", "1"];
    assert_eq!(code(&lab.run(&spec, "r", &one)), 0);
    let path = lab.path("r/tiny/geo/seed-1/weights.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() - 4] ^= 1;
    for (bytes, why) in [(&changed[..], "their hash is "), (&whole[..5000], "the file has 5000")] {
        std::fs::write(&path, bytes).unwrap();
        let output = lab.run(&longer, "r", &one);
        let text = stderr(&output);
        assert_eq!(code(&output), 4, "{text}");
        let said = "does not hold the weights that run.json says were trained";
        assert!(text.contains(said) && text.contains(why), "{text}");
    }
    // As it says: without the file the run is trained again.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code(&lab.run(&longer, "r", &one)), 0);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

/// Perplexities of one run by length, as trained or under a transform.
fn ppl(record: &Value, transform: Option<&str>, length: &str) -> f64 {
    let eval = transform.map_or(&record["eval"], |transform| &record["transforms"][transform]);
    eval[length]["ppl"].as_f64().unwrap_or_else(|| panic!("{transform:?} {length}: {record}"))
}

/// The tiny spec as one config with these frequencies, on weights that no step changes.
fn frozen(lab: &Lab, name: &str, weights: &str, freq: &str) -> Value {
    let (from, is) =
        (format!("vocab_size = 256\ninit_from = \"{weights}\""), format!("freq = {freq}"));
    let edits = [
        ("name = \"tiny\"", "name = \"frozen\""),
        ("seeds = [1, 2]", "seeds = [1]"),
        ("vocab_size = 256", from.as_str()),
        ("max_steps = 30", "max_steps = 1"),
        ("lr = 3e-3", "lr = 0"),
        ("freq = \"geo(theta=10k)\"", is.as_str()),
    ];
    let spec = lab.spec(name, &edits);
    let output = lab.run(&spec, name, &["--only", "geo"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    lab.json(&format!("{name}/frozen/geo/seed-1/run.json"))
}

#[test]
fn a_transform_evaluates_the_trained_weights_with_other_frequencies() {
    let lab = Lab::new();
    let transform = "chunks = 4\ntransform = [\"geo(theta=20k)\", \"scale({trained}, c=0.5)\"]";
    let spec = lab.spec("with", &[("chunks = 4", transform)]);
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
    let record = lab.json("r/tiny/geo/seed-1/run.json");
    let weights = "r/tiny/geo/seed-1/weights.safetensors";
    for (i, (freq, transform)) in [
        ("geo(theta=10k)", None),
        ("geo(theta=20k)", Some("geo@1(theta=20000, grid=std)")),
        ("scale(geo(theta=10k), c=0.5)", Some("scale@1({trained}, c=0.5)")),
    ]
    .into_iter()
    .enumerate()
    {
        let other = frozen(&lab, &format!("f{i}"), weights, &format!("\"{freq}\""));
        for length in ["64", "128", "256"] {
            assert_eq!(ppl(&record, transform, length), ppl(&other, None, length), "{freq}");
        }
    }
    assert_ne!(ppl(&record, None, "64"), ppl(&record, Some("scale@1({trained}, c=0.5)"), "64"));
    let lines = std::fs::read_to_string(lab.path("r/tiny/geo/seed-1/eval.jsonl")).expect("there");
    assert_eq!(lines.matches('\n').count(), 3 * 3 * 4);
    // As trained first, so a plain evaluation is the beginning of the file.
    assert_eq!(lines.lines().take_while(|line| !line.contains("\"transform\"")).count(), 3 * 4);
}
