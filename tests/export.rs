//! The exports of frequency sets against what other software makes of them. The values were made
//! by tests/reference/export_hf.py with the real libraries.

use std::process::{Command, Output};

use serde_json::Value;
use xp::export::config::{self, Form};
use xp::export::{Fidelity, gguf};
use xp::freq::{self, Context, FrequencySet};

fn golden() -> Value {
    serde_json::from_str(include_str!("reference/export_hf.json")).expect("JSON")
}

/// The set of an entry and the context that it was evaluated in.
fn set(entry: &Value) -> (FrequencySet, Context) {
    let context = Context {
        train_len: entry["train_len"].as_u64(),
        target_len: entry["target_len"].as_u64(),
        ..Context::new(entry["head_dim"].as_u64().expect("a number") as u32)
    };
    let expression = entry["expression"].as_str().expect("text");
    (freq::evaluate(expression, &context).expect(expression), context)
}

fn library_bits(entry: &Value) -> Vec<f32> {
    let bits = entry["inv_freq_bits"].as_array().expect("a list").iter();
    let bits = bits.map(|bits| u32::from_str_radix(bits.as_str().expect("text"), 16));
    bits.map(|bits| f32::from_bits(bits.expect("hexadecimal"))).collect()
}

/// What the library divides by: JSON number, f64, f32.
fn divisors(config: &config::Config) -> Vec<f32> {
    let list = config.keys["rope_parameters"]["short_factor"].as_array().expect("a list");
    list.iter().map(|p| p.as_f64().expect("a number") as f32).collect()
}

#[test]
fn transformers_computes_what_is_predicted() {
    let golden = golden();
    let (mut exact, mut rounded, mut default) = (0, 0, 0);
    for entry in golden["sets"].as_array().expect("a list") {
        let (set, context) = set(entry);
        let theirs = library_bits(entry);
        let config = config::config(&set, &context).expect("a length is given");
        let what = entry["expression"].as_str().expect("text");
        let measured = Fidelity::of(&set.inv_freq_f32(), &theirs);
        assert_eq!(entry["attention_scaling"], set.attention_scale, "{what}");
        match config.form {
            Form::LongRope => {
                assert_eq!(entry["rope_type"], "longrope", "{what}");
                let predicted: Vec<f32> = divisors(&config).iter().map(|p| 1.0 / p).collect();
                assert_eq!(predicted, theirs, "{what}");
                assert_eq!(config.fidelity, measured, "{what}");
                if measured.is_exact() { exact += 1 } else { rounded += 1 }
            }
            Form::Default { .. } => {
                assert_eq!(entry["rope_type"], "default", "{what}");
                // torch's power function is correct to a unit, not correctly rounded.
                assert!(measured.max_ulp <= config.fidelity.max_ulp + 1, "{what}: {measured:?}");
                default += 1;
            }
        }
    }
    assert!(exact >= 10 && rounded >= 5 && default >= 2, "{exact} {rounded} {default}");
}

#[test]
fn a_set_that_went_through_the_reciprocal_is_exported_exactly() {
    for entry in golden()["sets"].as_array().expect("a list") {
        let (set, context) = set(entry);
        let values: Vec<String> = set
            .inv_freq_f32()
            .iter()
            .map(|w| format!("{:e}", f64::from(1.0 / ((1.0 / f64::from(*w)) as f32))))
            .collect();
        let table = format!("table([{}])", values.join(", "));
        let set = freq::evaluate(&table, &context).expect(&table);
        let config = config::config(&set, &context).expect("a length is given");
        assert_eq!(config.form, Form::LongRope);
        assert!(config.fidelity.is_exact(), "{table}");
        assert_eq!(config.keys["xp_freq"]["bit_exact"], true);
    }
}

#[test]
fn the_gguf_files_are_those_that_the_gguf_package_read() {
    let golden = golden();
    let files = golden["gguf"].as_array().expect("a list");
    assert!(!files.is_empty());
    for entry in files {
        let (set, _) = set(entry);
        let bytes = gguf::table(&set).expect("whole heads rotate").bytes();
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex.concat(), entry["file"].as_str().expect("text"), "{}", set.expression);
    }
}

fn xp(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xp")).arg("freq").args(args).output().expect("xp runs")
}

#[test]
fn the_command_writes_to_the_standard_output_or_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let args = ["anchored_poly(theta=500k)", "--head-dim", "8", "--target-len", "128"];
    for (kind, name) in [("hf", "a.json"), ("vllm", "b.json"), ("gguf", "c.json"), ("npy", "d.npy")]
    {
        let to_stdout = xp(&[&args[..], &["--export", kind]].concat());
        let file = path(name);
        let to_file = xp(&[&args[..], &["--export", kind, "-o", &file]].concat());
        assert!(to_stdout.status.success() && to_file.status.success(), "{kind}");
        assert!(to_file.stdout.is_empty());
        assert_eq!(std::fs::read(&file).unwrap(), to_stdout.stdout, "{kind}");
        assert_eq!(to_file.stderr, to_stdout.stderr);
        if kind != "npy" {
            serde_json::from_slice::<Value>(&to_stdout.stdout).expect("JSON");
        }
    }
    let file = path("table.gguf");
    assert!(xp(&[&args[..], &["--export", "gguf", "-o", &file]].concat()).status.success());
    assert_eq!(&std::fs::read(&file).unwrap()[..4], b"GGUF");
}

#[test]
fn what_cannot_be_exported_is_refused_with_the_remedy() {
    for (args, message) in [
        (&["geo()", "--export", "hf"][..], "error[freq::export]: the longest length to serve"),
        (&["geo()", "--export", "vllm"], "help: give it with --target-len"),
        (&["geo()", "geo(theta=1k)", "--export", "npy"], "takes one expression, not 2"),
        (&["geo(", "--export", "npy"], "error[freq::"),
        (&["geo()", "--export", "onnx"], "[possible values: hf, vllm, gguf, npy]"),
        (&["geo()", "-o", "file"], "--export"),
        (&["geo()", "--export", "hf", "--json"], "cannot be used with"),
    ] {
        let output = xp(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(told.contains(message), "{args:?}: {told}");
    }
    let missing = xp(&["geo()", "--export", "npy", "-o", "/dev/null/a.npy"]);
    assert_eq!(missing.status.code(), Some(3));
}
