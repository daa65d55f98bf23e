//! Which device computes, and the executor of the CPU.

use super::executor::{Error, EvalSession, Executor, Job, Start, TrainSession, fit};
use super::memory::obtainable_memory;
use crate::model::{self, Layout, Rope, Ropes, Transformer};
use crate::ops::{self, Backend};
use crate::plan::{LayerSets, Protocol, peak_memory};
use crate::train::checkpoint::Arena;
use crate::train::{Precision, StepNumbers, Trainer};

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No device has that name.
    #[error("there is no device `{0}`: auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// This machine, or this build, does not have it.
    #[error("{0}")]
    Unavailable(String),
}

/// A device, and what a user should know of how it was chosen.
pub struct Opened {
    /// The device.
    pub executor: Box<dyn Executor + Send>,
    /// Why it is not the GPU that there seems to be.
    pub note: Option<String>,
}

/// The device of a name: `cpu`, `cuda` (the first), `cuda:N`, or `auto`, which is the first GPU
/// if there is one, else the CPU.
///
/// # Errors
/// A name that no device has, or a device that this machine or this build lacks.
pub fn open(name: &str) -> Result<Opened, OpenError> {
    let cpu = |note| Ok(Opened { executor: Box::new(Cpu::new()), note });
    match name {
        "cpu" => cpu(None),
        "auto" => match gpus() {
            Ok(0) => cpu(None),
            Ok(_) => open_gpu(0).map_or_else(
                |error| cpu(Some(format!("the GPU is not used: {error}"))),
                |executor| Ok(Opened { executor, note: None }),
            ),
            Err(error) => cpu(Some(format!("no GPU is used: {error}"))),
        },
        _ => {
            let number = match name.strip_prefix("cuda") {
                Some("") => Some(0),
                Some(rest) => rest.strip_prefix(':').and_then(|number| number.parse().ok()),
                None => None,
            };
            let number = number.ok_or_else(|| OpenError::Unknown(name.into()))?;
            Ok(Opened { executor: open_gpu(number)?, note: None })
        }
    }
}

/// What there is of CUDA, in this build and on this machine.
#[derive(Debug, Clone, Default)]
pub struct CudaStatus {
    /// Whether this build has CUDA.
    pub built: bool,
    /// What its kernels were compiled by, and for.
    pub kernels: Option<String>,
    /// The newest CUDA that the driver carries, if there is a driver.
    pub driver: Option<String>,
    /// cuBLAS's version, if it is found.
    pub cublas: Option<String>,
    /// The cards.
    pub gpus: Vec<ops::GpuDescription>,
    /// What keeps `xp` from using a GPU, and what to do about it.
    pub problem: Option<String>,
}

/// What there is of CUDA.
#[cfg(feature = "cuda")]
#[must_use]
pub fn cuda_status() -> CudaStatus {
    use ops::cuda::{ARCHITECTURES, Gpu, NO_GPU, NVCC_VERSION, blas_version, driver_version};

    let found = ops::cuda::gpus();
    let mut problem = found.as_ref().err().map(ToString::to_string);
    let gpus: Vec<_> = found.unwrap_or_default();
    if problem.is_none() {
        problem = match gpus.len() {
            0 => Some(NO_GPU.into()),
            _ => Gpu::open(0).err().map(|error| error.to_string()),
        };
    }
    CudaStatus {
        built: true,
        kernels: Some(format!("kernels of nvcc {NVCC_VERSION} for sm_{ARCHITECTURES} and newer")),
        driver: driver_version(),
        cublas: blas_version(),
        gpus,
        problem,
    }
}

/// What there is of CUDA.
#[cfg(not(feature = "cuda"))]
#[must_use]
pub fn cuda_status() -> CudaStatus {
    let problem = "this xp was built for the CPU only; `cargo install --path . --features cuda` \
                   makes one that uses GPUs (the README says what it needs)";
    CudaStatus { problem: Some(problem.into()), ..CudaStatus::default() }
}

/// Number of GPUs that this build can see: none without a driver.
///
/// # Errors
/// A driver that fails, as after an update without a restart: whoever has one means to use it.
#[cfg_attr(not(feature = "cuda"), expect(clippy::unnecessary_wraps, reason = "it has no driver"))]
fn gpus() -> Result<usize, ops::Error> {
    #[cfg(feature = "cuda")]
    if ops::cuda::has_driver() {
        return Ok(ops::cuda::gpus()?.len());
    }
    Ok(0)
}

#[cfg(feature = "cuda")]
fn open_gpu(number: usize) -> Result<Box<dyn Executor + Send>, OpenError> {
    let gpu = ops::cuda::Gpu::open(number).map_err(|e| OpenError::Unavailable(e.to_string()))?;
    Ok(Box::new(super::Cuda::new(std::sync::Arc::new(gpu))))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(_: usize) -> Result<Box<dyn Executor + Send>, OpenError> {
    Err(OpenError::Unavailable(
        "this xp was built for the CPU only; use --device cpu, or build with --features cuda"
            .into(),
    ))
}

/// Trains and evaluates on the CPU.
#[derive(Default)]
pub struct Cpu {
    backend: ops::Cpu,
}

impl Cpu {
    /// The CPU with the best instruction path that it has.
    #[must_use]
    pub fn new() -> Self {
        Self { backend: ops::Cpu::new() }
    }
}

impl From<ops::Error> for Error {
    fn from(error: ops::Error) -> Self {
        match error {
            ops::Error::Token { .. } | ops::Error::Shape { .. } => Self::Input(error.to_string()),
            ops::Error::Stopped => Self::Stopped,
            _ => Self::Environment(error.to_string()),
        }
    }
}

impl Executor for Cpu {
    fn device_class(&self) -> String {
        self.backend.device_class()
    }

    fn check(&self, protocol: &Protocol, training: bool, jobs: usize) -> Result<(), Error> {
        if protocol.train.precision == Precision::Bf16 {
            return Err(Error::Environment(
                "precision = \"bf16\" needs a CUDA device; the CPU computes in f32: run on a GPU, \
                 or --set schedule.precision=f32 (another protocol)"
                    .into(),
            ));
        }
        let needed = peak_memory(protocol, 1, training, rayon::current_num_threads());
        // A prediction may be a few percent too high, and is not to refuse what would just fit.
        let needed = needed - needed / 20;
        match obtainable_memory() {
            Some(free) => fit(jobs, needed, "this machine's memory", (free, None)),
            None => Ok(()),
        }
    }

    fn initial(&self, job: &Job<'_>) -> Result<Vec<f32>, Error> {
        initial(job)
    }

    fn train(&self, job: &Job<'_>, start: Start) -> Result<Box<dyn TrainSession>, Error> {
        open_training(self.backend.until(job.stop), job, start)
    }

    fn evaluate(&self, job: &Job<'_>, weights: Vec<f32>) -> Result<Box<dyn EvalSession>, Error> {
        open_evaluation(self.backend.until(job.stop), job, weights)
    }
}

/// The weights that a run begins with, the same on every device.
pub(super) fn initial(job: &Job<'_>) -> Result<Vec<f32>, Error> {
    let config = &job.protocol.model;
    match &job.protocol.init_from {
        Some(initial) => {
            initial.load(&Layout::new(config)).map_err(|e| Error::Input(e.to_string()))
        }
        None => Ok(model::init(config, job.seed)),
    }
}

/// A training on any backend.
pub(super) fn open_training<B: Backend + 'static>(
    backend: B,
    job: &Job<'_>,
    start: Start,
) -> Result<Box<dyn TrainSession>, Error> {
    let (model, train, steps) = (&job.protocol.model, &job.protocol.train, job.steps);
    let ropes = ropes(job.freq);
    Ok(Box::new(match start {
        Start::Fresh(weights) => Trainer::new(backend, model, &ropes, train, steps, weights)?,
        Start::Checkpoint(state) => Trainer::resume(backend, model, &ropes, train, steps, *state)?,
    }))
}

/// The evaluation of weights on any backend.
pub(super) fn open_evaluation<B: Backend + 'static>(
    backend: B,
    job: &Job<'_>,
    weights: Vec<f32>,
) -> Result<Box<dyn EvalSession>, Error> {
    let params = backend.upload(weights)?;
    let model = Transformer::new(backend, &job.protocol.model, &ropes(job.freq))?;
    Ok(Box::new(Evaluator { model, params }))
}

/// The numbers that a model is given.
fn ropes(freq: &LayerSets) -> Ropes {
    let sets = freq.sets().iter().map(|set| Rope {
        inv_freq: set.inv_freq_f32(),
        attention_scale: set.attention_scale as f32,
    });
    Ropes { sets: sets.collect(), layers: freq.layers().to_vec() }
}

impl<B: Backend + 'static> TrainSession for Trainer<B> {
    fn step(&mut self, tokens: &[u32]) -> Result<StepNumbers, Error> {
        Ok(Trainer::step(self, tokens)?)
    }

    fn position(&self) -> u64 {
        Trainer::position(self)
    }

    fn layout(&self) -> &Layout {
        Trainer::layout(self)
    }

    fn read(&self, arena: Arena, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        Ok(Trainer::read(self, arena, offset, out)?)
    }

    fn finish(self: Box<Self>) -> Box<dyn EvalSession> {
        let (model, params) = Trainer::finish(*self);
        Box::new(Evaluator { model, params })
    }
}

/// Trained weights without gradients and moments.
struct Evaluator<B: Backend> {
    model: Transformer<B>,
    params: B::Buf,
}

impl<B: Backend> EvalSession for Evaluator<B> {
    fn set_freq(&mut self, freq: &LayerSets) -> Result<(), Error> {
        Ok(self.model.set_ropes(&ropes(freq))?)
    }

    fn losses(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(self.model.losses(&self.params, tokens)?)
    }
}
