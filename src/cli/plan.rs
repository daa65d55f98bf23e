//! `xp plan`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::common::{
    Global, ResultsArgs, SpecArgs, answer, answer_json, bytes, checked_spec, counted, duration,
    room_words, thousands, threads_here,
};
use super::exit::Exit;
use super::foregone;
use crate::data::{self, Cache, ContentHashes, SplitKind};
use crate::plan::{Estimate, Plan, Point, estimate, resolved_keys, resolved_toml};
use crate::run::state::{Index, Inspection, State, inspect};
use crate::run::{Pace, Room, run_dir};

/// The runs of a spec, their ids and state (done, evaluate, resume, todo), and what they cost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp plan specs/quickstart.toml              what is left, and what it costs
  xp plan specs/quickstart.toml --resolved   every value, and where it came from")]
pub struct Args {
    /// The spec.
    #[arg(value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: PathBuf,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// Every value that changes a number, with where it came from, as a spec.
    #[arg(long)]
    resolved: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp plan`.
///
/// # Errors
/// An invalid spec, unreadable data or results.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let checked = checked_spec(&args.spec, &args.spec_args, global)?;
    if args.resolved && !args.json {
        let points = checked.points.iter().map(|point| resolved_toml(&checked, point));
        return answer(&points.collect::<Vec<_>>().join("\n"));
    }
    let plan = Plan::new(checked, &mut ContentHashes::default())?;
    let cache = Cache::from_env()?;
    let layout = args.results.layout();
    let keep_weights = plan.keeps_weights();
    let threads = threads_here();
    let mut costs = Vec::new();
    for point in &plan.points {
        let protocol = &point.resolved.protocol;
        let cached = data::cached(&protocol.data, SplitKind::Train, &cache)?;
        let tokens = cached.map(|info| info.tokens);
        costs.push(estimate(&point.resolved, tokens, keep_weights, threads));
    }
    let index = Index::scan(&layout);
    let mut rows = Vec::new();
    for run in plan.runs() {
        let dir = run_dir(&plan, &run, &layout);
        let inspection = inspect(&run, &dir, &index).map_err(|e| e.to_string());
        rows.push((run, dir, inspection));
    }
    let pace = Pace::read(&layout);
    let foregone = foregone::of_plan(&plan, &layout, &index)?;
    if args.json {
        let protocols: Vec<Json> = plan
            .points
            .iter()
            .zip(&costs)
            .map(|(point, cost)| protocol_json(point, cost, &pace, args.resolved))
            .collect();
        let runs: Vec<Json> = rows
            .iter()
            .map(|(run, _, inspection)| {
                let (state, reason) = state_of(inspection);
                json!({
                    "train_id": run.train_id, "eval_id": run.eval_id,
                    "protocol": run.point.protocol_id, "point": run.point.resolved.name,
                    "config": run.config.name, "seed": run.seed, "attempt": run.attempt,
                    "state": state, "reason": reason,
                })
            })
            .collect();
        return answer_json(&json!({
            "experiment": plan.experiment, "protocols": protocols, "runs": runs,
            "exploratory": foregone,
        }));
    }
    let mut out = format!("experiment {}\n", plan.experiment);
    for (point, cost) in plan.points.iter().zip(&costs) {
        out.push_str(&protocol_text(point, cost, &pace));
    }
    out.push('\n');
    let width = rows.iter().map(|(run, ..)| label(run).len()).max().unwrap_or(0);
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for (run, _, inspection) in &rows {
        let (state, reason) = state_of(inspection);
        *totals.entry(state).or_default() += 1;
        out.push_str(&format!(
            "{:<width$}  seed {:<6} {state:<8}  {}  {reason}\n",
            label(run),
            run.seed,
            &run.train_id[..12],
        ));
    }
    let totals: Vec<String> = totals.iter().map(|(state, n)| format!("{n} {state}")).collect();
    out.push_str(&format!("\n{}: {}\n", counted(rows.len(), "run"), totals.join(", ")));
    let left: f64 = rows
        .iter()
        .filter_map(|(run, _, inspection)| {
            let at = plan.points.iter().position(|p| std::ptr::eq(p, run.point))?;
            let share = share_left(&inspection.as_ref().ok()?.state, costs[at].steps);
            Some(share * time_s(run.point, &costs[at], &pace)?)
        })
        .sum();
    if left > 0.0 {
        out.push_str(&format!(
            "about {} of training left, by earlier runs of this machine\n",
            duration(left)
        ));
    }
    let trainings = rows.iter().filter_map(|(run, dir, inspection)| {
        inspection.as_ref().is_ok_and(Inspection::needs_training).then_some((run, dir))
    });
    let room = Room::of(trainings, keep_weights).filter(|room| !room.suffices());
    if let Some(room) = room {
        out.push_str(&format!("warning: {}\n", room_words(&room)));
    }
    for warning in foregone::warnings(&foregone) {
        out.push_str(&format!("warning: {warning}\n"));
    }
    answer(&out)
}

fn state_of(inspection: &Result<Inspection, String>) -> (&'static str, String) {
    match inspection {
        Ok(inspection) => (inspection.state.word(), inspection.reason.clone()),
        Err(message) => ("todo", format!("refused: {message}")),
    }
}

fn label(run: &crate::plan::Run<'_>) -> String {
    let point = run.point.resolved.name.iter().map(|point| format!("{point}/"));
    let repeat = if run.attempt > 1 { format!(" (repeat {})", run.attempt) } else { String::new() };
    format!("{}{}{repeat}", point.collect::<String>(), run.config.name)
}

/// The share of a training that is left.
fn share_left(state: &State, steps: Option<u64>) -> f64 {
    match (state, steps) {
        (State::Resume { step }, Some(steps @ 1..)) => {
            steps.saturating_sub(*step) as f64 / steps as f64
        }
        (State::Resume { .. } | State::Todo, _) => 1.0,
        (State::Done | State::Evaluate, _) => 0.0,
    }
}

/// Seconds of training and of as much of the evaluation as can be foreseen.
fn time_s(point: &Point, cost: &Estimate, pace: &Pace) -> Option<f64> {
    let flops_per_s = pace.flops_per_s(&point.protocol_id)?;
    Some((cost.flops? + cost.eval_flops.unwrap_or(0.0)) / flops_per_s)
}

fn protocol_json(point: &Point, cost: &Estimate, pace: &Pace, resolved: bool) -> Json {
    let mut json = json!({
        "id": point.protocol_id,
        "point": point.resolved.name,
        "parameters": cost.parameters,
        "steps": cost.steps,
        "train_tokens": cost.train_tokens,
        "tokens_known": cost.tokens_known,
        "flops": cost.flops,
        "eval_tokens": cost.eval_tokens,
        "eval_flops": cost.eval_flops,
        "transforms": point.resolved.protocol.eval.transforms,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "disk_bytes": cost.disk_bytes,
        "time_s": time_s(point, cost, pace),
    });
    if resolved {
        let keys = resolved_keys(&point.resolved).into_iter().map(|(table, key, value)| {
            let origin = crate::plan::origin(&point.resolved.document, table, key).to_string();
            (format!("{table}.{key}"), json!({ "value": value, "from": origin }))
        });
        json["resolved"] = keys.collect();
    }
    json
}

fn protocol_text(point: &Point, cost: &Estimate, pace: &Pace) -> String {
    let name = point.resolved.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    let unknown = || "unknown".to_owned();
    let estimated = if cost.tokens_known { "" } else { " (by max_tokens; not counted yet)" };
    let mut transforms = String::new();
    for transform in &point.resolved.protocol.eval.transforms {
        transforms.push_str(&format!("  transform {}: {}\n", transform.name, transform.expression));
    }
    format!(
        "protocol {}{name}\n  parameters {}   steps {}   train tokens {}{estimated}\n  \
         a run: {}, {} of evaluation, peak memory {}, {} on disk{}\n{transforms}",
        point.protocol_id,
        thousands(cost.parameters),
        cost.steps.map_or_else(unknown, thousands),
        cost.train_tokens.map_or_else(unknown, thousands),
        cost.flops.map_or_else(unknown, flops),
        cost.eval_flops.map_or_else(unknown, flops),
        bytes(cost.peak_memory_bytes),
        bytes(cost.disk_bytes),
        time_s(point, cost, pace).map_or(String::new(), |s| format!(", about {}", duration(s))),
    )
}

fn flops(n: f64) -> String {
    let (scale, unit) = match n {
        n if n >= 1e18 => (1e18, "EFLOP"),
        n if n >= 1e15 => (1e15, "PFLOP"),
        n if n >= 1e12 => (1e12, "TFLOP"),
        _ => (1e9, "GFLOP"),
    };
    format!("{:.2} {unit}", n / scale)
}
