//! `xp show --watch`: the same answer again and again on a terminal, elsewhere a line for what
//! changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::common::{Global, print};
use super::super::exit::{self, Exit};
use super::super::screen::Screen;
use super::{Subject, experiment, run};
use crate::run::status::{Phase, Standing};

/// Where there is no terminal, progress of a run is told no more often than this.
const PLAIN_EVERY: Duration = Duration::from_secs(30);
/// Fewest runs in a table.
const FEWEST: usize = 3;

/// Watches until nothing is left to wait for, or Ctrl-C.
///
/// # Errors
/// Files that cannot be read, an output that cannot be written.
pub fn watch(subject: &Subject, every: Duration, global: &Global) -> Result<(), Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|e| Exit::new(exit::ENVIRONMENT, e))?;
    }
    let mut lines = Lines::default();
    let mut one = match subject {
        Subject::Run(dir) => Some(run::Seen::new(dir)),
        Subject::Experiment { .. } => None,
    };
    loop {
        // Anew each time: a window may have another size.
        let screen = Screen::of_stdout(global);
        let (frame, done) = match (subject, &mut one) {
            (Subject::Experiment { layout, declared, source }, _) => {
                let seen = experiment::look(layout, declared, source.as_deref());
                let frame = if screen.terminal {
                    fitting(&seen, &screen)
                } else {
                    lines.of(&seen.runs.iter().collect::<Vec<_>>(), Some(&seen.counted()))
                };
                (frame, seen.is_final())
            }
            (Subject::Run(_), Some(seen)) => {
                seen.look()?;
                let frame = if screen.terminal {
                    run::text(seen, &screen)
                } else {
                    lines.of(&[&seen.standing], None)
                };
                (frame, seen.standing.phase.is_final())
            }
            (Subject::Run(_), None) => unreachable!("a run is looked at through its curve"),
        };
        if screen.terminal {
            redraw(&frame)?;
        } else {
            print(&frame)?;
        }
        let until = Instant::now() + every;
        while !done && !stop.load(Ordering::Relaxed) && Instant::now() < until {
            std::thread::sleep(every.min(Duration::from_millis(50)));
        }
        if done || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// The table of as many runs as the terminal has room for.
fn fitting(seen: &experiment::Seen, screen: &Screen) -> String {
    let mut rows = seen.runs.len().min(screen.height);
    loop {
        let frame = experiment::text(seen, screen, Some(rows));
        if frame.lines().count() < screen.height || rows <= FEWEST {
            return frame;
        }
        rows -= 1;
    }
}

/// Writes a frame over the last one: from the upper left corner, each line to its end, and
/// whatever is left below. Nothing is cleared before, so nothing flickers.
fn redraw(frame: &str) -> Result<(), Exit> {
    let mut out = String::from("\x1b[H");
    for line in frame.lines() {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    }
    out.push_str("\x1b[J");
    Ok(print(&out)?)
}

/// What was told of the runs already.
#[derive(Default)]
struct Lines {
    told: BTreeMap<std::path::PathBuf, (Phase, u64, Instant)>,
}

impl Lines {
    /// A line for every run whose phase has changed, or which has gone on and was not told of for
    /// a while; then the counts, if there was any.
    fn of(&mut self, runs: &[&Standing], counted: Option<&str>) -> String {
        let mut out = String::new();
        let first = self.told.is_empty();
        let mut changed = first;
        for run in runs {
            let path = run.dir.path().to_owned();
            let told = self.told.get(&path);
            let new_phase = told.is_none_or(|(phase, ..)| *phase != run.phase);
            let due = told
                .is_some_and(|(_, step, when)| run.step != *step && when.elapsed() >= PLAIN_EVERY);
            if !(new_phase || due) {
                continue;
            }
            changed |= new_phase;
            self.told.insert(path, (run.phase, run.step, Instant::now()));
            // At first only what is not as a newcomer finds it.
            if !first || !matches!(run.phase, Phase::Todo | Phase::Done | Phase::Imported) {
                out.push_str(&line(run));
            }
        }
        if let Some(counted) = counted.filter(|_| changed) {
            out.push_str(&format!("{counted}\n"));
        } else if first && out.is_empty() {
            runs.iter().for_each(|run| out.push_str(&line(run)));
        }
        out
    }
}

fn line(run: &Standing) -> String {
    let name = match &run.name {
        Some(name) => format!("{} seed {}", name.config(), name.seed),
        None => run.dir.path().display().to_string(),
    };
    let step = match run.steps {
        Some(steps) if run.step > 0 => format!(" step {}/{steps}", run.step),
        _ => String::new(),
    };
    let loss = run.last.as_ref().and_then(|step| step.loss);
    let loss = loss.map_or(String::new(), |loss| format!(" loss {loss:.4}"));
    let speed = run.tokens_per_s.filter(|_| run.phase == Phase::Running);
    let speed = speed.map_or(String::new(), |s| format!(" {} tok/s", experiment::speed(s)));
    let words = match run.phase {
        Phase::Failed | Phase::Diverged | Phase::Conflict | Phase::Evaluate => {
            format!(": {}", run.words)
        }
        _ => String::new(),
    };
    format!("{name}: {}{step}{loss}{speed}{words}\n", run.phase.word())
}
