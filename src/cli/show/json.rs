//! What `xp show --json` answers.

use serde_json::{Value as Json, json};

use super::{experiment, run};
use crate::run::status::Standing;

/// `{"experiment", "folder", "runs", "counts", "next"}`.
pub fn of_experiment(seen: &experiment::Seen) -> Json {
    let counts: serde_json::Map<String, Json> =
        seen.counts().into_iter().map(|(phase, n)| (phase.word().to_owned(), json!(n))).collect();
    json!({
        "experiment": seen.experiment,
        "folder": seen.folder,
        "runs": seen.runs.iter().map(standing).collect::<Vec<_>>(),
        "counts": counts,
        "next": seen.next().map(|(_, command)| command),
    })
}

/// `{"run"}`, with the losses by step besides.
pub fn of_run(seen: &run::Seen) -> Json {
    let mut json = standing(&seen.standing);
    json["losses"] = json!(seen.curve.losses);
    json["attempts"] = json!(seen.standing.provenance.as_ref().map(|p| &p.attempts));
    json!({ "run": json })
}

fn standing(run: &Standing) -> Json {
    let name = run.name.as_ref();
    let record = run.record.as_ref();
    json!({
        "experiment": name.map(|name| &name.experiment),
        "point": name.and_then(|name| name.point.as_ref()),
        "config": name.map(|name| &name.config),
        "seed": name.map(|name| name.seed),
        "attempt": name.map(|name| name.attempt),
        "folder": run.dir.path(),
        "train_id": run.train_id,
        "eval_id": record.map(|record| &record.eval_id),
        "protocol": record.map(|record| &record.protocol),
        "expression": run.expression,
        "state": run.phase.word(),
        "reason": run.words,
        "step": run.step,
        "steps": run.steps,
        "loss": run.last.as_ref().and_then(|step| step.loss),
        "lr": run.last.as_ref().map(|step| step.lr),
        "tokens_per_s": run.tokens_per_s,
        "left_s": run.left_s,
        "eval": record.map(|record| &record.eval),
        "transforms": record.map(|record| &record.transforms),
        "checkpoint": run.checkpoint,
        "weights_bytes": run.weights_bytes,
        "problems": run.problems,
    })
}
