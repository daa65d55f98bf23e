//! TensorBoard's event files, of which `xp` needs three messages: the file's version, the start of
//! a log, and scalars of a step.
//!
//! ```text
//! file    = record*
//! record  = length: u64 LE, masked CRC32C of it: u32 LE, message, masked CRC32C of it: u32 LE
//! Event   = 1: wall_time double, 2: step varint, one of 3: file_version, 5: summary, 7: session_log
//! summary = 1: { 1: tag, 2: simple_value float }*
//! ```
//!
//! An event file is a view of `train.jsonl` and `run.json` for one program, never a source: what is
//! missing or torn in it is made again from those.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::fs;

/// What names of event files begin with.
const PREFIX: &str = "events.out.tfevents.";
/// The version of the format, the first event of a file.
const VERSION: &str = "brain.Event:2";

/// Scalars of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalars {
    /// When, in seconds since 1970.
    pub wall_time: f64,
    /// Which step.
    pub step: u64,
    /// Values by tag.
    pub values: Vec<(String, f32)>,
}

/// An event file that grows.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: BufWriter<File>,
    /// The message under construction.
    message: Vec<u8>,
}

impl Events {
    /// Creates a file in `dir` whose name comes after those of the files that are there:
    /// `events.out.tfevents.<unix seconds>.<host>.<n>`. It says that a log starts at step 0, by
    /// which TensorBoard drops what it has read of earlier files.
    ///
    /// # Errors
    /// If the folder or the file cannot be created.
    pub fn create(dir: &Path, wall_time: f64, host: &str) -> fs::Result<Self> {
        fs::create_dir_all(dir)?;
        let earlier = files(dir)?;
        let last = earlier.iter().filter_map(|path| seconds_of(path)).max();
        let seconds = last.map_or(wall_time as u64, |last| (wall_time as u64).max(last + 1));
        let host: String = host
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .collect();
        let path = dir.join(format!("{PREFIX}{seconds:010}.{host}.{}", earlier.len()));
        let mut options = OpenOptions::new();
        let file = options.create_new(true).write(true).open(&path);
        let file = BufWriter::with_capacity(1 << 16, file.map_err(fs::Error::at("create", &path))?);
        let mut events = Self { path, file, message: Vec::new() };
        events.event(wall_time, 0);
        bytes(&mut events.message, 3, VERSION.as_bytes());
        events.write()?;
        events.event(wall_time, 0);
        // SessionLog { status: START }
        bytes(&mut events.message, 7, &[0x08, 1]);
        events.write()?;
        Ok(events)
    }

    /// Appends scalars of one step; they reach the file when the buffer is full, or at
    /// [`Self::flush`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, wall_time: f64, step: u64, values: &[(&str, f32)]) -> fs::Result<()> {
        self.event(wall_time, step);
        let value_size = |tag: &str| {
            let tag = tag.len();
            1 + varint_size(tag as u64) + tag + 5
        };
        let size = |(tag, _): &(&str, f32)| {
            let value = value_size(tag);
            1 + varint_size(value as u64) + value
        };
        self.message.push(5 << 3 | 2);
        varint(&mut self.message, values.iter().map(size).sum::<usize>() as u64);
        for (tag, value) in values {
            self.message.push(1 << 3 | 2);
            varint(&mut self.message, value_size(tag) as u64);
            bytes(&mut self.message, 1, tag.as_bytes());
            self.message.push(2 << 3 | 5);
            self.message.extend(value.to_le_bytes());
        }
        self.write()
    }

    /// Lets readers see what was appended.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> fs::Result<()> {
        self.file.flush().map_err(fs::Error::at("write", &self.path))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a message.
    fn event(&mut self, wall_time: f64, step: u64) {
        self.message.clear();
        self.message.push(1 << 3 | 1);
        self.message.extend(wall_time.to_le_bytes());
        if step > 0 {
            self.message.push(2 << 3);
            varint(&mut self.message, step);
        }
    }

    /// Writes the message as one record.
    fn write(&mut self) -> fs::Result<()> {
        let length = (self.message.len() as u64).to_le_bytes();
        let parts = [
            length.as_slice(),
            &masked_crc(&length).to_le_bytes(),
            &self.message,
            &masked_crc(&self.message).to_le_bytes(),
        ];
        let mut write = || parts.iter().try_for_each(|part| self.file.write_all(part));
        write().map_err(fs::Error::at("write", &self.path))
    }
}

/// The event files of a folder, by name; none if there is no folder.
///
/// # Errors
/// If the folder cannot be read.
pub fn files(dir: &Path) -> fs::Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fs::Error::at("list", dir))? {
        let path = entry.map_err(fs::Error::at("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PREFIX) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The scalars of an event file, up to its end or the first record that is torn or damaged.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> fs::Result<Vec<Scalars>> {
    let text = fs::read(path)?;
    let mut rest = text.as_slice();
    let mut found = Vec::new();
    while let Some(message) = record(&mut rest) {
        found.extend(scalars(message));
    }
    Ok(found)
}

fn seconds_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    name.split('.').next()?.parse().ok()
}

/// Takes one sound record off the front.
fn record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (head, after) = rest.split_at_checked(12)?;
    let length = usize::try_from(u64::from_le_bytes(head[..8].try_into().ok()?)).ok()?;
    let (message, after) = after.split_at_checked(length)?;
    let (crc, after) = after.split_at_checked(4)?;
    let sound = head[8..] == masked_crc(&head[..8]).to_le_bytes()
        && crc == masked_crc(message).to_le_bytes();
    *rest = after;
    sound.then_some(message)
}

/// What a message has of scalars; `None` if it is no summary.
fn scalars(message: &[u8]) -> Option<Scalars> {
    let mut event = Scalars { wall_time: 0.0, step: 0, values: Vec::new() };
    for (number, field) in Fields(message) {
        match (number, field) {
            (1, Field::Fixed64(bits)) => event.wall_time = f64::from_bits(bits),
            (2, Field::Varint(step)) => event.step = step,
            (5, Field::Bytes(summary)) => {
                for (_, value) in Fields(summary) {
                    let Field::Bytes(value) = value else { continue };
                    let (mut tag, mut simple) = (None, None);
                    for field in Fields(value) {
                        match field {
                            (1, Field::Bytes(text)) => tag = String::from_utf8(text.into()).ok(),
                            (2, Field::Fixed32(bits)) => simple = Some(f32::from_bits(bits)),
                            _ => {}
                        }
                    }
                    event.values.extend(tag.zip(simple));
                }
            }
            _ => {}
        }
    }
    (!event.values.is_empty()).then_some(event)
}

/// A field of a protocol buffer's message.
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message with their numbers, up to the first that is none.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                let (bits, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Field::Fixed64(u64::from_le_bytes(*bits))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => {
                let (bits, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Field::Fixed32(u32::from_le_bytes(*bits))
            }
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_size(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn bytes(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// Sums of the Castagnoli polynomial, reflected, by byte.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}

/// As TFRecord has it, so that a sum of bytes that hold sums is not special.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_file_is_these_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(&dir.path().join("tb"), 1.5, "a host/x").unwrap();
        events.append(2.0, 300, &[("t", 0.5)]).unwrap();
        events.flush().unwrap();
        let name = events.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "events.out.tfevents.0000000001.a_host_x.0");
        let bytes = fs::read(events.path()).unwrap();
        // By hand, from event.proto and summary.proto; the sums by the function of the other test.
        let mut expected = Vec::new();
        let messages: [&[u8]; 3] = [
            b"\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0dbrain.Event:2",
            b"\x09\0\0\0\0\0\0\xf8\x3f\x3a\x02\x08\x01",
            b"\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01t\x15\0\0\0\x3f",
        ];
        for message in messages {
            let length = (message.len() as u64).to_le_bytes();
            expected.extend(length);
            expected.extend(masked_crc(&length).to_le_bytes());
            expected.extend(message);
            expected.extend(masked_crc(message).to_le_bytes());
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_read_is_what_was_written_up_to_the_first_torn_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path(), 1e9, "host").unwrap();
        let long = "x".repeat(300);
        for step in 0..200 {
            let values = [("train/loss", step as f32), (long.as_str(), f32::INFINITY), ("", -0.0)];
            events.append(1e9 + step as f64, step * step, &values).unwrap();
        }
        events.append(2e9, u64::MAX >> 1, &[("nan", f32::NAN)]).unwrap();
        events.flush().unwrap();
        let read_all = read(events.path()).unwrap();
        assert_eq!(read_all.len(), 201);
        assert_eq!((read_all[7].step, read_all[7].wall_time), (49, 1e9 + 7.0));
        assert_eq!(read_all[7].values[0], ("train/loss".to_owned(), 7.0));
        assert_eq!(read_all[7].values[1], (long.clone(), f32::INFINITY));
        assert!(read_all[200].values[0].1.is_nan() && read_all[200].step == u64::MAX >> 1);

        let whole = fs::read(events.path()).unwrap();
        let torn = dir.path().join("torn");
        for cut in [1, 5, 20, 40] {
            std::fs::write(&torn, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(read(&torn).unwrap(), read_all[..200]);
        }
        for (at, left) in [(30, 0), (12, 0), (whole.len() - 10, 200)] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&torn, damaged).unwrap();
            assert_eq!(read(&torn).unwrap().len(), left, "byte {at}");
        }
    }

    #[test]
    fn a_later_file_has_a_later_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(files(&dir.path().join("none")).unwrap().is_empty());
        let paths: Vec<PathBuf> = [50.0, 50.5, 49.0, 99.0]
            .map(|time| Events::create(dir.path(), time, "h").unwrap().path().to_owned())
            .into();
        assert_eq!(files(dir.path()).unwrap(), paths);
    }
}
