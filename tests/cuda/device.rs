//! The device under test, and how its values are compared with the CPU's.

use std::sync::Arc;

use xp::ops::cuda::Cuda;
use xp::ops::{Backend, Buffer, Cpu, Precision, View, ViewMut};
use xp::rng;

#[cfg(feature = "cuda-emulator")]
pub type Device = xp::ops::cuda::Emulator;
#[cfg(not(feature = "cuda-emulator"))]
pub type Device = xp::ops::cuda::Gpu;

pub type Buf = <Cuda<Device> as Backend>::Buf;

/// The device as it is, or with its other kernels: an emulator without the instructions of Hopper, and
/// one with them.
#[cfg(feature = "cuda-emulator")]
#[expect(clippy::unnecessary_wraps, reason = "a GPU may be missing, an emulator never is")]
fn device(other: bool) -> Option<Device> {
    Some(if other { Device::default().with_warpgroups() } else { Device::default() })
}

/// The device as it is, or without the instructions of Hopper; or a line that says why there is none.
#[cfg(not(feature = "cuda-emulator"))]
fn device(other: bool) -> Option<Device> {
    let opened = if other { Device::open_with(0, false) } else { Device::open(0) };
    opened.inspect_err(|error| println!("skipped: {error}")).ok()
}

/// A CPU and a CUDA device with matrix inputs of one precision.
pub struct Pair {
    pub cpu: Cpu,
    pub cuda: Cuda<Device>,
    pub precision: Precision,
}

/// Runs `test` in both precisions.
pub fn both(test: impl Fn(&Pair)) {
    run(device(false), &[Precision::F32, Precision::Bf16], test);
}

/// The same, and in bf16 also with the device's other kernels.
pub fn all_kernels(test: impl Fn(&Pair)) {
    both(&test);
    run(device(true), &[Precision::Bf16], test);
}

fn run(device: Option<Device>, precisions: &[Precision], test: impl Fn(&Pair)) {
    let Some(device) = device.map(Arc::new) else { return };
    for &precision in precisions {
        let cuda = Cuda::new(Arc::clone(&device), precision);
        test(&Pair { cpu: Cpu::new(), cuda, precision });
    }
}

/// `len` standard normal numbers times `size`, a different stream per name.
pub fn noise(len: usize, name: &str, size: f32) -> Vec<f32> {
    let mut out = vec![0.0; len];
    rng::fill_normal(1, "test", name, size.into(), &mut out);
    out
}

/// Zeros for the CPU.
pub fn zeros(len: usize) -> Buffer {
    vec![0.0; len].into()
}

pub fn all<T>(buf: &T, len: usize) -> View<'_, T> {
    View::new(buf, 0, len)
}

pub fn all_mut<T>(buf: &mut T, len: usize) -> ViewMut<'_, T> {
    ViewMut::new(buf, 0, len)
}

impl Pair {
    /// The value that a matrix input of this precision holds.
    pub fn round(&self, values: &[f32]) -> Vec<f32> {
        let nearest = |x: f32| {
            let bits = x.to_bits();
            f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
        };
        match self.precision {
            Precision::F32 => values.to_vec(),
            Precision::Bf16 => values.iter().map(|&x| nearest(x)).collect(),
        }
    }

    /// Noise that both sides hold exactly as a matrix input.
    pub fn matrix_noise(&self, len: usize, name: &str, size: f32) -> (Buffer, Buf) {
        let values = self.round(&noise(len, name, size));
        let buf = self.matrix(&values);
        (values.into(), buf)
    }

    /// Noise in f32.
    pub fn wide_noise(&self, len: usize, name: &str, size: f32) -> (Buffer, Buf) {
        let values = noise(len, name, size);
        let buf = self.cuda.upload(values.clone()).unwrap();
        (values.into(), buf)
    }

    pub fn matrix(&self, values: &[f32]) -> Buf {
        let wide = self.cuda.upload(values.to_vec()).unwrap();
        let mut buf = self.cuda.matrix(values.len(), "test").unwrap();
        self.cuda.copy(all(&wide, values.len()), all_mut(&mut buf, values.len())).unwrap();
        buf
    }

    pub fn get(&self, buf: &Buf) -> Vec<f32> {
        let mut out = vec![0.0; self.cuda.len(buf)];
        self.cuda.download(all(buf, out.len()), &mut out).unwrap();
        out
    }

    /// Every |got - want| within a tolerance times (|want| + root mean square of `want`):
    /// `f32` of f32 matrix inputs, else `bf16` units in the last place of bf16 (2^-8).
    pub fn check(&self, what: &str, got: &[f32], want: &[f32], f32: f64, bf16: f64) {
        let squares = want.iter().map(|&w| f64::from(w).powi(2));
        let scale = (squares.sum::<f64>() / want.len().max(1) as f64).sqrt();
        let sizes: Vec<f64> = want.iter().map(|&w| f64::from(w.abs()) + scale).collect();
        self.check_sized(what, got, (want, &sizes), f32, bf16);
    }

    /// The same with the size of what is rounded given for each value.
    pub fn check_sized(
        &self,
        what: &str,
        got: &[f32],
        (want, sizes): (&[f32], &[f64]),
        f32: f64,
        bf16: f64,
    ) {
        assert!(got.len() == want.len() && sizes.len() == want.len(), "{what}");
        let tolerance = match self.precision {
            Precision::F32 => f32,
            Precision::Bf16 => bf16 / 256.0,
        };
        for (i, ((&g, &w), size)) in got.iter().zip(want).zip(sizes).enumerate() {
            let error = (f64::from(g) - f64::from(w)).abs();
            let bound = tolerance * size + 1e-12;
            assert!(
                error <= bound,
                "{what}[{i}] in {:?}: {g} instead of {w} (bound {bound:e})",
                self.precision
            );
        }
    }

    /// The norm of all errors, over the norm of `want`: rounding that goes one way does not hide in the
    /// bounds of single values.
    pub fn check_norm(&self, what: &str, got: &[f32], want: &[f32], f32: f64, bf16: f64) {
        let tolerance = match self.precision {
            Precision::F32 => f32,
            Precision::Bf16 => bf16 / 256.0,
        };
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let errors = &mut got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w));
        let share = norm(errors) / norm(&mut want.iter().map(|&w| f64::from(w)));
        assert!(share <= tolerance, "{what} in {:?}: off by {share:e} of it", self.precision);
    }
}
