//! A folder in which plans are carried out on the mock device, and what lies there then.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xp::data::{Cache, ContentHashes, Progress};
use xp::plan::{self, Plan, Run};
use xp::results::{self, Record, store};
use xp::run::executor::Executor;
use xp::run::state::{Index, Inspection, inspect};
use xp::run::{Error, Jobs, Observer, Options, Outcome, RunObserver, run_dir};
use xp::spec::load;

use super::mock::Mock;

/// Stops the interpreter before some step or some evaluated chunk; counts the chunks.
struct Watch<'a> {
    steps: AtomicU64,
    chunks: AtomicU64,
    evaluated: AtomicU64,
    stop: &'a Arc<AtomicBool>,
}

impl Watch<'_> {
    fn count_down(&self, left: &AtomicU64) {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Progress for Watch<'_> {
    fn update(&self, _: u64, _: Option<u64>, _: u64) {}
}

impl Observer for Watch<'_> {
    fn run_begins<'a>(
        &'a self,
        _: &'a Run<'a>,
        _: usize,
        _: usize,
        _: &Inspection,
    ) -> Box<dyn RunObserver + 'a> {
        Box::new(self)
    }
}

impl RunObserver for &Watch<'_> {
    fn step(&mut self, _: &results::Step, _: u64, _: u64, _: std::time::Duration) {
        self.count_down(&self.steps);
    }

    fn evaluating(&mut self, _: Option<&str>, _: u64, _: usize, _: usize) {
        self.evaluated.fetch_add(1, Ordering::Relaxed);
        self.count_down(&self.chunks);
    }
}

/// The plan of the tiny spec with some keys set.
pub(crate) fn plan(set: &[&str]) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/tiny.toml");
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let document = load::load(&path, &set).expect("the tiny spec");
    let (checked, found) = plan::check_document(&document, plan::MAX_RUNS);
    let checked = checked.unwrap_or_else(|| panic!("{found:?}"));
    Plan::new(checked, &mut ContentHashes::default()).expect("no files")
}

pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// What one call of the interpreter did.
pub(crate) struct Did {
    pub outcome: Outcome,
    /// The step at which each session began.
    pub opened: Vec<u64>,
    /// Chunks evaluated.
    pub evaluated: u64,
}

impl Lab {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn layout(&self, name: &str) -> results::Layout {
        results::Layout::new(self.dir.path().join(name))
    }

    /// Carries a plan out, up to so many steps and chunks.
    pub fn run(&self, plan: &Plan, results: &str, steps: u64, chunks: u64) -> Did {
        self.run_with(plan, results, (steps, chunks), 1)
    }

    /// As [`Lab::run`], with so many runs side by side.
    pub fn run_with(
        &self,
        plan: &Plan,
        results: &str,
        (steps, chunks): (u64, u64),
        jobs: usize,
    ) -> Did {
        let (mock, stop) = (Mock::default(), Arc::new(AtomicBool::new(false)));
        let watch =
            Watch { steps: steps.into(), chunks: chunks.into(), evaluated: 0.into(), stop: &stop };
        let outcome = self.carry_out(plan, results, &mock, jobs, &watch).unwrap();
        let evaluated = watch.evaluated.into_inner();
        Did { outcome, opened: mock.opened.into_inner().unwrap(), evaluated }
    }

    fn carry_out(
        &self,
        plan: &Plan,
        results: &str,
        executor: &dyn Executor,
        jobs: usize,
        watch: &Watch<'_>,
    ) -> Result<Outcome, Error> {
        let (layout, cache) = (self.layout(results), Cache::at(self.dir.path().join("c")));
        let options = Options {
            results: &layout,
            cache: &cache,
            only: None,
            seeds: None,
            shard: None,
            task: None,
            jobs: Jobs::Given(jobs),
            fail_fast: false,
            force: false,
            supersede: false,
        };
        xp::run::run(plan, &options, executor, watch, watch.stop)
    }

    /// What becomes of a plan on a device or several.
    pub fn outcome_on(&self, plan: &Plan, results: &str, executor: &dyn Executor) -> Outcome {
        let stop = Arc::new(AtomicBool::new(false));
        let (steps, chunks) = (u64::MAX.into(), u64::MAX.into());
        let watch = Watch { steps, chunks, evaluated: 0.into(), stop: &stop };
        self.carry_out(plan, results, executor, executor.jobs().unwrap_or(1), &watch).unwrap()
    }

    /// Why a plan is not begun.
    pub fn refusal(&self, plan: &Plan, results: &str) -> Error {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch { steps: 0.into(), chunks: 0.into(), evaluated: 0.into(), stop: &stop };
        self.carry_out(plan, results, &Mock::default(), 1, &watch).unwrap_err()
    }

    pub fn all(&self, plan: &Plan, results: &str) -> Did {
        let did = self.run(plan, results, u64::MAX, u64::MAX);
        assert!(!did.outcome.interrupted && did.outcome.failed == 0, "{:?}", did.outcome);
        did
    }

    pub fn states(&self, plan: &Plan, results: &str) -> Vec<String> {
        let layout = self.layout(results);
        let index = Index::scan(&layout);
        let runs = plan.runs();
        let states = runs.iter().map(|run| {
            let found = inspect(run, &run_dir(plan, run, &layout), &index).expect("no conflict");
            format!("{}: {}", found.state.word(), found.reason)
        });
        states.collect()
    }

    /// The bytes of run.json and eval.jsonl of every run.
    pub fn bytes(&self, plan: &Plan, results: &str) -> Vec<String> {
        let layout = self.layout(results);
        let files = plan.runs().into_iter().flat_map(|run| {
            let dir = run_dir(plan, &run, &layout);
            [dir.record(), dir.eval()].map(|path| std::fs::read_to_string(path).expect("there"))
        });
        files.collect()
    }

    pub fn record(&self, plan: &Plan, results: &str, run: usize) -> Record {
        let dir = run_dir(plan, &plan.runs()[run], &self.layout(results));
        store::read_record(&dir.record()).expect("a record")
    }
}
