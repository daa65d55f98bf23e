//! The header of a safetensors file: what it holds, and whether it is whole.

use std::io::{self, Read};

use safetensors::tensor::Metadata;

/// The largest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// Where the data begin, and what the header of a file of `len` bytes says; inside, what is wrong
/// with the format, a file that is cut off too.
///
/// # Errors
/// If it cannot be read.
pub fn read_header(file: &mut impl Read, len: u64) -> io::Result<Result<(u64, Metadata), String>> {
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
