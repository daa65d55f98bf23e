//! `xp export`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::common::{Global, answer, answer_json};
use super::exit::{self, Exit};
use crate::release::{self, Options, Target, TokenizerFrom, TrainedRun};

/// The software to write for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// A folder that Hugging Face transformers (and vLLM) loads
    Hf,
    /// A GGUF file that llama.cpp loads
    Gguf,
}

/// Write a trained run for other software, with its frequencies, tokenizer, protocol and verdict.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp export results/quickstart/geo_10k/seed-1 --to hf my-model
  xp export results/quickstart/geo_10k/seed-1 --to gguf my-model.gguf")]
pub struct Args {
    /// The folder of a run: results/<experiment>/<config>/seed-<seed>.
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::DirPath)]
    run: PathBuf,
    /// What to write for.
    #[arg(long, value_enum, value_name = "hf|gguf")]
    to: To,
    /// The folder to write (hf), or the file (gguf).
    #[arg(value_name = "DIR|FILE")]
    destination: PathBuf,
    /// With the frequencies of this transform of the evaluation (its name or canonical expression)
    /// instead of those as trained.
    #[arg(long, value_name = "NAME")]
    transform: Option<String>,
    /// The longest text to serve, in tokens. Default: the longest evaluated length.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 31))]
    length: Option<u64>,
    /// The tokenizer.json that the run was trained with, where no cache has it.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Write no tokenizer.
    #[arg(long, conflicts_with = "tokenizer")]
    no_tokenizer: bool,
    /// Replace what is there.
    #[arg(long)]
    force: bool,
    /// One JSON object: {"to", "files", "vec_id", "expression", "transform", "length", "fidelity", …}.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp export`.
///
/// # Errors
/// A run that cannot be exported, a destination that is taken, a file that cannot be read or written.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let target = match args.to {
        To::Hf => Target::Hf,
        To::Gguf => Target::Gguf,
    };
    let tokenizer = match &args.tokenizer {
        Some(path) => TokenizerFrom::File(path.clone()),
        None if args.no_tokenizer => TokenizerFrom::Nowhere,
        None => TokenizerFrom::Caches,
    };
    let options = Options {
        transform: args.transform.clone(),
        length: args.length,
        tokenizer,
        force: args.force,
    };
    let run = TrainedRun::open(&args.run)?;
    let written = release::export(&run, target, &args.destination, &options)?;
    for note in &written.notes {
        global.say(format_args!("note: {note}"));
    }
    if args.json {
        return answer_json(&written.json);
    }
    let files = written.files.iter().map(|path| format!("{}\n", path.display()));
    global.say(format_args!("frequencies: {}", written.fidelity));
    answer(&files.collect::<String>())
}

impl From<release::Error> for Exit {
    fn from(error: release::Error) -> Self {
        let code = match error.kind() {
            crate::results::ErrorKind::Usage => exit::USAGE,
            crate::results::ErrorKind::Environment => exit::ENVIRONMENT,
            crate::results::ErrorKind::Integrity => exit::INTEGRITY,
        };
        Self::new(code, error)
    }
}
