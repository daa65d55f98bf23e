//! An observer around another, which stops a training after so many steps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::data::{Overlap, Progress, SplitKind};
use crate::plan::Run;
use crate::results::{Record, Step};
use crate::run::state::Inspection;
use crate::run::{Ending, Observer, RunObserver, Speed};

/// Passes on what happens, and stops after so many steps.
pub(super) struct Watch<'a> {
    pub inner: &'a dyn Observer,
    /// Set after the last step that is wanted.
    pub stop: &'a AtomicBool,
    /// Steps that are wanted yet.
    pub left: AtomicU64,
    /// Whether the training was stopped for that.
    pub reached: AtomicBool,
}

impl Progress for Watch<'_> {
    fn update(&self, done_bytes: u64, total_bytes: Option<u64>, tokens: u64) {
        self.inner.update(done_bytes, total_bytes, tokens);
    }

    fn fetching(&self, name: &str, done_bytes: u64, total_bytes: u64) {
        self.inner.fetching(name, done_bytes, total_bytes);
    }

    fn waiting(&self, reason: &str, wait: Duration) {
        self.inner.waiting(reason, wait);
    }

    fn stopped(&self) -> bool {
        self.inner.stopped()
    }
}

impl Observer for Watch<'_> {
    fn begin(&self, total: usize, todo: usize) {
        self.inner.begin(total, todo);
    }

    fn preparing(&self, kind: SplitKind) {
        self.inner.preparing(kind);
    }

    fn overlap(&self, shared: &Overlap) {
        self.inner.overlap(shared);
    }

    fn measuring(&self) {
        self.inner.measuring();
    }

    fn side_by_side(&self, jobs: usize, speeds: &[Speed]) {
        self.inner.side_by_side(jobs, speeds);
    }

    fn run_begins<'a>(
        &'a self,
        run: &'a Run<'a>,
        number: usize,
        of: usize,
        inspection: &Inspection,
    ) -> Box<dyn RunObserver + 'a> {
        Box::new(Watched { watch: self, inner: self.inner.run_begins(run, number, of, inspection) })
    }

    fn run_locked(&self, run: &Run<'_>) {
        self.inner.run_locked(run);
    }
}

struct Watched<'a> {
    watch: &'a Watch<'a>,
    inner: Box<dyn RunObserver + 'a>,
}

impl RunObserver for Watched<'_> {
    fn training(&mut self, from: u64, steps: u64) {
        self.inner.training(from, steps);
    }

    fn step(&mut self, step: &Step, steps: u64, tokens: u64, took: Duration) {
        self.inner.step(step, steps, tokens, took);
        // The last step of all needs no stop: the run is whole then.
        if self.watch.left.fetch_sub(1, Ordering::Relaxed) == 1 && step.step + 1 < steps {
            self.watch.reached.store(true, Ordering::Relaxed);
            self.watch.stop.store(true, Ordering::Relaxed);
        }
    }

    fn evaluating(&mut self, transform: Option<&str>, length: u64, chunk: usize, of: usize) {
        self.inner.evaluating(transform, length, chunk, of);
    }

    fn ends(&mut self, ending: &Ending, record: Option<&Record>) {
        // Its checkpoint is thrown away: there is nothing to tell of it.
        if !matches!(ending, Ending::Interrupted { .. }) {
            self.inner.ends(ending, record);
        }
    }
}
