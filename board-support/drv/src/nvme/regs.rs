//! Registers of a controller, as far as the driver uses them.
//!
//! Those of 64 bits are accessed by their halves, which the specification allows. The interrupt masks are not
//! here: with MSI-X they must not be touched.
//!
//! Source: specification, section 3.1.

use bitflags::bitflags;
use core::mem::offset_of;
use safe_mmio::{
    field, field_shared,
    fields::{ReadPure, ReadPureWrite, WriteOnly},
};

use crate::mmio::{DeviceWords, RegisterBlock, Window};

/// Words of doorbells that are mapped: a page.
const DOORBELL_WORDS: usize = 1024;

/// The register block at the front of BAR 0: two pages.
#[repr(C)]
pub struct Registers {
    /// 0x0000 CAP, lower half.
    cap_low: ReadPure<u32>,
    /// 0x0004 CAP, upper half.
    cap_high: ReadPure<u32>,
    _version: u32,
    _masks: [u32; 2],
    /// 0x0014 CC: see [`Configuration`].
    cc: ReadPureWrite<u32>,
    _reserved0: u32,
    /// 0x001c CSTS: see [`Status`].
    csts: ReadPure<u32>,
    _reset: u32,
    /// 0x0024 AQA: entries of the admin queues, less 1 each.
    aqa: WriteOnly<u32>,
    /// 0x0028 ASQ: where the admin submission queue is, lower half.
    asq_low: WriteOnly<u32>,
    /// 0x002c Upper half.
    asq_high: WriteOnly<u32>,
    /// 0x0030 ACQ: where the admin completion queue is, lower half.
    acq_low: WriteOnly<u32>,
    /// 0x0034 Upper half.
    acq_high: WriteOnly<u32>,
    _rest: [u32; 1010],
    /// 0x1000 Doorbells: of each queue its submissions' tail and its completions' head, CAP.DSTRD apart.
    doorbells: [WriteOnly<u32>; DOORBELL_WORDS],
}

// SAFETY:
// 1. `repr(C)`, fields of 32 bits; the reserved words are private and never touched.
// 2. Rights are those of the specification. The queues' registers tell the controller where it may write, and
//    the driver gives it pages of its own only.
unsafe impl RegisterBlock for Registers {}

macro_rules! offsets {
    ($($offset:literal $field:ident)*) => {
        $(const _: () = assert!(offset_of!(Registers, $field) == $offset);)*
    };
}

offsets! {
    0x0000 cap_low 0x0004 cap_high 0x0014 cc 0x001c csts 0x0024 aqa 0x0028 asq_low 0x002c asq_high
    0x0030 acq_low 0x0034 acq_high 0x1000 doorbells
}
const _: () = assert!(size_of::<Registers>() == 0x2000);

/// A register that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// CAP, lower half.
    CapabilitiesLow,
    /// CAP, upper half.
    CapabilitiesHigh,
    /// CC.
    Configuration,
    /// CSTS.
    Status,
}

/// A register that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    /// CC.
    Configuration,
    /// AQA.
    AdminSizes,
    /// ASQ, lower half.
    AdminSubmissionLow,
    /// ASQ, upper half.
    AdminSubmissionHigh,
    /// ACQ, lower half.
    AdminCompletionLow,
    /// ACQ, upper half.
    AdminCompletionHigh,
    /// The doorbell in this word, counted from the first; see [`Capabilities::doorbells`].
    Doorbell(u16),
}

/// Access to the registers: the real ones, or a fake's.
pub trait Bus {
    /// Reads a register. A controller that is gone reads as ones.
    fn read(&mut self, register: Readable) -> u32;
    /// Writes a register.
    fn write(&mut self, register: Writable, value: u32);
}

impl<M: DeviceWords> Bus for Window<M, Registers> {
    fn read(&mut self, register: Readable) -> u32 {
        let block = self.registers();
        match register {
            Readable::CapabilitiesLow => field_shared!(block, cap_low).read(),
            Readable::CapabilitiesHigh => field_shared!(block, cap_high).read(),
            Readable::Configuration => field_shared!(block, cc).read(),
            Readable::Status => field_shared!(block, csts).read(),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut block = self.registers();
        match register {
            Writable::Configuration => field!(block, cc).write(value),
            Writable::AdminSizes => field!(block, aqa).write(value),
            Writable::AdminSubmissionLow => field!(block, asq_low).write(value),
            Writable::AdminSubmissionHigh => field!(block, asq_high).write(value),
            Writable::AdminCompletionLow => field!(block, acq_low).write(value),
            Writable::AdminCompletionHigh => field!(block, acq_high).write(value),
            Writable::Doorbell(word) => {
                if let Some(mut place) = field!(block, doorbells).get(usize::from(word)) {
                    place.write(value);
                }
            }
        }
    }
}

bitflags! {
    /// CC.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Configuration: u32 {
        /// Enable. Clearing it resets the controller.
        const EN = 1 << 0;
        /// I/O submission queue entries of 64 bytes.
        const IOSQES = 6 << 16;
        /// I/O completion queue entries of 16 bytes.
        const IOCQES = 4 << 20;
    }

    /// CSTS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        /// Ready.
        const RDY = 1 << 0;
        /// Controller fatal status.
        const CFS = 1 << 1;
    }
}

/// CAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(u64);

impl Capabilities {
    pub(super) fn read(bus: &mut impl Bus) -> Self {
        let low = bus.read(Readable::CapabilitiesLow);
        Self(u64::from(bus.read(Readable::CapabilitiesHigh)) << 32 | u64::from(low))
    }

    /// Whether it reads as ones.
    pub(super) fn is_gone(self) -> bool {
        self.0 == u64::MAX
    }

    /// Entries of the largest queue: CAP.MQES and one.
    pub(super) fn queue_entries(self) -> u32 {
        (self.0 & 0xffff) as u32 + 1
    }

    /// How long it may take to become ready, or to stop: CAP.TO, in milliseconds.
    pub(super) fn ready_ms(self) -> u64 {
        (self.0 >> 24 & 0xff) * 500
    }

    /// CAP.DSTRD.
    pub(super) fn stride(self) -> u8 {
        (self.0 >> 32 & 0xf) as u8
    }

    /// CAP.CSS.
    pub(super) fn command_sets(self) -> u8 {
        (self.0 >> 37 & 0xff) as u8
    }

    /// CAP.MPSMIN: the smallest page is 4096 bytes times two to this power.
    pub(super) fn smallest_page(self) -> u8 {
        (self.0 >> 48 & 0xf) as u8
    }

    /// The doorbells of a queue, submissions' tail and completions' head: `None` if they are not mapped.
    pub(super) fn doorbells(self, queue: u16) -> Option<[Writable; 2]> {
        let word = |doorbell: u16| {
            let word = u64::from(doorbell) << self.stride();
            u16::try_from(word)
                .ok()
                .filter(|word| usize::from(*word) < DOORBELL_WORDS)
                .map(Writable::Doorbell)
        };
        Some([word(queue * 2)?, word(queue * 2 + 1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::{rc::Rc, vec::Vec};

    #[derive(Clone)]
    struct Plain(Rc<Vec<AtomicU32>>);

    impl Plain {
        fn of(words: u32, value: fn(u32) -> u32) -> Self {
            Self(Rc::new((0..words).map(|word| AtomicU32::new(value(word))).collect()))
        }
    }

    impl DeviceWords for Plain {
        fn words(&self) -> &[AtomicU32] {
            &self.0
        }
    }

    /// Offsets typed again from the specification's table, not from the block above.
    #[test]
    fn each_register_is_where_the_specification_says() {
        let memory = Plain::of(0x2000 / 4, |word| word * 4);
        let mut window = Window::<Plain, Registers>::new(memory).unwrap();
        use Readable::*;
        for (register, offset) in
            [(CapabilitiesLow, 0), (CapabilitiesHigh, 4), (Configuration, 0x14), (Status, 0x1c)]
        {
            assert_eq!(window.read(register), offset, "{register:?}");
        }
        use Writable as W;
        let writes = [
            (W::Configuration, 0x14),
            (W::AdminSizes, 0x24),
            (W::AdminSubmissionLow, 0x28),
            (W::AdminSubmissionHigh, 0x2c),
            (W::AdminCompletionLow, 0x30),
            (W::AdminCompletionHigh, 0x34),
            (W::Doorbell(0), 0x1000),
            (W::Doorbell(3), 0x100c),
            (W::Doorbell(1023), 0x1ffc),
        ];
        let memory = Plain::of(0x2000 / 4, |_| 0);
        let mut window = Window::<Plain, Registers>::new(memory.clone()).unwrap();
        for (number, (register, _)) in writes.iter().enumerate() {
            window.write(*register, number as u32 + 1);
        }
        window.write(W::Doorbell(1024), 99);
        let written = |offset: usize| memory.0[offset / 4].load(Relaxed);
        let found: Vec<u32> = writes.iter().map(|(_, offset)| *offset).map(written).collect();
        assert_eq!(found, (1..=writes.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn a_mapping_that_is_too_short_is_refused() {
        let memory = Plain::of(0x1000 / 4, |_| 0);
        let error = Window::<Plain, Registers>::new(memory).err();
        assert_eq!(error, Some(crate::mmio::WindowTooShort { need: 0x2000, have: 0x1000 }));
    }

    #[test]
    fn capabilities_are_read_as_the_specification_lays_them_out() {
        // TO 15 (7.5 s), MQES 2047, DSTRD 0, CSS 0xc1, MPSMIN 0, MPSMAX 4: QEMU's.
        let qemu = Capabilities(0x0040_1820_0f01_07ff);
        assert_eq!((qemu.queue_entries(), qemu.ready_ms(), qemu.stride()), (2048, 7500, 0));
        assert_eq!((qemu.command_sets(), qemu.smallest_page()), (0xc1, 0));
        assert_eq!(qemu.doorbells(1), Some([Writable::Doorbell(2), Writable::Doorbell(3)]));
        let apart = |stride: u64| Capabilities(stride << 32).doorbells(1);
        assert_eq!(apart(8), Some([Writable::Doorbell(512), Writable::Doorbell(768)]));
        assert_eq!(apart(9), None, "not in the page");
        assert_eq!(apart(15), None);
    }
}
