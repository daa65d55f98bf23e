//! The executors that compute: the CPU.

use super::executor::{Error, EvalSession, Executor, Job, Start, TrainSession};
use crate::model::{self, Layout, Rope, Ropes, Transformer};
use crate::ops::{self, Backend};
use crate::plan::{LayerSets, Protocol};
use crate::train::checkpoint::Arena;
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

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error> {
        let (model, train, steps) = (&job.protocol.model, &job.protocol.train, job.steps);
        let (backend, ropes) = (self.backend.apart(), ropes(job.freq));
        Ok(Box::new(match start {
            Start::Fresh(weights) => Trainer::new(backend, model, &ropes, train, steps, weights)?,
            Start::Checkpoint(state) => {
                Trainer::resume(backend, model, &ropes, train, steps, *state)?
            }
        }))
    }

    fn evaluate(&self, job: &Job<'_>, weights: Vec<f32>) -> Result<Box<dyn EvalSession>, Error> {
        let backend = self.backend.apart();
        let params = backend.upload(weights)?;
        let model = Transformer::new(backend, &job.protocol.model, &ropes(job.freq))?;
        Ok(Box::new(Evaluator { model, params }))
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

impl<B: Backend + 'static> TrainSession for Trainer<B> {
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error> {
        Ok(Trainer::step(self, tokens)?)
    }

    fn position(&self) -> u64 {
        Trainer::position(self)
    }

    fn layout(&self) -> &Layout {
        Trainer::layout(self)
    }

    fn read(&self, arena: Arena, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        Ok(Trainer::read(self, arena, offset, out)?)
    }

    fn finish(self: Box<Self>) -> Box<dyn EvalSession> {
        let (model, params) = Trainer::finish(*self);
        Box::new(Evaluator { model, params })
    }
}

/// Trained weights without gradients and moments.
struct Evaluator<B: Backend> {
    model: Transformer<B>,
    params: B::Buf,
}

impl<B: Backend> EvalSession for Evaluator<B> {
    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error> {
        Ok(self.model.set_ropes(&ropes(freq))?)
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(self.model.losses(&self.params, tokens)?)
    }
}
