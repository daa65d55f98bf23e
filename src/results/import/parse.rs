//! Reading a file of results: JSON of two shapes, or a runs.csv.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Error;

/// The columns of `runs.csv`, in order; with transforms a further one, `transform`, stands last.
pub const RUNS_CSV_HEADER: [&str; 10] = [
    "experiment",
    "protocol",
    "train_id",
    "config",
    "seed",
    "eval_len",
    "ppl",
    "nll",
    "chunks",
    "status",
];
/// Largest difference between a given nll and ln ppl: both may be rounded to three decimals.
const NLL_TOLERANCE: f64 = 2e-3;

/// The runs that a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// Name of the file, for messages and provenance.
    pub file: String,
    /// blake3 of its content.
    pub hash: String,
    /// Its runs, in its order; one (config, seed) may come several times.
    pub runs: Vec<ParsedRun>,
    /// What it says of runs that have no number: failed, diverged, or not finite.
    pub skipped: Vec<String>,
}

/// One run of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedRun {
    /// Config name.
    pub config: String,
    /// Its seed; `None` if the file is of one seed that it does not name.
    pub seed: Option<u64>,
    /// Protocol id; `None` if the file names none.
    pub protocol: Option<String>,
    /// Train id of the machine that ran it: tells attempts apart.
    pub train_id: Option<String>,
    /// Perplexity by evaluation length; each finite and at least 1.
    pub ppl: BTreeMap<u64, f64>,
}

impl Parsed {
    /// Reads the content of a file called `file`.
    ///
    /// # Errors
    /// [`Error::NotResults`] if it is none of the three shapes, [`Error::Invalid`] with
    /// everything wrong in it otherwise. A perplexity must be finite and at least 1 (a mean
    /// cross-entropy is not negative); a repeated key is an error, not the last one's value.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let not_results = |reason: String| Error::NotResults { file: file.to_owned(), reason };
        let text = std::str::from_utf8(bytes)
            .map_err(|error| not_results(format!("it is not UTF-8 text ({error})")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::default();
        if text.trim_start().starts_with(['{', '[']) {
            let node = serde_json::from_str(text).map_err(|e| not_results(e.to_string()))?;
            reader.json(&node).map_err(not_results)?;
        } else {
            reader.csv(text).map_err(not_results)?;
        }
        if !reader.findings.is_empty() {
            return Err(Error::Invalid { file: file.to_owned(), findings: reader.findings });
        }
        if reader.runs.is_empty() && reader.skipped.is_empty() {
            return Err(not_results("it holds no result".to_owned()));
        }
        let hash = blake3::hash(bytes).to_hex().to_string();
        Ok(Self { file: file.to_owned(), hash, runs: reader.runs, skipped: reader.skipped })
    }
}

#[derive(Default)]
struct Reader {
    runs: Vec<ParsedRun>,
    skipped: Vec<String>,
    findings: Vec<String>,
}

impl Reader {
    /// # Errors
    /// If the value has neither shape at all; wrong values inside one become findings.
    fn json(&mut self, node: &Node) -> Result<(), String> {
        let Node::Object(top) = node else {
            return Err(format!("it is {}, not an object", node.kind()));
        };
        // A config may be called `results`: the depth tells the two shapes apart.
        let nested = top.iter().find(|(key, _)| key == "results").and_then(|(_, value)| {
            let configs = value.object()?;
            let deep = |(_, node): &(String, Node)| {
                node.object().is_some_and(|seeds| seeds.iter().all(|(_, n)| n.object().is_some()))
            };
            configs.iter().any(deep).then_some(configs)
        });
        if let Some(configs) = nested {
            for (config, seeds) in configs {
                let Some(seeds) = seeds.object() else {
                    let kind = seeds.kind();
                    self.findings.push(format!("{config}: {kind}, not {{seed: {{length: ppl}}}}"));
                    continue;
                };
                if seeds.is_empty() {
                    self.findings.push(format!("{config}: it has no seed"));
                }
                for (seed, lengths) in seeds {
                    match whole_number(seed) {
                        Some(number) => self.json_run(config, Some(number), lengths),
                        None => self.findings.push(format!("{config}: `{seed}` is not a seed")),
                    }
                }
            }
            return Ok(());
        }
        if !top.iter().any(|(_, lengths)| lengths.object().is_some()) {
            return Err("it has no {length: ppl} in it".to_owned());
        }
        for (config, lengths) in top {
            self.json_run(config, None, lengths);
        }
        Ok(())
    }

    fn json_run(&mut self, config: &str, seed: Option<u64>, lengths: &Node) {
        let place = match seed {
            Some(seed) => format!("{config}, seed {seed}"),
            None => config.to_owned(),
        };
        let Some(lengths) = lengths.object().filter(|lengths| !lengths.is_empty()) else {
            self.findings.push(format!("{place}: {}, not {{length: ppl}}", lengths.kind()));
            return;
        };
        let mut ppl = BTreeMap::new();
        for (length, value) in lengths {
            let place = format!("{place}, length {length}");
            let Some(length) = whole_number(length).filter(|&length| length > 0) else {
                self.findings.push(format!("{place}: the length is not a number of tokens"));
                continue;
            };
            let Node::Number(value) = value else {
                self.findings.push(format!("{place}: {}, not a perplexity", value.kind()));
                continue;
            };
            self.check_ppl(&place, *value);
            if ppl.insert(length, *value).is_some() {
                self.findings.push(format!("{place}: the length comes twice"));
            }
        }
        let run =
            ParsedRun { config: config.to_owned(), seed, protocol: None, train_id: None, ppl };
        self.runs.push(run);
    }

    /// # Errors
    /// If the header is another one or a line has another number of fields.
    fn csv(&mut self, text: &str) -> Result<(), String> {
        let mut csv = csv::ReaderBuilder::new().from_reader(text.as_bytes());
        let header = csv.headers().map_err(|error| error.to_string())?;
        let header = || header.iter().map(str::trim);
        let with_transforms = RUNS_CSV_HEADER.into_iter().chain(["transform"]);
        if header().ne(RUNS_CSV_HEADER) && header().ne(with_transforms) {
            let first = text.lines().next().unwrap_or_default();
            let shown: String = first.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(format!("it is not JSON, and as CSV its first line is `{shown}`"));
        }
        let mut experiments = std::collections::BTreeSet::new();
        // Where the last attempt of a (config, seed, protocol) stands in `runs`.
        let mut last: BTreeMap<(String, u64, Option<String>), usize> = BTreeMap::new();
        for (row, line) in csv.into_records().zip(2..) {
            let row = row.map_err(|error| error.to_string())?;
            let field = |column: usize| row.get(column).unwrap_or_default().trim();
            let optional = |column| Some(field(column).to_owned()).filter(|text| !text.is_empty());
            experiments.extend(optional(0));
            if experiments.len() > 1 {
                let names = experiments.into_iter().collect::<Vec<_>>().join(", ");
                self.findings.push(format!(
                    "line {line}: results of several experiments ({names}); split the file"
                ));
                return Ok(());
            }
            let config = field(3);
            let Some(seed) = whole_number(field(4)).filter(|_| !config.is_empty()) else {
                self.findings.push(format!("line {line}: it needs a config and a seed"));
                continue;
            };
            // A run's transformed results belong to its weights, which an import does not bring.
            if let Some(transform) = optional(10) {
                self.skipped.push(format!("{config}, seed {seed}: under transform {transform}"));
                continue;
            }
            let status = field(9);
            if matches!(status, "failed" | "diverged") {
                self.skipped.push(format!("{config}, seed {seed}: {status} there"));
                continue;
            }
            if !matches!(status, "done" | "imported") {
                self.findings.push(format!("line {line}: status `{status}` is not known"));
                continue;
            }
            let Some(length) = whole_number(field(5)).filter(|&length| length > 0) else {
                self.findings.push(format!("line {line}: eval_len is not a number of tokens"));
                continue;
            };
            if field(6).is_empty() {
                self.skipped.push(format!("{config}, seed {seed}, length {length}: no ppl"));
                continue;
            }
            let Ok(ppl) = field(6).parse::<f64>() else {
                self.findings.push(format!("line {line}: ppl `{}` is not a number", field(6)));
                continue;
            };
            let place = format!("line {line} ({config}, seed {seed}, length {length})");
            self.check_ppl(&place, ppl);
            self.check_nll(&place, field(7), ppl);
            let (protocol, train_id) = (optional(1), optional(2));
            let key = (config.to_owned(), seed, protocol.clone());
            let open = last.get(&key).copied().filter(|&index| {
                let run: &ParsedRun = &self.runs[index];
                run.train_id == train_id && !run.ppl.contains_key(&length)
            });
            if let Some(index) = open {
                self.runs[index].ppl.insert(length, ppl);
            } else {
                // The length comes again: the next attempt of this run.
                last.insert(key, self.runs.len());
                self.runs.push(ParsedRun {
                    config: config.to_owned(),
                    seed: Some(seed),
                    protocol,
                    train_id,
                    ppl: BTreeMap::from([(length, ppl)]),
                });
            }
        }
        self.skipped.dedup();
        Ok(())
    }

    fn check_ppl(&mut self, place: &str, ppl: f64) {
        if !(ppl.is_finite() && ppl >= 1.0) {
            self.findings
                .push(format!("{place}: {ppl} is not a perplexity (finite and at least 1)"));
        }
    }

    fn check_nll(&mut self, place: &str, nll: &str, ppl: f64) {
        if nll.is_empty() {
            return;
        }
        match nll.parse::<f64>() {
            Ok(nll) if (nll - libm::log(ppl)).abs() <= NLL_TOLERANCE => {}
            Ok(nll) => self.findings.push(format!("{place}: nll {nll} is not ln of ppl {ppl}")),
            Err(_) => self.findings.push(format!("{place}: nll `{nll}` is not a number")),
        }
    }
}

/// A JSON value that keeps the order of keys and refuses repeated ones.
#[derive(Debug)]
enum Node {
    Object(Vec<(String, Node)>),
    Number(f64),
    Other(&'static str),
}

impl Node {
    fn object(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(pairs) => Some(pairs),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Object(pairs) if pairs.is_empty() => "an empty object",
            Self::Object(_) => "an object",
            Self::Number(_) => "a number",
            Self::Other(kind) => kind,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs: Vec<(String, Node)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some((key, value)) = map.next_entry::<String, Node>()? {
            if !seen.insert(key.clone()) {
                let message = format!("the key `{key}` comes twice in one object");
                return Err(serde::de::Error::custom(message));
            }
            pairs.push((key, value));
        }
        Ok(Node::Object(pairs))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        while items.next_element::<Node>()?.is_some() {}
        Ok(Node::Other("a list"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Other("a text"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other("true or false"))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other("null"))
    }
}

/// A whole number without sign, digits only: `+7`, `7.0` and `1e3` are none.
fn whole_number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parsed, Error> {
        Parsed::from_bytes("f", text.as_bytes())
    }

    fn failure(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_two_json_shapes_and_csv_say_the_same() {
        let flat = parse(r#"{"a": {"2048": 6.5, "4096": 7}, "results": {"2048": 8}}"#).unwrap();
        assert_eq!(flat.runs.len(), 2);
        assert_eq!(flat.runs[0].seed, None);
        assert_eq!(flat.runs[0].ppl, BTreeMap::from([(2048, 6.5), (4096, 7.0)]));
        let nested =
            parse(r#"{"results": {"a": {"42": {"2048": 6.5, "4096": 7}}}, "rows": [["a", 1]]}"#);
        let csv = parse(
            "experiment,protocol,train_id,config,seed,eval_len,ppl,nll,chunks,status\r\n\
             ,,,a,42,2048,6.5,1.872,,imported\r\n,,,a,42,4096,7,,10,done\r\n",
        );
        assert_eq!(nested.unwrap().runs, csv.unwrap().runs);
    }

    #[test]
    fn repeated_lengths_of_a_csv_are_further_attempts() {
        let header = RUNS_CSV_HEADER.join(",");
        let text = format!(
            "{header}\n,,,a,1,2048,6.5,,,done\n,,,a,1,4096,7,,,done\n,,,a,1,2048,6.6,,,done\n\
             ,,,a,1,4096,7.1,,,done\n,,,b,1,,,,,failed\n,,,c,1,2048,,,,done\n"
        );
        let parsed = parse(&text).unwrap();
        let values: Vec<_> =
            parsed.runs.iter().map(|run| run.ppl.values().copied().collect::<Vec<_>>()).collect();
        assert_eq!(values, [[6.5, 7.0], [6.6, 7.1]]);
        assert_eq!(parsed.skipped, ["b, seed 1: failed there", "c, seed 1, length 2048: no ppl"]);
    }

    #[test]
    fn wrong_files_say_what_was_expected() {
        for text in [
            "# A README\n\nof results, with `{config: {length: ppl}}` in it.\n",
            "",
            "{\"a\": {\"2048\": 6.",
            "[1, 2]",
            "{}",
            "{\"title\": \"x\"}",
            "name,value\na,1\n",
            "experiment,protocol,train_id,config,seed,eval_len,ppl,nll,chunks,status\n,,,a,1,2048,18.\n",
            "experiment,protocol,train_id,config,seed,eval_len,ppl,nll,chunks,status\n",
            r#"{"a": {"2048": 6.5, "2048": 6.6}}"#,
        ] {
            let message = failure(text);
            assert!(message.contains("expected one of"), "{text}: {message}");
            assert_eq!(parse(text).unwrap_err().kind(), crate::results::ErrorKind::Usage);
        }
        assert!(Parsed::from_bytes("f", b"\xff\xfe{").is_err());
        let deep = "{\"a\":".repeat(100_000);
        assert!(failure(&deep).contains("recursion limit"));
    }

    #[test]
    fn every_wrong_value_is_named_with_its_place() {
        let message = failure(
            r#"{"a": {"2048": 0.5, "x": 1, "4096": "7", "512": null}, "b": {}, "c": 3,
                "d": {"2048": -1e300}}"#,
        );
        for expected in [
            "a, length 2048: 0.5 is not a perplexity (finite and at least 1)",
            "a, length x: the length is not a number of tokens",
            "a, length 4096: a text, not a perplexity",
            "a, length 512: null, not a perplexity",
            "b: an empty object, not {length: ppl}",
            "c: a number, not {length: ppl}",
            "d, length 2048: -1",
        ] {
            assert!(message.contains(expected), "{message}\nlacks {expected}");
        }
        let message = failure(r#"{"results": {"a": {"-1": {"2048": 7}, "1": {}}, "b": 3}}"#);
        for expected in ["a: `-1` is not a seed", "a, seed 1: an empty object", "b: a number"] {
            assert!(message.contains(expected), "{message}\nlacks {expected}");
        }
        let header = RUNS_CSV_HEADER.join(",");
        let message = failure(&format!(
            "{header}\n,,,a,x,1,7,,,done\n,,,a,1,0,7,,,done\n,,,a,1,1,nan,,,done\n\
             ,,,a,1,1,7,7,,done\n,,,a,1,1,7,,,odd\n,,,a,1,1,inf,,,done\n"
        ));
        for expected in [
            "line 2: it needs a config and a seed",
            "line 3: eval_len",
            "line 4 (a, seed 1, length 1): NaN is not a perplexity",
            "line 5 (a, seed 1, length 1): nll 7 is not ln of ppl 7",
            "line 6: status `odd`",
            "line 7 (a, seed 1, length 1): inf is not",
        ] {
            assert!(message.contains(expected), "{message}\nlacks {expected}");
        }
        assert!(
            failure(&format!("{header}\nx,,,a,1,1,7,,,done\ny,,,a,1,1,7,,,done\n"))
                .contains("several experiments (x, y)")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(text in "\\PC*", bytes in proptest::collection::vec(0u8..=255, 0..64)) {
            let _ = Parsed::from_bytes("f", text.as_bytes());
            let _ = Parsed::from_bytes("f", &bytes);
        }
    }
}
