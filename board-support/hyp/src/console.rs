//! Xen's own console: for logs, and for dom0 the serial line's input.

use proto_xen::{
    Errno,
    hypercall::{Hypercall, console_io},
};

use crate::{Xen, call};

/// Xen's console.
pub trait Console {
    /// Prints `text`. A domain other than dom0 is heard only if Xen was started with
    /// `guest_loglvl=all`.
    ///
    /// # Errors
    /// What Xen says: `EPERM` for a domain on arm64.
    fn write(&self, text: &[u8]) -> Result<(), Errno>;

    /// Takes input that has arrived, at most as much as `buffer` holds, and returns how many bytes.
    ///
    /// # Errors
    /// What Xen says: `EPERM` for any domain but dom0.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno>;
}

impl Console for Xen {
    fn write(&self, text: &[u8]) -> Result<(), Errno> {
        let args = [console_io::WRITE, text.len() as u64, text.as_ptr() as u64, 0, 0];
        // SAFETY: Xen reads `text` and nothing else.
        Errno::check(unsafe { call::raw(Hypercall::ConsoleIo, args) }).map(drop)
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let args = [console_io::READ, buffer.len() as u64, buffer.as_mut_ptr() as u64, 0, 0];
        // SAFETY: Xen writes at most `buffer.len()` bytes to `buffer`, which is exclusively ours.
        Errno::check(unsafe { call::raw(Hypercall::ConsoleIo, args) })
            .map(|count| (count as usize).min(buffer.len()))
    }
}
