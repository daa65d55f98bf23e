//! Statistics on plain numbers: summaries, tests with intervals, exact tests, effects, corrections.
//!
//! A leaf: it knows no records, specs or verdicts. What each method assumes stands beside it.
//! The same numbers always give the same answer: what is drawn at random is seeded with them.

mod bootstrap;
mod components;
mod effect;
mod exact;
mod holm;
mod paired;
mod power;
mod random;
mod rerun;
mod selection;
mod summary;
#[cfg(test)]
mod tests;
mod welch;

pub use bootstrap::{FEWEST as FEWEST_FOR_BOOTSTRAP, Interval, bca, bca_of};
pub use components::{Components, components};
pub use effect::{Without, dz, leave_one_out};
pub use exact::{MOST_FLIPPED, MOST_RANKED, sign_flip, sign_test, smallest_p, wilcoxon};
pub use holm::holm;
pub use paired::{PairedT, paired_t};
pub use power::{ClaimRule, Rates, Setting, claim_rates, correlation, detectable, seeds_needed};
pub use rerun::{RerunTest, rerun_test};
pub use selection::{expected_best, kept_share};
pub use summary::{Summary, mean, std, summarize};
pub use welch::{WelchT, welch_t};
