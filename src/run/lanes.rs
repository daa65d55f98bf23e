//! The threads of the process, shared by the runs that are at work side by side.
//!
//! No number depends on how many threads a run has, so a run whose neighbour ends takes over its
//! threads at the next step.

use std::cell::RefCell;
use std::io;
use std::sync::{Mutex, OnceLock};

/// The threads of the process and who shares them.
pub struct Lanes {
    threads: usize,
    /// Numbers of the lanes that are open, in the order in which they were opened.
    open: Mutex<Vec<u64>>,
}

/// One run's share of the threads, until it is dropped.
pub struct Lane<'a> {
    lanes: &'a Lanes,
    number: u64,
    /// A pool of the share's size; none while the share is all threads.
    pool: RefCell<Option<rayon::ThreadPool>>,
}

/// What `work` gives on so many threads of its own at once.
///
/// # Errors
/// Threads that the system does not give: then nothing is begun.
pub fn side_by_side<R: Send>(count: usize, work: impl Fn() -> R + Sync) -> io::Result<Vec<R>> {
    let all_there = OnceLock::<bool>::new();
    let one = || all_there.wait().then(&work);
    std::thread::scope(|scope| {
        let threads = (0..count).map(|_| std::thread::Builder::new().spawn_scoped(scope, one));
        let threads: io::Result<Vec<_>> = threads.collect();
        all_there.get_or_init(|| threads.is_ok());
        let ends = threads?.into_iter().map(|thread| thread.join().expect("no panic"));
        // All of them are waited for, also after an error.
        Ok(ends.map(|end| end.expect("all are there")).collect())
    })
}

impl Lanes {
    /// `threads` threads to share, which the global pool has.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), open: Mutex::default() }
    }

    /// How many there are to share.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Opens a lane.
    #[must_use]
    pub fn lane(&self) -> Lane<'_> {
        let mut open = self.open.lock().expect("no code panics while it holds the lanes");
        let number = open.last().map_or(0, |last| last + 1);
        open.push(number);
        Lane { lanes: self, number, pool: RefCell::default() }
    }
}

impl Lane<'_> {
    /// The threads that this lane has now, at least one: what is left over of an even split goes
    /// to the lanes opened first.
    pub fn threads(&self) -> usize {
        let open = self.lanes.open.lock().expect("no code panics while it holds the lanes");
        let place = open.iter().position(|&number| number == self.number).unwrap_or(0);
        let (each, rest) = (self.lanes.threads / open.len(), self.lanes.threads % open.len());
        (each + usize::from(place < rest)).max(1)
    }

    /// Carries out `work` on the threads that the lane has now.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let share = self.threads();
        let mut pool = self.pool.borrow_mut();
        if share == self.lanes.threads {
            *pool = None;
        } else if pool.as_ref().is_none_or(|pool| pool.current_num_threads() != share) {
            // Where the system gives no more threads, the global pool has the same results.
            *pool = rayon::ThreadPoolBuilder::new().num_threads(share).build().ok();
        }
        match pool.as_ref() {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let mut open = self.lanes.open.lock().expect("no code panics while it holds the lanes");
        open.retain(|&number| number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_shared_evenly_and_taken_over() {
        let lanes = Lanes::new(5);
        let first = lanes.lane();
        assert_eq!(first.threads(), 5);
        let second = lanes.lane();
        assert_eq!((first.threads(), second.threads()), (3, 2));
        assert_eq!(second.run(rayon::current_num_threads), 2);
        drop(first);
        assert_eq!(second.threads(), 5);
        let many: Vec<Lane<'_>> = (0..6).map(|_| lanes.lane()).collect();
        assert!(many.iter().all(|lane| lane.threads() == 1));
        assert_eq!(second.threads(), 1);
    }
}
