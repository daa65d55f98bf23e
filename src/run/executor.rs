//! Who does the arithmetic: an [`Executor`] opens a [`Session`] a run.
//!
//! The interpreter knows steps, files and kills; it does not know devices. A mock executor whose
//! losses are a formula of the run makes everything around the arithmetic testable in
//! milliseconds.

use crate::model::Layout;
use crate::plan::{LayerSets, Protocol};
use crate::train::StepNumbers;
use crate::train::checkpoint::State;

/// A failure of a device or of what it was given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device cannot do this: precision, memory.
    #[error("{0}")]
    Environment(String),
    /// The input is wrong: initial weights, token ids.
    #[error("{0}")]
    Input(String),
}

/// One run as the arithmetic sees it: numbers only.
pub struct Job<'a> {
    /// The protocol.
    pub protocol: &'a Protocol,
    /// The frequency sets that are trained.
    pub freq: &'a LayerSets,
    /// The seed.
    pub seed: u64,
    /// Steps of the whole run.
    pub steps: u64,
}

/// Where a session begins.
pub enum Start {
    /// At step 0, with initial weights.
    Fresh,
    /// After a checkpoint.
    Checkpoint(Box<State>),
    /// With trained weights, to evaluate only.
    Trained(Vec<f32>),
}

/// A device that can train and evaluate.
pub trait Executor {
    /// Processor or card and instruction path, as provenance has it: results of one class are
    /// bit for bit the same.
    fn device_class(&self) -> String;

    /// Whether the device can carry a protocol: precision, memory.
    ///
    /// # Errors
    /// What it lacks.
    fn check(&self, protocol: &Protocol) -> Result<(), Error>;

    /// The weights that a run begins with.
    ///
    /// # Errors
    /// Initial weights that cannot be read or do not fit.
    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error>;

    /// Opens a run.
    ///
    /// # Errors
    /// A device that cannot carry the protocol, or initial weights that do not fit.
    fn open(&mut self, job: &Job<'_>, start: Start) -> Result<Box<dyn Session>, Error>;
}

/// A run on a device.
pub trait Session {
    /// Carries out one step on `tokens`: batch_size rows of seq_len tokens.
    ///
    /// # Errors
    /// Token ids outside the vocabulary; a device that fails.
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error>;

    /// Steps done.
    fn position(&self) -> u64;

    /// The state for a checkpoint.
    ///
    /// # Errors
    /// A device that fails.
    fn state(&mut self) -> Result<State, Error>;

    /// The weights.
    ///
    /// # Errors
    /// A device that fails.
    fn weights(&mut self) -> Result<Vec<f32>, Error>;

    /// Names and shapes of the weights.
    fn layout(&self) -> &Layout;

    /// Other frequencies for the evaluation from here on.
    ///
    /// # Errors
    /// Sets that do not fit the model; a device that fails.
    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error>;

    /// The losses of one evaluation chunk: `tokens.len() - 1` values, nats.
    ///
    /// # Errors
    /// Token ids outside the vocabulary; a device that fails.
    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error>;
}
