//! Training throughput on the CPU: `cargo bench --bench step [-- SIZE...]`.
//!
//! `--json` prints an object of seconds, the first loss and the peak, `--steps N` takes so many, `--weights
//! FILE` writes the initial weights (what `vs_torch/run.py` gives to PyTorch), `--threads N`.
//!
//! Sizes S and M are models of the search's kind at 1/100 and 1/10 of its cost, X is the
//! reference model itself. Prints the median step of a few, tokens/s, and GFLOP/s by the count
//! of `DESIGN.md`: (6 N + 6 layers heads `head_dim` `seq_len`) a token. Size E evaluates the
//! reference model at 16,384 tokens and prints the memory that took beside the prediction.

use std::time::Instant;

use xp::model::{self, Config, Rope, Ropes, Transformer};
use xp::ops::{Backend, Cpu};
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

fn measure(size: &Size, options: &Options) -> Result<(), xp::ops::Error> {
    let Size { name, config, rows, seq_len, steps } = size;
    let steps = options.steps.unwrap_or(*steps);
    let half = config.head_dim / 2;
    let inv_freq = (0..half).map(|k| 5e5f32.powf(-(k as f32) / half as f32)).collect();
    let cpu = Cpu::new();
    let mut model = Transformer::new(
        cpu.clone(),
        config,
        &Ropes::uniform(Rope { inv_freq, attention_scale: 1.0 }, config.layers),
    )?;
    let mut params = model::init(config, 42);
    options.save(config, &params);
    let constants = AdamWConfig { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.1 };
    let mut optimiser = AdamW::new(&cpu, constants, params.len())?;
    let count = rows * seq_len;
    let tokens: Vec<u32> = (0..count).map(|i| (i * 7919 % config.vocab_size) as u32).collect();
    let scale = 1.0 / (rows * (seq_len - 1)) as f32;
    let mut grads = vec![0.0; params.len()];
    let mut seconds = Vec::new();
    let mut first = None;
    for _ in 0..=steps {
        let start = Instant::now();
        grads.fill(0.0);
        let sum = model.forward_backward(&params, &tokens, *rows, scale, &mut grads)?;
        first.get_or_insert(sum * f64::from(scale));
        let clip = clip_factor(global_norm(&cpu, &grads)?, 1.0);
        optimiser.step(&cpu, &mut params, &grads, 6e-4, clip)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.remove(0); // allocates
    if options.json {
        print_json(&seconds, first.unwrap_or(f64::NAN));
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
        cpu.device_class(),
        rayon::current_num_threads(),
        peak_memory().map_or("?".into(), |mib| mib.to_string()),
        model::training_memory(config, *rows, *seq_len) >> 20,
    );
    Ok(())
}

/// Peak resident memory of this process in MiB, where the system tells.
fn peak_memory() -> Option<u64> {
    xp::run::peak_memory().map(|bytes| bytes >> 20)
}

fn evaluate(size: &Size, options: &Options) -> Result<(), xp::ops::Error> {
    let Size { name, config, seq_len, .. } = size;
    let half = config.head_dim / 2;
    let inv_freq = (0..half).map(|k| 5e5f32.powf(-(k as f32) / half as f32)).collect();
    let mut model = Transformer::new(
        Cpu::new(),
        config,
        &Ropes::uniform(Rope { inv_freq, attention_scale: 1.0 }, config.layers),
    )?;
    let params = model::init(config, 42);
    options.save(config, &params);
    let tokens: Vec<u32> = (0..*seq_len).map(|i| (i * 7919 % config.vocab_size) as u32).collect();
    let start = Instant::now();
    let losses = model.losses(&params, &tokens)?;
    let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
    if options.json {
        print_json(&[start.elapsed().as_secs_f64()], mean);
        return Ok(());
    }
    println!(
        "{name}: {:.2} s for {seq_len} tokens, mean loss {mean:.4}; peak {} MiB, predicted {} MiB",
        start.elapsed().as_secs_f64(),
        peak_memory().map_or("?".into(), |mib| mib.to_string()),
        model::evaluation_memory(config, *seq_len) >> 20,
    );
    Ok(())
}

/// What the command line asks for besides sizes.
#[derive(Default)]
struct Options {
    json: bool,
    steps: Option<usize>,
    weights: Option<std::path::PathBuf>,
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

fn print_json(seconds: &[f64], loss: f64) {
    println!(
        "{}",
        serde_json::json!({ "seconds": seconds, "loss": loss, "peak_mib": peak_memory() })
    );
}

fn main() -> Result<(), xp::ops::Error> {
    let (mut options, mut asked) = (Options::default(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value after the option");
        match argument.as_str() {
            "--json" => options.json = true,
            "--steps" => options.steps = Some(value().parse().expect("a number of steps")),
            "--weights" => options.weights = Some(value().into()),
            "--threads" => {
                let threads = value().parse().expect("a number of threads");
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build_global().expect("the first pool of the process");
            }
            "--bench" => {}
            size => asked.push(size.to_owned()),
        }
    }
    let sizes = [
        size("S", [2, 128, 4, 512, 4096], 8, 256, 15),
        size("M", [4, 256, 4, 1024, 8192], 8, 512, 5),
        size("X", [6, 512, 8, 2048, 50_304], 1, 2048, 3),
    ];
    if asked.iter().any(|a| a == "E") {
        evaluate(&size("E", [6, 512, 8, 2048, 50_304], 1, 16_384, 1), &options)?;
    }
    for size in &sizes {
        let default = size.name != "X" && asked.is_empty();
        if default || asked.iter().any(|a| a == size.name) {
            measure(size, &options)?;
        }
    }
    Ok(())
}
