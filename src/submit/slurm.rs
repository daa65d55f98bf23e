//! Batch scripts for Slurm.

use super::quoted;

/// What a batch script says.
#[derive(Debug, Clone)]
pub struct Script {
    /// Experiment name.
    pub experiment: String,
    /// Absolute folder of the submission: list, scripts, logs.
    pub folder: String,
    /// First line of the list that the array carries out, and how many.
    pub first: usize,
    /// Number of tasks.
    pub tasks: usize,
    /// Tasks at a time, if there is a bound.
    pub parallel: Option<usize>,
    /// Seconds between the signal and the end of a task.
    pub grace: u64,
    /// GPUs of a task.
    pub gpus: u32,
    /// Further lines `#SBATCH …`: `--time=01:00:00`.
    pub options: Vec<String>,
    /// The command that carries out a line, up to the number of the line.
    pub command: Vec<String>,
    /// Variables that the command needs.
    pub environment: Vec<(String, String)>,
}

/// The script of a job array.
///
/// Slurm signals the batch shell alone (`--signal=B:`), so that it passes signals on; a run that left
/// with 75 has a checkpoint, and its task is put into the queue again.
#[must_use]
pub fn array(script: &Script) -> String {
    let Script { experiment, folder, first, tasks, grace, .. } = script;
    let parallel = script.parallel.map(|n| format!("%{n}")).unwrap_or_default();
    let mut out = String::from("#!/bin/bash\n");
    let mut option = |text: &str| out.push_str(&format!("#SBATCH {text}\n"));
    option(&format!("--job-name={}", directive(&format!("xp-{experiment}"))));
    option(&format!("--array=0-{}{parallel}", tasks - 1));
    option("--requeue");
    option("--open-mode=append");
    option(&format!("--output={}", directive(&format!("{}/logs/%A_%a.log", percent(folder)))));
    option(&format!("--signal=B:USR1@{grace}"));
    if script.gpus > 0 {
        option(&format!("--gres=gpu:{}", script.gpus));
    }
    script.options.iter().for_each(|text| option(text));
    out.push_str(&format!(
        "# {tasks} runs of {experiment}, lines {first} to {} of manifest.jsonl; by xp submit.\n\n",
        first + tasks - 1
    ));
    for (name, value) in &script.environment {
        out.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    let words: Vec<String> = script.command.iter().map(|word| quoted(word)).collect();
    out.push_str(&format!(
        r#"
pid=
pass_on() {{ [ -z "$pid" ] || kill -USR1 "$pid" 2>/dev/null; }}
trap pass_on USR1 TERM
{} "$((SLURM_ARRAY_TASK_ID + {first}))" --threads "${{SLURM_CPUS_PER_TASK:-1}}" &
pid=$!
wait "$pid"
rc=$?
# A trapped signal interrupts wait: wait again for xp's own code.
while kill -0 "$pid" 2>/dev/null; do
    wait "$pid"
    rc=$?
done
if [ "$rc" -gt 128 ]; then
    wait "$pid" 2>/dev/null
    rc=$?
fi
pid=
echo "task $SLURM_ARRAY_TASK_ID, life ${{SLURM_RESTART_COUNT:-0}}: xp left with $rc"
# 75: checkpointed on a signal, to be gone on with. Slurm ends this shell when it requeues the task.
if [ "$rc" -eq 75 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID" && sleep 60
fi
exit "$rc"
"#,
        words.join(" ")
    ));
    out
}

/// The script of the report, for after the arrays.
#[must_use]
pub fn report(script: &Script) -> String {
    let mut out = String::from("#!/bin/bash\n");
    let mut option = |text: &str| out.push_str(&format!("#SBATCH {text}\n"));
    option(&format!("--job-name={}", directive(&format!("xp-{}-report", script.experiment))));
    let log = format!("{}/logs/report.log", percent(&script.folder));
    option(&format!("--output={}", directive(&log)));
    script.options.iter().for_each(|text| option(text));
    let words: Vec<String> = script.command.iter().map(|word| quoted(word)).collect();
    out.push_str(&format!(
        "# The report of {}; by xp submit.\n\n{}\n",
        script.experiment,
        words.join(" ")
    ));
    out
}

/// A value in a `#SBATCH` line, which Slurm splits at spaces outside of quotes.
fn directive(text: &str) -> String {
    if text.contains([' ', '\'', '"', '\\', '#']) {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

/// A path in a pattern of a file name, where % begins a field.
fn percent(path: &str) -> String {
    path.replace('%', "%%")
}

/// How a list of tasks is cut into arrays of at most `most`: (first, count).
#[must_use]
pub fn arrays(tasks: usize, most: usize) -> Vec<(usize, usize)> {
    let most = most.max(1);
    (0..tasks).step_by(most).map(|first| (first, most.min(tasks - first))).collect()
}

/// `MaxArraySize` of `scontrol show config`: an array's indices are below it.
#[must_use]
pub fn max_array_size(config: &str) -> Option<usize> {
    config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "MaxArraySize").then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_arrays_of_what_the_cluster_takes() {
        assert_eq!(arrays(9, 1001), [(0, 9)]);
        assert_eq!(arrays(5, 2), [(0, 2), (2, 2), (4, 1)]);
        assert_eq!(arrays(0, 2), []);
        let config = "MaxArraySize            = 1001\nMaxJobCount             = 10000\n";
        assert_eq!(max_array_size(config), Some(1001));
        assert_eq!(max_array_size("MaxJobCount = 1"), None);
    }

    #[test]
    fn values_of_directives_are_quoted_where_slurm_would_split_them() {
        assert_eq!(directive("/a/b"), "/a/b");
        assert_eq!(directive("/a b/\"c\""), "\"/a b/\\\"c\\\"\"");
        assert_eq!(percent("/a%b"), "/a%%b");
    }
}
