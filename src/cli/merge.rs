//! `xp merge`.

use std::path::PathBuf;

use super::common::{Global, ResultsArgs, answer, answer_json, counted};
use super::exit::{self, Exit};
use crate::results::merge::{self, Outcome, Taken};
use crate::run::now;

/// Bring the results of several machines together.
///
/// A union of run folders: the sources stay as they are, and nothing of the destination is overwritten.
/// The same run at both sides is one if its bytes agree; otherwise the second is kept as a further
/// attempt, which does not count. Results of another training or of other frequencies under the same
/// names are refused before anything is written. Merging again does what is left, or nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp run SPEC --shard 1/2    on one machine; --shard 2/2 on another; then, in one place:
  xp merge box-a/results box-b/results
  xp merge /mnt/box-b/results/3cfg_3seed --results results --dry-run
  xp report SPEC")]
pub struct Args {
    /// Results folders of other machines, or folders of one experiment.
    #[arg(value_name = "DIR", required = true, value_hint = clap::ValueHint::DirPath)]
    sources: Vec<PathBuf>,
    #[command(flatten)]
    results: ResultsArgs,
    /// Say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp merge`.
///
/// # Errors
/// Sources that are none, results that are not of one experiment, a process at work, damaged files.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let layout = args.results.layout();
    let outcome = merge::merge(&args.sources, &layout, args.dry_run, &now())
        .map_err(|error| Exit::new(exit::of_results_kind(error.kind()), error))?;
    if args.json {
        let mut object = serde_json::json!({
            "results": layout.root(), "dry_run": args.dry_run, "runs": outcome.runs,
        });
        let amended = outcome.amended.iter();
        object["amended"] = amended
            .map(|(experiment, changes)| {
                serde_json::json!({ "experiment": experiment, "changes": changes })
            })
            .collect();
        let problems = outcome.problems.iter();
        object["problems"] = problems
            .map(|(source, problem)| {
                serde_json::json!({ "source": source, "path": problem.path, "reason": problem.reason })
            })
            .collect();
        answer_json(&object)?;
    } else {
        answer(&text(&outcome, args, &layout.root().display().to_string()))?;
    }
    for (source, problem) in &outcome.problems {
        global.say(format_args!("{source}: {} is left out: {}", problem.path, problem.reason));
    }
    if outcome.problems.is_empty() { Ok(()) } else { Err(Exit::silent(exit::INTEGRITY)) }
}

fn text(outcome: &Outcome, args: &Args, results: &str) -> String {
    let mut out = String::new();
    if outcome.changes() {
        let verb = if args.dry_run { "would be merged" } else { "merged" };
        let runs = counted(outcome.runs.len(), "run");
        out.push_str(&format!("{runs} of {} {verb} into {results}\n", sources(args)));
    } else {
        out.push_str(&format!("nothing to merge: {results} has all of {}\n", sources(args)));
    }
    for (taken, words) in [
        (Taken::New, "new"),
        (Taken::AlreadyThere, "already there, the same"),
        (Taken::Completed, "there already: files that were missing or cut off were added"),
        (Taken::Extended, "there already: further chunks, lengths or transforms were added"),
        (Taken::Replaced, "in the place of one that was not finished or was imported"),
        (Taken::LessComplete, "left out: the one that is there is further on"),
        (Taken::FurtherAttempt, "with other bytes than those that are there: a further attempt"),
    ] {
        match outcome.count(taken) {
            0 => {}
            n => out.push_str(&format!("  {n} {words}\n")),
        }
    }
    // These are few, and what a reader wants to look at.
    for run in outcome.runs.iter().filter(|run| run.taken == Taken::FurtherAttempt) {
        out.push_str(&format!("  {} of {}: attempt {}\n", run.run, run.source, run.attempt));
    }
    for (experiment, changes) in &outcome.amended {
        for change in changes {
            out.push_str(&format!("  {experiment} amended: {change}\n"));
        }
    }
    out
}

fn sources(args: &Args) -> String {
    let names = args.sources.iter().map(|source| source.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}
