//! Whole steps and trainings against the CPU in f32: a gradient, a loss curve, an evaluation, a
//! resumed run, and memory that does not suffice.

use xp::model::{self, Config, Rope, Ropes};
use xp::ops::cuda::Cuda;
use xp::ops::{Backend, Cpu, Precision};
use xp::train::checkpoint::{Arena, Moments, State};
use xp::train::{self, Trainer};

use crate::device::{Pair, all_kernels};

/// Small enough for the emulator, with every kind of padding: heads of 40 channels, rows of 70.
pub fn config() -> Config {
    Config {
        layers: 2,
        hidden_size: 64,
        heads: 2,
        head_dim: 40,
        intermediate_size: 96,
        vocab_size: 304,
        norm_eps: 1e-6,
        init_std: 0.1,
        tie_embeddings: true,
    }
}

pub fn ropes(theta: f32) -> Ropes {
    let inv_freq = (0..20).map(|k| theta.powf(-(k as f32) / 20.0)).collect();
    Ropes { sets: vec![Rope { inv_freq, attention_scale: 1.0 }], layers: vec![0, 0] }
}

/// A sequence that can be learnt: runs of counting up.
fn tokens(rows: usize, seq_len: usize) -> Vec<u32> {
    (0..rows * seq_len)
        .map(|i| (i / seq_len * 37 + i % seq_len * (1 + i / 50 % 2)) as u32 % 304)
        .collect()
}

pub fn schedule() -> train::Config {
    train::Config {
        seq_len: 70,
        batch_size: 3,
        micro_batch_size: 1,
        epochs: 1,
        max_steps: None,
        order: xp::data::OrderKind::Sequential,
        lr: 3e-3,
        warmup_frac: 0.1,
        decay: xp::optim::Decay::Cosine,
        min_lr_frac: 0.0,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.1,
        grad_clip: 1.0,
        precision: Precision::F32,
    }
}

const STEPS: u64 = 8;

fn trainer<B: Backend>(backend: B) -> Trainer<B> {
    let weights = model::init(&config(), 1);
    Trainer::new(backend, &config(), &ropes(1e4), &schedule(), STEPS, weights).unwrap()
}

/// The tokens of step s: two batches in turn.
pub fn batch(step: usize) -> Vec<u32> {
    tokens(6, 70)[step % 2 * 210..][..210].to_vec()
}

#[test]
fn a_step_has_the_losses_and_gradients_of_the_cpu() {
    all_kernels(|pair| {
        let (mut want, mut got) = (trainer(Cpu::new()), trainer(pair_backend(pair)));
        let want_loss = want.step(&batch(0)).unwrap().loss;
        let got_loss = got.step(&batch(0)).unwrap().loss;
        let tolerance = if pair.precision == Precision::F32 { 1e-6 } else { 2e-3 };
        assert!((want_loss / got_loss - 1.0).abs() < tolerance, "{want_loss} {got_loss}");
        let (want, got) = (want.gradients().unwrap(), got.gradients().unwrap());
        for tensor in &model::Layout::new(&config()).tensors {
            let (got, want) = (&got[tensor.range()], &want[tensor.range()]);
            let norm = |values: &mut dyn Iterator<Item = f32>| {
                values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
            };
            let error = norm(&mut got.iter().zip(want).map(|(g, w)| g - w));
            let relative = error / norm(&mut want.iter().copied());
            let bound = if pair.precision == Precision::F32 { 1e-5 } else { 2e-2 };
            assert!(relative < bound, "{} in {:?}: {relative}", tensor.name, pair.precision);
        }
    });
}

/// The pair's device, for a model that owns it.
fn pair_backend(pair: &Pair) -> Cuda<crate::device::Device> {
    pair.cuda.apart().unwrap()
}

#[test]
fn training_curves_agree_with_the_cpu_in_f32() {
    all_kernels(|pair| {
        let (mut want, mut got) = (trainer(Cpu::new()), trainer(pair_backend(pair)));
        // The tolerance of a loss, in nats, over the whole curve.
        let tolerance = if pair.precision == Precision::F32 { 2e-4 } else { 2e-2 };
        let mut curve = Vec::new();
        for step in 0..STEPS as usize {
            let want = want.step(&batch(step)).unwrap();
            let got = got.step(&batch(step)).unwrap();
            let difference = (want.loss - got.loss).abs();
            assert!(difference < tolerance, "step {step}: {} {}", want.loss, got.loss);
            assert_eq!(want.lr, got.lr);
            curve.push(got.loss);
        }
        assert!(curve[STEPS as usize - 1] < curve[0] - 0.5, "it learns: {curve:?}");

        let (mut want, params) = want.finish();
        let (mut got, params_on) = got.finish();
        // Longer than a training row, more than one evaluation chunk on a device that has the time.
        let length = if cfg!(feature = "cuda-emulator") { 150 } else { 2500 };
        let text = tokens(1, length);
        for theta in [1e4, 5e5] {
            want.set_ropes(&ropes(theta)).unwrap();
            got.set_ropes(&ropes(theta)).unwrap();
            let want = want.losses(&params, &text).unwrap();
            let got = got.losses(&params_on, &text).unwrap();
            let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
            let difference = f64::from((mean(&want) - mean(&got)).abs());
            assert!(difference < 2.0 * tolerance, "{} {}", mean(&want), mean(&got));
        }
    });
}

#[test]
fn a_resumed_training_has_the_same_bits() {
    all_kernels(|pair| {
        let arena = |trainer: &Trainer<_>, arena| {
            let mut out = vec![0.0; trainer.layout().len()];
            trainer.read(arena, 0, &mut out).unwrap();
            out
        };
        let mut whole = trainer(pair_backend(pair));
        let mut state = None;
        for step in 0..4 {
            if step == 2 {
                state = Some(State {
                    step: 2,
                    weights: arena(&whole, Arena::Weights),
                    moments: Some(Moments {
                        exp_avg: arena(&whole, Arena::ExpAvg),
                        exp_avg_sq: arena(&whole, Arena::ExpAvgSq),
                    }),
                });
            }
            whole.step(&batch(step)).unwrap();
        }
        let state = state.expect("step 2 was passed");
        let backend = pair_backend(pair);
        let mut resumed =
            Trainer::resume(backend, &config(), &ropes(1e4), &schedule(), STEPS, state).unwrap();
        for step in 2..4 {
            resumed.step(&batch(step)).unwrap();
        }
        assert!(arena(&resumed, Arena::Weights) == arena(&whole, Arena::Weights));
        assert!(arena(&resumed, Arena::ExpAvgSq) == arena(&whole, Arena::ExpAvgSq));
    });
}
