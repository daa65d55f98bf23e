//! The interpreter with a mock executor: losses are a formula of the run, so that sweep, store
//! and report are tested to the last digit.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xp::data::{Cache, ContentHashes, Progress};
use xp::model::Layout;
use xp::plan::{self, LayerSets, Plan, Protocol, Run};
use xp::report::{Input, Report, summary_csv};
use xp::results::{self, Record, store};
use xp::run::executor::{Error, EvalSession, Executor, Job, Start, TrainSession};
use xp::run::state::{Index, Inspection, inspect};
use xp::run::{Jobs, Observer, Options, Outcome, RunObserver, Several, run_dir};
use xp::spec::load;
use xp::train::StepNumbers;
use xp::train::checkpoint::Arena;

/// Loss of a run at every position: a little less for mixed frequencies, a little more for
/// larger seeds; a transform takes off a half.
fn loss_of(expression: &str, seed: u64) -> f32 {
    let lower = if expression.contains("mix@") { 0.25 } else { 0.0 };
    let transformed = if expression.starts_with("scale@") { 0.5 } else { 0.0 };
    2.0 - lower - transformed + seed as f32 / 64.0
}

/// Stands for the step of a session that only evaluates.
const TRAINED: u64 = u64::MAX;

#[derive(Default)]
struct Mock {
    opened: Mutex<Vec<u64>>,
}

struct MockSession {
    layout: Layout,
    position: u64,
    loss: f32,
    seed: u64,
}

impl Executor for Mock {
    fn device_class(&self) -> String {
        "mock".into()
    }

    fn check(&self, _: &Protocol) -> Result<(), Error> {
        Ok(())
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error> {
        Ok(vec![job.seed as f32])
    }

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error> {
        let position = match start {
            Start::Fresh(_) => 0,
            Start::Checkpoint(state) => state.step,
        };
        self.opened.lock().unwrap().push(position);
        let layout = Layout::new(&job.protocol.model);
        let (loss, seed) = (loss_of(&job.freq.expression, job.seed), job.seed);
        Ok(Box::new(MockSession { layout, position, loss, seed }))
    }

    fn evaluate(&self, job: &Job<'_>, _: Vec<f32>) -> Result<Box<dyn EvalSession>, Error> {
        self.opened.lock().unwrap().push(TRAINED);
        let layout = Layout::new(&job.protocol.model);
        let (loss, seed) = (loss_of(&job.freq.expression, job.seed), job.seed);
        Ok(Box::new(MockSession { layout, position: TRAINED, loss, seed }))
    }
}

/// A device that falls off its bus when it has trained so many runs.
struct Dying {
    mock: Mock,
    trains: AtomicU64,
}

impl Dying {
    fn after(trains: u64) -> Self {
        Self { mock: Mock::default(), trains: trains.into() }
    }
}

impl Executor for Dying {
    fn device_class(&self) -> String {
        self.mock.device_class()
    }

    fn check(&self, protocol: &Protocol) -> Result<(), Error> {
        self.mock.check(protocol)
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error> {
        self.mock.initial(job)
    }

    fn answering(&self) -> (usize, usize) {
        (usize::from(self.trains.load(Ordering::Relaxed) > 0), 1)
    }

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error> {
        let fewer = |trains: u64| trains.checked_sub(1);
        match self.trains.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer) {
            Ok(_) => self.mock.train(job, start),
            Err(_) => Err(Error::Environment("the card does not answer".into())),
        }
    }

    fn evaluate(&self, job: &Job<'_>, weights: Vec<f32>) -> Result<Box<dyn EvalSession>, Error> {
        self.mock.evaluate(job, weights)
    }
}

impl TrainSession for MockSession {
    fn step(&mut self, _: &[u32]) -> Result<StepNumbers, Error> {
        self.position += 1;
        Ok(StepNumbers { lr: 0.5, loss: f64::from(self.loss), grad_norm: 1.0 })
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn read(&self, _: Arena, _: usize, out: &mut [f32]) -> Result<(), Error> {
        out.fill(0.0);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Box<dyn EvalSession> {
        self
    }
}

impl EvalSession for MockSession {
    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error> {
        self.loss = loss_of(&freq.expression, self.seed);
        Ok(())
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(vec![self.loss; tokens.len() - 1])
    }
}

/// Stops the interpreter before some step or some evaluated chunk; counts the chunks.
struct Watch<'a> {
    steps: AtomicU64,
    chunks: AtomicU64,
    evaluated: AtomicU64,
    stop: &'a AtomicBool,
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
fn plan(set: &[&str]) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/tiny.toml");
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let document = load::load(&path, &set).expect("the tiny spec");
    let (checked, found) = plan::check_document(&document, plan::MAX_RUNS);
    let checked = checked.unwrap_or_else(|| panic!("{found:?}"));
    Plan::new(checked, &mut ContentHashes::default()).expect("no files")
}

struct Lab {
    dir: tempfile::TempDir,
}

/// What one call of the interpreter did.
struct Did {
    outcome: Outcome,
    /// The step at which each session began.
    opened: Vec<u64>,
    /// Chunks evaluated.
    evaluated: u64,
}

impl Lab {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn layout(&self, name: &str) -> results::Layout {
        results::Layout::new(self.dir.path().join(name))
    }

    /// Carries a plan out, up to so many steps and chunks.
    fn run(&self, plan: &Plan, results: &str, steps: u64, chunks: u64) -> Did {
        self.run_with(plan, results, (steps, chunks), 1)
    }

    /// As [`Lab::run`], with so many runs side by side.
    fn run_with(
        &self,
        plan: &Plan,
        results: &str,
        (steps, chunks): (u64, u64),
        jobs: usize,
    ) -> Did {
        let (mock, stop) = (Mock::default(), AtomicBool::new(false));
        let watch =
            Watch { steps: steps.into(), chunks: chunks.into(), evaluated: 0.into(), stop: &stop };
        let outcome = self.carry_out(plan, results, &mock, jobs, &watch);
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
    ) -> Outcome {
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
        xp::run::run(plan, &options, executor, watch, watch.stop).unwrap()
    }

    /// What becomes of a plan on a device or several.
    fn outcome_on(&self, plan: &Plan, results: &str, executor: &dyn Executor) -> Outcome {
        let stop = AtomicBool::new(false);
        let (steps, chunks) = (u64::MAX.into(), u64::MAX.into());
        let watch = Watch { steps, chunks, evaluated: 0.into(), stop: &stop };
        self.carry_out(plan, results, executor, executor.jobs().unwrap_or(1), &watch)
    }

    fn all(&self, plan: &Plan, results: &str) -> Did {
        let did = self.run(plan, results, u64::MAX, u64::MAX);
        assert!(!did.outcome.interrupted && did.outcome.failed == 0, "{:?}", did.outcome);
        did
    }

    fn states(&self, plan: &Plan, results: &str) -> Vec<String> {
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
    fn bytes(&self, plan: &Plan, results: &str) -> Vec<String> {
        let layout = self.layout(results);
        let files = plan.runs().into_iter().flat_map(|run| {
            let dir = run_dir(plan, &run, &layout);
            [dir.record(), dir.eval()].map(|path| std::fs::read_to_string(path).expect("there"))
        });
        files.collect()
    }

    fn record(&self, plan: &Plan, results: &str, run: usize) -> Record {
        let dir = run_dir(plan, &plan.runs()[run], &self.layout(results));
        store::read_record(&dir.record()).expect("a record")
    }
}

const HALF: &str = "eval.transform=[{name = \"half\", freq = \"scale({trained}, c=0.5)\"}]";
const QUARTER: &str = "eval.transform=[{name = \"quarter\", freq = \"scale({trained}, c=0.25)\"}]";
const BOTH: &str = "eval.transform=[{name = \"half\", freq = \"scale({trained}, c=0.5)\"}, \
                    {name = \"quarter\", freq = \"scale({trained}, c=0.25)\"}]";
const HALF_OF: &str = "scale@1({trained}, c=0.5)";
const QUARTER_OF: &str = "scale@1({trained}, c=0.25)";

#[test]
fn a_transform_added_later_only_evaluates_and_one_dropped_is_kept() {
    let lab = Lab::new();
    let plain = plan(&[]);
    assert_eq!(lab.all(&plain, "r").opened, [0; 4]);
    let before = lab.record(&plain, "r", 0);
    assert!(before.transforms.is_empty());

    let half = plan(&[HALF]);
    let states = lab.states(&half, "r");
    assert_eq!(states[0], "evaluate: not evaluated yet: half at 64, half at 128, half at 256");
    // Three lengths of four chunks a run, from the trained weights.
    let did = lab.all(&half, "r");
    assert_eq!((did.opened.as_slice(), did.evaluated), (&[TRAINED; 4][..], 4 * 12));
    let after = lab.record(&half, "r", 0);
    assert_eq!((&after.train_id, &after.eval), (&before.train_id, &before.eval));
    assert_ne!(after.eval_id, before.eval_id);
    assert_eq!(after.eval_id, half.runs()[0].eval_id);
    let lower = f64::from(2.0f32 - 0.5 + 1.0 / 64.0);
    assert_eq!(after.eval[&256].nll, Some(lower + 0.5));
    let transformed = &after.transforms[HALF_OF];
    assert_eq!(transformed.keys().copied().collect::<Vec<_>>(), [64, 128, 256]);
    assert!(transformed.values().all(|e| e.nll == Some(lower) && e.chunks == Some(4)));
    assert_eq!(half.declared().points[0].transforms[0].expression, HALF_OF);

    // What the spec drops stays; nothing is done for it.
    assert!(lab.states(&plain, "r").iter().all(|state| state == "done: complete"));
    let quarter = plan(&[QUARTER]);
    assert_eq!(lab.all(&quarter, "r").evaluated, 4 * 12);
    let both = lab.record(&quarter, "r", 0);
    assert_eq!(both.transforms.keys().collect::<Vec<_>>(), [QUARTER_OF, HALF_OF]);
    // The other way round, and in one go: the same bytes.
    let wanted = plan(&[BOTH]);
    assert!(lab.states(&wanted, "r").iter().all(|state| state == "done: complete"));
    let (stepwise, once) = (lab.bytes(&wanted, "r"), lab.all(&wanted, "once"));
    assert_eq!(once.evaluated, 4 * 36);
    let protocol = |plan: &Plan| plan.points[0].protocol_id.clone();
    let renamed = stepwise.iter().map(|text| text.replace(&protocol(&quarter), &protocol(&wanted)));
    assert_eq!(renamed.collect::<Vec<_>>(), lab.bytes(&wanted, "once"));
    // The additions are on record.
    let lock = store::read_lock(&lab.layout("r").lock("tiny")).unwrap().expect("a lock");
    let changes: Vec<_> = lock.amendments.iter().flat_map(|a| a.changes.clone()).collect();
    assert_eq!(
        changes,
        [
            "transforms added: half = scale@1({trained}, c=0.5)",
            "transforms added: quarter = scale@1({trained}, c=0.25)",
            "transforms removed: half = scale@1({trained}, c=0.5)"
        ]
    );
}

#[test]
fn a_kill_between_transforms_loses_at_most_one_of_them() {
    let lab = Lab::new();
    let both = plan(&[BOTH]);
    lab.all(&both, "whole");
    for (keep, stop_at) in [("true", 20), ("false", 20), ("true", 5), ("true", 30), ("false", 30)] {
        let set = format!("output.keep_weights={keep}");
        let both = plan(&[BOTH, &set]);
        let results = format!("{keep}{stop_at}");
        // Trained, then stopped while it evaluates the first run.
        let did = lab.run(&both, &results, u64::MAX, stop_at);
        assert!(did.outcome.interrupted);
        assert_eq!((did.opened.as_slice(), did.evaluated), (&[0][..], stop_at));
        let state = &lab.states(&both, &results)[0];
        let half = "half at 64, half at 128, half at 256";
        let missing = match stop_at {
            20 => format!("not evaluated yet: {}, {half}", half.replace("half", "quarter")),
            _ => format!("not evaluated yet: {half}"),
        };
        match (keep, stop_at) {
            (_, 5) => assert_eq!(state, "resume: checkpoint at step 30"),
            ("true", _) => assert_eq!(*state, format!("evaluate: {missing}")),
            _ => assert_eq!(*state, format!("todo: {missing}; its weights were not kept")),
        }
        // Whole transforms are not evaluated again, and nothing is trained again.
        let did = lab.all(&both, &results);
        let from = if keep == "true" && stop_at > 12 { TRAINED } else { 30 };
        assert_eq!(did.opened, [from, 0, 0, 0]);
        let kept = stop_at / 12 * 12;
        assert_eq!(did.evaluated, 4 * 36 - kept);
        assert_eq!(lab.bytes(&both, &results), lab.bytes(&both, "whole"));
        let first = run_dir(&both, &both.runs()[0], &lab.layout(&results));
        assert!(!first.checkpoint().exists());
    }
}

#[test]
fn what_a_kill_behind_the_record_left_is_removed_and_written_down() {
    let lab = Lab::new();
    let plan = plan(&[]);
    lab.all(&plan, "r");
    let layout = lab.layout("r");
    let [done, again] = [0, 1].map(|i| run_dir(&plan, &plan.runs()[i], &layout));
    let killed = |dir: &results::RunDir| {
        std::fs::create_dir_all(dir.checkpoint().join("step-00000030")).unwrap();
        let parts = [dir.path().join(".xp-a.tmp"), dir.checkpoint().join("step-00000030/state")];
        parts.iter().for_each(|path| std::fs::write(path, "a part").unwrap());
        let mut provenance = store::read_provenance(dir).unwrap().expect("of a run");
        provenance.attempts[0].outcome = "running".into();
        store::write_provenance(dir, &provenance).unwrap();
    };
    let left = |dir: &results::RunDir| {
        let provenance = store::read_provenance(dir).unwrap().expect("of a run");
        let outcomes: Vec<_> = provenance.attempts.into_iter().map(|a| a.outcome).collect();
        let there = [dir.checkpoint(), dir.path().join(".xp-a.tmp")].map(|path| path.exists());
        (there, outcomes.join(" "))
    };
    let before = lab.bytes(&plan, "r");
    killed(&done);
    killed(&again);
    std::fs::remove_file(again.record()).unwrap();
    let of_experiment = layout.lock(&plan.experiment).with_file_name(".xp-b.tmp");
    std::fs::write(&of_experiment, "a part").unwrap();
    // What another process is at stays.
    let held = xp::fs::try_lock(&done.lock()).unwrap();
    lab.all(&plan, "r");
    assert_eq!(left(&done), ([true, true], "running".into()));
    assert_eq!(left(&again), ([false, false], "killed done".into()));
    assert!(!of_experiment.exists());
    drop(held);
    lab.all(&plan, "r");
    assert_eq!(left(&done), ([false, false], "killed".into()));
    assert_eq!(lab.bytes(&plan, "r"), before);
}

#[test]
fn a_training_carried_out_again_for_another_specs_lengths_keeps_its_checkpoint() {
    let lab = Lab::new();
    let short = plan(&["output.keep_weights=false"]);
    let longer = plan(&["output.keep_weights=false", "eval.lengths=[64, 128, 256, 512]"]);
    lab.all(&short, "r");
    // Stopped by a signal; then as if it had been killed.
    for outcome in ["interrupted", "running"] {
        assert!(lab.run(&longer, "r", 10, u64::MAX).outcome.interrupted);
        let dir = run_dir(&longer, &longer.runs()[0], &lab.layout("r"));
        let mut provenance = store::read_provenance(&dir).unwrap().expect("of a run");
        provenance.attempts.last_mut().unwrap().outcome = outcome.into();
        store::write_provenance(&dir, &provenance).unwrap();
        assert_eq!(lab.all(&short, "r").opened, [0; 0]);
        assert!(dir.checkpoint().exists(), "{outcome}");
    }
    assert_eq!(lab.all(&longer, "r").opened, [20, 0, 0, 0]);
    assert_eq!(lab.states(&longer, "r"), ["done: complete"; 4]);
}

#[test]
fn transforms_are_taken_over_with_the_training() {
    let lab = Lab::new();
    lab.all(&plan(&[HALF]), "r");
    let again = plan(&[BOTH, "experiment.name=again"]);
    let did = lab.all(&again, "r");
    assert_eq!((did.opened.as_slice(), did.evaluated), (&[TRAINED; 4][..], 4 * 12));
    assert_eq!(lab.record(&again, "r", 0).transforms.len(), 2);
}

#[test]
fn a_transform_that_aims_at_the_longest_length_keeps_its_results_apart() {
    let lab = Lab::new();
    let to_target =
        "eval.transform=[{name = \"aim\", freq = \"scale({trained}, c=train_len/target_len)\"}]";
    let (short, long) =
        (plan(&[to_target]), plan(&[to_target, "eval.lengths=[64, 128, 256, 512]"]));
    lab.all(&short, "r");
    // Another target is another transform: the lengths held were made with other frequencies.
    let states = lab.states(&long, "r");
    assert_eq!(
        states[0],
        "evaluate: not evaluated yet: length 512, aim at 64, aim at 128, aim at 256, aim at 512"
    );
    assert_eq!(lab.all(&long, "r").evaluated, 4 * (4 + 16));
    assert_eq!(lab.record(&long, "r", 0).transforms.len(), 2);
    assert!(lab.states(&short, "r").iter().all(|state| state == "done: complete"));
}

#[test]
fn the_report_of_a_formula_is_the_formula() {
    let lab = Lab::new();
    let plan = plan(&[]);
    // Stopped in the middle of the first run, then carried out to the end.
    assert!(lab.run(&plan, "r", 7, u64::MAX).outcome.interrupted);
    let did = lab.all(&plan, "r");
    assert_eq!((did.outcome.finished, did.outcome.failed, did.outcome.found), (4, 0, 0));
    assert_eq!(did.opened, [7, 0, 0, 0]);
    let layout = lab.layout("r");

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

#[test]
fn repeats_train_again_and_are_compared_with_the_first() {
    let lab = Lab::new();
    let twice = plan(&["experiment.repeats=2"]);
    let did = lab.all(&twice, "r");
    // Nothing is taken over: a repeat begins at step 0 like its first attempt.
    assert_eq!(did.opened, [0; 8]);
    let layout = lab.layout("r");
    let runs = twice.runs();
    assert_eq!((runs[0].attempt, runs[4].attempt, runs.len()), (1, 2, 8));
    let repeat = run_dir(&twice, &runs[4], &layout);
    assert!(repeat.path().ends_with("seed-1/attempt-2"), "{repeat:?}");
    assert_eq!(lab.record(&twice, "r", 0), lab.record(&twice, "r", 4));
    assert!(lab.record(&twice, "r", 0).train.and_then(|train| train.init).is_some());
    assert!(lab.states(&twice, "r").iter().all(|state| state == "done: complete"));

    let report = |plan: &Plan| {
        let input = xp::report::Input {
            declared: plan.declared(),
            lock: store::read_lock(&layout.lock("tiny")).unwrap(),
            listing: results::list(&layout, "tiny").unwrap(),
        };
        xp::report::Report::build(&[input]).experiments.remove(0)
    };
    let reruns = report(&twice).reruns.expect("further attempts");
    assert_eq!((reruns.runs, reruns.further, reruns.equal, reruns.missing), (4, 4, 4, 0));
    // One more is declared: it is missing, and no mean changes.
    let thrice = plan(&["experiment.repeats=3"]);
    let experiment = report(&thrice);
    assert_eq!(experiment.reruns.expect("still there").missing, 4);
    assert_eq!(experiment.sections, report(&twice).sections);
    assert!(experiment.unrecorded.contains(&"repeats: 2 → 3".to_owned()));

    // A repeat never lands on an imported attempt.
    let third = run_dir(&thrice, &thrice.runs()[8], &layout);
    let mut imported = lab.record(&thrice, "r", 0);
    (imported.status, imported.train, imported.train_id) =
        (results::Status::Imported, None, String::new());
    store::write_record(&third, &imported).unwrap();
    let refused = inspect(&thrice.runs()[8], &third, &Index::scan(&layout)).unwrap_err();
    assert!(refused.to_string().contains("holds an imported attempt"), "{refused}");
}

#[test]
fn a_run_that_would_run_again_says_which_keys_differ() {
    let lab = Lab::new();
    lab.all(&plan(&[]), "r");
    let other = plan(&["schedule.lr=0.002", "schedule.warmup_frac=0.1"]);
    let layout = lab.layout("r");
    let run = &other.runs()[0];
    let refused = inspect(run, &run_dir(&other, run, &layout), &Index::scan(&layout)).unwrap_err();
    let message = refused.to_string();
    assert!(
        message.contains("schedule.lr: 0.003 → 0.002; schedule.warmup_frac: 0.02 → 0.1"),
        "{message}"
    );
}

#[test]
fn a_change_after_an_import_is_a_change_after_results() {
    let lab = Lab::new();
    let tiny = plan(&[]);
    let layout = lab.layout("r");
    lab.all(&tiny, "elsewhere");
    let mut imported = lab.record(&tiny, "elsewhere", 0);
    (imported.status, imported.train, imported.train_id) =
        (results::Status::Imported, None, String::new());
    store::write_record(&run_dir(&tiny, &tiny.runs()[0], &layout), &imported).unwrap();
    let lock = results::Lock::freeze(tiny.declared(), "2026-01-01T00:00:00Z");
    store::write_lock(&layout.lock("tiny"), &lock).unwrap();
    lab.all(&plan(&["report.win.max_std_over_gap=0.9"]), "r");
    let lock = store::read_lock(&layout.lock("tiny")).unwrap().expect("a lock");
    assert_eq!(lock.amendments.len(), 1);
    assert!(lock.amendments[0].after_results);
}

#[test]
fn runs_side_by_side_give_the_same_bytes_also_after_a_stop() {
    let lab = Lab::new();
    let both = plan(&[BOTH, "experiment.repeats=2"]);
    lab.all(&both, "one");
    for (jobs, steps, chunks) in [(3, u64::MAX, u64::MAX), (2, 45, u64::MAX), (4, u64::MAX, 50)] {
        let results = format!("{jobs}");
        let stopped = lab.run_with(&both, &results, (steps, chunks), jobs).outcome.interrupted;
        assert_eq!(stopped, jobs != 3);
        let did = lab.run_with(&both, &results, (u64::MAX, u64::MAX), jobs);
        assert_eq!((did.outcome.interrupted, did.outcome.failed), (false, 0));
        assert_eq!(lab.bytes(&both, &results), lab.bytes(&both, "one"));
    }
}

#[test]
fn an_end_too_early_leaves_configs_that_can_be_compared() {
    let lab = Lab::new();
    let plan = plan(&[]);
    // Two runs of 30 steps, and a step of the third.
    assert!(lab.run(&plan, "r", 61, u64::MAX).outcome.interrupted);
    let runs = plan.runs();
    let states = lab.states(&plan, "r");
    let found = runs.iter().zip(&states).map(|(run, state)| {
        (run.config.name.as_str(), run.seed, state.split(':').next().expect("a word"))
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("geo", 1, "done"),
            ("geo", 2, "resume"),
            ("mix_a0.2", 1, "done"),
            ("mix_a0.2", 2, "todo")
        ]
    );
}

#[test]
fn a_lost_device_fails_one_run_and_not_the_rest_of_the_queue() {
    let lab = Lab::new();
    let plan = plan(&["experiment.seeds=[1, 2, 3, 4, 5, 6]"]);
    let devices = Several::new(vec![Box::new(Dying::after(0)), Box::<Mock>::default()]).unwrap();
    let outcome = lab.outcome_on(&plan, "several", &devices);
    assert_eq!((outcome.finished, outcome.failed, outcome.not_begun), (11, 1, 0));

    // Nothing is left to carry out the others, which are not touched.
    let outcome = lab.outcome_on(&plan, "one", &Dying::after(2));
    assert_eq!((outcome.finished, outcome.failed, outcome.not_begun), (2, 1, 9));
    let outcome = lab.all(&plan, "one").outcome;
    assert_eq!((outcome.found, outcome.finished, outcome.not_begun), (2, 10, 0));
}

#[test]
fn side_by_side_a_second_name_of_one_set_still_waits_for_the_weights_of_the_first() {
    let lab = Lab::new();
    let plan = plan(&[
        "config=[{name=\"geo\", freq=\"geo(theta=10k)\"}, {name=\"again\", freq=\"geo(theta=10k)\"}]",
    ]);
    assert_eq!(plan.runs().len(), 4);
    let mut opened = lab.run_with(&plan, "r", (u64::MAX, u64::MAX), 4).opened;
    opened.sort_unstable();
    assert_eq!(opened, [0, 0, TRAINED, TRAINED]);
}
