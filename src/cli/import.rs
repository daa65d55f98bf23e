//! `xp import`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::common::{
    Global, ResultsArgs, SpecArgs, answer, answer_json, counted, planned_spec, whole,
};
use super::exit::{self, Exit};
use crate::results::import::{self, Options, Parsed, Taken};
use crate::run::now;

/// Bring in results measured elsewhere, marked as imported.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp import results/reference/3cfg_3seed.csv --spec specs/3cfg_3seed.toml
  xp import ppl.json --spec specs/a.toml --seed 42   {\"geo\": {\"2048\": 6.8}}")]
pub struct Args {
    /// {config: {length: ppl}} (with --seed), {"results": {config: {seed: {length: ppl}}}}, or a
    /// runs.csv.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// The spec that the results belong to.
    #[arg(long, value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: PathBuf,
    /// The seed of a file that names none.
    #[arg(long, value_parser = whole)]
    seed: Option<u64>,
    /// The sweep point of a spec that sweeps protocols.
    #[arg(long)]
    point: Option<String>,
    /// Leave out configs and seeds that the spec lacks.
    #[arg(long)]
    ignore_unknown: bool,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp import`.
///
/// # Errors
/// A file that holds no results of the spec, native results in the way.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let bytes = crate::fs::read(&args.file).map_err(|e| match e.source.kind() {
        std::io::ErrorKind::NotFound => Exit::new(exit::USAGE, e),
        _ => e.into(),
    })?;
    let parsed = Parsed::from_bytes(&args.file.display().to_string(), &bytes).map_err(exit_of)?;
    let plan = planned_spec(&args.spec, &args.spec_args, global)?;
    let mut frequencies = BTreeMap::new();
    for config in plan.points.iter().flat_map(|point| &point.resolved.configs) {
        frequencies.entry(config.name.clone()).or_insert_with(|| config.freq.recorded());
    }
    let options = Options {
        seed: args.seed,
        point: args.point.clone(),
        ignore_unknown: args.ignore_unknown,
        date: now(),
    };
    let layout = args.results.layout();
    let outcome = import::import(&layout, &plan.declared(), &parsed, &frequencies, &options)
        .map_err(exit_of)?;
    if args.json {
        return answer_json(&serde_json::to_value(&outcome).expect("a plain struct is JSON"));
    }
    let mut out = String::new();
    let numbers: usize = outcome.runs.iter().map(|run| run.lengths).sum();
    out.push_str(&format!(
        "{}: {numbers} perplexities of {} into {}\n",
        args.file.display(),
        counted(outcome.runs.len(), "run"),
        layout.experiment(&plan.experiment).display()
    ));
    for (taken, words) in [
        (Taken::New, "new"),
        (Taken::AlreadyThere, "already there, the same"),
        (Taken::Extended, "extended by further lengths"),
        (Taken::FurtherAttempt, "other values than before: kept as a further attempt"),
    ] {
        match outcome.count(taken) {
            0 => {}
            n => out.push_str(&format!("  {n} {words}\n")),
        }
    }
    for skipped in &outcome.skipped {
        out.push_str(&format!("  left out: {skipped}\n"));
    }
    for change in &outcome.amended {
        out.push_str(&format!("  amended: {change}\n"));
    }
    answer(&out)
}

fn exit_of(error: import::Error) -> Exit {
    Exit::new(exit::of_results_kind(error.kind()), error)
}
