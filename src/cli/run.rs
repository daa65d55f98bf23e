//! `xp run`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::common::{Global, ResultsArgs, SpecArgs, answer, answer_json, planned_spec, whole};
use super::exit::{self, Exit};
use super::foregone;
use super::progress::Console;
use crate::data::Cache;
use crate::plan::{Plan, Task};
use crate::run::state::{Index, inspect};
use crate::run::{self, Executor, Jobs, OpenError, Opened, Options, Outcome, Several, run_dir};

/// Carry out what is missing; run again is resume.
///
/// Every config under one seed comes before the next seed: what ends a sweep too early leaves configs
/// that can be compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp run specs/quickstart.toml
  xp run specs/quickstart.toml --only 'geo_*' --seeds 1   some of the runs
  xp run specs/quickstart.toml --set schedule.lr=1e-3 --name quick_lr
  xp run specs/quickstart.toml --shard 2/8                one of eight shares
Ctrl-C checkpoints and ends with 75; the same command goes on.
`xp show SPEC --watch` follows it from another terminal.")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Args {
    /// The spec.
    #[arg(value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: PathBuf,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// Only configs whose name matches.
    #[arg(long, value_name = "GLOB")]
    only: Option<String>,
    /// Only these of the declared seeds: 42,7.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = whole)]
    seeds: Option<Vec<u64>>,
    /// Where to compute: auto (the first GPU, else the CPU), cpu, cuda, cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Several GPUs of one kind, one run on each at a time: cuda:0,cuda:1.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "device")]
    devices: Option<Vec<String>>,
    /// Threads. Default: all cores. The results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Runs carried out side by side, sharing the threads. Default: as many as train the most
    /// tokens a second, measured before the first run. The results do not depend on it.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Only every N-th run, beginning with the I-th, from 1.
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Only the run that a line of this list names (`xp submit` writes it); refused if the spec has
    /// changed since.
    #[arg(long, value_name = "FILE", requires = "task", conflicts_with_all = ["only", "seeds", "shard"])]
    manifest: Option<PathBuf>,
    /// The line of the list, from 0.
    #[arg(long, value_name = "I", requires = "manifest")]
    task: Option<usize>,
    /// Say what would be done, and do nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Begin no run after one that fails or diverges.
    #[arg(long)]
    fail_fast: bool,
    /// Go on from a checkpoint that another device class made; evaluate all of a run anew whose
    /// weights were not kept, if it comes to other bits when it is trained again.
    #[arg(long)]
    force: bool,
    /// Move results of another protocol under these names to superseded/.
    #[arg(long)]
    supersede: bool,
    /// Print one JSON object: the report, or with --dry-run the runs.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp run`; at the end it prints the report.
///
/// # Errors
/// An invalid spec; runs that failed, diverged, were interrupted or are locked.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let only = args.only.as_deref().map(glob::Pattern::new).transpose();
    let only = only.map_err(|e| Exit::new(exit::USAGE, format!("--only: {}", e.msg)))?;
    let shard = args.shard.as_deref().map(parse_shard).transpose()?;
    build_pool(args.threads)?;
    let plan = planned_spec(&args.spec, &args.spec_args, global)?;
    if let Some(seeds) = &args.seeds
        && let Some(seed) = seeds.iter().find(|seed| !plan.seeds.contains(seed))
    {
        let declared: Vec<_> = plan.seeds.iter().map(u64::to_string).collect();
        return Err(Exit::new(
            exit::USAGE,
            format!("--seeds {seed} is not declared; the spec has {}", declared.join(", ")),
        ));
    }
    let task = match (&args.manifest, args.task) {
        (Some(manifest), Some(index)) => Some(listed_task(manifest, index, &plan)?),
        _ => None,
    };
    let (layout, cache) = (args.results.layout(), Cache::from_env()?);
    let options = Options {
        results: &layout,
        cache: &cache,
        only,
        seeds: args.seeds.clone(),
        shard,
        task,
        jobs: args.jobs.map_or(Jobs::Measured, |n| Jobs::Given(n.into())),
        fail_fast: args.fail_fast,
        force: args.force,
        supersede: args.supersede,
    };
    if run::select(&plan, &options).is_empty() {
        return Err(Exit::new(exit::USAGE, "no run is selected; see `xp plan`"));
    }
    let executor = open(args)?;
    if args.dry_run {
        return dry_run(&plan, &options, args.json, global);
    }
    let console = Console::listening(global.quiet)?;
    let outcome = run::run(&plan, &options, executor.as_ref(), &console, console.stop());
    console.finish();
    finish(&plan, &outcome?, args, global)
}

fn parse_shard(text: &str) -> Result<(u64, u64), Exit> {
    text.split_once('/')
        .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)))
        .filter(|&(i, n)| i >= 1 && i <= n)
        .ok_or_else(|| {
            Exit::new(exit::USAGE, format!("--shard {text} is not I/N with 1 <= I <= N, as in 2/8"))
        })
}

/// The run of a line of a list, as long as the spec has it as it was.
fn listed_task(manifest: &std::path::Path, index: usize, plan: &Plan) -> Result<Task, Exit> {
    let shown = manifest.display();
    let lines = crate::fs::read_to_string(manifest)?;
    let task = Task::find(&lines, index)
        .map_err(|reason| Exit::new(exit::USAGE, format!("`{shown}`: {reason}")))?;
    match task.drift(plan) {
        None => Ok(task),
        Some(reason) => Err(Exit::new(
            exit::INTEGRITY,
            format!("{reason}\nnothing was done; put the spec back, or submit again (`xp submit`)"),
        )),
    }
}

/// Makes the threads of the process; before anything uses them.
pub(super) fn build_pool(threads: Option<u16>) -> Result<(), Exit> {
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = threads {
        pool = pool.num_threads(usize::from(threads));
    }
    pool.build_global().map_err(|e| {
        Exit::new(exit::ENVIRONMENT, format!("threads: {e}; --threads N asks for fewer"))
    })
}

fn opened(name: &str) -> Result<Opened, Exit> {
    run::open(name).map_err(|error| match error {
        OpenError::Unknown(_) => Exit::new(exit::USAGE, error),
        OpenError::Unavailable(_) => Exit::new(exit::ENVIRONMENT, error),
    })
}

/// The device of this name.
pub(super) fn open_device(name: &str) -> Result<Box<dyn Executor + Send>, Exit> {
    let Opened { executor, note } = opened(name)?;
    if let Some(note) = note {
        let _ = writeln!(std::io::stderr(), "note: {note}");
    }
    Ok(executor)
}

/// The device or devices that are asked for.
fn open(args: &Args) -> Result<Box<dyn Executor + Send>, Exit> {
    let Some(names) = &args.devices else { return open_device(&args.device) };
    if let Some(name) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        return Err(Exit::new(exit::USAGE, format!("--devices names {} twice", name.1)));
    }
    let device = |name: &String| Ok::<_, Exit>(opened(name)?.executor);
    let devices = names.iter().map(device).collect::<Result<_, _>>()?;
    let several = Several::new(devices);
    Ok(Box::new(several.map_err(|error| Exit::new(exit::ENVIRONMENT, error))?))
}

fn dry_run(plan: &Plan, options: &Options<'_>, json: bool, global: &Global) -> Result<(), Exit> {
    let index = Index::scan(options.results);
    foregone::say(plan, options.results, &index, global)?;
    let mut runs = Vec::new();
    for run in run::select(plan, options) {
        let dir = run_dir(plan, &run, options.results);
        runs.push((dir.path().display().to_string(), inspect(&run, &dir, &index)?));
    }
    if json {
        let runs = runs.iter().map(|(path, inspection)| {
            json!({ "path": path, "state": inspection.state.word(), "reason": inspection.reason })
        });
        return answer_json(&json!({ "runs": runs.collect::<Vec<_>>() }));
    }
    let lines = runs.iter().map(|(path, inspection)| {
        format!("{:<8}  {path}  {}\n", inspection.state.word(), inspection.reason)
    });
    answer(&lines.collect::<String>())
}

fn finish(plan: &Plan, outcome: &Outcome, args: &Args, global: &Global) -> Result<(), Exit> {
    if outcome.interrupted {
        global.say("stopped on a signal; run the same command again to go on");
        return Err(Exit::silent(exit::INTERRUPTED));
    }
    let layout = args.results.layout();
    let reported = super::report::print_after_run(plan, &layout, args.json, global);
    match (reported, ending(outcome)) {
        // What became of the runs is the news; that there is no report comes with it.
        (Err(no_report), Err(ending)) if !no_report.message.is_empty() => {
            Err(Exit::new(ending.code, format!("{}\n{}", ending.message, no_report.message)))
        }
        (reported, ending) => ending.and(reported),
    }
}

/// What the exit code says of the runs.
fn ending(outcome: &Outcome) -> Result<(), Exit> {
    let left = match outcome.not_begun {
        0 => String::new(),
        n => format!(", {n} more were not begun"),
    };
    if outcome.failed > 0 {
        let code = match outcome.failure {
            Some(run::ErrorKind::Environment) => exit::ENVIRONMENT,
            Some(run::ErrorKind::Integrity) => exit::INTEGRITY,
            _ => exit::FAILED,
        };
        return Err(Exit::new(
            code,
            format!("{} of {} runs failed{left}", outcome.failed, outcome.selected),
        ));
    }
    if outcome.locked > 0 {
        return Err(Exit::new(
            exit::INTEGRITY,
            format!(
                "{} runs are locked by another process; run again when it is done",
                outcome.locked
            ),
        ));
    }
    if outcome.diverged > 0 {
        return Err(Exit::new(
            exit::FAILED,
            format!("{} of {} runs diverged{left}", outcome.diverged, outcome.selected),
        ));
    }
    Ok(())
}
