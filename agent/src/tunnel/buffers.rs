//! Buffers that are held only while there is something in them: large ones as long as there are some, small ones for the many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::session::MAX_RECORD;

/// What is read or written at once: a few records, with what they have beside their content.
const LARGE: usize = 4 * MAX_RECORD;
/// A record.
const SMALL: usize = MAX_RECORD + 512;
/// Large ones that are out; 64 MiB.
const MAX_LARGE: usize = 1000;
/// Large ones that are kept.
const MAX_KEPT: usize = 64;
/// What a handshake may come to that is not complete.
const MAX_GROWN: usize = 128 * 1024;

static OUT: AtomicUsize = AtomicUsize::new(0);
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A window of bytes in memory that is used again.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    is_large: bool,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} of {})", self.end - self.start, self.bytes.len())
    }
}

impl Buffer {
    /// An empty one.
    pub(super) fn take() -> Self {
        let is_large = OUT.fetch_add(1, Ordering::Relaxed) < MAX_LARGE;
        let bytes = match is_large {
            true => {
                let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop();
                kept.unwrap_or_else(|| vec![0; LARGE])
            }
            false => {
                OUT.fetch_sub(1, Ordering::Relaxed);
                vec![0; SMALL]
            }
        };
        Self { bytes, start: 0, end: 0, is_large }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What is in it.
    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The same, to be worked on in place.
    pub(super) fn filled(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Where more can be put.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// So much was put there.
    pub(super) fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// So much at the front is done with.
    pub(super) fn discard(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for at least `count` more.
    pub(super) fn reserve(&mut self, count: usize) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() - self.end < count {
            self.bytes.resize(self.end + count, 0);
        }
    }

    /// Room for more of a message that is not complete; false if it may not get longer.
    pub(super) fn make_room(&mut self) -> bool {
        if self.bytes.len() - self.end < SMALL {
            if self.end - self.start + SMALL > MAX_GROWN {
                return false;
            }
            self.reserve(SMALL);
        }
        true
    }

    /// Puts bytes behind.
    pub(super) fn extend(&mut self, more: &[u8]) {
        if self.bytes.len() - self.end < more.len() {
            self.reserve(more.len());
        }
        self.bytes[self.end..self.end + more.len()].copy_from_slice(more);
        self.end += more.len();
    }
}

/// The most that is read from the plain side at once, so that the records of it fit such a buffer.
pub(super) fn plain_room(buffer: &mut Buffer) -> &mut [u8] {
    let room = buffer.bytes.len() - buffer.bytes.len() / 64;
    &mut buffer.bytes[..room]
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.is_large {
            return;
        }
        OUT.fetch_sub(1, Ordering::Relaxed);
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        // One that grew for a message does not stay.
        if kept.len() < MAX_KEPT && bytes.len() == LARGE {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_gives_back_what_was_put_into_it_in_order() {
        let mut buffer = Buffer::take();
        buffer.extend(b"abc");
        buffer.spare()[..2].copy_from_slice(b"de");
        buffer.advance(2);
        buffer.discard(2);
        assert_eq!(buffer.data(), b"cde");
        buffer.reserve(2 * LARGE);
        buffer.extend(&[7; 2 * LARGE]);
        assert_eq!((&buffer.data()[..3], buffer.data().len()), (&b"cde"[..], 3 + 2 * LARGE));
        buffer.discard(usize::MAX / 2);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_message_that_never_ends_gets_no_more_room() {
        let mut buffer = Buffer::take();
        let grown = (0..100).take_while(|_| {
            let room = buffer.make_room();
            let spare = buffer.spare().len();
            buffer.advance(spare);
            room
        });
        assert!(grown.count() < 10);
        assert!(buffer.data().len() <= MAX_GROWN);
    }
}
