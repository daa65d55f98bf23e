//! The executor of a CUDA device.

use std::sync::Arc;

use super::device::{initial, open_evaluation, open_training};
use super::executor::{Error, EvalSession, Executor, Job, Start, TrainSession, fit};
use crate::model::DeviceDemand;
use crate::ops::cuda::{Cuda as Backing, Driver, check_head_dim};
use crate::plan::Protocol;

/// Trains and evaluates on a CUDA device, in the precision that each protocol asks for.
pub struct Cuda<D: Driver> {
    driver: Arc<D>,
}

impl<D: Driver> Cuda<D> {
    /// The executor of this device.
    pub fn new(driver: Arc<D>) -> Self {
        Self { driver }
    }

    fn backend(&self, protocol: &Protocol) -> Result<Backing<D>, Error> {
        Ok(Backing::new(Arc::new(self.driver.apart()?), protocol.train.precision))
    }
}

impl<D: Driver> Executor for Cuda<D> {
    fn device_class(&self) -> String {
        self.driver.device_class()
    }

    fn check(&self, protocol: &Protocol, training: bool, jobs: usize) -> Result<(), Error> {
        let (model, train) = (&protocol.model, &protocol.train);
        check_head_dim(model.head_dim, train.precision)
            .map_err(|e| Error::Environment(e.to_string()))?;
        let demand = DeviceDemand {
            precision: train.precision,
            rows: if training { train.micro_batch_size as usize } else { 0 },
            seq_len: train.seq_len as usize,
            evaluated: protocol.eval.lengths.iter().copied().max().unwrap_or(0) as usize,
        };
        let needed = demand.bytes(model);
        let memory = self.driver.memory()?;
        fit(jobs, needed, "the GPU's memory", (memory.free, Some(memory.total)))
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error> {
        initial(job)
    }

    fn peak_memory(&self) -> Option<u64> {
        self.driver.peak().ok()
    }

    fn jobs(&self) -> Option<usize> {
        // Its queues would share one card: a run fills it.
        Some(1)
    }

    fn answering(&self) -> (usize, usize) {
        (usize::from(self.driver.memory().is_ok()), 1)
    }

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error> {
        open_training(self.backend(job.protocol)?, job, start)
    }

    fn evaluate(&self, job: &Job<'_>, weights: Vec<f32>) -> Result<Box<dyn EvalSession>, Error> {
        open_evaluation(self.backend(job.protocol)?, job, weights)
    }
}
