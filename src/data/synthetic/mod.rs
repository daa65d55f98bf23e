//! `synthetic:stories`: a corpus that `xp` writes itself, so that everything runs offline.
//!
//! Stories at a child's level, 100 to some 6,000 words long, log-uniform: many short ones, and
//! enough long ones that a model trained on a short context can be seen to extrapolate, or not.
//! A story is a cast, a village, a sequence of days, and *threads*: facts told once and needed
//! again hundreds or thousands of words later (where the key was hidden, the way to the cave,
//! who made the scarf, how many marbles were in the jar). At most places the next word follows
//! from the last few; where a thread returns, it follows only from the place where it was told.
//!
//! Story `i` of a split is a pure function of (split, i, [`VERSION`]), so stories are made in
//! parallel, in any amount, the same everywhere. Train and validation are disjoint streams.
//!
//! | file | what |
//! | --- | --- |
//! | `words` | word lists |
//! | `threads` | facts that return |
//! | `scenes` | openings, scenes, travel, closings |
//! | `template` | the notation of those tables |
//! | `story` | how a story is put together |

mod characters;
mod scenes;
mod story;
mod template;
mod threads;
mod words;

use super::error::Error;

/// Version of the generator; enters identities. To be raised when any story changes.
pub const VERSION: u32 = 1;

/// The splits that the generator has.
const SPLITS: [&str; 2] = ["train", "validation"];

/// Story `index` of a split.
pub fn story(split: &str, index: u64) -> String {
    story::write(split, index).text
}

/// Checks that the generator has a split.
///
/// # Errors
/// If it has not.
pub fn check_split(split: &str) -> Result<(), Error> {
    if SPLITS.contains(&split) {
        return Ok(());
    }
    Err(Error::Config {
        what: format!("`synthetic:stories` has no split `{split}`"),
        remedy: "take \"train\" or \"validation\"".to_owned(),
    })
}
