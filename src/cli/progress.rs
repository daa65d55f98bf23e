//! Progress of `xp run` on stderr: a bar on a terminal, a plain line every 30 s otherwise.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::common::duration;
use crate::data::{Progress, SplitKind};
use crate::plan::Run;
use crate::results::{Record, Step};
use crate::run::state::{Inspection, State};
use crate::run::{Ending, Observer};

/// Longest silence where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// Prints how a sweep goes.
pub struct Console {
    quiet: bool,
    bar: Option<ProgressBar>,
    run: RunLine,
    last_plain: Mutex<Instant>,
}

/// What is said of the run at hand.
#[derive(Default)]
struct RunLine {
    label: String,
    number: usize,
    of: usize,
    /// Tokens and seconds of the steps so far, for a speed that does not jump.
    tokens: u64,
    elapsed: Duration,
    first_step: u64,
}

impl Console {
    /// A console on stderr.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(ProgressStyle::with_template("{prefix} {msg}").expect("a constant"));
            bar
        });
        Self { quiet, bar, run: RunLine::default(), last_plain: Mutex::new(Instant::now()) }
    }

    fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            // Lines that stay go above the bar.
            Some(bar) => bar.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{line}");
            }),
            None => {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
        *self.last_plain.lock().expect("no panic while it is held") = Instant::now();
    }

    /// Whether it is time for another plain line.
    fn plain_due(&self) -> bool {
        let last = self.last_plain.lock().expect("no panic while it is held");
        self.bar.is_none() && last.elapsed() >= PLAIN_EVERY
    }

    fn style(&self, template: &str, length: u64) {
        if let Some(bar) = &self.bar {
            let style = ProgressStyle::with_template(template)
                .expect("a constant template")
                .progress_chars("=> ");
            bar.set_message("");
            bar.set_style(style);
            bar.set_length(length);
        }
    }

    fn title(&self) -> String {
        let RunLine { label, number, of, .. } = &self.run;
        format!("[{number}/{of}] {label}")
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Console {
    fn update(&self, done_bytes: u64, total_bytes: Option<u64>, tokens: u64) {
        let done = done_bytes as f64 / 1e6;
        let of = total_bytes.map_or(String::new(), |n| format!(" of {:.0}", n as f64 / 1e6));
        let text = format!("{done:.0}{of} MB, {tokens} tokens");
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        } else if self.plain_due() {
            self.say(&format!("tokenising: {text}"));
        }
    }
}

impl Observer for Console {
    fn begin(&mut self, total: usize, todo: usize) {
        if todo > 0 {
            self.say(&format!("{total} runs, {} there already, {todo} to do", total - todo));
        }
    }

    fn preparing(&mut self, kind: SplitKind) {
        self.style("{prefix} {msg}", 0);
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("tokens of the {} split:", kind.word()));
        }
    }

    fn run_begins(&mut self, run: &Run<'_>, number: usize, of: usize, inspection: &Inspection) {
        let point = run.point.resolved.name.as_ref().map_or(String::new(), |p| format!("{p}/"));
        self.run = RunLine {
            label: format!("{point}{} seed {}{}", run.config.name, run.seed, repeat(run)),
            number,
            of,
            ..RunLine::default()
        };
        if !matches!(inspection.state, State::Todo) {
            self.say(&format!("{}: {}", self.title(), inspection.reason));
        }
    }

    fn training(&mut self, _run: &Run<'_>, from: u64, steps: u64) {
        self.run.first_step = from;
        self.style("{prefix} [{bar:16}] {pos}/{len} {msg}", steps);
        if let Some(bar) = &self.bar {
            bar.set_prefix(self.title());
            bar.set_position(from);
        }
    }

    fn step(&mut self, step: &Step, steps: u64, tokens: u64, took: Duration) {
        self.run.tokens += tokens;
        self.run.elapsed += took;
        if self.bar.is_none() && !self.plain_due() {
            return;
        }
        let done = step.step + 1;
        let here = (done - self.run.first_step).max(1) as f64;
        let eta = self.run.elapsed.as_secs_f64() / here * (steps - done) as f64;
        let speed = self.run.tokens as f64 / self.run.elapsed.as_secs_f64().max(1e-9);
        let loss = step.loss.map_or("not finite".into(), |loss| format!("{loss:.4}"));
        let text = format!(
            "loss {loss} lr {:.2e} {:.1}k tok/s eta {}",
            step.lr,
            speed / 1e3,
            duration(eta)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(text);
            }
            None => self.say(&format!("{}: step {done}/{steps} {text}", self.title())),
        }
    }

    fn evaluating(&mut self, transform: Option<&str>, length: u64, chunk: usize, of: usize) {
        let under = transform.map_or(String::new(), |transform| format!("{transform}, "));
        let text = format!("evaluating {under}length {length}, chunk {} of {of}", chunk + 1);
        if let Some(bar) = &self.bar {
            if chunk == 0 {
                self.style("{prefix} [{bar:16}] {msg}", of as u64);
            }
            bar.set_prefix(self.title());
            bar.set_position(chunk as u64);
            bar.set_message(text);
        } else if self.plain_due() {
            self.say(&format!("{}: {text}", self.title()));
        }
    }

    fn run_ends(&mut self, run: &Run<'_>, ending: &Ending, record: Option<&Record>) {
        let title = if self.run.label.is_empty() {
            format!("{} seed {}{}", run.config.name, run.seed, repeat(run))
        } else {
            self.title()
        };
        let text = match ending {
            Ending::Done => {
                let metrics = record.into_iter().flat_map(|record| &record.eval);
                let metrics: Vec<String> = metrics
                    .map(|(length, e)| {
                        format!("{length}: {}", e.ppl.map_or("-".into(), |ppl| format!("{ppl:.3}")))
                    })
                    .collect();
                format!(
                    "done in {}, ppl {}",
                    duration(self.run.elapsed.as_secs_f64()),
                    metrics.join(", ")
                )
            }
            Ending::Diverged { step } => format!("diverged at step {step}"),
            Ending::Interrupted { step } => format!("checkpointed at step {step}"),
            Ending::Failed(message) => format!("failed: {message}"),
            Ending::Locked => "another process is at it, left alone".into(),
        };
        self.say(&format!("{title}: {text}"));
    }
}

/// Says that a run is a repeat.
fn repeat(run: &Run<'_>) -> String {
    if run.attempt > 1 { format!(" (repeat {})", run.attempt) } else { String::new() }
}
