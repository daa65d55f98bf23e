//! `AdamW` (Loshchilov and Hutter 2019), one fused pass over all parameters, with the
//! arithmetic of `torch.optim.AdamW`.

use rayon::prelude::*;

use super::cpu::Cpu;
use super::isa::simd_kernel;

/// Values of one task.
const CHUNK: usize = 1 << 14;

/// The scalars of one update, rounded to f32 where they meet the parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// 1 - lr * `weight_decay`.
    pub decay: f32,
    /// 1 - beta1.
    pub one_minus_beta1: f32,
    /// beta2.
    pub beta2: f32,
    /// 1 - beta2.
    pub one_minus_beta2: f32,
    /// lr / (1 - beta1^t).
    pub step_size: f32,
    /// 1 / sqrt(1 - beta2^t).
    pub inv_sqrt_bias2: f32,
    /// Added to sqrt(v̂).
    pub eps: f32,
    /// Factor on the gradients.
    pub clip: f32,
}

impl AdamWStep {
    /// The scalars of update number `t`, from 1.
    #[must_use]
    pub fn new(
        t: u64,
        lr: f64,
        (beta1, beta2): (f64, f64),
        eps: f64,
        weight_decay: f64,
        clip: f32,
    ) -> Self {
        let t = t as f64;
        Self {
            decay: (1.0 - lr * weight_decay) as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            step_size: (lr / (1.0 - libm::pow(beta1, t))) as f32,
            inv_sqrt_bias2: (1.0 / libm::sqrt(1.0 - libm::pow(beta2, t))) as f32,
            eps: eps as f32,
            clip,
        }
    }
}

simd_kernel! {
    /// The update of one chunk.
    fn update_chunk<S>(c: &AdamWStep, params: &mut [f32], grads: &[f32], m: &mut [f32], v: &mut [f32]) {
        let len = params.len();
        let (grads, m, v) = (&grads[..len], &mut m[..len], &mut v[..len]);
        for j in 0..len {
            let g = grads[j] * c.clip;
            m[j] = S::mul_add(g - m[j], c.one_minus_beta1, m[j]);
            v[j] = S::mul_add(g * g, c.one_minus_beta2, v[j] * c.beta2);
            let denominator = S::mul_add(v[j].sqrt(), c.inv_sqrt_bias2, c.eps);
            params[j] = params[j] * c.decay - c.step_size * (m[j] / denominator);
        }
    }
}

pub(crate) fn update(
    cpu: &Cpu,
    step: &AdamWStep,
    params: &mut [f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let len = params.len();
    assert!(grads.len() == len && m.len() == len && v.len() == len, "buffers of one length");
    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    let chunks = params.par_chunks_mut(CHUNK).zip(grads.par_chunks(CHUNK)).zip(moments);
    chunks.for_each(|((params, grads), (m, v))| {
        update_chunk(cpu.isa(), step, params, grads, m, v);
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, cpus, noise, wide};
    use super::*;

    #[test]
    fn three_updates_match_the_formula_in_f64() {
        let (lr, betas, eps, weight_decay, clip) = (1e-2, (0.9, 0.95), 1e-8, 0.1, 0.5);
        for cpu in cpus() {
            for len in [1, 40, 20_000] {
                let mut params = noise(len, "params");
                let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
                let mut want = wide(&params);
                let (mut wm, mut wv) = (vec![0.0; len], vec![0.0; len]);
                for t in 1..=3 {
                    let grads = noise(len, &format!("g{t}"));
                    let step = AdamWStep::new(t, lr, betas, eps, weight_decay, clip);
                    update(&cpu, &step, &mut params, &grads, &mut m, &mut v);
                    for j in 0..len {
                        let g = f64::from(grads[j]) * f64::from(clip);
                        wm[j] = betas.0 * wm[j] + (1.0 - betas.0) * g;
                        wv[j] = betas.1 * wv[j] + (1.0 - betas.1) * g * g;
                        let t = t as i32;
                        let m_hat: f64 = wm[j] / (1.0 - betas.0.powi(t));
                        let v_hat: f64 = wv[j] / (1.0 - betas.1.powi(t));
                        want[j] *= 1.0 - lr * weight_decay;
                        want[j] -= lr * m_hat / (v_hat.sqrt() + eps);
                    }
                }
                check("params", &params, &want, 1e-6);
                check("m", &m, &wm, 1e-6);
                check("v", &v, &wv, 1e-6);
            }
        }
    }
}
