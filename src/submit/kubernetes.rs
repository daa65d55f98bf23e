//! An indexed Job for Kubernetes (batch/v1, Kubernetes 1.29 or newer for `backoffLimitPerIndex`).

use serde_json::{Value, json};

use crate::plan::Task;

/// The most bytes that a ConfigMap holds.
pub const CONFIG_MAP_BYTES: usize = 1 << 20;

/// What a Job says.
#[derive(Debug, Clone)]
pub struct Job {
    /// Experiment name.
    pub experiment: String,
    /// The image, with xp in it.
    pub image: String,
    /// The claim of the volume that holds specs, results and tokens.
    pub volume: String,
    /// Where it is mounted; commands run there.
    pub mount: String,
    /// Tasks at a time, if there is a bound.
    pub parallel: Option<usize>,
    /// Seconds between the signal and the end of a task.
    pub grace: u64,
    /// GPUs of a task.
    pub gpus: u32,
    /// The command that carries out a line of the list, but for list and number.
    pub command: Vec<String>,
}

/// Where the list is in a container.
const LIST: &str = "/etc/xp/manifest.jsonl";

/// The ConfigMap with the list and the Job over it, as two documents of YAML.
#[must_use]
pub fn manifest(job: &Job, tasks: &[Task]) -> String {
    let documents = documents(job, tasks);
    documents.map(|document| format!("---\n{}", yaml(&document, 0))).concat()
}

/// The same as values.
fn documents(job: &Job, tasks: &[Task]) -> [Value; 2] {
    let name = name(&job.experiment, tasks);
    let mut resources = json!({});
    if job.gpus > 0 {
        resources["limits"] = json!({ "nvidia.com/gpu": job.gpus });
    }
    let mut command = job.command.clone();
    command.extend(["--manifest", LIST, "--task", "$(JOB_COMPLETION_INDEX)"].map(str::to_owned));
    let container = json!({
        "name": "xp",
        "image": job.image,
        "command": command,
        "workingDir": job.mount,
        "env": [{ "name": "XP_CACHE", "value": format!("{}/.xp-cache", job.mount.trim_end_matches('/')) }],
        "resources": resources,
        "volumeMounts": [
            { "name": "work", "mountPath": job.mount },
            { "name": "list", "mountPath": "/etc/xp", "readOnly": true },
        ],
    });
    [
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name },
            "data": { "manifest.jsonl": Task::to_lines(tasks) },
        }),
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": name, "labels": { "app": "xp" } },
            "spec": {
                "completionMode": "Indexed",
                "completions": tasks.len(),
                "parallelism": job.parallel.unwrap_or(tasks.len()).min(tasks.len()),
                "backoffLimitPerIndex": 2,
                // A container that checkpointed on a signal (75) or lost its node failed in nothing.
                "podFailurePolicy": { "rules": [
                    { "action": "Ignore", "onExitCodes": {
                        "containerName": "xp", "operator": "In", "values": [75] } },
                    { "action": "Ignore", "onPodConditions": [
                        { "type": "DisruptionTarget", "status": "True" }] },
                    // An invalid or changed spec is no better the second time.
                    { "action": "FailIndex", "onExitCodes": {
                        "containerName": "xp", "operator": "In", "values": [2, 4] } },
                ] },
                "template": {
                    "metadata": { "labels": { "app": "xp" } },
                    "spec": {
                        "restartPolicy": "Never",
                        "terminationGracePeriodSeconds": job.grace,
                        "containers": [container],
                        "volumes": [
                            { "name": "work", "persistentVolumeClaim": { "claimName": job.volume } },
                            { "name": "list", "configMap": { "name": name } },
                        ],
                    },
                },
            },
        }),
    ]
}

/// A value in block style; strings are quoted as in JSON, which YAML reads the same.
fn yaml(value: &Value, indent: usize) -> String {
    let space = " ".repeat(indent);
    let scalar = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .map(|(key, value)| match scalar(value) {
                true => format!("{space}{key}: {value}\n"),
                false => format!("{space}{key}:\n{}", yaml(value, indent + 2)),
            })
            .collect(),
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .map(|item| match scalar(item) {
                true => format!("{space}- {item}\n"),
                // The first key stands behind the dash.
                false => format!("{space}- {}", yaml(item, indent + 2).trim_start()),
            })
            .collect(),
        scalar => format!("{space}{scalar}\n"),
    }
}

/// A name that Kubernetes takes, another one for another list: a Job cannot be changed.
fn name(experiment: &str, tasks: &[Task]) -> String {
    let label: String = experiment
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let hash = blake3::hash(Task::to_lines(tasks).as_bytes()).to_hex();
    format!("xp-{}-{}", label.trim_matches('-'), &hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Vec<Task> {
        let task = |index, config: &str| Task {
            index,
            train_id: format!("t{index}"),
            eval_id: "e".into(),
            protocol: "p".into(),
            point: Some("lr=0.1".into()),
            config: config.into(),
            seed: 42,
            attempt: 1,
        };
        vec![task(0, "geo: \"a\" # b"), task(1, "mix")]
    }

    #[test]
    fn a_parser_of_yaml_reads_back_what_was_meant() {
        let job = Job {
            experiment: "3cfg_3Seed.x".into(),
            image: "registry.example/xp:1".into(),
            volume: "work".into(),
            mount: "/work".into(),
            parallel: Some(9),
            grace: 120,
            gpus: 1,
            command: vec!["xp".into(), "run".into(), "it's a spec.toml".into()],
        };
        let text = manifest(&job, &tasks());
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        assert_eq!(read, documents(&job, &tasks()));
        let [list, job] = documents(&job, &tasks());
        assert_eq!(
            Task::find(list["data"]["manifest.jsonl"].as_str().unwrap(), 1),
            Ok(tasks()[1].clone())
        );
        assert_eq!(
            (&job["spec"]["completions"], &job["spec"]["parallelism"]),
            (&2.into(), &2.into())
        );
        let name = job["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("xp-3cfg-3seed-x-") && name.len() <= 63, "{name}");
        assert_eq!(list["metadata"]["name"], name);
    }
}
