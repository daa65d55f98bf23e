//! `xp freq EXPR --export KIND`: the set in the form that other software takes.

use std::io::{self, IsTerminal, Write};

use super::sets::{evaluated, finding, is_spec};
use super::{DONE, ENVIRONMENT, FreqArgs, INVALID};
use crate::diag::{self, Diagnostic, Severity};
use crate::export::config::{self, Form, PARTIAL_MODEL_TYPES};
use crate::export::{self, gguf, npy};
use crate::freq::{self, Context, FrequencySet};

/// The software to write for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Keys of config.json for Hugging Face transformers
    Hf,
    /// Keys of config.json for vLLM
    Vllm,
    /// llama.cpp's factor table: JSON, or with -o FILE.gguf a GGUF file
    Gguf,
    /// NumPy array file (f64) of the frequencies
    Npy,
}

/// What is written, and what there is to say of it.
struct Answer {
    bytes: Vec<u8>,
    is_text: bool,
    notes: Vec<Diagnostic>,
}

/// Evaluates and writes; returns the exit code.
pub(super) fn run(
    kind: Kind,
    args: &FreqArgs,
    color: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    let mut tell = |found: &[Diagnostic]| {
        // Nothing is left to tell if the standard error is closed.
        let _ = err.write_all(diag::render(found, color).as_bytes());
    };
    let answer = match answer(kind, args) {
        Ok(answer) => answer,
        Err(found) => {
            tell(&found);
            return INVALID;
        }
    };
    let written = match &args.output {
        Some(file) => {
            crate::fs::write_atomic(file, &answer.bytes).map_err(|error| error.to_string())
        }
        None if !answer.is_text && io::stdout().is_terminal() => {
            let error = Diagnostic::error("freq::export", "a terminal cannot show this file")
                .help("write it to a file with -o FILE, or into a pipe");
            tell(&[error]);
            return INVALID;
        }
        None => match out.write_all(&answer.bytes).and_then(|()| out.flush()) {
            // Who closes the pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| format!("cannot write the answer: {error}")),
        },
    };
    match written {
        Ok(()) => {
            tell(&answer.notes);
            DONE
        }
        Err(message) => {
            tell(&[Diagnostic::error("freq::write", message)]);
            ENVIRONMENT
        }
    }
}

fn answer(kind: Kind, args: &FreqArgs) -> Result<Answer, Vec<Diagnostic>> {
    let [text] = args.expressions.as_slice() else {
        let error = Diagnostic::error(
            "freq::export",
            format!("--export takes one expression, not {}", args.expressions.len()),
        );
        return Err(vec![error.help("export each set with a command of its own")]);
    };
    let context = args.context.context();
    if is_spec(text) {
        let error = Diagnostic::error("freq::export", "--export takes an expression, not a spec");
        return Err(vec![
            error.help(format!("`xp freq {text}` shows the expressions of its configs")),
        ]);
    }
    let (set, source) = evaluated("<expr>", text, &context)?;
    let mut answer = match kind {
        Kind::Hf | Kind::Vllm => config_keys(kind, &set, &context),
        Kind::Gguf => factor_table(args, &set),
        Kind::Npy => Ok(array(&set)),
    }
    .map_err(|error| vec![refused(&error)])?;
    let warnings = set.checks.iter().filter(|check| check.severity == freq::Severity::Warning);
    if let (true, Some(length)) = (set.depends_on_seq_len, context.seq_len) {
        answer.notes.push(note(format!(
            "the set depends on the length at run time: this is the one for {length} tokens, and \
             the other software has it for every length"
        )));
    }
    answer.notes.splice(0..0, warnings.map(|check| finding(check, &source)));
    Ok(answer)
}

fn refused(error: &export::Error) -> Diagnostic {
    let help = match error {
        export::Error::NoLength => {
            "give it with --target-len (or --train-len, if no longer text is served): the \
             configuration of the library has it"
        }
        export::Error::PartialRotary { .. } => {
            "export to hf or vllm, or train a set that rotates the whole head"
        }
    };
    Diagnostic::error("freq::export", error.to_string()).help(help)
}

fn note(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new("freq::export", Severity::Note, message.into())
}

fn config_keys(kind: Kind, set: &FrequencySet, context: &Context) -> Result<Answer, export::Error> {
    let library = if kind == Kind::Hf { "transformers" } else { "vLLM" };
    let config = config::config(set, context)?;
    let channels = set.inv_freq.len();
    let fidelity = config.fidelity;
    let off = format!(
        "{} of {channels} frequencies differ by at most {} ulp",
        fidelity.channels, fidelity.max_ulp
    );
    let mut notes = vec![match config.form {
        Form::LongRope if fidelity.is_exact() => {
            note(format!("bit-exact: {library} computes the same {channels} f32 frequencies"))
        }
        Form::LongRope => note(format!("not bit-exact: in {library} {off}"))
            .help("for a bit-exact export, train with rope_dtype = \"f32-recip\" and export with --rope-dtype f32-recip"),
        Form::Default { .. } => note(format!(
            "not bit-exact: {library} computes the powers in f32, {off} (plus what the power \
             function of the device lacks in rounding)"
        ))
        .help("for a bit-exact export, train with rope_dtype = \"f32-recip\" and export with --rope-dtype f32-recip"),
    }];
    let rotary_dim = 2 * channels;
    if rotary_dim != set.head_dim as usize {
        notes.push(note(format!(
            "{rotary_dim} of {} dimensions rotate: this is for model types that read \
             partial_rotary_factor ({}); others, llama among them, do not",
            set.head_dim,
            PARTIAL_MODEL_TYPES.join(", ")
        )));
    }
    if kind == Kind::Vllm {
        notes.push(note(
            "vLLM serves at most max_position_embeddings tokens, and keeps cos and sin in the \
             dtype of the model: in bf16 its logits differ from those of transformers",
        ));
    }
    let text = export::pretty(&serde_json::Value::Object(config.keys));
    Ok(Answer { bytes: text.into_bytes(), is_text: true, notes })
}

fn factor_table(args: &FreqArgs, set: &FrequencySet) -> Result<Answer, export::Error> {
    let table = gguf::table(set)?;
    let as_file = args.output.as_ref().is_some_and(|file| {
        file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
    });
    let bytes = if as_file { table.bytes() } else { export::pretty(&table.json()).into_bytes() };
    let mut notes = vec![note(format!(
        "llama.cpp divides positions by these factors: 1/P_k differs from the frequencies by at \
         most {:.1e} of them",
        table.max_relative_error
    ))];
    notes.push(note(format!(
        "the tensor {} has to be added to the model's GGUF file: the converter from Hugging Face \
         leaves it out without a word",
        gguf::TENSOR
    )));
    Ok(Answer { bytes, is_text: !as_file, notes })
}

fn array(set: &FrequencySet) -> Answer {
    let mut notes = Vec::new();
    if set.attention_scale != 1.0 {
        notes.push(note(format!(
            "the attention scale {} is not in the file: multiply cos and sin by it",
            set.attention_scale
        )));
    }
    Answer { bytes: npy::bytes(set), is_text: false, notes }
}
