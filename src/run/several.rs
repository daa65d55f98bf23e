//! Several devices of one class as one executor: each run goes to the one with the fewest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::executor::{Error, EvalSession, Executor, Job, Start, TrainSession};
use crate::model::Layout;
use crate::plan::{LayerSets, Protocol};
use crate::train::StepNumbers;
use crate::train::checkpoint::Arena;

/// Devices side by side.
pub struct Several {
    devices: Vec<(Box<dyn Executor + Send>, Arc<AtomicUsize>)>,
}

/// A run's place on a device, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Several {
    /// These devices.
    ///
    /// # Errors
    /// Devices of different classes: one run's numbers would depend on where it went.
    pub fn new(devices: Vec<Box<dyn Executor + Send>>) -> Result<Self, Error> {
        let mut classes: Vec<String> = devices.iter().map(|d| d.device_class()).collect();
        classes.dedup();
        if classes.len() > 1 {
            return Err(Error::Environment(format!(
                "the devices differ, and so would their results: {}; run them one after the other \
                 with --device and --shard, under different names",
                classes.join(" and ")
            )));
        }
        Ok(Self { devices: devices.into_iter().map(|device| (device, Arc::default())).collect() })
    }

    /// The device with the fewest runs, the first of them.
    fn place(&self) -> (&dyn Executor, Place) {
        let load = |index: &usize| self.devices[*index].1.load(Ordering::Relaxed);
        loop {
            let least = (0..self.devices.len()).min_by_key(load).expect("at least one device");
            let (device, runs) = &self.devices[least];
            let now = runs.load(Ordering::Relaxed);
            // Another run may have come between.
            let taken = runs.compare_exchange(now, now + 1, Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() {
                return (device.as_ref(), Place(Arc::clone(runs)));
            }
        }
    }
}

impl Executor for Several {
    fn device_class(&self) -> String {
        self.devices[0].0.device_class()
    }

    fn check(&self, protocol: &Protocol) -> Result<(), Error> {
        self.devices.iter().try_for_each(|(device, _)| device.check(protocol))
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error> {
        self.devices[0].0.initial(job)
    }

    fn peak_memory(&self) -> Option<u64> {
        self.devices.iter().filter_map(|(device, _)| device.peak_memory()).max()
    }

    fn jobs(&self) -> Option<usize> {
        Some(self.devices.len())
    }

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error> {
        let (device, place) = self.place();
        Ok(Box::new(Placed { session: device.train(job, start)?, place }))
    }

    fn evaluate(&self, job: &Job<'_>, weights: Vec<f32>) -> Result<Box<dyn EvalSession>, Error> {
        let (device, place) = self.place();
        Ok(Box::new(Placed { session: device.evaluate(job, weights)?, place }))
    }
}

/// A session and its place.
struct Placed<S: ?Sized> {
    session: Box<S>,
    place: Place,
}

impl TrainSession for Placed<dyn TrainSession> {
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error> {
        self.session.step(tokens)
    }

    fn position(&self) -> u64 {
        self.session.position()
    }

    fn layout(&self) -> &Layout {
        self.session.layout()
    }

    fn read(&self, arena: Arena, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        self.session.read(arena, offset, out)
    }

    fn finish(self: Box<Self>) -> Box<dyn EvalSession> {
        let Self { session, place } = *self;
        Box::new(Placed { session: session.finish(), place })
    }
}

impl EvalSession for Placed<dyn EvalSession> {
    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error> {
        self.session.set_freq(freq)
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.session.losses(tokens)
    }
}
