//! Watching data being fetched and made into tokens.

use std::time::Duration;

/// Watches data being fetched and made into tokens. Called from one thread at a time.
pub trait Progress: Sync {
    /// Text read and tokens made so far; `total_bytes` is `None` where it is not known.
    fn update(&self, done_bytes: u64, total_bytes: Option<u64>, tokens: u64);
    /// So much of a file has come from the hub.
    fn fetching(&self, _name: &str, _done_bytes: u64, _total_bytes: u64) {}
    /// The hub failed, and is asked again after a while.
    fn waiting(&self, _reason: &str, _wait: Duration) {}
    /// Whether to stop. What was fetched so far is kept.
    fn stopped(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn update(&self, _: u64, _: Option<u64>, _: u64) {}
}
