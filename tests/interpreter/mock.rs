//! Devices whose losses are a formula of the run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use xp::model::Layout;
use xp::plan::{LayerSets, Protocol};
use xp::run::executor::{Error, EvalSession, Executor, Job, Start, TrainSession};
use xp::train::StepNumbers;
use xp::train::checkpoint::Arena;

/// Loss of a run at every position: a little less for mixed frequencies, a little more for
/// larger seeds; a transform takes off a half.
pub(crate) fn loss_of(expression: &str, seed: u64) -> f32 {
    let lower = if expression.contains("mix@") { 0.25 } else { 0.0 };
    let transformed = if expression.starts_with("scale@") { 0.5 } else { 0.0 };
    2.0 - lower - transformed + seed as f32 / 64.0
}

/// Stands for the step of a session that only evaluates.
pub(crate) const TRAINED: u64 = u64::MAX;

#[derive(Default)]
pub(crate) struct Mock {
    /// The step at which each session began.
    pub opened: Mutex<Vec<u64>>,
}

pub(crate) struct MockSession {
    layout: Layout,
    position: u64,
    loss: f32,
    seed: u64,
}

impl Executor for Mock {
    fn device_class(&self) -> String {
        "mock".into()
    }

    fn check(&self, _: &Protocol, _: bool, _: usize) -> Result<(), Error> {
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
pub(crate) struct Dying {
    mock: Mock,
    trains: AtomicU64,
}

impl Dying {
    pub fn after(trains: u64) -> Self {
        Self { mock: Mock::default(), trains: trains.into() }
    }
}

impl Executor for Dying {
    fn device_class(&self) -> String {
        self.mock.device_class()
    }

    fn check(&self, protocol: &Protocol, training: bool, jobs: usize) -> Result<(), Error> {
        self.mock.check(protocol, training, jobs)
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
