//! Tables of frequencies in files.

use std::fmt::Write as _;
use std::io::Read as _;
use std::ops::Range;
use std::path::PathBuf;

use sha2::Digest as _;

use super::ast::{Scalar, ScalarKind, Span, Value};
use super::error::{DUPLICATE_PARAMETER, Error, FILE, MISSING_PARAMETER, POSITIONAL};
use super::families::TABLE;
use super::parser::{Call, MAX_LIST, Syntax};
use super::resolve::Resolver;

/// Longest file of a table, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Reads the files that expressions name.
pub trait Files {
    /// The content of a file, at most [`MAX_FILE_BYTES`] long.
    ///
    /// # Errors
    /// Why it cannot be read, in one phrase.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// Paths are relative to this folder.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let path = self.0.join(path);
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        // A pipe or a device would be waited for.
        if !std::fs::metadata(&path).map_err(told)?.is_file() {
            return Err(format!("{} is not a file", path.display()));
        }
        let file = std::fs::File::open(&path).map_err(told)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(format!("{} is longer than {MAX_FILE_BYTES} bytes", path.display()));
        }
        Ok(bytes)
    }
}

/// For expressions that come from nowhere a path could be relative to, such as canonical forms.
#[derive(Debug, Clone, Copy)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("{path} cannot be read here: this expression has no folder"))
    }
}

/// Whether a call of `table` names a file.
pub(super) fn names_file(call: &Call<'_>) -> bool {
    call.name == TABLE.name
        && call.arguments.iter().any(|argument| {
            matches!(&argument.name, Some((name, _)) if matches!(*name, "file" | "sha256"))
        })
}

/// The values of `table(file="x.json", sha256="...")`: written out, they are the table itself, so
/// that the canonical form needs no file.
pub(super) fn table<'s>(
    resolver: &mut Resolver<'s>,
    call: &Call<'s>,
    level: usize,
) -> Option<(Value, Range<usize>)> {
    let mut file = None;
    let mut sha256 = None;
    for argument in &call.arguments {
        let slot = match &argument.name {
            Some(("file", _)) => &mut file,
            Some(("sha256", _)) => &mut sha256,
            _ => {
                let span = argument.name.as_ref().map_or(&argument.value.span, |(_, span)| span);
                let message = "a table from a file has `file` and `sha256`, and nothing else";
                let error = Error::new(POSITIONAL, span.clone(), message, "belongs not to it");
                resolver.errors.push(error.help("values and a file at once: which of them holds?"));
                return None;
            }
        };
        if slot.replace(&argument.value).is_some() {
            let span = argument.name.as_ref().map_or(0..0, |(_, span)| span.clone());
            let message = "a parameter of the table is given twice";
            resolver.errors.push(Error::new(DUPLICATE_PARAMETER, span, message, "again here"));
            return None;
        }
    }
    let mut text = |node: Option<&Syntax<'s>>, name: &str, what: &str| {
        let Some(node) = node else {
            let message = format!("a table from a file needs `{name}`: {what}");
            let label = format!("`{name}` is missing");
            let error = Error::new(MISSING_PARAMETER, call.name_span.clone(), message, label);
            resolver.errors.push(error.help("table(file=\"x.json\", sha256=\"...\")"));
            return None;
        };
        Some((resolver.text(node, level)?.0, node.span.clone()))
    };
    let file = text(file, "file", "the path of a JSON file");
    let declared = sha256.map(|node| text(Some(node), "sha256", ""));
    let (path, span) = file?;
    let read = resolver.files.read(path).and_then(|bytes| checked(&bytes));
    let (found, values) = match read {
        Ok(read) => read,
        Err(why) => {
            let message = format!("the table's file cannot be used: {why}");
            resolver.errors.push(Error::new(FILE, span, message, "this file"));
            return None;
        }
    };
    let Some(declared) = declared else {
        let message = "a table from a file needs `sha256`, so that it stays the same table";
        let label = "`sha256` is missing";
        let error = Error::new(MISSING_PARAMETER, call.name_span.clone(), message, label);
        resolver.errors.push(error.help(format!("of the file as it is: sha256=\"{found}\"")));
        return None;
    };
    let (declared, place) = declared?;
    if !declared.eq_ignore_ascii_case(&found) {
        let message = format!("{path} has another sha256: {found}");
        let error = Error::new(FILE, place, message, "not the file's");
        let help = "the file has changed, or the sum is another file's; a new table is a new set";
        resolver.errors.push(error.help(help));
        return None;
    }
    let items = values.into_iter().map(|value| literal(value, &span)).collect();
    Some((Value::List(items), span))
}

/// The sum and the values of a file.
fn checked(bytes: &[u8]) -> Result<(String, Vec<f64>), String> {
    let mut sum = String::with_capacity(64);
    for byte in sha2::Sha256::digest(bytes) {
        let _ = write!(sum, "{byte:02x}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    let list = json.get("inv_freq").unwrap_or(&json).as_array();
    let list = list.ok_or("it has no list of numbers, alone or as `inv_freq`")?;
    if list.len() > MAX_LIST {
        return Err(format!("its list has more than {MAX_LIST} values"));
    }
    let number = |(k, value): (usize, &serde_json::Value)| {
        let finite = value.as_f64().filter(|value| value.is_finite());
        finite.ok_or_else(|| format!("its value {k} is no number: {value:.40}"))
    };
    let values: Result<Vec<f64>, String> = list.iter().enumerate().map(number).collect();
    Ok((sum, values?))
}

/// A number as an expression writes it: a literal is not negative.
fn literal(value: f64, span: &Range<usize>) -> Scalar {
    let number = Scalar::number(value.abs(), span.clone());
    if value.is_sign_negative() && value != 0.0 {
        return Scalar { kind: ScalarKind::Neg(Box::new(number)), span: Span(span.clone()) };
    }
    number
}

#[cfg(test)]
mod tests {
    use super::super::{Context, canonical, evaluate_expr, parse_with};
    use super::*;

    /// One file, whatever its path.
    struct One(&'static str);

    impl Files for One {
        fn read(&self, path: &str) -> Result<Vec<u8>, String> {
            if path == "x.json" { Ok(self.0.into()) } else { Err(format!("{path} is not there")) }
        }
    }

    const LIST: &str = "[1, 5e-1, 0.1, 1e-4]";
    const SUM: &str = "8e1a0e5ba2ff1e3e6a1c2ea2fbd6e3f6eabf0eb7cd9b4fb2f6ce5d8ea0ef2bd7";

    fn error(content: &'static str, source: &str) -> (&'static str, String, String) {
        let error = parse_with(source, &One(content)).expect_err(source).remove(0);
        (error.code, source[error.span].to_owned(), error.help.unwrap_or(error.message))
    }

    fn sum_of(content: &'static str) -> String {
        let help = error(content, "table(file=\"x.json\")").2;
        help.split('"').nth(1).expect("a sum in quotes").to_owned()
    }

    #[test]
    fn a_table_from_a_file_is_the_table_written_out() {
        let sum = sum_of(LIST);
        assert_ne!(sum, SUM);
        let source = format!("table(file=\"x.json\", sha256=\"{sum}\")");
        let expr = parse_with(&source, &One(LIST)).unwrap();
        assert_eq!(canonical(&expr), "table@1([1, 0.5, 0.1, 0.0001])");
        let set = evaluate_expr(&expr, &Context::new(8)).unwrap();
        assert_eq!(set.inv_freq, [1.0, 0.5, 0.1, 1e-4]);
        let object = "{\"expression\": \"...\", \"inv_freq\": [1, 0.5]}";
        let source = format!("table(sha256='{}', file='x.json')", sum_of(object).to_uppercase());
        let expr = parse_with(&source, &One(object)).unwrap();
        assert_eq!(canonical(&expr), "table@1([1, 0.5])");
    }

    #[test]
    fn the_sum_is_sha256() {
        // Of the empty list, by an independent program: printf '[]' | sha256sum
        assert_eq!(
            sum_of("[]"),
            "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_at_its_place() {
        let with_sum = format!("table(file='x.json', sha256='{SUM}')");
        let (code, place, help) = error(LIST, &with_sum);
        assert_eq!((code, &*place), (FILE, &*format!("'{SUM}'")));
        assert!(help.contains("changed"), "{help}");
        for (content, why) in [
            ("[1, 2", "no JSON"),
            ("{}", "no list"),
            ("[1, null]", "value 1 is no number: null"),
            ("[1, \"2\"]", "value 1"),
        ] {
            let (code, place, message) = error(content, &with_sum);
            assert_eq!((code, &*place), (FILE, "'x.json'"), "{content}");
            assert!(message.contains(why), "{message}");
        }
        let absent = error(LIST, "table(file='y.json', sha256='0')");
        assert!(absent.2.contains("y.json is not there"), "{absent:?}");
        for (source, code) in [
            ("table(sha256='0')", "freq::missing-parameter"),
            ("table(file='x.json', file='x.json')", "freq::duplicate-parameter"),
            ("table([1], file='x.json')", "freq::positional"),
            ("table(file=3, sha256='0')", "freq::type"),
        ] {
            assert_eq!(error(LIST, source).0, code, "{source}");
        }
        let nowhere = super::super::parse("table(file='x.json', sha256='0')").unwrap_err();
        assert_eq!(nowhere[0].code, FILE);
    }

    #[test]
    fn a_folder_reads_files_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.json"), LIST).unwrap();
        let folder = Folder(dir.path().to_owned());
        assert_eq!(folder.read("t.json").unwrap(), LIST.as_bytes());
        assert!(folder.read(".").unwrap_err().contains("not a file"));
        assert!(folder.read("none.json").is_err());
        std::fs::write(dir.path().join("long"), vec![b'1'; MAX_FILE_BYTES + 1]).unwrap();
        assert!(folder.read("long").unwrap_err().contains("longer"));
    }
}
