//! `AdamW` over flat arenas.

use serde::{Deserialize, Serialize};

use crate::ops::{AdamWStep, Backend, Error};

/// The constants of `AdamW`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay rates of the two moments, each in \[0, 1).
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay, times the learning rate, of **all** parameters.
    pub weight_decay: f64,
}

/// The optimiser's state: moments in the layout of the parameters, and how many steps it took.
///
/// m, v and `step` are everything a checkpoint needs.
pub struct AdamW<B: Backend> {
    /// First moments.
    pub m: B::Buf,
    /// Second moments.
    pub v: B::Buf,
    /// Updates made.
    pub step: u64,
    config: AdamWConfig,
}

impl<B: Backend> AdamW<B> {
    /// The state before the first update, for `len` parameters.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(backend: &B, config: AdamWConfig, len: usize) -> Result<Self, Error> {
        let m = backend.zeros(len, "moments")?;
        let v = backend.zeros(len, "moments")?;
        Ok(Self { m, v, step: 0, config })
    }

    /// The state that a checkpoint held.
    pub fn resume(config: AdamWConfig, m: B::Buf, v: B::Buf, step: u64) -> Self {
        Self { m, v, step, config }
    }

    /// One update: decay by 1 - lr * `weight_decay`, then the bias-corrected step with the
    /// gradients times `clip`, as `torch.optim.AdamW`.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn step(
        &mut self,
        backend: &B,
        params: &mut B::Buf,
        grads: &B::Buf,
        lr: f64,
        clip: f32,
    ) -> Result<(), Error> {
        let AdamWConfig { betas, eps, weight_decay } = self.config;
        let step = AdamWStep::new(self.step + 1, lr, betas, eps, weight_decay, clip);
        backend.adamw(&step, params, grads, &mut self.m, &mut self.v)?;
        self.step += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Buffer, Cpu};

    const CONFIG: AdamWConfig = AdamWConfig { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.1 };

    #[test]
    fn the_first_step_moves_by_lr_against_the_sign_of_the_gradient() {
        let cpu = Cpu::new();
        let mut optimiser = AdamW::new(&cpu, CONFIG, 3).expect("three values fit");
        let mut params = Buffer::from(vec![1.0, 1.0, 1.0]);
        optimiser.step(&cpu, &mut params, &vec![4.0, -0.01, 0.0].into(), 0.1, 1.0).expect("cpu");
        for (got, want) in params.iter().zip([0.99 - 0.1, 0.99 + 0.1, 0.99]) {
            assert!((got - want).abs() < 1e-6, "{params:?}");
        }
        assert_eq!(optimiser.step, 1);
    }

    #[test]
    fn resuming_gives_the_same_bits() {
        let cpu = Cpu::new();
        let grads = |t: u64| Buffer::from(vec![(t as f32).sin(), 0.3, -2.0 * t as f32]);
        let mut whole = AdamW::new(&cpu, CONFIG, 3).expect("fits");
        let mut params = Buffer::from(vec![0.5, -1.0, 2.0]);
        let mut kept = None;
        for t in 0..6 {
            if t == 3 {
                kept = Some(([&params, &whole.m, &whole.v].map(|b| b.to_vec()), whole.step));
            }
            whole.step(&cpu, &mut params, &grads(t), 0.01, 0.7).expect("cpu");
        }
        let (kept, step) = kept.expect("kept at 3");
        let [mut again, m, v] = kept.map(Buffer::from);
        let mut resumed = AdamW::<Cpu>::resume(CONFIG, m, v, step);
        for t in 3..6 {
            resumed.step(&cpu, &mut again, &grads(t), 0.01, 0.7).expect("cpu");
        }
        assert_eq!(*params, *again);
        assert_eq!((&*whole.m, &*whole.v), (&*resumed.m, &*resumed.v));
    }
}
