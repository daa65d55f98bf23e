//! The command line: one file a command. Prints and exits; decides nothing.

mod align;
mod check;
mod common;
mod data;
mod diff;
mod doctor;
pub mod exit;
mod export;
mod freq;
mod import;
mod plan;
mod power;
mod progress;
mod report;
mod run;
mod schema;
mod show;

use std::io::{IsTerminal, Write};

use clap::{Parser, Subcommand};

use common::Global;
use exit::Exit;

/// Language-model pretraining experiments on RoPE frequency sets: a TOML spec is checked,
/// expanded into runs, trained and evaluated exactly as written, and judged by rules fixed
/// before the first run.
#[derive(Debug, Parser)]
#[command(name = "xp", version, propagate_version = true, max_term_width = 100,
          after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 some run failed or diverged; 2 usage or invalid \
spec; 3 environment (disk, device, network, permission) or --require not met; 4 integrity, or \
locked by another process; 75 checkpointed on a signal, run again.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Parse, extend, expand and validate specs. Writes nothing, needs no network.
    Check(check::Args),
    /// The runs of a spec, their ids and state, and what they cost.
    Plan(plan::Args),
    /// Carry out what is missing; run again is resume.
    Run(run::Args),
    /// How a run or an experiment stands: state, loss curve, results.
    Show(show::Args),
    /// The mean±std table with verdicts, from whatever is there.
    Report(report::Args),
    /// How many seeds an effect needs, and what n seeds can detect.
    Power(power::Args),
    /// Evaluate frequency expressions.
    Freq(freq::FreqArgs),
    /// Bring in results measured elsewhere.
    Import(import::Args),
    /// Write a trained run for other software: Hugging Face transformers, llama.cpp.
    Export(export::Args),
    /// Fetch, tokenise, verify; nothing more (before going offline).
    Data(data::Args),
    /// Are two results the same experiment, within measured re-run noise?
    Align(align::Args),
    /// Which protocol keys and configs of two specs differ.
    Diff(diff::Args),
    /// What this machine and this build can compute on, and what is missing.
    Doctor(doctor::Args),
    /// Print the JSON schema of a spec.
    Schema(schema::Args),
}

/// Columns of the terminal, as far as the shell says.
fn columns() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(80)
}

/// Runs the command line; returns the exit code.
#[must_use]
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
        }
    };
    let global = cli.global;
    let result = match cli.command {
        Command::Check(args) => check::run(&args, &global),
        Command::Plan(args) => plan::run(&args, &global),
        Command::Run(args) => run::run(&args, &global),
        Command::Show(args) => show::run(&args, &global),
        Command::Report(args) => report::run(&args, &global),
        Command::Power(args) => power::run(&args, &global),
        Command::Freq(args) => {
            let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr());
            let console = freq::Console {
                color: global.color_stderr(),
                columns: out.is_terminal().then(columns),
            };
            match freq::run(&args, console, &mut out, &mut err) {
                0 => Ok(()),
                code => Err(Exit::silent(u8::try_from(code).unwrap_or(exit::USAGE))),
            }
        }
        Command::Import(args) => import::run(&args, &global),
        Command::Export(args) => export::run(&args, &global),
        Command::Data(args) => data::run(&args, &global),
        Command::Align(args) => align::run(&args, &global),
        Command::Diff(args) => diff::run(&args, &global),
        Command::Doctor(args) => doctor::run(&args),
        Command::Schema(args) => schema::run(&args),
    };
    match result {
        Ok(()) => exit::DONE,
        Err(Exit { code, message }) => {
            if !message.is_empty() {
                let _ = writeln!(std::io::stderr(), "error: {message}");
            }
            code
        }
    }
}
