//! The page tables of the running domain.

use core::arch::asm;

use crate::page_table::{self, AddressSpace, Encoding, Rights};

/// Bits of an entry. Source: AMD64 APM volume 2, 5.4.
pub struct X86;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl Encoding for X86 {
    fn table(address: u64) -> u64 {
        // Rights are decided in the last entry only.
        address | PRESENT | WRITE
    }

    fn page(address: u64, rights: Rights, large: bool) -> u64 {
        let rights = match rights {
            Rights::ReadExecute => 0,
            Rights::Read => NO_EXECUTE,
            Rights::ReadWrite => NO_EXECUTE | WRITE,
            Rights::Device => NO_EXECUTE | WRITE | CACHE_DISABLE | WRITE_THROUGH,
        };
        address | PRESENT | rights | if large { LARGE } else { 0 }
    }

    fn is_present(entry: u64) -> bool {
        entry & PRESENT != 0
    }

    fn is_large(entry: u64) -> bool {
        entry & LARGE != 0
    }

    fn address(entry: u64) -> u64 {
        entry & ADDRESS
    }

    fn shrink(entry: u64) -> u64 {
        entry & !LARGE
    }
}

/// The address space type of this architecture.
pub type Space = AddressSpace<X86>;

pub use page_table::{LARGE_PAGE, PAGE};

/// Makes `space` the one in use.
///
/// # Safety
/// 1. It maps the image, with code executable, and the stack that we run on.
/// 2. It maps, with the rights that their users need, all memory that anybody holds a reference to.
pub unsafe fn switch_to(space: &Space) {
    // SAFETY:
    // 1. and 2. are what the caller owes: execution goes on and every reference stays good.
    unsafe { asm!("mov cr3, {}", in(reg) space.root(), options(nostack, preserves_flags)) };
}

/// Forgets translations that are no longer right. There are no global ones.
pub fn flush() {
    // SAFETY:
    // 1. cr3 is written with the value that it has.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags)) };
}

/// Makes entries that were added visible to the walker: it sees them as any other access.
pub fn publish() {}
