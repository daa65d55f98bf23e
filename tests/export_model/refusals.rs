//! What cannot be exported, and why.

use super::*;

#[test]
fn what_cannot_be_exported_is_refused_with_the_reason() {
    let lab = Lab::new(&[]);
    let refused = |code: i32, output: &Output, parts: &[&str]| {
        let told = told(output);
        assert_eq!(output.status.code(), Some(code), "{parts:?}: {told}");
        assert!(output.stdout.is_empty() && told.starts_with("error: "), "{told}");
        for part in parts {
            assert!(told.contains(part), "{part} is not in {told}");
        }
    };
    let export =
        |run: &str, more: &[&str]| lab.xp(&[&["export", run, "--to", "hf", "new"], more].concat());
    refused(2, &export("nowhere", &[]), &["no such folder", "seed-<seed>"]);
    refused(2, &export("r/export", &[]), &["whole experiment", "seed-<seed>"]);
    refused(2, &export("r/export/geo", &[]), &["no run.json"]);
    let partial = lab.export("partial", "hf", "new", &["--transform", "yarn4"]);
    refused(2, &partial, &["8 of 16 dimensions", "attention scale"]);
    let unknown = lab.export("geo", "hf", "new", &["--transform", "ntk"]);
    refused(2, &unknown, &["`ntk` is no transform", "it has yarn4"]);
    let tokenizer = reference().join("small/small.toml");
    let given = lab.export("geo", "hf", "new", &["--tokenizer", tokenizer.to_str().unwrap()]);
    refused(2, &given, &["trained on bytes", "leave --tokenizer out"]);

    // A place that is taken is left as it is.
    std::fs::create_dir(lab.path("taken")).unwrap();
    std::fs::write(lab.path("taken/mine"), "mine").unwrap();
    refused(2, &lab.export("geo", "hf", "taken", &[]), &["not empty", "--force"]);
    refused(2, &lab.export("geo", "hf", "taken/mine", &[]), &["is a file"]);
    refused(2, &lab.export("geo", "gguf", "taken/mine", &[]), &["--force"]);
    refused(2, &lab.export("geo", "gguf", "taken", &["--force"]), &["is a folder"]);
    assert_eq!(files(&lab.path("taken")).len(), 1);
    assert!(!lab.path("new").exists());
    // Of an export that was killed.
    std::fs::write(lab.path("taken/.xp-a.tmp"), "a part").unwrap();
    ok(&lab.export("geo", "hf", "taken", &["--force"]));
    let taken = files(&lab.path("taken"));
    assert!(taken["mine"] == b"mine" && !taken.contains_key(".xp-a.tmp"));

    // Runs that are not what a model is made of.
    let record = "r/export/geo/seed-0/run.json";
    let whole = std::fs::read(lab.path(record)).unwrap();
    for (status, why) in [("diverged", "diverged"), ("failed", "`xp run` first")] {
        lab.edit(record, "\"status\": \"done\"", &format!("\"status\": \"{status}\""));
        refused(2, &export(record, &[]), &[why]);
        std::fs::write(lab.path(record), &whole).unwrap();
    }
    lab.edit(record, "theta=500,", "theta=501,");
    refused(4, &export(record, &[]), &["do not give the set that run.json records"]);
    std::fs::write(lab.path(record), &whole).unwrap();
    lab.edit(record, "\"train_id\": \"", "\"train_id\": \"0");
    refused(4, &export(record, &[]), &["no declaration"]);
    std::fs::write(lab.path(record), &whole).unwrap();
    lab.edit("r/export/lock.json", "\"layers\": 2", "\"layers\": 3");
    refused(4, &export(record, &[]), &["changed after it was frozen"]);
    lab.edit("r/export/lock.json", "\"layers\": 3", "\"layers\": 2");

    let weights = lab.path("r/export/geo/seed-0/weights.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 4]).unwrap();
    refused(4, &export(record, &[]), &["not a safetensors file"]);
    let mut flipped = bytes.clone();
    flipped[bytes.len() - 4] ^= 1;
    std::fs::write(&weights, &flipped).unwrap();
    refused(4, &export(record, &[]), &["does not hold the weights", "--name NAME"]);
    refused(4, &lab.export("geo", "gguf", "new", &[]), &["does not hold the weights"]);
    std::fs::remove_file(&weights).unwrap();
    refused(3, &export(record, &[]), &["weights were not kept", "keep_weights = true"]);
    assert!(!lab.path("new").exists());
}

#[test]
fn runs_that_no_llama_is_are_refused() {
    let lab = Lab { dir: tempfile::tempdir().expect("a temporary folder") };
    let spec = reference().join("small/small.toml");
    ok(&lab.xp(&["run", spec.to_str().unwrap(), "--results", "s", "-q", "--only", "by_layer"]));
    for to in ["hf", "gguf"] {
        let output = lab.xp(&["export", "s/small/by_layer/seed-0", "--to", to, "new"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(told(&output).contains("layers have different frequencies"), "{}", told(&output));
    }
    let shape = "model={layers=1, hidden_size=20, heads=3, head_dim=8, intermediate_size=24, vocab_size=256}";
    lab.run("r", &[shape]);
    let output = lab.export("geo", "hf", "new", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("not a multiple of its number of heads"), "{}", told(&output));
    ok(&lab.export("geo", "gguf", "a.gguf", &[]));
}
