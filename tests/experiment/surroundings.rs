//! What a run meets on a machine: signals, terminals, pipes, folders of other people.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::lab::Lab;
use super::{DIVERGES, code, digest, stderr};

/// A run of 500 steps.
fn long_spec(lab: &Lab) -> String {
    let edits = [
        ("seeds = [1, 2]", "seeds = [1]"),
        ("max_steps = 30", "max_steps = 500"),
        ("max_tokens = 40000", "max_tokens = 300000"),
    ];
    lab.spec("long", &edits)
}

/// Waits for the first steps of a run, or for its end.
fn first_steps(child: &mut Child, log: &Path) {
    while child.try_wait().unwrap().is_none() && !std::fs::read(log).is_ok_and(|b| b.len() > 500) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn send(signal: &str, child: &Child) {
    Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
}

#[test]
fn a_signal_checkpoints_and_exits_75() {
    let lab = Lab::new();
    let spec = long_spec(&lab);
    // `timeout` sends twice; so do, of a terminal that is closed, its shell and the system.
    for (signal, times) in [("-TERM", 2), ("-HUP", 2), ("-INT", 1), ("-XCPU", 1)] {
        let results = format!("r{signal}");
        let mut command = lab.command(&["run", &spec, "--results", &results]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("xp runs");
        first_steps(&mut child, &lab.path(&format!("{results}/tiny/geo/seed-1/train.jsonl")));
        for _ in 0..times {
            send(signal, &child);
        }
        assert_eq!(child.wait().unwrap().code(), Some(75), "{signal}");
        assert_eq!(lab.states(&spec, &results)[0], "resume");
    }
    assert_eq!(code(&lab.run(&spec, "r-TERM", &[])), 0);
    assert_eq!(code(&lab.run(&spec, "whole", &[])), 0);
    assert_eq!(digest(&lab.path("r-TERM")), digest(&lab.path("whole")));
}

#[test]
fn a_signal_does_not_wait_for_the_step_at_work() {
    let lab = Lab::new();
    // A step of many seconds, on any machine.
    let edits = [
        ("layers = 2", "layers = 8"),
        ("hidden_size = 32", "hidden_size = 512"),
        ("head_dim = 16\n", ""),
        ("batch_size = 8", "batch_size = 2048\nmicro_batch_size = 16"),
        ("max_steps = 30", "max_steps = 2"),
        ("max_tokens = 40000", "max_tokens = 300000"),
    ];
    let spec = lab.spec("slow", &edits);
    let mut child = lab
        .command(&["run", &spec, "--jobs", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("xp runs");
    let begun = lab.path("results/tiny/geo/seed-1/provenance.json");
    while child.try_wait().unwrap().is_none() && !begun.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    send("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert_eq!(std::fs::read(lab.path("results/tiny/geo/seed-1/train.jsonl")).unwrap(), b"");
    assert_eq!(lab.states(&spec, "results")[0], "todo");
}

#[cfg(target_os = "linux")]
#[test]
fn a_second_signal_ends_at_once() {
    let Ok(_) = std::fs::read("/proc/locks") else {
        println!("skipped: this system does not say who waits for a lock");
        return;
    };
    let waits = |id: u32| {
        let locks = std::fs::read_to_string("/proc/locks").expect("it was readable");
        let mut waiting = locks.lines().filter(|line| line.contains("->"));
        waiting.any(|line| line.split_whitespace().any(|word| word == id.to_string()))
    };
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[]);
    // It waits for whoever else writes this experiment's lock.json, and answers nobody.
    std::fs::create_dir_all(lab.path("results/tiny")).unwrap();
    let guard = std::fs::File::create(lab.path("results/tiny/.guard")).unwrap();
    guard.lock().unwrap();
    let mut command = lab.command(&["run", &spec]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("xp runs");
    while child.try_wait().unwrap().is_none() && !waits(child.id()) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    send("-INT", &child);
    std::thread::sleep(std::time::Duration::from_millis(600)); // one Ctrl-C may come twice
    send("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[cfg(target_os = "linux")]
#[test]
fn under_nohup_a_run_neither_waits_for_its_terminal_nor_ends_with_it() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let lab = Lab::new();
    let spec = long_spec(&lab);
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).expect("a pseudo-terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a pseudo-terminal");
    let name = ptsname(&terminal, Vec::new()).expect("a name").into_string().expect("a path");
    // Nobody reads it, and it holds all that it can.
    let mut full = std::fs::File::options();
    let mut full = full.write(true).custom_flags(libc::O_NONBLOCK).open(&name).expect("a terminal");
    while full.write(b"...").is_ok() {}
    // What nohup does, but for the redirection: progress is drawn on the terminal.
    let ignoring = ["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_xp")];
    let mut command = lab.command_of("sh", &ignoring);
    command.args(["run", &spec, "--results", "r"]).stdout(Stdio::null());
    command.stderr(std::fs::File::options().write(true).open(&name).expect("a terminal"));
    let mut child = command.spawn().expect("sh runs");
    drop((command, full)); // they hold the terminal open
    first_steps(&mut child, &lab.path("r/tiny/geo/seed-1/train.jsonl"));
    send("-HUP", &child);
    let done = || lab.path("r/tiny/mix_a0.2/seed-1/run.json").exists();
    while child.try_wait().unwrap().is_none() && !done() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(terminal);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(lab.states(&spec, "r"), ["done", "done"]);
}

#[test]
fn a_closed_pipe_does_not_change_what_the_exit_code_says() {
    let lab = Lab::new();
    let spec = lab.spec("hot", &[("lr = 3e-3", DIVERGES)]);
    // Nobody reads from the beginning on.
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = lab.command(args);
        command.stdout(writer).stderr(Stdio::null()).status().expect("xp runs").code()
    };
    assert_eq!(unread(&["run", &spec]), Some(1));
    assert_eq!(unread(&["report", &spec]), Some(0));
    assert_eq!(unread(&["report", &spec, "--require", "win:mix_a0.2"]), Some(3));
    assert_eq!(unread(&["show", &spec, "--watch"]), Some(0));
    assert!(lab.path("results/tiny/report/report.md").exists());
}

#[test]
fn a_report_of_results_that_cannot_be_written_to_is_printed_and_can_be_written_elsewhere() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[("max_steps = 30", "max_steps = 2")]);
    assert_eq!(code(&lab.run(&spec, "r", &[])), 0);
    std::fs::remove_dir_all(lab.path("r/tiny/report")).unwrap();
    // Where a folder should be: also for root, who may write everywhere.
    std::fs::write(lab.path("r/tiny/report"), "").unwrap();
    let report = lab.xp(&["report", "r/tiny"]);
    assert_eq!(code(&report), 3);
    let table = String::from_utf8_lossy(&report.stdout);
    assert!(table.contains("baseline"), "{table}");
    assert!(stderr(&report).contains("--output DIR"), "{}", stderr(&report));
    let elsewhere = lab.xp(&["report", "r/tiny", "--output", "here", "--format", "md,csv"]);
    assert_eq!(code(&elsewhere), 0, "{}", stderr(&elsewhere));
    for file in ["report.md", "runs.csv", "summary.csv", "table.csv"] {
        assert!(lab.path("here").join(file).exists(), "{file}");
    }
    assert!(!lab.path("here/report.html").exists());
}
