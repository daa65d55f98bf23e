//! `xp schema`.

use super::common::answer_json;
use super::exit::Exit;

/// Print the JSON schema of a spec.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Carries out `xp schema`.
///
/// # Errors
/// A stdout that cannot be written.
pub fn run(_args: &Args) -> Result<(), Exit> {
    answer_json(&crate::spec::schema::schema())
}
