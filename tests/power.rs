//! `xp power` from outside.

use std::process::{Command, Output};

use serde_json::Value;

fn power(args: &[&str]) -> Output {
    let root = env!("CARGO_MANIFEST_DIR");
    let binary = env!("CARGO_BIN_EXE_xp");
    Command::new(binary).arg("power").args(args).current_dir(root).output().expect("xp runs")
}

fn json(args: &[&str]) -> Value {
    let output = power(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn std_and_correlation_come_from_the_results_or_the_command_line() {
    let measured = json(&["results/tinystories_cpu", "--seeds", "3"]);
    let std = measured["premises"]["std"].as_f64().expect("a number");
    assert!((0.05..0.2).contains(&std), "{std}");
    assert_eq!(measured["premises"]["comparisons"], 2);
    assert_eq!(measured["seeds"][0]["rule"], "seeds");

    let given = json(&[
        "--std",
        "0.05",
        "--correlation",
        "0.5",
        "--effect",
        "1",
        "--rule",
        "ci",
        "--seeds",
        "9,10",
    ]);
    // statsmodels gives ten pairs with dz = 1 a power of 0.803, nine 0.748.
    let finds = |i: usize| given["seeds"][i]["finds_effect"].as_f64().expect("a share");
    assert!((finds(0) - 0.748).abs() < 0.01 && (finds(1) - 0.803).abs() < 0.01, "{given}");
    assert_eq!(given["needed"], serde_json::json!([{"rule": "ci", "seeds": 10}]));
    // 1 - exp(-0.05) = 4.9 % of the perplexity.
    let pct = given["seeds"][1]["detectable_pct"].as_f64().expect("percent");
    assert!((pct - 4.9).abs() < 0.2, "{pct}");
}

#[test]
fn the_seed_rule_is_said_to_lose_power() {
    let output = power(&["--effect", "1", "--seeds", "3,10"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.contains("rule `seeds` finds a gap of 1.00 std that often with no number"),
        "{text}"
    );
    assert!(text.contains("almost no power for gaps below 2.0 std"), "{text}");
}

#[test]
fn mistakes_are_usage_errors() {
    for (args, said) in [
        (&["--gap", "5"][..], "--gap needs a std"),
        (&["--std", "-1"], "it is a number above 0"),
        (&["--correlation", "2"], "it is a number from 0 to 1"),
        (&["--power", "1"], "it is a number between 0 and 1"),
        (&["--rule", "best"], "it is auto, seeds or ci"),
        (&["--seeds", "1"], "1 is not in 2..=100"),
        (&["--seeds", "-3"], "-3 is not in 2..=100"),
        (&["--effect", "1", "--gap", "5"], "cannot be used with"),
        (&["no/such/folder.toml"], "there is no `no/such/folder.toml`"),
    ] {
        let output = power(args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(told.contains(said) && output.stdout.is_empty(), "{args:?}: {told}");
    }
}
