//! The interpreter with a mock executor: losses are a formula of the run, so that sweep, store
//! and report are tested to the last digit.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use xp::data::{Cache, ContentHashes, Progress};
use xp::model::Layout;
use xp::plan::{self, Plan, Protocol};
use xp::report::{Input, Report, summary_csv};
use xp::results::{self, store};
use xp::run::executor::{Error, Executor, Job, Session, Start};
use xp::run::{Observer, Options};
use xp::spec::load;
use xp::train::StepNumbers;
use xp::train::checkpoint::State;

/// Loss of a run at every position: ln 10, less a little for later configs and larger seeds.
fn loss_of(job: &Job<'_>) -> f32 {
    let lower = if job.freq.expression.starts_with("mix") { 0.25 } else { 0.0 };
    2.0 - lower + job.seed as f32 / 64.0
}

#[derive(Default)]
struct Mock {
    opened: Vec<u64>,
}

struct MockSession {
    layout: Layout,
    position: u64,
    loss: f32,
}

impl Executor for Mock {
    fn device_class(&self) -> String {
        "mock".into()
    }

    fn check(&self, _: &Protocol) -> Result<(), Error> {
        Ok(())
    }

    fn open(&mut self, job: &Job<'_>, start: Start) -> Result<Box<dyn Session>, Error> {
        let position = match start {
            Start::Fresh => 0,
            Start::Checkpoint(state) => state.step,
            Start::Trained(_) => job.steps,
        };
        self.opened.push(position);
        let layout = Layout::new(&job.protocol.model);
        Ok(Box::new(MockSession { layout, position, loss: loss_of(job) }))
    }
}

impl Session for MockSession {
    fn step(&mut self, _: &[u32]) -> Result<StepNumbers, Error> {
        self.position += 1;
        Ok(StepNumbers { lr: 0.5, loss: f64::from(self.loss), grad_norm: 1.0 })
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn state(&mut self) -> Result<State, Error> {
        let arena = vec![0.0; self.layout.len()];
        Ok(State {
            step: self.position,
            weights: arena.clone(),
            exp_avg: arena.clone(),
            exp_avg_sq: arena,
        })
    }

    fn weights(&mut self) -> Result<Vec<f32>, Error> {
        Ok(vec![0.0; self.layout.len()])
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(vec![self.loss; tokens.len() - 1])
    }
}

/// Stops the interpreter after some steps.
struct StopAfter<'a> {
    steps: u64,
    stop: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn update(&self, _: u64, _: Option<u64>, _: u64) {}
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &results::Step, _: u64, _: u64, _: std::time::Duration) {
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 {
            self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

fn plan() -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/tiny.toml");
    let document = load::load(&path, &[]).expect("the tiny spec");
    let (checked, found) = plan::check_document(&document, plan::MAX_RUNS);
    let checked = checked.unwrap_or_else(|| panic!("{found:?}"));
    Plan::new(checked, &mut ContentHashes::default()).expect("no files")
}

#[test]
fn the_report_of_a_formula_is_the_formula() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, cache) =
        (results::Layout::new(dir.path().join("r")), Cache::at(dir.path().join("c")));
    let options = Options {
        results: &layout,
        cache: &cache,
        only: None,
        seeds: None,
        shard: None,
        fail_fast: false,
        force: false,
        supersede: false,
    };
    let plan = plan();
    let mut mock = Mock::default();
    // Stopped in the middle of the first run, then carried out to the end.
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter { steps: 7, stop: &stop };
    let outcome = xp::run::run(&plan, &options, &mut mock, &mut observer, &stop).unwrap();
    assert!(outcome.interrupted);
    let go = AtomicBool::new(false);
    let mut observer = StopAfter { steps: u64::MAX, stop: &go };
    let outcome = xp::run::run(&plan, &options, &mut mock, &mut observer, &go).unwrap();
    assert_eq!((outcome.finished, outcome.failed, outcome.found), (4, 0, 0));
    assert_eq!(mock.opened, [0, 7, 0, 0, 0]);

    let input = Input {
        declared: plan.declared(),
        lock: store::read_lock(&layout.lock("tiny")).unwrap(),
        listing: results::list(&layout, "tiny").unwrap(),
    };
    assert!(input.listing.problems.is_empty());
    let report = Report::build(&[input]);
    let csv = summary_csv(&report);
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let header = rows.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|h| h == name).expect("a column");
    let mut seen = 0;
    for row in rows.records().map(Result::unwrap) {
        let lower = if &row[column("config")] == "geo" { 0.0 } else { 0.25 };
        let ppl: Vec<f64> = [1.0, 2.0].map(|seed: f64| (2.0 - lower + seed / 64.0).exp()).into();
        let mean = f64::midpoint(ppl[0], ppl[1]);
        let std = (ppl[1] - ppl[0]).abs() / 2f64.sqrt();
        let number = |name: &str| row[column(name)].parse::<f64>().expect("a number");
        assert!((number("mean") / mean - 1.0).abs() < 1e-12, "{row:?}");
        assert!((number("std") / std - 1.0).abs() < 1e-9, "{row:?}");
        if lower > 0.0 {
            assert_eq!(&row[column("seeds_better")], "2/2");
            assert_eq!(&row[column("verdict")], "WIN");
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}
