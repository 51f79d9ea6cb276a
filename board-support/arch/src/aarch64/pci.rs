//! No PCI: the boards of today have none that Xen hands to dom0.

/// Offsets at and above this need another mechanism.
pub const BYTES: u16 = 256;

/// Ones: there is no function.
#[must_use]
pub fn read32(_function: u16, _offset: u16) -> u32 {
    u32::MAX
}

/// Nothing to write to.
pub fn write32(_function: u16, _offset: u16, _value: u32) {}

/// Nothing to write to.
pub fn write16(_function: u16, _offset: u16, _value: u16) {}
