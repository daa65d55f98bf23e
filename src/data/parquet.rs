//! Documents of a Parquet file: one string column, row group by row group and page by page.
//!
//! No more than a page and its dictionary are held, whatever the size of the file and of its row
//! groups. Rows come in the order of the file.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::error::Error;

/// Rows decoded at once.
const ROWS_AT_ONCE: usize = 256;

/// The rows of one column of a file.
pub(crate) struct Rows {
    path: PathBuf,
    file: SerializedFileReader<File>,
    column: usize,
    /// Definition level of a value; lower ones are null.
    defined: i16,
    /// The row group that is open, and its reader.
    open: Option<ColumnReaderImpl<ByteArrayType>>,
    next_group: usize,
    /// Decoded and not yet given.
    ready: VecDeque<ByteArray>,
    /// Rows given so far.
    row: u64,
    rows: u64,
    bytes: u64,
}

impl Rows {
    /// Opens a file and finds its text column (`a.b` is a field of a struct).
    ///
    /// # Errors
    /// If it is no Parquet file, or has no such column of strings.
    pub(crate) fn open(path: &Path, column: &str) -> Result<Self, Error> {
        let (file, bytes) = super::format::open(path)?;
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let index = find(path, &schema, column)?;
        let rows = reader.metadata().row_groups().iter().map(|g| g.num_rows().max(0) as u64).sum();
        Ok(Self {
            path: path.to_owned(),
            column: index,
            defined: schema.column(index).max_def_level(),
            file: reader,
            open: None,
            next_group: 0,
            ready: VecDeque::new(),
            row: 0,
            rows,
            bytes,
        })
    }

    /// The share of the file's bytes that the rows given so far are of its rows.
    pub(crate) fn bytes_read(&self) -> u64 {
        (self.bytes as f64 * (self.row as f64 / self.rows.max(1) as f64)) as u64
    }

    /// The next row's text, or `None` at the end of the file.
    ///
    /// # Errors
    /// A null, text that is not UTF-8, a file that is not what its footer says.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Error> {
        while self.ready.is_empty() {
            if !self.decode()? {
                return Ok(None);
            }
        }
        let Some(value) = self.ready.pop_front() else { return Ok(None) };
        let row = self.row;
        self.row += 1;
        match std::str::from_utf8(value.data()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(self.row_error(row, "is not valid UTF-8; write the file again as UTF-8")),
        }
    }

    fn row_error(&self, row: u64, problem: &str) -> Error {
        Error::Row { path: self.path.clone(), row, problem: problem.to_owned() }
    }

    /// Decodes some more rows; false at the end of the file.
    fn decode(&mut self) -> Result<bool, Error> {
        if self.open.is_none() {
            if self.next_group == self.file.num_row_groups() {
                return if self.row == self.rows {
                    Ok(false)
                } else {
                    Err(Error::Parquet {
                        path: self.path.clone(),
                        reason: format!("it has {} rows, its footer says {}", self.row, self.rows),
                    })
                };
            }
            let (file, group, column) = (&self.file, self.next_group, self.column);
            let reader =
                guarded(&self.path, || file.get_row_group(group)?.get_column_reader(column))?;
            let ColumnReader::ByteArrayColumnReader(reader) = reader else {
                unreachable!("the column was found to be of this type");
            };
            self.open = Some(reader);
            self.next_group += 1;
        }
        let reader = self.open.as_mut().expect("opened above");
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let has_levels = self.defined > 0;
        let (records, _, _) = guarded(&self.path, || {
            let levels = has_levels.then_some(&mut levels);
            reader.read_records(ROWS_AT_ONCE, levels, None, &mut values)
        })?;
        if records == 0 {
            self.open = None;
        }
        if let Some(null) = levels.iter().position(|level| *level < self.defined) {
            let row = self.row + null as u64;
            return Err(self.row_error(row, "is null; drop such rows, or give them a text"));
        }
        self.ready.extend(values);
        Ok(true)
    }
}

/// Calls the reader. Its decoders index into what a file says of itself and may panic where that is
/// not so: a damaged file is the user's problem to hear of, not a crash.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Error> {
    let wrong = |reason: String| Error::Parquet { path: path.to_owned(), reason };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ParquetError::NYI(what))) => {
            Err(wrong(format!("it uses what this reader does not know ({what})")))
        }
        Ok(Err(error)) => Err(wrong(error.to_string())),
        Err(_) => Err(wrong("its pages contradict its footer".to_owned())),
    }
}

/// The index of the leaf column of a name.
fn find(path: &Path, schema: &SchemaDescriptor, name: &str) -> Result<usize, Error> {
    let is_text = |column: &ColumnDescriptor| {
        column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0
    };
    let found = schema.columns().iter().position(|column| column.path().string() == name);
    let problem = match found {
        Some(index) if is_text(&schema.column(index)) => return Ok(index),
        Some(index) => {
            let column = schema.column(index);
            let kind = if column.max_rep_level() > 0 {
                "a list".to_owned()
            } else {
                column.physical_type().to_string().to_lowercase()
            };
            format!("column `{name}` is {kind}, not a string")
        }
        None => format!("no column `{name}`"),
    };
    let texts: Vec<String> = schema
        .columns()
        .iter()
        .filter(|column| is_text(column))
        .map(|column| column.path().string())
        .take(20)
        .collect();
    let present = match texts.len() {
        0 => "no column holds strings".to_owned(),
        _ => texts.join(", "),
    };
    Err(Error::ParquetColumn { path: path.to_owned(), problem, present })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::{Compression, GzipLevel, ZstdLevel};
    use parquet::data_type::{ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const SCHEMA: &str = "message m { required int64 id; optional binary text (UTF8);
        required binary raw; required group meta { required binary url (UTF8); }
        optional group tags (LIST) { repeated group list { required binary element (UTF8); } } }";

    /// A file with row groups of these texts; `None` is null.
    fn write(path: &Path, groups: &[Vec<Option<&str>>], compression: Compression) {
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties =
            WriterProperties::builder().set_compression(compression).set_data_page_size_limit(64);
        let file = File::create(path).unwrap();
        let mut writer =
            SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
        for rows in groups {
            let mut group = writer.next_row_group().unwrap();
            let n = rows.len();
            let mut index = 0;
            while let Some(mut column) = group.next_column().unwrap() {
                match index {
                    0 => {
                        let ids: Vec<i64> = (0..n as i64).collect();
                        column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
                    }
                    1 => {
                        let levels: Vec<i16> =
                            rows.iter().map(|t| i16::from(t.is_some())).collect();
                        let typed = column.typed::<ByteArrayType>();
                        let texts: Vec<ByteArray> =
                            rows.iter().flatten().map(|text| ByteArray::from(*text)).collect();
                        typed.write_batch(&texts, Some(&levels), None).unwrap();
                    }
                    2 => {
                        let raw = vec![ByteArray::from(vec![0xff, 0xfe]); n];
                        column.typed::<ByteArrayType>().write_batch(&raw, None, None).unwrap();
                    }
                    3 => {
                        let urls: Vec<ByteArray> =
                            (0..n).map(|i| ByteArray::from(format!("u{i}").as_str())).collect();
                        column.typed::<ByteArrayType>().write_batch(&urls, None, None).unwrap();
                    }
                    _ => {
                        let typed = column.typed::<ByteArrayType>();
                        typed.write_batch(&[], Some(&vec![0; n]), Some(&vec![0; n])).unwrap();
                    }
                }
                column.close().unwrap();
                index += 1;
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    fn read(path: &Path, column: &str) -> Result<Vec<String>, Error> {
        let mut rows = Rows::open(path, column)?;
        let mut all = Vec::new();
        while let Some(text) = rows.next()? {
            all.push(text);
        }
        assert_eq!(rows.bytes_read(), std::fs::metadata(path).unwrap().len());
        Ok(all)
    }

    fn sample() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        (dir, path)
    }

    #[test]
    fn rows_come_in_order_across_groups_pages_and_compressions() {
        let (_dir, path) = sample();
        let many: Vec<String> = (0..1000).map(|i| format!("story {} é\n", i % 7)).collect();
        let many: Vec<Option<&str>> = many.iter().map(|s| Some(s.as_str())).collect();
        for compression in compressions() {
            write(
                &path,
                &[vec![Some("first"), Some("")], many.clone(), vec![Some("last")]],
                compression,
            );
            let texts = read(&path, "text").unwrap();
            assert_eq!(texts.len(), 1003);
            assert_eq!((texts[0].as_str(), texts[1].as_str()), ("first", ""));
            assert!(texts[2..1002].iter().zip(&many).all(|(a, b)| Some(a.as_str()) == *b));
            assert_eq!(texts[1002], "last");
            assert_eq!(read(&path, "meta.url").unwrap()[1002], "u0");
        }
    }

    #[test]
    fn columns_that_hold_no_text_are_named_with_those_that_do() {
        let (_dir, path) = sample();
        write(&path, &[vec![Some("a"), None]], Compression::SNAPPY);
        for (column, expected) in [
            (
                "body",
                "no column `body`; set `text_column` in [data] to the column that holds the text (here: text, raw, meta.url)",
            ),
            ("id", "column `id` is int64, not a string"),
            ("tags.list.element", "is a list, not a string"),
            ("text", "row 1 is null"),
            ("raw", "row 0 is not valid UTF-8"),
        ] {
            let error = read(&path, column).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.kind(), crate::data::ErrorKind::Input);
        }
    }

    fn compressions() -> [Compression; 5] {
        [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::ZSTD(ZstdLevel::default()),
            Compression::LZ4_RAW,
        ]
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_crash() {
        let (_dir, path) = sample();
        let text: Vec<String> = (0..300).map(|i| format!("story {i} of many")).collect();
        let rows: Vec<Option<&str>> = text.iter().map(|s| Some(s.as_str())).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for compression in compressions() {
            write(&path, &[rows.clone(), rows.clone()], compression);
            let sound = std::fs::read(&path).unwrap();
            let whole = read(&path, "text").unwrap();
            let mut refused = 0;
            for round in 0..400 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mut bytes = sound.clone();
                let at = (random >> 33) as usize % bytes.len();
                if round % 10 == 0 {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 1 << (random >> 61);
                }
                std::fs::write(&path, &bytes).unwrap();
                let result = Rows::open(&path, "text").and_then(|mut rows| {
                    let mut n = 0;
                    while rows.next()?.is_some() {
                        n += 1;
                    }
                    Ok(n)
                });
                match result {
                    // A bit of a text, or of what is not read.
                    Ok(n) => assert_eq!(n, whole.len()),
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), crate::data::ErrorKind::Input, "{error}");
                    }
                }
            }
            assert!(refused > 40, "{compression}: {refused}");
        }
    }
}
