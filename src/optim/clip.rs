//! Clipping by the global norm, as `torch.nn.utils.clip_grad_norm_`.

use crate::ops::{Backend, Error, View};

/// The 2-norm of all gradients, in f64.
///
/// # Errors
/// [`Error::Device`].
pub fn global_norm<B: Backend>(backend: &B, grads: &B::Buf) -> Result<f64, Error> {
    Ok(backend.sum_of_squares(View::new(grads, 0, backend.len(grads)))?.sqrt())
}

/// The factor that brings `norm` down to `max_norm`: min(1, `max_norm` / (norm + 1e-6)).
/// NaN for a NaN norm, so that a diverged step shows.
#[must_use]
pub fn clip_factor(norm: f64, max_norm: f64) -> f32 {
    let factor = max_norm / (norm + 1e-6);
    (if factor > 1.0 { 1.0 } else { factor }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Cpu;

    #[test]
    fn clips_only_what_is_too_long() {
        let cpu = Cpu::new();
        let norm = global_norm(&cpu, &vec![3.0, -4.0].into()).expect("cpu");
        assert_eq!(norm, 5.0);
        assert!((clip_factor(5.0, 1.0) - 0.2).abs() < 1e-6);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert_eq!(clip_factor(0.0, 1.0), 1.0);
        assert!(clip_factor(f64::NAN, 1.0).is_nan());
        assert_eq!(clip_factor(f64::INFINITY, 1.0), 0.0);
    }
}
