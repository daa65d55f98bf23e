//! `xp diff`.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::common::{Global, SpecArgs, answer, answer_json, planned_spec, whole};
use super::exit::{self, Exit};
use crate::canonical::{self, Difference};
use crate::plan::{Plan, resolved_keys};
use crate::results::{self, Declared};

/// Which protocol keys and configs of two specs (or results folders) differ.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp diff specs/a.toml specs/b.toml
  xp diff specs/a.toml results/a      is the spec still what was run?")]
pub struct Args {
    /// A spec, or a results folder with a lock.json.
    #[arg(value_name = "SPEC|DIR", value_hint = clap::ValueHint::AnyPath)]
    a: PathBuf,
    /// Another.
    #[arg(value_name = "SPEC|DIR", value_hint = clap::ValueHint::AnyPath)]
    b: PathBuf,
    /// One JSON object: {"same_protocol", "differences": [{"key", "a", "b"}]}.
    #[arg(long)]
    json: bool,
    /// Refuse to expand to more runs.
    #[arg(long, value_name = "N", default_value_t = crate::plan::MAX_RUNS, value_parser = whole)]
    max_runs: u64,
}

/// One side of the comparison.
struct Side {
    protocol_ids: Vec<String>,
    keys: Json,
}

/// Carries out `xp diff`.
///
/// # Errors
/// An invalid spec, an unreadable lock.json.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let specs = args.a.is_file() && args.b.is_file();
    let side = |path: &PathBuf| -> Result<Side, Exit> {
        let spec_args = SpecArgs { max_runs: args.max_runs, ..SpecArgs::default() };
        if path.is_dir() {
            let lock = results::store::read_lock(&path.join("lock.json"))?.ok_or_else(|| {
                Exit::new(exit::USAGE, format!("`{}` has no lock.json", path.display()))
            })?;
            return Ok(of_declared(lock.declared_now()));
        }
        let plan = planned_spec(path, &spec_args, global)?;
        // Two specs are compared as written; against a results folder only content can be.
        Ok(if specs { of_plan(&plan) } else { of_declared(&plan.declared()) })
    };
    let (a, b) = (side(&args.a)?, side(&args.b)?);
    let differences = canonical::differences(&a.keys, &b.keys);
    let same = a.protocol_ids == b.protocol_ids;
    if args.json {
        let list: Vec<Json> = differences
            .iter()
            .map(|d| json!({ "key": d.key, "a": d.left, "b": d.right }))
            .collect();
        return answer_json(&json!({ "same_protocol": same, "differences": list }));
    }
    let mut out = String::new();
    out.push_str(if same {
        "the same protocol\n"
    } else {
        "different protocols: their results are not compared\n"
    });
    for Difference { key, left, right } in &differences {
        let show = |v: &Option<Json>| v.as_ref().map_or("-".into(), canonical::to_string);
        out.push_str(&format!("  {key}: {} -> {}\n", show(left), show(right)));
    }
    answer(&out)
}

fn of_plan(plan: &Plan) -> Side {
    let mut keys = serde_json::Map::new();
    for point in &plan.points {
        let prefix =
            point.resolved.name.as_ref().map_or(String::new(), |name| format!("[{name}] "));
        for (table, key, value) in resolved_keys(&point.resolved) {
            keys.insert(format!("{prefix}{table}.{key}"), value);
        }
    }
    add_declared(&mut keys, &plan.declared());
    Side {
        protocol_ids: plan.points.iter().map(|p| p.protocol_id.clone()).collect(),
        keys: keys.into(),
    }
}

fn of_declared(declared: &Declared) -> Side {
    let mut keys = serde_json::Map::new();
    for point in &declared.points {
        let prefix = point.name.as_ref().map_or(String::new(), |name| format!("[{name}] "));
        for (part, value) in [("training", &point.training), ("evaluation", &point.evaluation)] {
            keys.insert(format!("{prefix}{part}"), value.clone());
        }
    }
    add_declared(&mut keys, declared);
    Side {
        protocol_ids: declared.points.iter().map(|p| p.protocol.clone()).collect(),
        keys: keys.into(),
    }
}

fn add_declared(keys: &mut serde_json::Map<String, Json>, declared: &Declared) {
    keys.insert("seeds".into(), json!(declared.seeds));
    for config in &declared.points[0].configs {
        keys.insert(format!("config.{}", config.name), json!(config.expression));
    }
    keys.insert("report.win".into(), json!(declared.win));
}
