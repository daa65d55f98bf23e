//! The files of an export: which, where from, and what they say.

use super::*;

#[test]
fn an_export_is_whole_and_the_same_bytes_each_time() {
    let lab = Lab::new(&[]);
    let output = lab.export("hybrid", "hf", "a", &["--json"]);
    ok(&output);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let names: Vec<&str> =
        answer["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        names,
        [
            "a/model.safetensors",
            "a/tokenizer.json",
            "a/tokenizer_config.json",
            "a/generation_config.json",
            "a/README.md",
            "a/config.json",
        ]
    );
    assert_eq!((&answer["length"], &answer["fidelity"]["bit_exact"]), (&json!(128), &json!(false)));
    ok(&lab.export("hybrid", "hf", "b", &[]));
    assert_eq!(files(&lab.path("a")), files(&lab.path("b")));
    for name in ["a.gguf", "b.gguf"] {
        ok(&lab.export("hybrid", "gguf", name, &["--transform", "yarn4"]));
    }
    let bytes = |name: &str| std::fs::read(lab.path(name)).expect(name);
    assert_eq!(bytes("a.gguf"), bytes("b.gguf"));

    // Replaced as a whole: nothing of the former export is left.
    ok(&lab.export("hybrid", "hf", "b", &["--force", "--no-tokenizer", "--length", "4096"]));
    assert!(!lab.path("b/tokenizer.json").exists());
    assert_eq!(lab.json("b/config.json")["max_position_embeddings"], 4096);
    let card = String::from_utf8(files(&lab.path("b"))["README.md"].clone()).unwrap();
    assert!(card.contains("Anything beyond 128 tokens: nothing longer was evaluated."), "{card}");
}

#[test]
fn the_card_says_what_the_report_says() {
    let lab = Lab::new(&[]);
    ok(&lab.export("hybrid", "hf", "a", &["--transform", "yarn4"]));
    let card = String::from_utf8(files(&lab.path("a"))["README.md"].clone()).unwrap();
    let output = lab.xp(&["report", "r/export", "--json"]);
    ok(&output);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let experiment = &report["experiments"][0];
    let row = &experiment["sections"][0]["rows"][1];
    assert_eq!(row["config"], "hybrid");
    let reason = row["reason"].as_str().unwrap();
    assert!(
        card.contains(&format!("**EXPLORATORY** against `geo` at 128 tokens: {reason}")),
        "{card}"
    );
    assert!(card.contains(experiment["rule"].as_str().unwrap()));
    for cell in row["cells"].as_array().unwrap() {
        assert!(card.contains(cell["mean_pm_std"].as_str().unwrap()), "{cell}");
    }
    for part in [
        "library_name: transformers",
        "yarn@1(mix@1(geo@1(theta=500, grid=std)",
        "| `schedule.seq_len` | `32` |",
        "That `hybrid` is better or worse than `geo`.",
        "it was judged with the frequencies as trained, and the folder has `yarn4`",
        experiment["sections"][0]["protocol"].as_str().unwrap(),
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
    // The baseline makes no claim, and has none.
    ok(&lab.export("geo", "hf", "b", &[]));
    let card = String::from_utf8(files(&lab.path("b"))["README.md"].clone()).unwrap();
    assert!(card.contains("This is the baseline: nothing is claimed of it."), "{card}");
}

#[test]
fn a_trained_tokenizer_goes_with_the_model() {
    let model = "model={layers=1, hidden_size=16, heads=2, intermediate_size=24, vocab_size=264}";
    let lab = Lab::new(&[model, "data.tokenizer={train_bpe=260}"]);
    ok(&lab.export("geo", "hf", "a", &[]));
    let cached = glob::glob(lab.path("cache/tokenizers/*/tokenizer.json").to_str().unwrap());
    let cached = cached.unwrap().next().expect("a trained tokenizer").unwrap();
    assert_eq!(files(&lab.path("a"))["tokenizer.json"], std::fs::read(&cached).unwrap());
    ok(&lab.export("geo", "gguf", "a.gguf", &[]));

    std::fs::rename(&cached, lab.path("mine.json")).unwrap();
    let output = lab.export("geo", "hf", "b", &[]);
    assert_eq!(output.status.code(), Some(3));
    let told = told(&output);
    for part in ["not in the cache", "xp data", "--tokenizer FILE", "--no-tokenizer"] {
        assert!(told.contains(part), "{told}");
    }
    ok(&lab.export("geo", "hf", "b", &["--tokenizer", "mine.json"]));
    assert_eq!(files(&lab.path("a"))["tokenizer.json"], files(&lab.path("b"))["tokenizer.json"]);
    ok(&lab.export("geo", "hf", "c", &["--no-tokenizer"]));
    assert!(!lab.path("c/tokenizer.json").exists() && lab.path("c/config.json").exists());
}

#[test]
fn a_tokenizer_of_the_hub_is_the_commit_that_was_trained_with() {
    let lab = Lab::new(&[]);
    ok(&lab.export("geo", "hf", "bytes", &[]));
    let mut tokenizer = lab.json("bytes/tokenizer.json");
    let end = json!({
        "id": 256, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true,
    });
    tokenizer["added_tokens"] = json!([end]);
    let repo = lab.path("hub/models--some--model");
    let put = |commit: &str, content: &str| {
        let folder = repo.join("snapshots").join(commit);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(folder.join("tokenizer.json"), content).unwrap();
        std::fs::write(repo.join("refs/main"), commit).unwrap();
    };
    put("c0ffee", &tokenizer.to_string());
    let model = "model={layers=1, hidden_size=16, heads=2, intermediate_size=24, vocab_size=264}";
    lab.run("hub-run", &[model, "data.tokenizer='some/model'"]);
    let export = |to: &str, destination: &str| {
        let run = "hub-run/export/geo/seed-0";
        ok(&lab.xp(&["export", run, "--to", to, destination]));
    };
    export("hf", "a");
    put("decade", "{}");
    export("hf", "b");
    assert_eq!(files(&lab.path("a")), files(&lab.path("b")));
    assert_eq!(files(&lab.path("a"))["tokenizer.json"], tokenizer.to_string().into_bytes());
    for name in ["a/config.json", "a/generation_config.json"] {
        assert_eq!(
            (&lab.json(name)["eos_token_id"], &lab.json(name)["bos_token_id"]),
            (&json!(256), &json!(256))
        );
    }
    assert!(lab.json("a/config.json")["pad_token_id"].is_null());
    assert_eq!(lab.json("a/tokenizer_config.json")["eos_token"], "<|endoftext|>");
    let card = std::fs::read_to_string(lab.path("a/README.md")).unwrap();
    assert!(card.contains("some/model of the hub, commit c0ffee"), "{card}");
    export("gguf", "a.gguf");
}

#[test]
fn a_run_of_a_sweep_and_a_further_attempt_have_their_own_protocol_and_place() {
    let lab = Lab { dir: tempfile::tempdir().expect("a temporary folder") };
    let base = reference().join("export/export.toml");
    let text = format!(
        "extends = '{}'\n[experiment]\nrepeats = 2\n[sweep.grid]\n\"model.norm_eps\" = [1e-6, 1e-3]\n",
        base.display()
    );
    std::fs::write(lab.path("swept.toml"), text).unwrap();
    ok(&lab.xp(&["run", "swept.toml", "--results", "r", "-q", "--only", "geo"]));
    let points: Vec<_> = points_of(&lab.path("r/export"));
    let [first, second] = points.as_slice() else { panic!("{points:?}") };
    for (point, eps) in [(first, 1e-3), (second, 1e-6)] {
        let run = point.join("geo/seed-0/attempt-2");
        let name = eps.to_string();
        ok(&lab.xp(&["export", run.to_str().unwrap(), "--to", "hf", &name]));
        assert_eq!(lab.json(&format!("{name}/config.json"))["rms_norm_eps"], eps);
        let card = std::fs::read_to_string(lab.path(&name).join("README.md")).unwrap();
        assert!(card.contains("It is attempt 2 at the run"), "{card}");
        let point = point.file_name().unwrap().to_str().unwrap().replace('_', "\\_");
        assert!(card.contains(&format!("geo at {point}, seed 0")), "{card}");
    }
}

/// The folders of a sweep's points.
fn points_of(experiment: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(experiment).expect("a folder").map(|entry| entry.unwrap().path());
    let mut points: Vec<_> = entries.filter(|path| path.join("geo").is_dir()).collect();
    points.sort();
    points
}
