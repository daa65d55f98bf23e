//! What carrying out a run needs to know.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::executor::Job;
use super::lanes::Lane;
use super::provenance::Work;
use super::streams::Streams;
use crate::plan::Run;
use crate::results::{DataIdentity, Record, RunDir, Status, Training};

/// When checkpoints are written.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointPolicy {
    /// Seconds between two.
    pub every: Duration,
    /// Steps between two, besides.
    pub every_steps: Option<u64>,
}

/// What carrying out a run needs to know.
pub struct Context<'a> {
    /// The run.
    pub run: &'a Run<'a>,
    /// Its folder.
    pub dir: &'a RunDir,
    /// Experiment name.
    pub experiment: &'a str,
    /// The tokens.
    pub streams: &'a Streams,
    /// Steps of the whole run.
    pub steps: u64,
    /// When to checkpoint.
    pub checkpoints: CheckpointPolicy,
    /// Whether the final weights stay.
    pub keep_weights: bool,
    /// Whether TensorBoard's events are written.
    pub tensorboard: bool,
    /// Whether to go on from a checkpoint of another device class.
    pub force: bool,
    /// The threads that it has.
    pub lane: &'a Lane<'a>,
    /// Runs that may be at work beside each other, this one among them.
    pub jobs: usize,
    /// Set by a signal.
    pub stop: &'a Arc<AtomicBool>,
}

impl Context<'_> {
    /// The run as the arithmetic sees it.
    pub fn job(&self) -> Job<'_> {
        job(self.run, self.steps, self.stop)
    }

    /// What provenance says of the work.
    pub fn work(&self) -> Work {
        Work {
            threads: self.lane.threads(),
            jobs: self.jobs,
            steps: self.steps,
            tokens_per_step: self.run.point.resolved.protocol.train.tokens(1),
        }
    }

    /// The token streams, as run.json names them.
    pub fn data(&self) -> DataIdentity {
        let Streams { train, validation } = self.streams;
        let of_train = train.as_ref().and_then(|train| train.revision());
        let revision = validation.revision().or(of_train);
        DataIdentity {
            train_tokens: train.as_ref().map_or(String::new(), |t| t.id().to_owned()),
            validation_tokens: validation.id().to_owned(),
            revision: revision.map(str::to_owned),
        }
    }

    /// A record of the run without an evaluation, and so without an eval id.
    pub fn record(&self, status: Status, training: Training, data: DataIdentity) -> Record {
        let run = self.run;
        Record {
            schema: Record::SCHEMA,
            train_id: run.train_id.clone(),
            eval_id: String::new(),
            protocol: run.point.protocol_id.clone(),
            experiment: self.experiment.to_owned(),
            point: run.point.resolved.name.clone(),
            config: run.config.name.clone(),
            seed: run.seed,
            freq: Some(run.config.freq.recorded()),
            status,
            train: Some(training),
            data: Some(data),
            evaluation: None,
            eval: std::collections::BTreeMap::new(),
            transforms: std::collections::BTreeMap::new(),
        }
    }
}

/// A run as the arithmetic sees it.
pub fn job<'a>(run: &'a Run<'_>, steps: u64, stop: &'a Arc<AtomicBool>) -> Job<'a> {
    let (protocol, freq) = (&run.point.resolved.protocol, &run.config.freq);
    Job { protocol, freq, seed: run.seed, steps, stop }
}
