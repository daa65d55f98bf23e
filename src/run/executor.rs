//! Who does the arithmetic: an [`Executor`] opens a [`TrainSession`], then an [`EvalSession`], a run.
//!
//! The interpreter knows steps, files and kills; it does not know devices. A mock executor whose
//! losses are a formula of the run makes everything around the arithmetic testable in
//! milliseconds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::model::Layout;
use crate::plan::{LayerSets, Protocol};
use crate::train::StepNumbers;
use crate::train::checkpoint::{Arena, State};

/// A failure of a device or of what it was given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device cannot do this: precision, memory.
    #[error("{0}")]
    Environment(String),
    /// The input is wrong: initial weights, token ids.
    #[error("{0}")]
    Input(String),
    /// [`Job::stop`] was set: the step or the chunk at work was given up, and what the session holds is
    /// as it was before it.
    #[error("stopped on request")]
    Stopped,
}

/// The system gives no more threads.
pub(super) fn no_threads(error: impl std::fmt::Display) -> Error {
    Error::Environment(format!("threads: {error}; --threads N and --jobs N ask for fewer"))
}

/// Refuses so many runs side by side, each of which needs so many bytes, where there are fewer.
///
/// # Errors
/// [`Error::Environment`], with both numbers.
pub(super) fn fit(
    jobs: usize,
    needed: u64,
    memory: &str,
    (free, total): (u64, Option<u64>),
) -> Result<(), Error> {
    let needed = needed.saturating_mul(jobs as u64);
    if needed <= free {
        return Ok(());
    }
    let gib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 30));
    let of = total.map_or(String::new(), |total| format!(" of {}", gib(total)));
    let (runs, fewer) = match jobs {
        1 => ("a run needs".to_owned(), ""),
        _ => (format!("{jobs} runs side by side need"), "fewer --jobs, "),
    };
    Err(Error::Environment(format!(
        "{runs} about {} GiB of {memory}, of which {}{of} GiB are free: use {fewer}a smaller \
         schedule.micro_batch_size (another protocol), shorter eval.lengths, or a larger device",
        gib(needed),
        gib(free),
    )))
}

/// One run as the arithmetic sees it.
pub struct Job<'a> {
    /// The protocol.
    pub protocol: &'a Protocol,
    /// The frequency sets that are trained.
    pub freq: &'a LayerSets,
    /// The seed.
    pub seed: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Set once its sessions are to stop. A device whose steps are long gives the one at work up.
    pub stop: &'a Arc<AtomicBool>,
}

/// Where a training begins.
pub enum Start {
    /// At step 0, with these weights.
    Fresh(Vec<f32>),
    /// After a checkpoint.
    Checkpoint(Box<State>),
}

/// A device that can train and evaluate, several runs at a time.
pub trait Executor: Sync {
    /// Processor or card and instruction path, as provenance has it: results of one class are
    /// bit for bit the same.
    fn device_class(&self) -> String;

    /// Whether the device can carry a protocol, or only its evaluation, in `jobs` runs side by side: precision,
    /// memory.
    ///
    /// # Errors
    /// What it lacks.
    fn check(&self, protocol: &Protocol, training: bool, jobs: usize) -> Result<(), Error>;

    /// The weights that a run begins with.
    ///
    /// # Errors
    /// Initial weights that cannot be read or do not fit.
    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error>;

    /// The most memory of its own, apart from this machine's, that was in use by now, in bytes.
    fn peak_memory(&self) -> Option<u64> {
        None
    }

    /// How many runs at once it is made for; `None` if that is worth measuring.
    fn jobs(&self) -> Option<usize> {
        None
    }

    /// How many of its devices still answer, and how many there are: asked when a run has failed. A card
    /// that an error has left for lost fails everything else that this process asks of it.
    fn answering(&self) -> (usize, usize) {
        (1, 1)
    }

    /// Opens a training.
    ///
    /// # Errors
    /// A device that cannot carry the protocol.
    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error>;

    /// Opens the evaluation of trained weights.
    ///
    /// # Errors
    /// As [`Executor::train`].
    fn evaluate(&self, job: &Job<'_>, weights: Vec<f32>) -> Result<Box<dyn EvalSession>, Error>;
}

/// A training on a device.
pub trait TrainSession: Send {
    /// Carries out one step on `tokens`: batch_size rows of seq_len tokens.
    ///
    /// # Errors
    /// Token ids outside the vocabulary; a device that fails; [`Error::Stopped`].
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error>;

    /// Steps done.
    fn position(&self) -> u64;

    /// Names and shapes of the weights.
    fn layout(&self) -> &Layout;

    /// Copies `out.len()` values from `offset` of an arena of the state.
    ///
    /// # Errors
    /// A device that fails.
    fn read(&self, arena: Arena, offset: usize, out: &mut [f32]) -> Result<(), Error>;

    /// Frees what only training needs, and goes on to the evaluation.
    fn finish(self: Box<Self>) -> Box<dyn EvalSession>;
}

/// An evaluation on a device.
pub trait EvalSession: Send {
    /// Other frequencies from here on.
    ///
    /// # Errors
    /// Sets that do not fit the model; a device that fails.
    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error>;

    /// The losses of one evaluation chunk: `tokens.len() - 1` values, nats.
    ///
    /// # Errors
    /// Token ids outside the vocabulary; a device that fails; [`Error::Stopped`].
    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error>;
}
