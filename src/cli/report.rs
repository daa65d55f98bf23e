//! `xp report`.

use std::path::{Path, PathBuf};

use super::common::{Global, ResultsArgs, SpecArgs, answer, planned_spec};
use super::exit::{self, Exit};
use crate::fs;
use crate::plan::Plan;
use crate::report::{self, Format, Input, Report, Requirement};
use crate::results::{self, Layout, store};

/// The mean±std table with verdicts, from whatever is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp report specs/quickstart.toml                   by the spec
  xp report results/quickstart --format html        by the results alone
  xp report specs/a.toml specs/b.toml               one leaderboard of both
  xp report specs/a.toml --require win:hybrid@2048  exit 3 unless it is a WIN")]
pub struct Args {
    /// Specs, or folders of experiments in a results directory.
    #[arg(required = true, value_name = "SPEC|DIR", value_hint = clap::ValueHint::AnyPath)]
    sources: Vec<PathBuf>,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// Files to write: csv, md, tex, html, json (default: all).
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = format_of)]
    format: Option<Vec<Format>>,
    /// Write the files here and not beside the results: for results that cannot be written to.
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    output: Option<PathBuf>,
    /// Exit with 3 unless this holds: win:CONFIG, win:CONFIG@LENGTH (as trained) or
    /// win:CONFIG@LENGTH[TRANSFORM].
    #[arg(long, value_name = "win:CONFIG[@LENGTH[TRANSFORM]]")]
    require: Vec<Requirement>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

fn format_of(name: &str) -> Result<Format, String> {
    Format::from_name(name)
        .ok_or_else(|| format!("`{name}` is no format: csv, md, tex, html, json"))
}

/// Carries out `xp report`.
///
/// # Errors
/// An invalid spec, results that cannot be read, a requirement that is not met.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let layout = args.results.layout();
    let mut sources = Vec::new();
    for source in &args.sources {
        if source.is_dir() {
            sources.push(of_folder(source)?);
        } else {
            let plan = planned_spec(source, &args.spec_args, global)?;
            sources.push((layout.clone(), of_plan(&plan, &layout)?));
        }
    }
    let formats = args.format.clone().unwrap_or_else(|| Format::ALL.to_vec());
    let report = report::judge(&sources);
    let written = match &args.output {
        Some(folder) => report::write(&report, folder, &formats),
        None => write_beside(&report, &sources, &formats),
    };
    show(&report, written, args.json, global)?;
    let mut unmet = Vec::new();
    for requirement in &args.require {
        if let Err(reasons) = report.meets(requirement) {
            unmet.extend(reasons);
        }
    }
    if unmet.is_empty() {
        Ok(())
    } else {
        Err(Exit::new(exit::ENVIRONMENT, format!("--require is not met: {}", unmet.join("; "))))
    }
}

/// Writes and prints the report of a plan that was just carried out.
///
/// # Errors
/// Results that cannot be read or a report that cannot be written.
pub fn print_after_run(
    plan: &Plan,
    layout: &Layout,
    json: bool,
    global: &Global,
) -> Result<(), Exit> {
    let sources = [(layout.clone(), of_plan(plan, layout)?)];
    let report = report::judge(&sources);
    let written = write_beside(&report, &sources, &Format::ALL);
    show(&report, written, json, global)
}

fn write_beside(
    report: &Report,
    sources: &[(Layout, Input)],
    formats: &[Format],
) -> fs::Result<Vec<PathBuf>> {
    let layouts: Vec<Layout> = sources.iter().map(|(layout, _)| layout.clone()).collect();
    report::write_tree(report, &layouts, formats)
}

/// Prints a report and where its files are; that they could not be written is told after it.
fn show(
    report: &Report,
    written: fs::Result<Vec<PathBuf>>,
    json: bool,
    global: &Global,
) -> Result<(), Exit> {
    answer(&if json { report::json(report) } else { report::text(report) })?;
    let paths = written.map_err(|error| {
        let help = "the files can be had elsewhere: xp report ... --output DIR";
        Exit::new(exit::ENVIRONMENT, format!("{error}\n{help}"))
    })?;
    if let Some(folder) = paths.last().and_then(|path| path.parent()).filter(|_| !json) {
        global.say(format_args!("written to {}", folder.display()));
    }
    Ok(())
}

/// What a report of a plan is made from.
///
/// # Errors
/// Results that cannot be read.
pub fn of_plan(plan: &Plan, layout: &Layout) -> Result<Input, Exit> {
    Ok(Input {
        declared: plan.declared(),
        lock: store::read_lock(&layout.lock(&plan.experiment))?,
        listing: results::list_consistent(layout, &plan.experiment)?,
    })
}

/// What a report of an experiment's folder is made from, and where it lies.
///
/// # Errors
/// A folder that is none of an experiment, results that cannot be read.
pub fn of_folder(folder: &Path) -> Result<(Layout, Input), Exit> {
    let unusable = |why: &str| {
        Exit::new(
            exit::USAGE,
            format!(
                "`{}` is no experiment's folder: {why}; name results/<experiment>",
                folder.display()
            ),
        )
    };
    let absolute = folder.canonicalize().map_err(fs::Error::at("open", folder))?;
    let name = absolute.file_name().and_then(|n| n.to_str()).ok_or_else(|| unusable("no name"))?;
    let root = absolute.parent().ok_or_else(|| unusable("nothing above it"))?;
    let layout = Layout::new(root);
    let lock =
        store::read_lock(&layout.lock(name))?.ok_or_else(|| unusable("no lock.json in it"))?;
    let listing = results::list_consistent(&layout, name)?;
    let declared = lock.declared_now().clone();
    Ok((layout, Input { declared, lock: Some(lock), listing }))
}
