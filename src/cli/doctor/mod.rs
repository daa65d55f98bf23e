//! `xp doctor`: what this machine and this build can compute on, where files go, and what is missing.

mod places;

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::common::{
    Global, ResultsArgs, SpecArgs, answer, answer_json, bytes, checked_spec, threads_here,
};
use super::exit::Exit;
use super::screen::Screen;
use super::version;
use crate::data::{Cache, HubStatus, hub_status, without_user};
use crate::plan::NUMERICS_VERSION;
use crate::run::{self, CudaStatus};
use places::Place;

/// Less room than this on a disk is worth a word: a checkpoint of a small model, a few times.
const LITTLE_ROOM: u64 = 2 << 30;

/// Variables that change what xp does, and whether their value may be shown.
const VARIABLES: [(&str, bool); 19] = [
    ("XP_CACHE", true),
    ("XP_CUDA_LIB_DIRS", true),
    ("XDG_CACHE_HOME", true),
    ("HF_HOME", true),
    ("HF_HUB_CACHE", true),
    ("HF_ENDPOINT", true),
    ("HF_HUB_OFFLINE", true),
    ("HF_HUB_DOWNLOAD_TIMEOUT", true),
    ("HF_TOKEN", false),
    ("HF_TOKEN_PATH", true),
    ("XP_HUB_RETRY_S", true),
    ("SSL_CERT_FILE", true),
    ("HTTPS_PROXY", false),
    ("https_proxy", false),
    ("ALL_PROXY", false),
    ("NO_PROXY", true),
    ("CUDA_VISIBLE_DEVICES", true),
    ("COLUMNS", true),
    ("NO_COLOR", true),
];

/// What this machine and this build can compute on, where files go, and what is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp doctor SPEC      do the servers that the spec names answer?
  xp doctor --json    the same for a script or a bug report; no secret is in it")]
pub struct Args {
    /// A spec, whose servers for hub data are asked too.
    #[arg(value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: Option<PathBuf>,
    #[command(flatten)]
    results: ResultsArgs,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What was found.
struct Findings {
    class: String,
    threads: usize,
    memory: Option<u64>,
    cuda: CudaStatus,
    places: Vec<Place>,
    /// None where the environment is wrong; `missing` says how.
    hub: Option<HubStatus>,
    variables: Vec<(&'static str, String)>,
    tools: Vec<Tool>,
    /// Besides a GPU.
    missing: Vec<String>,
}

/// A program that is of use beside xp.
struct Tool {
    name: &'static str,
    purpose: &'static str,
    path: Option<PathBuf>,
    get: &'static str,
}

/// Carries out `xp doctor`.
///
/// # Errors
/// An output that cannot be written: what is missing is the answer.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let mirrors = match &args.spec {
        Some(spec) => checked_spec(spec, &SpecArgs::default(), global)?
            .points
            .first()
            .map(|point| point.protocol.data.endpoints.clone())
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let findings = find(args, &mirrors);
    if args.json {
        return answer_json(&findings.json());
    }
    answer(&findings.text(Screen::of_stdout(global)))
}

fn find(args: &Args, mirrors: &[String]) -> Findings {
    let (cuda, cpu) = (run::cuda_status(), run::Cpu::new());
    let mut places = vec![Place::of("results", args.results.results.clone(), "--results", false)];
    let mut missing = Vec::new();
    match Cache::from_env() {
        Ok(cache) => {
            let set = std::env::var_os("XP_CACHE").is_some_and(|value| !value.is_empty());
            let by = if set { "XP_CACHE" } else { "default" };
            places.push(Place::of("tokens", cache.root().to_owned(), by, true));
        }
        Err(error) => missing.push(error.to_string()),
    }
    let hub = Cache::from_env().and_then(|cache| hub_status(cache.root(), mirrors));
    if let Err(error) = &hub {
        missing.push(error.to_string());
    }
    let hub = hub.ok();
    if let Some(hub) = &hub {
        places.push(Place::of("hub cache", hub.folder.clone(), places::hub_cache_by(), true));
        let problems: Vec<String> = hub
            .servers
            .iter()
            .filter_map(|server| match &server.answer {
                Some(Err(problem)) => Some(format!("{}: {problem}", server.endpoint)),
                _ => None,
            })
            .collect();
        // One of them is enough.
        if !problems.is_empty() && problems.len() == hub.servers.len() {
            missing.push(format!(
                "the hub ({}). Datasets and tokenizers of the hub need it; set HF_ENDPOINT to a mirror, \
                 HTTPS_PROXY to a proxy, or bring tokens with xp data export and import",
                problems.join("; ")
            ));
        }
    }
    for Place { what, path, free, writable, locks, .. } in &places {
        let path = path.display();
        let elsewhere = match *what {
            "results" => "pass --results DIR",
            "tokens" => "set XP_CACHE",
            _ => "set HF_HOME",
        };
        if !writable {
            missing.push(format!("{what}: `{path}` cannot be written: {elsewhere}"));
        } else if !locks {
            missing.push(format!("{what}: the file system of `{path}` has no locks: {elsewhere}"));
        } else if let Some(free) = free.filter(|free| *free < LITTLE_ROOM) {
            let free = bytes(free);
            missing
                .push(format!("{what}: only {free} left at `{path}`: free some, or {elsewhere}"));
        }
    }
    let tools = vec![
        tool("git", "the commit of your folder in provenance.json", "install git"),
        tool("tensorboard", "looks at tb/ of the runs", "pip install tensorboard"),
    ];
    for Tool { name, purpose, path, get } in &tools {
        if path.is_none() {
            missing.push(format!("{name}, which {purpose}: {get}"));
        }
    }
    Findings {
        class: run::Executor::device_class(&cpu),
        threads: threads_here(),
        memory: run::available_memory(),
        cuda,
        places,
        hub,
        variables: variables(),
        tools,
        missing,
    }
}

fn variables() -> Vec<(&'static str, String)> {
    let value = |(name, shown): (&'static str, bool)| {
        let value = std::env::var_os(name)?.to_string_lossy().into_owned();
        Some((name, if shown { without_user(&value) } else { "set".to_owned() }))
    };
    VARIABLES.into_iter().filter_map(value).collect()
}

fn tool(name: &'static str, purpose: &'static str, get: &'static str) -> Tool {
    let path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    });
    Tool { name, purpose, path, get }
}

impl Findings {
    fn text(&self, screen: Screen) -> String {
        let mut out = String::new();
        let mut line = |label: &str, text: &str| {
            screen.wrapped(&mut out, &format!("{label:<11}"), text);
        };
        let commit = run::COMMIT.map_or(String::new(), |commit| format!(", commit {commit}"));
        line("xp", &format!("{}{commit}, numerics {NUMERICS_VERSION}", version::VERSION));
        line("build", &format!("features: {}; {}", version::features_words(), version::RUSTC));
        let memory = self.memory.map_or(String::new(), |n| format!(", {} available", gib(n)));
        line("cpu", &format!("{}, {} threads{memory}", self.class, self.threads));
        let CudaStatus { kernels, driver, cublas, gpus, problem, .. } = &self.cuda;
        if let Some(kernels) = kernels {
            line("cuda", kernels);
        }
        if let Some(driver) = driver {
            let cublas = cublas.as_deref().unwrap_or("not found");
            line("", &format!("driver for CUDA {driver}, cuBLAS {cublas}"));
        }
        for (i, gpu) in gpus.iter().enumerate() {
            let (name, capability) = (&gpu.name, &gpu.compute_capability);
            line(
                &format!("cuda:{i}"),
                &format!(
                    "{name}, compute capability {capability}, {} multiprocessors, {}",
                    gpu.multiprocessors,
                    gib(gpu.memory)
                ),
            );
        }
        if let Some(problem) = problem {
            line(if kernels.is_none() { "cuda" } else { "" }, problem);
        }
        for place in &self.places {
            let size = place.size.map_or(String::new(), |n| format!(", holds {}", bytes(n)));
            let free = place.free.map_or(String::new(), |n| format!(", {} free", bytes(n)));
            let (path, by) = (place.path.display(), place.by);
            line(place.what, &format!("{path} ({by}){size}{free}"));
        }
        if let Some(hub) = &self.hub {
            let token = if hub.token { ", with a token" } else { "" };
            for (i, server) in hub.servers.iter().enumerate() {
                let answer = match &server.answer {
                    Some(Ok(took)) => format!("answers in {:.2} s{token}", took.as_secs_f64()),
                    Some(Err(problem)) if hub.servers.len() > 1 => format!("no answer: {problem}"),
                    Some(Err(_)) => "does not answer".to_owned(),
                    None => format!("offline by HF_HUB_OFFLINE{token}"),
                };
                let label = if i == 0 { "hub" } else { "" };
                line(label, &format!("{}: {answer}", server.endpoint));
            }
        }
        for (i, (name, value)) in self.variables.iter().enumerate() {
            line(if i == 0 { "variables" } else { "" }, &format!("{name}={value}"));
        }
        for Tool { name, path, .. } in &self.tools {
            if let Some(path) = path {
                line(name, &path.display().to_string());
            }
        }
        line("editors", "a spec's first line `#:schema PATH` names its schema: xp init, xp schema");
        if self.missing.is_empty() && problem.is_none() {
            line("missing", "nothing");
        }
        for (i, missing) in self.missing.iter().enumerate() {
            line(if i == 0 { "missing" } else { "" }, missing);
        }
        out
    }

    fn json(&self) -> Json {
        let gpus = self.cuda.gpus.iter().map(|gpu| {
            json!({
                "name": gpu.name,
                "compute_capability": gpu.compute_capability,
                "multiprocessors": gpu.multiprocessors,
                "memory_bytes": gpu.memory,
            })
        });
        let places = self.places.iter().map(|place| {
            let value = json!({
                "path": place.path, "by": place.by, "size_bytes": place.size,
                "free_bytes": place.free, "writable": place.writable, "locks": place.locks,
            });
            (place.what.replace(' ', "_"), value)
        });
        let variables =
            self.variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let tools = self.tools.iter().map(|tool| (tool.name.to_owned(), json!(tool.path)));
        json!({
            "version": version::VERSION,
            "commit": run::COMMIT,
            "numerics": NUMERICS_VERSION,
            "features": version::features(),
            "rustc": version::RUSTC,
            "cpu": {
                "device_class": self.class, "threads": self.threads,
                "available_memory_bytes": self.memory,
            },
            "cuda": {
                "built": self.cuda.built,
                "kernels": self.cuda.kernels,
                "driver": self.cuda.driver,
                "cublas": self.cuda.cublas,
                "gpus": gpus.collect::<Vec<_>>(),
                "problem": self.cuda.problem,
            },
            "places": places.collect::<serde_json::Map<_, _>>(),
            "hub": self.hub.as_ref().map(|hub| json!({
                "offline": hub.offline, "token": hub.token,
                "servers": hub.servers.iter().map(|server| json!({
                    "endpoint": server.endpoint,
                    "reachable": server.answer.as_ref().map(Result::is_ok),
                    "problem": server.answer.as_ref().and_then(|answer| answer.as_ref().err()),
                })).collect::<Vec<_>>(),
            })),
            "variables": variables.collect::<serde_json::Map<_, _>>(),
            "tools": tools.collect::<serde_json::Map<_, _>>(),
            "missing": self.cuda.problem.iter().chain(&self.missing).collect::<Vec<_>>(),
        })
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
