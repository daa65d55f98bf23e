//! Who carried a run out, where and when: all that may differ between two equal results.

use std::time::{Duration, SystemTime};

use crate::plan::{NUMERICS_VERSION, Protocol, flops_per_token};
use crate::results::{Attempt, Layout, Provenance, RunDir, all_records, store};

/// The commit of this build, where one was recorded.
pub const COMMIT: Option<&str> = option_env!("XP_COMMIT");

/// Now, UTC, ISO 8601.
#[must_use]
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Now, in seconds since 1970.
#[must_use]
pub fn unix_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// What an attempt is to carry out, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Threads that the run has at its beginning.
    pub threads: usize,
    /// Runs that may be at work side by side, this one among them.
    pub jobs: usize,
    /// Steps of the whole training.
    pub steps: u64,
    /// Tokens that a step reads.
    pub tokens_per_step: u64,
}

/// The provenance of one attempt, kept up to date on disk.
pub struct Log {
    dir: RunDir,
    provenance: Provenance,
}

impl Log {
    /// Begins an attempt at `from_step`; one that never ended was killed.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn begin(
        dir: &RunDir,
        device_class: &str,
        work: Work,
        from_step: u64,
        killed_at: u64,
    ) -> store::Result<Self> {
        let mut provenance = store::read_provenance(dir)?.unwrap_or_default();
        end_running(&mut provenance, killed_at);
        let machine = machine();
        provenance.schema = 1;
        provenance.machine.clone_from(&machine);
        provenance.device_class = device_class.into();
        provenance.versions = [
            ("xp".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("numerics".to_owned(), NUMERICS_VERSION.to_string()),
        ]
        .into_iter()
        .chain(COMMIT.map(|commit| ("commit".to_owned(), commit.to_owned())))
        .collect();
        provenance.git = git();
        provenance.threads = Some(work.threads);
        provenance.jobs = (work.jobs > 1).then_some(work.jobs);
        provenance.steps = Some(work.steps);
        provenance.tokens_per_step = Some(work.tokens_per_step);
        provenance.error = None;
        provenance.attempts.push(Attempt {
            from_step,
            to_step: from_step,
            host: machine,
            start: now(),
            end: None,
            outcome: "running".into(),
        });
        let log = Self { dir: dir.clone(), provenance };
        log.write()?;
        Ok(log)
    }

    /// Says where weights or results came from.
    pub fn source(&mut self, source: String) {
        self.provenance.source = Some(source);
    }

    /// Says how much of a device's own memory was in use at most.
    pub fn device_memory(&mut self, peak: Option<u64>) {
        self.provenance.device_peak_memory_bytes = peak;
    }

    /// Sets the error of a failed or diverged run.
    pub fn error(&mut self, error: String) {
        self.provenance.error = Some(error);
    }

    /// Sets the training speed from the durations of single steps.
    pub fn speed(&mut self, protocol: &Protocol, durations: &mut [Duration]) {
        durations.sort_unstable();
        if let Some(median) = durations.get(durations.len() / 2) {
            let speed = protocol.train.tokens(1) as f64 / median.as_secs_f64().max(1e-9);
            self.provenance.tokens_per_s = Some((speed * 10.0).round() / 10.0);
            self.provenance.flops_per_s = Some((speed * flops_per_token(protocol)).round());
        }
    }

    /// Ends the attempt.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(mut self, to_step: u64, outcome: &str) -> store::Result<()> {
        if let Some(attempt) = self.provenance.attempts.last_mut() {
            attempt.to_step = to_step;
            attempt.end = Some(now());
            attempt.outcome = outcome.into();
        }
        self.provenance.peak_memory_bytes = peak_memory();
        self.write()
    }

    fn write(&self) -> store::Result<()> {
        store::write_provenance(&self.dir, &self.provenance)
    }
}

/// Says of attempts that never ended that they were killed, when the log had `killed_at` steps.
/// Whether there were any.
pub(super) fn end_running(provenance: &mut Provenance, killed_at: u64) -> bool {
    let running = |attempt: &&mut Attempt| attempt.outcome == "running";
    let mut found = false;
    for attempt in provenance.attempts.iter_mut().filter(running) {
        attempt.outcome = "killed".into();
        attempt.to_step = attempt.to_step.max(killed_at);
        found = true;
    }
    found
}

/// The largest resident memory that this process has had, in bytes; `None` where the system does not
/// tell.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// The name of this host.
#[must_use]
pub fn machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "unknown".into())
}

/// The commit of the working directory, `+dirty` if it has changes; `None` outside a repository.
fn git() -> Option<String> {
    let run = |args: &[&str]| {
        // Without its lock on the repository, which belongs to whoever is at work there.
        let output = std::process::Command::new("git")
            .arg("--no-optional-locks")
            .args(args)
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = run(&["rev-parse", "HEAD"])?;
    let dirty = run(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if dirty.is_empty() { commit } else { format!("{commit}+dirty") })
}

/// How fast this machine trains, by what its runs recorded.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Protocol id, and floating-point operations a second of all runs that were at work side by side; the run that
    /// ended last comes first.
    runs: Vec<(String, f64)>,
}

impl Pace {
    /// So many of the newest runs count: a machine gets another device, and another load.
    const NEWEST: usize = 9;

    /// Reads what the results directory has of this machine.
    #[must_use]
    pub fn read(layout: &Layout) -> Self {
        let machine = machine();
        let of = |dir: &RunDir| {
            let provenance = store::read_provenance(dir).ok()??;
            let own = provenance.flops_per_s.filter(|_| provenance.machine == machine)?;
            let speed = own * provenance.jobs.unwrap_or(1) as f64;
            let end = provenance.attempts.into_iter().filter_map(|attempt| attempt.end).max()?;
            (speed.is_finite() && speed > 0.0).then_some((end, speed))
        };
        let mut runs: Vec<(String, String, f64)> = all_records(layout)
            .into_iter()
            .filter_map(|(dir, record)| {
                let (end, speed) = of(&dir)?;
                Some((end, record.protocol, speed))
            })
            .collect();
        runs.sort_by(|(a, ..), (b, ..)| b.cmp(a));
        Self { runs: runs.into_iter().map(|(_, protocol, speed)| (protocol, speed)).collect() }
    }

    /// Floating-point operations a second that a training under a protocol can expect: the median of the newest
    /// runs under it, or of the newest of all where there are none; `None` if the machine has trained nothing.
    #[must_use]
    pub fn flops_per_s(&self, protocol: &str) -> Option<f64> {
        let of = |wanted: &dyn Fn(&str) -> bool| {
            let runs = self.runs.iter().filter(|(protocol, _)| wanted(protocol));
            let mut speeds: Vec<f64> = runs.take(Self::NEWEST).map(|(_, speed)| *speed).collect();
            speeds.sort_by(f64::total_cmp);
            speeds.get(speeds.len() / 2).copied()
        };
        of(&|own| own == protocol).or_else(|| of(&|_| true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_of_a_protocol_say_how_fast_it_trains() {
        let run = |protocol: &str, speed| (protocol.to_owned(), speed);
        let mut runs = vec![run("a", 5.0), run("b", 1.0), run("b", 2.0), run("b", 3.0)];
        runs.extend((0..20).map(|_| run("old", 100.0)));
        let pace = Pace { runs };
        assert_eq!(pace.flops_per_s("a"), Some(5.0));
        assert_eq!(pace.flops_per_s("b"), Some(2.0));
        // Nine of all: 1, 2, 3, 5 and five times 100.
        assert_eq!(pace.flops_per_s("c"), Some(100.0));
        let newer = Pace { runs: pace.runs[..4].to_vec() };
        assert_eq!(newer.flops_per_s("c"), Some(3.0));
        assert_eq!(Pace::default().flops_per_s("a"), None);
    }
}
