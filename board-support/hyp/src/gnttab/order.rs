//! The steps on an entry of a grant table whose order Xen relies on, by themselves, so that a model checker
//! can try them in every order. The models, each with twins that must fail, are `grants` in `tests/ring`.

use core::sync::atomic::Ordering;

use proto_xen::grant_table::flags;

use crate::word::{Exchange, Word};

/// Writes the flags of an entry that become valid by it: frame and domain, written before, are there for who
/// sees them.
pub fn publish<T>(word: &impl Word<T>, value: T) {
    word.store(value, Ordering::Release);
}

/// Makes an entry invalid, unless it is in use: then the flags are the error.
///
/// Xen may set a flag of use at any instant, so only the exchange decides. What the peer wrote into the page
/// before Xen took the last such flag back is read after.
///
/// # Errors
/// The flags of an entry that is in use.
pub fn end(word: &impl Exchange<u16>) -> Result<(), u16> {
    let mut seen = word.load(Ordering::Acquire);
    loop {
        if seen & (flags::READING | flags::WRITING) != 0 {
            return Err(seen);
        }
        match word.exchange(seen, flags::INVALID) {
            Ok(_) => return Ok(()),
            Err(now) => seen = now,
        }
    }
}
