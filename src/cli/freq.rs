//! `xp freq`: what a frequency expression evaluates to.

mod export;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::diag::{self, Diagnostic, Place, Source};
use crate::freq::{self, Check, Context, FrequencySet};

/// Everything was evaluated.
const DONE: i32 = 0;
/// An expression has an error.
const INVALID: i32 = 2;
/// The answer could not be written.
const ENVIRONMENT: i32 = 3;

/// Show, compare and check frequency expressions.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  xp freq 'geo(theta=500k)' --train-len 2048\n  \
    xp freq 'mix(geo(theta=500k), anchored_poly(theta=500k), alpha=0.2)' --against 'geo(theta=500k)'\n  \
    xp freq 'anchored_poly(theta=500k)' --target-len 16384 --export hf -o rope.json")]
pub struct FreqArgs {
    /// Frequency expressions, such as 'geo(theta=500k)'
    #[arg(value_name = "EXPR", required_unless_present = "list")]
    pub expressions: Vec<String>,

    /// Dimensions of an attention head
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub head_dim: u32,

    /// Training length in tokens, such as 2048 or 16k (16000)
    #[arg(long, value_name = "L", value_parser = length)]
    pub train_len: Option<u64>,

    /// Target length in tokens
    #[arg(long, value_name = "M", value_parser = length)]
    pub target_len: Option<u64>,

    /// Present length in tokens, for families that depend on it at run time
    #[arg(long, value_name = "S", value_parser = length)]
    pub seq_len: Option<u64>,

    /// Compare each frequency with this expression's
    #[arg(long, value_name = "EXPR")]
    pub against: Option<String>,

    /// Print one JSON object
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Write CSV to FILE, or to the standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub csv: Option<String>,

    /// Write what other software needs to compute the set
    #[arg(long, value_name = "KIND", conflicts_with_all = ["json", "csv", "against"])]
    pub export: Option<export::Kind>,

    /// Write the export to FILE instead of the standard output
    #[arg(short, long, value_name = "FILE", requires = "export")]
    pub output: Option<PathBuf>,

    /// List the families with formulas, parameters and sources
    #[arg(long, exclusive = true)]
    pub list: bool,
}

/// A positive whole number, with or without suffix.
fn length(text: &str) -> Result<u64, String> {
    // Every whole number up to here is an f64.
    const MAX: f64 = (1u64 << 53) as f64;
    match freq::parse_number(text) {
        Some(value) if value.fract() == 0.0 && (1.0..=MAX).contains(&value) => Ok(value as u64),
        _ => Err("a length is a whole number of tokens from 1, such as 2048 or 16k (16000)".into()),
    }
}

/// Runs `xp freq`: the answer goes to `out`, errors (with colours if `color`) to `err`.
///
/// Returns the exit code: 0, 2 for an invalid expression, 3 if the answer cannot be written.
pub fn run(args: &FreqArgs, color: bool, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    if let Some(kind) = args.export {
        return export::run(kind, args, color, out, err);
    }
    let (text, findings) = match answer(args) {
        Ok(answer) => answer,
        Err(diagnostics) => {
            // Nothing is left to tell if the standard error is closed.
            let _ = err.write_all(diag::render(&diagnostics, color).as_bytes());
            return INVALID;
        }
    };
    let _ = err.write_all(diag::render(&findings, color).as_bytes());
    let written = match &args.csv {
        Some(file) if file != "-" => crate::fs::write_atomic(Path::new(file), text.as_bytes())
            .map_err(|error| error.to_string()),
        _ => match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Who closes the pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| format!("cannot write the answer: {error}")),
        },
    };
    match written {
        Ok(()) => DONE,
        Err(message) => {
            let error = Diagnostic::error("freq::write", message);
            let _ = err.write_all(diag::render(&[error], color).as_bytes());
            ENVIRONMENT
        }
    }
}

/// The text of the answer, and what goes to the standard error beside it.
fn answer(args: &FreqArgs) -> Result<(String, Vec<Diagnostic>), Vec<Diagnostic>> {
    if args.list {
        return Ok((freq::families::list(), Vec::new()));
    }
    let context = Context {
        head_dim: args.head_dim,
        train_len: args.train_len,
        target_len: args.target_len,
        seq_len: args.seq_len,
    };
    let mut sources: Vec<Arc<Source>> = Vec::new();
    let mut sets = Vec::new();
    let mut errors = Vec::new();
    let mut evaluate = |name: &str, text: &str| {
        let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
        let set = freq::evaluate(text, &context)
            .map_err(|found| errors.extend(found.iter().map(|error| diagnostic(error, &source))));
        (source, set.ok())
    };
    let against = args.against.as_deref().and_then(|text| evaluate("<against>", text).1);
    for text in &args.expressions {
        let (source, set) = evaluate("<expr>", text);
        sources.push(source);
        sets.extend(set);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let against = against.as_ref();
    if args.json {
        return Ok((json_text(&sets, against), Vec::new()));
    }
    if args.csv.is_some() {
        let checks = sets
            .iter()
            .zip(&sources)
            .flat_map(|(set, source)| set.checks.iter().map(|check| warning(check, source)));
        return Ok((csv_text(&sets, against, &context), checks.collect()));
    }
    let blocks: Vec<String> = sets.iter().map(|set| table(set, against, &context)).collect();
    Ok((blocks.join("\n"), Vec::new()))
}

fn diagnostic(error: &freq::Error, source: &Arc<Source>) -> Diagnostic {
    let diagnostic = Diagnostic::error(error.code, error.message.clone())
        .at(Place::new(source, error.span.clone()), error.label.clone());
    match &error.help {
        Some(help) => diagnostic.help(help.clone()),
        None => diagnostic,
    }
}

fn warning(check: &Check, source: &Arc<Source>) -> Diagnostic {
    let severity = match check.severity {
        freq::Severity::Warning => diag::Severity::Warning,
        freq::Severity::Info => diag::Severity::Note,
    };
    Diagnostic::new(check.code, severity, check.message.clone())
        .at(Place::new(source, check.span.clone()), "")
}

/// The frequency of channel `k` over that of `against`; none without one, or if that is 0.
fn ratio(set: &FrequencySet, against: Option<&FrequencySet>, k: usize) -> Option<f64> {
    let reference = against?.inv_freq[k];
    (reference != 0.0).then(|| set.inv_freq[k] / reference)
}

/// How often channel `k` turns within `length` positions.
fn turns(set: &FrequencySet, k: usize, length: u64) -> f64 {
    length as f64 / set.period(k)
}

fn json_text(sets: &[FrequencySet], against: Option<&FrequencySet>) -> String {
    let objects: Vec<String> = sets.iter().map(|set| json_object(set, against)).collect();
    match objects.as_slice() {
        [one] => format!("{one}\n"),
        several => format!("{{\"sets\":[{}]}}\n", several.join(",\n")),
    }
}

/// Written by hand because `serde_json` prints the shortest digits, and the contract is 17.
fn json_object(set: &FrequencySet, against: Option<&FrequencySet>) -> String {
    let numbers = |values: &mut dyn Iterator<Item = Option<f64>>| {
        let values: Vec<_> =
            values.map(|value| value.map_or("null".to_owned(), digits_17)).collect();
        values.join(",")
    };
    let text = |value: Value| value.to_string();
    let mut out = format!(
        "{{\"expression\":{},\"head_dim\":{},\"inv_freq\":[{}],\"attention_scale\":{},\
         \"expr_id\":{},\"vec_id\":{},\"checks\":{}",
        text(json!(set.expression)),
        set.head_dim,
        numbers(&mut set.inv_freq.iter().copied().map(Some)),
        digits_17(set.attention_scale),
        text(json!(set.expr_id)),
        text(json!(set.vec_id)),
        text(json!(set.checks)),
    );
    if let Some(other) = against {
        let _ = write!(
            out,
            ",\"against\":{},\"ratio\":[{}]",
            text(json!({"expression": other.expression, "vec_id": other.vec_id})),
            numbers(&mut (0..set.inv_freq.len()).map(|k| ratio(set, against, k))),
        );
    }
    out.push('}');
    out
}

/// 17 significant digits, without trailing zeros; always with a point or an exponent.
fn digits_17(value: f64) -> String {
    let scientific = format!("{value:.16e}");
    let exponent: i32 = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .expect("the format has an exponent");
    let trim = |text: &str| {
        let trimmed = text.trim_end_matches('0');
        if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
    };
    if (-5..16).contains(&exponent) {
        return trim(&format!("{value:.*}", (16 - exponent) as usize));
    }
    let (mantissa, _) = scientific.split_once('e').expect("the format has an exponent");
    format!("{}e{exponent}", trim(mantissa))
}

fn csv_text(sets: &[FrequencySet], against: Option<&FrequencySet>, context: &Context) -> String {
    let mut out = String::from("expression,k,inv_freq,period,turns_train,turns_target,ratio\n");
    let number = |value: Option<f64>| value.map_or(String::new(), digits_17);
    for set in sets {
        let expression = set.expression.replace('"', "\"\"");
        for (k, w) in set.inv_freq.iter().enumerate() {
            let period = Some(set.period(k)).filter(|period| period.is_finite());
            let _ = writeln!(
                out,
                "\"{expression}\",{k},{},{},{},{},{}",
                digits_17(*w),
                number(period),
                number(context.train_len.map(|length| turns(set, k, length))),
                number(context.target_len.map(|length| turns(set, k, length))),
                number(ratio(set, against, k)),
            );
        }
    }
    out
}

/// What a person reads: the header and a row for each channel.
fn table(set: &FrequencySet, against: Option<&FrequencySet>, context: &Context) -> String {
    let mut out = format!("{}\n", set.expression);
    let channels = set.inv_freq.len();
    let theta = set.theta.map_or(String::new(), |theta| format!(", theta {theta}"));
    let _ = writeln!(
        out,
        "head_dim {}, {channels} frequencies, attention scale {}{theta}",
        set.head_dim, set.attention_scale
    );
    let _ = writeln!(out, "expr_id {}\nvec_id  {}", set.expr_id, set.vec_id);
    if let Some(other) = against {
        let same = if other.vec_id == set.vec_id { " (the same set)" } else { "" };
        let _ = writeln!(out, "against {}{same}", other.expression);
    }
    for check in &set.checks {
        let severity = match check.severity {
            freq::Severity::Warning => "warning",
            freq::Severity::Info => "info",
        };
        let _ = writeln!(out, "{severity}[{}]: {}", check.code, check.message);
    }
    let lengths = [("train_len", context.train_len), ("target_len", context.target_len)];
    let lengths: Vec<(&str, u64)> =
        lengths.into_iter().filter_map(|(name, length)| Some((name, length?))).collect();

    let mut header = vec!["k".to_owned(), "omega".to_owned(), "period".to_owned()];
    header.extend(lengths.iter().map(|(_, length)| format!("turns@{length}")));
    header.extend(against.map(|_| "ratio".to_owned()));
    let mut rows = vec![header];
    let mut notes = vec!["note".to_owned()];
    for (k, w) in set.inv_freq.iter().enumerate() {
        let mut row = vec![k.to_string(), format!("{w:.6e}"), short(set.period(k))];
        row.extend(lengths.iter().map(|(_, length)| short(turns(set, k, *length))));
        if against.is_some() {
            row.push(ratio(set, against, k).map_or("-".to_owned(), |r| format!("x{}", short(r))));
        }
        rows.push(row);
        let longer = lengths.iter().filter(|(_, length)| set.period(k) > *length as f64);
        notes.push(longer.map(|(name, _)| format!("> {name}")).collect::<Vec<_>>().join(", "));
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    for (row, note) in rows.iter().zip(&notes) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        let line = format!("{}  {note}", cells.join("  "));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// Four significant digits.
fn short(value: f64) -> String {
    if !value.is_finite() {
        return "inf".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.3e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    match exponent {
        Some(exponent @ -3..6) => format!("{value:.*}", (3 - exponent).max(0) as usize),
        _ => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: FreqArgs,
    }

    /// Exit code, standard output, standard error.
    fn xp(args: &[&str]) -> (i32, String, String) {
        let cli = match Cli::try_parse_from(std::iter::once(&"freq").chain(args)) {
            Ok(cli) => cli,
            Err(error) => return (error.exit_code(), String::new(), error.to_string()),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&cli.args, false, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn json(args: &[&str]) -> Value {
        let (code, out, err) = xp(args);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn json_has_the_keys_of_the_contract_and_exact_numbers() {
        let value = json(&["geo(theta=500k)", "--json", "--train-len", "2048"]);
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "expression",
                "head_dim",
                "inv_freq",
                "attention_scale",
                "expr_id",
                "vec_id",
                "checks"
            ]
        );
        assert_eq!(value["expression"], "geo@1(theta=500000, grid=std)");
        assert_eq!(value["attention_scale"], 1.0);
        assert_eq!(value["checks"][0]["code"], "freq::longer-than-train");
        assert_eq!(value["checks"][0]["severity"], "info");
        let context = Context { train_len: Some(2048), ..Context::new(64) };
        let set = freq::evaluate("geo(theta=500k)", &context).unwrap();
        let printed: Vec<f64> =
            value["inv_freq"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
        assert_eq!(printed, set.inv_freq);
        assert_eq!(value["vec_id"], set.vec_id);
    }

    #[test]
    fn several_expressions_are_sets_and_against_adds_ratios() {
        let value = json(&["geo()", "geo(theta=1k)", "--json", "--against", "geo()"]);
        let sets = value["sets"].as_array().unwrap();
        assert_eq!(sets.len(), 2);
        assert!(sets[0]["ratio"].as_array().unwrap().iter().all(|r| r == 1.0));
        assert!(sets[1]["ratio"][31].as_f64().unwrap() > 1.0);
        let zero =
            json(&["table([1,2])", "--json", "--head-dim", "4", "--against", "table([1,0])"]);
        assert_eq!(zero["ratio"], serde_json::json!([1.0, null]));
    }

    #[test]
    fn numbers_have_17_digits_and_read_back() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.1, "0.10000000000000001"),
            (1e-5, "0.000010000000000000001"),
            (1e-7, "9.9999999999999995e-8"),
            (0.0, "0.0"),
            (123_456.75, "123456.75"),
            (1e300, "1.0000000000000001e300"),
        ] {
            assert_eq!(digits_17(value), text);
            assert_eq!(text.parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn every_bad_expression_exits_2_with_a_message_and_no_answer() {
        for source in [
            "geo(theta=",
            "geo(thta=10k)",
            "geo(theta=-1)",
            "nosuch(theta=1)",
            "mix(geo(theta=10k), alpha=0.2)",
            "geo(theta=10k) + geo(theta=1k)",
            "((((",
            "expr(\"k/0\")",
            "table([])",
            "",
        ] {
            for format in [&["--json"][..], &[]] {
                let (code, out, err) = xp(&[&[source][..], format].concat());
                assert_eq!((code, out.as_str()), (2, ""), "{source}");
                assert!(err.starts_with("error[freq::"), "{source}: {err}");
                assert!(err.contains("--> <expr>:1:"), "{source}: {err}");
            }
        }
    }

    #[test]
    fn an_error_is_underlined_and_names_the_remedy() {
        let (_, _, err) = xp(&["geo(thta=10k)"]);
        assert!(err.contains("error[freq::unknown-parameter]: unknown parameter `thta` of geo"));
        assert!(err.contains("--> <expr>:1:5"), "{err}");
        assert!(err.contains("1 | geo(thta=10k)\n  |     ^^^^ not a parameter of geo"), "{err}");
        assert!(err.contains("help: did you mean `theta`?"), "{err}");
        let (code, _, err) = xp(&["geo()", "geo(a=1)", "mix()", "--against", "geo(b=1)"]);
        assert_eq!((code, err.matches("error[").count()), (2, 3), "{err}");
        assert!(err.contains("--> <against>:1:5"), "{err}");
    }

    #[test]
    fn the_table_has_header_and_a_row_for_each_channel() {
        let (code, out, err) = xp(&[
            "anchored_poly(theta=500k)",
            "--head-dim",
            "8",
            "--train-len",
            "2048",
            "--target-len",
            "16k",
            "--against",
            "geo(theta=500k)",
        ]);
        assert_eq!((code, err.as_str()), (0, ""));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "anchored_poly@1(theta=500000, p=3.9, omf=0.3)");
        assert_eq!(lines[1], "head_dim 8, 4 frequencies, attention scale 1, theta 500000");
        assert!(lines[2].starts_with("expr_id ") && lines[3].starts_with("vec_id  "));
        assert_eq!(lines[4], "against geo@1(theta=500000, grid=std)");
        let rows = &lines[lines.len() - 5..];
        let words: Vec<&str> = rows[0].split_whitespace().collect();
        assert_eq!(words, ["k", "omega", "period", "turns@2048", "turns@16000", "ratio", "note"]);
        let words: Vec<&str> = rows[1].split_whitespace().collect();
        assert_eq!(words, ["0", "1.000000e0", "6.283", "325.9", "2546", "x1.000"]);
        assert!(rows[4].ends_with("> train_len, > target_len"), "{out}");
    }

    #[test]
    fn csv_goes_to_a_file_or_to_the_standard_output() {
        let args = ["expr(\"1/(k+1)\")", "--head-dim", "4", "--train-len", "8", "--csv"];
        let (code, out, _) = xp(&args);
        assert_eq!(code, 0);
        let mut reader = csv::Reader::from_reader(out.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(&rows[1][0], "expr@1(\"1 / (k + 1)\")");
        assert_eq!((&rows[1][1], &rows[1][2], &rows[1][5], &rows[1][6]), ("1", "0.5", "", ""));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        let (code, empty, err) = xp(&[&args[..], &[file.to_str().unwrap()]].concat());
        assert_eq!((code, empty.as_str()), (0, ""), "{err}");
        assert!(err.contains("freq::longer-than-train"), "{err}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), out);
        let missing = file.join("below-a-file.csv");
        let (code, _, err) = xp(&[&args[..], &[missing.to_str().unwrap()]].concat());
        assert_eq!(code, 3, "{err}");
        assert!(err.contains("error[freq::write]"), "{err}");
    }

    #[test]
    fn usage_errors_are_found_before_anything_is_evaluated() {
        for args in [
            &[][..],
            &["geo()", "--train-len", "0"],
            &["geo()", "--train-len", "1.5"],
            &["geo()", "--train-len", "2x"],
            &["geo()", "--head-dim", "-4"],
            &["geo()", "--json", "--csv"],
            &["geo()", "--list"],
        ] {
            let (code, _, err) = xp(args);
            assert_eq!(code, 2, "{args:?}");
            assert!(err.starts_with("error: "), "{err}");
        }
        assert_eq!(xp(&["geo()", "--head-dim", "63"]).0, 2);
        assert_eq!(length("16k"), Ok(16_000));
        assert_eq!(length("0.5M"), Ok(500_000));
    }

    #[test]
    fn list_names_every_family() {
        let (code, out, _) = xp(&["--list"]);
        assert_eq!(code, 0);
        assert!(freq::families::ALL.iter().all(|family| out.contains(family.formula)));
    }
}
