//! Several devices of one class as one executor: each run goes to the one with the fewest, of those that
//! still answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::executor::{Error, EvalSession, Executor, Job, Start, TrainSession};
use crate::model::Layout;
use crate::plan::{LayerSets, Protocol};
use crate::train::StepNumbers;
use crate::train::checkpoint::Arena;

/// Devices side by side.
pub struct Several {
    devices: Vec<Arc<Device>>,
}

struct Device {
    executor: Box<dyn Executor + Send>,
    /// Runs that are on it.
    runs: AtomicUsize,
    /// Whether it no longer answered when a run on it had failed.
    lost: AtomicBool,
}

/// A run's place on a device, given back when dropped.
struct Place(Arc<Device>);

impl Place {
    /// What the device gave; if that is an error, it is asked whether it still answers.
    fn watched<T>(&self, given: Result<T, Error>) -> Result<T, Error> {
        given.inspect_err(|_| {
            self.0.lost.store(self.0.executor.answering().0 == 0, Ordering::Relaxed);
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.runs.fetch_sub(1, Ordering::Relaxed);
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
        let device = |executor| {
            Arc::new(Device { executor, runs: AtomicUsize::new(0), lost: AtomicBool::new(false) })
        };
        Ok(Self { devices: devices.into_iter().map(device).collect() })
    }

    /// On the device with the fewest runs, the first of them; on a lost one only if all are.
    fn place(&self) -> Place {
        let load = |device: &&Arc<Device>| {
            (device.lost.load(Ordering::Relaxed), device.runs.load(Ordering::Relaxed))
        };
        loop {
            let device = self.devices.iter().min_by_key(load).expect("at least one device");
            let now = device.runs.load(Ordering::Relaxed);
            // Another run may have come between.
            let taken =
                device.runs.compare_exchange(now, now + 1, Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() {
                return Place(Arc::clone(device));
            }
        }
    }
}

impl Executor for Several {
    fn device_class(&self) -> String {
        self.devices[0].executor.device_class()
    }

    fn check(&self, protocol: &Protocol, training: bool, jobs: usize) -> Result<(), Error> {
        let jobs = jobs.div_ceil(self.devices.len());
        self.devices.iter().try_for_each(|device| device.executor.check(protocol, training, jobs))
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error> {
        self.devices[0].executor.initial(job)
    }

    fn peak_memory(&self) -> Option<u64> {
        self.devices.iter().filter_map(|device| device.executor.peak_memory()).max()
    }

    fn jobs(&self) -> Option<usize> {
        Some(self.devices.len())
    }

    fn answering(&self) -> (usize, usize) {
        let answers = |device: &&Arc<Device>| !device.lost.load(Ordering::Relaxed);
        (self.devices.iter().filter(answers).count(), self.devices.len())
    }

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error> {
        let place = self.place();
        let session = place.watched(place.0.executor.train(job, start))?;
        Ok(Box::new(Placed { session, place }))
    }

    fn evaluate(&self, job: &Job<'_>, weights: Vec<f32>) -> Result<Box<dyn EvalSession>, Error> {
        let place = self.place();
        let session = place.watched(place.0.executor.evaluate(job, weights))?;
        Ok(Box::new(Placed { session, place }))
    }
}

/// A session and its place.
struct Placed<S: ?Sized> {
    session: Box<S>,
    place: Place,
}

impl TrainSession for Placed<dyn TrainSession> {
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error> {
        self.place.watched(self.session.step(tokens))
    }

    fn position(&self) -> u64 {
        self.session.position()
    }

    fn layout(&self) -> &Layout {
        self.session.layout()
    }

    fn read(&self, arena: Arena, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        self.place.watched(self.session.read(arena, offset, out))
    }

    fn finish(self: Box<Self>) -> Box<dyn EvalSession> {
        let Self { session, place } = *self;
        Box::new(Placed { session: session.finish(), place })
    }
}

impl EvalSession for Placed<dyn EvalSession> {
    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error> {
        self.place.watched(self.session.set_freq(freq))
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.place.watched(self.session.losses(tokens))
    }
}
