//! Progress of `xp run` on stderr: a bar on a terminal, a plain line every 30 s otherwise.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::common::{counted, duration, room_words, thousands};
use super::exit::Exit;
use super::foregone;
use super::signals::stop_on_signals;
use super::terminal::Terminal;
use crate::data::{Overlap, Progress, SplitKind};
use crate::plan::Run;
use crate::report;
use crate::results::{Lock, Record, Step};
use crate::run::state::{Inspection, State};
use crate::run::{Ending, Observer, Room, RunObserver, Speed};

/// Longest silence where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// Prints how a sweep goes.
pub struct Console {
    quiet: bool,
    /// On a terminal: one bar for each run at work.
    bars: Option<MultiProgress>,
    /// What the bars are drawn on.
    terminal: Option<Terminal>,
    /// The bar of what comes before the runs.
    preparing: Mutex<Option<ProgressBar>>,
    last_plain: Mutex<Instant>,
    /// Set by a signal.
    stop: Arc<AtomicBool>,
}

impl Console {
    /// A console on stderr, which listens to signals from now on.
    ///
    /// # Errors
    /// A system that lets nobody listen.
    pub fn listening(quiet: bool) -> Result<Self, Exit> {
        let terminal = if quiet { None } else { Terminal::of_stderr() };
        let target =
            |on: &Terminal| ProgressDrawTarget::term_like_with_hz(Box::new(on.clone()), 10);
        let bars = terminal.as_ref().map(|on| MultiProgress::with_draw_target(target(on)));
        let last_plain = Mutex::new(Instant::now());
        let above = bars.clone();
        let stop = stop_on_signals(move || {
            if !quiet {
                write_line(above.as_ref(), "stopping; a second Ctrl-C would end at once");
            }
        })?;
        Ok(Self { quiet, bars, terminal, preparing: Mutex::default(), last_plain, stop })
    }

    /// Set by a signal: what is at work is to stop.
    pub fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            self.complain(line);
        }
    }

    /// Says what went wrong, quiet or not.
    fn complain(&self, line: &str) {
        write_line(self.bars.as_ref(), line);
        *self.last_plain.lock().expect("no panic while it is held") = Instant::now();
    }

    /// Whether it is time for another plain line.
    fn plain_due(&self) -> bool {
        let last = self.last_plain.lock().expect("no panic while it is held");
        self.bars.is_none() && last.elapsed() >= PLAIN_EVERY
    }

    fn bar(&self) -> Option<ProgressBar> {
        self.bars.as_ref().map(|bars| bars.add(ProgressBar::new(0)))
    }

    /// Shows what is done before the runs.
    fn prepare(&self, prefix: String) {
        let mut preparing = self.preparing.lock().expect("no panic while it is held");
        if preparing.is_none() {
            *preparing = self.bar();
        }
        if let Some(bar) = preparing.as_ref() {
            style(bar, "{prefix} {msg}", 0);
            bar.set_prefix(prefix);
            bar.tick();
        }
    }

    /// Shows how what is prepared goes on.
    fn tell(&self, verb: &str, text: &str) {
        let preparing = self.preparing.lock().expect("no panic while it is held");
        if let Some(bar) = preparing.as_ref() {
            bar.set_message(format!("{verb} {text}"));
            bar.tick();
        } else if self.plain_due() {
            self.say(&format!("{verb}: {text}"));
        }
    }

    /// Takes away the bar of what came before the runs.
    fn prepared(&self) {
        if let Some(bar) = self.preparing.lock().expect("no panic while it is held").take() {
            bar.finish_and_clear();
        }
    }

    /// Takes the bars away; all that was said is then on the terminal.
    pub fn finish(&self) {
        self.prepared();
        if let Some(terminal) = &self.terminal {
            terminal.finish();
        }
    }
}

/// Writes a line that stays, above the bars if there are some.
fn write_line(bars: Option<&MultiProgress>, line: &str) {
    // It may fail: the terminal can be gone, and the runs go on.
    let _ = match bars {
        Some(bars) => bars.println(line),
        None => writeln!(std::io::stderr(), "{line}"),
    };
}

fn style(bar: &ProgressBar, template: &str, length: u64) {
    let style =
        ProgressStyle::with_template(template).expect("a constant template").progress_chars("=> ");
    bar.set_message("");
    bar.set_style(style);
    bar.set_length(length);
}

/// What training and validation text have in common, as a sentence.
pub fn overlap_words(shared: &Overlap) -> String {
    format!(
        "{} of {} validation documents ({:.1} % of the tokens) are in the training text too: what is \
         measured on them is memory",
        thousands(shared.documents),
        thousands(shared.of_documents),
        100.0 * shared.share(),
    )
}

impl Progress for Console {
    fn update(&self, done_bytes: u64, total_bytes: Option<u64>, tokens: u64) {
        let done = done_bytes as f64 / 1e6;
        let of = total_bytes.map_or(String::new(), |n| format!(" of {:.0}", n as f64 / 1e6));
        self.tell("tokenising", &format!("{done:.0}{of} MB, {} tokens", thousands(tokens)));
    }

    fn fetching(&self, name: &str, done_bytes: u64, total_bytes: u64) {
        let (done, of) = (done_bytes as f64 / 1e6, total_bytes as f64 / 1e6);
        self.tell("fetching", &format!("{name}, {done:.1} of {of:.1} MB"));
    }

    fn waiting(&self, reason: &str, wait: Duration) {
        self.say(&format!("{reason}; trying again in {:.1} s", wait.as_secs_f64()));
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Observer for Console {
    fn begin(&self, total: usize, todo: usize) {
        if todo > 0 {
            let runs = counted(total, "run");
            self.say(&format!("{runs}, {} there already, {todo} to do", total - todo));
        }
    }

    fn declared(&self, lock: &Lock) {
        for warning in foregone::warnings(&report::foregone(lock)) {
            self.say(&format!("warning: {warning}"));
        }
    }

    fn little_room(&self, room: &Room) {
        self.say(&format!("warning: {}", room_words(room)));
    }

    fn preparing(&self, kind: SplitKind) {
        self.prepare(format!("tokens of the {} split:", kind.word()));
    }

    fn overlap(&self, shared: &Overlap) {
        if shared.documents > 0 {
            self.say(&format!("warning: {}", overlap_words(shared)));
        }
    }

    fn measuring(&self) {
        self.prepare("measuring how many runs to train side by side".into());
    }

    fn side_by_side(&self, jobs: usize, speeds: &[Speed]) {
        self.prepared();
        let Some(chosen) = speeds.iter().find(|speed| speed.jobs == jobs) else { return };
        let others = speeds.iter().filter(|speed| speed.jobs != jobs);
        let others = others.fold(String::new(), |told, speed| {
            told + &format!(", {:.1}k with {}", speed.tokens_per_s / 1e3, speed.jobs)
        });
        self.say(&format!(
            "{jobs} run{} at a time: {:.1}k tok/s{others} (--jobs N chooses)",
            if jobs == 1 { "" } else { "s" },
            chosen.tokens_per_s / 1e3,
        ));
    }

    fn run_begins<'a>(
        &'a self,
        run: &'a Run<'a>,
        number: usize,
        of: usize,
        inspection: &Inspection,
    ) -> Box<dyn RunObserver + 'a> {
        self.prepared();
        let line = RunLine {
            console: self,
            bar: self.bar(),
            title: format!("[{number}/{of}] {}", label(run)),
            tokens: 0,
            elapsed: Duration::ZERO,
            first_step: 0,
        };
        if !matches!(inspection.state, State::Todo) {
            self.say(&format!("{}: {}", line.title, inspection.reason));
        }
        Box::new(line)
    }

    fn run_locked(&self, run: &Run<'_>) {
        self.complain(&format!("{}: another process is at it, left alone", label(run)));
    }
}

/// Prints how one run goes.
struct RunLine<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    title: String,
    /// Tokens and seconds of the steps so far, for a speed that does not jump.
    tokens: u64,
    elapsed: Duration,
    first_step: u64,
}

impl RunObserver for RunLine<'_> {
    fn training(&mut self, from: u64, steps: u64) {
        self.first_step = from;
        if let Some(bar) = &self.bar {
            style(bar, "{prefix} [{bar:16}] {pos}/{len} {msg}", steps);
            bar.set_prefix(self.title.clone());
            bar.set_position(from);
        }
    }

    fn step(&mut self, step: &Step, steps: u64, tokens: u64, took: Duration) {
        self.tokens += tokens;
        self.elapsed += took;
        if self.bar.is_none() && !self.console.plain_due() {
            return;
        }
        let done = step.step + 1;
        let here = (done - self.first_step).max(1) as f64;
        let eta = self.elapsed.as_secs_f64() / here * (steps - done) as f64;
        let speed = self.tokens as f64 / self.elapsed.as_secs_f64().max(1e-9);
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
            None => self.console.say(&format!("{}: step {done}/{steps} {text}", self.title)),
        }
    }

    fn evaluating(&mut self, transform: Option<&str>, length: u64, chunk: usize, of: usize) {
        let under = transform.map_or(String::new(), |transform| format!("{transform}, "));
        let text = format!("evaluating {under}length {length}, chunk {} of {of}", chunk + 1);
        if let Some(bar) = &self.bar {
            if chunk == 0 {
                style(bar, "{prefix} [{bar:16}] {msg}", of as u64);
            }
            bar.set_prefix(self.title.clone());
            bar.set_position(chunk as u64);
            bar.set_message(text);
        } else if self.console.plain_due() {
            self.console.say(&format!("{}: {text}", self.title));
        }
    }

    fn ends(&mut self, ending: &Ending, record: Option<&Record>) {
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
                    duration(self.elapsed.as_secs_f64()),
                    metrics.join(", ")
                )
            }
            Ending::Diverged { step } => format!("diverged at step {step}"),
            Ending::Interrupted { step: 0 } => "stopped before its first step was done".into(),
            Ending::Interrupted { step } => format!("checkpointed at step {step}"),
            Ending::Failed(message) => format!("failed: {message}"),
            Ending::Locked => "another process is at it, left alone".into(),
        };
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let line = format!("{}: {text}", self.title);
        if matches!(ending, Ending::Done | Ending::Interrupted { .. }) {
            self.console.say(&line);
        } else {
            self.console.complain(&line);
        }
    }
}

/// `point/config seed 42`, and whether it is a repeat.
fn label(run: &Run<'_>) -> String {
    let point = run.point.resolved.name.as_ref().map_or(String::new(), |p| format!("{p}/"));
    format!("{point}{} seed {}{}", run.config.name, run.seed, repeat(run))
}

/// Says that a run is a repeat.
fn repeat(run: &Run<'_>) -> String {
    if run.attempt > 1 { format!(" (repeat {})", run.attempt) } else { String::new() }
}
