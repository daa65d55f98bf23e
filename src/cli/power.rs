//! `xp power`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::common::{Global, ResultsArgs, SpecArgs, answer, answer_json, planned_spec};
use super::exit::{self, Exit};
use super::report::{of_folder, of_plan};
use crate::report::power::{
    MOST_SEEDS, Measured, Premises, Prospect, log_gap, measured, needed, prospects,
};
use crate::report::{self, Input};
use crate::results::{Rule, WinRule};

/// Numbers of seeds that are shown unless --seeds says otherwise.
const SEEDS: [usize; 8] = [2, 3, 4, 5, 8, 10, 15, 20];

/// How many seeds an effect needs, and what n seeds can detect.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  xp power                              what n seeds detect by the default rule
  xp power results/quickstart --gap 2   seeds for a gap of 2 %, by its spread")]
pub struct Args {
    /// A spec, or the folder of an experiment in a results directory: its rule, and std and
    /// correlation from the results that are there. Without it the default rule.
    #[arg(value_name = "SPEC|DIR", value_hint = clap::ValueHint::AnyPath)]
    source: Option<PathBuf>,
    #[command(flatten)]
    spec_args: SpecArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// Std of log-perplexity over seeds: 0.05 is about 5 % of the perplexity.
    #[arg(long, value_name = "STD", value_parser = positive)]
    std: Option<f64>,
    /// Correlation between configs under one seed, from 0 to 1.
    #[arg(long, value_name = "R", value_parser = share)]
    correlation: Option<f64>,
    /// The gap to find, in standard deviations over seeds.
    #[arg(long, value_name = "STDS", value_parser = positive)]
    effect: Option<f64>,
    /// The gap to find, in percent of the baseline's perplexity; needs a std.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "effect")]
    gap: Option<f64>,
    /// The rule: auto, seeds or ci.
    #[arg(long, value_name = "RULE", value_parser = rule)]
    rule: Option<Rule>,
    /// Configs that are compared with a baseline.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    comparisons: Option<u16>,
    /// Numbers of seeds to show.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(2..=100))]
    seeds: Option<Vec<u16>>,
    /// How often a gap is to be found: 0.8 is in 80 % of experiments.
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, value_parser = part)]
    power: f64,
    /// One JSON object: {"premises", "seeds", "needed"}.
    #[arg(long)]
    json: bool,
}

fn number(text: &str, fits: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| fits(*value)).ok_or_else(|| format!("it is {what}"))
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, |value| value.is_finite() && value > 0.0, "a number above 0")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |value| (0.0..=1.0).contains(&value), "a number from 0 to 1")
}

fn part(text: &str) -> Result<f64, String> {
    number(text, |value| value > 0.0 && value < 1.0, "a number between 0 and 1")
}

fn percent(text: &str) -> Result<f64, String> {
    number(text, |value| value > 0.0 && value < 100.0, "a number of percent between 0 and 100")
}

fn rule(name: &str) -> Result<Rule, String> {
    let rules = [Rule::Auto, Rule::Seeds, Rule::Ci];
    rules
        .into_iter()
        .find(|rule| rule.name() == name)
        .ok_or_else(|| "it is auto, seeds or ci".into())
}

/// Carries out `xp power`.
///
/// # Errors
/// An invalid spec, results that cannot be read, a gap in percent without a std.
pub fn run(args: &Args, global: &Global) -> Result<(), Exit> {
    let premises = premises(args, global)?;
    let ns: Vec<usize> = match &args.seeds {
        Some(seeds) => seeds.iter().map(|&n| usize::from(n)).collect(),
        None => SEEDS.to_vec(),
    };
    let (rows, needed) = (prospects(&premises, &ns), needed(&premises));
    if args.json {
        let needed = needed.iter().map(|(rule, n)| json!({"rule": rule, "seeds": n}));
        let needed: Vec<_> = needed.collect();
        return answer_json(&json!({"premises": premises, "seeds": rows, "needed": needed}));
    }
    answer(&text(&premises, &rows, &needed))
}

fn premises(args: &Args, global: &Global) -> Result<Premises, Exit> {
    let of_source =
        args.source.as_deref().map(|source| experiment(source, args, global)).transpose()?;
    let (mut win, std_ddof, compared, measured) = match of_source {
        Some((input, measured)) => {
            let compared = input.declared.points.iter().map(|point| {
                point.configs.iter().filter(|config| config.baseline != config.name).count()
            });
            let compared = compared.max().unwrap_or(1);
            (input.declared.win, input.declared.std_ddof, compared, measured)
        }
        None => (default_rule(), 1, 1, None),
    };
    if let Some(rule) = args.rule {
        win.rule = rule;
    }
    let std = args.std.or(measured.as_ref().map(|measured| measured.std));
    let measured_correlation = measured.as_ref().and_then(|measured| measured.correlation);
    let correlation = args.correlation.or(measured_correlation).unwrap_or(0.0);
    let effect = match (args.effect, args.gap, std) {
        (Some(effect), ..) => Some(effect),
        (None, Some(gap), Some(std)) => Some(log_gap(gap) / std),
        (None, Some(_), None) => {
            let message = "--gap needs a std: give --std, or a spec or folder with results";
            return Err(Exit::new(exit::USAGE, message));
        }
        (None, None, _) => None,
    };
    Ok(Premises {
        win,
        std_ddof,
        comparisons: args.comparisons.map_or(compared.max(1), usize::from),
        std,
        correlation,
        source: source_words(args, measured.as_ref()),
        effect,
        power: args.power,
    })
}

fn source_words(args: &Args, measured: Option<&Measured>) -> String {
    let std = match (args.std, measured) {
        (Some(_), _) => "std given".to_owned(),
        (None, Some(measured)) => {
            format!("std from the results ({} degrees of freedom)", measured.df)
        }
        (None, None) => "std not known".to_owned(),
    };
    let correlation = match (args.correlation, measured.and_then(|measured| measured.correlation)) {
        (Some(_), _) => "correlation given",
        (None, Some(_)) => "correlation from the results",
        (None, None) => "correlation assumed",
    };
    format!("{std}, {correlation}")
}

/// The rule of a spec that says nothing of it, without a guard.
fn default_rule() -> WinRule {
    WinRule::new(Rule::Auto, 0)
}

fn experiment(
    source: &Path,
    args: &Args,
    global: &Global,
) -> Result<(Input, Option<Measured>), Exit> {
    let input = if source.is_dir() {
        of_folder(source)?.1
    } else {
        of_plan(&planned_spec(source, &args.spec_args, global)?, &args.results.layout())?
    };
    let report = report::Report::build(std::slice::from_ref(&input));
    let measured = report.experiments.first().and_then(measured);
    Ok((input, measured))
}

fn text(premises: &Premises, rows: &[Prospect], needed: &[(Rule, Option<usize>)]) -> String {
    let std = premises.std.map_or("unknown".to_owned(), |std| format!("{std:.4}"));
    let mut out = format!(
        "std of log-perplexity over seeds {std}, correlation between configs {:.1}: {}\n\
         rule `{}`, {} compared; simulated, without the guard\n\n",
        premises.correlation,
        premises.source,
        premises.win.rule.name(),
        match premises.comparisons {
            1 => "1 config".to_owned(),
            n => format!("{n} configs"),
        },
    );
    let finds = format!("finds {:.0} %", 100.0 * premises.power);
    let mut table = vec![vec!["n".to_owned(), "rule".to_owned(), "false WIN".to_owned(), finds]];
    if premises.std.is_some() {
        table[0].push("of the PPL".to_owned());
    }
    if let Some(effect) = premises.effect {
        table[0].push(format!("finds {effect:.2} std"));
    }
    for row in rows {
        let mut cells = vec![
            row.n.to_string(),
            row.rule.name().to_owned(),
            format!("{:.1} %", 100.0 * row.false_win),
            row.detectable.map_or("-".to_owned(), |effect| format!("{effect:.2} std")),
        ];
        if premises.std.is_some() {
            cells.push(row.detectable_pct.map_or("-".to_owned(), |pct| format!("{pct:.1} %")));
        }
        if premises.effect.is_some() {
            cells.push(
                row.finds_effect.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
            );
        }
        table.push(cells);
    }
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..table[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in &table {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    if !needed.is_empty() {
        out.push('\n');
    }
    for (rule, n) in needed {
        let effect = premises.effect.unwrap_or_default();
        out.push_str(&match n {
            Some(n) => format!(
                "rule `{}` finds a gap of {effect:.2} std in {:.0} % of experiments from {n} seeds on\n",
                rule.name(),
                100.0 * premises.power
            ),
            None => format!(
                "rule `{}` finds a gap of {effect:.2} std that often with no number of seeds up to {MOST_SEEDS}\n",
                rule.name()
            ),
        });
    }
    if matches!(premises.win.rule, Rule::Auto | Rule::Seeds) {
        let least = 1.0 / premises.win.max_std_over_gap;
        let auto = match premises.win.rule {
            Rule::Auto => "; `auto` means `ci` from 5 on",
            _ => "",
        };
        out.push_str(&format!(
            "note: the std over seeds does not shrink as seeds are added. With 10 or more, rule\n      \
             `seeds` has almost no power for gaps below {least:.1} std{auto}.\n"
        ));
    }
    out
}
