//! The one generator of the domain.

use core::{cell::RefCell, fmt};

use board_support_arch::random;
use critical_section::Mutex;

use super::generator::{EntropyError, Generator};

static GENERATOR: Mutex<RefCell<Option<Generator>>> = Mutex::new(RefCell::new(None));

/// Why there are no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEntropy {
    /// The processor has no source, and nobody handed a seed over.
    Nothing,
    /// The processor's source fails.
    Source {
        /// Its name.
        name: &'static str,
        /// How.
        error: EntropyError,
    },
}

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => {
                f.write_str("the processor has no instruction for random numbers, and there is no seed")
            }
            Self::Source { name, error } => write!(f, "{name}: {error}"),
        }
    }
}

/// Takes the seed that came with the start. A source of the processor's own is better: then it is not used.
pub(crate) fn hand_over(seed: Option<&[u8]>) {
    if random::Source::find().is_none() {
        let generator = seed.and_then(Generator::of_seed);
        critical_section::with(|section| *GENERATOR.borrow_ref_mut(section) = generator);
    }
}

/// Fills `out` with random bytes.
///
/// # Errors
/// [`NoEntropy`]; `out` holds nothing then.
pub fn try_fill(out: &mut [u8]) -> Result<(), NoEntropy> {
    let source = random::Source::find();
    critical_section::with(|section| {
        let mut place = GENERATOR.borrow_ref_mut(section);
        let Some(source) = source else {
            let generator = place.as_mut().ok_or(NoEntropy::Nothing)?;
            // There is no source that could fail.
            return generator.fill(None, out).map_err(|_| NoEntropy::Nothing);
        };
        let failed = |error| NoEntropy::Source { name: source.name(), error };
        let mut number = || source.number();
        let mut generator = match place.take() {
            Some(generator) => generator,
            None => Generator::new(&mut number).map_err(failed)?,
        };
        let filled = generator.fill(Some(&mut number), out);
        *place = Some(generator);
        filled.map_err(failed)
    })
}

/// Fills `out` with random bytes.
///
/// # Panics
/// If there are none: the domain ends.
pub fn fill(out: &mut [u8]) {
    if let Err(error) = try_fill(out) {
        panic!("no entropy: {error}");
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
