//! `xp export`: the files, what llama.cpp and transformers compute with them, and what is refused.
//!
//! The values of transformers were made by tests/reference/export_model.py with the real library, on
//! weights that no step changes, and so are the same bits everywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use xp::model::Layout;
use xp::release::TrainedRun;
use xp::train::weights;

#[path = "reference/logits.rs"]
#[expect(dead_code, reason = "its main is for the script")]
mod logits;

/// A folder with the runs of reference/export/export.toml.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// Carries the spec out, with settings of its own.
    fn new(sets: &[&str]) -> Self {
        let lab = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        lab.run("r", sets);
        lab
    }

    fn run(&self, results: &str, sets: &[&str]) {
        let spec = reference().join("export/export.toml");
        let mut args = vec!["run", spec.to_str().expect("UTF-8"), "--results", results, "-q"];
        args.extend(sets.iter().flat_map(|set| ["--set", set]));
        ok(&self.xp(&args));
    }

    fn xp(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xp"));
        command.args(args).env("XP_CACHE", self.path("cache"));
        command.env("HF_HUB_CACHE", self.path("hub")).env("HF_HUB_OFFLINE", "1");
        command.current_dir(self.dir.path()).output().expect("xp runs")
    }

    fn export(&self, config: &str, to: &str, destination: &str, more: &[&str]) -> Output {
        let run = format!("r/export/{config}/seed-0");
        self.xp(&[&["export", &run, "--to", to, destination], more].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run_of(&self, config: &str) -> PathBuf {
        self.path(&format!("r/export/{config}/seed-0"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).expect(name)).expect("JSON")
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).expect(name);
        assert!(text.contains(from), "{from} is not in {name}");
        std::fs::write(self.path(name), text.replacen(from, to, 1)).expect(name);
    }
}

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ok(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
}

/// Every file of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable"));
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, std::fs::read(entry.path()).expect("readable"))
    };
    entries.map(read).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn transformers_has_the_logits_and_perplexities_of_xp() {
    let golden: Value =
        serde_json::from_str(include_str!("reference/export/golden.json")).expect("JSON");
    let kept = golden["kept"].as_u64().expect("a number") as usize;
    let lab = Lab::new(&[]);
    let text = std::fs::read(reference().join("small/text.txt")).expect("the text");
    let cases = golden["cases"].as_object().expect("cases");
    assert_eq!(cases.len(), 5);
    for (name, case) in cases {
        let config = case["config_name"].as_str().expect("a name");
        let transform = case["transform"].as_str();
        let named = transform.map_or(vec![], |transform| vec!["--transform", transform]);
        ok(&lab.export(config, "hf", name, &named));
        assert_eq!(lab.json(&format!("{name}/config.json")), case["config"], "{name}");
        let record = lab.json(&format!("r/export/{config}/seed-0/run.json"));
        let file = format!("{name}.gguf");
        ok(&lab.export(config, "gguf", &file, &named));
        let mut bytes = std::fs::read(lab.path(&file)).expect("a file");
        for id in ["train_id", "protocol"] {
            let id = record[id].as_str().expect("an id").as_bytes();
            let at =
                bytes.windows(id.len()).position(|part| part == id).expect("it is in the file");
            bytes[at..at + id.len()].fill(b'0');
        }
        assert_eq!(sha256(&bytes), case["gguf_sha256"], "{name}: not the file llama.cpp had");
        let held = match transform {
            None => &record["eval"],
            Some(_) => record["transforms"].as_object().unwrap().values().next().unwrap(),
        };
        for (length, positions) in case["logits"].as_object().expect("lengths") {
            let tokens: Vec<u32> =
                text[..length.parse().unwrap()].iter().map(|&byte| u32::from(byte)).collect();
            let ours = logits::logits(&lab.run_of(config), transform, tokens.len() as u64, &tokens);
            let ours = ours.expect("logits");
            for (position, theirs) in positions.as_object().expect("positions") {
                let row = &ours[256 * position.parse::<usize>().unwrap()..][..256];
                let theirs = theirs.as_array().expect("logits");
                assert_eq!(theirs.len(), 256 / kept);
                for (a, b) in row.iter().step_by(kept).zip(theirs) {
                    let off = (f64::from(*a) - number(b)).abs();
                    assert!(off < 1e-5, "{name} at {length}, {position}: {a}, transformers {b}");
                }
            }
            let (ours, theirs) =
                (number(&held[length]["ppl"]), number(&case["perplexity"][length]));
            assert!((ours / theirs - 1.0).abs() < 1e-6, "{name} at {length}: {ours}, {theirs}");
        }
    }
}

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

/// The values of one tensor of an exported folder, as they are stored.
fn stored(folder: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(folder.join("model.safetensors")).expect("weights");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    floats(tensors.tensor(name).expect("the tensor").data())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn the_rows_of_q_and_k_stand_where_the_software_pairs_them() {
    let lab = Lab::new(&[]);
    let run = TrainedRun::open(&lab.run_of("partial")).expect("a run");
    let layout = Layout::new(&run.model);
    let trained = weights::load(&run.dir.weights(), &layout).expect("weights");
    let of = |name: &str| &trained[layout.get(name).expect(name).range()];
    let rows = |values: &[f32], order: &dyn Fn(usize) -> usize| -> Vec<f32> {
        // Two heads of 16 rows of 48.
        let row = |i: usize| i / 16 * 16 + order(i % 16);
        (0..32).flat_map(|i| values[48 * row(i)..48 * (row(i) + 1)].to_vec()).collect()
    };
    // Half of a head rotates, in pairs (i, i + 4); transformers pairs (i, i + 8).
    let halves = |i: usize| [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15][i];
    // llama.cpp pairs (2 i, 2 i + 1).
    let neighbours = |i: usize| [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15][i];
    ok(&lab.export("partial", "hf", "hf", &[]));
    ok(&lab.export("partial", "gguf", "p.gguf", &[]));
    let gguf = std::fs::read(lab.path("p.gguf")).expect("a file");
    let holds = |values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        gguf.chunks(32).enumerate().any(|(i, _)| gguf[32 * i..].starts_with(&bytes))
    };
    for part in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"] {
        let name = format!("model.layers.1.{part}.weight");
        let (values, stored) = (of(&name), stored(&lab.path("hf"), &name));
        if part.contains("q_proj") || part.contains("k_proj") {
            assert_eq!(stored, rows(values, &halves), "{name}");
            assert!(holds(&rows(values, &neighbours)), "{name}");
        } else {
            assert_eq!(stored, values, "{name}");
            assert!(holds(values), "{name}");
        }
    }
    assert!(holds(&[1.0, 4.728_708, 22.360_68, 105.737_13, 1e30, 1e30, 1e30, 1e30]));
    // A set that rotates whole heads leaves the weights as they are.
    ok(&lab.export("geo", "hf", "whole", &[]));
    let whole = std::fs::read(lab.path("whole/model.safetensors")).unwrap();
    assert_eq!(whole, std::fs::read(lab.run_of("geo").join("weights.safetensors")).unwrap());
}

#[test]
fn training_starts_from_an_export_with_the_same_weights() {
    let lab = Lab::new(&[]);
    let trained = lab.json("r/export/geo/seed-0/run.json")["train"]["init"].clone();
    let go_on = |results: &str, from: &Path| {
        lab.run(results, &[&format!("model.init_from='{}'", from.display())]);
        lab.json(&format!("{results}/export/geo/seed-0/run.json"))
    };
    for config in ["geo", "partial"] {
        ok(&lab.export(config, "hf", config, &[]));
        let record = go_on(&format!("from-{config}"), &lab.path(config));
        assert_eq!(record["train"]["init"], trained, "{config}");
    }
    // One id for a folder and for the one file in it; another for the same weights in shards.
    let folder = lab.json("from-geo/export/geo/seed-0/run.json");
    let file = go_on("from-file", &lab.path("geo/model.safetensors"));
    assert_eq!(file["train_id"], folder["train_id"]);
    shard(&lab.path("geo"), &lab.path("shards"));
    let shards = go_on("from-shards", &lab.path("shards"));
    assert_eq!(shards["train"]["init"], trained);
    assert_ne!(shards["train_id"], folder["train_id"]);
    let index = go_on("from-index", &lab.path("shards/model.safetensors.index.json"));
    assert_eq!(index["train_id"], shards["train_id"]);
    // What they are called is no part of the id.
    let renamed = lab.path("renamed");
    shard(&lab.path("geo"), &renamed);
    let index = renamed.join("model.safetensors.index.json");
    let mut text = std::fs::read_to_string(&index).unwrap();
    for (from, to) in [("1.safetensors", "z.safetensors"), ("2.safetensors", "b.safetensors")] {
        std::fs::rename(renamed.join(from), renamed.join(to)).unwrap();
        text = text.replace(from, to);
    }
    std::fs::write(&index, text).unwrap();
    assert_eq!(go_on("from-renamed", &renamed)["train_id"], shards["train_id"]);
}

/// Splits an exported folder into two shards with an index.
fn shard(folder: &Path, into: &Path) {
    std::fs::create_dir(into).unwrap();
    std::fs::copy(folder.join("config.json"), into.join("config.json")).unwrap();
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for part in [1, 2] {
        let file = format!("{part}.safetensors");
        let is_here = |name: &str| name.contains("layers.0") == (part == 1);
        let here: Vec<_> =
            tensors.tensors().into_iter().filter(|(name, _)| is_here(name)).collect();
        map.extend(here.iter().map(|(name, _)| (name.clone(), json!(file))));
        let bytes = safetensors::serialize(here, None).unwrap();
        std::fs::write(into.join(&file), bytes).unwrap();
    }
    let index = json!({ "metadata": {}, "weight_map": map });
    std::fs::write(into.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

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
    ok(&lab.export("geo", "hf", "taken", &["--force"]));
    assert_eq!(files(&lab.path("taken"))["mine"], b"mine");

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
fn a_set_that_depends_on_the_length_is_the_one_for_the_longest_text() {
    let lab = Lab { dir: tempfile::tempdir().expect("a temporary folder") };
    let spec = reference().join("small/small.toml");
    ok(&lab.xp(&["run", spec.to_str().unwrap(), "--results", "s", "-q", "--only", "geo_500"]));
    let dynamic = "attn(dynamic_ntk(geo(theta=500), factor=2), scale=1.1)";
    for length in ["64", "128"] {
        let run = ["export", "s/small/geo_500/seed-0", "--to", "hf", length, "--json"];
        let output = lab.xp(&[&run[..], &["--transform", "dynamic", "--length", length]].concat());
        ok(&output);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("one object");
        let context = ["--head-dim", "16", "--train-len", "32", "--target-len", "128"];
        let freq = ["freq", dynamic, "--json", "--seq-len", length];
        let set = lab.xp(&[&freq[..], &context].concat());
        let set: Value = serde_json::from_slice(&set.stdout).expect("one object");
        assert_eq!(answer["vec_id"], set["vec_id"]);
        let config = lab.json(&format!("{length}/config.json"));
        assert_eq!(config["rope_parameters"]["attention_factor"], 1.1);
        assert_eq!(config["xp_freq"]["seq_len"].to_string(), length);
        let note = format!("these are the ones for {length} tokens");
        assert!(told(&output).contains(&note), "{}", told(&output));
    }
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
