//! Memory that does not suffice: a device as small as the emulator can be told to be.

use std::sync::Arc;

use xp::model::{self, Transformer};
use xp::ops::cuda::{Cuda, Emulator};
use xp::ops::{Backend, Error, Precision};

use crate::model::{batch, config, ropes};

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
