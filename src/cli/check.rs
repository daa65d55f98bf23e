//! `xp check`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::common::{Global, SpecArgs, answer, answer_json, check_spec, counted, thousands};
use super::exit::{self, Exit};
use crate::diag::{Diagnostic, Severity};
use crate::plan::Checked;

/// Parse, extend, expand and validate specs. Writes nothing, needs no network.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp check specs/*.toml
  xp check specs/quickstart.toml --set schedule.lr=1e-3
  xp check specs/quickstart.toml --set 'experiment.seeds=[1, 2, 3]'")]
pub struct Args {
    /// Specs.
    #[arg(required = true, value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    specs: Vec<PathBuf>,
    #[command(flatten)]
    spec: SpecArgs,
    /// One JSON object: {"ok", "specs": [{"spec", "ok", "diagnostics"}]}.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp check`.
///
/// # Errors
/// An invalid spec.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let mut all_good = true;
    let mut reports = Vec::new();
    for path in &args.specs {
        let (checked, found) = check_spec(path, &args.spec)?;
        all_good &= checked.is_some();
        global.print(&found);
        if args.json {
            let diagnostics: Vec<_> = found.iter().map(Diagnostic::to_json).collect();
            reports.push(json!({
                "spec": path, "ok": checked.is_some(), "diagnostics": diagnostics,
            }));
        } else {
            answer(&summary(path, checked.as_ref(), &found))?;
        }
    }
    if args.json {
        answer_json(&json!({ "ok": all_good, "specs": reports }))?;
    }
    if all_good { Ok(()) } else { Err(Exit::silent(exit::USAGE)) }
}

fn summary(path: &Path, checked: Option<&Checked>, found: &[Diagnostic]) -> String {
    let count = |severity| found.iter().filter(|d| d.severity == severity).count();
    let path = path.display();
    let Some(checked) = checked else {
        let errors = count(Severity::Error);
        return format!("{path}: {}\n", counted(errors, "error"));
    };
    let configs = checked.points[0].configs.len();
    let (points, seeds) = (checked.points.len(), checked.seeds.len());
    let parameters = checked.points[0].protocol.model.num_parameters();
    let swept = if points > 1 { format!("{points} points x ") } else { String::new() };
    let mut line = format!(
        "{path}: ok: {swept}{} x {} = {}, {} parameters",
        counted(configs, "config"),
        counted(seeds, "seed"),
        counted(points * configs * seeds, "run"),
        thousands(parameters)
    );
    let warnings = count(Severity::Warning);
    if warnings > 0 {
        line.push_str(&format!(", {}", counted(warnings, "warning")));
    }
    line + "\n"
}
