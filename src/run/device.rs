//! The executors that compute: the CPU.

use super::executor::{Error, Executor, Job, Session, Start};
use crate::model::{self, Layout, Rope, Ropes, Transformer};
use crate::ops::{self, Backend};
use crate::plan::{LayerSets, Protocol};
use crate::train::checkpoint::State;
use crate::train::{Precision, StepNumbers, Trainer, weights};

/// Trains and evaluates on the CPU.
#[derive(Default)]
pub struct Cpu {
    backend: ops::Cpu,
}

impl Cpu {
    /// The CPU with the best instruction path that it has.
    #[must_use]
    pub fn new() -> Self {
        Self { backend: ops::Cpu::new() }
    }
}

impl From<ops::Error> for Error {
    fn from(error: ops::Error) -> Self {
        match error {
            ops::Error::Token { .. } | ops::Error::Shape { .. } => Self::Input(error.to_string()),
            _ => Self::Environment(error.to_string()),
        }
    }
}

impl Executor for Cpu {
    fn device_class(&self) -> String {
        self.backend.device_class()
    }

    fn check(&self, protocol: &Protocol) -> Result<(), Error> {
        if protocol.train.precision == Precision::Bf16 {
            return Err(Error::Environment(
                "precision = \"bf16\" needs a CUDA device; the CPU computes in f32: run on a GPU, \
                 or --set schedule.precision=f32 (another protocol)"
                    .into(),
            ));
        }
        Ok(())
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error> {
        let config = &job.protocol.model;
        match &job.protocol.init_from {
            Some(path) => {
                weights::load(path, &Layout::new(config)).map_err(|e| Error::Input(e.to_string()))
            }
            None => Ok(model::init(config, job.seed)),
        }
    }

    fn open(&mut self, job: &Job<'_>, start: Start) -> Result<Box<dyn Session>, Error> {
        let protocol = job.protocol;
        let ropes = ropes(job.freq);
        let backend = self.backend.clone();
        let (model, train) = (&protocol.model, &protocol.train);
        Ok(match start {
            Start::Trained(weights) => {
                let params = backend.upload(&weights)?;
                let model = Transformer::new(backend, model, &ropes)?;
                Box::new(Evaluator { model, params, weights, position: job.steps })
            }
            Start::Checkpoint(state) => {
                Box::new(Trainer::resume(backend, model, &ropes, train, job.steps, &state)?)
            }
            Start::Fresh => {
                let weights = self.initial(job)?;
                Box::new(Trainer::new(backend, model, &ropes, train, job.steps, &weights)?)
            }
        })
    }
}

/// The numbers that a model is given.
fn ropes(freq: &LayerSets) -> Ropes {
    let sets = freq.sets().iter().map(|set| Rope {
        inv_freq: set.inv_freq_f32(),
        attention_scale: set.attention_scale as f32,
    });
    Ropes { sets: sets.collect(), layers: freq.layers().to_vec() }
}

impl<B: Backend> Session for Trainer<B> {
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error> {
        Ok(Trainer::step(self, tokens)?)
    }

    fn position(&self) -> u64 {
        Trainer::position(self)
    }

    fn state(&mut self) -> Result<State, Error> {
        Ok(Trainer::state(self)?)
    }

    fn weights(&mut self) -> Result<Vec<f32>, Error> {
        Ok(Trainer::weights(self)?)
    }

    fn layout(&self) -> &Layout {
        Trainer::layout(self)
    }

    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error> {
        Ok(self.set_ropes(&ropes(freq))?)
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(Trainer::losses(self, tokens)?)
    }
}

/// Trained weights without gradients and moments.
struct Evaluator<B: Backend> {
    model: Transformer<B>,
    params: B::Buf,
    weights: Vec<f32>,
    position: u64,
}

impl<B: Backend> Session for Evaluator<B> {
    fn step(&mut self, _tokens: &[u32]) -> Result<StepNumbers, Error> {
        Err(Error::Input("this run is trained already; it can only be evaluated".into()))
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn state(&mut self) -> Result<State, Error> {
        Err(Error::Input("a trained run has no optimiser state".into()))
    }

    fn weights(&mut self) -> Result<Vec<f32>, Error> {
        Ok(self.weights.clone())
    }

    fn layout(&self) -> &Layout {
        self.model.layout()
    }

    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error> {
        Ok(self.model.set_ropes(&ropes(freq))?)
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(self.model.losses(&self.params, tokens)?)
    }
}
