//! Page-locked memory of the host that copies to a GPU start from: the device reads it in the order of the
//! queue, and the host goes on at once. Of ordinary memory the driver copies more than 64 KiB only when the
//! queue is empty, and the device then waits for the host.

#![expect(unsafe_code, reason = "the driver's interface is C")]

use std::ffi::c_void;
use std::slice;

use cudarc::driver::{DriverError, result as cuda};

/// A buffer whose copies are all started on one queue.
pub(super) struct Staging {
    at: *mut u8,
    /// Bytes from the front that copies may still read.
    used: usize,
}

impl Staging {
    /// The most that one copy takes; the tokens and index lists of a step of 2^18 tokens fit.
    pub(super) const BYTES: usize = 8 << 20;
    /// Copies begin on cache lines.
    const LINE: usize = 64;

    /// The thread must be bound to the device's context, here and where this is dropped.
    pub(super) fn new() -> Result<Self, DriverError> {
        // SAFETY: bytes have no value that is none, and each is written before it is read.
        let at = unsafe { cuda::malloc_host(Self::BYTES, 0) }?;
        Ok(Self { at: at.cast(), used: 0 })
    }

    /// Whether there is room for `len` bytes, at most [`Staging::BYTES`], beside those that are held.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.used.next_multiple_of(Self::LINE) + len <= Self::BYTES
    }

    /// A copy of `bytes`, which stays until [`Staging::clear`].
    ///
    /// # Panics
    /// Where there is no room.
    pub(super) fn hold(&mut self, bytes: &[u8]) -> &[u8] {
        assert!(self.has_room(bytes.len()), "room for {} bytes", bytes.len());
        let from = self.used.next_multiple_of(Self::LINE);
        self.used = from + bytes.len();
        // SAFETY: within the allocation, in a part that nothing refers to any more.
        let place = unsafe { slice::from_raw_parts_mut(self.at.add(from), bytes.len()) };
        place.copy_from_slice(bytes);
        place
    }

    /// Every copy has ended.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`; the queue has ended, so that no copy reads it. What fails here has
        // failed before, and was said.
        let _ = unsafe { cuda::free_host(self.at.cast::<c_void>()) };
    }
}
