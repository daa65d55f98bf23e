//! `xp show` and the event files of runs: in one go, while they run, after a kill.

mod lab;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use lab::Lab;

impl Lab {
    fn show(&self, args: &[&str]) -> String {
        let output = self.xp(&[&["show"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, what: &str) -> Value {
        serde_json::from_str(&self.show(&[what, "--json"])).expect("one object")
    }

    fn read(&self, path: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(path)).expect(path)).expect("JSON")
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("xp runs")
    }

    /// Waits until a log has so many lines; the child must then still be running.
    fn wait_for(&self, child: &mut Child, log: &str, lines: usize) {
        let log = self.path(log);
        let have = || std::fs::read_to_string(&log).map_or(0, |text| text.matches('\n').count());
        let until = Instant::now() + Duration::from_mins(2);
        while have() < lines && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(child.try_wait().expect("a child").is_none(), "it was over too soon");
    }
}

const LONG: [(&str, &str); 4] = [
    ("seeds = [1, 2]", "seeds = [1]"),
    ("max_steps = 30", "max_steps = 800"),
    ("max_tokens = 40000", "max_tokens = 500000"),
    ("[eval]", "[output]\ncheckpoint_every_steps = 40\n\n[eval]"),
];

fn states(json: &Value) -> Vec<String> {
    let runs = json["runs"].as_array().expect("runs").iter();
    runs.map(|run| run["state"].as_str().expect("a word").to_owned()).collect()
}

fn assert_narrow(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn an_experiment_and_a_run_are_told_from_their_files() {
    let lab = Lab::new();
    let spec = lab.spec(
        "tiny",
        &[(
            "[eval]",
            "[eval]\ntransform = [{ name = \"pi4\", freq = \"pi({trained}, factor=4)\" }]",
        )],
    );
    let before = lab.json(&spec);
    assert_eq!(states(&before), ["todo"; 4]);
    assert_eq!(before["next"], "xp run tiny.toml");
    assert!(!lab.show(&[&spec]).contains("loss"), "nothing to say of it yet");
    assert_eq!(lab.xp(&["run", &spec, "--only", "geo"]).status.code(), Some(0));
    let half = lab.json("results/tiny");
    assert_eq!(states(&half), ["done", "done", "todo", "todo"]);
    assert_eq!(half["counts"], serde_json::json!({"todo": 2, "done": 2}));
    assert_eq!(lab.xp(&["run", &spec]).status.code(), Some(0));

    // Without the spec, by the name under the results directory, and by a file of it.
    let all = lab.json("results/tiny");
    for what in ["tiny", "results", "results/tiny/lock.json"] {
        assert_eq!(states(&lab.json(what)), states(&all), "{what}");
    }
    assert_eq!(states(&all), ["done"; 4]);
    let text = lab.show(&["results/tiny"]);
    assert_narrow(&text);
    assert!(text.starts_with("tiny: 4 runs in results/tiny\n"), "{text}");
    for word in ["config", "PPL@64", "PPL@256", "4 done", "judge: xp report results/tiny"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains('\x1b'), "no colours in a pipe");

    let folder = "results/tiny/geo/seed-2";
    let run = lab.json(folder)["run"].clone();
    let record = lab.read(&format!("{folder}/run.json"));
    assert_eq!((&run["state"], &run["steps"]), (&"done".into(), &30.into()));
    assert_eq!((&run["config"], &run["seed"]), (&"geo".into(), &2.into()));
    assert_eq!((&run["eval"], &run["train_id"]), (&record["eval"], &record["train_id"]));
    assert_eq!(run["losses"].as_array().expect("losses").len(), 30);
    assert_eq!(lab.json(&format!("{folder}/run.json"))["run"], run);
    let text = lab.show(&[folder]);
    assert_narrow(&text);
    for word in [
        "tiny/geo seed 2",
        "done after 30 steps",
        "geo@1(theta=10000",
        "loss (nats",
        "kept",
        "under ",
        "done",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }

    // One more length, and data that is not here.
    let more = lab.spec("more", &[("[64, 128, 256]", "[64, 128, 256, 512]")]);
    let output = lab.json(&more);
    assert_eq!(states(&output), ["evaluate"; 4]);
    assert!(output["runs"][0]["reason"].as_str().expect("words").contains("length 512"));
    let gone =
        lab.spec("gone", &[("[data.validation]", "[data.validation]\nfiles = \"gone.txt\"")]);
    assert_eq!(states(&lab.json(&gone)), ["done"; 4]);

    // Another learning rate under the same name: what lies there is not of this spec.
    let other = lab.spec("other", &[("lr = 3e-3", "lr = 1e-3")]);
    let json = lab.json(&other);
    assert_eq!(states(&json), ["conflict"; 4]);
    assert!(json["runs"][0]["eval"].is_null());
    assert_narrow(&lab.show(&[&other]));

    // Damage is told, not passed over; an empty folder of a seed is nothing yet.
    std::fs::write(lab.path(&format!("{folder}/run.json")), "{").expect("writable");
    let run = lab.json(folder)["run"].clone();
    assert_eq!(run["state"], "failed");
    assert!(run["reason"].as_str().expect("words").contains("is damaged"), "{run}");
    assert_narrow(&lab.show(&[folder]));
    std::fs::create_dir_all(lab.path("elsewhere/seed-1")).expect("writable");
    assert_eq!(lab.json("elsewhere/seed-1")["run"]["state"], "todo");
}

#[test]
fn a_run_is_followed_while_it_runs_and_after_it_was_killed() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &LONG);
    let folder = "results/tiny/geo/seed-1";
    let log = format!("{folder}/train.jsonl");
    let mut child = lab.start(&["run", &spec, "--jobs", "1"]);
    lab.wait_for(&mut child, &log, 60);
    let running = lab.json(folder)["run"].clone();
    assert_eq!(running["state"], "running", "{running}");
    assert_eq!(running["steps"], 800);
    assert!(running["step"].as_u64().expect("a step") >= 60);
    let text = lab.show(&[&spec]);
    assert_narrow(&text);
    assert!(
        text.contains("running") && text.contains("follow: xp show tiny.toml --watch"),
        "{text}"
    );
    child.kill().expect("a child");
    child.wait().expect("a child");

    // A line that the kill cut.
    let path = lab.path(&log);
    let bytes = std::fs::read(&path).expect("a log");
    std::fs::write(&path, &bytes[..bytes.len() - 5]).expect("writable");
    let gone_is_known = Path::new("/proc/locks").exists();
    if gone_is_known {
        let killed = lab.json(folder)["run"].clone();
        assert_eq!(killed["state"], "interrupted", "{killed}");
        let reason = killed["reason"].as_str().expect("words");
        assert!(reason.contains("its process is gone"), "{killed}");
        let text = lab.show(&[folder]);
        assert!(text.contains("killed") && text.contains("checkpoint at step"), "{text}");
        assert!(lab.show(&[&spec]).contains("go on: xp run tiny.toml"));
    } else {
        eprintln!("skipped: this system does not tell who holds a lock");
    }

    // To look does not make a run that starts believe that another process is at it.
    let mut watch = lab.start(&["show", &spec, "--watch", "--every", "0.1"]);
    let mut watched = BufReader::new(watch.stdout.take().expect("a pipe"));
    let mut lines = String::new();
    watched.read_line(&mut lines).expect("it tells what it finds before the run goes on");
    let mut child = lab.start(&["run", &spec, "--jobs", "1"]);
    while child.try_wait().expect("a child").is_none() {
        lab.json(&spec);
    }
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    watched.read_to_string(&mut lines).expect("text");
    assert_eq!(watch.wait().expect("it ends by itself").code(), Some(0));
    assert!(lines.contains("running"), "{lines}");
    assert!(!gone_is_known || lines.starts_with("geo seed 1: interrupted"), "{lines}");
    assert!(lines.ends_with("2 done\n"), "{lines}");

    let wanted = files_say(&lab.path(folder));
    assert_eq!(wanted["train/loss"].len(), 800);
    assert_eq!(events_say(&lab.path(folder)), wanted);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_watch_and_a_reader_that_leaves_is_no_error() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    for what in [&["show", &spec, "--watch"][..], &["show", "results/tiny/geo/seed-1", "--watch"]] {
        if what[1].ends_with("seed-1") {
            std::fs::create_dir_all(lab.path(what[1])).expect("writable");
        }
        let mut child = lab.start(what);
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it tells what it finds");
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{what:?}");
        assert!(line.contains("todo"), "{what:?}: {line}");
    }
    let mut child = lab.start(&["show", &spec]);
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

#[test]
fn tensorboard_changes_no_result_and_can_be_left_out() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let off = lab.spec("off", &[("[eval]", "[output]\ntensorboard = false\n\n[eval]")]);
    let run = |spec: &str, results: &str| {
        let output = lab.xp(&["run", spec, "--results", results, "--only", "geo"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&spec, "on");
    run(&off, "off");
    for file in ["run.json", "train.jsonl", "eval.jsonl", "weights.safetensors"] {
        let of =
            |results: &str| std::fs::read(lab.path(&format!("{results}/tiny/geo/seed-1/{file}")));
        assert_eq!(of("on").expect("there"), of("off").expect("there"), "{file}");
    }
    assert!(!lab.path("off/tiny/geo/seed-1/tb").exists());
    let folder = lab.path("on/tiny/geo/seed-1");
    assert_eq!(events_say(&folder), files_say(&folder));

    // A length that is added is in the file, beside the curve.
    let more = lab.spec("more", &[("[64, 128, 256]", "[64, 128, 256, 512]")]);
    run(&more, "on");
    let said = events_say(&folder);
    assert!(said.contains_key("eval/ppl@512") && said["train/loss"].len() == 30);
    assert_eq!(said, files_say(&folder));

    // A file that cannot be written fails the run, as any other would.
    let blocked = lab.path("blocked/tiny/geo/seed-1");
    std::fs::create_dir_all(&blocked).expect("writable");
    std::fs::write(blocked.join("tb"), "").expect("writable");
    let args = ["run", &spec, "--results", "blocked", "--only", "geo", "--seeds", "1"];
    let output = lab.xp(&args);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = lab.json("blocked/tiny/geo/seed-1");
    assert_eq!(shown["run"]["state"], "failed", "{shown}");
    assert!(shown["run"]["reason"].as_str().expect("words").contains("tb"), "{shown}");
    let text = lab.show(&[&spec, "--results", "blocked"]);
    assert!(text.contains("geo seed 1: ") && text.contains("go on: xp run tiny.toml"), "{text}");
}

type Scalars = BTreeMap<String, Vec<(u64, u32)>>;

/// The scalars that a run's own files hold, as the bits of f32.
fn files_say(run: &Path) -> Scalars {
    let mut scalars = Scalars::new();
    let mut add = |tag: String, step: u64, value: &Value| {
        let value = value.as_f64().map_or(f32::NAN, |value| value as f32);
        scalars.entry(tag).or_default().push((step, value.to_bits()));
    };
    for line in std::fs::read_to_string(run.join("train.jsonl")).expect("a log").lines() {
        let step: Value = serde_json::from_str(line).expect("a step");
        for key in ["loss", "lr", "grad_norm"] {
            add(format!("train/{key}"), step["step"].as_u64().expect("a number"), &step[key]);
        }
    }
    let record = std::fs::read(run.join("run.json")).expect("a record");
    let record: Value = serde_json::from_slice(&record).expect("JSON");
    let last = record["train"]["steps"].as_u64().expect("steps") - 1;
    for (length, result) in record["eval"].as_object().expect("results") {
        for key in ["ppl", "nll"] {
            add(format!("eval/{key}@{length}"), last, &result[key]);
        }
    }
    scalars
}

/// What the event files of a run hold but speeds, by a decoder of its own: a log that starts takes
/// away what came before.
fn events_say(run: &Path) -> Scalars {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(run.join("tb"))
        .expect("tb")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let mut scalars = Scalars::new();
    for path in paths {
        let bytes = std::fs::read(&path).expect("an event file");
        let mut at = 0;
        while at < bytes.len() {
            let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4"));
            let length = number(at) as usize;
            assert_eq!(number(at + 8), masked(&bytes[at..at + 8]), "{}", path.display());
            let event = &bytes[at + 12..at + 12 + length];
            assert_eq!(number(at + 12 + length), masked(event), "{}", path.display());
            if at == 0 {
                assert_eq!(&event[11..], b"brain.Event:2");
            }
            at += length + 16;
            let fields = fields(event);
            let of =
                |number: u64| fields.iter().find(|(found, _)| *found == number).map(|(_, v)| v);
            if of(7).is_some() {
                scalars.clear();
            }
            let step = of(2).map_or(0, |step| {
                step.iter().rev().fold(0, |n, byte| n << 7 | u64::from(byte & 127))
            });
            for (_, value) in self::fields(of(5).map_or(&[][..], Vec::as_slice)) {
                let [(1, tag), (2, simple)] = &self::fields(&value)[..] else {
                    panic!("a tag and a float")
                };
                let tag = String::from_utf8(tag.clone()).expect("text");
                if tag != "train/tokens_per_s" {
                    let bits = u32::from_le_bytes(simple[..].try_into().expect("4 bytes"));
                    scalars.entry(tag).or_default().push((step, bits));
                }
            }
        }
    }
    scalars
}

/// Number and bytes of each field of a message.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((&key, rest)) = message.split_first() {
        let varint = rest.iter().position(|byte| *byte < 128).map_or(0, |at| at + 1);
        let (skip, length) = match key & 7 {
            0 => (0, varint),
            1 => (0, 8),
            2 => (
                varint,
                rest[..varint].iter().rev().fold(0, |n, byte| n << 7 | usize::from(byte & 127)),
            ),
            5 => (0, 4),
            other => panic!("wire type {other}"),
        };
        found.push((u64::from(key >> 3), rest[skip..skip + length].to_vec()));
        message = &rest[skip + length..];
    }
    found
}

/// CRC32C bit by bit, masked.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}
