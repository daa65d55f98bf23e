//! `xp submit`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{
    Global, ResultsArgs, SpecArgs, answer, answer_json, bytes, counted, planned_spec, whole,
};
use super::exit::{self, Exit};
use super::foregone;
use crate::data::{Cache, SplitKind, cached};
use crate::plan::{Plan, Point, Task, estimate};
use crate::run::now;
use crate::run::state::Index;
use crate::submit::kubernetes::{self, CONFIG_MAP_BYTES, Job};
use crate::submit::slurm::{self, Script};
use crate::submit::{self};

/// Memory that every cluster gives a task.
const OFTEN_GIVEN: u64 = 1 << 30;

/// Submit what is missing as a job array over a frozen list of runs.
///
/// Each task carries out one run of the list, which is kept with the batch scripts and the logs under
/// results/submit/. A task refuses to run if the spec was changed since. A signal before the time limit
/// makes a checkpoint, and the task goes back into the queue.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp data SPEC && xp submit SPEC --slurm --time 04:00:00 --max-parallel 4
  xp submit SPEC --slurm --sbatch=--qos=high --dry-run      the script, and nothing else
  xp submit SPEC --k8s --image registry/xp:1 --volume work | kubectl apply -f -")]
pub struct Args {
    /// The spec.
    #[arg(value_name = "SPEC", value_hint = clap::ValueHint::FilePath)]
    spec: PathBuf,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// Tasks at a time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: Option<u32>,
    /// Seconds that a task has for its checkpoint before it is ended.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = whole)]
    grace: u64,
    /// GPUs of a task. Default: 1 if the spec trains in bf16, else none.
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,
    #[command(flatten)]
    slurm: SlurmArgs,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    /// Print the batch scripts; write and submit nothing.
    #[arg(long)]
    dry_run: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Which scheduler.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// Submit to Slurm with sbatch.
    #[arg(long)]
    slurm: bool,
    /// Print an indexed Job for Kubernetes.
    #[arg(long)]
    k8s: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Slurm")]
struct SlurmArgs {
    /// Time limit of a task, as sbatch has it: 04:00:00.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Account.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Processors of a task.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cpus_per_task: Option<u32>,
    /// Memory of a task: 16G.
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// A further option of sbatch; may be repeated: --sbatch=--qos=high.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Tasks of one array, at most. Default: the cluster's MaxArraySize, else 1001.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_array: Option<u32>,
    /// Submit `xp report` as well, for when all tasks have ended.
    #[arg(long)]
    report: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kubernetes")]
struct KubernetesArgs {
    /// The image, with xp as `xp`.
    #[arg(long, value_name = "IMAGE", conflicts_with = "slurm")]
    image: Option<String>,
    /// The claim of the volume that holds specs, results and tokens.
    #[arg(long, value_name = "CLAIM", conflicts_with = "slurm")]
    volume: Option<String>,
    /// Where the volume is mounted: SPEC and --results are relative to it.
    #[arg(long, value_name = "PATH", conflicts_with = "slurm", default_value = "/work")]
    mount: String,
}

/// Carries out `xp submit`.
///
/// # Errors
/// An invalid spec, results that cannot be read, no scheduler, a submission that it refuses.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let plan = planned_spec(&args.spec, &args.spec_args, global)?;
    let layout = args.results.layout();
    let index = Index::scan(&layout);
    let (tasks, done) = submit::missing(&plan, &layout, &index)?;
    if tasks.is_empty() {
        if args.json {
            return answer_json(&serde_json::json!({ "jobs": [], "tasks": [], "left_out": done }));
        }
        return answer(&format!("nothing to submit: all {done} runs are there\n"));
    }
    foregone::say(&plan, &layout, &index, global)?;
    say_if_tokens_are_missing(&plan, args, global)?;
    say_if_memory_is_not_asked_for(&plan, args, global);
    if gpus(args, &plan) > 1 {
        global.say("note: a task carries out one run, on one GPU: the others of a task are idle");
    }
    if args.target.k8s {
        print_job(args, &plan, &tasks)
    } else {
        to_slurm(args, &plan, &tasks, done, global)
    }
}

/// Tokens that every task would make for itself, or would wait for.
fn say_if_tokens_are_missing(plan: &Plan, args: &Args, global: &Global) -> Result<(), Exit> {
    let cache = Cache::from_env()?;
    for point in &plan.points {
        for kind in [SplitKind::Train, SplitKind::Validation] {
            if cached(&point.resolved.protocol.data, kind, &cache)?.is_none() {
                global.say(format_args!(
                    "note: the tokens are not made yet; `xp data {}` makes them once, before the tasks",
                    args.spec.display()
                ));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Memory that a task of Slurm may not be given unasked: a cluster's default is often that of one processor.
fn say_if_memory_is_not_asked_for(plan: &Plan, args: &Args, global: &Global) {
    if !args.target.slurm || args.slurm.mem.is_some() || gpus(args, plan) > 0 {
        return;
    }
    let threads = args.slurm.cpus_per_task.map_or(1, |n| n as usize);
    let peak = |point: &Point| estimate(&point.resolved, None, false, threads).peak_memory_bytes;
    let needed = plan.points.iter().map(peak).max().unwrap_or(0);
    if needed > OFTEN_GIVEN {
        global.say(format_args!(
            "note: a run needs about {} of memory; without --mem a task has what the cluster gives unasked",
            bytes(needed)
        ));
    }
}

/// The options of `xp run` and `xp report` that say which spec it is.
fn spec_options(args: &Args, results: &str) -> Vec<String> {
    let mut words = Vec::new();
    for set in &args.spec_args.set {
        words.extend(["--set".to_owned(), set.clone()]);
    }
    if let Some(name) = &args.spec_args.name {
        words.extend(["--name".to_owned(), name.clone()]);
    }
    words.extend(["--results".to_owned(), results.to_owned()]);
    words
}

/// GPUs of a task.
fn gpus(args: &Args, plan: &Plan) -> u32 {
    args.gpus.unwrap_or_else(|| submit::gpus(plan))
}

/// What a task runs. One that was given a GPU has to use it: by `auto` a node whose driver fails, or an xp
/// that was built for the CPU, would compute on its processors, which is slow and another device class.
fn run_command(xp: String, spec: String, args: &Args, results: &str, gpus: u32) -> Vec<String> {
    let mut command = vec![xp, "run".to_owned(), spec];
    if gpus > 0 {
        command.extend(["--device", "cuda"].map(str::to_owned));
    }
    command.extend(spec_options(args, results));
    command
}

fn print_job(args: &Args, plan: &Plan, tasks: &[Task]) -> Result<(), Exit> {
    let needed = |value: &Option<String>, option: &str| {
        value.clone().ok_or_else(|| Exit::new(exit::USAGE, format!("--k8s needs {option}")))
    };
    let (spec, results) = (text(&args.spec)?, text(&args.results.results)?);
    let gpus = gpus(args, plan);
    let command = run_command("xp".to_owned(), spec, args, &results, gpus);
    let job = Job {
        experiment: plan.experiment.clone(),
        image: needed(&args.kubernetes.image, "--image IMAGE")?,
        volume: needed(&args.kubernetes.volume, "--volume CLAIM")?,
        mount: args.kubernetes.mount.clone(),
        parallel: args.max_parallel.map(|n| n as usize),
        grace: args.grace,
        gpus,
        command,
    };
    let bytes = Task::to_lines(tasks).len();
    if bytes > CONFIG_MAP_BYTES {
        return Err(Exit::new(
            exit::USAGE,
            format!(
                "the list of {} runs has {bytes} bytes, a ConfigMap holds {CONFIG_MAP_BYTES}: submit a part \
                 (--set experiment.seeds=[…])",
                tasks.len()
            ),
        ));
    }
    answer(&kubernetes::manifest(&job, tasks))
}

fn to_slurm(
    args: &Args,
    plan: &Plan,
    tasks: &[Task],
    done: usize,
    global: &Global,
) -> Result<(), Exit> {
    let options = slurm_options(&args.slurm)?;
    let most = match args.slurm.max_array {
        Some(most) => most as usize,
        None => cluster_array_size().unwrap_or(1001),
    };
    let results = absolute(&args.results.results)?;
    let stamp: String = now().chars().filter(char::is_ascii_alphanumeric).collect();
    let folder = Path::new(&results).join("submit").join(format!("{}-{stamp}", plan.experiment));
    let (folder, spec) = (text(&folder)?, absolute(&args.spec)?);
    let xp = std::env::current_exe().map_err(|e| Exit::new(exit::ENVIRONMENT, e))?;
    let (xp, list) = (text(&xp)?, format!("{folder}/manifest.jsonl"));
    let gpus = gpus(args, plan);
    let mut command = run_command(xp.clone(), spec.clone(), args, &results, gpus);
    command.extend(["--quiet", "--manifest"].map(str::to_owned));
    command.extend([list.clone(), "--task".to_owned()]);
    let cache = absolute(Cache::from_env()?.root())?;
    let script = Script {
        experiment: plan.experiment.clone(),
        folder: folder.clone(),
        first: 0,
        tasks: tasks.len(),
        parallel: args.max_parallel.map(|n| n as usize),
        grace: args.grace,
        gpus,
        options: options.clone(),
        command,
        environment: vec![("XP_CACHE".to_owned(), cache)],
    };
    let mut files: Vec<(String, String)> = slurm::arrays(tasks.len(), most)
        .into_iter()
        .enumerate()
        .map(|(i, (first, tasks))| {
            (format!("array-{i}.sbatch"), slurm::array(&Script { first, tasks, ..script.clone() }))
        })
        .collect();
    if args.slurm.report {
        let mut command = vec![xp, "report".to_owned(), spec];
        command.extend(spec_options(args, &results));
        let script = Script { command, ..script };
        files.push(("report.sbatch".to_owned(), slurm::report(&script)));
    }
    if args.dry_run {
        let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
        return answer(&texts.join("\n"));
    }
    submit_files(args, tasks, done, &folder, &files, global)
}

/// Writes the files and gives the scripts to sbatch, the report behind the arrays.
fn submit_files(
    args: &Args,
    tasks: &[Task],
    done: usize,
    folder: &str,
    files: &[(String, String)],
    global: &Global,
) -> Result<(), Exit> {
    let lines = Task::to_lines(tasks);
    let mut all: Vec<(&str, &str)> = vec![("manifest.jsonl", &lines)];
    all.extend(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    submit::write(Path::new(folder), &all)?;
    let mut jobs: Vec<String> = Vec::new();
    for (name, _) in files {
        let mut command = Command::new("sbatch");
        command.arg("--parsable");
        if name == "report.sbatch" {
            command.arg(format!("--dependency=afterany:{}", jobs.join(":")));
        }
        command.arg(format!("{folder}/{name}"));
        match sbatch(command) {
            Ok(job) => jobs.push(job),
            Err(error) => {
                let message = match jobs.as_slice() {
                    [] => {
                        // Nothing refers to it.
                        let _ = std::fs::remove_dir_all(folder);
                        format!("{error}; nothing was submitted (--dry-run prints the scripts)")
                    }
                    jobs => format!(
                        "{error}; jobs {} are submitted: `scancel {}` takes them back",
                        jobs.join(", "),
                        jobs.join(" ")
                    ),
                };
                return Err(Exit::new(exit::ENVIRONMENT, message));
            }
        }
    }
    if args.json {
        return answer_json(&serde_json::json!({
            "jobs": jobs, "manifest": format!("{folder}/manifest.jsonl"), "tasks": tasks, "left_out": done,
        }));
    }
    global.say(format_args!("list, scripts and logs: {folder}"));
    let there = if done > 0 { format!(" ({done} are there already)") } else { String::new() };
    let runs = counted(tasks.len(), "run");
    answer(&format!("{runs} submitted{there}: {}\n", jobs.join(" ")))
}

/// The job's number.
fn sbatch(mut command: Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("sbatch cannot be called: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        return Err(format!("sbatch refused it: {said}"));
    }
    // JOB, or JOB;CLUSTER.
    let job = String::from_utf8_lossy(&output.stdout);
    let job = job.trim().split(';').next().unwrap_or_default().to_owned();
    if job.is_empty() { Err(format!("sbatch named no job: {said}")) } else { Ok(job) }
}

fn cluster_array_size() -> Option<usize> {
    let output = Command::new("scontrol").args(["show", "config"]).output().ok()?;
    slurm::max_array_size(&String::from_utf8_lossy(&output.stdout))
}

fn slurm_options(args: &SlurmArgs) -> Result<Vec<String>, Exit> {
    let mut options = Vec::new();
    for (name, value) in [
        ("time", &args.time),
        ("partition", &args.partition),
        ("account", &args.account),
        ("mem", &args.mem),
    ] {
        options.extend(value.as_ref().map(|value| format!("--{name}={value}")));
    }
    options.extend(args.cpus_per_task.map(|n| format!("--cpus-per-task={n}")));
    options.extend(args.sbatch.iter().cloned());
    match options.iter().find(|option| !option.starts_with('-') || option.contains('\n')) {
        None => Ok(options),
        Some(wrong) => Err(Exit::new(
            exit::USAGE,
            format!("{wrong:?} is no option of sbatch: --sbatch=--qos=high"),
        )),
    }
}

fn absolute(path: &Path) -> Result<String, Exit> {
    let absolute = std::path::absolute(path).map_err(crate::fs::Error::at("find", path))?;
    text(&absolute)
}

fn text(path: &Path) -> Result<String, Exit> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Exit::new(exit::USAGE, format!("`{}` is no UTF-8, as a script must be", path.display()))
    })
}
