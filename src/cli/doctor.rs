//! `xp doctor`: what this machine and this build can compute on, and what is missing.

use serde_json::json;

use super::common::{answer, answer_json};
use super::exit::Exit;
use crate::run::{self, CudaStatus};

/// Arguments of `xp doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One object.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp doctor`.
///
/// # Errors
/// An output that cannot be written: what is missing is the answer.
pub fn run(args: &Args) -> Result<(), Exit> {
    let (cuda, cpu) = (run::cuda_status(), run::Cpu::new());
    let class = run::Executor::device_class(&cpu);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = run::available_memory();
    if args.json {
        let gpus = cuda.gpus.iter().map(|gpu| {
            json!({
                "name": gpu.name,
                "compute_capability": gpu.compute_capability,
                "multiprocessors": gpu.multiprocessors,
                "memory_bytes": gpu.memory,
            })
        });
        let object = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cpu": { "device_class": class, "threads": threads, "available_memory_bytes": memory },
            "cuda": {
                "built": cuda.built,
                "kernels": cuda.kernels,
                "driver": cuda.driver,
                "cublas": cuda.cublas,
                "gpus": gpus.collect::<Vec<_>>(),
                "problem": cuda.problem,
            },
        });
        return answer_json(&object);
    }
    let mut text = format!("xp      {}\n", env!("CARGO_PKG_VERSION"));
    let memory = memory.map_or(String::new(), |bytes| format!(", {} available", gib(bytes)));
    text += &format!("cpu     {class}, {threads} threads{memory}\n");
    let CudaStatus { kernels, driver, cublas, gpus, problem, .. } = &cuda;
    if let Some(kernels) = kernels {
        text += &format!("cuda    {kernels}\n");
    }
    if let Some(driver) = driver {
        let cublas = cublas.as_deref().unwrap_or("not found");
        text += &format!("        driver for CUDA {driver}, cuBLAS {cublas}\n");
    }
    for (i, gpu) in gpus.iter().enumerate() {
        text += &format!(
            "cuda:{i}  {}, compute capability {}, {} multiprocessors, {}\n",
            gpu.name,
            gpu.compute_capability,
            gpu.multiprocessors,
            gib(gpu.memory)
        );
    }
    if let Some(problem) = problem {
        let head = if kernels.is_none() { "cuda    " } else { "        " };
        text += &format!("{head}{problem}\n");
    }
    answer(&text)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
