//! How many runs to train side by side: measured on the first of them, before it begins.
//!
//! A small model cannot keep many threads busy, several small models can. Training steps are
//! timed and thrown away; the runs themselves then begin anew.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::executor::{Error, Executor, Job, Start, TrainSession, no_threads};
use super::lanes::side_by_side;
use super::memory::available_memory;

/// What measuring may cost of the work that is to be done.
const BUDGET: f64 = 0.04;
/// Longest timing of one choice, and its part of the budget.
const TIMED: (Duration, f64) = (Duration::from_millis(250), 0.1);
/// Gain in speed below which fewer runs at a time, with less memory, are the better choice.
const WORTH: f64 = 1.03;
/// Part of the memory at hand that runs side by side may take.
const MEMORY: f64 = 0.8;

/// How many runs are carried out side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// So many.
    Given(usize),
    /// As many as train the most tokens a second.
    Measured,
}

/// Training speed with some number of runs side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Runs side by side.
    pub jobs: usize,
    /// Tokens a second of all of them.
    pub tokens_per_s: f64,
}

/// What there is to measure with.
pub struct Trial<'a> {
    /// The device.
    pub executor: &'a dyn Executor,
    /// The first run to train.
    pub job: Job<'a>,
    /// Its first batch.
    pub batch: &'a [u32],
    /// Runs that are to be trained.
    pub runs: usize,
    /// Threads to share.
    pub threads: usize,
    /// Bytes that one run needs.
    pub memory: u64,
}

impl Trial<'_> {
    /// Steps of all runs.
    fn steps(&self) -> f64 {
        self.job.steps as f64 * self.runs as f64
    }
}

/// Times one run at a time, then two, four, and so on, as long as it gets faster, fits into memory
/// and costs little of the work itself. The last one is the choice among all that were timed
/// ([`best`]); empty if nothing was worth timing.
///
/// # Errors
/// A device that fails; [`Error::Stopped`].
pub fn measure(trial: &Trial<'_>) -> Result<Vec<Speed>, Error> {
    let most = trial.runs.min(trial.threads);
    let steps = trial.steps();
    // One choice takes two steps of every run: one that allocates, and one that is timed.
    if most < 2 || 2.0 > BUDGET * steps {
        return Ok(Vec::new());
    }
    let fits = available_memory()
        .map_or(usize::MAX, |bytes| (bytes as f64 * MEMORY / trial.memory.max(1) as f64) as usize);
    let weights = trial.executor.initial(&trial.job)?;
    let began = Instant::now();
    let mut speeds: Vec<Speed> = Vec::new();
    let mut jobs = 1;
    while jobs <= most.min(fits.max(1)) {
        let tokens_per_s = speed(trial, &weights, jobs)?;
        let faster = speeds.last().is_none_or(|last| tokens_per_s > last.tokens_per_s);
        speeds.push(Speed { jobs, tokens_per_s });
        let step = trial.batch.len() as f64 / speeds[0].tokens_per_s;
        let next = if jobs < most { (2 * jobs).min(most) } else { most + 1 };
        let cost = began.elapsed().as_secs_f64() + 2.0 * next as f64 * step;
        if !faster || cost > BUDGET * steps * step {
            break;
        }
        jobs = next;
    }
    Ok(speeds)
}

/// The fewest runs side by side whose speed is within three percent of the best; one if nothing
/// was timed.
#[must_use]
pub fn best(speeds: &[Speed]) -> usize {
    let top = speeds.iter().map(|speed| speed.tokens_per_s).fold(0.0, f64::max);
    speeds.iter().find(|speed| speed.tokens_per_s * WORTH >= top).map_or(1, |speed| speed.jobs)
}

/// Tokens a second of `jobs` trainings at once.
fn speed(trial: &Trial<'_>, weights: &[f32], jobs: usize) -> Result<f64, Error> {
    let begin = Barrier::new(jobs);
    let one = || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(trial.threads / jobs);
        let pool = pool.build().map_err(no_threads);
        let session = trial.executor.train(&trial.job, Start::Fresh(weights.to_vec()));
        let ready = pool.and_then(|pool| {
            let mut session = session?;
            let began = Instant::now();
            pool.install(|| session.step(trial.batch))?;
            // What a step takes here is near enough to what it takes with one run at a time.
            let work = began.elapsed().mul_f64(trial.steps() / jobs as f64);
            Ok((pool, session, work.mul_f64(BUDGET * TIMED.1).min(TIMED.0)))
        });
        // Also after a failure: the others wait here.
        begin.wait();
        let (pool, mut session, timed): (_, Box<dyn TrainSession>, _) = ready?;
        let (began, mut steps) = (Instant::now(), 0u32);
        while steps == 0 || began.elapsed() < timed {
            pool.install(|| session.step(trial.batch))?;
            steps += 1;
        }
        Ok(f64::from(steps) * trial.batch.len() as f64 / began.elapsed().as_secs_f64())
    };
    side_by_side(jobs, one).map_err(no_threads)?.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_runs_are_preferred_unless_more_are_faster() {
        let speeds = |list: &[(usize, f64)]| -> Vec<Speed> {
            list.iter().map(|&(jobs, tokens_per_s)| Speed { jobs, tokens_per_s }).collect()
        };
        assert_eq!(best(&[]), 1);
        assert_eq!(best(&speeds(&[(1, 100.0)])), 1);
        assert_eq!(best(&speeds(&[(1, 100.0), (2, 102.0)])), 1);
        assert_eq!(best(&speeds(&[(1, 100.0), (2, 140.0), (4, 138.0)])), 2);
        assert_eq!(best(&speeds(&[(1, 100.0), (2, 140.0), (4, 160.0)])), 4);
    }
}
