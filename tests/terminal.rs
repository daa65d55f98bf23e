//! What a person meets at a terminal: help, mistakes, `init`, `completions`, `doctor`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn xp(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xp"));
    command.args(args).current_dir(folder).env("XP_CACHE", folder.join("cache"));
    let output = command.env("COLUMNS", "80").output().expect("xp runs");
    assert!(!stderr(&output).contains("panicked"), "{args:?}: {}", stderr(&output));
    output
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const COMMANDS: [&str; 15] = [
    "init",
    "check",
    "plan",
    "data",
    "run",
    "show",
    "report",
    "power",
    "freq",
    "diff",
    "align",
    "import",
    "doctor",
    "schema",
    "completions",
];

#[test]
fn help_fits_a_terminal_and_tells_the_commands_in_the_order_of_a_first_day() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let help = stdout(&xp(temp.path(), &["--help"]));
    let places: Vec<usize> = COMMANDS
        .iter()
        .map(|command| help.find(&format!("\n  {command} ")).expect("every command is listed"))
        .collect();
    assert!(places.is_sorted(), "{help}");
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let output = xp(temp.path(), &[command, flag]);
            assert_eq!(code(&output), 0);
            let help = stdout(&output);
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{command} {flag}: {line}");
            }
            // Examples are not broken into lines that cannot be copied.
            let mut wide = Command::new(env!("CARGO_BIN_EXE_xp"));
            let wide = wide.args([command, flag]).env("COLUMNS", "100").output().expect("xp runs");
            for line in stdout(&wide).lines().filter(|line| line.starts_with("  xp ")) {
                assert!(line.chars().count() <= 80, "{command} {flag}: {line}");
            }
            let after = ["init", "doctor"].contains(&command) || help.contains("Example");
            assert!(after || ["schema", "completions"].contains(&command), "{command}: {help}");
        }
    }
    let short = stdout(&xp(temp.path(), &["-V"]));
    assert_eq!(short, concat!("xp ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = stdout(&xp(temp.path(), &["--version"]));
    assert!(long.starts_with(short.trim_end()) && long.contains("numerics"), "{long}");
    assert!(long.contains("features") && long.contains("rustc"), "{long}");
}

#[test]
fn common_mistakes_are_told_with_what_would_be_right() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| temp.path().join(name);
    std::fs::create_dir_all(at("specs")).expect("writable");
    for name in ["specs/alpha.toml", "specs/beta.toml", "alone.toml"] {
        std::fs::write(at(name), "").expect("writable");
    }
    std::fs::write(at("run.json"), "{}").expect("writable");
    std::fs::write(at("notes.txt"), "").expect("writable");
    std::fs::create_dir_all(at("empty")).expect("writable");
    for (args, told) in [
        (&["runn"][..], "a similar subcommand exists: 'run'"),
        (&["specs/alpha.toml"], "`xp run specs/alpha.toml` carries it out"),
        (&["specs"], "did you mean `xp show specs`?"),
        (&["run", "specs"], "`specs` is a folder; name a spec: specs/alpha.toml, specs/beta.toml"),
        (&["run", "specs/alpa.toml"], "did you mean `specs/alpha.toml`?"),
        (&["check", "alone"], "did you mean `alone.toml`?"),
        (&["plan", "empty/x.toml"], "`xp init empty/x.toml` writes a spec to start from"),
        (&["run", "run.json"], "a spec is TOML (`xp init` writes one)"),
        (&["show", "notes.txt"], "it is no spec (*.toml) and no file of a run"),
        (&["show", "empty"], "no run and no experiment lies there"),
        (&["show", "nothing"], "there is no such file or folder"),
        (&["show", "alone.toml", "--every", "0"], "a number of seconds"),
        (&["run"], "<SPEC>"),
    ] {
        let output = xp(temp.path(), args);
        let told_now = stderr(&output);
        assert_eq!(code(&output), 2, "{args:?}: {told_now}");
        assert!(told_now.contains(told), "{args:?}: {told_now}");
        assert!(stdout(&output).is_empty(), "{args:?}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere.toml", at("link.toml")).expect("writable");
        let output = xp(temp.path(), &["check", "link.toml"]);
        assert_eq!(code(&output), 2);
        assert!(stderr(&output).contains("`link.toml` is a link to a file that is not there"));
    }
}

#[cfg(unix)]
#[test]
fn the_umask_decides_who_may_read_what_is_written() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().expect("a temporary folder");
    for (umask, mode) in [("002", 0o664), ("022", 0o644), ("077", 0o600)] {
        let script = format!("umask {umask}; exec \"$0\" init {umask}.toml");
        let mut command = Command::new("sh");
        let command = command.args(["-c", &script, env!("CARGO_BIN_EXE_xp")]);
        assert!(command.current_dir(temp.path()).output().expect("sh runs").status.success());
        let written = temp.path().join(format!("{umask}.toml")).metadata().expect("written");
        assert_eq!(written.permissions().mode() & 0o777, mode, "{umask}");
    }
}

#[test]
fn init_writes_a_spec_that_is_right_and_runs_and_is_never_written_over() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| temp.path().join(name);
    let output = xp(temp.path(), &["init"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let told = stdout(&output);
    for next in ["xp check experiment.toml", "xp run experiment.toml", "xp show experiment.toml"] {
        assert!(told.contains(next), "{told}");
    }
    let text = std::fs::read_to_string(at("experiment.toml")).expect("written");
    assert!(text.starts_with("#:schema ./experiment.schema.json\n"), "{text}");
    let schema: Value =
        serde_json::from_slice(&std::fs::read(at("experiment.schema.json")).expect("written"))
            .expect("JSON");
    assert_eq!(schema, xp::spec::schema::schema());
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(validator.is_valid(&toml::from_str::<Value>(&text).expect("TOML")));
    // What is commented out is right as well: each line that looks like a key, one at a time.
    let tables = text.lines().filter(|line| line.starts_with('[')).count();
    assert!(tables >= 10, "every table is explained");
    for (from, to) in [
        ("# transform = [", "transform = ["),
        ("# [sweep.grid]\n# ", "[sweep.grid]\n"),
        (
            "# [[config]]\n# name = \"geo_t{{ theta }}\"\n# freq = \"geo(theta={{ theta }})\"\n# sweep",
            "[[config]]\nname = \"geo_t{{ theta }}\"\nfreq = \"geo(theta={{ theta }})\"\nsweep",
        ),
        ("# precision", "precision"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(at("changed.toml"), text.replacen(from, to, 1)).expect("writable");
        let output = xp(temp.path(), &["check", "changed.toml"]);
        assert_eq!(code(&output), 0, "{to}: {}", stderr(&output));
    }
    let output = xp(temp.path(), &["check", "experiment.toml"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));

    let output = xp(temp.path(), &["init"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("is there already"), "{}", stderr(&output));
    std::fs::write(at("experiment.toml"), "mine").expect("writable");
    std::fs::write(at("experiment.schema.json"), "mine too").expect("writable");
    assert_eq!(code(&xp(temp.path(), &["init", "other.toml"])), 2, "the schema is not xp's");
    assert!(!at("other.toml").exists());
    assert_eq!(code(&xp(temp.path(), &["init", "--force"])), 0);
    assert_eq!(std::fs::read_to_string(at("experiment.toml")).expect("written"), text);

    let output = xp(temp.path(), &["init", "new/theta"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = std::fs::read_to_string(at("new/theta.toml")).expect("written");
    assert!(text.contains("name = \"theta\" "), "{text}");
    assert_eq!(code(&xp(temp.path(), &["init", "report"])), 2, "no experiment may be called so");

    let small = [
        "run",
        "experiment.toml",
        "--set",
        "schedule.max_steps=3",
        "--set",
        "eval.lengths=[256]",
        "--set",
        "eval.chunks=1",
        "--set",
        "data.train.max_tokens=60000",
        "--only",
        "geo_10k",
    ];
    let output = xp(temp.path(), &small);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(at("results/experiment/geo_10k/seed-1/run.json").exists());
    assert!(at("results/experiment/geo_10k/seed-1/tb").is_dir());
}

#[test]
fn in_a_checkout_init_names_the_schema_that_is_there() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let schema = xp(temp.path(), &["schema"]).stdout;
    std::fs::create_dir_all(temp.path().join("schema")).expect("writable");
    std::fs::create_dir_all(temp.path().join("specs")).expect("writable");
    let committed = temp.path().join("schema/experiment.schema.json");
    std::fs::write(&committed, &schema).expect("writable");
    assert_eq!(code(&xp(temp.path(), &["init", "specs"])), 0);
    let text = std::fs::read_to_string(temp.path().join("specs/experiment.toml")).expect("written");
    assert!(text.starts_with("#:schema ../schema/experiment.schema.json\n"), "{text}");
    assert!(!temp.path().join("specs/experiment.schema.json").exists());
    // One of another version would be wrong in an editor.
    std::fs::write(&committed, "{}").expect("writable");
    assert_eq!(code(&xp(temp.path(), &["init", "specs/other.toml"])), 0);
    assert!(temp.path().join("specs/experiment.schema.json").exists());
}

#[test]
fn completions_are_scripts_that_their_shells_take() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = xp(temp.path(), &["completions", shell]);
        assert_eq!(code(&output), 0);
        let script = stdout(&output);
        assert!(script.contains("completions") && script.contains("watch"), "{shell}");
        std::fs::write(temp.path().join(shell), script).expect("writable");
    }
    assert_eq!(code(&xp(temp.path(), &["completions", "tcsh"])), 2);
    let has = |shell: &str| {
        let version = Command::new(shell).arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    if has("bash") {
        let line = "bash -n bash && source ./bash && complete -p xp && \
                    COMP_WORDS=(xp sho) COMP_CWORD=1 && _xp xp sho xp && echo \"${COMPREPLY[@]}\"";
        let output = Command::new("bash").args(["-c", line]).current_dir(temp.path()).output();
        let output = output.expect("bash runs");
        assert!(output.status.success(), "{}", stderr(&output));
        let told = stdout(&output);
        assert!(told.contains("-F _xp") && told.ends_with("show\n"), "{told}");
    } else {
        eprintln!("skipped: no bash here");
    }
    for (shell, args) in [("zsh", ["-n", "zsh"]), ("fish", ["-n", "fish"])] {
        if has(shell) {
            let status = Command::new(shell).args(args).current_dir(temp.path()).status();
            assert!(status.expect("it runs").success(), "{shell}");
        }
    }
}

#[test]
fn doctor_tells_what_there_is_and_no_secret() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir_all(temp.path().join("cache/tokens")).expect("writable");
    std::fs::write(temp.path().join("cache/tokens/x"), vec![0; 3 << 20]).expect("writable");
    let doctor = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xp"));
        command.arg("doctor").args(args).current_dir(temp.path()).env("COLUMNS", "80");
        command.env("XP_CACHE", "cache").env("HF_TOKEN", "hf_secret").env("HF_HOME", "hub-home");
        command.env("HF_ENDPOINT", "https://me:secret@hub.example").env("HF_HUB_OFFLINE", "1");
        let output = command.output().expect("xp runs");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output)
    };
    let (text, json) = (doctor(&[]), doctor(&["--json"]));
    assert!(!text.contains("secret") && !json.contains("secret"), "{text}");
    for line in
        ["xp         ", "cpu        ", "cuda       ", "results    ", "tokens     ", "hub cache  "]
    {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}: {text}");
    }
    assert!(text.contains("cache (XP_CACHE), holds 3 MiB"), "{text}");
    assert!(text.contains("HF_TOKEN=set") && text.contains("offline by HF_HUB_OFFLINE"), "{text}");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["places"]["tokens"]["size_bytes"], 3 << 20);
    assert_eq!(json["places"]["hub_cache"]["path"], "hub-home/hub");
    assert_eq!(json["variables"]["HF_TOKEN"], "set");
    assert_eq!(json["hub"]["servers"][0]["endpoint"], "https://hub.example");
    for key in ["version", "numerics", "features", "rustc", "cpu", "cuda", "tools", "missing"] {
        assert!(!json[key].is_null(), "{key}");
    }
    let file: PathBuf = temp.path().join("file");
    std::fs::write(&file, "").expect("writable");
    let output = doctor(&["--results", "file/below"]);
    assert!(output.lines().any(|line| line.starts_with("results")), "{output}");
}
