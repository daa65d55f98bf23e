//! Tensors on disk: safetensors files under Hugging Face Llama names.

use std::convert::Infallible;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

pub use super::tensors::{Error, ROTARY_KEY};
use super::tensors::{PIECE, Tensors};
use crate::fs;
use crate::model::{Layout, Tensor};

/// Bytes of so many parameters, without a file's header.
#[must_use]
pub fn bytes(parameters: u64) -> u64 {
    parameters.saturating_mul(4)
}

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
    read: impl FnMut(usize, usize, &mut [f32]) -> io::Result<()>,
) -> io::Result<()> {
    write_with(out, layout, prefixes, &[], read)
}

/// As [`write()`], with texts in the header beside its format.
///
/// # Errors
/// What `read` or the writer returns.
pub fn write_with(
    out: &mut dyn Write,
    layout: &Layout,
    prefixes: &[&str],
    texts: &[(&str, &str)],
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
    // Through a value: the library's own map of texts has no fixed order.
    let mut header = serde_json::to_value(&metadata)?;
    for (key, text) in texts {
        header["__metadata__"][key] = (*text).into();
    }
    let mut header = serde_json::to_vec(&header)?;
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
    let mut tensors = Tensors::open(&[path.to_owned()], layout, prefixes)?;
    (0..prefixes.len()).map(|set| tensors.arena(set)).collect()
}

/// Reads the weights of a model from a safetensors file with Hugging Face Llama names.
///
/// # Errors
/// A file that cannot be read or does not fit.
pub fn load(path: &Path, layout: &Layout) -> Result<Vec<f32>, Error> {
    load_shards(&[path.to_owned()], layout)
}

/// As [`load`] from the shards of a checkpoint: each tensor is in one of the files.
///
/// # Errors
/// A file that cannot be read, or files that do not fit together or the model.
pub fn load_shards(paths: &[PathBuf], layout: &Layout) -> Result<Vec<f32>, Error> {
    Tensors::open(paths, layout, &[""])?.arena(0)
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

/// blake3 of a model's weights as f32, little-endian, in the order of the layout: what two machines
/// compare. There are `len` of them; `read(offset, out)` copies `out.len()` values of their arena.
///
/// # Errors
/// What `read` returns.
pub fn hash<E>(
    len: usize,
    mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
) -> Result<String, E> {
    let mut hasher = blake3::Hasher::new();
    let (mut values, mut bytes) =
        (vec![0.0f32; PIECE], Vec::with_capacity(PIECE * size_of::<f32>()));
    for first in (0..len).step_by(PIECE) {
        let values = &mut values[..PIECE.min(len - first)];
        read(first, values)?;
        bytes.clear();
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// As [`hash`], of weights in memory.
#[must_use]
pub fn hash_of(weights: &[f32]) -> String {
    let read = |offset: usize, out: &mut [f32]| -> Result<(), Infallible> {
        out.copy_from_slice(&weights[offset..][..out.len()]);
        Ok(())
    };
    let Ok(hash) = hash(weights.len(), read);
    hash
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
}
