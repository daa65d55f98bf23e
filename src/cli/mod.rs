//! The command line: one file a command. Prints and exits; decides nothing.

mod align;
mod check;
mod common;
mod completions;
mod data;
mod diff;
mod doctor;
pub mod exit;
mod export;
mod foregone;
mod freq;
mod import;
mod init;
mod merge;
mod mistakes;
mod plan;
mod power;
mod progress;
mod report;
mod run;
mod schema;
mod screen;
mod show;
mod signals;
mod submit;
mod terminal;
mod verify;
mod version;

use std::io::{IsTerminal, Write};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use common::Global;
use exit::Exit;

/// Language-model pretraining experiments on RoPE frequency sets: a TOML spec is checked,
/// expanded into runs, trained and evaluated exactly as written, and judged by rules fixed
/// before the first run.
#[derive(Debug, Parser)]
#[command(name = "xp", version = version::VERSION, long_version = version::long(),
          max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
To begin:
  xp init                a commented spec, experiment.toml
  xp run experiment.toml train, evaluate, judge; run again is resume
  xp COMMAND --help      more on a command, with examples

Exit codes: 0 done; 1 some run failed or diverged; 2 usage or invalid spec; 3 environment (disk, \
device, network, permission) or --require not met; 4 integrity, or locked by another process; \
75 checkpointed on a signal, run again.";

/// In the order in which a newcomer needs them.
#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Check(check::Args),
    Plan(plan::Args),
    Data(data::Args),
    Run(run::Args),
    Show(show::Args),
    Report(report::Args),
    Power(power::Args),
    Freq(freq::FreqArgs),
    Diff(diff::Args),
    Align(align::Args),
    Import(import::Args),
    Submit(Box<submit::Args>),
    Merge(merge::Args),
    Verify(verify::Args),
    Export(export::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// The command line. A negative number is a value, to be told what would be one, and no unknown option.
fn parse() -> Result<Cli, clap::Error> {
    let command = Cli::command().mut_subcommands(|command| command.allow_negative_numbers(true));
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// Columns of the terminal, as far as the shell says.
fn columns() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(80)
}

/// Runs the command line; returns the exit code.
#[must_use]
pub fn main() -> u8 {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(message) = mistakes::of_command(&error) {
                let _ = writeln!(std::io::stderr(), "error: {message}");
                return exit::USAGE;
            }
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
        }
    };
    let global = cli.global;
    let result = match cli.command {
        Command::Init(args) => init::run(&args),
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
        Command::Submit(args) => submit::run(&args, &global),
        Command::Merge(args) => merge::run(&args, &global),
        Command::Verify(args) => verify::run(&args, &global),
        Command::Export(args) => export::run(&args, &global),
        Command::Data(args) => data::run(&args, &global),
        Command::Align(args) => align::run(&args, &global),
        Command::Diff(args) => diff::run(&args, &global),
        Command::Doctor(args) => doctor::run(&args, &global),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
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
