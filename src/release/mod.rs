//! A trained run as other software takes it: a folder that Hugging Face transformers loads, or a file
//! that llama.cpp does.
//!
//! What is written is a function of the run's folder, the experiment's declaration and records, and the
//! tokenizer: the same export twice gives the same bytes. The weights are read and written piece by piece.
//!
//! | file | what |
//! | --- | --- |
//! | `run` | a run's folder: its record, its declaration, the shape of its model |
//! | `frequencies` | the set to write: as trained, or under a transform of the evaluation |
//! | `weights` | the weights, with the rows of q and k where the software looks for them |
//! | `tokenizer` | the tokenizer that the run was trained with |
//! | `hf` | config.json, model.safetensors, tokenizer files, generation_config.json |
//! | `gguf` | the GGUF file |
//! | `card` | README.md: protocol, results, verdict |
//!
//! Software that rotates whole heads takes a set that rotates a part of them with the rows of q and k
//! rearranged within each head, so that the channels that are not rotated become pairs of frequency 0:
//! the scores are the same, term by term.

mod card;
mod error;
mod frequencies;
mod gguf;
mod hf;
mod run;
mod tokenizer;
mod weights;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use error::Error;
pub use frequencies::Chosen;
pub use run::TrainedRun;
pub use tokenizer::Tokenizer;

/// What to write for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A folder in the layout of Hugging Face models.
    Hf,
    /// A file of llama.cpp.
    Gguf,
}

/// What of a run to write, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// An evaluation transform by its name or canonical expression; `None`: as trained.
    pub transform: Option<String>,
    /// The longest text to serve, in tokens; `None`: the longest evaluated length.
    pub length: Option<u64>,
    /// Where the tokenizer comes from.
    pub tokenizer: TokenizerFrom,
    /// Replace what is there.
    pub force: bool,
}

/// Where the tokenizer of an export comes from.
#[derive(Debug, Clone, Default)]
pub enum TokenizerFrom {
    /// From this machine's caches.
    #[default]
    Caches,
    /// From a file, which must be the one trained with.
    File(PathBuf),
    /// Nowhere: there is none in the export.
    Nowhere,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The files, in the order in which they were written.
    pub files: Vec<PathBuf>,
    /// How the software's frequencies differ from the run's, in a sentence.
    pub fidelity: String,
    /// As a JSON object: `files`, `vec_id`, `expression`, `transform`, `length`, `fidelity`,
    /// `tokenizer`.
    pub json: Value,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// Writes a run to `destination`: a folder, or a file.
///
/// # Errors
/// A run that cannot be exported, a destination that is taken, a tokenizer that cannot be found, files that
/// cannot be read or written. What was at the destination is then no whole export.
pub fn export(
    run: &TrainedRun,
    target: Target,
    destination: &Path,
    options: &Options,
) -> Result<Written, Error> {
    let chosen = Chosen::of(run, options.transform.as_deref(), options.length)?;
    let tokenizer = Tokenizer::of(run, &options.tokenizer)?;
    let (files, fidelity, fidelity_json, mut notes) = match target {
        Target::Hf => hf::write(run, &chosen, tokenizer.as_ref(), destination, options.force)?,
        Target::Gguf => gguf::write(run, &chosen, tokenizer.as_ref(), destination, options.force)?,
    };
    notes.extend(chosen.notes());
    let paths: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let json = json!({
        "to": match target { Target::Hf => "hf", Target::Gguf => "gguf" },
        "files": paths,
        "train_id": run.record.train_id,
        "vec_id": chosen.set.vec_id,
        "expression": chosen.set.expression,
        "transform": chosen.transform.as_ref().map(|transform| &transform.name),
        "length": chosen.length,
        "fidelity": fidelity_json,
        "tokenizer": tokenizer.as_ref().map(|tokenizer| &tokenizer.origin),
        "notes": notes,
    });
    Ok(Written { files, fidelity, json, notes })
}
