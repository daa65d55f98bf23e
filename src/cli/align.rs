//! `xp align`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::common::{Global, ResultsArgs, SpecArgs, answer, answer_json, planned_spec};
use super::exit::Exit;
use super::report::{of_folder, of_plan};
use crate::report::{Input, Side, align};
use crate::results::{Details, Layout};

/// Are two machines' or two codes' results the same experiment, within measured re-run noise?
///
/// Frequencies, tokens, initial weights and the first batch's loss must be equal; perplexities may differ
/// by what re-runs of one seed differ by: measured on further attempts (of A, of B, of --noise), or
/// given. Words: EQUAL, ALIGNED, UNKNOWN, DIFFERENT, DRIFT. Exits 0 whatever the word.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  xp align results/a /mnt/other/results/a    two machines' results of one spec")]
pub struct Args {
    /// A spec, or a folder results/<experiment>.
    #[arg(value_name = "SPEC|DIR", value_hint = clap::ValueHint::AnyPath)]
    a: PathBuf,
    /// Another; configs and seeds are paired by name.
    #[arg(value_name = "SPEC|DIR", value_hint = clap::ValueHint::AnyPath)]
    b: PathBuf,
    /// More results with several attempts of a seed, to learn re-run noise from.
    #[arg(long, value_name = "SPEC|DIR")]
    noise: Vec<PathBuf>,
    /// Re-run std of log-perplexity by length: 2048=0.5%,16384=5.8%.
    #[arg(long, value_name = "LENGTH=STD,...", value_delimiter = ',', value_parser = length_and_std)]
    rerun_std: Vec<(u64, f64)>,
    #[command(flatten)]
    results: ResultsArgs,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

fn length_and_std(text: &str) -> Result<(u64, f64), String> {
    let wrong = || format!("`{text}` is not LENGTH=STD like `16384=5.8%` or `16384=0.058`");
    let (length, std) = text.split_once('=').ok_or_else(wrong)?;
    let (std, per) = std.strip_suffix('%').map_or((std, 1.0), |std| (std, 100.0));
    let std = std.trim().parse::<f64>().map_err(|_| wrong())? / per;
    let length = length.trim().parse().map_err(|_| wrong())?;
    if std > 0.0 && std.is_finite() { Ok((length, std)) } else { Err(wrong()) }
}

/// Carries out `xp align`.
///
/// # Errors
/// An invalid spec, results that cannot be read.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let spec_args = SpecArgs::default();
    let read = |path: &Path| -> Result<(Layout, Input), Exit> {
        if path.is_dir() {
            return of_folder(path);
        }
        let layout = args.results.layout();
        let plan = planned_spec(path, &spec_args, global)?;
        let input = of_plan(&plan, &layout)?;
        Ok((layout, input))
    };
    let details = |(layout, input): &(Layout, Input)| -> BTreeMap<String, Details> {
        let experiment = &input.declared.experiment;
        let entries = input.listing.entries.iter();
        entries.map(|e| (e.path.clone(), Details::read(layout, experiment, e))).collect()
    };
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    let noise = args.noise.iter().map(|path| read(path)).collect::<Result<Vec<_>, Exit>>()?;
    for (input, path) in [(&a.1, &args.a), (&b.1, &args.b)] {
        for problem in &input.listing.problems {
            global.say(format_args!(
                "not used: {}: {}: {}",
                path.display(),
                problem.path,
                problem.reason
            ));
        }
    }
    let (of_a, of_b) = (details(&a), details(&b));
    let noise: Vec<&Input> = noise.iter().map(|(_, input)| input).collect();
    let given = args.rerun_std.iter().copied().collect();
    let sides = [Side { input: &a.1, details: &of_a }, Side { input: &b.1, details: &of_b }];
    let found = align(&sides[0], &sides[1], &noise, &given);
    if args.json {
        return answer_json(&serde_json::to_value(&found).expect("string keys only"));
    }
    answer(&found.text())
}
