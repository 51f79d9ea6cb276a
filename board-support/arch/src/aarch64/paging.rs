//! The page tables of the running domain: stage 1, 4 KiB granule, 48 bits.

use core::arch::asm;

use crate::page_table::{self, AddressSpace, Encoding, Rights};

pub use page_table::{LARGE_PAGE, PAGE};

/// Memory attributes: index 0 is device-nGnRE, index 4 normal write-back. The others are not used.
pub(super) const MAIR: u64 = 0x04 | 0xff << 32;
/// 48 bits in TTBR0, write-back walks, inner shareable, 4 KiB; TTBR1 off; 40 bits of physical address.
pub(super) const TCR: u64 = 16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;

const VALID: u64 = 1;
/// A table, or a page in the last level. A block has it clear.
const NOT_BLOCK: u64 = 1 << 1;
const NORMAL: u64 = 4 << 2;
const DEVICE: u64 = 0;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const NEVER_EXECUTE: u64 = 1 << 53 | 1 << 54;
const NEVER_EXECUTE_BELOW: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Bits of an entry. Source: Arm ARM, D8.3.
pub struct Arm;

impl Encoding for Arm {
    fn table(address: u64) -> u64 {
        address | VALID | NOT_BLOCK
    }

    fn page(address: u64, rights: Rights, large: bool) -> u64 {
        let rights = match rights {
            Rights::ReadExecute => NORMAL | INNER_SHAREABLE | READ_ONLY | NEVER_EXECUTE_BELOW,
            Rights::Read => NORMAL | INNER_SHAREABLE | READ_ONLY | NEVER_EXECUTE,
            Rights::ReadWrite => NORMAL | INNER_SHAREABLE | NEVER_EXECUTE,
            Rights::Device => DEVICE | NEVER_EXECUTE,
        };
        address | VALID | ACCESSED | rights | if large { 0 } else { NOT_BLOCK }
    }

    fn is_present(entry: u64) -> bool {
        entry & VALID != 0
    }

    fn is_large(entry: u64) -> bool {
        entry & NOT_BLOCK == 0
    }

    fn address(entry: u64) -> u64 {
        entry & ADDRESS
    }

    fn shrink(entry: u64) -> u64 {
        entry | NOT_BLOCK
    }
}

/// The address space type of this architecture.
pub type Space = AddressSpace<Arm>;

/// Makes `space` the one in use.
///
/// # Safety
/// 1. It maps the image, with code executable, and the stack that we run on.
/// 2. It maps, with the rights that their users need, all memory that anybody holds a reference to.
pub unsafe fn switch_to(space: &Space) {
    // SAFETY:
    // 1. and 2. are what the caller owes: execution goes on and every reference stays good. The
    //    barrier before it makes the tables visible to the walker.
    unsafe {
        asm!("dsb ishst", "msr ttbr0_el1, {}", "isb", "tlbi vmalle1", "dsb nsh", "isb",
             in(reg) space.root(), options(nostack, preserves_flags));
    }
}

/// Forgets translations that are no longer right.
pub fn flush() {
    // SAFETY:
    // 1. Dropping translations that the tables give again has no effect but time.
    unsafe { asm!("dsb ishst", "tlbi vmalle1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}

/// Makes entries that were added visible to the walker.
pub fn publish() {
    // SAFETY:
    // 1. Barriers have no effect but order.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}
