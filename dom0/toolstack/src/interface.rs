//! Whether Xen speaks the versions of its interfaces for dom0 that this dom0 speaks. They come without a
//! promise to stay as they are from one Xen to the next, and Xen refuses every call of another version.

use core::fmt;

use board_support_hyp::Interfaces;
use proto_xen::{Errno, domctl, sysctl};

/// An interface with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// Operations on domains.
    Domctl,
    /// Operations on the machine.
    Sysctl,
}

impl Interface {
    /// The version that this dom0 speaks.
    pub const fn needed(self) -> u32 {
        match self {
            Self::Domctl => domctl::INTERFACE_VERSION,
            Self::Sysctl => sysctl::INTERFACE_VERSION,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Domctl => "domctl",
            Self::Sysctl => "sysctl",
        }
    }

    fn is_spoken(self, hyp: &impl Interfaces, version: u32) -> Result<bool, Errno> {
        match self {
            Self::Domctl => hyp.speaks_domctl(version),
            Self::Sysctl => hyp.speaks_sysctl(version),
        }
    }
}

/// Why Xen and this dom0 do not understand each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceError {
    /// Xen speaks another version.
    Version {
        /// Of which interface.
        interface: Interface,
        /// The version that Xen speaks, if it is one of those that were tried.
        found: Option<u32>,
        /// Xen's own version, major and minor.
        xen: (u16, u16),
    },
    /// Xen refuses us.
    Refused(Errno),
}

/// The versions that are tried to find out which one Xen speaks: more than there ever were.
const TRIED: core::ops::RangeInclusive<u32> = 1..=0x40;

/// The releases of Xen whose interfaces are those that we speak.
const RELEASES: &str = "Xen 4.19 to 4.21";

/// Checks both interfaces. `xen` is Xen's version, major and minor.
///
/// # Errors
/// [`InterfaceError`].
pub fn check(hyp: &impl Interfaces, xen: (u16, u16)) -> Result<(), InterfaceError> {
    for interface in [Interface::Domctl, Interface::Sysctl] {
        let spoken = |version| interface.is_spoken(hyp, version).map_err(InterfaceError::Refused);
        if spoken(interface.needed())? {
            continue;
        }
        let mut found = None;
        for version in TRIED {
            if spoken(version)? {
                found = Some(version);
                break;
            }
        }
        return Err(InterfaceError::Version { interface, found, xen });
    }
    Ok(())
}

impl fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Version { interface, found, xen: (major, minor) } => {
                match found {
                    Some(found) => write!(f, "Xen {major}.{minor} speaks version {found:#x}")?,
                    None => write!(f, "Xen {major}.{minor} speaks an unknown version")?,
                }
                let (name, needed) = (interface.name(), interface.needed());
                write!(f, " of the {name} interface, and this dom0 needs {needed:#x}, that of {RELEASES}")
            }
            Self::Refused(errno) => write!(f, "Xen refuses a domctl: {errno}; is this dom0?"),
        }
    }
}

impl core::error::Error for InterfaceError {}

#[cfg(test)]
mod tests {
    use proto_xen::DomId;
    use std::string::ToString;

    use super::*;
    use crate::fake::{Machine, World};

    fn checked(machine: Machine, xen: (u16, u16)) -> Result<(), InterfaceError> {
        check(&World::with(machine).dom0(), xen)
    }

    #[test]
    fn the_right_versions_pass() {
        assert_eq!(checked(Machine::default(), (4, 20)), Ok(()));
    }

    #[test]
    fn another_version_is_told_with_what_is_needed() {
        let error = checked(Machine { domctl_version: 0x15, ..Machine::default() }, (4, 17)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Xen 4.17 speaks version 0x15 of the domctl interface, and this dom0 needs 0x17, \
             that of Xen 4.19 to 4.21"
        );
        let error = checked(Machine { sysctl_version: 0x99, ..Machine::default() }, (9, 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Xen 9.1 speaks an unknown version of the sysctl interface, and this dom0 needs 0x15, \
             that of Xen 4.19 to 4.21"
        );
    }

    #[test]
    fn a_domain_without_rights_is_told_so() {
        let world = World::with_domains(&[DomId(1)]);
        let error = check(&world.domain(DomId(1)), (4, 20)).unwrap_err();
        assert_eq!(error, InterfaceError::Refused(Errno::EPERM));
        assert_eq!(error.to_string(), "Xen refuses a domctl: not permitted (EPERM); is this dom0?");
    }
}
