//! Paths, put together on the stack.

use crate::sys::Text;

/// Bytes of the longest path that is made here, with its end.
const SIZE: usize = 512;

/// A path that ends with a zero byte.
pub(crate) struct Path([u8; SIZE]);

impl Path {
    /// Of these parts, one after the other; nothing if they are too long.
    pub(crate) fn of(parts: &[&[u8]]) -> Option<Path> {
        let mut path = Path([0; SIZE]);
        let mut at = 0;
        for part in parts {
            path.0.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        (at < SIZE).then_some(path)
    }

    /// For the kernel.
    pub(crate) fn text(&self) -> Text {
        self.0.as_ptr()
    }
}
