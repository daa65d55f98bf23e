//! `xp data`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::common::{
    Global, ResultsArgs, SpecArgs, answer, answer_json, bytes, planned_spec, thousands,
};
use super::exit::{self, Exit};
use super::progress::{Console, overlap_words};
use crate::data::{self, Cache, Moved, Overlap, SplitKind, TokenStream};
use crate::plan::Plan;
use crate::results::store;
use crate::run::{Observer, pins};

/// Fetch, tokenise, verify; nothing more (before going offline).
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  xp data specs/a.toml                   fetch and tokenise what the spec needs
  xp data export specs/a.toml tokens.tar put the tokens into one file
  xp data import tokens.tar              take them in where there is no network
  HF_HUB_OFFLINE=1 xp run specs/a.toml   then train without one"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The spec.
    #[arg(value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: Option<PathBuf>,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// One JSON object: {"streams": [{"point", "split", "tokens", "documents", "id", "files", …}],
    /// "overlap": […]}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Put a spec's tokens and tokenizer into one file, made first where they are missing.
    Export(ExportArgs),
    /// Take a file of `xp data export` into this machine's cache.
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// The spec.
    #[arg(value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: PathBuf,
    /// The file to write (tar).
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// One JSON object: {"file", "bytes", "names"}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// A file that `xp data export` wrote.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// One JSON object: {"new", "here"}.
    #[arg(long)]
    json: bool,
}

/// Carries out `xp data`.
///
/// # Errors
/// An invalid spec, data that cannot be had.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    match (&args.command, &args.spec) {
        (Some(Command::Export(args)), _) => export(args, global),
        (Some(Command::Import(args)), _) => import(args),
        (None, Some(spec)) => prepare(spec, args, global),
        (None, None) => Err(Exit::new(exit::USAGE, "xp data needs a SPEC; see `xp data --help`")),
    }
}

/// A sweep point's name and its two streams, training first.
type PointStreams = (Option<String>, [TokenStream; 2]);

/// The streams of every point, both splits of one state of the hub: that of the results, if there are
/// some.
fn streams(
    plan: &Plan,
    results: &ResultsArgs,
    cache: &Cache,
    global: &Global,
) -> Result<Vec<PointStreams>, Exit> {
    let console = Console::listening(global.quiet)?;
    let lock = store::read_lock(&results.layout().lock(&plan.experiment))?;
    let known = lock.map(|lock| lock.data).unwrap_or_default();
    let mut all = Vec::new();
    for point in &plan.points {
        let config = &point.resolved.protocol.data;
        let prepare = |kind, beside: Option<&TokenStream>| {
            console.preparing(kind);
            data::prepare(config, kind, cache, &pins(&known, point, kind, beside), &console)
        };
        let train = prepare(SplitKind::Train, None)?;
        let validation = prepare(SplitKind::Validation, Some(&train))?;
        all.push((point.resolved.name.clone(), [train, validation]));
    }
    console.finish();
    Ok(all)
}

fn prepare(spec: &Path, args: &Args, global: &Global) -> Result<(), Exit> {
    let plan = planned_spec(spec, &args.spec_args, global)?;
    let all = streams(&plan, &args.results, &Cache::from_env()?, global)?;
    let mut overlaps = Vec::new();
    for (name, [train, validation]) in &all {
        overlaps.push((name, data::overlap(train, validation)?));
    }
    if args.json {
        let streams: Vec<Value> = all.iter().flat_map(stream_json).collect();
        let overlaps: Vec<Value> =
            overlaps.iter().map(|(name, shared)| overlap_json(name.as_deref(), shared)).collect();
        return answer_json(&json!({ "streams": streams, "overlap": overlaps }));
    }
    let mut out = String::new();
    for ((name, streams), (_, shared)) in all.iter().zip(&overlaps) {
        let point = name.as_ref().map_or(String::new(), |name| format!("{name} "));
        for (kind, stream) in kinds(streams) {
            out.push_str(&format!(
                "{point}{}: {} tokens in {} documents, {}\n",
                kind.word(),
                thousands(stream.len()),
                thousands(stream.documents()),
                stream.id(),
            ));
            if let Some(revision) = stream.revision() {
                let files = stream.files().as_array().map_or(0, Vec::len);
                let s = if files == 1 { "" } else { "s" };
                out.push_str(&format!("  from {files} file{s} of revision {revision}\n"));
            }
        }
        if shared.documents > 0 {
            out.push_str(&format!("{point}overlap: {}\n", overlap_words(shared)));
        }
    }
    answer(&out)
}

fn kinds(streams: &[TokenStream; 2]) -> [(SplitKind, &TokenStream); 2] {
    [(SplitKind::Train, &streams[0]), (SplitKind::Validation, &streams[1])]
}

fn stream_json((name, streams): &PointStreams) -> [Value; 2] {
    kinds(streams).map(|(kind, stream)| {
        json!({
            "point": name, "split": kind.word(), "tokens": stream.len(),
            "documents": stream.documents(), "id": stream.id(), "revision": stream.revision(),
            "tokenizer_revision": stream.tokenizer_revision(), "files": stream.files(),
            "folder": stream.folder(),
        })
    })
}

fn overlap_json(point: Option<&str>, shared: &Overlap) -> Value {
    json!({
        "point": point, "documents": shared.documents, "of_documents": shared.of_documents,
        "tokens": shared.tokens, "of_tokens": shared.of_tokens,
    })
}

fn export(args: &ExportArgs, global: &Global) -> Result<(), Exit> {
    let plan = planned_spec(&args.spec, &args.spec_args, global)?;
    let cache = Cache::from_env()?;
    let all = streams(&plan, &args.results, &cache, global)?;
    let moved: Vec<Moved<'_>> = plan
        .points
        .iter()
        .zip(&all)
        .map(|(point, (_, [train, validation]))| Moved {
            config: &point.resolved.protocol.data,
            streams: [train, validation],
        })
        .collect();
    let names = data::export(&cache, &moved, &args.file)?;
    let size = std::fs::metadata(&args.file).map_or(0, |metadata| metadata.len());
    if args.json {
        return answer_json(&json!({ "file": args.file, "bytes": size, "names": names }));
    }
    answer(&format!(
        "{}: {} in {} files; take it in with `xp data import`\n",
        args.file.display(),
        bytes(size),
        names.len(),
    ))
}

fn import(args: &ImportArgs) -> Result<(), Exit> {
    let cache = Cache::from_env()?;
    let done = data::import(&cache, &args.file)?;
    if args.json {
        return answer_json(&json!({ "new": done.new, "here": done.here }));
    }
    let mut out = String::new();
    for (names, word) in [(&done.new, "taken"), (&done.here, "here already")] {
        names.iter().for_each(|name| out.push_str(&format!("{word}: {name}\n")));
    }
    answer(&out)
}
