//! Memory that does not suffice: a device as small as the emulator can be told to be.

use std::sync::Arc;

use xp::model::{self, Config, DeviceDemand, Transformer};
use xp::ops::cuda::{Cuda, Driver, Emulator};
use xp::ops::{Backend, Error, HeadShape, IGNORE, Precision};
use xp::train::Trainer;

use crate::device::{all, all_mut, noise};
use crate::model::{batch, config, ropes, schedule};

#[test]
fn memory_that_does_not_suffice_is_an_error_that_says_how_much() {
    let device = Arc::new(Emulator::new(1 << 20, 1));
    let cuda = Cuda::new(device, Precision::Bf16);
    let weights = model::init(&config(), 1);
    let mut model = Transformer::new(cuda, &config(), &ropes(1e4)).unwrap();
    let params = model.backend().upload(weights.clone()).unwrap();
    let mut grads = model.backend().zeros(weights.len(), "gradients").unwrap();
    let error = model.forward_backward(&params, &batch(0), 3, 1.0, &mut grads).unwrap_err();
    let Error::OutOfMemory { bytes, free: Some(free), .. } = error else { panic!("{error}") };
    assert!(bytes > free && free < 1 << 20, "{error}");
    assert!(error.to_string().contains(" are free; use a smaller micro_batch_size"), "{error}");
}

#[test]
fn a_row_of_logits_gives_the_same_bits_held_in_shared_memory_or_not() {
    // More than one round of the block's threads; the last group of copies is an empty one.
    let shape = HeadShape { rows: 4, width: 8, vocab_size: 20_008 };
    let HeadShape { rows, width, vocab_size } = shape;
    let (x, w) = (noise(rows * width, "x", 1.0), noise(vocab_size * width, "w", 1.0));
    let outputs = [228 << 10, 64 << 10].map(|shared_memory| {
        let device = Emulator::default().with_shared_memory(shared_memory);
        let cuda = Cuda::new(Arc::new(device), Precision::Bf16);
        let matrix = |values: &[f32]| {
            let mut buf = cuda.matrix(values.len(), "a matrix").unwrap();
            let values_on = cuda.upload(values.to_vec()).unwrap();
            let to = all_mut(&mut buf, values.len());
            cuda.copy(all(&values_on, values.len()), to).unwrap();
            buf
        };
        let (x_on, w_on) = (matrix(&x), matrix(&w));
        let targets = cuda.upload_tokens(&[20_007, 5, IGNORE, 11_000]).unwrap();
        let (mut losses, mut dx) =
            (cuda.zeros(rows, "losses").unwrap(), cuda.matrix(x.len(), "dx").unwrap());
        let mut dw = cuda.zeros(w.len(), "dw").unwrap();
        let (l, a, b) =
            (all_mut(&mut losses, rows), all_mut(&mut dx, x.len()), all_mut(&mut dw, w.len()));
        let (x, w) = (all(&x_on, x.len()), all(&w_on, w.len()));
        cuda.cross_entropy_backward(shape, x, w, &targets, 0.5, l, a, b).unwrap();
        [losses, dx, dw].map(|buf| {
            let mut out = vec![0.0f32; cuda.len(&buf)];
            cuda.download(all(&buf, cuda.len(&buf)), &mut out).unwrap();
            out.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        })
    });
    assert!(outputs[0] == outputs[1], "the bits differ");
}

#[test]
fn the_predicted_peak_is_what_a_training_takes() {
    for precision in [Precision::F32, Precision::Bf16] {
        let device = Arc::new(Emulator::default());
        let backend = Cuda::new(Arc::clone(&device), precision);
        let weights = model::init(&config(), 1);
        let schedule = schedule();
        let mut trainer =
            Trainer::new(backend, &config(), &ropes(1e4), &schedule, 8, weights).unwrap();
        trainer.step(&batch(0)).unwrap();
        let demand = DeviceDemand { precision, rows: 1, seq_len: 70, evaluated: 0 };
        // The emulator multiplies matrices without scratch memory.
        let predicted = demand.bytes(&config()) - (32 << 20);
        let ratio = predicted as f64 / device.peak().unwrap() as f64;
        assert!(
            (0.98..1.15).contains(&ratio),
            "{predicted} {} in {precision:?}",
            device.peak().unwrap()
        );

        let (mut model, params) = trainer.finish();
        let before = device.peak().unwrap();
        let length = 1500;
        model.losses(&params, &batch(0).repeat(8)[..length]).unwrap();
        let demand = DeviceDemand { precision, rows: 1, seq_len: 70, evaluated: length };
        let predicted = demand.bytes(&config()) - (32 << 20);
        assert!(device.peak().unwrap() > before, "the evaluation is the larger part");
        let ratio = predicted as f64 / device.peak().unwrap() as f64;
        assert!(
            (0.98..1.15).contains(&ratio),
            "{predicted} {} in {precision:?}",
            device.peak().unwrap()
        );
    }
}

#[test]
fn the_reference_run_fits_a_card_of_24_gb() {
    let reference = Config {
        layers: 6,
        hidden_size: 512,
        heads: 8,
        head_dim: 64,
        intermediate_size: 2048,
        vocab_size: 50_304,
        norm_eps: 1e-6,
        init_std: 0.02,
        tie_embeddings: true,
    };
    let demand =
        DeviceDemand { precision: Precision::Bf16, rows: 32, seq_len: 2048, evaluated: 16_384 };
    let gib = demand.bytes(&reference) as f64 / f64::from(1 << 30);
    assert!((6.0..20.0).contains(&gib), "{gib}");
}
