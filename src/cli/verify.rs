//! `xp verify`.

use std::path::PathBuf;

use super::common::{Global, SpecArgs, answer, answer_json, counted, planned_spec};
use super::exit::{self, Exit};
use super::progress::Console;
use super::run::{build_pool, open_device};
use crate::data::Cache;
use crate::run::verify::{self, Again, Finding, Rerun, Subject};

/// Hold a run against itself: its files against each other, and its training carried out again.
///
/// Without a spec: that run.json, eval.jsonl, train.jsonl, the weights and lock.json agree with each other
/// and with their ids. With --spec, the spec that the run was made of, it is trained and evaluated
/// again, elsewhere, and must give the same bytes. The run's folder stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp verify results/a/geo/seed-42
  xp verify results/a/geo/seed-42 --spec specs/a.toml --steps 20
  xp verify results/a/geo/seed-42 --spec specs/a.toml
Exits 4 if anything differs.")]
pub struct Args {
    /// The folder of a run, or of a further attempt inside it.
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::DirPath)]
    run: PathBuf,
    /// The spec that the run was made of: it is carried out again.
    #[arg(long, value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: Option<PathBuf>,
    /// Train only the N first steps again, and compare their losses and gradient norms.
    #[arg(long, value_name = "N", requires = "spec", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    #[command(flatten)]
    spec_args: SpecArgs,
    /// Where to compute: auto (the first GPU, else the CPU), cpu, cuda, cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Threads. Default: all cores. The results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What was compared, and what was found.
struct Answer {
    lines: Vec<String>,
    found: Vec<Finding>,
    steps: Option<u64>,
    whole: bool,
}

/// Carries out `xp verify`.
///
/// # Errors
/// No run, another spec, another device; anything that differs; a signal.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let subject = Subject::open(&args.run)?;
    let found = subject.check_files();
    let files = match found.is_empty() {
        true => "its files agree with each other and with their ids".to_owned(),
        false => format!("{} in its files", counted(found.len(), "contradiction")),
    };
    let mut told = Answer { lines: vec![files], found, steps: None, whole: false };
    // Files that contradict each other would be found to differ once more.
    if let Some(spec) = args.spec.as_ref().filter(|_| told.found.is_empty()) {
        again(args, spec, global, &subject, &mut told)?;
    }
    let name = args.run.display().to_string();
    if args.json {
        answer_json(&serde_json::json!({
            "run": name, "ok": told.found.is_empty(), "trained_again": told.whole,
            "steps_compared": told.steps, "differences": told.found,
        }))?;
    } else {
        answer(&format!("{name}: {}\n", told.lines.join("; ")))?;
    }
    let Some(first) = told.found.first() else { return Ok(()) };
    for Finding { file, what } in &told.found {
        global.say(format_args!("{name}/{file}: {what}"));
    }
    Err(Exit::new(exit::INTEGRITY, format!("{name} does not hold: {} differs", first.file)))
}

fn again(
    args: &Args,
    spec: &std::path::Path,
    global: &Global,
    subject: &Subject,
    told: &mut Answer,
) -> Result<(), Exit> {
    build_pool(args.threads)?;
    let plan = planned_spec(spec, &args.spec_args, global)?;
    let cache = Cache::from_env()?;
    let executor = open_device(&args.device)?;
    let here = executor.device_class();
    if let Some(there) = verify::device_class(&subject.dir)?.filter(|there| *there != here) {
        return Err(Exit::new(
            exit::ENVIRONMENT,
            format!(
                "the run was carried out on `{there}`, this is `{here}`: other last digits would come \
                 out; verify it there (or name another --device), or compare two such runs with \
                 `xp align`"
            ),
        ));
    }
    let scratch = tempfile::Builder::new().prefix("xp-verify-").tempdir()?;
    let console = Console::listening(global.quiet)?;
    let again = Again {
        steps: args.steps,
        scratch: scratch.path(),
        cache: &cache,
        executor: executor.as_ref(),
        observer: &console,
        stop: console.stop(),
    };
    let came = subject.rerun(plan, &again);
    console.finish();
    match came? {
        Rerun::Interrupted => {
            global.say("stopped on a signal; nothing was compared");
            Err(Exit::silent(exit::INTERRUPTED))
        }
        Rerun::Compared { steps, whole, found } => {
            let what = if whole { "log, weights, chunks and metrics" } else { "losses and norms" };
            let same = if found.is_empty() { "the same" } else { "not the same" };
            told.lines.push(format!("trained again, {steps} steps on {here}: {same} {what}"));
            if !found.is_empty() {
                // For whoever looks into it.
                let kept = scratch.keep();
                told.lines.push(format!("what came out is in {}", kept.display()));
            }
            (told.steps, told.whole, told.found) = (Some(steps), whole, found);
            Ok(())
        }
    }
}
