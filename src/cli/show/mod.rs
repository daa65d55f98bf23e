//! `xp show`: how a run or an experiment stands, from its files alone.

mod experiment;
mod json;
mod run;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::common::{Global, ResultsArgs, SpecArgs, answer, answer_json, check_spec};
use super::exit::{self, Exit};
use super::screen::Screen;
use crate::data::ContentHashes;
use crate::diag::Severity;
use crate::plan::Plan;
use crate::results::{Declared, Layout, RunDir, store};

/// How a run or an experiment stands: state, loss curve, results. Reads files only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp show specs/quickstart.toml               all runs: state, loss, perplexity
  xp show results/quickstart                  the same, without the spec
  xp show results/quickstart/geo_10k/seed-1   one run: curve, results, attempts
  xp show specs/quickstart.toml --watch       follow a sweep at work")]
pub struct Args {
    /// A spec, the folder of an experiment (results/NAME), or of a run in it.
    #[arg(value_name = "SPEC|DIR", value_hint = clap::ValueHint::AnyPath)]
    what: PathBuf,
    /// Look again and again, until all runs are done or Ctrl-C.
    #[arg(long, short)]
    watch: bool,
    /// Seconds between two looks of --watch.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    every: f64,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// One JSON object: {"experiment", "runs", "counts", "next"}, or {"run"} for one run.
    #[arg(long, conflicts_with = "watch")]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|s: &f64| (0.1..=86_400.0).contains(s));
    seconds.ok_or_else(|| "it is a number of seconds from 0.1 to 86400".into())
}

/// What is shown.
enum Subject {
    /// A declared experiment, and the words with which to go on.
    Experiment { layout: Layout, declared: Box<Declared>, source: Option<PathBuf> },
    /// One run.
    Run(RunDir),
}

/// Carries out `xp show`.
///
/// # Errors
/// An invalid spec, something that is no results, an output that cannot be written.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let subject = subject(args, global)?;
    if args.watch {
        let every = Duration::from_secs_f64(args.every);
        return watch::watch(&subject, every, global);
    }
    match &subject {
        Subject::Experiment { layout, declared, source } => {
            let seen = experiment::look(layout, declared, source.as_deref());
            match args.json {
                true => answer_json(&json::of_experiment(&seen)),
                false => answer(&experiment::text(&seen, &Screen::of_stdout(global), None)),
            }
        }
        Subject::Run(dir) => {
            let mut seen = run::Seen::new(dir);
            seen.look()?;
            match args.json {
                true => answer_json(&json::of_run(&seen)),
                false => answer(&run::text(&seen, &Screen::of_stdout(global))),
            }
        }
    }
}

fn subject(args: &Args, global: &Global) -> Result<Subject, Exit> {
    let what = args.what.as_path();
    if what.is_dir() {
        return of_folder(what);
    }
    if what.is_file() {
        let name = what.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        return match name {
            // A file of a results folder stands for it.
            "lock.json"
            | "run.json"
            | "train.jsonl"
            | "eval.jsonl"
            | "provenance.json"
            | "weights.safetensors" => match what.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => of_folder(parent),
                _ => of_folder(Path::new(".")),
            },
            _ if what.extension().is_some_and(|end| end == "toml") => of_spec(what, args, global),
            _ => Err(neither(what, "it is no spec (*.toml) and no file of a run")),
        };
    }
    // `xp show quickstart`: by the name under the results directory.
    let named = args.results.results.join(what);
    if named.is_dir() {
        return of_folder(&named);
    }
    Err(neither(what, "there is no such file or folder"))
}

fn neither(what: &Path, why: &str) -> Exit {
    let what = what.display();
    Exit::new(
        exit::USAGE,
        format!("`{what}`: {why}; name a spec, results/EXPERIMENT, or a run's folder in it"),
    )
}

fn of_folder(folder: &Path) -> Result<Subject, Exit> {
    if folder.join("lock.json").is_file() {
        let (layout, input) = super::report::of_folder(folder)?;
        // As it was named, where that has the layout's form; else as it is.
        let layout = match folder.parent().filter(|_| folder.ends_with(&input.declared.experiment))
        {
            Some(parent) => Layout::new(parent),
            None => layout,
        };
        let declared = Box::new(input.declared);
        return Ok(Subject::Experiment { layout, declared, source: None });
    }
    let absolute = folder.canonicalize().map_err(crate::fs::Error::at("open", folder))?;
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let dir = RunDir(folder.to_owned());
    let is_run = [dir.record(), dir.provenance(), dir.train()].iter().any(|file| file.is_file())
        || name.starts_with("seed-");
    if is_run {
        return Ok(Subject::Run(dir));
    }
    let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut experiments: Vec<String> = inside
        .filter(|entry| entry.path().join("lock.json").is_file())
        .map(|entry| entry.path().display().to_string())
        .collect();
    experiments.sort();
    match experiments.as_slice() {
        [] => Err(neither(folder, "no run and no experiment lies there")),
        [one] => of_folder(Path::new(one)),
        many => {
            let many = many.join("\n  ");
            Err(neither(folder, &format!("it holds several experiments:\n  {many}\n")))
        }
    }
}

/// The experiment of a spec. Where the data that it names is not on this machine, what its
/// results declared is shown.
fn of_spec(spec: &Path, args: &Args, global: &Global) -> Result<Subject, Exit> {
    let (checked, mut found) = check_spec(spec, &args.spec_args)?;
    let layout = args.results.layout();
    let source = Some(spec.to_owned());
    if let Some(checked) = checked {
        let plan = Plan::new(checked, &mut ContentHashes::default())?;
        let declared = Box::new(plan.declared());
        return Ok(Subject::Experiment { layout, declared, source });
    }
    found.retain(|finding| finding.severity == Severity::Error);
    if found.iter().all(|finding| finding.code == "data::no-file")
        && let Some(name) = experiment_name(spec, args)
        && let Some(lock) = store::read_lock(&layout.lock(&name))?
    {
        global.say("the data of the spec is not here; shown is what its results declare");
        let declared = Box::new(lock.declared_now().clone());
        return Ok(Subject::Experiment { layout, declared, source });
    }
    global.print(&found);
    Err(Exit::silent(exit::USAGE))
}

fn experiment_name(spec: &Path, args: &Args) -> Option<String> {
    if let Some(name) = &args.spec_args.name {
        return Some(name.clone());
    }
    let document = crate::spec::load::load(spec, &args.spec_args.set).ok()?;
    document.get("experiment")?.get("name")?.as_str().map(str::to_owned)
}
