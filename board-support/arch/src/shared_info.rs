//! The page that Xen shares with the domain: event channels, clock, wall clock.
//!
//! Xen writes it at any instant, so every access is atomic, and each field has one width.
//! Source: `xen.h`, `struct shared_info`; offsets in `proto_xen::shared_info`.

use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicU8, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
        fence,
    },
};

use proto_xen::{
    Port,
    event_channel::PORTS,
    shared_info::{Layout, time},
};

use crate::events;

#[cfg(target_arch = "aarch64")]
const LAYOUT: Layout = proto_xen::shared_info::AARCH64;
#[cfg(target_arch = "x86_64")]
const LAYOUT: Layout = proto_xen::shared_info::X86_64;

/// Ports in a word of the bitmaps.
const BITS: u32 = u64::BITS;
/// Words of the bitmaps.
const WORDS: u32 = PORTS / BITS;

/// The page.
#[derive(Clone, Copy, Debug)]
pub struct SharedInfo {
    base: NonNull<u8>,
}

// SAFETY:
// 1. All accesses are atomic, and the page stays mapped for ever (what the caller of `new` owes).
unsafe impl Send for SharedInfo {}
// SAFETY:
// 1. As above.
unsafe impl Sync for SharedInfo {}

/// `vcpu_time_info`: the counter and the system time at the same instant.
#[derive(Clone, Copy, Debug)]
pub struct VcpuTime {
    /// The counter then.
    pub tsc_timestamp: u64,
    /// Nanoseconds since power-on then.
    pub system_time: u64,
    /// 32.32 multiplier.
    pub multiplier: u32,
    /// Shift before it.
    pub shift: i8,
}

/// The wall clock at system time zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Seconds since 1970.
    pub seconds: u64,
    /// And nanoseconds.
    pub nanoseconds: u32,
}

impl events::Words for SharedInfo {
    fn upcall_pending(&self) -> &AtomicU8 {
        self.u8(LAYOUT.upcall_pending)
    }

    fn selector(&self) -> &AtomicU64 {
        self.u64(LAYOUT.pending_sel)
    }

    fn pending(&self, word: u32) -> &AtomicU64 {
        self.u64(LAYOUT.pending + 8 * word as usize)
    }

    fn mask(&self, word: u32) -> &AtomicU64 {
        self.mask_word(word)
    }
}

impl SharedInfo {
    /// Takes over the page at `base`.
    ///
    /// # Safety
    /// 1. The page is the domain's shared_info, mapped readable and writable for ever.
    /// 2. Nothing but this type's values accesses it.
    #[must_use]
    pub const unsafe fn new(base: NonNull<u8>) -> Self {
        Self { base }
    }

    /// Masks all ports, so that only those that somebody waits for are heard.
    pub fn mask_all(&self) {
        for word in 0..WORDS {
            self.mask_word(word).store(u64::MAX, Relaxed);
        }
    }

    /// Masks one port.
    pub fn mask(&self, port: Port) {
        if port.0 < PORTS {
            self.mask_word(port.0 / BITS).fetch_or(1 << (port.0 % BITS), AcqRel);
        }
    }

    /// Calls `each` for every port that was raised and is not masked, and clears it before. To be called
    /// with upcalls masked at the processor.
    pub fn take_events(&self, each: impl FnMut(Port)) {
        events::take(self, each);
    }

    /// What Xen last wrote about the clock.
    #[must_use]
    pub fn vcpu_time(&self) -> VcpuTime {
        let at = |offset| LAYOUT.time + offset;
        self.versioned(at(time::VERSION), || VcpuTime {
            tsc_timestamp: self.u64(at(time::TSC_TIMESTAMP)).load(Relaxed),
            system_time: self.u64(at(time::SYSTEM_TIME)).load(Relaxed),
            multiplier: self.u32(at(time::TSC_TO_SYSTEM_MUL)).load(Relaxed),
            shift: self.u8(at(time::TSC_SHIFT)).load(Relaxed) as i8,
        })
    }

    /// What Xen last wrote about the wall clock.
    #[must_use]
    pub fn wall_clock(&self) -> WallClock {
        // Version, seconds, nanoseconds, upper half of the seconds.
        let at = LAYOUT.wall_clock;
        self.versioned(at, || WallClock {
            seconds: u64::from(self.u32(at + 4).load(Relaxed))
                | u64::from(self.u32(at + 12).load(Relaxed)) << 32,
            nanoseconds: self.u32(at + 8).load(Relaxed),
        })
    }

    /// Reads what stands behind a version that is odd while Xen writes.
    fn versioned<T>(&self, version: usize, read: impl Fn() -> T) -> T {
        loop {
            let before = self.u32(version).load(Acquire);
            let value = read();
            fence(Acquire);
            if before & 1 == 0 && before == self.u32(version).load(Relaxed) {
                return value;
            }
            core::hint::spin_loop();
        }
    }

    fn mask_word(&self, word: u32) -> &AtomicU64 {
        self.u64(LAYOUT.mask + 8 * word as usize)
    }

    fn u8(&self, offset: usize) -> &AtomicU8 {
        self.field(offset)
    }

    fn u32(&self, offset: usize) -> &AtomicU32 {
        self.field(offset)
    }

    fn u64(&self, offset: usize) -> &AtomicU64 {
        self.field(offset)
    }

    /// The field at `offset`. Private, and called with the three atomic types above only.
    fn field<T>(&self, offset: usize) -> &T {
        debug_assert!(offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= 4096);
        // SAFETY:
        // 1. All offsets are those of `LAYOUT`, words of its bitmaps below `WORDS`, and fields of the
        //    records there: within the page.
        let at = unsafe { self.base.add(offset) };
        // SAFETY:
        // 1. The page is mapped for ever (`new`) and the offset aligned.
        // 2. `T` is atomic, so Xen's writes are allowed for.
        unsafe { at.cast::<T>().as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::{boxed::Box, vec::Vec};

    use super::*;

    #[repr(align(4096))]
    struct Page([u8; 4096]);

    /// A page that is there for ever, with these words.
    fn page(words: &[(usize, &[u8])]) -> SharedInfo {
        let page = Box::leak(Box::new(Page([0; 4096])));
        for (at, bytes) in words {
            page.0[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        // SAFETY:
        // 1. The page is never freed.
        // 2. Nobody else knows where it is.
        unsafe { SharedInfo::new(NonNull::from(page).cast()) }
    }

    #[test]
    fn ports_are_masked_and_taken() {
        let last = PORTS - 1;
        let shared = page(&[
            (LAYOUT.upcall_pending, &[1]),
            (LAYOUT.pending_sel, &(1u64 | 1 << 63).to_ne_bytes()),
            (LAYOUT.pending, &0b110u64.to_ne_bytes()),
            (LAYOUT.pending + last as usize / 64 * 8, &(1u64 << 63).to_ne_bytes()),
        ]);
        shared.mask(Port(1));
        // A port that there is not.
        shared.mask(Port(PORTS));
        let mut ports = Vec::new();
        shared.take_events(|port| ports.push(port.0));
        assert_eq!(ports, [2, last]);
        assert_eq!(shared.u8(LAYOUT.upcall_pending).load(Relaxed), 0);
        shared.mask_all();
        assert!((0..WORDS).all(|word| shared.mask_word(word).load(Relaxed) == u64::MAX));
    }

    #[test]
    fn clocks_are_read() {
        let wall = LAYOUT.wall_clock;
        let shared = page(&[
            (LAYOUT.time + time::TSC_TIMESTAMP, &9u64.to_ne_bytes()),
            (LAYOUT.time + time::TSC_SHIFT, &[0xff]),
            (wall + 4, &7u32.to_ne_bytes()),
            (wall + 8, &8u32.to_ne_bytes()),
            (wall + 12, &1u32.to_ne_bytes()),
        ]);
        let time = shared.vcpu_time();
        assert_eq!((time.tsc_timestamp, time.shift), (9, -1));
        assert_eq!(shared.wall_clock(), WallClock { seconds: 1 << 32 | 7, nanoseconds: 8 });
    }
}
