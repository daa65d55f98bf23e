//! `xp schema`.

use super::common::answer;
use super::exit::Exit;

/// Print the JSON schema of a spec, for editors.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A spec whose first line is `#:schema PATH` (relative to the spec) is completed
and checked by editors that read TOML schemas. `xp init` writes both.")]
pub struct Args {}

/// Carries out `xp schema`.
///
/// # Errors
/// A stdout that cannot be written.
pub fn run(_args: &Args) -> Result<(), Exit> {
    answer(&text())
}

/// The schema as it is printed and committed.
pub fn text() -> String {
    let schema = crate::spec::schema::schema();
    format!("{}\n", serde_json::to_string_pretty(&schema).expect("JSON is JSON"))
}
