//! The GGUF container: metadata, and tensors of f32.
//!
//! Version 3, little-endian. The layout is that of the specification in the ggml repository
//! (docs/gguf.md).

use std::io::{self, Write};

/// `general.alignment`, if the file does not say otherwise: where each tensor's data begin.
const ALIGN: u64 = 32;
/// The type of a tensor of f32.
const F32: u32 = 0;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Metadata {
    /// A number of dimensions, tokens, layers; an id.
    U32(u32),
    /// A real number.
    F32(f32),
    /// A choice.
    Bool(bool),
    /// A text.
    Text(String),
    /// Texts: tokens, merges.
    Texts(Vec<String>),
    /// Small numbers: the types of tokens.
    I32s(Vec<i32>),
}

/// A tensor of f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Dimensions, innermost first.
    pub shape: Vec<u64>,
}

impl Tensor {
    fn bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * size_of::<f32>() as u64
    }
}

/// Writes a file. `data(i, out)` writes the values of the i-th tensor, little-endian: they are never
/// held here.
///
/// # Errors
/// What the writer or `data` returns, and if `data` writes another number of bytes than the shape
/// has.
pub fn write(
    out: &mut dyn Write,
    metadata: &[(&'static str, Metadata)],
    tensors: &[Tensor],
    mut data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        push_text(&mut header, key);
        push_value(&mut header, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        push_text(&mut header, &tensor.name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        header.extend(tensor.shape.iter().flat_map(|n| n.to_le_bytes()));
        header.extend(F32.to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGN);
    }
    // The data begin at a multiple of the alignment too.
    let padded = (header.len() as u64).next_multiple_of(ALIGN);
    header.resize(padded as usize, 0);
    out.write_all(&header)?;
    for (index, tensor) in tensors.iter().enumerate() {
        let mut counted = Counted { out, bytes: 0 };
        data(index, &mut counted)?;
        let (is, want) = (counted.bytes, tensor.bytes());
        if is != want {
            return Err(io::Error::other(format!("{} has {want} bytes, not {is}", tensor.name)));
        }
        out.write_all(&[0; ALIGN as usize][..(want.next_multiple_of(ALIGN) - want) as usize])?;
    }
    Ok(())
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The types' numbers are the specification's.
fn push_value(out: &mut Vec<u8>, value: &Metadata) {
    let push = |out: &mut Vec<u8>, kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    let push_list = |out: &mut Vec<u8>, kind: u32, len: usize| {
        push(out, 9, &kind.to_le_bytes());
        out.extend((len as u64).to_le_bytes());
    };
    match value {
        Metadata::U32(value) => push(out, 4, &value.to_le_bytes()),
        Metadata::F32(value) => push(out, 6, &value.to_le_bytes()),
        Metadata::Bool(value) => push(out, 7, &[u8::from(*value)]),
        Metadata::Text(value) => {
            push(out, 8, &[]);
            push_text(out, value);
        }
        Metadata::Texts(values) => {
            push_list(out, 8, values.len());
            values.iter().for_each(|value| push_text(out, value));
        }
        Metadata::I32s(values) => {
            push_list(out, 5, values.len());
            out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_aligned_and_of_the_size_that_the_header_says() {
        let tensors = [
            Tensor { name: "a".into(), shape: vec![3, 3] },
            Tensor { name: "b".into(), shape: vec![1] },
        ];
        let metadata = [
            ("x.flag", Metadata::Bool(true)),
            ("x.list", Metadata::Texts(vec!["one".into(), String::new()])),
            ("x.types", Metadata::I32s(vec![1, -1])),
        ];
        let mut out = Vec::new();
        let data = |i: usize, out: &mut dyn Write| {
            let values: &[f32] = if i == 0 { &[2.0; 9] } else { &[3.0] };
            values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        };
        write(&mut out, &metadata, &tensors, data).unwrap();
        assert_eq!(out.len() % 32, 0);
        let value = |at: usize| f32::from_le_bytes(out[at..at + 4].try_into().unwrap());
        let start = out.len() - 64 - 32;
        assert_eq!((value(start), value(start + 32), value(start + 36)), (2.0, 2.0, 0.0));
        assert_eq!(value(start + 64), 3.0);
        let short = write(&mut Vec::new(), &[], &tensors, |_, _| Ok(()));
        assert!(short.unwrap_err().to_string().contains("a has 36 bytes, not 0"));
    }
}
