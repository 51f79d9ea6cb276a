//! The first words between driver and device, which are the same for all kinds.
//!
//! Source: specification, section 3.1.1.

use core::fmt;

use super::{DeviceStatus, Features, Readable, Transport, Writable, mmio};

/// Why driver and device do not come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreetError {
    /// There is no virtio transport: MagicValue reads so.
    Magic(u32),
    /// The transport is a legacy one, or one of the future.
    Version(u32),
    /// The device is of another kind; 0 if there is none at all.
    Kind {
        /// Its kind.
        kind: u32,
        /// The kind that is driven here.
        wanted: u32,
    },
    /// The reset does not end: Status reads so.
    Reset(u32),
    /// It does not offer what we cannot do without: these features are missing.
    Features(u64),
    /// It does not accept what it has offered itself: Status reads so.
    Refused(u32),
    /// It has no usable queue of this number.
    Queue(u32),
}

impl fmt::Display for GreetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(magic) => write!(f, "no virtio device there, MagicValue reads {magic:#010x}"),
            Self::Version(version) => write!(f, "its transport has version {version}"),
            Self::Kind { kind, wanted } => write!(f, "its kind is {kind}, not {wanted}"),
            Self::Reset(status) => write!(f, "its reset does not end, Status reads {status:#x}"),
            Self::Features(missing) => write!(f, "it does not offer features {missing:#x}"),
            Self::Refused(status) => write!(f, "it refuses its own features, Status reads {status:#x}"),
            Self::Queue(number) => write!(f, "it has no queue {number}, or one in use"),
        }
    }
}

/// Checks that a device of this kind is there, and that its reset has ended.
pub(super) fn check(bus: &mut impl Transport, wanted: u32) -> Result<(), GreetError> {
    let magic = bus.read(Readable::Magic);
    if magic != mmio::MAGIC {
        return Err(GreetError::Magic(magic));
    }
    let version = bus.read(Readable::Version);
    if version != mmio::VERSION {
        return Err(GreetError::Version(version));
    }
    let kind = bus.read(Readable::DeviceId);
    if kind != wanted {
        return Err(GreetError::Kind { kind, wanted });
    }
    match bus.read(Readable::Status) {
        0 => Ok(()),
        status => Err(GreetError::Reset(status)),
    }
}

/// Agrees on features: those of `wanted` that are offered, which must be all of `needed`, version 1 among them.
/// Returns what the device offers.
pub(super) fn agree(bus: &mut impl Transport, needed: u64, wanted: u64) -> Result<u64, GreetError> {
    bus.write(Writable::Status, DeviceStatus::ACKNOWLEDGE.bits());
    bus.write(Writable::Status, (DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER).bits());
    let offered = read_features(bus);
    let common = Features::VERSION_1.bits() | Features::ACCESS_PLATFORM.bits();
    let missing = (Features::VERSION_1.bits() | needed) & !offered;
    if missing != 0 {
        return Err(GreetError::Features(missing));
    }
    write_features(bus, offered & (common | needed | wanted));
    bus.write(Writable::Status, AGREED.bits());
    let reads = bus.read(Readable::Status);
    if !DeviceStatus::from_bits_retain(reads).contains(DeviceStatus::FEATURES_OK) {
        return Err(GreetError::Refused(reads));
    }
    Ok(offered)
}

/// The status after [`agree`].
const AGREED: DeviceStatus =
    DeviceStatus::ACKNOWLEDGE.union(DeviceStatus::DRIVER).union(DeviceStatus::FEATURES_OK);

/// The status of a device that runs.
pub(super) const RUNNING: DeviceStatus = AGREED.union(DeviceStatus::DRIVER_OK);

/// Lets the device run: all that it has to be told was said.
pub(super) fn run(bus: &mut impl Transport) {
    bus.write(Writable::Status, RUNNING.bits());
}

/// All the features that the device offers.
fn read_features(bus: &mut impl Transport) -> u64 {
    bus.write(Writable::DeviceFeaturesSel, 0);
    let low = bus.read(Readable::DeviceFeatures);
    bus.write(Writable::DeviceFeaturesSel, 1);
    let high = bus.read(Readable::DeviceFeatures);
    u64::from(high) << 32 | u64::from(low)
}

/// Tells the device which features are taken.
fn write_features(bus: &mut impl Transport, features: u64) {
    bus.write(Writable::DriverFeaturesSel, 0);
    bus.write(Writable::DriverFeatures, features as u32);
    bus.write(Writable::DriverFeaturesSel, 1);
    bus.write(Writable::DriverFeatures, (features >> 32) as u32);
}
