//! README.md of an export: what the model is, how it was made and measured, and what may be claimed.
//!
//! Numbers, verdict and reasons are those of the experiment's report; no rule is applied here.

use std::fmt::Write as _;

use serde_json::Value;

use super::frequencies::Chosen;
use super::run::TrainedRun;
use super::tokenizer::Tokenizer;
use crate::canonical;
use crate::report::{Cell, Experiment, Input, Report, Row, Section};

/// The card, in Markdown with the front matter of the hub.
pub(super) fn card(
    run: &TrainedRun,
    chosen: &Chosen,
    tokenizer: Option<&Tokenizer>,
    fidelity: &str,
    notes: &[String],
) -> String {
    let input = Input {
        declared: run.lock.declared_now().clone(),
        lock: Some(run.lock.clone()),
        listing: run.listing.clone(),
    };
    let report = Report::build(&[input]);
    let mut out = front_matter(run);
    what(&mut out, run, tokenizer);
    frequencies(&mut out, chosen, fidelity);
    usage(&mut out, tokenizer.is_some(), notes);
    let experiment = report.experiments.first();
    let section = experiment.and_then(|experiment| {
        experiment.sections.iter().find(|section| section.point == run.record.point)
    });
    let row =
        section.and_then(|section| section.rows.iter().find(|row| row.config == run.record.config));
    if let (Some(experiment), Some(section), Some(row)) = (experiment, section, row) {
        results(&mut out, run, section, row);
        verdict(&mut out, run, chosen, experiment, section, row);
    }
    protocol(&mut out, run);
    out
}

fn front_matter(run: &TrainedRun) -> String {
    let mut out = "---\nlibrary_name: transformers\npipeline_tag: text-generation\n".to_owned();
    out.push_str("tags:\n- llama\n- rope\n- pretraining-experiment\n");
    if let Some(dataset) = run.point.training["data"]["documents"]["hub"].as_str() {
        let _ = writeln!(out, "datasets:\n- {}", Value::from(dataset));
    }
    out.push_str("---\n\n");
    out
}

fn what(out: &mut String, run: &TrainedRun, tokenizer: Option<&Tokenizer>) {
    let (record, model) = (&run.record, &run.model);
    let point = record.point.as_deref();
    let point = point.map(|point| format!(" at {}", escape(point))).unwrap_or_default();
    let _ = writeln!(
        out,
        "# {}: {}{point}, seed {}\n",
        escape(&record.experiment),
        escape(&record.config),
        record.seed
    );
    let again = if run.attempt > 1 {
        format!(" It is attempt {} at the run, which no mean below contains.", run.attempt)
    } else {
        String::new()
    };
    let trained = record.train.as_ref().map_or(String::new(), |train| {
        let steps = if train.steps == 1 { "step" } else { "steps" };
        format!(", trained for {} {steps} on {} tokens", train.steps, train.tokens)
    });
    let _ = writeln!(
        out,
        "A decoder of {} parameters ({} layers, {} heads of {}, pre-norm, SwiGLU, rotary positions){trained} \
         at {} tokens of context. It is one run of an experiment that compares rotary frequency sets: config \
         `{}`, seed {} (declared: {}).{again}\n",
        model.num_parameters(),
        model.layers,
        model.heads,
        model.head_dim,
        run.point.seq_len,
        record.config,
        record.seed,
        listed(&run.lock.declared_now().seeds),
    );
    let tokenizer = match tokenizer {
        Some(tokenizer) => format!("Tokenizer: {}.", escape(&tokenizer.origin)),
        None => "The tokenizer is not in this folder.".to_owned(),
    };
    let _ = writeln!(out, "{tokenizer} Train id `{}`.\n", record.train_id);
}

fn frequencies(out: &mut String, chosen: &Chosen, fidelity: &str) {
    let set = &chosen.set;
    out.push_str("## Frequencies\n\n| | |\n| --- | --- |\n");
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "| {key} | {value} |");
    };
    line("expression", &code(&set.expression));
    match &chosen.transform {
        Some(transform) => line(
            "from",
            &format!(
                "the trained set under the transform {}, {}",
                code(&transform.name),
                code(&transform.expression)
            ),
        ),
        None => line("from", "the set as trained"),
    }
    line("vec_id", &code(&set.vec_id));
    line("attention scale", &set.attention_scale.to_string());
    if chosen.rotary_dim() < set.head_dim as usize {
        let (rotary_dim, head_dim) = (chosen.rotary_dim(), set.head_dim);
        line(
            "rotary dimensions",
            &format!(
                "{rotary_dim} of {head_dim}; the rows of q and k are rearranged so that the others are \
                 pairs of frequency 0"
            ),
        );
    }
    line("in this export", &escape(fidelity));
    line("longest text", &format!("{} tokens", chosen.length));
    out.push('\n');
    for note in chosen.notes() {
        let _ = writeln!(out, "Note: {}.\n", escape(&note));
    }
}

fn usage(out: &mut String, with_tokenizer: bool, notes: &[String]) {
    let (also, tokenizer) = match with_tokenizer {
        true => (", AutoTokenizer", "tokenizer = AutoTokenizer.from_pretrained(FOLDER)\n"),
        false => ("", ""),
    };
    let _ = writeln!(
        out,
        "## Use\n\n```python\nfrom transformers import AutoModelForCausalLM{also}\n\n\
         model = AutoModelForCausalLM.from_pretrained(FOLDER)\n{tokenizer}```\n\n\
         For another precision give `dtype=` to `from_pretrained`; `model.half()` or `model.to(dtype)` \
         after loading rounds the rotary frequencies too.\n"
    );
    for note in notes {
        let _ = writeln!(out, "Note: {}.\n", escape(note));
    }
}

/// Perplexities of this run, and of its config and the baseline over seeds.
fn results(out: &mut String, run: &TrainedRun, section: &Section, row: &Row) {
    out.push_str(
        "## Results\n\nPerplexity on the validation split. Names in brackets are transforms of the trained \
         frequencies.\n\n",
    );
    let baseline = section.rows.iter().find(|other| other.config == row.baseline);
    let baseline = baseline.filter(|_| !row.is_baseline());
    let of_baseline = baseline.map_or(String::new(), |baseline| {
        format!(" `{}`, mean ± std | gap | seeds better | verdict |", baseline.config)
    });
    let _ = writeln!(
        out,
        "| tokens | this run | `{}`, mean ± std (n = {} of {}) |{of_baseline}",
        row.config, row.n, row.n_expected
    );
    let columns = if baseline.is_some() { 7 } else { 3 };
    let _ = writeln!(out, "|{}", " --- |".repeat(columns));
    for cell in &row.cells {
        let own = own_ppl(run, section, cell);
        let mut line = format!(
            "| {} | {own} | {} |",
            escape(&cell.column.to_string()),
            dash(&cell.mean_pm_std)
        );
        if let Some(other) = baseline.and_then(|baseline| baseline.cell(&cell.column)) {
            let gap = cell.gap_pct.map_or("-".to_owned(), |gap| format!("{gap:+.2} %"));
            let word = cell.verdict.map_or("-", crate::report::Verdict::word);
            let word =
                if cell.primary { format!("**{word}**") } else { format!("{word} (secondary)") };
            let _ = write!(
                line,
                " {} | {gap} | {} | {word} |",
                dash(&other.mean_pm_std),
                cell.seeds_better.as_deref().unwrap_or("-"),
            );
        } else if baseline.is_some() {
            line.push_str(" - | - | - | - |");
        }
        let _ = writeln!(out, "{line}");
    }
    out.push_str("\ngap: in percent of the baseline's mean; positive is better.\n\n");
}

/// The perplexity of this run in a cell's column.
fn own_ppl(run: &TrainedRun, section: &Section, cell: &Cell) -> String {
    let transform = cell.column.transform.as_deref();
    let expression = match transform {
        Some(name) => match section.transform(name) {
            Some(transform) => Some(transform.expression.as_str()),
            None => return "-".to_owned(),
        },
        None => None,
    };
    let results = run.record.results(expression);
    let ppl = results.and_then(|by_length| by_length.get(&cell.column.length)?.ppl);
    ppl.map_or("-".to_owned(), |ppl| format!("{ppl:.3}"))
}

/// The verdict as the report has it, and what it does not say of this folder.
fn verdict(
    out: &mut String,
    run: &TrainedRun,
    chosen: &Chosen,
    experiment: &Experiment,
    section: &Section,
    row: &Row,
) {
    out.push_str("## Verdict\n\n");
    let primary = escape(&section.primary().tokens());
    match row.verdict {
        Some(verdict) => {
            let _ = writeln!(
                out,
                "**{}** against `{}` at {primary}: {}\n",
                verdict.word(),
                row.baseline,
                escape(row.reason.trim_end())
            );
        }
        None => {
            let _ = writeln!(out, "This is the baseline: nothing is claimed of it.\n");
        }
    }
    let _ =
        writeln!(out, "{}\n\n{}\n", escape(&experiment.rule), escape(&experiment.frozen_words()));
    for change in &experiment.amendments {
        let _ = writeln!(out, "Changed since: {}\n", escape(&change.words()));
    }
    out.push_str("What may not be claimed:\n\n");
    let mut item = |text: String| {
        let _ = writeln!(out, "- {text}");
    };
    item(format!(
        "Anything of these weights alone: they are of seed {}, one of {}, and a verdict is about the config \
         over its seeds.",
        run.record.seed, row.n_expected
    ));
    if !row.verdict.is_none_or(crate::report::Verdict::is_claim) {
        item(format!("That `{}` is better or worse than `{}`.", row.config, row.baseline));
    }
    let used = chosen.transform.as_ref().map(|transform| transform.name.as_str());
    if used != section.primary_transform.as_deref() && row.verdict.is_some() {
        let words = |transform: Option<&str>| {
            transform.map_or("the frequencies as trained".to_owned(), |name| format!("`{name}`"))
        };
        item(format!(
            "The verdict of this folder: it was judged with {}, and the folder has {}.",
            words(section.primary_transform.as_deref()),
            words(used)
        ));
    }
    let longest = run.lengths().last().copied().unwrap_or(run.point.seq_len);
    if chosen.length > longest {
        item(format!("Anything beyond {longest} tokens: nothing longer was evaluated."));
    }
    for caveat in &experiment.caveats {
        item(escape(caveat));
    }
    out.push('\n');
}

/// Every key of the protocol.
fn protocol(out: &mut String, run: &TrainedRun) {
    let _ = writeln!(out, "## Protocol\n\nProtocol id `{}`.\n", run.record.protocol);
    out.push_str("| key | value |\n| --- | --- |\n");
    let mut keys = Vec::new();
    flatten("", &run.point.training, &mut keys);
    let evaluation = run.record.evaluation.as_ref().unwrap_or(&run.point.evaluation);
    flatten("evaluation", evaluation, &mut keys);
    for (key, value) in keys {
        let _ = writeln!(out, "| {} | {} |", code(&key), code(&value));
    }
}

fn flatten(path: &str, value: &Value, keys: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, entry) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, entry, keys);
            }
        }
        other => keys.push((path.to_owned(), canonical::to_string(other))),
    }
}

fn listed(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Text as code inside a table.
fn code(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// Text that Markdown and HTML leave as it is, on one line.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in one_line(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_text_does_not_reach_the_page() {
        assert_eq!(escape("a|b <i> _x_\n"), "a\\|b &lt;i> \\_x\\_ ");
        assert_eq!(code("mix(a, b) | `c`"), "`` mix(a, b) \\| `c` ``");
    }

    #[test]
    fn every_leaf_of_a_protocol_is_a_line() {
        let mut keys = Vec::new();
        flatten("", &json!({"model": {"layers": 2, "init_from": null}, "b": {}}), &mut keys);
        let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(keys, ["model.layers=2", "model.init_from=null", "b={}"]);
    }
}
