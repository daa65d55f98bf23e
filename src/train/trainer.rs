//! A run's state on a device, and one optimiser step of it.

use super::Config;
use super::checkpoint::State;
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
        weights: &[f32],
    ) -> Result<Self, Error> {
        let params = backend.upload(weights)?;
        let optimizer = AdamW::new(&backend, adamw_config(config), weights.len())?;
        Self::assemble(backend, model, ropes, config, steps, params, optimizer)
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn resume(
        backend: B,
        model: &model::Config,
        ropes: &Ropes,
        config: &Config,
        steps: u64,
        state: &State,
    ) -> Result<Self, Error> {
        let params = backend.upload(&state.weights)?;
        let m = backend.upload(&state.exp_avg)?;
        let v = backend.upload(&state.exp_avg_sq)?;
        let optimizer = AdamW::resume(adamw_config(config), m, v, state.step);
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
    /// A token id outside the vocabulary; a device that fails.
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

    /// The parameters.
    ///
    /// # Errors
    /// A device that fails.
    pub fn weights(&self) -> Result<Vec<f32>, Error> {
        self.read(&self.params)
    }

    /// The gradient of the last step.
    ///
    /// # Errors
    /// A device that fails.
    pub fn gradients(&self) -> Result<Vec<f32>, Error> {
        self.read(&self.grads)
    }

    /// The state for a checkpoint.
    ///
    /// # Errors
    /// A device that fails.
    pub fn state(&self) -> Result<State, Error> {
        Ok(State {
            step: self.optimizer.step,
            weights: self.weights()?,
            exp_avg: self.read(&self.optimizer.m)?,
            exp_avg_sq: self.read(&self.optimizer.v)?,
        })
    }

    fn read(&self, buf: &B::Buf) -> Result<Vec<f32>, Error> {
        let mut out = vec![0.0; self.model.layout().len()];
        self.model.backend().download(View::new(buf, 0, out.len()), &mut out)?;
        Ok(out)
    }

    /// Other frequencies for the evaluation.
    ///
    /// # Errors
    /// As [`Transformer::set_ropes`].
    pub fn set_ropes(&mut self, ropes: &Ropes) -> Result<(), Error> {
        self.model.set_ropes(ropes)
    }

    /// The losses of one evaluation chunk: `tokens.len() - 1` values, nats. Gives the training
    /// buffers back first: an evaluation may be much longer than a row.
    ///
    /// # Errors
    /// A token id outside the vocabulary; a device that fails.
    pub fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.model.release();
        self.model.losses(&self.params, tokens)
    }
}
