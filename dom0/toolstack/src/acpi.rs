//! What dom0 needs of ACPI: where configuration space is mapped, whether there is a TPM, and what the selector
//! has left.
//!
//! Xen rebuilds the root tables for a PVH dom0 and keeps MCFG, TPM2, and every table whose name begins with OEM.
//!
//! Source: ACPI 6.5, sections 5.2.5 (RSDP) and 5.2.8 (XSDT); PCI Firmware 3.3, section 4.1.2 (MCFG); TCG ACPI
//! Specification 1.4, section 8 (TPM2).

use alloc::{vec, vec::Vec};
use core::fmt;

/// Configuration space of one segment, mapped: 4 KiB for each function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ecam {
    /// Machine address of bus 0, whether or not bus 0 is part of it.
    pub base: u64,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

impl Ecam {
    /// Addresses of all that is mapped.
    pub fn span(&self) -> core::ops::Range<u64> {
        let bus = |number: u64| self.base + number * BUS_BYTES;
        bus(self.first_bus.into())..bus(u64::from(self.last_bus) + 1)
    }
}

/// What the table TPM2 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tpm2 {
    /// Machine address of the control area, or 0.
    pub control_area: u64,
    /// How a command is started.
    pub start_method: u32,
}

/// Why a table was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcpiError {
    /// A table cannot be read.
    Unreadable {
        /// Its address.
        at: u64,
    },
    /// A table does not have the signature that its parent promises.
    Signature {
        /// Its address.
        at: u64,
    },
    /// A table has a length that cannot be.
    Length {
        /// Its address.
        at: u64,
    },
    /// There is no MCFG, or it has no entry for segment 0.
    NoMcfg,
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { at } => write!(f, "the ACPI table at {at:#x} cannot be read"),
            Self::Signature { at } => write!(f, "the ACPI table at {at:#x} has another signature"),
            Self::Length { at } => write!(f, "the ACPI table at {at:#x} has an impossible length"),
            Self::NoMcfg => f.write_str("ACPI does not say where configuration space is"),
        }
    }
}

const HEADER: u64 = 36;
const MCFG_ENTRIES: u64 = 44;
const MCFG_ENTRY: u64 = 16;
const TPM2_CONTROL_AREA: u64 = 40;
const TPM2_BYTES: u64 = 52;
/// Bytes of configuration space of one bus.
pub const BUS_BYTES: u64 = 1 << 20;
/// Longer tables than this are not root tables.
const MAX_TABLE: u64 = 4096;

/// Finds configuration space of segment 0 from the RSDP on. `read` copies bytes of the firmware's
/// memory, and says whether it could.
///
/// # Errors
/// As [`AcpiError`] tells.
pub fn find_ecam(rsdp: u64, mut read: impl FnMut(u64, &mut [u8]) -> bool) -> Result<Ecam, AcpiError> {
    let mut bytes = reader(&mut read);
    let (table, length) = find_table(rsdp, b"MCFG", &mut bytes)?.ok_or(AcpiError::NoMcfg)?;
    read_mcfg(table, length, &mut bytes)
}

/// The selector's table, whole; `None` if there is none.
///
/// # Errors
/// As [`AcpiError`] tells.
pub fn find_handoff(
    rsdp: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> bool,
) -> Result<Option<Vec<u8>>, AcpiError> {
    let mut bytes = reader(&mut read);
    let Some((table, length)) = find_table(rsdp, &proto_handoff::acpi::SIGNATURE, &mut bytes)? else {
        return Ok(None);
    };
    // No longer than [`MAX_TABLE`].
    let mut whole = vec![0; usize::try_from(length).unwrap_or(0)];
    bytes(table, &mut whole)?;
    Ok(Some(whole))
}

/// Control area and start method of the table TPM2; `None` if there is none.
///
/// # Errors
/// As [`AcpiError`] tells.
pub fn find_tpm2(rsdp: u64, mut read: impl FnMut(u64, &mut [u8]) -> bool) -> Result<Option<Tpm2>, AcpiError> {
    let mut bytes = reader(&mut read);
    let Some((at, length)) = find_table(rsdp, b"TPM2", &mut bytes)? else { return Ok(None) };
    if length < TPM2_BYTES {
        return Err(AcpiError::Length { at });
    }
    let mut area = [0; 12];
    bytes(at + TPM2_CONTROL_AREA, &mut area)?;
    let [.., m0, m1, m2, m3] = area;
    Ok(Some(Tpm2 { control_area: u64_at(&area, 0), start_method: u32::from_le_bytes([m0, m1, m2, m3]) }))
}

fn reader(
    read: &mut dyn FnMut(u64, &mut [u8]) -> bool,
) -> impl FnMut(u64, &mut [u8]) -> Result<(), AcpiError> {
    move |at, into| if read(at, into) { Ok(()) } else { Err(AcpiError::Unreadable { at }) }
}

/// Address and length of the first table with this signature.
fn find_table(rsdp: u64, signature: &[u8; 4], bytes: Reader<'_>) -> Result<Option<(u64, u64)>, AcpiError> {
    let mut root = [0; HEADER as usize];
    bytes(rsdp, &mut root)?;
    if !root.starts_with(b"RSD PTR ") {
        return Err(AcpiError::Signature { at: rsdp });
    }
    let xsdt = u64_at(&root, 24);
    let length = table_length(xsdt, b"XSDT", bytes)?;
    for place in (xsdt + HEADER..xsdt + length).step_by(8) {
        let mut pointer = [0; 8];
        bytes(place, &mut pointer)?;
        let table = u64::from_le_bytes(pointer);
        match table_length(table, signature, bytes) {
            Ok(length) => return Ok(Some((table, length))),
            Err(AcpiError::Signature { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

type Reader<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<(), AcpiError>;

fn table_length(at: u64, signature: &[u8; 4], read: Reader<'_>) -> Result<u64, AcpiError> {
    let mut header = [0; 8];
    read(at, &mut header)?;
    let (name, length) = header.split_at(4);
    if name != signature {
        return Err(AcpiError::Signature { at });
    }
    let length = u64::from(u32::from_le_bytes(length.try_into().unwrap_or_default()));
    // Its end is an address too: what lies within it can be added up.
    let fits = (HEADER..=MAX_TABLE).contains(&length) && at.checked_add(length).is_some();
    if fits { Ok(length) } else { Err(AcpiError::Length { at }) }
}

fn read_mcfg(at: u64, length: u64, read: Reader<'_>) -> Result<Ecam, AcpiError> {
    let mut place = MCFG_ENTRIES;
    while place + MCFG_ENTRY <= length {
        let mut entry = [0; MCFG_ENTRY as usize];
        read(at + place, &mut entry)?;
        let [.., s0, s1, first_bus, last_bus, _, _, _, _] = entry;
        if [s0, s1] == [0, 0] && first_bus <= last_bus {
            let base = u64_at(&entry, 0);
            // All addresses within it can be added up.
            let fits = base.is_multiple_of(BUS_BYTES) && base.checked_add(256 * BUS_BYTES).is_some();
            return if fits { Ok(Ecam { base, first_bus, last_bus }) } else { Err(AcpiError::Length { at }) };
        }
        place += MCFG_ENTRY;
    }
    Err(AcpiError::NoMcfg)
}

/// The word at `at`, which is a constant within the array.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    fn firmware() -> Vec<u8> {
        let mut memory = vec![0; 0x1000];
        let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RSD PTR ");
        put(24, &0x100u64.to_le_bytes());
        put(0x100, b"XSDT\x34\0\0\0");
        put(0x124, &0x200u64.to_le_bytes());
        put(0x12c, &0x300u64.to_le_bytes());
        put(0x200, b"FACP\x30\0\0\0");
        put(0x300, b"MCFG\x3c\0\0\0");
        put(0x32c, &0xb000_0000u64.to_le_bytes());
        put(0x334, &[0, 0, 0, 0xff]);
        memory
    }

    fn find(memory: &[u8]) -> Result<Ecam, AcpiError> {
        find_ecam(0, |at, into| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let bytes = at.checked_add(into.len()).and_then(|end| memory.get(at..end));
            bytes.map(|bytes| into.copy_from_slice(bytes)).is_some()
        })
    }

    #[test]
    fn configuration_space_is_found() {
        let found = Ecam { base: 0xb000_0000, first_bus: 0, last_bus: 0xff };
        assert_eq!(find(&firmware()), Ok(found));
    }

    #[test]
    fn the_selector_s_table_is_found_whole() {
        let read = |memory: &[u8]| {
            find_handoff(0, |at, into| {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let bytes = at.checked_add(into.len()).and_then(|end| memory.get(at..end));
                bytes.map(|bytes| into.copy_from_slice(bytes)).is_some()
            })
        };
        let mut memory = firmware();
        assert_eq!(read(&memory), Ok(None));
        memory[0x200..0x208].copy_from_slice(b"OEM1\x30\0\0\0");
        assert_eq!(read(&memory).unwrap().unwrap(), memory[0x200..0x230]);
        memory[0x206] = 0xff;
        assert_eq!(read(&memory), Err(AcpiError::Length { at: 0x200 }));
    }

    #[test]
    fn the_tpm_s_table_is_read() {
        let mut memory = firmware();
        let read = |memory: &[u8]| {
            find_tpm2(0, |at, into| {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let bytes = at.checked_add(into.len()).and_then(|end| memory.get(at..end));
                bytes.map(|bytes| into.copy_from_slice(bytes)).is_some()
            })
        };
        assert_eq!(read(&memory), Ok(None));
        memory[0x200..0x208].copy_from_slice(b"TPM2\x4c\0\0\0");
        memory[0x228..0x234].copy_from_slice(&[0x40, 0, 0xd4, 0xfe, 0, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(read(&memory), Ok(Some(Tpm2 { control_area: 0xfed4_0040, start_method: 7 })));
        memory[0x204] = 0x33;
        assert_eq!(read(&memory), Err(AcpiError::Length { at: 0x200 }));
    }

    #[test]
    fn a_table_that_ends_beyond_the_last_address_is_refused() {
        let at = u64::MAX - 40;
        let found = find_ecam(0, |address, into| {
            let bytes: &[u8] = match address {
                0 => &[b"RSD PTR ".as_slice(), &[0; 16], &at.to_le_bytes(), &[0; 4]].concat(),
                _ => b"XSDT\x34\0\0\0",
            };
            into.copy_from_slice(&bytes[..into.len()]);
            true
        });
        assert_eq!(found, Err(AcpiError::Length { at }));
    }

    #[test]
    fn spoilt_tables_are_errors() {
        let spoil = |at: usize, byte: u8| {
            let mut memory = firmware();
            memory[at] = byte;
            find(&memory).unwrap_err()
        };
        assert_eq!(spoil(0, 0), AcpiError::Signature { at: 0 });
        assert_eq!(spoil(31, 0xff), AcpiError::Unreadable { at: 0xff00_0000_0000_0100 });
        assert_eq!(spoil(0x100, 0), AcpiError::Signature { at: 0x100 });
        assert_eq!(spoil(0x106, 1), AcpiError::Length { at: 0x100 });
        assert_eq!(spoil(0x300, 0), AcpiError::NoMcfg);
        assert_eq!(spoil(0x334, 1), AcpiError::NoMcfg);
        assert_eq!(spoil(0x304, 0x30), AcpiError::NoMcfg);
        assert_eq!(spoil(0x32d, 1), AcpiError::Length { at: 0x300 }, "not where a bus can begin");
        assert_eq!(find(&[0; 16]), Err(AcpiError::Unreadable { at: 0 }));
    }
}
