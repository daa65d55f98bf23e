//! Statistics on plain numbers: summaries, the paired t test, Holm's correction.
//!
//! A leaf: it knows no records, specs or verdicts. What each method assumes stands beside it.
//! Nothing here is random, so the same numbers always give the same answer.

mod holm;
mod paired;
mod summary;

pub use holm::holm;
pub use paired::{PairedT, paired_t};
pub use summary::{Summary, mean, std, summarize};
