//! Documents of a text file, streamed: `.txt` and `.jsonl`, plain or compressed (gzip, zstd).
//!
//! - `.txt`: UTF-8. A line `<|endoftext|>` ends a document; the document excludes its final
//!   newline. Text after the last end line is a document too, unless it is only whitespace.
//!   Windows line ends are accepted around the end line (`\r\n` there counts as the newline)
//!   and kept as they are inside a document. Two end lines in a row hold an empty document.
//! - `.jsonl`: one JSON object a line, its text in one column; blank lines are skipped.
//!
//! A byte order mark at the start of a file is not text and is skipped. No document is read
//! past [`DOCUMENT_LIMIT`] bytes, so memory stays bounded on any input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::error::Error;
use super::format::{Compression, Format, Kind, open};

/// Longest document (`.txt`) or line (`.jsonl`) held in memory, in bytes.
pub(crate) const DOCUMENT_LIMIT: u64 = 64 << 20;

/// The line that ends a document of a `.txt` file.
const END_LINE: &[u8] = b"<|endoftext|>";

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The documents of one text file, in order.
pub(crate) struct Lines {
    path: PathBuf,
    format: Format,
    column: String,
    reader: BufReader<Box<dyn Read + Send>>,
    /// Bytes of the file that were read so far.
    read: Arc<AtomicU64>,
    /// Bytes of text read so far.
    offset: u64,
    /// Lines begun so far.
    line: u64,
    limit: u64,
}

/// Bytes of a buffer before and after decompression.
const BUFFER: usize = 1 << 20;

/// Counts what passes.
struct Counting {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The text of a file.
fn unpacked(file: Counting, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::None => Box::new(file),
        // A gzip or zstd file may be several, one after the other.
        Compression::Gzip => {
            let packed = BufReader::with_capacity(BUFFER, file);
            Box::new(flate2::bufread::MultiGzDecoder::new(packed))
        }
        Compression::Zstd => {
            let packed = BufReader::with_capacity(BUFFER, file);
            Box::new(zstd::stream::read::Decoder::with_buffer(packed)?)
        }
    })
}

impl Lines {
    /// Opens a file; `column` is the text column of `.jsonl`.
    ///
    /// # Errors
    /// If it cannot be read, or is empty.
    pub(crate) fn open(path: &Path, format: Format, column: &str) -> Result<Self, Error> {
        let (file, _) = open(path)?;
        let read = Arc::new(AtomicU64::new(0));
        let text = unpacked(Counting { file, read: Arc::clone(&read) }, format.compression)
            .map_err(|e| Error::input_file(path, e))?;
        let mut documents = Self {
            path: path.to_owned(),
            format,
            column: column.to_owned(),
            reader: BufReader::with_capacity(BUFFER, text),
            read,
            offset: 0,
            line: 0,
            limit: DOCUMENT_LIMIT,
        };
        let start = documents.reader.fill_buf();
        let start = start.map_err(|e| failed(path, format, e))?;
        if start.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        if start.starts_with(BYTE_ORDER_MARK) {
            documents.reader.consume(BYTE_ORDER_MARK.len());
            documents.offset = BYTE_ORDER_MARK.len() as u64;
        }
        Ok(documents)
    }

    /// Bytes of the file read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        // What lies in the buffer of a plain file was not used yet.
        match self.format.compression {
            Compression::None => self.offset,
            _ => self.read.load(Ordering::Relaxed),
        }
    }

    /// The next document, or `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Error> {
        match self.format.kind {
            Kind::JsonLines => self.next_json(),
            _ => self.next_text(),
        }
    }

    fn next_text(&mut self) -> Result<Option<String>, Error> {
        let (start_line, start_offset) = (self.line + 1, self.offset);
        let mut bytes = Vec::new();
        loop {
            let line_start = bytes.len();
            if !self.read_line(&mut bytes, start_line)? {
                if bytes.trim_ascii().is_empty() {
                    return Ok(None);
                }
                break;
            }
            if without_newline(&bytes[line_start..]) == END_LINE {
                bytes.truncate(line_start);
                break;
            }
        }
        let len = without_newline(&bytes).len();
        bytes.truncate(len);
        self.utf8(bytes, start_line, start_offset).map(Some)
    }

    fn next_json(&mut self) -> Result<Option<String>, Error> {
        loop {
            let start_offset = self.offset;
            let mut bytes = Vec::new();
            let line = self.line + 1;
            if !self.read_line(&mut bytes, line)? {
                return Ok(None);
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let text = self.utf8(bytes, line, start_offset)?;
            return self.column_of(&text, line).map(Some);
        }
    }

    fn column_of(&self, line_text: &str, line: u64) -> Result<String, Error> {
        let mut object: Map<String, Value> =
            serde_json::from_str(line_text.trim_end()).map_err(|e| {
                // serde_json counts lines within the text it was given, which is one line.
                let reason = e.to_string();
                let reason = reason.split(" at line ").next().unwrap_or_default();
                Error::Json {
                    path: self.path.clone(),
                    line,
                    reason: format!("{reason} at column {}", e.column()),
                }
            })?;
        let problem = match object.get_mut(&self.column) {
            Some(Value::String(text)) => return Ok(std::mem::take(text)),
            None => format!("no column `{}`", self.column),
            Some(other) => format!("column `{}` is {}, not a string", self.column, kind(other)),
        };
        let strings: Vec<&str> = object
            .iter()
            .filter(|(_, value)| value.is_string())
            .map(|(key, _)| key.as_str())
            .collect();
        let present = match strings.len() {
            0 => "no column holds a string".to_owned(),
            // Enough to find the name; a line may have any number of keys.
            n => strings[..n.min(20)].join(", "),
        };
        Err(Error::Column { path: self.path.clone(), line, problem, present })
    }

    /// Appends one line with its newline; false at the end of the file.
    fn read_line(&mut self, bytes: &mut Vec<u8>, start_line: u64) -> Result<bool, Error> {
        let room = (self.limit + 1).saturating_sub(bytes.len() as u64);
        let mut limited = self.reader.by_ref().take(room);
        let read = limited
            .read_until(b'\n', bytes)
            .map_err(|e| failed(&self.path, self.format, e))? as u64;
        if bytes.len() as u64 > self.limit {
            return Err(Error::DocumentTooLong {
                path: self.path.clone(),
                line: start_line,
                limit: self.limit,
            });
        }
        self.offset += read;
        self.line += u64::from(read > 0);
        Ok(read > 0)
    }

    fn utf8(&self, bytes: Vec<u8>, start_line: u64, start_offset: u64) -> Result<String, Error> {
        String::from_utf8(bytes).map_err(|e| {
            let valid = e.utf8_error().valid_up_to();
            let newlines = e.as_bytes()[..valid].split(|&b| b == b'\n').count() - 1;
            Error::Utf8 {
                path: self.path.clone(),
                line: start_line + newlines as u64,
                offset: start_offset + valid as u64,
            }
        })
    }
}

/// The error for a failed read: a damaged archive is the file's fault, not the disk's.
fn failed(path: &Path, format: Format, error: io::Error) -> Error {
    let packing = match format.compression {
        Compression::None => return Error::input_file(path, error),
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    // The system's errors have a number; those of the decompressors have none.
    match error.raw_os_error() {
        Some(_) => Error::input_file(path, error),
        None => Error::Packed { path: path.to_owned(), packing, reason: error.to_string() },
    }
}

fn without_newline(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: Format = Format { kind: Kind::Text, compression: Compression::None };

    fn read(name: &str, content: &[u8], limit: u64) -> Result<Vec<String>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let format = Format::of(&path)?;
        let mut documents = Lines::open(&path, format, "text")?;
        documents.limit = limit;
        let mut all = Vec::new();
        while let Some(document) = documents.next()? {
            all.push(document);
        }
        assert_eq!(documents.bytes_read(), content.len() as u64);
        Ok(all)
    }

    fn text(content: &str) -> Vec<String> {
        read("a.txt", content.as_bytes(), DOCUMENT_LIMIT).unwrap()
    }

    #[test]
    fn an_end_line_ends_a_story_without_its_newline() {
        assert_eq!(
            text("One.\nTwo.\n<|endoftext|>\nThree.\n<|endoftext|>\n"),
            ["One.\nTwo.", "Three."]
        );
        assert_eq!(text("One.\n\n<|endoftext|>\n"), ["One.\n"]);
        assert_eq!(text("One.\n<|endoftext|>\ntail"), ["One.", "tail"]);
        assert_eq!(text("One.\n<|endoftext|>\ntail\n"), ["One.", "tail"]);
        assert_eq!(text("One.\n<|endoftext|>\n \n\n"), ["One."]);
        assert_eq!(text("One.\n<|endoftext|>"), ["One."]);
        assert_eq!(text("a\n<|endoftext|>\n<|endoftext|>\nb\n"), ["a", "", "b"]);
        // Not a line of its own: text.
        assert_eq!(text("a <|endoftext|>\nb"), ["a <|endoftext|>\nb"]);
    }

    #[test]
    fn windows_line_ends_are_kept_inside_and_accepted_around() {
        assert_eq!(text("a\r\nb\r\n<|endoftext|>\r\nc\r\n"), ["a\r\nb", "c"]);
        assert_eq!(text("\u{feff}a\n<|endoftext|>\n"), ["a"]);
    }

    #[test]
    fn bad_bytes_are_placed_by_line_and_offset() {
        let error =
            read("a.txt", b"ok\n<|endoftext|>\nfine\nbad \xff\n", DOCUMENT_LIMIT).unwrap_err();
        assert!(matches!(error, Error::Utf8 { line: 4, offset: 26, .. }), "{error}");
        let error = read("a.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"\xc3\"}", DOCUMENT_LIMIT);
        assert!(matches!(error.unwrap_err(), Error::Utf8 { line: 2, offset: 24, .. }));
    }

    #[test]
    fn json_lines_give_their_column() {
        let content = b"{\"id\": 1, \"text\": \"a\\nb\"}\n\n{\"text\": \"\"}\r\n{\"text\":\"c\"}";
        assert_eq!(read("a.JSONL", content, DOCUMENT_LIMIT).unwrap(), ["a\nb", "", "c"]);
    }

    #[test]
    fn bad_json_lines_name_line_reason_and_columns() {
        for (line, expected) in [
            (
                "{\"text\": \"a\"",
                "`:2: not a JSON object: EOF while parsing an object at column 12",
            ),
            ("[1]", "`:2: not a JSON object: invalid type: sequence, expected a map at column 0"),
            (
                "{\"story\": \"x\", \"n\": 1}",
                "`:2: no column `text`; set `text_column` in [data] to the column that holds the text (here: story)",
            ),
            (
                "{\"text\": null}",
                "`:2: column `text` is null, not a string; set `text_column` in [data] to the column that holds the text (here: no column holds a string)",
            ),
        ] {
            let content = format!("{{\"text\": \"ok\"}}\n{line}\n");
            let error = read("a.jsonl", content.as_bytes(), DOCUMENT_LIMIT).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_document_is_not_read_past_the_limit() {
        let error = read("a.txt", b"a\n<|endoftext|>\n0123456789\n0123456789\n", 16).unwrap_err();
        assert!(matches!(error, Error::DocumentTooLong { line: 3, limit: 16, .. }), "{error}");
        let error = read("a.jsonl", b"{\"text\": \"0123456789\"}\n", 16).unwrap_err();
        assert!(matches!(error, Error::DocumentTooLong { line: 1, .. }), "{error}");
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_name() {
        for (name, content, expected) in [
            ("a.csv", &b"x"[..], "not a format"),
            ("a", b"x", "not a format"),
            ("a.txt", b"", "is empty"),
        ] {
            let error = read(name, content, DOCUMENT_LIMIT).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.kind(), crate::data::ErrorKind::Input);
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = Lines::open(dir.path(), TEXT, "text").err().unwrap();
        assert!(matches!(folder, Error::NotAFile { .. }));
        let missing = Lines::open(&dir.path().join("no.txt"), TEXT, "text");
        assert!(matches!(missing.err().unwrap(), Error::Missing { .. }));
    }

    fn gzip(text: &str) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_files_hold_the_same_documents_also_in_several_parts() {
        let parts = ["One.\n<|endoftext|>\nTw", "o.\n<|endoftext|>\n"];
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        let whole = [gzip(parts[0]), gzip(parts[1])].concat();
        assert_eq!(read("a.txt.gz", &whole, DOCUMENT_LIMIT).unwrap(), ["One.", "Two."]);
        let whole = [zstd(parts[0]), zstd(parts[1])].concat();
        assert_eq!(read("a.txt.zst", &whole, DOCUMENT_LIMIT).unwrap(), ["One.", "Two."]);
        let json = zstd("{\"text\": \"a\"}\n");
        assert_eq!(read("a.jsonl.zst", &json, DOCUMENT_LIMIT).unwrap(), ["a"]);
    }

    #[test]
    fn a_damaged_archive_is_named_with_its_reason() {
        let text = "word ".repeat(1000);
        for (name, bytes) in [
            ("a.txt.gz", gzip(&text)),
            ("a.txt.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ] {
            for bytes in [&bytes[..bytes.len() - 9], b"plain text"] {
                let error = read(name, bytes, DOCUMENT_LIMIT).unwrap_err();
                assert!(matches!(error, Error::Packed { .. }), "{error}");
                assert_eq!(error.kind(), crate::data::ErrorKind::Input);
            }
        }
    }

    proptest! {
        #[test]
        fn written_stories_are_read_back(stories in prop::collection::vec("[a-zé\n.]{0,40}", 0..8)) {
            let mut content = String::new();
            for story in ["first"].into_iter().chain(stories.iter().map(String::as_str)) {
                content += story;
                content += "\n<|endoftext|>\n";
            }
            let mut expected = vec!["first".to_owned()];
            expected.extend(stories);
            prop_assert_eq!(text(&content), expected);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(content in prop::collection::vec(any::<u8>(), 1..200)) {
            let _ = read_all(&content, "a.txt");
            let _ = read_all(&content, "a.jsonl");
            let _ = read_all(&content, "a.txt.gz");
            let _ = read_all(&content, "a.jsonl.zst");
        }
    }

    fn read_all(content: &[u8], name: &str) -> Result<usize, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut documents = Lines::open(&path, Format::of(&path)?, "text")?;
        let mut count = 0;
        while documents.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
