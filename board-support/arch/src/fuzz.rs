//! Entries for fuzzing: the bytes are the physical memory from [`BASE`] on.

use crate::boot_info::{BootInfo, Physical};

/// Address of the first byte.
pub const BASE: u64 = 0x10_0000;

/// A start info, or a device tree, that the loader left at [`BASE`].
///
/// # Panics
/// If something was accepted that lies outside of the bytes, or is not noted as occupied.
pub fn start_info(bytes: &[u8]) {
    with_memory(bytes, |memory| {
        if let Ok(info) = BootInfo::parse(memory, BASE) {
            check(&info, memory);
        }
    });
}

/// The same for whatever form the bytes have.
///
/// # Panics
/// As [`start_info`].
pub fn device_tree(bytes: &[u8]) {
    with_memory(bytes, |memory| {
        if let Ok(info) = BootInfo::read(memory, BASE) {
            check(&info, memory);
        }
    });
}

fn check(info: &BootInfo, memory: &Memory) {
    let within = |part: &[u8]| part.is_empty() || memory.0.as_ptr_range().contains(&part.as_ptr());
    assert!(within(info.command_line.as_bytes()) && info.modules.iter().all(|module| within(module)));
    for module in info.modules.iter().filter(|module| !module.is_empty()) {
        let start = BASE + (module.as_ptr().addr() - memory.0.as_ptr().addr()) as u64;
        let span = crate::memory_map::Span::of(start, module.len() as u64).outward();
        assert!(info.occupied.iter().any(|known| known.contains(span)), "a module's memory would be used");
    }
}

struct Memory(&'static [u8]);

impl Physical for Memory {
    fn bytes(&self, address: u64, length: usize) -> Option<&'static [u8]> {
        let at = usize::try_from(address.checked_sub(BASE)?).ok()?;
        self.0.get(at..at.checked_add(length)?)
    }
}

/// Lends `bytes` as memory that is there for ever, as a domain's is.
fn with_memory(bytes: &[u8], parse: impl FnOnce(&Memory)) {
    // SAFETY:
    // 1. What `parse` is lent does not outlive the call: it returns nothing, and the parsers keep nothing.
    let memory = unsafe { core::mem::transmute::<&[u8], &'static [u8]>(bytes) };
    parse(&Memory(memory));
}
