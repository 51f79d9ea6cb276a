//! The transport whose registers lie in memory, version 2.
//!
//! Its interrupt line stays up as long as InterruptStatus is not 0, and interrupt controllers are told
//! that it is an edge. So whoever acknowledges must do so until InterruptStatus reads 0: an interrupt
//! beside a pending one makes no edge.
//!
//! Source: specification, section 4.2.2.

use core::mem::offset_of;

use safe_mmio::{
    UniqueMmioPointer, field, field_shared,
    fields::{ReadPure, ReadPureWrite, WriteOnly},
};

use super::{Readable, Transport, Writable};
use crate::mmio::{DeviceWords, RegisterBlock, Window};

/// What [`Readable::Magic`] reads: "virt".
pub const MAGIC: u32 = 0x7472_6976;

/// What [`Readable::Version`] reads of a device that is not a legacy one.
pub const VERSION: u32 = 2;

/// Bytes of a transport's registers, configuration included.
pub const BYTES: usize = 0x200;

/// The registers. `C` is the configuration of the kind of device.
#[repr(C)]
pub struct Registers<C> {
    /// 0x000 MagicValue.
    magic: ReadPure<u32>,
    /// 0x004 Version.
    version: ReadPure<u32>,
    /// 0x008 DeviceID.
    device_id: ReadPure<u32>,
    _vendor_id: u32,
    /// 0x010 DeviceFeatures.
    device_features: ReadPure<u32>,
    /// 0x014 DeviceFeaturesSel.
    device_features_sel: WriteOnly<u32>,
    _reserved0: [u32; 2],
    /// 0x020 DriverFeatures.
    driver_features: WriteOnly<u32>,
    /// 0x024 DriverFeaturesSel.
    driver_features_sel: WriteOnly<u32>,
    _reserved1: [u32; 2],
    /// 0x030 QueueSel.
    queue_sel: WriteOnly<u32>,
    /// 0x034 QueueSizeMax, QueueNumMax before version 1.2.
    queue_size_max: ReadPure<u32>,
    /// 0x038 QueueSize, QueueNum before version 1.2.
    queue_size: WriteOnly<u32>,
    _reserved2: [u32; 2],
    /// 0x044 QueueReady.
    queue_ready: ReadPureWrite<u32>,
    _reserved3: [u32; 2],
    /// 0x050 QueueNotify.
    queue_notify: WriteOnly<u32>,
    _reserved4: [u32; 3],
    /// 0x060 InterruptStatus.
    interrupt_status: ReadPure<u32>,
    /// 0x064 InterruptACK.
    interrupt_ack: WriteOnly<u32>,
    _reserved5: [u32; 2],
    /// 0x070 Status.
    status: ReadPureWrite<u32>,
    _reserved6: [u32; 3],
    /// 0x080 QueueDescLow.
    queue_desc_low: WriteOnly<u32>,
    /// 0x084 QueueDescHigh.
    queue_desc_high: WriteOnly<u32>,
    _reserved7: [u32; 2],
    /// 0x090 QueueDriverLow.
    queue_driver_low: WriteOnly<u32>,
    /// 0x094 QueueDriverHigh.
    queue_driver_high: WriteOnly<u32>,
    _reserved8: [u32; 2],
    /// 0x0a0 QueueDeviceLow.
    queue_device_low: WriteOnly<u32>,
    /// 0x0a4 QueueDeviceHigh.
    queue_device_high: WriteOnly<u32>,
    _reserved9: [u32; 21],
    /// 0x0fc ConfigGeneration.
    config_generation: ReadPure<u32>,
    /// 0x100: what belongs to the kind of device.
    config: C,
}

// SAFETY:
// 1. `repr(C)`, fields of 32 bits, and a register block at an address that is a multiple of 4; the
//    reserved words are private and never touched.
// 2. Rights are those of the specification. The queues' registers tell the device where it may write;
//    drivers give it pages of [`crate::dma::DevicePages`] only.
unsafe impl<C: RegisterBlock> RegisterBlock for Registers<C> {}

macro_rules! offsets {
    ($($offset:literal $field:ident)*) => {
        $(const _: () = assert!(offset_of!(Registers<[u32; 1]>, $field) == $offset);)*
    };
}

offsets! {
    0x000 magic 0x004 version 0x008 device_id 0x010 device_features 0x014 device_features_sel
    0x020 driver_features 0x024 driver_features_sel
    0x030 queue_sel 0x034 queue_size_max 0x038 queue_size 0x044 queue_ready 0x050 queue_notify
    0x060 interrupt_status 0x064 interrupt_ack 0x070 status
    0x080 queue_desc_low 0x084 queue_desc_high 0x090 queue_driver_low 0x094 queue_driver_high
    0x0a0 queue_device_low 0x0a4 queue_device_high 0x0fc config_generation 0x100 config
}

impl<M: DeviceWords, C: RegisterBlock> Transport for Window<M, Registers<C>> {
    fn read(&mut self, register: Readable) -> u32 {
        let block = self.registers();
        match register {
            Readable::Magic => field_shared!(block, magic).read(),
            Readable::Version => field_shared!(block, version).read(),
            Readable::DeviceId => field_shared!(block, device_id).read(),
            Readable::DeviceFeatures => field_shared!(block, device_features).read(),
            Readable::QueueSizeMax => field_shared!(block, queue_size_max).read(),
            Readable::QueueReady => field_shared!(block, queue_ready).read(),
            Readable::InterruptStatus => field_shared!(block, interrupt_status).read(),
            Readable::Status => field_shared!(block, status).read(),
            Readable::ConfigGeneration => field_shared!(block, config_generation).read(),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut block = self.registers();
        match register {
            Writable::DeviceFeaturesSel => field!(block, device_features_sel).write(value),
            Writable::DriverFeatures => field!(block, driver_features).write(value),
            Writable::DriverFeaturesSel => field!(block, driver_features_sel).write(value),
            Writable::QueueSel => field!(block, queue_sel).write(value),
            Writable::QueueSize => field!(block, queue_size).write(value),
            Writable::QueueReady => field!(block, queue_ready).write(value),
            Writable::QueueNotify => field!(block, queue_notify).write(value),
            Writable::InterruptAck => field!(block, interrupt_ack).write(value),
            Writable::Status => field!(block, status).write(value),
            Writable::QueueDescLow => field!(block, queue_desc_low).write(value),
            Writable::QueueDescHigh => field!(block, queue_desc_high).write(value),
            Writable::QueueDriverLow => field!(block, queue_driver_low).write(value),
            Writable::QueueDriverHigh => field!(block, queue_driver_high).write(value),
            Writable::QueueDeviceLow => field!(block, queue_device_low).write(value),
            Writable::QueueDeviceHigh => field!(block, queue_device_high).write(value),
        }
    }
}

impl<M: DeviceWords, C: RegisterBlock> Window<M, Registers<C>> {
    /// Reads from the configuration of the kind of device.
    pub(super) fn read_config<T>(&mut self, read: impl FnOnce(UniqueMmioPointer<'_, C>) -> T) -> T {
        let mut block = self.registers();
        read(field!(block, config))
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
        fn of(bytes: u32, value: fn(u32) -> u32) -> Self {
            Self(Rc::new((0..bytes / 4).map(|word| AtomicU32::new(value(word))).collect()))
        }
    }

    impl DeviceWords for Plain {
        fn words(&self) -> &[AtomicU32] {
            &self.0
        }
    }

    type Device = Window<Plain, Registers<crate::virtio::net::Config>>;

    /// Offsets typed again from the specification's table, not from the block above.
    #[test]
    fn each_register_is_where_the_specification_says() {
        let mut window = Device::new(Plain::of(0x200, |word| word * 4)).unwrap();
        use Readable::*;
        let reads = [
            (Magic, 0),
            (Version, 4),
            (DeviceId, 8),
            (DeviceFeatures, 0x10),
            (QueueSizeMax, 0x34),
            (QueueReady, 0x44),
            (InterruptStatus, 0x60),
            (Status, 0x70),
            (ConfigGeneration, 0xfc),
        ];
        for (register, offset) in reads {
            assert_eq!(window.read(register), offset, "{register:?}");
        }
        use Writable as W;
        let writes = [
            (W::DeviceFeaturesSel, 0x14),
            (W::DriverFeatures, 0x20),
            (W::DriverFeaturesSel, 0x24),
            (W::QueueSel, 0x30),
            (W::QueueSize, 0x38),
            (W::QueueReady, 0x44),
            (W::QueueNotify, 0x50),
            (W::InterruptAck, 0x64),
            (W::Status, 0x70),
            (W::QueueDescLow, 0x80),
            (W::QueueDescHigh, 0x84),
            (W::QueueDriverLow, 0x90),
            (W::QueueDriverHigh, 0x94),
            (W::QueueDeviceLow, 0xa0),
            (W::QueueDeviceHigh, 0xa4),
        ];
        let memory = Plain::of(0x200, |_| 0);
        let mut window = Device::new(memory.clone()).unwrap();
        for (number, (register, _)) in writes.iter().enumerate() {
            window.write(*register, number as u32 + 1);
        }
        let written = |offset: usize| memory.0[offset / 4].load(Relaxed);
        let found: Vec<u32> = writes.iter().map(|(_, offset)| *offset).map(written).collect();
        assert_eq!(found, (1..=writes.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn a_mapping_that_is_too_short_is_refused() {
        let error = Device::new(Plain::of(0x104, |_| 0)).err();
        assert_eq!(error, Some(crate::mmio::WindowTooShort { need: 0x108, have: 0x104 }));
    }
}
