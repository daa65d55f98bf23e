//! Scratch memory that is kept, and a pointer that tasks writing disjoint places may share.
#![expect(unsafe_code, reason = "tasks write disjoint strided parts of one buffer")]

use std::sync::Mutex;

use super::buffer::Buffer;

/// Buffers that operators borrow and give back, so that a step allocates nothing once warm:
/// fresh pages are what a naive CPU step spends half its time on.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Buffer>>);

impl Pool {
    /// A buffer of `len` values with unspecified contents, given back when dropped.
    pub(crate) fn take(&self, len: usize) -> Scratch<'_> {
        let mut free = self.0.lock().expect("no code panics while it holds the pool");
        // Best fit: a small request must not hold the largest buffer.
        let fit = free
            .iter()
            .enumerate()
            .filter(|(_, buf)| buf.capacity() >= len)
            .min_by_key(|(_, buf)| buf.capacity())
            .map(|(i, _)| i);
        let kept = fit.map(|i| free.swap_remove(i));
        drop(free);
        let mut buf = kept.unwrap_or_else(|| {
            Buffer::zeros(len, "scratch").unwrap_or_else(|error| panic!("{error}"))
        });
        buf.set_len(len);
        Scratch { pool: self, buf }
    }

    /// Frees every buffer that is not in use.
    pub(crate) fn clear(&self) {
        self.0.lock().expect("no code panics while it holds the pool").clear();
    }
}

/// A buffer on loan from a [`Pool`].
pub(crate) struct Scratch<'a> {
    pool: &'a Pool,
    buf: Buffer,
}

impl std::ops::Deref for Scratch<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.buf
    }
}

impl std::ops::DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buf
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let buf = std::mem::replace(&mut self.buf, Buffer::from(Vec::new()));
        self.pool.0.lock().expect("no code panics while it holds the pool").push(buf);
    }
}

/// The start of a buffer that parallel tasks write disjoint parts of.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut(*mut f32);

// SAFETY: every use goes through an unsafe method whose caller promises disjoint ranges.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub(crate) fn new(buf: &mut [f32]) -> Self {
        Self(buf.as_mut_ptr())
    }

    /// The address of element `offset`.
    ///
    /// # Safety
    /// `offset` lies within the buffer, and no other task touches what is reached through it.
    pub(crate) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: in bounds by this function's contract.
        unsafe { self.0.add(offset) }
    }

    /// The elements `offset..offset + len`.
    ///
    /// # Safety
    /// The range lies within the buffer, which outlives the slice, and no other task touches it.
    pub(crate) unsafe fn slice<'a>(self, offset: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: in bounds and exclusive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), len) }
    }
}
