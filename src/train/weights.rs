//! Tensors on disk: safetensors files under Hugging Face Llama names.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};

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

/// A set of tensors in one flat f32 arena, all names under a prefix (`""` for weights).
pub struct TensorSet<'a> {
    /// Put before each name.
    pub prefix: &'a str,
    /// Names, shapes and offsets.
    pub layout: &'a Layout,
    /// The arena.
    pub values: &'a [f32],
}

struct Stored<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

fn values_of<'a>(tensor: &Tensor, arena: &'a [f32]) -> &'a [f32] {
    let len: usize = tensor.shape.iter().product();
    &arena[tensor.offset..tensor.offset + len]
}

/// The bytes of a safetensors file: the same bytes for the same values.
#[must_use]
pub fn to_bytes(sets: &[TensorSet<'_>]) -> Vec<u8> {
    let tensors = sets.iter().flat_map(|set| {
        set.layout.tensors.iter().map(|tensor| {
            let stored = Stored { shape: &tensor.shape, values: values_of(tensor, set.values) };
            (format!("{}{}", set.prefix, tensor.name), stored)
        })
    });
    // "pt" is what the Hugging Face libraries ask for before they load a file.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(tensors, Some(metadata)).expect("shapes and lengths agree")
}

/// Reads tensors back into arenas, one for each prefix. Names must be the layout's, no more and no
/// fewer, each with the layout's shape, in f32, f16 or bf16.
///
/// # Errors
/// A file that is no safetensors file or holds other tensors.
pub fn from_bytes(
    bytes: &[u8],
    path: &Path,
    layout: &Layout,
    prefixes: &[&str],
) -> Result<Vec<Vec<f32>>, Error> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::Format { path: path.to_owned(), reason: e.to_string() })?;
    let mismatch = |problem| Error::Mismatch { path: path.to_owned(), problem };
    let mut arenas = Vec::new();
    for prefix in prefixes {
        let mut arena = vec![0.0; layout.len()];
        for tensor in &layout.tensors {
            let name = format!("{prefix}{}", tensor.name);
            let stored =
                file.tensor(&name).map_err(|_| mismatch(format!("`{name}` is missing")))?;
            if stored.shape() != tensor.shape {
                return Err(mismatch(format!(
                    "`{name}` has shape {:?}, the model needs {:?}",
                    stored.shape(),
                    tensor.shape
                )));
            }
            let len: usize = tensor.shape.iter().product();
            let slots = &mut arena[tensor.offset..tensor.offset + len];
            read_values(stored.dtype(), stored.data(), slots).ok_or_else(|| {
                mismatch(format!("`{name}` is {:?}; f32, f16 and bf16 are read", stored.dtype()))
            })?;
        }
        arenas.push(arena);
    }
    let expected = layout.tensors.len() * prefixes.len();
    if file.len() != expected {
        let known = |name: &str| {
            prefixes
                .iter()
                .any(|p| name.strip_prefix(p).is_some_and(|rest| layout.get(rest).is_some()))
        };
        let mut extra: Vec<_> = file.names().into_iter().filter(|n| !known(n)).collect();
        extra.sort_unstable();
        // A tied model may come with its head written out a second time.
        extra.retain(|name| *name != "lm_head.weight" && !name.ends_with("rotary_emb.inv_freq"));
        if let Some(name) = extra.first() {
            return Err(mismatch(format!("`{name}` is no tensor of this model")));
        }
    }
    Ok(arenas)
}

fn read_values(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Option<()> {
    match dtype {
        Dtype::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Dtype::BF16 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *x = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
            }
        }
        Dtype::F16 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *x = f16_to_f32(u16::from_le_bytes([b[0], b[1]]));
            }
        }
        _ => return None,
    }
    Some(())
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
    let bytes = fs::read(path)?;
    let mut arenas = from_bytes(&bytes, path, layout, &[""])?;
    Ok(arenas.pop().expect("one prefix, one arena"))
}

/// Writes the weights of a model.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, layout: &Layout, values: &[f32]) -> Result<(), Error> {
    let bytes = to_bytes(&[TensorSet { prefix: "", layout, values }]);
    Ok(fs::write_atomic(path, &bytes)?)
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

    #[test]
    fn weights_come_back_bit_for_bit_and_the_bytes_are_stable() {
        let layout = layout();
        let values: Vec<f32> = (0..layout.len()).map(|i| (i as f32).sin()).collect();
        let set = || [TensorSet { prefix: "", layout: &layout, values: &values }];
        let bytes = to_bytes(&set());
        assert_eq!(bytes, to_bytes(&set()));
        let back = from_bytes(&bytes, Path::new("w"), &layout, &[""]).unwrap();
        assert_eq!(back[0], values);
    }

    #[test]
    fn other_models_and_torn_files_are_refused() {
        let layout = layout();
        let values = vec![0.5; layout.len()];
        let bytes = to_bytes(&[TensorSet { prefix: "x.", layout: &layout, values: &values }]);
        let error = |bytes: &[u8]| {
            from_bytes(bytes, Path::new("w"), &layout, &[""]).unwrap_err().to_string()
        };
        assert!(error(&bytes).contains("is missing"));
        assert!(error(&bytes[..bytes.len() - 1]).contains("not a safetensors file"));
        assert!(error(b"").contains("not a safetensors file"));
        let two = to_bytes(&[
            TensorSet { prefix: "", layout: &layout, values: &values },
            TensorSet { prefix: "x.", layout: &layout, values: &values },
        ]);
        assert!(error(&two).contains("no tensor of this model"));
    }

    #[test]
    fn half_precision_is_read_exactly() {
        assert_eq!(f16_to_f32(0x3c00), 1.0);
        assert_eq!(f16_to_f32(0xc000), -2.0);
        assert_eq!(f16_to_f32(0x0001), 2f32.powi(-24));
        assert_eq!(f16_to_f32(0x7c00), f32::INFINITY);
        let mut out = [0.0];
        read_values(Dtype::BF16, &[0x80, 0x3f], &mut out).unwrap();
        assert_eq!(out, [1.0]);
    }
}
