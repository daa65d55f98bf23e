//! Training throughput: `cargo bench --bench step [-- SIZE...]`, on a GPU with `--features cuda` and
//! `--device cuda` (bf16, or `--f32`).
//!
//! `--json` prints an object of seconds, the first loss and the peak, `--steps N` takes so many, `--rows N`
//! rows a step, `--weights FILE` writes the initial weights (what `vs_torch/run.py` gives to PyTorch), `--threads N`.
//!
//! Sizes S and M are models of the search's kind at 1/100 and 1/10 of its cost, X is the
//! reference model itself. Prints the median step of a few, tokens/s, and GFLOP/s by the count
//! of `DESIGN.md`: (6 N + 6 layers heads `head_dim` `seq_len`) a token. Size R is the reference run's
//! batch, for a GPU. Size E evaluates the reference model at 16,384 tokens, and with `--chunks 10` ten
//! times at four lengths; the memory is printed beside the prediction. `--profile` prints how long each
//! kernel takes, on a GPU.

use std::time::Instant;

use xp::model::{self, Config, Rope, Ropes, Transformer};
use xp::ops::{Backend, Cpu, Precision, View, ViewMut};
use xp::optim::{AdamW, AdamWConfig, clip_factor, global_norm};

struct Size {
    name: &'static str,
    config: Config,
    rows: usize,
    seq_len: usize,
    steps: usize,
}

fn size(name: &'static str, shape: [usize; 5], rows: usize, seq_len: usize, steps: usize) -> Size {
    let [layers, hidden_size, heads, intermediate_size, vocab_size] = shape;
    let config = Config {
        layers,
        hidden_size,
        heads,
        head_dim: hidden_size / heads,
        intermediate_size,
        vocab_size,
        norm_eps: 1e-6,
        init_std: 0.02,
        tie_embeddings: true,
    };
    Size { name, config, rows, seq_len, steps }
}

fn measure<B: Backend>(
    backend: B,
    size: &Size,
    options: &Options,
    machine: &Machine<'_>,
) -> Result<(), xp::ops::Error> {
    let Size { name, config, rows, seq_len, steps } = size;
    let steps = options.steps.unwrap_or(*steps);
    let half = config.head_dim / 2;
    let inv_freq = (0..half).map(|k| 5e5f32.powf(-(k as f32) / half as f32)).collect();
    let ropes = Ropes::uniform(Rope { inv_freq, attention_scale: 1.0 }, config.layers);
    let mut model = Transformer::new(backend, config, &ropes)?;
    let weights = model::init(config, 42);
    options.save(config, &weights);
    let len = weights.len();
    let mut params = model.backend().upload(weights)?;
    let constants = AdamWConfig { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.1 };
    let mut optimiser = AdamW::new(model.backend(), constants, len)?;
    let count = rows * seq_len;
    let tokens: Vec<u32> = (0..count).map(|i| (i * 7919 % config.vocab_size) as u32).collect();
    let scale = 1.0 / (rows * (seq_len - 1)) as f32;
    let mut grads = model.backend().zeros(len, "gradients")?;
    let mut seconds = Vec::new();
    let mut first = None;
    for _ in 0..=steps {
        let start = Instant::now();
        model.backend().clear(ViewMut::new(&mut grads, 0, len))?;
        let sum = model.forward_backward(&params, &tokens, *rows, scale, &mut grads)?;
        first.get_or_insert(sum * f64::from(scale));
        let clip = clip_factor(global_norm(model.backend(), &grads)?, 1.0);
        optimiser.step(model.backend(), &mut params, &grads, 6e-4, clip)?;
        // A device may still be at work: one value comes back when it is done.
        model.backend().download(View::new(&params, 0, 1), &mut [0.0])?;
        seconds.push(start.elapsed().as_secs_f64());
        if seconds.len() == 1 {
            (machine.warm)(); // the first step allocates
        }
    }
    seconds.remove(0);
    if options.json {
        print_json(&seconds, first.unwrap_or(f64::NAN), machine);
        return Ok(());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let attention = 6 * config.layers * config.heads * config.head_dim * seq_len;
    let flops = (6 * config.num_parameters() as usize + attention) as f64 * count as f64;
    println!(
        "{name}: {:.4} s a step (best {:.4}), {:.0} tokens/s, {:.1} GFLOP/s, {}, {} threads; \
         peak {} MiB, predicted {} MiB",
        median,
        seconds[0],
        count as f64 / median,
        flops / median * 1e-9,
        model.backend().device_class(),
        rayon::current_num_threads(),
        machine.peak().map_or("?".into(), |mib| mib.to_string()),
        machine.predicted(size) >> 20,
    );
    Ok(())
}

/// What the bench asks of what it runs on: memory, measured and predicted, and what is to be done when the first
/// of several steps is over.
struct Machine<'a> {
    peak: &'a dyn Fn() -> Option<u64>,
    predicted: &'a dyn Fn(&Size) -> u64,
    warm: &'a dyn Fn(),
}

impl Machine<'_> {
    /// MiB.
    fn peak(&self) -> Option<u64> {
        (self.peak)().map(|bytes| bytes >> 20)
    }

    fn predicted(&self, size: &Size) -> u64 {
        (self.predicted)(size)
    }
}

fn evaluate<B: Backend>(
    backend: B,
    size: &Size,
    options: &Options,
    machine: &Machine<'_>,
) -> Result<(), xp::ops::Error> {
    let Size { name, config, seq_len, .. } = size;
    let half = config.head_dim / 2;
    let inv_freq = (0..half).map(|k| 5e5f32.powf(-(k as f32) / half as f32)).collect();
    let ropes = Ropes::uniform(Rope { inv_freq, attention_scale: 1.0 }, config.layers);
    let mut model = Transformer::new(backend, config, &ropes)?;
    let weights = model::init(config, 42);
    options.save(config, &weights);
    let params = model.backend().upload(weights)?;
    let text: Vec<u32> = (0..*seq_len).map(|i| (i * 7919 % config.vocab_size) as u32).collect();
    let mut mean_of = |length: usize| -> Result<f64, xp::ops::Error> {
        let losses = model.losses(&params, &text[..length])?;
        Ok(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64)
    };
    if options.chunks > 0 || options.profile {
        mean_of(*seq_len)?; // the first call allocates
        (machine.warm)();
    }
    let start = Instant::now();
    let mean = mean_of(*seq_len)?;
    let mut seconds = vec![start.elapsed().as_secs_f64()];
    if options.chunks > 0 {
        // The protocol's evaluation: four lengths, so many chunks of each.
        let start = Instant::now();
        for length in [seq_len / 8, seq_len / 4, seq_len / 2, *seq_len] {
            for _ in 0..options.chunks {
                mean_of(length)?;
            }
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    if options.json {
        print_json(&seconds, mean, machine);
        return Ok(());
    }
    println!(
        "{name}: {:.3} s for {seq_len} tokens, mean loss {mean:.4}{}; peak {} MiB, predicted {} MiB",
        seconds[0],
        seconds.get(1).map_or(String::new(), |s| {
            format!(", {s:.3} s for four lengths of {} chunks", options.chunks)
        }),
        machine.peak().map_or("?".into(), |mib| mib.to_string()),
        machine.predicted(size) >> 20,
    );
    Ok(())
}

/// What the command line asks for besides sizes.
#[derive(Default)]
struct Options {
    /// Time every kernel.
    profile: bool,
    json: bool,
    rows: Option<usize>,
    steps: Option<usize>,
    weights: Option<std::path::PathBuf>,
    /// Chunks of each of four lengths in an evaluation; 0 for one sequence alone.
    chunks: usize,
    cuda: bool,
    /// On a GPU; bf16 if it is not said.
    precision: Option<Precision>,
}

impl Options {
    fn save(&self, config: &Config, params: &[f32]) {
        if let Some(path) = &self.weights {
            let layout = model::Layout::new(config);
            let read = |offset: usize, out: &mut [f32]| {
                out.copy_from_slice(&params[offset..offset + out.len()]);
                Ok(())
            };
            xp::train::weights::save(path, &layout, read).expect("weights that can be written");
        }
    }
}

fn print_json(seconds: &[f64], loss: f64, machine: &Machine<'_>) {
    println!(
        "{}",
        serde_json::json!({ "seconds": seconds, "loss": loss, "peak_mib": machine.peak() })
    );
}

fn main() -> Result<(), xp::ops::Error> {
    let (mut options, mut asked) = (Options::default(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value after the option");
        match argument.as_str() {
            "--json" => options.json = true,
            "--rows" => options.rows = Some(value().parse().expect("a number of rows")),
            "--steps" => options.steps = Some(value().parse().expect("a number of steps")),
            "--weights" => options.weights = Some(value().into()),
            "--threads" => {
                let threads = value().parse().expect("a number of threads");
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build_global().expect("the first pool of the process");
            }
            "--chunks" => options.chunks = value().parse().expect("a number of chunks"),
            "--device" => {
                options.cuda = match value().as_str() {
                    "cpu" => false,
                    "cuda" => true,
                    other => panic!("no device {other}: cpu or cuda"),
                };
            }
            "--f32" => options.precision = Some(Precision::F32),
            "--profile" => options.profile = true,
            "--bench" => {}
            size => asked.push(size.to_owned()),
        }
    }
    let mut sizes = [
        size("S", [2, 128, 4, 512, 4096], 8, 256, 15),
        size("M", [4, 256, 4, 1024, 8192], 8, 512, 5),
        size("X", [6, 512, 8, 2048, 50_304], 1, 2048, 3),
        size("R", [6, 512, 8, 2048, 50_304], 32, 2048, 20),
        size("E", [6, 512, 8, 2048, 50_304], 1, 16_384, 1),
    ];
    for size in &mut sizes {
        size.rows = options.rows.unwrap_or(size.rows);
        let default = ["S", "M"].contains(&size.name) && asked.is_empty();
        if default || asked.iter().any(|a| a == size.name) {
            if options.cuda {
                on_cuda(size, &options)?;
            } else {
                on_cpu(size, &options)?;
            }
        }
    }
    Ok(())
}

fn on_cpu(size: &Size, options: &Options) -> Result<(), xp::ops::Error> {
    let (config, evaluated) = (&size.config, size.name == "E");
    let threads = rayon::current_num_threads();
    let machine = Machine {
        peak: &xp::run::peak_memory,
        predicted: &|size| match evaluated {
            true => model::evaluation_memory(config, size.seq_len, threads),
            false => model::training_memory(config, size.rows, size.seq_len, threads),
        },
        warm: &|| {},
    };
    let run = if evaluated { evaluate } else { measure };
    run(Cpu::new(), size, options, &machine)
}

#[cfg(feature = "cuda")]
fn on_cuda(size: &Size, options: &Options) -> Result<(), xp::ops::Error> {
    use xp::ops::cuda::{Cuda, Driver, Gpu, Timed};

    let evaluated = size.name == "E";
    let precision = options.precision.unwrap_or(Precision::Bf16);
    if options.profile {
        let timed = std::sync::Arc::new(Timed::new(Gpu::open(0)?)?);
        let machine = Machine { peak: &|| None, predicted: &|_| 0, warm: &|| timed.reset() };
        let run = if evaluated { evaluate } else { measure };
        run(Cuda::new(std::sync::Arc::clone(&timed), precision), size, options, &machine)?;
        let steps = if evaluated { 1 } else { options.steps.unwrap_or(size.steps) };
        println!(
            "{}: every kernel waited for, of one {}",
            size.name,
            if evaluated { "evaluation" } else { "step" }
        );
        print!("{}", timed.table(steps));
        return Ok(());
    }
    let gpu = std::sync::Arc::new(Gpu::open(0)?);
    let machine = Machine {
        peak: &|| gpu.peak().ok(),
        predicted: &|size| {
            let (rows, evaluated) = if evaluated { (0, size.seq_len) } else { (size.rows, 0) };
            let seq_len = size.seq_len;
            model::DeviceDemand { precision, rows, seq_len, evaluated }.bytes(&size.config)
        },
        warm: &|| {},
    };
    let run = if evaluated { evaluate } else { measure };
    run(Cuda::new(std::sync::Arc::clone(&gpu), precision), size, options, &machine)
}

#[cfg(not(feature = "cuda"))]
fn on_cuda(_: &Size, _: &Options) -> Result<(), xp::ops::Error> {
    Err(xp::ops::Error::Device("this bench was built without the feature `cuda`".into()))
}
