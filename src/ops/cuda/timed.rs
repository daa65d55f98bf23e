//! How long each kernel and each matrix product takes: a driver around a driver, for benchmarks.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::driver::{Address, DeviceMemory, Driver, Launch, Product};
use crate::ops::{Error, Precision};

/// A driver that waits for every call and adds up what it took.
///
/// Waiting adds some microseconds to each call and lets nothing overlap: the sum is more than a step
/// takes without it, the shares are what to look at.
pub struct Timed<D: Driver> {
    driver: D,
    /// A byte to read: only reading waits.
    byte: Address,
    times: Mutex<HashMap<String, Total>>,
}

/// Of all calls of one name.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    calls: u64,
    time: Duration,
    /// Floating-point operations, of matrix products.
    flops: f64,
}

impl<D: Driver> Timed<D> {
    /// Around `driver`.
    ///
    /// # Errors
    /// A device that fails, or has no memory left.
    pub fn new(driver: D) -> Result<Self, Error> {
        let what = "a byte to wait for";
        let none = Error::OutOfMemory { what, bytes: 256, free: None };
        let byte = driver.allocate(256)?.ok_or(none)?;
        Ok(Self { driver, byte, times: Mutex::default() })
    }

    /// Forgets what was timed so far: a first step allocates, and loads kernels.
    pub fn reset(&self) {
        self.times.lock().expect("no thread panics with this lock").clear();
    }

    /// A line for each name, the longest first: milliseconds, share, calls, microseconds a call, and
    /// for matrix products TFLOP/s; everything for `steps` steps is divided by them.
    #[must_use]
    pub fn table(&self, steps: usize) -> String {
        let times = self.times.lock().expect("no thread panics with this lock");
        let mut rows: Vec<(&String, &Total)> = times.iter().collect();
        rows.sort_by(|a, b| b.1.time.cmp(&a.1.time).then_with(|| a.0.cmp(b.0)));
        let sum: f64 = rows.iter().map(|(_, total)| total.time.as_secs_f64()).sum();
        let steps = steps.max(1) as f64;
        let mut out = String::from("      ms      %  calls   us/call  TFLOP/s\n");
        for (name, total) in rows {
            let seconds = total.time.as_secs_f64();
            let rate = match total.flops > 0.0 {
                true => format!("{:8.0}", total.flops / seconds * 1e-12),
                false => " ".repeat(8),
            };
            let (ms, share) = (seconds / steps * 1e3, seconds / sum * 100.0);
            let (calls, each) = (total.calls as f64 / steps, seconds / total.calls as f64 * 1e6);
            let _ = writeln!(out, "{ms:8.3} {share:6.1} {calls:6.0} {each:9.1} {rate}  {name}");
        }
        let _ = writeln!(out, "{:8.3}", sum / steps * 1e3);
        out
    }

    fn time<R>(
        &self,
        name: impl FnOnce() -> String,
        flops: f64,
        call: impl FnOnce() -> Result<R, Error>,
    ) -> Result<R, Error> {
        let start = Instant::now();
        let result = call()?;
        self.driver.read(self.byte, &mut [0])?;
        let took = start.elapsed();
        let mut times = self.times.lock().expect("no thread panics with this lock");
        let total = times.entry(name()).or_default();
        total.calls += 1;
        total.time += took;
        total.flops += flops;
        Ok(result)
    }
}

impl<D: Driver> Drop for Timed<D> {
    fn drop(&mut self) {
        self.driver.free(self.byte);
    }
}

/// A matrix product by its sizes and types; `T` is what is stored transposed.
fn named(product: &Product) -> String {
    let [m, n, k] = product.size;
    let word = |precision| match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    };
    let transposed = |transposed| if transposed { "T" } else { "" };
    let (a, b) = (transposed(product.a.transposed), transposed(product.b.transposed));
    let (from, to) = (word(product.a.precision), word(product.c.precision));
    let added = if product.add { ", added" } else { "" };
    format!("[{m}, {k}]{a} [{k}, {n}]{b}, {from} to {to}{added}")
}

impl<D: Driver> Driver for Timed<D> {
    fn device_class(&self) -> String {
        self.driver.device_class()
    }

    fn apart(&self) -> Result<Self, Error> {
        Self::new(self.driver.apart()?)
    }

    fn shared_memory(&self) -> usize {
        self.driver.shared_memory()
    }

    fn warpgroups(&self) -> bool {
        self.driver.warpgroups()
    }

    fn memory(&self) -> Result<DeviceMemory, Error> {
        self.driver.memory()
    }

    fn peak(&self) -> Result<u64, Error> {
        self.driver.peak()
    }

    fn allocate(&self, bytes: usize) -> Result<Option<u64>, Error> {
        self.driver.allocate(bytes)
    }

    fn free(&self, at: u64) {
        self.driver.free(at);
    }

    fn write(&self, from: &[u8], to: u64) -> Result<(), Error> {
        self.time(|| "to the device".into(), 0.0, || self.driver.write(from, to))
    }

    fn read(&self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        self.time(|| "from the device".into(), 0.0, || self.driver.read(from, to))
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        self.time(|| "copy".into(), 0.0, || self.driver.copy(from, to, bytes))
    }

    fn zero(&self, to: u64, bytes: usize) -> Result<(), Error> {
        self.time(|| "zero".into(), 0.0, || self.driver.zero(to, bytes))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        self.time(|| launch.kernel.to_owned(), 0.0, || self.driver.launch(launch))
    }

    fn multiply(&self, product: &Product) -> Result<(), Error> {
        let flops = product.size.iter().fold(2.0, |flops, &n| flops * n as f64);
        self.time(|| named(product), flops, || self.driver.multiply(product))
    }
}
