//! The memory of the CPU backend: values that start at a cache line, in large pages where the system has them.

use std::ops::{Deref, DerefMut, Range};

use super::Error;

/// Values of a cache line (64 bytes).
pub(super) const LINE: usize = 16;
/// Bytes from which large pages are asked for: below it a page of 2 MiB would mostly hold nothing.
#[cfg(target_os = "linux")]
const LARGE: usize = 4 << 20;

/// A buffer of f32 of fixed length.
///
/// Tiles of the matrix multiply read and write whole vectors of up to 64 bytes, and one that straddles two
/// cache lines costs two accesses: hence the alignment. A buffer that was made of a [`Vec`] stays where it was.
#[derive(Debug, Clone)]
pub struct Buffer {
    memory: Vec<f32>,
    used: Range<usize>,
}

impl Buffer {
    /// `len` zeros; `what` names the buffer in the error.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn zeros(len: usize, what: &'static str) -> Result<Self, Error> {
        let mut memory = Vec::new();
        let bytes = (len as u64).saturating_mul(4);
        memory.try_reserve_exact(len.saturating_add(LINE - 1)).map_err(|_| Error::OutOfMemory {
            what,
            bytes,
            free: None,
        })?;
        ask_for_large_pages(&mut memory);
        memory.resize(len + LINE - 1, 0.0);
        let start = memory.as_ptr().align_offset(LINE * size_of::<f32>());
        Ok(Self { memory, used: start..start + len })
    }

    /// How many values it could hold where it stands.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.len() - self.used.start
    }

    /// Gives it another length, up to [`Buffer::capacity`]; what it holds is then unspecified.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "a buffer is not enlarged");
        self.used.end = self.used.start + len;
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(memory: Vec<f32>) -> Self {
        Self { used: 0..memory.len(), memory }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[self.used.clone()]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.used.clone()]
    }
}

/// `len` times `value`, in large pages where the system has them: what the CPU backend is given keeps its place.
#[must_use]
pub fn filled(len: usize, value: f32) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    ask_for_large_pages(&mut values);
    values.resize(len, value);
    values
}

/// Asks the system to back fresh memory by pages of 2 MiB, before it is first touched: fewer faults, and
/// fewer misses where a tile's rows lie pages apart. Where it cannot, nothing changes.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "madvise over memory that the vector owns")]
fn ask_for_large_pages(memory: &mut Vec<f32>) {
    /// The smallest page: an address that advice may start at.
    const PAGE: usize = 4096;
    let spare = memory.spare_capacity_mut();
    let bytes = size_of_val(spare);
    let skipped = spare.as_ptr().cast::<u8>().align_offset(PAGE);
    if bytes < LARGE || skipped >= bytes {
        return;
    }
    // SAFETY: the range lies within the vector's own allocation, and this advice changes no contents.
    unsafe {
        let start = spare.as_mut_ptr().cast::<u8>().add(skipped);
        libc::madvise(start.cast(), bytes - skipped, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_memory: &mut Vec<f32>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_cache_line_and_hold_zeros() {
        for len in [0, 1, 17, 2_000_003] {
            let buffer = Buffer::zeros(len, "test").unwrap();
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            assert!(buffer.iter().all(|&x| x == 0.0));
        }
        assert!(Buffer::zeros(usize::MAX / 8, "test").is_err());
    }

    #[test]
    fn a_vector_keeps_its_values() {
        let mut buffer = Buffer::from(vec![1.0, 2.0, 3.0]);
        assert_eq!(*buffer, [1.0, 2.0, 3.0]);
        buffer.set_len(2);
        assert_eq!(buffer.len(), 2);
        assert_eq!(buffer.capacity(), 3);
    }
}
