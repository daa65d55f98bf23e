//! Tensors on disk: safetensors files under Hugging Face Llama names.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::fs;
use crate::model::{Layout, Tensor};

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
const PIECE: usize = 1 << 16;
/// The largest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// Writes f32 tensors as a safetensors file: for each prefix the tensors of `layout` under that
/// prefix, the same bytes for the same values. `read(i, offset, out)` copies `out.len()` values
/// of the arena of the i-th prefix.
///
/// # Errors
/// What `read` or the writer returns.
pub fn write(
    out: &mut dyn Write,
    layout: &Layout,
    prefixes: &[&str],
    mut read: impl FnMut(usize, usize, &mut [f32]) -> io::Result<()>,
) -> io::Result<()> {
    let mut tensors: Vec<(String, usize, &Tensor)> = Vec::new();
    for (set, prefix) in prefixes.iter().enumerate() {
        let named = layout.tensors.iter().map(|t| (format!("{prefix}{}", t.name), set, t));
        tensors.extend(named);
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut end = 0;
    let infos = tensors.iter().map(|(name, _, tensor)| {
        let start = end;
        end += tensor.range().len() * size_of::<f32>();
        let shape = tensor.shape.clone();
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
    });
    // "pt" is what the Hugging Face libraries ask for before they load a file.
    let format = [("format".to_owned(), "pt".to_owned())].into();
    let metadata = Metadata::new(Some(format), infos.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let (mut values, mut bytes) = (vec![0.0f32; PIECE], Vec::new());
    for (_, set, tensor) in tensors {
        for first in tensor.range().step_by(PIECE) {
            let values = &mut values[..PIECE.min(tensor.range().end - first)];
            read(set, first, values)?;
            bytes.clear();
            bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
            out.write_all(&bytes)?;
        }
    }
    Ok(())
}

/// Reads tensors into arenas, one for each prefix. Names must be the layout's, no more and no
/// fewer, each with the layout's shape, in f32, f16 or bf16.
///
/// # Errors
/// A file that cannot be read, is no safetensors file or holds other tensors.
pub fn read(path: &Path, layout: &Layout, prefixes: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
    let failed = |source| fs::Error { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut file = BufReader::new(file);
    let (start, metadata) = read_header(&mut file, len)
        .map_err(failed)?
        .map_err(|reason| Error::Format { path: path.to_owned(), reason })?;
    let mismatch = |problem| Error::Mismatch { path: path.to_owned(), problem };
    let mut arenas = Vec::new();
    let mut bytes = Vec::new();
    for prefix in prefixes {
        let mut arena = vec![0.0; layout.len()];
        for tensor in &layout.tensors {
            let name = format!("{prefix}{}", tensor.name);
            let stored =
                metadata.info(&name).ok_or_else(|| mismatch(format!("`{name}` is missing")))?;
            if stored.shape != tensor.shape {
                return Err(mismatch(format!(
                    "`{name}` has shape {:?}, the model needs {:?}",
                    stored.shape, tensor.shape
                )));
            }
            let width = match stored.dtype {
                Dtype::F32 => 4,
                Dtype::F16 | Dtype::BF16 => 2,
                other => {
                    return Err(mismatch(format!(
                        "`{name}` is {other:?}; f32, f16 and bf16 are read"
                    )));
                }
            };
            let offset = start + stored.data_offsets.0 as u64;
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            for values in arena[tensor.range()].chunks_mut(PIECE) {
                bytes.resize(values.len() * width, 0);
                file.read_exact(&mut bytes).map_err(failed)?;
                convert(stored.dtype, &bytes, values);
            }
        }
        arenas.push(arena);
    }
    let names = metadata.offset_keys();
    if names.len() != layout.tensors.len() * prefixes.len() {
        let known = |name: &str| {
            prefixes
                .iter()
                .any(|p| name.strip_prefix(p).is_some_and(|rest| layout.get(rest).is_some()))
        };
        let mut extra: Vec<_> = names.iter().filter(|n| !known(n)).collect();
        extra.sort_unstable();
        // A tied model may come with its head written out a second time.
        extra.retain(|name| *name != "lm_head.weight" && !name.ends_with("rotary_emb.inv_freq"));
        if let Some(name) = extra.first() {
            return Err(mismatch(format!("`{name}` is no tensor of this model")));
        }
    }
    Ok(arenas)
}

/// Where the data begin, and what the header of a file of `len` bytes says; inside, what is wrong
/// with the format.
fn read_header(file: &mut impl Read, len: u64) -> io::Result<Result<(u64, Metadata), String>> {
    if len < 8 {
        return Ok(Err(format!("it has {len} bytes, the header's length alone takes 8")));
    }
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER.min(len - 8) {
        return Ok(Err(format!("its header claims {size} bytes, the file has {len}")));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    let metadata = match serde_json::from_slice::<Metadata>(&header) {
        Ok(metadata) => metadata,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let wanted = 8 + size + metadata.data_len() as u64;
    if wanted != len {
        return Ok(Err(format!("its header describes {wanted} bytes, the file has {len}")));
    }
    Ok(Ok((8 + size, metadata)))
}

/// The values of `bytes` in a type that [`read`] has let pass.
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

/// Reads the weights of a model from a safetensors file with Hugging Face Llama names.
///
/// # Errors
/// A file that cannot be read or does not fit.
pub fn load(path: &Path, layout: &Layout) -> Result<Vec<f32>, Error> {
    let mut arenas = read(path, layout, &[""])?;
    Ok(arenas.pop().expect("one prefix, one arena"))
}

/// Writes the weights of a model; `read(offset, out)` copies `out.len()` values of their arena.
///
/// # Errors
/// If the file cannot be written, or what `read` returns.
pub fn save(
    path: &Path,
    layout: &Layout,
    mut read: impl FnMut(usize, &mut [f32]) -> io::Result<()>,
) -> Result<(), fs::Error> {
    fs::write_atomic_with(path, |out| {
        write(out, layout, &[""], |_, offset, values| read(offset, values))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;

    fn layout() -> Layout {
        Layout::new(&Config {
            layers: 1,
            hidden_size: 4,
            heads: 1,
            head_dim: 4,
            intermediate_size: 6,
            vocab_size: 5,
            norm_eps: 1e-6,
            init_std: 0.02,
            tie_embeddings: true,
        })
    }

    /// A file of the layout's tensors under each prefix, value i of every arena sin(i).
    fn bytes_of(layout: &Layout, prefixes: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = |_, offset: usize, out: &mut [f32]| {
            out.iter_mut().enumerate().for_each(|(i, x)| *x = ((offset + i) as f32).sin());
            Ok(())
        };
        write(&mut bytes, layout, prefixes, read).unwrap();
        bytes
    }

    fn read_bytes(bytes: &[u8], layout: &Layout) -> Result<Vec<Vec<f32>>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path(), layout, &[""])
    }

    #[test]
    fn weights_come_back_bit_for_bit() {
        let layout = layout();
        let values: Vec<f32> = (0..layout.len()).map(|i| (i as f32).sin()).collect();
        assert_eq!(read_bytes(&bytes_of(&layout, &[""]), &layout).unwrap(), [values]);
    }

    #[test]
    fn the_file_is_the_one_that_the_formats_own_library_writes() {
        let layout = layout();
        let values: Vec<u8> =
            (0..layout.len()).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
        let (layout, values) = (&layout, &values);
        let views = ["a.", "b."].iter().flat_map(|prefix| {
            layout.tensors.iter().map(move |tensor| {
                let data = &values[4 * tensor.range().start..4 * tensor.range().end];
                let shape = tensor.shape.clone();
                let view = safetensors::tensor::TensorView::new(Dtype::F32, shape, data).unwrap();
                (format!("{prefix}{}", tensor.name), view)
            })
        });
        let format = [("format".to_owned(), "pt".to_owned())].into();
        let want = safetensors::serialize(views, Some(format)).unwrap();
        assert_eq!(bytes_of(layout, &["a.", "b."]), want);
    }

    #[test]
    fn other_models_and_torn_files_are_refused() {
        let layout = layout();
        let error = |bytes: &[u8]| read_bytes(bytes, &layout).unwrap_err().to_string();
        let bytes = bytes_of(&layout, &["x."]);
        assert!(error(&bytes).contains("is missing"));
        assert!(error(&bytes[..bytes.len() - 1]).contains("not a safetensors file"));
        assert!(error(b"").contains("not a safetensors file"));
        assert!(error(&[255; 64]).contains("not a safetensors file"));
        assert!(error(b"\x02\0\0\0\0\0\0\0[]").contains("not a safetensors file"));
        assert!(error(&bytes_of(&layout, &["", "x."])).contains("no tensor of this model"));
    }

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
}
