//! The one generator of the domain.

use core::cell::RefCell;

use board_support_arch::random;
use critical_section::Mutex;

use super::generator::{EntropyError, Generator};

static GENERATOR: Mutex<RefCell<Option<Generator>>> = Mutex::new(RefCell::new(None));

/// Fills `out` with random bytes.
///
/// # Panics
/// If the processor has no source of random numbers, or it fails: the domain ends.
pub fn fill(out: &mut [u8]) {
    let Some(source) = random::Source::find() else {
        panic!("no entropy: this processor has no instruction for random numbers");
    };
    let filled = critical_section::with(|section| {
        let mut place = GENERATOR.borrow_ref_mut(section);
        let mut number = || source.number();
        if place.is_none() {
            *place = Some(Generator::new(&mut number)?);
        }
        match place.as_mut() {
            Some(generator) => generator.fill(&mut number, out),
            None => Err(EntropyError::Dead),
        }
    });
    if let Err(error) = filled {
        panic!("no entropy from {}: {error}", source.name());
    }
}

/// The hook of `getrandom` 0.4 (and 0.3, whose name it keeps).
///
/// # Safety
/// 1. `length` bytes at `at` are the caller's to write; they may be uninitialised.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(at: *mut u8, length: usize) -> Result<(), getrandom::Error> {
    // SAFETY:
    // 1. The bytes are the caller's to write.
    unsafe { at.write_bytes(0, length) };
    // SAFETY:
    // 1. Just initialised, and nobody else refers to them.
    fill(unsafe { core::slice::from_raw_parts_mut(at, length) });
    Ok(())
}

fn fill_for_02(out: &mut [u8]) -> Result<(), getrandom02::Error> {
    fill(out);
    Ok(())
}

getrandom02::register_custom_getrandom!(fill_for_02);
