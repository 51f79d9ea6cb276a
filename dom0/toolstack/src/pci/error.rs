//! Why a device was not handed over.

use core::fmt;

use proto_xen::{Errno, Sbdf};

/// A call to Xen while a device is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceStep {
    /// Taking it out of quarantine.
    Release,
    /// Keeping one of its MSI-X entries.
    Hold,
    /// Giving it to the domain.
    Assign,
    /// Allowing its registers.
    Permit,
    /// Mapping its registers.
    MapRegisters,
    /// Mapping a vector.
    MapVector,
    /// Binding a vector.
    BindVector,
}

/// Why a device was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PciError {
    /// No function matches.
    NotFound {
        /// Vendor that was looked for.
        vendor: u16,
        /// Device that was looked for.
        device: u16,
    },
    /// It has no MSI-X, or fewer entries than vectors are wanted.
    TooFewVectors {
        /// The function.
        function: Sbdf,
        /// Vectors that the table wants.
        want: u8,
        /// Entries that it has.
        have: u16,
    },
    /// A BAR that the table names is not there, or is no memory, or has no address.
    NoSuchBar {
        /// The function.
        function: Sbdf,
        /// Which BAR.
        bar: u8,
    },
    /// A BAR that it tells of is none that a domain can have: smaller than a page, larger than the room for
    /// registers, or too small for the MSI-X table that lies in it.
    BadBar {
        /// The function.
        function: Sbdf,
        /// Which BAR.
        bar: u8,
    },
    /// Its registers need more windows than a wiring record holds.
    TooManyWindows {
        /// The function.
        function: Sbdf,
    },
    /// It did not come out of its reset.
    Reset {
        /// The function.
        function: Sbdf,
    },
    /// Xen refused a call.
    Xen {
        /// The function.
        function: Sbdf,
        /// Which call.
        step: DeviceStep,
        /// What Xen said.
        errno: Errno,
    },
}

impl PciError {
    pub(super) fn at(function: Sbdf, step: DeviceStep) -> impl Fn(Errno) -> Self {
        move |errno| Self::Xen { function, step, errno }
    }
}

impl fmt::Display for DeviceStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "to take it out of quarantine",
            Self::Hold => "to hold one of its vectors",
            Self::Assign => "to assign it",
            Self::Permit => "to permit its registers",
            Self::MapRegisters => "to map its registers",
            Self::MapVector => "to map a vector of it",
            Self::BindVector => "to bind a vector of it",
        })
    }
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { vendor, device } => {
                write!(f, "no PCI device {vendor:04x}:{device:04x} in this machine")
            }
            Self::TooFewVectors { function, want, have } => {
                write!(f, "PCI device {function} has {have} MSI-X vectors, {want} are wanted")
            }
            Self::NoSuchBar { function, bar } => {
                write!(f, "PCI device {function} has no memory at BAR {bar}")
            }
            Self::BadBar { function, bar } => {
                write!(f, "PCI device {function} has a BAR {bar} that no domain can have")
            }
            Self::TooManyWindows { function } => {
                write!(f, "PCI device {function}: its registers are in too many parts")
            }
            Self::Reset { function } => write!(f, "PCI device {function} does not come out of its reset"),
            Self::Xen { function, step, errno } => {
                write!(f, "PCI device {function}: Xen refuses {step}: {errno}")
            }
        }
    }
}

impl core::error::Error for PciError {}
