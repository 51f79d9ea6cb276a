//! What the selector has left: which slot this is, and why.

use core::fmt;

use proto_gpt::slots::Slot;
use proto_handoff::acpi::{self, TableError};
use proto_handoff::record::{Handoff, HandoffError, TableState};
use proto_manifest::wiring::RunningSlot;

use crate::acpi::{AcpiError, find_handoff};

/// Why it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldError {
    /// The firmware's tables cannot be read.
    Acpi(AcpiError),
    /// The table is damaged.
    Table(TableError),
    /// The property of the device tree is no record.
    Record(HandoffError),
}

impl fmt::Display for ToldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acpi(error) => error.fmt(f),
            Self::Table(error) => error.fmt(f),
            Self::Record(error) => write!(f, "the record in the device tree: {error}"),
        }
    }
}

/// Reads the record: the device tree's `property` where there is one, else the table to which the RSDP leads.
/// `None` when no selector was there, as when QEMU loads Xen. `read` copies bytes of the firmware's memory.
///
/// # Errors
/// When there is a record, and it is of no use.
pub fn told(
    property: Option<&[u8]>,
    rsdp: u64,
    read: impl FnMut(u64, &mut [u8]) -> bool,
) -> Result<Option<Handoff>, ToldError> {
    if let Some(record) = property {
        return Handoff::parse(record).map(Some).map_err(ToldError::Record);
    }
    match find_handoff(rsdp, read) {
        Ok(Some(table)) => acpi::parse(&table).map(Some).map_err(ToldError::Table),
        Ok(None) => Ok(None),
        // Where there is a device tree and no ACPI there is no RSDP either.
        Err(AcpiError::Signature { at } | AcpiError::Unreadable { at }) if at == rsdp => Ok(None),
        Err(error) => Err(ToldError::Acpi(error)),
    }
}

/// The slot, as domains are told of it.
#[must_use]
pub fn running_slot(record: &Handoff) -> RunningSlot {
    match record.slot {
        Slot::A => RunningSlot::A,
        Slot::B => RunningSlot::B,
    }
}

/// Whether a person should have a look at the disk.
#[must_use]
pub fn is_suspicious(record: &Handoff) -> bool {
    record.refused.is_some() || record.table != TableState::Sound
}

#[cfg(test)]
pub(crate) mod tests {
    use std::vec::Vec;

    use proto_gpt::Guid;
    use proto_gpt::slots::{Reason, State};
    use proto_handoff::record::{Place, Refused, Version, Watchdog};

    use super::*;

    pub(crate) fn record() -> Handoff {
        let guid = Guid::from_bytes([1; 16]);
        Handoff {
            slot: Slot::A,
            reason: Some(Reason::Proven),
            state: State::ACTIVE,
            table: TableState::Sound,
            refused: None,
            watchdog: Watchdog::None,
            watchdog_fired: false,
            place: Place { disk: guid, partition: guid, block_bytes: 512, first_block: 2048, blocks: 1 },
            version: Version::new("1").unwrap(),
            sha256: [0; 32],
            log: None,
            files: None,
            kept_at: None,
        }
    }

    fn from_table(table: &[u8]) -> Result<Option<Handoff>, ToldError> {
        let mut memory = [b"RSD PTR ".as_slice(), &[0; 16], &0x40u64.to_le_bytes()].concat();
        memory.resize(0x40, 0);
        memory.extend(b"XSDT\x2c\0\0\0");
        memory.resize(0x40 + 36, 0);
        memory.extend(0x100u64.to_le_bytes());
        memory.resize(0x100, 0);
        memory.extend(table);
        memory.resize(0x400, 0);
        told(None, 0, |at, into| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let bytes = at.checked_add(into.len()).and_then(|end| memory.get(at..end));
            bytes.map(|bytes| into.copy_from_slice(bytes)).is_some()
        })
    }

    #[test]
    fn it_is_found_in_the_tree_and_in_the_table() {
        let nothing = |_: u64, _: &mut [u8]| false;
        assert_eq!(told(Some(&record().emit()), 0, nothing), Ok(Some(record())));
        assert_eq!(from_table(&acpi::table(&record())), Ok(Some(record())));
        assert_eq!(from_table(b"FACP\x24\0\0\0"), Ok(None));
        // A device tree where the RSDP would be, or memory that is dom0's own.
        assert_eq!(told(None, 8, nothing), Ok(None));
        assert_eq!(
            told(None, 0, |_, into: &mut [u8]| {
                into.fill(0xd0);
                true
            }),
            Ok(None)
        );
    }

    #[test]
    fn what_is_damaged_is_an_error_and_no_record() {
        let mut table: Vec<u8> = acpi::table(&record()).to_vec();
        table[60] ^= 1;
        assert_eq!(from_table(&table), Err(ToldError::Table(TableError::Checksum)));
        let cut = told(Some(b"SARS"), 0, |_, _| false);
        assert_eq!(cut, Err(ToldError::Record(HandoffError::Truncated { have: 4 })));
        let only_root = |at: u64, into: &mut [u8]| {
            into.fill(0);
            into.iter_mut().zip(b"RSD PTR ").for_each(|(to, from)| *to = *from);
            at == 8
        };
        assert_eq!(told(None, 8, only_root), Err(ToldError::Acpi(AcpiError::Unreadable { at: 0 })));
    }

    #[test]
    fn domains_are_told_of_the_slot() {
        assert_eq!(running_slot(&record()), RunningSlot::A);
        assert_eq!(running_slot(&Handoff { slot: Slot::B, ..record() }), RunningSlot::B);
    }

    #[test]
    fn only_what_went_wrong_is_suspicious() {
        assert!(!is_suspicious(&record()));
        assert!(is_suspicious(&Handoff { refused: Some(Refused::Hash), ..record() }));
        assert!(is_suspicious(&Handoff { table: TableState::BackupRepaired, ..record() }));
    }
}
