//! One run: identity, state, loss curve, results, attempts.

use std::time::SystemTime;

use super::super::common::{bytes, duration};
use super::super::exit::Exit;
use super::super::screen::{Screen, Table};
use super::experiment::speed;
use crate::plot::{Axis, Chart, Scale, Series};
use crate::results::{Attempt, Curve, Evaluation, RunDir};
use crate::run::status::{Phase, Standing, standing};

/// Rows of the loss curve.
const PLOT_HEIGHT: usize = 9;

/// What was found of a run; keeps the curve between two looks.
pub struct Seen {
    /// How it stands.
    pub standing: Standing,
    /// Its losses.
    pub curve: Curve,
}

impl Seen {
    /// A run's folder.
    pub fn new(dir: &RunDir) -> Self {
        Self { standing: standing(dir), curve: Curve::default() }
    }

    /// Looks at what is new.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn look(&mut self) -> Result<(), Exit> {
        let dir = self.standing.dir.clone();
        self.standing = standing(&dir);
        Ok(self.curve.update(&dir)?)
    }

    /// Experiment, config and seed.
    pub fn title(&self) -> String {
        match &self.standing.name {
            Some(name) => format!("{}/{} seed {}", name.experiment, name.config(), name.seed),
            None => self.standing.dir.path().display().to_string(),
        }
    }

    /// `running, step 312 of 811 (38 %)`, and who or why.
    pub fn state(&self) -> String {
        let Standing { phase, words, step, steps, .. } = &self.standing;
        let at = match (phase, steps) {
            (Phase::Todo | Phase::Imported | Phase::Starting, _) => String::new(),
            (Phase::Done | Phase::Evaluate | Phase::Evaluating, _) => {
                format!(" after {step} steps")
            }
            (_, Some(steps)) if *steps > 0 => {
                format!(" at step {step} of {steps} ({} %)", 100 * step / steps)
            }
            _ => format!(" at step {step}"),
        };
        let words = if words.is_empty() { String::new() } else { format!(": {words}") };
        format!("{at}{words}")
    }
}

/// All of it.
pub fn text(seen: &Seen, screen: &Screen) -> String {
    let run = &seen.standing;
    let mut out = String::new();
    out.push_str(&format!("{}\n", seen.title()));
    let mut field = |label: &str, text: &str| {
        screen.wrapped(&mut out, &format!("{label:<13}"), text);
    };
    field("state", &format!("{}{}", run.phase.word(), seen.state()));
    if let Some(expression) = &run.expression {
        field("frequencies", expression);
    }
    let short = |id: &str| id.chars().take(12).collect::<String>();
    let mut ids = Vec::new();
    ids.extend(run.train_id.as_ref().map(|id| format!("train {}", short(id))));
    if let Some(record) = &run.record {
        if !record.eval_id.is_empty() {
            ids.push(format!("eval {}", short(&record.eval_id)));
        }
        ids.push(format!("protocol {}", short(&record.protocol)));
        ids.extend(record.freq.as_ref().map(|freq| format!("vec {}", short(&freq.vec_id))));
    }
    if !ids.is_empty() {
        field("ids", &ids.join(", "));
    }
    if let Some(now) = now(run) {
        field("last step", &now);
    }
    match (run.weights_bytes, run.checkpoint) {
        (Some(n), _) => field("weights", &format!("kept, {}", bytes(n))),
        (None, Some(step)) => field("weights", &format!("checkpoint at step {step}")),
        (None, None) if run.phase == Phase::Done => field("weights", "not here"),
        _ => {}
    }
    for problem in &run.problems {
        field("not readable", problem);
    }
    field("files", &run.dir.path().display().to_string());
    let chart = chart(&seen.curve, screen.width);
    if let Some(chart) = chart {
        out.push('\n');
        out.push_str(&chart.text(screen.width, PLOT_HEIGHT));
    }
    results(&mut out, run, screen);
    attempts(&mut out, run, screen);
    out
}

fn now(run: &Standing) -> Option<String> {
    let last = run.last.as_ref()?;
    let loss = last.loss.map_or("not finite".to_owned(), |loss| format!("{loss:.4}"));
    let mut text = format!("loss {loss}, lr {:.2e}", last.lr);
    if let Some(tokens) = run.tokens_per_s {
        text.push_str(&format!(", {} tokens/s", speed(tokens)));
    }
    if let Some(left) = run.left_s {
        text.push_str(&format!(", about {} of training left", duration(left)));
    }
    Some(text)
}

/// The loss over the steps, each dot the mean of the steps that fall on it.
fn chart(curve: &Curve, width: usize) -> Option<Chart> {
    if curve.losses.len() < 2 {
        return None;
    }
    // Two dots a column; the axis takes some of the columns.
    let dots = 2 * width.saturating_sub(10).max(20);
    let each = curve.losses.len().div_ceil(dots);
    let mean = |part: &[(u64, f64)]| {
        let n = part.len() as f64;
        let sum = part.iter().fold((0.0, 0.0), |(x, y), (step, loss)| (x + *step as f64, y + loss));
        (sum.0 / n, sum.1 / n)
    };
    let line: Vec<(f64, f64)> = curve.losses.chunks(each).map(mean).collect();
    let label = match each {
        1 => "loss (nats a token)".to_owned(),
        n => format!("loss (nats a token, means of {n} steps)"),
    };
    Some(Chart {
        title: String::new(),
        x: Axis::new("step", Scale::Linear),
        y: Axis::new(label, Scale::Linear),
        series: vec![Series::line("loss", line)],
        rules: Vec::new(),
    })
}

fn results(out: &mut String, run: &Standing, screen: &Screen) {
    let Some(record) = run.record.as_ref().filter(|record| !record.eval.is_empty()) else {
        return;
    };
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("not finite".to_owned(), |value| format!("{value:.digits$}"))
    };
    let row = |length: &u64, result: &Evaluation| {
        vec![
            length.to_string(),
            number(result.ppl, 3),
            number(result.nll, 4),
            result.chunks.map_or("-".to_owned(), |n| n.to_string()),
        ]
    };
    let header = ["length", "PPL", "nll", "chunks"].map(str::to_owned).to_vec();
    let mut groups = vec![(None, &record.eval)];
    groups.extend(record.transforms.iter().map(|(name, results)| (Some(name), results)));
    for (transform, results) in groups {
        out.push('\n');
        if let Some(expression) = transform {
            screen.wrapped(out, "under ", expression);
        }
        let rows = results.iter().map(|(length, result)| row(length, result)).collect();
        screen.table(out, &Table { header: header.clone(), keys: 1, rows, ..Table::default() });
    }
}

fn attempts(out: &mut String, run: &Standing, screen: &Screen) {
    let attempts = run.provenance.iter().flat_map(|provenance| &provenance.attempts);
    let rows: Vec<Vec<String>> = attempts.map(|attempt| attempt_row(attempt, run)).collect();
    if rows.is_empty() {
        return;
    }
    out.push('\n');
    let header = ["attempt", "host", "start (UTC)", "took", "steps", "outcome"];
    let header = header.map(str::to_owned).to_vec();
    let numbered = rows.into_iter().enumerate().map(|(i, mut row)| {
        row.insert(0, (i + 1).to_string());
        row
    });
    screen.table(out, &Table { header, keys: 1, rows: numbered.collect(), ..Table::default() });
    if let Some(provenance) = &run.provenance {
        let mut words = vec![provenance.device_class.clone()];
        words.extend(provenance.threads.map(|n| format!("{n} threads")));
        words.extend(provenance.jobs.map(|n| format!("{n} runs side by side")));
        words.extend(provenance.peak_memory_bytes.map(|n| format!("peak memory {}", bytes(n))));
        words.extend(provenance.source.clone());
        words.retain(|word| !word.is_empty());
        screen.wrapped(out, "on ", &words.join(", "));
    }
}

fn attempt_row(attempt: &Attempt, run: &Standing) -> Vec<String> {
    let running = attempt.outcome == "running";
    let time = |text: &String| humantime::parse_rfc3339(text).ok();
    let end = match &attempt.end {
        Some(end) => time(end),
        None => (running && run.phase.is_active()).then(SystemTime::now),
    };
    let took =
        end.zip(time(&attempt.start)).and_then(|(end, start)| end.duration_since(start).ok());
    let to = if running { attempt.to_step.max(run.step) } else { attempt.to_step };
    let gone = running && !run.phase.is_active();
    vec![
        attempt.host.clone(),
        attempt.start.trim_end_matches('Z').replace('T', " "),
        took.map_or("-".to_owned(), |took| duration(took.as_secs_f64())),
        format!("{} to {to}", attempt.from_step),
        if gone { "killed".to_owned() } else { attempt.outcome.clone() },
    ]
}
