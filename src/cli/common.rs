//! What the commands share: options, loading a spec, printing findings.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::exit::{self, Exit};
use super::terminal::is_capable;
use crate::data::ContentHashes;
use crate::diag::{self, Diagnostic, Severity};
use crate::plan::{self, Checked, Plan};
use crate::results::Layout;
use crate::run::Room;
use crate::spec::load;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Heading of the options of every command.
const EVERYWHERE: &str = "Messages";
/// Heading of the options that change a spec.
const OF_SPEC: &str = "The spec";

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Colours in messages.
    #[arg(
        long,
        global = true,
        help_heading = EVERYWHERE,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|always|never"
    )]
    pub color: Color,
    /// Only errors on stderr.
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Notes as well as warnings on stderr.
    #[arg(short, long, global = true, help_heading = EVERYWHERE, conflicts_with = "quiet")]
    pub verbose: bool,
}

impl Global {
    /// Whether stderr is coloured.
    pub fn color_stderr(&self) -> bool {
        self.color(&std::io::stderr())
    }

    /// Whether stdout is coloured.
    pub fn color_stdout(&self) -> bool {
        self.color(&std::io::stdout())
    }

    fn color(&self, stream: &impl IsTerminal) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_capable(stream) && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        }
    }

    /// Prints findings to stderr: errors always, warnings unless quiet, notes if verbose.
    pub fn print(&self, found: &[Diagnostic]) {
        let least = match (self.quiet, self.verbose) {
            (true, _) => Severity::Error,
            (_, true) => Severity::Note,
            _ => Severity::Warning,
        };
        let shown: Vec<_> = found.iter().filter(|d| d.severity >= least).cloned().collect();
        let text = diag::render(&shown, self.color_stderr());
        // Nothing useful can be done about a stderr that is gone.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Prints a line of progress to stderr unless quiet.
    pub fn say(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Options that change what a spec says.
#[derive(Debug, Clone, Args)]
pub struct SpecArgs {
    /// Set a key of the spec, as TOML: --set schedule.lr=3e-4.
    #[arg(long, value_name = "KEY=VALUE", help_heading = OF_SPEC)]
    pub set: Vec<String>,
    /// Call the experiment NAME.
    #[arg(long, value_name = "NAME", help_heading = OF_SPEC)]
    pub name: Option<String>,
    /// Refuse to expand to more runs.
    #[arg(long, value_name = "N", default_value_t = plan::MAX_RUNS, value_parser = whole, help_heading = OF_SPEC)]
    pub max_runs: u64,
}

/// A whole number of the command line.
pub fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("it is a whole number from 0 to {}", u64::MAX))
}

impl Default for SpecArgs {
    /// As where none of them is given.
    fn default() -> Self {
        Self { set: Vec::new(), name: None, max_runs: plan::MAX_RUNS }
    }
}

/// Where results lie.
#[derive(Debug, Clone, Args)]
pub struct ResultsArgs {
    /// Results directory.
    #[arg(long, value_name = "DIR", default_value = "results", value_hint = clap::ValueHint::DirPath)]
    pub results: PathBuf,
}

impl ResultsArgs {
    /// The layout of the directory.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.results)
    }
}

/// Loads and checks a spec. The findings are returned, not printed.
///
/// # Errors
/// A file that cannot be read.
pub fn check_spec(
    path: &Path,
    args: &SpecArgs,
) -> Result<(Option<Checked>, Vec<Diagnostic>), Exit> {
    super::mistakes::refuse_other_than_spec(path)?;
    let mut sets = args.set.clone();
    if let Some(name) = &args.name {
        sets.push(format!("experiment.name={}", serde_json::Value::from(name.as_str())));
    }
    let document = match load::load(path, &sets) {
        Ok(document) => document,
        Err(load::Error::Spec(found)) => return Ok((None, found)),
        Err(load::Error::File(e)) => return Err(e.into()),
    };
    let (checked, mut found) = plan::check_document(&document, args.max_runs);
    let Some(checked) = checked else { return Ok((None, found)) };
    found.extend(plan::hold_fixed(&checked, args.max_runs));
    let sound = !diag::any_error(&found);
    Ok((sound.then_some(checked), found))
}

/// Loads and checks a spec, prints its errors (warnings are `xp check`'s, or with -v), and ends
/// the command if it is invalid.
///
/// # Errors
/// An invalid spec, a file that cannot be read.
pub fn checked_spec(path: &Path, args: &SpecArgs, global: &Global) -> Result<Checked, Exit> {
    let (checked, mut found) = check_spec(path, args)?;
    found.retain(|d| global.verbose || d.severity == Severity::Error);
    global.print(&found);
    checked.ok_or_else(|| Exit::silent(exit::USAGE))
}

/// Loads, checks and plans a spec.
///
/// # Errors
/// An invalid spec, a file that cannot be read.
pub fn planned_spec(path: &Path, args: &SpecArgs, global: &Global) -> Result<Plan, Exit> {
    let checked = checked_spec(path, args, global)?;
    Ok(Plan::new(checked, &mut ContentHashes::default())?)
}

/// Writes the answer of a command to stdout. A reader that closes the pipe (`xp report | head`) has what it
/// wanted: the command goes on, and its exit code says what it would have said.
///
/// # Errors
/// An output that cannot be written.
pub fn answer(text: &str) -> Result<(), Exit> {
    match print(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Writes to stdout.
///
/// # Errors
/// An output that cannot be written, a closed pipe included: as an [`Exit`], that ends the command quietly.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a JSON answer.
///
/// # Errors
/// As [`answer`].
pub fn answer_json(value: &serde_json::Value) -> Result<(), Exit> {
    answer(&format!("{}\n", serde_json::to_string_pretty(value).expect("JSON is JSON")))
}

/// Threads that `xp run` takes on this machine unless it is told how many.
pub fn threads_here() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `1 run`, `2 runs`.
#[must_use]
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// 1234567 as `1,234,567`.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes as a person reads them.
#[must_use]
pub fn bytes(n: u64) -> String {
    match n {
        0..=1_048_575 => format!("{:.0} KiB", n as f64 / 1024.0),
        1_048_576..=1_073_741_823 => format!("{:.0} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// What a disk lacks, as a sentence.
#[must_use]
pub fn room_words(room: &Room) -> String {
    let Room { free, runs, kept, checkpoints } = *room;
    format!(
        "the disk of the results has {} left; what is kept of {} to be trained takes {}, checkpoints up to \
         {} while one is: free some, or put results elsewhere (--results DIR)",
        bytes(free),
        counted(runs, "run"),
        bytes(kept),
        bytes(checkpoints),
    )
}

/// Seconds as a person reads them: `42s`, `3m10s`, `2h05m`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0).round() as u64 } else { return "?".into() };
    match s {
        0..=59 => format!("{s}s"),
        60..=3599 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(thousands(50_928_128), "50,928,128");
        assert_eq!(thousands(7), "7");
        assert_eq!(duration(59.6), "1m00s");
        assert_eq!(duration(7_500.0), "2h05m");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
