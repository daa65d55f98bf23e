//! Experiments on CUDA devices through the interpreter: one device, two side by side, one that is
//! too small.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use xp::data::{Cache, ContentHashes, Progress};
use xp::ops::cuda::Emulator;
use xp::plan::{self, Plan, Run};
use xp::results::{self, Layout};
use xp::run::state::Inspection;
use xp::run::{Cuda, Executor, Jobs, Observer, Options, RunObserver, Several, run_dir};

struct Quiet;

impl Progress for Quiet {
    fn update(&self, _: u64, _: Option<u64>, _: u64) {}
}

impl Observer for Quiet {
    fn run_begins<'a>(
        &'a self,
        _: &'a Run<'a>,
        _: usize,
        _: usize,
        _: &Inspection,
    ) -> Box<dyn RunObserver + 'a> {
        Box::new(Self)
    }
}

impl RunObserver for Quiet {
    fn step(&mut self, _: &results::Step, _: u64, _: u64, _: std::time::Duration) {}

    fn evaluating(&mut self, _: Option<&str>, _: u64, _: usize, _: usize) {}
}

fn plan(set: &[&str]) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/tiny.toml");
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let document = xp::spec::load::load(&path, &set).expect("the tiny spec");
    let (checked, found) = plan::check_document(&document, plan::MAX_RUNS);
    let checked = checked.unwrap_or_else(|| panic!("{found:?}"));
    Plan::new(checked, &mut ContentHashes::default()).expect("no files")
}

/// Carries the plan out; run.json, training log and weights of every run.
fn run(plan: &Plan, executor: &dyn Executor) -> Result<BTreeMap<String, Vec<u8>>, xp::run::Error> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (layout, cache) = (Layout::new(dir.path().join("r")), Cache::at(dir.path().join("c")));
    let options = Options {
        results: &layout,
        cache: &cache,
        only: None,
        seeds: None,
        shard: None,
        task: None,
        jobs: Jobs::Measured,
        fail_fast: false,
        force: false,
        supersede: false,
    };
    xp::run::run(plan, &options, executor, &Quiet, &Arc::default())?;
    let mut files = BTreeMap::new();
    for run in plan.runs() {
        let dir = run_dir(plan, &run, &layout);
        let provenance = std::fs::read_to_string(dir.0.join("provenance.json")).unwrap();
        let provenance: serde_json::Value = serde_json::from_str(&provenance).unwrap();
        let peak = provenance["device_peak_memory_bytes"].as_u64().expect("of the device");
        assert!((1 << 20..1 << 26).contains(&peak), "{peak}");
        for name in ["run.json", "train.jsonl", "weights.safetensors"] {
            let path = dir.0.join(name);
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            files.insert(format!("{} {} {name}", run.config.name, run.seed), bytes);
        }
    }
    Ok(files)
}

const BF16: &[&str] = &["schedule.precision=bf16", "schedule.max_steps=2", "eval.chunks=1"];

fn device(bytes: u64, seed: u64) -> Box<dyn Executor + Send> {
    Box::new(Cuda::new(Arc::new(Emulator::new(bytes, seed))))
}

#[test]
fn results_are_the_same_on_one_device_and_on_two() {
    let plan = plan(BF16);
    let one = run(&plan, device(4 << 30, 1).as_ref()).unwrap();
    let two = Several::new(vec![device(4 << 30, 2), device(4 << 30, 3)]).unwrap();
    assert_eq!(two.jobs(), Some(2));
    assert!(run(&plan, &two).unwrap() == one);
}

#[test]
fn a_card_that_is_too_small_is_refused_before_any_training() {
    let error = run(&plan(BF16), device(1 << 20, 1).as_ref()).unwrap_err().to_string();
    assert!(
        error.starts_with("a run needs about 0.0 GiB of the GPU's memory, of which"),
        "{error}"
    );
}

#[test]
fn heads_that_no_kernel_carries_are_refused_before_any_training() {
    let plan = plan(&[BF16, &["model.head_dim=12"]].concat());
    let error = run(&plan, device(4 << 30, 1).as_ref()).unwrap_err().to_string();
    assert!(error.contains("head_dim is 12; it must be a multiple of 8"), "{error}");
}
