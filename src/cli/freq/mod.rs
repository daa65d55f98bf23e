//! `xp freq`: what frequency expressions, or the configs of a spec, evaluate to.

mod chart;
mod csv_rows;
mod diff;
mod export;
mod json;
mod number;
mod sets;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::diag::{self, Diagnostic};
use crate::freq::{self, Context, RopeDtype};
use sets::Refusal;

/// Everything was evaluated.
const DONE: i32 = 0;
/// An expression has an error.
const INVALID: i32 = 2;
/// The answer could not be written.
const ENVIRONMENT: i32 = 3;

/// Show, compare and check frequency expressions, or those of a spec.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  xp freq 'geo(theta=500k)' --train-len 2048
  xp freq 'anchored_poly(theta=500k)' --against 'geo(theta=500k)'
  xp freq specs/tinystories_cpu.toml --svg sets.svg
  xp freq diff 'geo(theta=500k)' 'yarn(geo(theta=500k), factor=8)'
  xp freq 'yarn(geo(), factor=8)' --train-len 2048 --export hf -o rope.json")]
pub struct FreqArgs {
    #[command(subcommand)]
    pub command: Option<FreqCommand>,

    /// Frequency expressions, such as 'geo(theta=500k)', or a spec (FILE.toml)
    #[arg(value_name = "EXPR|SPEC", required_unless_present = "list")]
    pub expressions: Vec<String>,

    #[command(flatten)]
    pub context: ContextArgs,

    /// Compare each frequency with this expression's; with a spec also a config's name (without it
    /// each config's baseline)
    #[arg(long, value_name = "EXPR")]
    pub against: Option<String>,

    /// Print one JSON object
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Write CSV to FILE, or to the standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub csv: Option<String>,

    /// Draw all sets over k on a log axis, to FILE
    #[arg(long, value_name = "FILE", conflicts_with = "export")]
    pub svg: Option<PathBuf>,

    /// Draw on the terminal: auto draws if the answer goes to one
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub plot: When,

    /// Write what other software needs to compute the set
    #[arg(long, value_name = "KIND", conflicts_with_all = ["json", "csv", "against"])]
    pub export: Option<export::Kind>,

    /// Write the export to FILE instead of the standard output
    #[arg(short, long, value_name = "FILE", requires = "export")]
    pub output: Option<PathBuf>,

    /// List the families with formulas, parameters and sources
    #[arg(long, exclusive = true)]
    pub list: bool,
}

/// What else the command does.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum FreqCommand {
    Diff(diff::DiffArgs),
}

/// When to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// If the answer goes to a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What expressions are evaluated for.
#[derive(Debug, Clone, clap::Args)]
pub struct ContextArgs {
    /// Dimensions of an attention head (64)
    #[arg(long, value_name = "N")]
    pub head_dim: Option<u32>,

    /// Training length in tokens, such as 2048 or 16k (16000)
    #[arg(long, value_name = "L", value_parser = length)]
    pub train_len: Option<u64>,

    /// Target length in tokens
    #[arg(long, value_name = "M", value_parser = length)]
    pub target_len: Option<u64>,

    /// Present length in tokens, for families that depend on it at run time
    #[arg(long, value_name = "S", value_parser = length)]
    pub seq_len: Option<u64>,

    /// How frequencies are rounded to f32: f32 (once), or f32-recip, exact where divisors are stored
    #[arg(long, value_name = "DTYPE", value_parser = rope_dtype)]
    pub rope_dtype: Option<RopeDtype>,
}

impl ContextArgs {
    fn context(&self) -> Context {
        Context {
            head_dim: self.head_dim.unwrap_or(64),
            train_len: self.train_len,
            target_len: self.target_len,
            seq_len: self.seq_len,
            rope_dtype: self.rope_dtype.unwrap_or_default(),
        }
    }

    fn is_given(&self) -> bool {
        let lengths = [self.train_len, self.target_len, self.seq_len];
        self.head_dim.is_some() || self.rope_dtype.is_some() || lengths.iter().any(Option::is_some)
    }
}

fn rope_dtype(name: &str) -> Result<RopeDtype, String> {
    let known = || RopeDtype::NAMES.map(|(_, name)| name).join(" or ");
    RopeDtype::named(name).ok_or_else(|| format!("it is {}", known()))
}

/// A positive whole number, with or without suffix.
fn length(text: &str) -> Result<u64, String> {
    // Every whole number up to here is an f64.
    const MAX: f64 = (1u64 << 53) as f64;
    match freq::parse_number(text) {
        Some(value) if value.fract() == 0.0 && (1.0..=MAX).contains(&value) => Ok(value as u64),
        _ => Err("a length is a whole number of tokens from 1, such as 2048 or 16k (16000)".into()),
    }
}

/// Where the answer goes.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// Whether errors are coloured.
    pub color: bool,
    /// Columns of the terminal, if the answer goes to one.
    pub columns: Option<usize>,
}

/// Runs `xp freq`: the answer goes to `out`, errors to `err`.
///
/// Returns the exit code: 0, 2 for an invalid expression or spec, 3 if something cannot be read or
/// the answer cannot be written.
pub fn run(args: &FreqArgs, console: Console, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    if let Some(kind) = args.export {
        return export::run(kind, args, console.color, out, err);
    }
    let mut tell = |found: &[Diagnostic]| {
        // Nothing is left to tell if the standard error is closed.
        let _ = err.write_all(diag::render(found, console.color).as_bytes());
    };
    let answer = match answer(args, console) {
        Ok(answer) => answer,
        Err(refusal) => return refusal.tell(&mut tell),
    };
    tell(&answer.findings);
    for (file, content) in answer.files {
        if let Err(error) = crate::fs::write_atomic(&file, content.as_bytes()) {
            tell(&[Diagnostic::error("freq::write", error.to_string())]);
            return ENVIRONMENT;
        }
    }
    match out.write_all(answer.text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("cannot write the answer: {error}");
            tell(&[Diagnostic::error("freq::write", message)]);
            ENVIRONMENT
        }
        // Who closes the pipe has read enough.
        _ => DONE,
    }
}

/// What the command answers.
#[derive(Default)]
struct Answer {
    /// For the standard output.
    text: String,
    /// For files.
    files: Vec<(PathBuf, String)>,
    /// For the standard error.
    findings: Vec<Diagnostic>,
}

fn answer(args: &FreqArgs, console: Console) -> Result<Answer, Refusal> {
    if args.list {
        return Ok(Answer { text: freq::families::list(), ..Answer::default() });
    }
    if let Some(FreqCommand::Diff(args)) = &args.command {
        let text = diff::answer(args).map_err(Refusal::Found)?;
        return Ok(Answer { text, ..Answer::default() });
    }
    let named = sets::named(args)?;
    let of_spec = args.expressions.iter().any(|text| sets::is_spec(text));
    let mut answer = Answer::default();
    let title =
        if of_spec { spec_title(&args.expressions[0]) } else { "RoPE frequencies".to_owned() };
    if let Some(file) = &args.svg {
        answer.files.push((file.clone(), chart::chart(&named, &title).svg()));
    }
    if args.json {
        answer.text = json::text(&named, of_spec);
    } else if let Some(file) = &args.csv {
        let text = csv_rows::text(&named);
        answer.findings = named.iter().flat_map(sets::Named::findings).collect();
        if file == "-" {
            answer.text = text;
        } else {
            answer.files.push((PathBuf::from(file), text));
        }
    } else {
        answer.text = text::text(&named, of_spec);
        let draws = match args.plot {
            When::Auto => console.columns.is_some(),
            When::Always => true,
            When::Never => false,
        };
        if draws {
            const ROWS: usize = 20;
            let columns = console.columns.unwrap_or(80).min(120);
            answer.text.push('\n');
            answer.text.push_str(&chart::chart(&named, &title).text(columns, ROWS));
        }
    }
    Ok(answer)
}

fn spec_title(path: &str) -> String {
    let name = Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    format!("RoPE frequencies of {}", name.unwrap_or_default())
}
