//! A model's tensors in safetensors files, read piece by piece.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::PathBuf;

use safetensors::tensor::{Dtype, Metadata};

use crate::fs;
use crate::model::{HeadOrder, Layout, Tensor};
use crate::ops::filled;
use crate::tensor_file::read_header;

/// Why a weights file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] fs::Error),
    /// It is no safetensors file.
    #[error("`{}` is not a safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format's reader says.
        reason: String,
    },
    /// It does not hold this model's tensors.
    #[error("`{}` does not fit the model: {problem}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which tensor, and what is wrong with it.
        problem: String,
    },
}

/// Values moved at a time: no file is ever held whole beside the arenas.
pub(super) const PIECE: usize = 1 << 16;
/// The text in a file's header that says that the rows of q and k are in another order than this
/// crate's: `8 of 16` for [`crate::model::HeadOrder::halves`] of 16 channels of which 8 rotate.
pub const ROTARY_KEY: &str = "xp_rotary_dim";

/// The tensors of a layout in one or several safetensors files, under one or several prefixes: all
/// there, nothing else, each with the layout's shape, in f32, f16 or bf16.
pub struct Tensors<'a> {
    layout: &'a Layout,
    files: Vec<Opened>,
    /// For each prefix, for each tensor of the layout.
    places: Vec<Vec<Place>>,
    bytes: Vec<u8>,
}

struct Opened {
    path: PathBuf,
    file: BufReader<File>,
    /// Where its data begin.
    start: u64,
    metadata: Metadata,
    /// What brings the rows of q and k into the order of this crate, if they are in another.
    order: Option<HeadOrder>,
}

/// Where a tensor lies.
struct Place {
    file: usize,
    dtype: Dtype,
    /// From the beginning of the file, in bytes.
    offset: u64,
}

impl<'a> Tensors<'a> {
    /// Opens files and holds what they say they have against a layout. A tensor is in one file;
    /// beside the layout's, a head that is written a second time and stored rotary frequencies may
    /// be there, and are not read.
    ///
    /// # Errors
    /// A file that cannot be read, is no safetensors file, or files that hold other tensors.
    pub fn open(paths: &[PathBuf], layout: &'a Layout, prefixes: &[&str]) -> Result<Self, Error> {
        let files = paths.iter().map(Opened::new).collect::<Result<Vec<_>, _>>()?;
        let mut held: HashMap<String, usize> = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            for name in file.metadata.offset_keys() {
                if let Some(other) = held.insert(name.clone(), index) {
                    let also = files[other].path.display();
                    return Err(file.mismatch(format!("`{name}` is in `{also}` too")));
                }
            }
        }
        let mut places = Vec::new();
        for prefix in prefixes {
            let of_set = layout.tensors.iter().map(|tensor| {
                let name = format!("{prefix}{}", tensor.name);
                let first = files.first().expect("a path at least");
                let missing = || first.mismatch(format!("`{name}` is missing"));
                let index = held.remove(&name).ok_or_else(missing)?;
                files[index].place(index, &name, tensor)
            });
            places.push(of_set.collect::<Result<Vec<_>, _>>()?);
        }
        // A tied model may come with its head written out a second time.
        held.retain(|name, _| name != "lm_head.weight" && !name.ends_with("rotary_emb.inv_freq"));
        if let Some((name, index)) = held.into_iter().min() {
            return Err(files[index].mismatch(format!("`{name}` is no tensor of this model")));
        }
        Ok(Self { layout, files, places, bytes: Vec::new() })
    }

    /// Whether a file says that the rows of its q and k are in another order than this crate's, which
    /// is undone when they are read.
    #[must_use]
    pub fn are_rearranged(&self) -> bool {
        self.files.iter().any(|file| file.order.is_some())
    }

    /// Copies values of the layout's arena under the prefix of that index, from `first` on; they
    /// may be of several tensors.
    ///
    /// # Errors
    /// A file that cannot be read.
    ///
    /// # Panics
    /// If there is no such prefix or the values go past the arena.
    pub fn read(&mut self, set: usize, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let end = first + out.len();
        assert!(end <= self.layout.len(), "values of the arena");
        let after = self.layout.tensors.partition_point(|tensor| tensor.offset <= first);
        let (mut index, mut at) = (after.saturating_sub(1), first);
        while at < end {
            let tensor = &self.layout.tensors[index];
            let stop = end.min(tensor.range().end);
            let part = &mut out[at - first..stop - first];
            self.read_tensor(set, index, at - tensor.offset, part)?;
            (index, at) = (index + 1, stop);
        }
        Ok(())
    }

    /// All values under the prefix of that index.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn arena(&mut self, set: usize) -> Result<Vec<f32>, Error> {
        let mut arena = filled(self.layout.len(), 0.0);
        self.read(set, 0, &mut arena)?;
        Ok(arena)
    }

    fn read_tensor(
        &mut self,
        set: usize,
        index: usize,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let tensor = &self.layout.tensors[index];
        let place = &self.places[set][index];
        let file = &mut self.files[place.file];
        let reader = &mut file.file;
        let mut plain =
            |first: usize, out: &mut [f32]| read_values(reader, place, first, out, &mut self.bytes);
        let read = match &file.order {
            Some(order) if tensor.is_rotated() => order.read(tensor.shape[1], first, out, plain),
            _ => plain(first, out),
        };
        read.map_err(fs::Error::at("read", &file.path)).map_err(Error::from)
    }
}

/// Reads values of a tensor, `first` counted from its beginning.
fn read_values(
    file: &mut BufReader<File>,
    place: &Place,
    first: usize,
    out: &mut [f32],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let width = place.dtype.bitsize() / 8;
    let offset = place.offset + (first * width) as u64;
    let here = file.stream_position()?;
    // What is buffered stays of use.
    file.seek_relative(offset as i64 - here as i64)?;
    for values in out.chunks_mut(PIECE) {
        bytes.resize(values.len() * width, 0);
        file.read_exact(bytes)?;
        convert(place.dtype, bytes, values);
    }
    Ok(())
}

impl Opened {
    fn new(path: &PathBuf) -> Result<Self, Error> {
        let failed = |source| fs::Error { action: "read", path: path.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::new(file);
        let format = |reason| Error::Format { path: path.clone(), reason };
        let (start, metadata) = read_header(&mut file, len).map_err(failed)?.map_err(format)?;
        let rotary = metadata.metadata().as_ref().and_then(|texts| texts.get(ROTARY_KEY));
        let order = match rotary.map(|text| (text, parse_rotary(text))) {
            None => None,
            Some((_, Some((rotary_dim, head_dim)))) => {
                Some(HeadOrder::halves(head_dim, rotary_dim).inverse())
            }
            Some((text, None)) => {
                return Err(format(format!("its {ROTARY_KEY} is `{text}`, not like `8 of 16`")));
            }
        };
        Ok(Self { path: path.clone(), file, start, metadata, order })
    }

    fn place(&self, file: usize, name: &str, tensor: &Tensor) -> Result<Place, Error> {
        let stored = self.metadata.info(name).expect("it is among the names");
        if stored.shape != tensor.shape {
            return Err(self.mismatch(format!(
                "`{name}` has shape {:?}, the model needs {:?}",
                stored.shape, tensor.shape
            )));
        }
        if !matches!(stored.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let dtype = stored.dtype;
            return Err(self.mismatch(format!("`{name}` is {dtype:?}; f32, f16 and bf16 are read")));
        }
        let offset = self.start + stored.data_offsets.0 as u64;
        Ok(Place { file, dtype: stored.dtype, offset })
    }

    fn mismatch(&self, problem: String) -> Error {
        Error::Mismatch { path: self.path.clone(), problem }
    }
}

/// `8 of 16`: `rotary_dim` and `head_dim`.
fn parse_rotary(text: &str) -> Option<(usize, usize)> {
    let (rotary_dim, head_dim) = text.split_once(" of ")?;
    let (rotary_dim, head_dim): (usize, usize) = (rotary_dim.parse().ok()?, head_dim.parse().ok()?);
    let sound = rotary_dim % 2 == 0 && head_dim % 2 == 0 && rotary_dim <= head_dim;
    (sound && head_dim > 0 && head_dim <= 1 << 20).then_some((rotary_dim, head_dim))
}

/// The values of `bytes` in a type that [`Tensors::open`] has let pass.
fn convert(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    if dtype == Dtype::F32 {
        for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *x = f32::from_le_bytes(*b);
        }
        return;
    }
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        let half = u16::from_le_bytes(*b);
        *x = match dtype {
            Dtype::BF16 => f32::from_bits(u32::from(half) << 16),
            _ => f16_to_f32(half),
        };
    }
}

/// IEEE 754 half to single precision, exactly.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => mantissa * 2f32.powi(-24),
        0x1f if mantissa == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_read_exactly() {
        assert_eq!(f16_to_f32(0x3c00), 1.0);
        assert_eq!(f16_to_f32(0xc000), -2.0);
        assert_eq!(f16_to_f32(0x0001), 2f32.powi(-24));
        assert_eq!(f16_to_f32(0x7c00), f32::INFINITY);
        let mut out = [0.0];
        convert(Dtype::BF16, &[0x80, 0x3f], &mut out);
        assert_eq!(out, [1.0]);
    }

    #[test]
    fn the_order_of_heads_is_read_as_it_is_written() {
        assert_eq!(parse_rotary("8 of 16"), Some((8, 16)));
        for wrong in ["", "8", "8 of", "16 of 8", "3 of 8", "8 of 0", "8 of 9999999999"] {
            assert_eq!(parse_rotary(wrong), None, "{wrong}");
        }
    }
}
