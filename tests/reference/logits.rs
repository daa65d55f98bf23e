//! The logits that xp computes with a run's weights, for tests/reference/export_model.py:
//!
//! ```text
//! echo 104 101 108 | cargo run --example logits -- RUN TRANSFORM|- LENGTH > logits.f32
//! ```
//!
//! Tokens from the standard input; out come f32, little-endian, \[tokens, vocabulary\]. LENGTH is the
//! length for which a transform is evaluated.

use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;

use xp::model::{Rope, Ropes, Transformer};
use xp::ops::{Backend, Cpu};
use xp::release::{Chosen, TrainedRun};
use xp::train::weights;

/// Logits \[tokens, vocabulary\] of a run's weights on the CPU, with its frequencies as trained or
/// under a transform at `length`.
pub fn logits(
    run: &Path,
    transform: Option<&str>,
    length: u64,
    tokens: &[u32],
) -> Result<Vec<f32>, Box<dyn Error>> {
    let run = TrainedRun::open(run)?;
    let chosen = Chosen::of(&run, transform, Some(length))?;
    let rope = Rope {
        inv_freq: chosen.set.inv_freq_f32(),
        attention_scale: chosen.set.attention_scale as f32,
    };
    let ropes = Ropes::uniform(rope, run.model.layers);
    let cpu = Cpu::new();
    let params = cpu.upload(weights::load(&run.dir.weights(), &run.layout())?)?;
    Ok(Transformer::new(cpu, &run.model, &ropes)?.logits(&params, tokens)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [run, transform, length] = args.as_slice() else {
        return Err("see the top of this file".into());
    };
    let transform = Some(transform.as_str()).filter(|name| *name != "-");
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let tokens = text.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let logits = logits(Path::new(run), transform, length.parse()?, &tokens)?;
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    Ok(std::io::stdout().write_all(&bytes)?)
}
