//! `xp submit` through the binary, with stubs for Slurm's commands: what is submitted, what a task does,
//! and how the batch script passes on signals and exit codes.
#![cfg(unix)]

mod lab;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use lab::Lab;

impl Lab {
    /// A program of this name, found before those of the machine.
    fn stub(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        std::fs::create_dir_all(self.path("bin")).expect("a folder");
        std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn with_stubs(&self, command: &mut Command) -> Output {
        let path = std::env::var("PATH").expect("a PATH");
        let path = format!("{}:{path}", self.path("bin").display());
        let output = command.env("PATH", path).output().expect("it runs");
        assert!(!said(&output).contains("panicked"), "{}", said(&output));
        output
    }

    fn submit(&self, args: &[&str]) -> Output {
        self.with_stubs(&mut self.command(&[&["submit"], args].concat()))
    }

    /// Slurm as far as it is asked: jobs 100, 101, …, and arrays of at most `most` tasks.
    fn slurm(&self, most: usize) {
        self.stub(
            "sbatch",
            "n=$(cat calls 2>/dev/null | wc -l); echo \"$*\" >>calls; echo $((100 + n))",
        );
        self.stub("scontrol", &format!("echo \"MaxArraySize = {most}\"; echo \"$*\" >>requeued"));
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one folder of a submission.
fn folder(lab: &Lab, results: &str) -> PathBuf {
    let found = std::fs::read_dir(lab.path(results).join("submit")).expect("a submission");
    let found: Vec<_> = found.map(|entry| entry.expect("readable").path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn what_is_missing_is_submitted_and_its_tasks_give_the_bytes_of_a_local_run() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.slurm(3);
    assert_eq!(lab.xp(&["run", &spec, "--results", "whole", "-q"]).status.code(), Some(0));
    let results = "of a cluster's";
    assert_eq!(
        lab.xp(&["run", &spec, "--results", results, "--only", "geo", "--seeds", "1", "-q"])
            .status
            .code(),
        Some(0)
    );
    let args =
        [&spec, "--slurm", "--results", results, "--report", "--max-parallel", "2", "--json"];
    let answer: Value = serde_json::from_str(&text(&lab.submit(&args))).expect("JSON");
    assert_eq!(answer["jobs"], serde_json::json!(["100", "101"]));
    assert_eq!(
        (answer["tasks"].as_array().map(Vec::len), &answer["left_out"]),
        (Some(3), &1.into())
    );
    let calls = lab.calls();
    assert!(calls[0].contains("--parsable") && calls[0].ends_with("array-0.sbatch"), "{calls:?}");
    assert!(
        calls[1].contains("--dependency=afterany:100 ") && calls[1].ends_with("report.sbatch"),
        "{calls:?}"
    );

    // All tasks at once, as a scheduler may start them: one experiment, one cache, one report.
    let folder = folder(&lab, results);
    let script = folder.join("array-0.sbatch");
    let mut tasks: Vec<_> =
        (0..3).map(|i| task(&lab, &script, i).spawn().expect("bash runs")).collect();
    for task in &mut tasks {
        assert_eq!(task.wait().expect("it ends").code(), Some(0));
    }
    for run in ["geo/seed-1", "geo/seed-2", "mix_a0.2/seed-1", "mix_a0.2/seed-2"] {
        for file in ["run.json", "weights.safetensors", "train.jsonl", "eval.jsonl"] {
            let read = |results: &str| {
                std::fs::read(lab.path(results).join("tiny").join(run).join(file)).expect(run)
            };
            assert_eq!(read(results), read("whole"), "{run}/{file}");
        }
    }
    assert_eq!(text(&lab.submit(&args[..4])), "nothing to submit: all 4 runs are there\n");
    let report = Command::new("bash")
        .arg(folder.join("report.sbatch"))
        .current_dir(lab.path(""))
        .output()
        .unwrap();
    assert!(text(&report).contains("geo"), "{}", said(&report));
}

/// Task `i` of a batch script.
fn task(lab: &Lab, script: &Path, i: usize) -> Command {
    let mut command = Command::new("bash");
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").expect("a PATH"));
    command.arg(script).current_dir(lab.path("")).env("PATH", path);
    command.env("SLURM_ARRAY_TASK_ID", i.to_string()).env("SLURM_ARRAY_JOB_ID", "100");
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

#[test]
fn a_list_that_is_longer_than_an_array_becomes_several() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.slurm(3);
    text(&lab.submit(&[&spec, "--slurm", "-q"]));
    assert_eq!(lab.calls().len(), 2);
    let folder = folder(&lab, "results");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    assert!(read("array-0.sbatch").contains("#SBATCH --array=0-2\n"));
    assert!(read("array-1.sbatch").contains("#SBATCH --array=0-0\n"));
    assert!(read("array-1.sbatch").contains("$((SLURM_ARRAY_TASK_ID + 3))"));
    let lines = read("manifest.jsonl");
    let indices = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["index"].clone());
    assert_eq!(indices.collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_dry_run_prints_the_script_and_writes_nothing() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let options = [
        "--time",
        "01:00:00",
        "--partition",
        "gpu",
        "--cpus-per-task",
        "4",
        "--mem",
        "8G",
        "--gpus",
        "2",
    ];
    let more = [
        "--sbatch=--qos=high",
        "--grace",
        "60",
        "--max-array",
        "10",
        "--dry-run",
        "--set",
        "schedule.lr=2e-3",
    ];
    let output = lab.submit(&[&[&spec[..], "--slurm"], &options[..], &more[..]].concat());
    assert!(said(&output).contains("a task carries out one run, on one GPU"), "{}", said(&output));
    let script = text(&output);
    for line in [
        "--job-name=xp-tiny",
        "--array=0-3",
        "--requeue",
        "--open-mode=append",
        "--signal=B:USR1@60",
        "--gres=gpu:2",
        "--time=01:00:00",
        "--partition=gpu",
        "--mem=8G",
        "--cpus-per-task=4",
        "--qos=high",
    ] {
        assert!(script.contains(&format!("#SBATCH {line}\n")), "{line} is not in\n{script}");
    }
    assert!(script.contains(" --device cuda --set schedule.lr=2e-3 "), "{script}");
    assert!(!lab.path("results").exists());
    std::fs::write(lab.path("script"), &script).unwrap();
    assert!(
        Command::new("bash")
            .args(["-n", "script"])
            .current_dir(lab.path(""))
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn memory_that_is_not_asked_for_is_told() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let told = |more: &[&str]| {
        let output = lab.submit(&[&[&spec[..], "--slurm", "--dry-run"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output).contains("GiB of memory; without --mem")
    };
    let wide = ["--set", "schedule.batch_size=8192", "--set", "schedule.max_steps=1"];
    let wide = [&wide[..], &["--set", "data.train.max_tokens=1M"]].concat();
    // All rows go through the model at once only where that many processors are to be kept busy.
    let many = [&wide[..], &["--cpus-per-task", "512"]].concat();
    assert!(!told(&[]));
    assert!(!told(&wide));
    assert!(told(&many));
    assert!(!told(&[&many[..], &["--mem", "8G"]].concat()));
}

#[test]
fn a_batch_script_passes_on_signals_and_codes_and_requeues_after_75() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.slurm(1001);
    let script = text(&lab.submit(&[&spec, "--slurm", "--dry-run"]));
    assert!(!script.contains("--device"), "{script}");
    // In xp's place a program that says what it is told, and leaves as it is told to.
    let xp = env!("CARGO_BIN_EXE_xp");
    let stub = lab.path("bin/stand-in");
    assert!(script.contains(xp), "{script}");
    let path = lab.path("array.sbatch");
    let quick = script.replace(xp, stub.to_str().expect("UTF-8")).replace("sleep 60", "true");
    std::fs::write(&path, quick).unwrap();
    for (life, code, requeued) in
        [("exit 0", 0, false), ("exit 3", 3, false), ("exit 75", 75, true)]
    {
        lab.stub("stand-in", &format!("echo \"$@\" >told\n{life}"));
        let _ = std::fs::remove_file(lab.path("requeued"));
        assert_eq!(task(&lab, &path, 2).status().unwrap().code(), Some(code), "{life}");
        assert_eq!(lab.path("requeued").exists(), requeued, "{life}");
        let told = std::fs::read_to_string(lab.path("told")).unwrap();
        assert!(
            told.contains("/tiny.toml --results ")
                && told.contains("manifest.jsonl --task 2 --threads 1"),
            "{told}"
        );
    }
    assert_eq!(std::fs::read_to_string(lab.path("requeued")).unwrap(), "requeue 100_2\n");
    // Signalled alone, as Slurm does with B:, it must tell xp, and keep xp's code.
    lab.stub(
        "stand-in",
        "trap 'echo got >signal; exit 75' USR1\ntouch ready\nwhile true; do sleep 0.05; done",
    );
    let mut running = task(&lab, &path, 0).spawn().unwrap();
    while !lab.path("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = running.id().to_string();
    assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(75));
    assert!(lab.path("signal").exists());
}

#[test]
fn a_task_refuses_a_spec_that_was_changed_since() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    lab.slurm(1001);
    text(&lab.submit(&[&spec, "--slurm", "-q"]));
    let list = folder(&lab, "results").join("manifest.jsonl");
    let list = list.to_str().expect("UTF-8");
    for (edit, expected) in [
        (("lr = 3e-3", "lr = 4e-3"), "its train id was "),
        (("chunks = 4", "chunks = 3"), "its eval id was "),
        (("name = \"geo\"", "name = \"other\""), "the spec has no run geo seed 1 any more"),
    ] {
        let baseline = ("baseline = \"geo\"\n", "");
        lab.spec("tiny", &[baseline, edit]);
        let output = lab.xp(&["run", &spec, "--manifest", list, "--task", "0"]);
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(
            said(&output).contains(expected) && said(&output).contains("nothing was done"),
            "{}",
            said(&output)
        );
    }
    lab.spec("tiny", &[]);
    for (args, expected) in [
        (&["--task", "9"][..], "it has 4 tasks, counted from 0: there is no 9"),
        (&["--task", "0", "--only", "geo"], "cannot be used with"),
        (&[], "--task"),
    ] {
        let output = lab.xp(&[&["run", &spec, "--manifest", list], args].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    assert!(!lab.path("results/tiny").exists());
}

#[test]
fn a_scheduler_that_is_not_there_or_refuses_leaves_nothing_behind() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let output =
        lab.command(&["submit", &spec, "--slurm"]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        said(&output).contains("sbatch cannot be called") && said(&output).contains("--dry-run"),
        "{}",
        said(&output)
    );
    lab.stub("sbatch", "echo 'invalid partition' >&2; exit 1");
    let output = lab.submit(&[&spec, "--slurm"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("sbatch refused it: invalid partition"), "{}", said(&output));
    let left = std::fs::read_dir(lab.path("results/submit")).expect("a folder").count();
    assert_eq!(left, 0);
    // The second array is refused after the first was taken: said how to take it back.
    lab.stub("sbatch", "[ ! -e once ] || exit 1; touch once; echo 7");
    let output = lab.submit(&[&spec, "--slurm", "--max-array", "3"]);
    assert!(
        said(&output).contains("jobs 7 are submitted: `scancel 7` takes them back"),
        "{}",
        said(&output)
    );
    for (args, expected) in [
        (&[&spec[..]][..], "--slurm"),
        (&[&spec, "--slurm", "--k8s"], "cannot be used with"),
        (&[&spec, "--slurm", "--sbatch", "qos"], "is no option of sbatch"),
        (&[&spec, "--k8s"], "--k8s needs --image IMAGE"),
        (&[&spec, "--slurm", "--image", "x"], "cannot be used with"),
    ] {
        let output = lab.submit(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_job_for_kubernetes_is_printed_and_nothing_is_written() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    let args = [
        &spec,
        "--k8s",
        "--image",
        "registry.example/xp:1",
        "--volume",
        "work",
        "--max-parallel",
        "2",
    ];
    let yaml = text(&lab.submit(&args));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("YAML");
    let [list, job] = documents.as_slice() else { panic!("{yaml}") };
    assert_eq!(list["data"]["manifest.jsonl"].as_str().map(|text| text.lines().count()), Some(4));
    assert_eq!((&job["spec"]["completions"], &job["spec"]["parallelism"]), (&4.into(), &2.into()));
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let command = container["command"].to_string();
    assert!(
        command.contains("tiny.toml") && command.contains("$(JOB_COMPLETION_INDEX)"),
        "{command}"
    );
    assert_eq!(container["resources"], serde_json::json!({}), "an f32 run needs no GPU");
    assert!(!lab.path("results").exists());
}
