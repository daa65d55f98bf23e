//! `xp data`.

use std::path::PathBuf;

use serde_json::json;

use super::common::{Global, SpecArgs, answer, answer_json, checked_spec, thousands};
use super::exit::Exit;
use super::progress::Console;
use crate::data::{self, Cache, SplitKind};
use crate::run::Observer;

/// Fetch, tokenise, verify; nothing more (before going offline).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The spec.
    spec: PathBuf,
    #[command(flatten)]
    spec_args: SpecArgs,
    /// One JSON object: {"streams": [{"point", "split", "tokens", "documents", "id"}]}.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp data`.
///
/// # Errors
/// An invalid spec, data that cannot be had.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let checked = checked_spec(&args.spec, &args.spec_args, global)?;
    let cache = Cache::from_env()?;
    let console = Console::new(global.quiet);
    let mut streams = Vec::new();
    for point in &checked.points {
        for kind in [SplitKind::Train, SplitKind::Validation] {
            console.preparing(kind);
            let stream = data::prepare(&point.protocol.data, kind, &cache, &console)?;
            streams.push(json!({
                "point": point.name, "split": kind.word(), "tokens": stream.len(),
                "documents": stream.documents(), "id": stream.id(),
            }));
        }
    }
    console.finish();
    if args.json {
        return answer_json(&json!({ "streams": streams }));
    }
    let mut out = String::new();
    for stream in &streams {
        let number = |key: &str| thousands(stream[key].as_u64().unwrap_or(0));
        let point = stream["point"].as_str().map_or(String::new(), |point| format!("{point} "));
        out.push_str(&format!(
            "{point}{}: {} tokens in {} documents, {}\n",
            stream["split"].as_str().unwrap_or_default(),
            number("tokens"),
            number("documents"),
            stream["id"].as_str().unwrap_or_default(),
        ));
    }
    answer(&out)
}
