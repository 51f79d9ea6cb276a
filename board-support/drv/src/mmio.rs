//! From mapped words to a register block.
//!
//! Whoever owns the page tables (`rt`) maps a device's registers and shows them as words. A driver
//! wants them as a `#[repr(C)]` block whose field types carry the access rights. [`Window`] is the step
//! between, and the only unsafe code here.

use core::{fmt, marker::PhantomData, mem::size_of, ptr::NonNull, sync::atomic::AtomicU32};

use safe_mmio::UniqueMmioPointer;

/// Mapped registers of a device. Implemented on what the runtime's mapping returns; the value is the
/// right to use the registers, so it is moved into the driver.
pub trait DeviceWords {
    /// All words, in order of their addresses. The same ones at each call.
    fn words(&self) -> &[AtomicU32];
}

/// A register block.
///
/// # Safety
/// 1. The type is `repr(C)`, and every field is a `safe-mmio` field of 8, 16 or 32 bits, an array of
///    such, another register block, or reserved and never accessed. Its alignment is at most 4.
/// 2. The access rights of the fields are those that the device's documentation gives: no register
///    makes the device overwrite memory that it was not told about.
pub unsafe trait RegisterBlock {}

/// The mapping ends before the register block does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowTooShort {
    /// Bytes of the block.
    pub need: usize,
    /// Bytes that are mapped.
    pub have: usize,
}

impl fmt::Display for WindowTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registers take {} bytes, {} are mapped", self.need, self.have)
    }
}

/// The register block `T` at the front of mapped words.
pub struct Window<M, T> {
    memory: M,
    block: PhantomData<T>,
}

impl<M: DeviceWords, T: RegisterBlock> Window<M, T> {
    /// Takes the mapping.
    ///
    /// # Errors
    /// [`WindowTooShort`].
    pub fn new(memory: M) -> Result<Self, WindowTooShort> {
        const { assert!(align_of::<T>() <= align_of::<AtomicU32>(), "a register block is of words") };
        let (need, have) = (size_of::<T>(), size_of_val(memory.words()));
        if need > have {
            return Err(WindowTooShort { need, have });
        }
        Ok(Self { memory, block: PhantomData })
    }

    /// The registers.
    pub fn registers(&mut self) -> UniqueMmioPointer<'_, T> {
        let words = self.memory.words();
        // The lengths were compared in `new`; this holds whatever `words` returns now.
        assert!(size_of_val(words) >= size_of::<T>(), "the mapping has shrunk");
        let at = NonNull::from(words).cast::<T>();
        // SAFETY:
        // 1. `at` points to words that stay mapped while `self` is borrowed, as many as `T` has bytes
        //    (above), aligned for `T`, whose fields need no more than words do (`RegisterBlock` 1).
        // 2. The mapping is ours and borrowed exclusively. If somebody mapped the device twice, both
        //    accesses are single instructions: the device sees both, memory safety does not.
        // 3. The rights that the fields claim are the device's (`RegisterBlock` 2).
        unsafe { UniqueMmioPointer::new(at) }
    }
}
