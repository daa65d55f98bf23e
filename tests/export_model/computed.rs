//! What other software computes with the weights and frequencies of an export.

use xp::model::Layout;
use xp::release::TrainedRun;
use xp::train::weights;

use super::*;

#[test]
fn transformers_has_the_logits_and_perplexities_of_xp() {
    let golden: Value =
        serde_json::from_str(include_str!("../reference/export/golden.json")).expect("JSON");
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
    // Saved again without the word about its rows, the one with half heads is no start.
    shard(&lab.path("partial"), &lab.path("resaved"));
    let spec = reference().join("export/export.toml");
    let from = format!("model.init_from='{}'", lab.path("resaved").display());
    let output = lab.xp(&["check", spec.to_str().unwrap(), "--set", &from]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("the rows of q and k rearranged"), "{}", told(&output));
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
