//! The frequencies as a NumPy array file.
//!
//! ```python
//! inv_freq = torch.from_numpy(np.load("set.npy")).float()   # the f32 values that xp trains with
//! ```

use crate::freq::FrequencySet;

/// A .npy file, version 1.0: the angular frequencies in radians a position, as a one-dimensional
/// array of little-endian f64.
///
/// Rounded to f32 they are exactly what `xp` gives to a model: the values of the set in f64, or,
/// where the set's f32 values are not their plain rounding (`rope_dtype = "f32-recip"`), those f32
/// values. The attention scale has no place in the file.
#[must_use]
pub fn bytes(set: &FrequencySet) -> Vec<u8> {
    let rounded = set.inv_freq_f32();
    let plain = set.inv_freq.iter().zip(&rounded).all(|(w, rounded)| *w as f32 == *rounded);
    let values: Vec<f64> =
        if plain { set.inv_freq.clone() } else { rounded.iter().map(|w| f64::from(*w)).collect() };
    array(&values)
}

/// numpy.lib.format: magic, version, length of the header, header, data.
fn array(values: &[f64]) -> Vec<u8> {
    /// NumPy aligns the data to this.
    const ALIGN: usize = 64;
    let before = b"\x93NUMPY\x01\x00".len() + size_of::<u16>();
    let mut header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({},), }}", values.len());
    let end = (before + header.len() + 1).next_multiple_of(ALIGN);
    header.push_str(&" ".repeat(end - before - header.len() - 1));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a shape of one number is short");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend(length.to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freq::{Context, evaluate};

    #[test]
    fn the_header_is_numpys() {
        // numpy.save of np.array([1.0, 0.5]), version 2.4.
        let mut want = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        want.extend(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }");
        want.resize(127, b' ');
        want.push(b'\n');
        want.extend(1f64.to_le_bytes());
        want.extend(0.5f64.to_le_bytes());
        assert_eq!(array(&[1.0, 0.5]), want);
    }

    #[test]
    fn the_values_are_the_sets_in_f64() {
        let set = evaluate("geo(theta=500k)", &Context::new(64)).unwrap();
        let bytes = bytes(&set);
        assert_eq!(bytes.len(), 128 + 8 * 32);
        let values: Vec<f64> = bytes[128..]
            .chunks_exact(8)
            .map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap()))
            .collect();
        assert_eq!(values, set.inv_freq);
    }
}
