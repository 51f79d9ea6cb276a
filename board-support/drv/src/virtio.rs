//! Virtio 1.x: what its devices have in common.
//!
//! | module | what is in it |
//! |---|---|
//! | [`mmio`] | the transport in memory: its registers |
//! | [`greet`] | the first words, which are the same for all kinds |
//! | [`queue`] | the split virtqueue, seen from the driver |
//! | [`net`] | the network card |
//! | [`blk`] | the disk |
//!
//! Devices of before version 1 are refused: nothing here speaks to them.
//!
//! Trust: none in the device. It may write its half of each ring and every buffer at any instant, and its
//! registers may read as anything. What it says is read once and checked against what we gave it; the
//! first contradiction is a fault with a name, after which nothing is believed until it was reset.
//!
//! Fences are those between processors. A device beyond the processors' coherence says so by
//! `VIRTIO_F_ORDER_PLATFORM`, which is not taken.
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.2, OASIS; "the specification" below.

use bitflags::bitflags;

pub mod blk;
pub mod greet;
pub mod mmio;
pub mod net;
pub mod queue;
mod ring;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

bitflags! {
    /// Device status: how far driver and device have come. Source: section 2.1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceStatus: u32 {
        /// The driver has seen the device.
        const ACKNOWLEDGE = 1;
        /// The driver knows how to drive it.
        const DRIVER = 2;
        /// The driver runs it.
        const DRIVER_OK = 4;
        /// Both agree on the features.
        const FEATURES_OK = 8;
        /// The device has got lost and wants to be reset.
        const DEVICE_NEEDS_RESET = 64;
        /// The driver has given up.
        const FAILED = 128;
    }

    /// Features of every kind of device. Source: section 6.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The device is one of version 1 or later.
        const VERSION_1 = 1 << 32;
        /// Addresses are those that the platform gives for the device: ours are always.
        const ACCESS_PLATFORM = 1 << 33;
    }

    /// What an interrupt is about. Source: section 4.2.2, InterruptStatus.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InterruptStatus: u32 {
        /// Used buffers in some queue.
        const USED_BUFFER = 1;
        /// Another configuration, or status.
        const CONFIGURATION = 2;
    }
}

/// What is read of a device, on any transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// Of the transport: [`mmio::MAGIC`].
    Magic,
    /// Of the transport: [`mmio::VERSION`].
    Version,
    /// Kind of device; 0 if there is none.
    DeviceId,
    /// 32 bits of the features that the device offers, as selected.
    DeviceFeatures,
    /// The most descriptors of the selected queue; 0 if there is no such queue.
    QueueSizeMax,
    /// Whether the selected queue is in use.
    QueueReady,
    /// See [`InterruptStatus`].
    InterruptStatus,
    /// See [`DeviceStatus`].
    Status,
    /// Another number whenever the configuration has changed.
    ConfigGeneration,
}

/// What is written to a device, on any transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    /// Which 32 bits [`Readable::DeviceFeatures`] gives.
    DeviceFeaturesSel,
    /// 32 bits of the features that the driver takes, as selected.
    DriverFeatures,
    /// Which 32 bits [`Writable::DriverFeatures`] takes.
    DriverFeaturesSel,
    /// Which queue the others are about.
    QueueSel,
    /// Descriptors of the selected queue.
    QueueSize,
    /// 1 puts the selected queue to use.
    QueueReady,
    /// There are new buffers in the queue of this number.
    QueueNotify,
    /// Interrupts that were noticed.
    InterruptAck,
    /// See [`DeviceStatus`]; 0 resets.
    Status,
    /// Address of the selected queue's descriptors, lower half.
    QueueDescLow,
    /// Upper half.
    QueueDescHigh,
    /// Address of its driver area, lower half.
    QueueDriverLow,
    /// Upper half.
    QueueDriverHigh,
    /// Address of its device area, lower half.
    QueueDeviceLow,
    /// Upper half.
    QueueDeviceHigh,
}

/// Access to a device: the real one, or a fake's.
pub trait Transport {
    /// Reads a register. A device that is gone reads as ones.
    fn read(&mut self, register: Readable) -> u32;

    /// Writes a register.
    fn write(&mut self, register: Writable, value: u32);
}
