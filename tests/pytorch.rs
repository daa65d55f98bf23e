//! xp against PyTorch: losses, gradients and perplexities of a small model, from the same weights
//! and tokens. The values were made by tests/reference/make_small.py.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xp::model::{self, Layout, Rope, Ropes};
use xp::optim::Decay;
use xp::train::{Precision, Trainer, weights};

fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/small")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON")
}

fn close(what: &str, got: f64, want: f64, tolerance: f64) {
    let error = (got / want - 1.0).abs();
    assert!(error <= tolerance, "{what}: {got}, PyTorch {want}, relative error {error:e}");
}

#[test]
fn losses_and_perplexities_are_pytorchs() {
    let golden = json(&small().join("golden.json"));
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_xp"))
        .arg("run")
        .arg(small().join("small.toml"))
        .arg("--results")
        .arg(dir.path())
        .arg("-q")
        .env("XP_CACHE", dir.path().join("cache"))
        .stdout(std::process::Stdio::null())
        .status()
        .expect("xp runs");
    assert!(status.success());
    let number = |value: &Value| value.as_f64().expect("a number");
    let configs = golden["configs"].as_object().expect("an object");
    assert_eq!(configs.len(), 4);
    for (config, golden) in configs {
        let run = dir.path().join("small").join(config).join("seed-0");
        let log = std::fs::read_to_string(run.join("train.jsonl")).unwrap();
        let steps: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(steps.len(), 10);
        for (i, step) in steps.iter().enumerate() {
            let pair = |ours: &str, theirs: &str| (number(&step[ours]), number(&golden[theirs][i]));
            let ((loss, want), (norm, want_norm)) =
                (pair("loss", "losses"), pair("grad_norm", "grad_norms"));
            close(&format!("{config}: loss {i}"), loss, want, 1e-5);
            close(&format!("{config}: norm {i}"), norm, want_norm, 1e-4);
        }
        let record = json(&run.join("run.json"));
        let held = |what: &str, got: &Value, want: &Value| {
            for (length, want) in want.as_object().expect("lengths") {
                let got = number(&got[length]["ppl"]);
                close(&format!("{config}: {what} at {length}"), got, number(want), 1e-4);
            }
        };
        held("perplexity", &record["eval"], &golden["perplexity"]);
        for (transform, canonical) in [
            ("pi4", "pi@1({trained}, factor=4)"),
            ("dynamic", "attn@1(dynamic_ntk@1({trained}, factor=2), scale=1.1)"),
        ] {
            held(transform, &record["transforms"][canonical], &golden["transforms"][transform]);
        }
    }
}

#[test]
fn gradients_are_pytorchs_and_none_is_zero() {
    let model = model::Config {
        layers: 2,
        hidden_size: 48,
        heads: 2,
        head_dim: 16,
        intermediate_size: 96,
        vocab_size: 256,
        norm_eps: 1e-6,
        init_std: 0.02,
        tie_embeddings: true,
    };
    let train = xp::train::Config {
        seq_len: 32,
        batch_size: 4,
        micro_batch_size: 2,
        epochs: 1,
        max_steps: Some(10),
        order: xp::data::OrderKind::Sequential,
        lr: 3e-3,
        warmup_frac: 0.2,
        decay: Decay::Cosine,
        min_lr_frac: 0.0,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.1,
        grad_clip: 1.0,
        precision: Precision::F32,
    };
    let layout = Layout::new(&model);
    let initial = weights::load(&small().join("weights.safetensors"), &layout).unwrap();
    let want = weights::load(&small().join("gradients.safetensors"), &layout).unwrap();
    let context = xp::freq::Context::new(16);
    let freq = xp::freq::evaluate("geo(theta=500)", &context).unwrap();
    let rope = Rope { inv_freq: freq.inv_freq_f32(), attention_scale: 1.0 };
    let ropes = Ropes::uniform(rope, model.layers);
    let cpu = xp::ops::Cpu::new();
    let mut trainer = Trainer::new(cpu, &model, &ropes, &train, 10, initial).unwrap();
    let text = std::fs::read(small().join("text.txt")).unwrap();
    let tokens: Vec<u32> = text[..4 * 32].iter().map(|&b| u32::from(b)).collect();
    trainer.step(&tokens).unwrap();
    let got = trainer.gradients().unwrap();
    for tensor in &layout.tensors {
        let (got, want) = (&got[tensor.range()], &want[tensor.range()]);
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let size = norm(&mut want.iter().map(|&x| f64::from(x)));
        let error = norm(&mut got.iter().zip(want).map(|(&a, &b)| f64::from(a) - f64::from(b)));
        assert!(size > 0.0, "{} has no gradient", tensor.name);
        assert!(error <= 1e-5 * size, "{}: relative error {:e}", tensor.name, error / size);
    }
}
