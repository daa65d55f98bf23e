//! Room on the disk: what a sweep is known to lack there is known before its first run.

use super::Error;
use super::observer::Observer;
use crate::fs;
use crate::plan::{Run, estimate};
use crate::results::RunDir;
use crate::train::{checkpoint, weights};

/// What runs that are to be trained put on the disk where results lie, and what is left there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free.
    pub free: u64,
    /// Runs that are to be trained.
    pub runs: usize,
    /// Bytes that they keep, together, as estimated.
    pub kept: u64,
    /// Bytes of the checkpoints of one of them while it trains, at most.
    pub checkpoints: u64,
}

impl Room {
    /// Whether all of it fits, if one run is trained at a time.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.kept.saturating_add(self.checkpoints) <= self.free
    }
}

/// Refuses runs whose weights cannot be written when they are trained, and tells of a disk that may become
/// full. Says nothing where the system does not tell what is free.
///
/// `trainings` are the runs that are to be trained, of one experiment.
///
/// # Errors
/// [`Error::Full`].
pub(super) fn check<'a>(
    trainings: impl Iterator<Item = (&'a Run<'a>, &'a RunDir)>,
    keep_weights: bool,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let mut room = Room::default();
    for (run, dir) in trainings {
        let Some(free) = fits(run, dir)? else { return Ok(()) };
        let cost = estimate(&run.point.resolved, None, keep_weights);
        room.free = free;
        room.runs += 1;
        room.kept = room.kept.saturating_add(cost.disk_bytes);
        room.checkpoints = room.checkpoints.max(checkpoint::most_bytes(cost.parameters));
    }
    if room.runs > 0 && !room.suffices() {
        observer.little_room(&room);
    }
    Ok(())
}

/// Bytes that are free where a run is to be trained, if the system tells.
///
/// # Errors
/// [`Error::Full`] if its weights are more.
pub(super) fn fits(run: &Run<'_>, dir: &RunDir) -> Result<Option<u64>, Error> {
    let free = fs::free_space(dir.path());
    let needed = weights::bytes(run.point.resolved.protocol.model.num_parameters());
    match free {
        // One that is under way may have written them already.
        Some(free) if needed > free && !dir.checkpoint().exists() => {
            Err(Error::Full { run: dir.path().to_owned(), needed, free })
        }
        free => Ok(free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_the_checkpoints_of_one_run_must_fit() {
        let room = Room { free: 100, runs: 3, kept: 60, checkpoints: 40 };
        assert!(room.suffices());
        assert!(!Room { free: 99, ..room }.suffices());
        assert!(!Room { kept: u64::MAX, ..room }.suffices());
    }
}
