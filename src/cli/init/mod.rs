//! `xp init`: a commented spec to start from.

use std::path::{Path, PathBuf};

use super::common::answer;
use super::exit::{self, Exit};
use crate::fs;
use crate::spec::names;

/// The spec as it is written, but for its name and the place of its schema.
const TEMPLATE: &str = include_str!("template.toml");
/// The line of the template with the experiment's name, up to its comment.
const NAME: &str = "name = \"experiment\"              ";
/// The schema beside a spec.
const SCHEMA_FILE: &str = "experiment.schema.json";
/// Where a checkout of xp has the schema.
const SCHEMA_OF_CHECKOUT: &str = "schema/experiment.schema.json";

/// Write a commented spec to start from.
///
/// It runs as it stands, on a CPU in about a minute and without a network. Beside it goes its JSON
/// schema, by which editors complete and check it; in a checkout of xp it names the one in schema/.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp init                   experiment.toml in this folder
  xp init specs/theta.toml  an experiment called `theta`")]
pub struct Args {
    /// The file to write; the experiment is called after it.
    #[arg(default_value = "experiment.toml", value_hint = clap::ValueHint::FilePath)]
    path: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

/// Carries out `xp init`.
///
/// # Errors
/// A file that is there already, a name that no experiment can have, a folder that cannot be written.
pub fn run(args: &Args) -> Result<(), Exit> {
    let path = match args.path.is_dir() {
        true => args.path.join("experiment.toml"),
        false => args.path.with_extension("toml"),
    };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if let Some(why) = names::unsafe_because(name) {
        let message = format!("an experiment cannot be called `{name}`: {why}");
        return Err(Exit::new(exit::USAGE, message));
    }
    if path.exists() && !args.force {
        let path = path.display();
        let message = format!("`{path}` is there already; name another file, or pass --force");
        return Err(Exit::new(exit::USAGE, message));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let text = super::schema::text();
    let (schema, beside) = match of_checkout(folder, &text) {
        Some(relative) => (relative, None),
        None => (format!("./{SCHEMA_FILE}"), Some(folder.join(SCHEMA_FILE))),
    };
    // One that this program wrote may be replaced; it says so itself.
    if let Some(beside) = beside.as_ref().filter(|path| path.exists() && !args.force)
        && !fs::read_to_string(beside)?.contains("Written by `xp schema`")
    {
        let message = format!("`{}` is there and is no schema of xp", beside.display());
        return Err(Exit::new(exit::USAGE, message));
    }
    fs::write_atomic(&path, spec(name, &schema).as_bytes())?;
    let mut out = format!("wrote {}", path.display());
    if let Some(beside) = beside {
        fs::write_atomic(&beside, text.as_bytes())?;
        out.push_str(&format!(" and {}, its schema for editors", beside.display()));
    }
    let path = path.display();
    out.push_str(&format!(
        "\n\nnext:\n  xp check {path}    is it right?\n  xp run {path}      train, evaluate, judge: \
         about a minute\n  xp show {path}     how far it is, from another terminal\n"
    ));
    answer(&out)
}

/// The template with a name and the place of its schema.
fn spec(name: &str, schema: &str) -> String {
    TEMPLATE
        .replacen(&format!("./{SCHEMA_FILE}"), schema, 1)
        // As wide as before where that can be, for the comment behind it.
        .replacen(
            NAME,
            &format!("{:<width$}", format!("name = \"{name}\" "), width = NAME.len()),
            1,
        )
        .replacen("results/experiment", &format!("results/{name}"), 1)
}

/// The schema of the checkout that a folder lies in, relative to the folder, if it is this
/// program's.
fn of_checkout(folder: &Path, text: &str) -> Option<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let absolute = folder.canonicalize().ok()?;
    let depth = absolute.ancestors().take(5).position(|above| {
        std::fs::read_to_string(above.join(SCHEMA_OF_CHECKOUT)).is_ok_and(|found| found == text)
    })?;
    Some(if depth == 0 {
        format!("./{SCHEMA_OF_CHECKOUT}")
    } else {
        format!("{}{SCHEMA_OF_CHECKOUT}", "../".repeat(depth))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_schema_are_put_where_they_belong() {
        let text = spec("theta", "../schema/experiment.schema.json");
        assert!(text.starts_with("#:schema ../schema/experiment.schema.json\n"));
        assert!(
            text.contains("\nname = \"theta\"                   # results go to results/theta\n"),
            "{text}"
        );
        assert_eq!(text.matches("experiment.schema.json").count(), 1);
    }
}
