//! `xp merge` through the binary: shards together are the whole, nothing is lost or overwritten, and
//! what does not belong together is refused before anything is written.

mod lab;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use lab::Lab;

impl Lab {
    /// Carries it out; what it prints if it fails.
    fn done(&self, args: &[&str]) -> String {
        let output = self.xp(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn run(&self, spec: &str, results: &str, more: &[&str]) {
        self.done(&[&["run", spec, "--results", results, "-q"], more].concat());
    }

    fn merge(&self, sources: &[&str], results: &str) -> Value {
        let args = [&["merge"], sources, &["--results", results, "--json"]].concat();
        serde_json::from_str(&self.done(&args)).expect("JSON")
    }

    /// Refused with this code; what it says. The destination stays as it is.
    fn refused(&self, args: &[&str], results: &str, code: i32) -> String {
        let before = files(&self.path(results));
        let output = self.xp(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert_eq!(files(&self.path(results)), before, "{args:?}");
        said(&output)
    }

    fn write(&self, path: &str, edit: impl FnOnce(String) -> String) {
        let path = self.path(path);
        let text = std::fs::read_to_string(&path).expect("a text file");
        let edited = edit(text.clone());
        assert_ne!(edited, text, "{}", path.display());
        std::fs::write(&path, edited).expect("writable");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below a folder with its bytes; a folder that is not there has none.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let below = path.strip_prefix(dir).expect("below it").to_owned();
                    found.insert(below, std::fs::read(path).expect("readable"));
                }
            }
        }
    }
    found
}

/// How the runs of a merge were taken, in order.
fn taken(merged: &Value) -> Vec<&str> {
    let runs = merged["runs"].as_array().expect("runs").iter();
    runs.map(|run| run["taken"].as_str().expect("a word")).collect()
}

#[test]
fn shards_together_are_the_whole_experiment() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "whole", &[]);
    lab.run(&spec, "a", &["--shard", "1/2"]);
    lab.run(&spec, "b", &["--shard", "2/2"]);
    let sources = [files(&lab.path("a")), files(&lab.path("b"))];
    let dry = lab.done(&["merge", "a", "b", "--results", "all", "--dry-run"]);
    assert!(dry.contains("would be merged") && !lab.path("all").exists(), "{dry}");
    let merged = lab.merge(&["a", "b"], "all");
    assert!(taken(&merged).iter().all(|taken| *taken == "new"), "{merged}");
    assert_eq!([files(&lab.path("a")), files(&lab.path("b"))], sources, "sources stay as they are");

    let plan = lab.done(&["plan", &spec, "--results", "all", "--json"]);
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let states = plan["runs"].as_array().expect("runs").iter().map(|run| &run["state"]);
    assert!(states.clone().count() >= 2 && states.clone().all(|state| state == "done"), "{plan}");
    let table = |results| lab.done(&["report", &spec, "--results", results, "--format", "csv"]);
    assert_eq!(table("all"), table("whole"));
    let results_of = |results: &str| {
        let mut all = files(&lab.path(results));
        let deterministic = ["run.json", "eval.jsonl", "train.jsonl", "weights.safetensors"];
        all.retain(|path, _| deterministic.iter().any(|name| path.ends_with(name)));
        all
    };
    assert_eq!(results_of("all"), results_of("whole"));

    let before = files(&lab.path("all"));
    let again = lab.done(&["merge", "a", "b", "--results", "all"]);
    assert!(again.starts_with("nothing to merge"), "{again}");
    assert_eq!(files(&lab.path("all")), before);
    // Killed between two files: without its record a run is not there, whatever else is.
    std::fs::remove_file(lab.path("all/tiny/geo/seed-1/run.json")).unwrap();
    std::fs::write(lab.path("all/tiny/geo/seed-1/train.jsonl"), "half a li").unwrap();
    lab.done(&["merge", "a", "b", "--results", "all"]);
    assert_eq!(files(&lab.path("all")), before);
    // What stood there without a lock.json was declared nobody knows how.
    let lock = lab.path("all/tiny/lock.json");
    assert!(!std::fs::read_to_string(&lock).unwrap().contains("\"after_results\""));
    std::fs::remove_file(&lock).unwrap();
    std::fs::remove_dir_all(lab.path("all/tiny/geo/seed-1")).unwrap();
    lab.done(&["merge", "a", "b", "--results", "all"]);
    assert!(std::fs::read_to_string(&lock).unwrap().contains("\"after_results\": true"));
}

#[test]
fn an_experiments_folder_is_a_source_too_and_what_one_side_lacks_is_added() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &[]);
    lab.run(&spec, "b", &[]);
    std::fs::remove_file(lab.path("b/tiny/geo/seed-1/weights.safetensors")).unwrap();
    let merged = lab.merge(&["a/tiny"], "b");
    assert_eq!(taken(&merged).iter().filter(|taken| **taken == "completed").count(), 1, "{merged}");
    let weights = |results: &str| {
        std::fs::read(lab.path(&format!("{results}/tiny/geo/seed-1/weights.safetensors"))).unwrap()
    };
    assert_eq!(weights("a"), weights("b"));
    assert!(taken(&lab.merge(&["a/tiny"], "b")).iter().all(|taken| *taken == "already_there"));
    // A record of a version that wrote no hash of the weights is no other training.
    lab.write("b/tiny/geo/seed-1/run.json", |text| {
        let record: Value = serde_json::from_str(&text).unwrap();
        text.replace(&record["train"]["weights"].to_string(), "null")
    });
    assert!(taken(&lab.merge(&["a/tiny"], "b")).iter().all(|taken| *taken == "already_there"));
}

#[test]
fn other_bytes_of_one_run_become_a_further_attempt() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &["--only", "geo", "--seeds", "1"]);
    lab.run(&spec, "b", &["--only", "geo", "--seeds", "1"]);
    // As another device would have it: the same training, another last digit.
    lab.write("b/tiny/geo/seed-1/run.json", |text| {
        let record: Value = serde_json::from_str(&text).unwrap();
        let loss = &record["train"]["final_loss"];
        let other = loss.as_f64().unwrap().next_up().to_string();
        text.replace(&loss.to_string(), &other)
    });
    let before = files(&lab.path("a"));
    let merged = lab.merge(&["b"], "a");
    assert_eq!(taken(&merged), ["further_attempt"]);
    assert_eq!(merged["runs"][0]["attempt"], 2);
    let after = files(&lab.path("a"));
    let kept = before.iter().filter(|(path, _)| !path.ends_with("lock.json"));
    for (path, bytes) in kept {
        assert_eq!(after.get(path), Some(bytes), "{}", path.display());
    }
    let copy = lab.path("a/tiny/geo/seed-1/attempt-2/run.json");
    assert_eq!(
        std::fs::read(copy).unwrap(),
        std::fs::read(lab.path("b/tiny/geo/seed-1/run.json")).unwrap()
    );
    assert_eq!(taken(&lab.merge(&["b"], "a")), ["already_there"]);
    assert_eq!(files(&lab.path("a")), after);
}

#[test]
fn further_lengths_and_seeds_are_added_with_their_declaration() {
    let lab = Lab::new();
    let claim = ("[eval]", "[report.win]\nprimary_length = 128\n\n[eval]");
    let shorter = ("lengths = [64, 128, 256]", "lengths = [64, 128]");
    let short = lab.spec("tiny", &[claim, shorter]);
    let long = lab.spec("long", &[claim, ("seeds = [1, 2]", "seeds = [1, 3]")]);
    lab.run(&short, "a", &[]);
    lab.run(&long, "b", &[]);
    let merged = lab.merge(&["b"], "a");
    let words = taken(&merged);
    assert!(words.contains(&"extended") && words.contains(&"new"), "{merged}");
    let changes = merged["amended"][0]["changes"].to_string();
    assert!(changes.contains("seeds added: 3") && changes.contains("256"), "{changes}");
    let record: Value =
        serde_json::from_slice(&std::fs::read(lab.path("a/tiny/geo/seed-1/run.json")).unwrap())
            .unwrap();
    assert!(record["eval"]["256"]["ppl"].is_f64(), "{record}");
    // The other way round there is nothing to add but the seed.
    let words = lab.merge(&["a"], "b");
    assert!(taken(&words).iter().all(|taken| ["already_there", "new"].contains(taken)), "{words}");
}

#[test]
fn what_is_finished_takes_the_place_of_what_is_not() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &["--only", "geo", "--seeds", "1"]);
    lab.run(&spec, "b", &["--only", "geo", "--seeds", "1"]);
    let run = "a/tiny/geo/seed-1";
    std::fs::remove_file(lab.path(&format!("{run}/run.json"))).unwrap();
    std::fs::create_dir(lab.path(&format!("{run}/checkpoint"))).unwrap();
    std::fs::write(lab.path(&format!("{run}/checkpoint/state")), "of an unfinished run").unwrap();
    // What a merge that was killed may have left.
    std::fs::create_dir(lab.path(&format!("{run}/.xp-merge-tb"))).unwrap();
    assert_eq!(taken(&lab.merge(&["b"], "a")), ["replaced"]);
    let after = files(&lab.path("a"));
    let aside =
        |path: &&PathBuf| path.starts_with("tiny/superseded") && path.ends_with("checkpoint/state");
    assert_eq!(after.keys().filter(aside).count(), 1, "what was there is kept");
    assert!(after.contains_key(Path::new("tiny/geo/seed-1/run.json")));
    assert!(!lab.path(&format!("{run}/.xp-merge-tb")).exists());
    assert!(!lab.path(&format!("{run}/checkpoint")).exists());
    // And not the other way round.
    std::fs::remove_file(lab.path("b/tiny/geo/seed-1/run.json")).unwrap();
    std::fs::create_dir(lab.path("b/tiny/geo/seed-1/checkpoint")).unwrap();
    assert_eq!(taken(&lab.merge(&["b"], "a")), ["less_complete"]);
    assert_eq!(files(&lab.path("a")), after);
}

#[test]
fn other_trainings_sets_and_rules_are_refused_and_nothing_is_written() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &["--seeds", "1"]);
    for (name, edit, expected) in [
        ("rate", ("lr = ", "grad_clip = 0.5\nlr = "), "grad_clip"),
        ("set", ("geo(theta=10k)", "geo(theta=20k)"), "frequencies of geo changed"),
        ("rule", ("[eval]", "[report.win]\nmax_std_over_gap = 0.9\n\n[eval]"), "the rules differ"),
        ("text", ("max_tokens = 8000", "max_tokens = 9000"), "the evaluation differs"),
        ("steps", ("max_steps = 30", "max_steps = 31"), "max_steps"),
    ] {
        let other = lab.spec(name, &[edit]);
        lab.run(&other, name, &["--seeds", "1"]);
        let text = lab.refused(&["merge", name, "--results", "a"], "a", 4);
        assert!(text.contains(expected) && text.contains("nothing was written"), "{name}: {text}");
    }
    // Two sources that contradict each other: the destination is not even made.
    let text = lab.refused(&["merge", "a", "set", "--results", "new"], "new", 4);
    assert!(text.contains("frequencies of geo changed"), "{text}");
    assert!(!lab.path("new").exists());
}

#[test]
fn damaged_files_are_left_out_and_named() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &["--only", "geo"]);
    lab.write("a/tiny/geo/seed-1/run.json", |text| text[..text.len() / 2].to_owned());
    let output = lab.xp(&["merge", "a", "--results", "all", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        said(&output).contains("tiny/geo/seed-1/run.json is left out: damaged"),
        "{}",
        said(&output)
    );
    let merged: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(taken(&merged), ["new"], "the rest is taken");
    assert_eq!(merged["problems"][0]["path"], "tiny/geo/seed-1/run.json");
    assert!(lab.path("all/tiny/geo/seed-2/run.json").exists());
    assert!(!lab.path("all/tiny/geo/seed-1").exists());
}

#[test]
fn a_copy_that_was_cut_off_is_left_out_and_what_one_left_is_made_whole() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &["--only", "geo", "--seeds", "1"]);
    let run = "tiny/geo/seed-1";
    let cut = |path: &Path, lines: bool| {
        let bytes = std::fs::read(path).unwrap();
        let half = bytes.len() / 2;
        let end =
            if lines { bytes[..half].iter().rposition(|b| *b == b'\n').unwrap() + 1 } else { half };
        std::fs::write(path, &bytes[..end]).unwrap();
    };
    let merge = |source: &str, results: &str| lab.merge(&[source], results);
    for (i, (file, lines, said_of)) in [
        ("train.jsonl", true, "it is not the log whose hash run.json has"),
        ("train.jsonl", false, "it is not the log whose hash run.json has"),
        ("eval.jsonl", true, "chunks of length 128 that run.json has"),
        ("eval.jsonl", false, "damaged"),
        ("weights.safetensors", false, "its header describes "),
    ]
    .into_iter()
    .enumerate()
    {
        let (part, all) = (format!("part{i}"), format!("all{i}"));
        let whole = files(&lab.path(&format!("a/{run}")));
        merge("a", &part);
        let torn = format!("{part}/{run}/{file}");
        cut(&lab.path(&torn), lines);
        let output = lab.xp(&["merge", &part, "--results", &all]);
        assert_eq!(output.status.code(), Some(4), "{torn}: {}", said(&output));
        let told = said(&output);
        assert!(told.contains(&format!("{run}/{file} is left out: ")), "{told}");
        assert!(told.contains(said_of) && told.contains("copy the run once more"), "{told}");
        // What stands in the destination is made whole, also where another machine carried it out.
        let merged = merge("a", &part);
        assert_eq!(taken(&merged), ["completed"], "{torn}");
        assert!(files(&lab.path(&format!("{part}/{run}"))) == whole, "{torn}");
        assert_eq!(taken(&merge("a", &part)), ["already_there"]);
        if said_of != "damaged" {
            cut(&lab.path(&torn), lines);
            lab.write(&format!("{part}/{run}/provenance.json"), |text| {
                text.replace("start", "begin")
            });
            assert!(["completed", "extended"].contains(&taken(&merge("a", &part))[0]), "{torn}");
            let made = std::fs::read(lab.path(&torn)).unwrap();
            assert!(made == std::fs::read(lab.path(&format!("a/{run}/{file}"))).unwrap(), "{torn}");
        }
    }
}

#[test]
fn folders_that_are_no_sources_are_refused_in_words() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &["--only", "geo", "--seeds", "1"]);
    std::fs::create_dir(lab.path("empty")).unwrap();
    std::fs::rename(lab.path("a/tiny"), lab.path("renamed")).unwrap();
    std::fs::create_dir(lab.path("b")).unwrap();
    for (args, expected) in [
        (&["merge"][..], "DIR"),
        (&["merge", "none"], "`none` is not there"),
        (&["merge", "tiny.toml"], "`tiny.toml` is not a folder"),
        (&["merge", "empty"], "`empty` holds no results"),
        (&["merge", "renamed"], "`renamed` holds experiment tiny: give the folder that name again"),
    ] {
        let text = lab.refused(args, "results", 2);
        assert!(text.contains(expected), "{args:?}: {text}");
    }
    std::fs::rename(lab.path("renamed"), lab.path("a/tiny")).unwrap();
    for (args, expected) in [
        (&["merge", "a", "--results", "a"][..], "`a` is the destination itself"),
        (&["merge", "a/tiny", "--results", "a"], "`a/tiny` is the destination itself"),
        (&["merge", "a", "./a/../a", "--results", "b"], "are, or hold, the same"),
        (&["merge", "a", "a/tiny", "--results", "b"], "are, or hold, the same"),
        (&["merge", "a", "--results", "a/tiny/deeper"], "lie in each other"),
    ] {
        let text = lab.refused(args, "a", 2);
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_or_an_experiment_that_is_held_stops_the_merge() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.run(&spec, "a", &["--only", "geo", "--seeds", "1"]);
    lab.run(&spec, "b", &["--only", "geo", "--seeds", "2"]);
    for (file, place) in [("a/tiny/geo/seed-1/.lock", "geo/seed-1"), ("b/tiny/.guard", "b/tiny")] {
        let lock = xp::fs::try_lock(&lab.path(file)).unwrap().expect("free");
        let text = lab.refused(&["merge", "a", "--results", "b"], "b", 4);
        assert!(text.contains("another xp process is at") && text.contains(place), "{text}");
        drop(lock);
    }
    assert_eq!(taken(&lab.merge(&["a"], "b")), ["new"]);
}
