//! Learning-rate schedules: pure functions of the step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the rate falls after warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Half a cosine.
    Cosine,
    /// A straight line.
    Linear,
    /// Not at all.
    Constant,
}

/// A warmup and a decay over a known number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Peak learning rate.
    pub lr: f64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Part of the steps that warms up, in \[0, 1\].
    pub warmup_frac: f64,
    /// Shape of the decay.
    pub decay: Decay,
    /// Floor of the decay as a part of the peak, in \[0, 1\].
    pub min_lr_frac: f64,
}

impl Schedule {
    /// floor(`warmup_frac` * steps).
    #[must_use]
    pub fn warmup_steps(&self) -> u64 {
        (self.warmup_frac * self.steps as f64).floor() as u64
    }

    /// The rate of a step, counted from 0: lr * s / warmup during warmup (so 0 at step 0), then
    /// the decay from lr at s = warmup to `min_lr_frac` * lr at s = steps.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        let warmup = self.warmup_steps();
        if step < warmup {
            return self.lr * step as f64 / warmup as f64;
        }
        let span = self.steps.saturating_sub(warmup).max(1) as f64;
        let progress = ((step - warmup) as f64 / span).min(1.0);
        let left = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress)),
            Decay::Linear => 1.0 - progress,
            Decay::Constant => return self.lr,
        };
        self.lr * (self.min_lr_frac + (1.0 - self.min_lr_frac) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(decay: Decay, min_lr_frac: f64) -> Schedule {
        Schedule { lr: 6e-4, steps: 762, warmup_frac: 0.02, decay, min_lr_frac }
    }

    #[test]
    fn the_reference_schedule() {
        let s = reference(Decay::Cosine, 0.0);
        assert_eq!(s.warmup_steps(), 15);
        assert_eq!(s.lr(0), 0.0);
        assert_eq!(s.lr(3), 6e-4 * 3.0 / 15.0);
        assert_eq!(s.lr(15), 6e-4);
        let want = 6e-4 * 0.5 * (1.0 + (std::f64::consts::PI * 385.0 / 747.0).cos());
        assert!((s.lr(400) - want).abs() < 1e-18);
        assert!(s.lr(761) > 0.0 && s.lr(762) < 1e-18);
    }

    #[test]
    fn other_shapes_and_floors() {
        let linear = reference(Decay::Linear, 0.1);
        assert_eq!(linear.lr(15), 6e-4);
        assert!((linear.lr(762) - 6e-5).abs() < 1e-18);
        assert_eq!(reference(Decay::Constant, 0.1).lr(700), 6e-4);
        let cosine = reference(Decay::Cosine, 0.1);
        assert!((cosine.lr(762) - 6e-5).abs() < 1e-18);
    }

    #[test]
    fn degenerate_lengths_have_finite_rates() {
        for steps in [0, 1, 2] {
            for warmup_frac in [0.0, 0.5, 1.0] {
                for decay in [Decay::Cosine, Decay::Linear, Decay::Constant] {
                    let s = Schedule { lr: 1.0, steps, warmup_frac, decay, min_lr_frac: 0.0 };
                    assert!((0..4).all(|t| (0.0..=1.0).contains(&s.lr(t))), "{s:?}");
                }
            }
        }
    }
}
