//! Identifiers: each its own type, so that a port is never taken for a grant reference.

use core::fmt;

/// A domain. Source: `xen.h`, `domid_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(pub u16);

impl DomId {
    /// The domain with power over the others.
    pub const DOM0: Self = Self(0);
    /// Whoever makes the call.
    pub const SELF: Self = Self(0x7ff0);
    /// Owner of I/O memory, and of devices in quarantine.
    pub const IO: Self = Self(0x7ff1);
    /// The first number that is no ordinary domain. Source: `DOMID_FIRST_RESERVED`.
    pub const FIRST_RESERVED: u16 = 0x7ff0;
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// A grant reference: index into the granting domain's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gref(pub u32);

/// An event channel port, local to one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

/// A virtual interrupt source. Source: `xen.h`, `VIRQ_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Virq(pub u32);

impl Virq {
    /// The vCPU's one-shot timer.
    pub const TIMER: Self = Self(0);
    /// Input on Xen's console, for dom0.
    pub const CONSOLE: Self = Self(2);
    /// A domain has shut down or is gone, for dom0.
    pub const DOM_EXC: Self = Self(3);
}

/// A physical interrupt as a domain names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pirq(pub u32);

/// A virtual CPU of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuId(pub u32);

/// A PCI function: segment, bus, device and function in one word, as domctls take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sbdf(pub u32);

impl Sbdf {
    /// Function `function` of device `device` on `bus`, segment 0. Device and function are taken
    /// modulo 32 and 8.
    #[must_use]
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Self((bus as u32) << 8 | ((device & 31) as u32) << 3 | (function & 7) as u32)
    }

    /// The bus.
    #[must_use]
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Device and function in one byte.
    #[must_use]
    pub const fn devfn(self) -> u8 {
        self.0 as u8
    }
}

impl fmt::Display for Sbdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.devfn() >> 3, self.devfn() & 7)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::Sbdf;

    #[test]
    fn a_function_is_written_as_people_do() {
        assert_eq!(Sbdf::new(0, 0x1f, 3).to_string(), "00:1f.3");
        assert_eq!(Sbdf::new(3, 2, 0).0, 0x310);
    }
}
