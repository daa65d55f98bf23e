//! `xp freq` as a user sees it.

use super::number::digits_17;
use super::*;
use clap::Parser;
use serde_json::Value;

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
    let console = Console { color: false, columns: None };
    let code = run(&cli.args, console, &mut out, &mut err);
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
        ["expression", "head_dim", "inv_freq", "attention_scale", "expr_id", "vec_id", "checks"]
    );
    assert_eq!(value["expression"], "geo@1(theta=500000, grid=std)");
    assert_eq!(value["attention_scale"], 1.0);
    assert_eq!(value["checks"][1]["code"], "freq::longer-than-train");
    assert_eq!(value["checks"][1]["severity"], "info");
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
    let zero = json(&["table([1,2])", "--json", "--head-dim", "4", "--against", "table([1,0])"]);
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

fn repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_spec_shows_every_config_against_its_baseline() {
    let spec = repository("tests/specs/valid/layers.toml");
    let (code, out, err) = xp(&[&spec]);
    assert_eq!((code, err.as_str()), (0, ""));
    let header: Vec<&str> = out.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        ["theta", "K", "highest", "lowest", ">", "64", ">", "256", "A", "vec_id", "set"]
    );
    // Kinds of layers, and transforms that are the same at every length, are sets of their own.
    assert!(out.contains("  local_500k.global [target]\n"), "{out}");
    assert!(out.ends_with("15 sets: --csv and --json have every channel\n"), "{out}");

    let value = json(&[&spec, "--json"]);
    let sets = value["sets"].as_array().unwrap();
    assert_eq!(sets.len(), 15);
    let names: Vec<&str> = sets.iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["geo", "geo [scale({trained}, c=0.5)]", "geo [target]"]);
    assert!(sets[1]["ratio"].as_array().unwrap().iter().all(|ratio| ratio == 0.5));
    assert_eq!(sets[4]["against"]["name"], "geo");
    let by_config = json(&[&spec, "--json", "--against", "local_500k"]);
    assert_eq!(by_config["sets"][4]["against"]["name"], "local_500k");
    let by_expression = json(&[&spec, "--json", "--against", "geo(theta=20k)"]);
    assert_eq!(by_expression["sets"][0]["against"]["expression"], "geo@1(theta=20000, grid=std)");
}

#[test]
fn a_transform_by_length_is_a_set_for_each_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dynamic.toml");
    let base = repository("tests/specs/valid/tiny.toml");
    let text = format!(
        "extends = {base:?}\n[eval]\ntransform = [{{ name = \"ntk\", freq = \"dynamic_ntk({{trained}}, \
         factor=2)\" }}]\n[[config]]\nname = \"geo\"\nfreq = \"geo(theta=10k)\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let value = json(&[path.to_str().unwrap(), "--json"]);
    let sets = value["sets"].as_array().unwrap().iter();
    let names: Vec<&str> = sets.map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["geo", "geo [ntk]@64", "geo [ntk]@128", "geo [ntk]@256"]);
}

#[test]
fn a_spec_stands_alone_and_has_its_own_lengths() {
    let spec = repository("tests/specs/valid/tiny.toml");
    for (args, message) in [
        (vec![spec.as_str(), "geo()"], "a spec is shown alone"),
        (vec![spec.as_str(), "--train-len", "64"], "go with expressions"),
        (vec![spec.as_str(), "--export", "hf"], "takes an expression"),
        (vec![spec.as_str(), "--against", "goe()"], "unknown family"),
        (vec!["nothing.toml"], "nothing.toml"),
    ] {
        let (code, out, err) = xp(&args);
        assert!(code != 0 && out.is_empty() && err.contains(message), "{args:?}: {code} {err}");
    }
    let bad = repository("tests/specs/invalid/freq-unknown-family.toml");
    let (code, _, err) = xp(&[&bad]);
    assert_eq!(code, 2);
    assert!(err.contains("freq-unknown-family.toml:"), "{err}");
}

#[test]
fn pictures_go_to_a_file_and_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.svg");
    let spec = repository("tests/specs/valid/tiny.toml");
    let (code, out, _) = xp(&[&spec, "--svg", file.to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(out.contains("vec_id"), "the tables are printed besides");
    let svg = std::fs::read_to_string(&file).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains(">mix_a0.2<"));
    assert!(svg.contains(">one turn in 64 (training length)<"), "{svg}");

    let drawn = |args: &[&str]| xp(args).1.contains("channel k");
    assert!(!drawn(&["geo()"]));
    assert!(drawn(&["geo()", "--plot", "always"]));
    assert!(!drawn(&["geo()", "--plot", "always", "--json"]));
    let missing = file.join("below-a-file.svg");
    assert_eq!(xp(&["geo()", "--svg", missing.to_str().unwrap()]).0, 3);
}

#[test]
fn diff_names_parts_and_channels() {
    let args = ["diff", "geo(theta=500k)", "geo(theta=100k, grid=std)", "--head-dim", "4"];
    let (code, out, err) = xp(&args);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "a  geo@1(theta=500000, grid=std)\n\
         b  geo@1(theta=100000, grid=std)\n   \
         geo.theta: 500000 -> 100000\n\
         different sets: 1 of 2 channels differ in f32\n\
         farthest apart: channel 1, b/a = 2.236\n\
         k      omega a      omega b  period a  period b  b/a\n\
         0   1.000000e0   1.000000e0     6.283     6.283  x1.000\n\
         1  1.414214e-3  3.162278e-3      4443      1987  x2.236\n"
    );
    let (_, out, _) = xp(&["diff", "geo()", "expr('theta^(-u)', theta=10k)"]);
    assert!(out.contains("the same set: one vec_id"), "{out}");
    let value = json(&["diff", "geo()", "partial(attn(geo(), scale=1.5), pct=0.5)", "--json"]);
    assert_eq!((&value["same"], &value["channels_differing"]), (&false.into(), &31.into()));
    assert_eq!(value["differences"][0]["place"], "the whole");
    assert_eq!(value["b"]["attention_scale"], 1.5);
    let (code, _, err) = xp(&["diff", "goe()", "geo(a=1)"]);
    assert_eq!((code, err.matches("error[").count()), (2, 2), "{err}");
}

#[test]
fn tables_in_files_are_read_from_the_working_directory() {
    let (code, _, err) = xp(&["table(file='/nonexistent/x.json', sha256='0')"]);
    assert_eq!(code, 2);
    assert!(err.contains("freq::file"), "{err}");
}
