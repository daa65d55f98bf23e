//! What a run is given, written down for another implementation: initial weights, the tokens of every
//! step, the chunks of the evaluation, frequencies and the schedule's constants.
//!
//! ```text
//! cargo run --release --example inputs -- SPEC CONFIG SEED FOLDER [KEY=VALUE...]
//! ```
//!
//! An executor that writes down what the interpreter hands it: nothing here knows how weights are drawn
//! or rows are ordered. `tests/bench/vs_torch/curve.py` trains PyTorch with it.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::json;
use xp::data::{Cache, ContentHashes, Progress};
use xp::model::{self, Layout};
use xp::plan::{self, LayerSets, Plan, Protocol, Run};
use xp::results;
use xp::run::executor::{self, EvalSession, Executor, Job, Start, TrainSession};
use xp::run::state::Inspection;
use xp::run::{Jobs, Observer, Options, RunObserver};
use xp::spec::load;
use xp::train::StepNumbers;
use xp::train::checkpoint::Arena;

/// Writes what it is handed into a folder.
struct Recorder {
    folder: PathBuf,
}

struct Session {
    layout: Layout,
    position: u64,
    batches: Option<BufWriter<File>>,
    folder: PathBuf,
    /// Lengths of the chunks in `evaluation.u32`, in their order.
    lengths: Mutex<Vec<usize>>,
}

fn failed(error: impl std::fmt::Display) -> executor::Error {
    executor::Error::Environment(error.to_string())
}

fn write_ids(file: &mut impl Write, ids: &[u32]) -> Result<(), executor::Error> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    file.write_all(&bytes).map_err(failed)
}

impl Recorder {
    fn create(&self, name: &str) -> Result<BufWriter<File>, executor::Error> {
        File::create(self.folder.join(name)).map(BufWriter::new).map_err(failed)
    }

    /// Shape, frequencies and schedule.
    fn describe(&self, job: &Job<'_>) -> Result<(), executor::Error> {
        let [set] = job.freq.sets() else {
            return Err(executor::Error::Input("all layers must have one frequency set".into()));
        };
        let (model, train) = (&job.protocol.model, &job.protocol.train);
        let about = json!({
            "model": model, "train": train, "steps": job.steps, "seed": job.seed,
            "inv_freq": set.inv_freq_f32(), "attention_scale": set.attention_scale,
        });
        write!(self.create("inputs.json")?, "{about:#}").map_err(failed)
    }
}

impl Executor for Recorder {
    fn device_class(&self) -> String {
        "none".into()
    }

    fn check(&self, _: &Protocol, _: bool, _: usize) -> Result<(), executor::Error> {
        Ok(())
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, executor::Error> {
        if job.protocol.init_from.is_some() {
            return Err(executor::Error::Input("init_from: give PyTorch that file".into()));
        }
        Ok(model::init(&job.protocol.model, job.seed))
    }

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, executor::Error> {
        let Start::Fresh(weights) = start else {
            unreachable!("nothing was written to resume from")
        };
        self.describe(job)?;
        let layout = Layout::new(&job.protocol.model);
        let read = |offset: usize, out: &mut [f32]| {
            out.copy_from_slice(&weights[offset..offset + out.len()]);
            Ok(())
        };
        let path = self.folder.join("weights.safetensors");
        xp::train::weights::save(&path, &layout, read).map_err(failed)?;
        let batches = Some(self.create("batches.u32")?);
        let (folder, lengths) = (self.folder.clone(), Mutex::default());
        Ok(Box::new(Session { layout, position: 0, batches, folder, lengths }))
    }

    fn evaluate(&self, _: &Job<'_>, _: Vec<f32>) -> Result<Box<dyn EvalSession>, executor::Error> {
        unreachable!("every run is trained here first")
    }
}

impl TrainSession for Session {
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, executor::Error> {
        write_ids(self.batches.as_mut().expect("open while it trains"), tokens)?;
        self.position += 1;
        Ok(StepNumbers { lr: 0.0, loss: 0.0, grad_norm: 0.0 })
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn read(&self, _: Arena, _: usize, out: &mut [f32]) -> Result<(), executor::Error> {
        out.fill(0.0);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Box<dyn EvalSession> {
        self.batches = None;
        self
    }
}

impl EvalSession for Session {
    fn set_freq(&mut self, _: &LayerSets) -> Result<(), executor::Error> {
        Ok(())
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, executor::Error> {
        let path = self.folder.join("evaluation.u32");
        let mut file = File::options().create(true).append(true).open(path).map_err(failed)?;
        write_ids(&mut file, tokens)?;
        let mut lengths = self.lengths.lock().expect("no thread panics with this lock");
        lengths.push(tokens.len());
        let text = json!(*lengths).to_string();
        std::fs::write(self.folder.join("evaluation.json"), text).map_err(failed)?;
        Ok(vec![0.0; tokens.len() - 1])
    }
}

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
        Box::new(Silent)
    }
}

struct Silent;

impl RunObserver for Silent {}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [spec, config, seed, folder, set @ ..] = args.as_slice() else {
        return Err("see the top of this file".into());
    };
    let document =
        load::load(Path::new(spec), set).map_err(|error| format!("{spec}: {error:?}"))?;
    let (checked, found) = plan::check_document(&document, plan::MAX_RUNS);
    let checked = checked.ok_or_else(|| xp::diag::render(&found, false))?;
    let plan = Plan::new(checked, &mut ContentHashes::default())?;
    let folder = PathBuf::from(folder);
    // Chunks are appended to the file: what an earlier call has left would stay.
    std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (layout, cache) = (results::Layout::new(folder.join("results")), Cache::from_env()?);
    let options = Options {
        results: &layout,
        cache: &cache,
        only: Some(glob::Pattern::new(&glob::Pattern::escape(config))?),
        seeds: Some(vec![seed.parse()?]),
        shard: None,
        task: None,
        jobs: Jobs::Given(1),
        fail_fast: true,
        force: false,
        supersede: false,
    };
    let recorder = Recorder { folder: folder.clone() };
    let outcome = xp::run::run(&plan, &options, &recorder, &Quiet, &Arc::default())?;
    std::fs::remove_dir_all(layout.root())?;
    match outcome.finished {
        1 => Ok(()),
        0 if outcome.selected == 0 => Err(format!("no run of {config} with seed {seed}").into()),
        n => Err(format!("{n} runs were finished, {} failed", outcome.failed).into()),
    }
}
