//! Registers of the 82574L, as far as the driver uses them.
//!
//! Source: Intel 82574L Gigabit Ethernet Controller datasheet, section 10.2.

use bitflags::bitflags;
use core::mem::offset_of;
use safe_mmio::{
    field, field_shared,
    fields::{ReadOnly, ReadPure, ReadPureWrite, WriteOnly},
};

use crate::mmio::{DeviceWords, RegisterBlock, Window};

/// The register block at the front of BAR 0.
#[repr(C)]
pub struct Registers {
    /// 0x00000 CTRL: see [`Control`].
    ctrl: ReadPureWrite<u32>,
    _reserved0: u32,
    /// 0x00008 STATUS: see [`Status`].
    status: ReadPure<u32>,
    _reserved1: [u32; 45],
    /// 0x000c0 ICR: causes; writing a one clears it. Reading clears too, so it is not read.
    icr: WriteOnly<u32>,
    _reserved2: [u32; 3],
    /// 0x000d0 IMS: writing a one lets a cause through.
    ims: WriteOnly<u32>,
    _reserved3: u32,
    /// 0x000d8 IMC: writing a one stops a cause.
    imc: WriteOnly<u32>,
    /// 0x000dc EIAC: causes that clear themselves; we use none.
    eiac: WriteOnly<u32>,
    _reserved4: u32,
    /// 0x000e4 IVAR: which cause raises which MSI-X vector.
    ivar: WriteOnly<u32>,
    _reserved5: [u32; 6],
    /// 0x00100 RCTL: see [`ReceiveControl`].
    rctl: WriteOnly<u32>,
    _reserved6: [u32; 191],
    /// 0x00400 TCTL: see [`TransmitControl`].
    tctl: WriteOnly<u32>,
    _reserved7: [u32; 3],
    /// 0x00410 TIPG: gaps between frames.
    tipg: WriteOnly<u32>,
    _reserved8: [u32; 2299],
    /// 0x02800 RDBAL0: receive ring, lower half of the address.
    rdbal: WriteOnly<u32>,
    /// 0x02804 RDBAH0: upper half.
    rdbah: WriteOnly<u32>,
    /// 0x02808 RDLEN0: its length in bytes.
    rdlen: WriteOnly<u32>,
    _reserved9: u32,
    /// 0x02810 RDH0: next descriptor that the device fills.
    rdh: WriteOnly<u32>,
    _reserved10: u32,
    /// 0x02818 RDT0: first descriptor that the device may not fill.
    rdt: WriteOnly<u32>,
    _reserved11: [u32; 1017],
    /// 0x03800 TDBAL0: transmit ring, lower half of the address.
    tdbal: WriteOnly<u32>,
    /// 0x03804 TDBAH0: upper half.
    tdbah: WriteOnly<u32>,
    /// 0x03808 TDLEN0: its length in bytes.
    tdlen: WriteOnly<u32>,
    _reserved12: u32,
    /// 0x03810 TDH0: next descriptor that the device sends.
    tdh: WriteOnly<u32>,
    _reserved13: u32,
    /// 0x03818 TDT0: first descriptor that the device may not send.
    tdt: WriteOnly<u32>,
    _reserved14: [u32; 3],
    /// 0x03828 TXDCTL0: when descriptors are fetched and written back.
    txdctl: WriteOnly<u32>,
    _reserved15: [u32; 501],
    /// 0x04000 CRCERRS: frames with a wrong checksum since the last reading.
    crcerrs: ReadOnly<u32>,
    _reserved16: [u32; 2],
    /// 0x0400c RXERRC: frames with another error since the last reading.
    rxerrc: ReadOnly<u32>,
    /// 0x04010 MPC: frames for which there was no room since the last reading.
    mpc: ReadOnly<u32>,
    _reserved17: [u32; 1147],
    /// 0x05200 MTA: filter of group addresses.
    mta: [WriteOnly<u32>; 128],
    /// 0x05400 RAL0: bytes 0 to 3 of our hardware address, read from the card's memory at reset.
    ral: ReadPure<u32>,
    /// 0x05404 RAH0: bytes 4 and 5, and bit 31: the address is valid.
    rah: ReadPure<u32>,
}

// SAFETY:
// 1. `repr(C)`, fields of 32 bits; the reserved words are private and never touched.
// 2. Rights are those of the datasheet. The rings' registers tell the device where it may write, and
//    the driver gives it pages of its own only.
unsafe impl RegisterBlock for Registers {}

macro_rules! offsets {
    ($($offset:literal $field:ident)*) => {
        $(const _: () = assert!(offset_of!(Registers, $field) == $offset);)*
    };
}

offsets! {
    0x00000 ctrl 0x00008 status 0x000c0 icr 0x000d0 ims 0x000d8 imc 0x000dc eiac 0x000e4 ivar
    0x00100 rctl 0x00400 tctl 0x00410 tipg
    0x02800 rdbal 0x02804 rdbah 0x02808 rdlen 0x02810 rdh 0x02818 rdt
    0x03800 tdbal 0x03804 tdbah 0x03808 tdlen 0x03810 tdh 0x03818 tdt 0x03828 txdctl
    0x04000 crcerrs 0x0400c rxerrc 0x04010 mpc 0x05200 mta 0x05400 ral 0x05404 rah
}

/// Words of the group address filter.
pub(super) const FILTER_WORDS: usize = 128;

/// A register that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// CTRL.
    Control,
    /// STATUS.
    Status,
    /// RAL0.
    AddressLow,
    /// RAH0.
    AddressHigh,
    /// CRCERRS; reading clears it.
    CrcErrors,
    /// RXERRC; reading clears it.
    ReceiveErrors,
    /// MPC; reading clears it.
    Missed,
}

/// A register that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    /// CTRL.
    Control,
    /// ICR: clears causes.
    Causes,
    /// IMS: lets causes through.
    MaskSet,
    /// IMC: stops causes.
    MaskClear,
    /// EIAC.
    AutoClear,
    /// IVAR.
    Vectors,
    /// RCTL.
    ReceiveControl,
    /// TCTL.
    TransmitControl,
    /// TIPG.
    Gaps,
    /// RDBAL0.
    ReceiveBaseLow,
    /// RDBAH0.
    ReceiveBaseHigh,
    /// RDLEN0.
    ReceiveLength,
    /// RDH0.
    ReceiveHead,
    /// RDT0.
    ReceiveTail,
    /// TDBAL0.
    TransmitBaseLow,
    /// TDBAH0.
    TransmitBaseHigh,
    /// TDLEN0.
    TransmitLength,
    /// TDH0.
    TransmitHead,
    /// TDT0.
    TransmitTail,
    /// TXDCTL0.
    TransmitDescriptors,
    /// MTA, this word of it; below [`FILTER_WORDS`].
    Filter(u8),
}

/// Access to the registers: the real ones, or a fake's.
pub trait Bus {
    /// Reads a register. A device that is gone reads as ones.
    fn read(&mut self, register: Readable) -> u32;
    /// Writes a register.
    fn write(&mut self, register: Writable, value: u32);
}

impl<M: DeviceWords> Bus for Window<M, Registers> {
    fn read(&mut self, register: Readable) -> u32 {
        let mut block = self.registers();
        match register {
            Readable::Control => field_shared!(block, ctrl).read(),
            Readable::Status => field_shared!(block, status).read(),
            Readable::AddressLow => field_shared!(block, ral).read(),
            Readable::AddressHigh => field_shared!(block, rah).read(),
            Readable::CrcErrors => field!(block, crcerrs).read(),
            Readable::ReceiveErrors => field!(block, rxerrc).read(),
            Readable::Missed => field!(block, mpc).read(),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut block = self.registers();
        match register {
            Writable::Control => field!(block, ctrl).write(value),
            Writable::Causes => field!(block, icr).write(value),
            Writable::MaskSet => field!(block, ims).write(value),
            Writable::MaskClear => field!(block, imc).write(value),
            Writable::AutoClear => field!(block, eiac).write(value),
            Writable::Vectors => field!(block, ivar).write(value),
            Writable::ReceiveControl => field!(block, rctl).write(value),
            Writable::TransmitControl => field!(block, tctl).write(value),
            Writable::Gaps => field!(block, tipg).write(value),
            Writable::ReceiveBaseLow => field!(block, rdbal).write(value),
            Writable::ReceiveBaseHigh => field!(block, rdbah).write(value),
            Writable::ReceiveLength => field!(block, rdlen).write(value),
            Writable::ReceiveHead => field!(block, rdh).write(value),
            Writable::ReceiveTail => field!(block, rdt).write(value),
            Writable::TransmitBaseLow => field!(block, tdbal).write(value),
            Writable::TransmitBaseHigh => field!(block, tdbah).write(value),
            Writable::TransmitLength => field!(block, tdlen).write(value),
            Writable::TransmitHead => field!(block, tdh).write(value),
            Writable::TransmitTail => field!(block, tdt).write(value),
            Writable::TransmitDescriptors => field!(block, txdctl).write(value),
            Writable::Filter(word) => {
                if let Some(mut place) = field!(block, mta).get(usize::from(word)) {
                    place.write(value);
                }
            }
        }
    }
}

bitflags! {
    /// CTRL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Control: u32 {
        /// GIO Master Disable: start no more DMA.
        const GIO_MASTER_DISABLE = 1 << 2;
        /// Set Link Up.
        const SLU = 1 << 6;
        /// Force Speed.
        const FRCSPD = 1 << 11;
        /// Force Duplex.
        const FRCDPLX = 1 << 12;
        /// Reset; clears itself.
        const RST = 1 << 26;
    }

    /// STATUS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        /// Full Duplex.
        const FD = 1 << 0;
        /// Link Up.
        const LU = 1 << 1;
        /// Link speed setting; see [`Status::speed_mbit`].
        const SPEED = 3 << 6;
        /// GIO Master Enable Status: DMA may be under way.
        const GIO_MASTER_EN = 1 << 19;
    }

    /// ICR, IMS, IMC.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Cause: u32 {
        /// Link Status Change.
        const LSC = 1 << 2;
        /// Receive queue 0.
        const RXQ0 = 1 << 20;
        /// Transmit queue 0.
        const TXQ0 = 1 << 22;
        /// Any cause that is no queue's.
        const OTHER = 1 << 24;
    }

    /// RCTL. Buffers have 2048 bytes where no bit says otherwise.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct ReceiveControl: u32 {
        /// Receiver Enable.
        const EN = 1 << 1;
        /// Broadcast Accept Mode.
        const BAM = 1 << 15;
        /// Strip Ethernet CRC.
        const SECRC = 1 << 26;
    }

    /// TCTL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TransmitControl: u32 {
        /// Transmit Enable.
        const EN = 1 << 1;
        /// Pad Short Packets.
        const PSP = 1 << 3;
        /// Collision Threshold 15, for half duplex.
        const CT = 0x0f << 4;
        /// Collision Distance 63, for half duplex.
        const COLD = 0x3f << 12;
    }
}

impl Status {
    /// Speed in Mbit/s, of meaning while the link is up.
    pub(super) fn speed_mbit(self) -> u16 {
        match (self & Self::SPEED).bits() >> 6 {
            0 => 10,
            1 => 100,
            _ => 1000,
        }
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

    /// Offsets typed again from the datasheet's table, not from the block above.
    #[test]
    fn each_register_is_where_the_datasheet_says() {
        let memory = Plain::of(0x8000 / 4, |word| word * 4);
        let mut window = Window::<Plain, Registers>::new(memory).unwrap();
        use Readable::*;
        let reads = [
            (Control, 0),
            (Status, 8),
            (AddressLow, 0x5400),
            (AddressHigh, 0x5404),
            (CrcErrors, 0x4000),
            (ReceiveErrors, 0x400c),
            (Missed, 0x4010),
        ];
        for (register, offset) in reads {
            assert_eq!(window.read(register), offset, "{register:?}");
        }
        use Writable as W;
        let writes = [
            (W::Control, 0),
            (W::Causes, 0xc0),
            (W::MaskSet, 0xd0),
            (W::MaskClear, 0xd8),
            (W::AutoClear, 0xdc),
            (W::Vectors, 0xe4),
            (W::ReceiveControl, 0x100),
            (W::TransmitControl, 0x400),
            (W::Gaps, 0x410),
            (W::ReceiveBaseLow, 0x2800),
            (W::ReceiveBaseHigh, 0x2804),
            (W::ReceiveLength, 0x2808),
            (W::ReceiveHead, 0x2810),
            (W::ReceiveTail, 0x2818),
            (W::TransmitBaseLow, 0x3800),
            (W::TransmitBaseHigh, 0x3804),
            (W::TransmitLength, 0x3808),
            (W::TransmitHead, 0x3810),
            (W::TransmitTail, 0x3818),
            (W::TransmitDescriptors, 0x3828),
            (W::Filter(0), 0x5200),
            (W::Filter(127), 0x53fc),
        ];
        let memory = Plain::of(0x8000 / 4, |_| 0);
        let mut window = Window::<Plain, Registers>::new(memory.clone()).unwrap();
        for (number, (register, _)) in writes.iter().enumerate() {
            window.write(*register, number as u32 + 1);
        }
        window.write(W::Filter(128), 99);
        let written = |offset: usize| memory.0[offset / 4].load(Relaxed);
        let found: Vec<u32> = writes.iter().map(|(_, offset)| *offset).map(written).collect();
        assert_eq!(found, (1..=writes.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn a_mapping_that_is_too_short_is_refused() {
        let memory = Plain::of(0x5400 / 4, |_| 0);
        let error = Window::<Plain, Registers>::new(memory).err();
        assert_eq!(error, Some(crate::mmio::WindowTooShort { need: 0x5408, have: 0x5400 }));
    }
}
