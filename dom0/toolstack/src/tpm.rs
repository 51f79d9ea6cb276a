//! Whether the machine has a TPM, where it is, and which interface it has: what the firmware says.
//!
//! Nobody touches it to find out. What is at an address that nobody answers for, Xen and the machine may tell in
//! their own ways, and what a TPM holds in mid-command is vault's business.

use core::fmt;

use proto_errors::{Code, build};
use proto_manifest::table::{Device, DeviceKind, Registers};

use crate::acpi::{AcpiError, Tpm2, find_tpm2};

/// Start methods of the table TPM2. Source: TCG ACPI Specification 1.4, table 9.
mod start_method {
    /// By the registers of the FIFO interface.
    pub(super) const FIFO: u32 = 6;
    /// By the command response buffer.
    pub(super) const CRB: u32 = 7;
}

/// Where the FIFO interface is on a PC. Source: TCG PC Client Platform TPM Profile 1.05, section 6.5.
const FIFO_OF_A_PC: u64 = 0xfed4_0000;

/// The machine's TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tpm {
    /// The driver that it wants.
    pub kind: DeviceKind,
    /// Machine address of the page of its locality 0.
    pub address: u64,
}

/// Finds it: by the `node` of the device tree that says where a TPM's FIFO interface is, else in the ACPI tables to
/// which the RSDP leads. `read` copies bytes of the firmware's memory.
///
/// # Errors
/// [`AcpiError`] when there are tables, and they are of no use.
pub fn find(
    node: Option<u64>,
    rsdp: u64,
    read: impl FnMut(u64, &mut [u8]) -> bool,
) -> Result<Option<Tpm>, AcpiError> {
    if let Some(address) = node {
        return Ok(Some(Tpm { kind: DeviceKind::TpmTis, address }));
    }
    match find_tpm2(rsdp, read) {
        Ok(Some(Tpm2 { start_method: start_method::FIFO, .. })) => {
            Ok(Some(Tpm { kind: DeviceKind::TpmTis, address: FIFO_OF_A_PC }))
        }
        Ok(Some(Tpm2 { start_method: start_method::CRB, control_area })) => {
            let address = control_area - control_area % Registers::BYTES;
            Ok(Some(Tpm { kind: DeviceKind::TpmCrb, address }))
        }
        // One that only the firmware's own code can talk to.
        Ok(Some(_) | None) => Ok(None),
        // Where there is a device tree and no ACPI there is no RSDP either.
        Err(AcpiError::Signature { at } | AcpiError::Unreadable { at }) if at == rsdp => Ok(None),
        Err(error) => Err(error),
    }
}

/// What becomes of a device of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there, with this interface.
    There(DeviceKind),
    /// It is not, and need not be.
    NotThere,
    /// It is not, and its domain is not built without it.
    Missing,
    /// There is one, elsewhere: the board is not this machine's.
    Elsewhere {
        /// Where.
        address: u64,
    },
}

/// Compares a device of the table with the machine.
#[must_use]
pub fn presence(registers: Registers, tpm: Option<Tpm>) -> Presence {
    match tpm {
        Some(Tpm { kind, address }) if address == registers.address => Presence::There(kind),
        Some(Tpm { address, .. }) => Presence::Elsewhere { address },
        None if registers.optional => Presence::NotThere,
        None => Presence::Missing,
    }
}

impl Presence {
    /// The code of what is wrong, if something is.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::There(_) | Self::NotThere => None,
            Self::Missing | Self::Elsewhere { .. } => Some(build::NO_REGISTERS),
        }
    }

    /// How it is told of `device`.
    pub fn told<'a>(&'a self, device: &'a Device) -> impl fmt::Display + 'a {
        Told { presence: self, device }
    }
}

struct Told<'a> {
    presence: &'a Presence,
    device: &'a Device,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { presence, device } = self;
        write!(f, "device {} ", device.name)?;
        match presence {
            Presence::There(DeviceKind::TpmCrb) => f.write_str("is a TPM with a command response buffer"),
            Presence::There(_) => f.write_str("is a TPM with a FIFO"),
            Presence::NotThere => f.write_str("is not in this machine; its domain goes without"),
            Presence::Missing => f.write_str("is not in this machine"),
            Presence::Elsewhere { address } => {
                write!(f, "is not where the table has it: the firmware names a TPM at {address:#x}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec::Vec};

    use proto_manifest::{name::Name, table::Bus};

    use super::*;

    /// The firmware's memory, with one table behind the root.
    fn from_table(table: &[u8]) -> Result<Option<Tpm>, AcpiError> {
        let mut memory: Vec<u8> = [b"RSD PTR ".as_slice(), &[0; 16], &0x40u64.to_le_bytes()].concat();
        memory.resize(0x40, 0);
        memory.extend(b"XSDT\x2c\0\0\0");
        memory.resize(0x40 + 36, 0);
        memory.extend(0x100u64.to_le_bytes());
        memory.resize(0x100, 0);
        memory.extend(table);
        memory.resize(0x400, 0);
        find(None, 0, |at, into| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let bytes = at.checked_add(into.len()).and_then(|end| memory.get(at..end));
            bytes.map(|bytes| into.copy_from_slice(bytes)).is_some()
        })
    }

    fn tpm2(control_area: u64, start_method: u32) -> Vec<u8> {
        let head = [b"TPM2\x4c\0\0\0".as_slice(), &[0; 32]].concat();
        [head, control_area.to_le_bytes().to_vec(), start_method.to_le_bytes().to_vec(), [0; 24].to_vec()]
            .concat()
    }

    const CRB: Tpm = Tpm { kind: DeviceKind::TpmCrb, address: 0xfed4_0000 };
    const TIS: Tpm = Tpm { kind: DeviceKind::TpmTis, address: 0xfed4_0000 };

    #[test]
    fn the_firmware_names_the_interface() {
        assert_eq!(from_table(&tpm2(0xfed4_0040, 7)), Ok(Some(CRB)));
        assert_eq!(from_table(&tpm2(0, 6)), Ok(Some(TIS)));
        assert_eq!(from_table(&tpm2(0x7f00_0000, 2)), Ok(None), "by the firmware's code only");
        assert_eq!(from_table(b"FACP\x24\0\0\0"), Ok(None));
        assert_eq!(from_table(b"TPM2\x30\0\0\0"), Err(AcpiError::Length { at: 0x100 }));
        let nothing = |_: u64, _: &mut [u8]| false;
        let of_the_tree = Tpm { kind: DeviceKind::TpmTis, address: 0x0c00_0000 };
        assert_eq!(find(Some(0x0c00_0000), 0, nothing), Ok(Some(of_the_tree)));
        assert_eq!(find(None, 0x4000_0000, nothing), Ok(None), "a device tree without one");
    }

    #[test]
    fn a_device_is_there_optional_missing_or_elsewhere() {
        let registers = |optional| Registers { address: 0xfed4_0000, optional };
        let of = |optional, tpm| {
            let presence = presence(registers(optional), tpm);
            let name = Name::try_from("chip").unwrap();
            let bus = Bus::Registers(registers(optional));
            let device = Device { name, kind: DeviceKind::TpmTis, bus };
            (presence.told(&device).to_string(), presence.code())
        };
        let told = |text: &str, code| (text.to_string(), code);
        assert_eq!(of(true, Some(CRB)), told("device chip is a TPM with a command response buffer", None));
        assert_eq!(of(false, Some(TIS)), told("device chip is a TPM with a FIFO", None));
        assert_eq!(of(true, None), told("device chip is not in this machine; its domain goes without", None));
        let wrong = Some(build::NO_REGISTERS);
        assert_eq!(of(false, None), told("device chip is not in this machine", wrong));
        let moved = Tpm { address: 0xfed5_0000, ..CRB };
        let text = "device chip is not where the table has it: the firmware names a TPM at 0xfed50000";
        assert_eq!(of(true, Some(moved)), told(text, wrong));
    }
}
