//! A run's state on a device, and one optimiser step of it.

use super::Config;
use super::checkpoint::{Arena, State};
use crate::model::{self, Layout, Ropes, Transformer};
use crate::ops::{Backend, Error, View, ViewMut};
use crate::optim::{AdamW, AdamWConfig, Schedule, clip_factor, global_norm};

/// The numbers of one optimiser step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepNumbers {
    /// Learning rate.
    pub lr: f64,
    /// Mean cross-entropy of the batch before the step, in nats a token.
    pub loss: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
}

/// Trains one run: parameters, gradients and moments on the device, all buffers kept.
pub struct Trainer<B: Backend> {
    model: Transformer<B>,
    params: B::Buf,
    grads: B::Buf,
    optimizer: AdamW<B>,
    schedule: Schedule,
    config: Config,
}

/// The schedule of a run of `steps` steps.
fn schedule(config: &Config, steps: u64) -> Schedule {
    Schedule {
        lr: config.lr,
        steps,
        warmup_frac: config.warmup_frac,
        decay: config.decay,
        min_lr_frac: config.min_lr_frac,
    }
}

fn adamw_config(config: &Config) -> AdamWConfig {
    AdamWConfig {
        betas: (config.betas[0], config.betas[1]),
        eps: config.eps,
        weight_decay: config.weight_decay,
    }
}

impl<B: Backend> Trainer<B> {
    /// Begins at step 0 with the given weights.
    ///
    /// # Errors
    /// A shape that does not fit, or a device without memory for it.
    pub fn new(
        backend: B,
        model: &model::Config,
        ropes: &Ropes,
        config: &Config,
        steps: u64,
        weights: Vec<f32>,
    ) -> Result<Self, Error> {
        let optimizer = AdamW::new(&backend, adamw_config(config), weights.len())?;
        let params = backend.upload(weights)?;
        Self::assemble(backend, model, ropes, config, steps, params, optimizer)
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    ///
    /// # Panics
    /// If there are steps to come and the checkpoint has no moments.
    pub fn resume(
        backend: B,
        model: &model::Config,
        ropes: &Ropes,
        config: &Config,
        steps: u64,
        state: State,
    ) -> Result<Self, Error> {
        // After the last step no step asks for the moments.
        let nothing = || vec![0.0; state.weights.len()];
        let (exp_avg, exp_avg_sq) = match state.moments {
            Some(moments) => (moments.exp_avg, moments.exp_avg_sq),
            None if state.step == steps => (nothing(), nothing()),
            None => panic!("a checkpoint before the last step has moments"),
        };
        let m = backend.upload(exp_avg)?;
        let v = backend.upload(exp_avg_sq)?;
        let optimizer = AdamW::resume(adamw_config(config), m, v, state.step);
        let params = backend.upload(state.weights)?;
        Self::assemble(backend, model, ropes, config, steps, params, optimizer)
    }

    fn assemble(
        backend: B,
        model: &model::Config,
        ropes: &Ropes,
        config: &Config,
        steps: u64,
        params: B::Buf,
        optimizer: AdamW<B>,
    ) -> Result<Self, Error> {
        let len = Layout::new(model).len();
        let grads = backend.zeros(len, "gradients")?;
        let model = Transformer::new(backend, model, ropes)?;
        let schedule = schedule(config, steps);
        Ok(Self { model, params, grads, optimizer, schedule, config: config.clone() })
    }

    /// Steps done.
    pub fn position(&self) -> u64 {
        self.optimizer.step
    }

    /// Names and shapes of the parameters.
    pub fn layout(&self) -> &Layout {
        self.model.layout()
    }

    /// The gradient of a batch of rows, granule by granule in order, and the mean loss.
    ///
    /// # Errors
    /// A token id outside the vocabulary; a device that fails.
    fn gradient(&mut self, tokens: &[u32]) -> Result<f64, Error> {
        let len = self.model.layout().len();
        self.model.backend().clear(ViewMut::new(&mut self.grads, 0, len))?;
        let seq_len = self.config.seq_len as usize;
        let micro_batch = self.config.micro_batch_size as usize;
        // PROTOCOL: the mean over all predictions of the batch, seq_len - 1 a row.
        let predictions = self.config.batch_size * (self.config.seq_len - 1);
        let scale = (1.0 / predictions as f64) as f32;
        let mut sum = 0.0;
        for granule in tokens.chunks(micro_batch * seq_len) {
            let rows = granule.len() / seq_len;
            let grads = &mut self.grads;
            sum += self.model.forward_backward(&self.params, granule, rows, scale, grads)?;
        }
        Ok(sum / predictions as f64)
    }

    /// One step on `tokens`: batch_size rows of seq_len tokens. If the loss or the gradient is
    /// not finite the parameters stay as they were.
    ///
    /// # Errors
    /// A token id outside the vocabulary; a device that fails; [`Error::Stopped`], after which parameters
    /// and moments are as they were.
    pub fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error> {
        let loss = self.gradient(tokens)?;
        let lr = self.schedule.lr(self.optimizer.step);
        let backend = self.model.backend();
        let grad_norm = global_norm(backend, &self.grads)?;
        let numbers = StepNumbers { lr, loss, grad_norm };
        if loss.is_finite() && grad_norm.is_finite() {
            let clip = clip_factor(grad_norm, self.config.grad_clip);
            self.optimizer.step(backend, &mut self.params, &self.grads, lr, clip)?;
        }
        Ok(numbers)
    }

    /// The gradient of the last step.
    ///
    /// # Errors
    /// A device that fails.
    pub fn gradients(&self) -> Result<Vec<f32>, Error> {
        let mut out = vec![0.0; self.model.layout().len()];
        self.model.backend().download(View::new(&self.grads, 0, out.len()), &mut out)?;
        Ok(out)
    }

    /// Copies `out.len()` values from `offset` of an arena, for a checkpoint.
    ///
    /// # Errors
    /// A device that fails.
    pub fn read(&self, arena: Arena, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        let buf = match arena {
            Arena::Weights => &self.params,
            Arena::ExpAvg => &self.optimizer.m,
            Arena::ExpAvgSq => &self.optimizer.v,
        };
        self.model.backend().download(View::new(buf, offset, out.len()), out)
    }

    /// The trained model and its parameters. All else is freed: an evaluation may be much longer
    /// than a row.
    pub fn finish(mut self) -> (Transformer<B>, B::Buf) {
        self.model.release();
        (self.model, self.params)
    }
}
