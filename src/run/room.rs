//! Room on the disk: what a sweep is known to lack there is known before its first run.

use super::Error;
use crate::fs;
use crate::plan::{Run, disk_bytes};
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
    /// What runs of one experiment that are to be trained need, each with its folder; `None` where the system
    /// does not tell what is free, or there are no runs.
    #[must_use]
    pub fn of<'a>(
        trainings: impl Iterator<Item = (&'a Run<'a>, &'a RunDir)>,
        keep_weights: bool,
    ) -> Option<Self> {
        let mut room = Self::default();
        for (run, dir) in trainings {
            if room.runs == 0 {
                room.free = fs::free_space(dir.path())?;
            }
            let parameters = run.point.resolved.protocol.model.num_parameters();
            room.runs += 1;
            room.kept = room.kept.saturating_add(disk_bytes(parameters, keep_weights));
            room.checkpoints = room.checkpoints.max(checkpoint::most_bytes(parameters));
        }
        (room.runs > 0).then_some(room)
    }

    /// Whether all of it fits, if one run is trained at a time.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.kept.saturating_add(self.checkpoints) <= self.free
    }
}

/// Refuses a run whose weights cannot be written when it is trained.
///
/// # Errors
/// [`Error::Full`].
pub(super) fn fits(run: &Run<'_>, dir: &RunDir) -> Result<(), Error> {
    let needed = weights::bytes(run.point.resolved.protocol.model.num_parameters());
    match fs::free_space(dir.path()) {
        // One that is under way may have written them already.
        Some(free) if needed > free && !dir.checkpoint().exists() => {
            Err(Error::Full { run: dir.path().to_owned(), needed, free })
        }
        _ => Ok(()),
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
