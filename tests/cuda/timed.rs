//! The driver that times every call: the same bits, and a line for each kernel and product.

use std::sync::Arc;

use xp::model::{self, Transformer};
use xp::ops::cuda::{Cuda, Driver, Emulator, Timed};
use xp::ops::{Backend, Precision};

use crate::device::all;
use crate::model::{batch, config, ropes};

/// Loss and gradient of a granule.
fn step<D: Driver>(driver: Arc<D>) -> (f64, Vec<f32>) {
    let weights = model::init(&config(), 1);
    let cuda = Cuda::new(driver, Precision::Bf16);
    let mut model = Transformer::new(cuda, &config(), &ropes(1e4)).unwrap();
    let params = model.backend().upload(weights.clone()).unwrap();
    let mut grads = model.backend().zeros(weights.len(), "gradients").unwrap();
    let loss = model.forward_backward(&params, &batch(0), 3, 1.0, &mut grads).unwrap();
    let mut out = vec![0.0; weights.len()];
    model.backend().download(all(&grads, weights.len()), &mut out).unwrap();
    (loss, out)
}

#[test]
fn every_kernel_and_product_has_a_line_and_the_bits_are_the_same() {
    let timed = Arc::new(Timed::new(Emulator::default()).unwrap());
    assert_eq!(step(Arc::clone(&timed)), step(Arc::new(Emulator::default())));
    let table = timed.table(1);
    for kernel in
        ["rms_norm_bf16_512", "rms_norm_backward_bf16_512", "swiglu_backward_bf16", "round_bf16"]
    {
        let line = table.lines().find(|line| line.ends_with(&format!("  {kernel}")));
        assert!(line.is_some(), "{kernel} is not in\n{table}");
    }
    let products = table.lines().filter(|line| line.contains("bf16 to ")).count();
    assert!(products >= 10, "{products} kinds of products in\n{table}");
}
