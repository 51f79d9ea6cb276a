//! dom0's ramdisk: one archive with the table, the images and the provisioning files.

use alloc::vec::Vec;
use core::fmt;

use proto_errors::boot;
use proto_manifest::{
    archive::{Archive, ArchiveError, CONFIG, TABLE, Writer},
    stamp::RecordError,
    table::Table,
};

use crate::image::sha256;

/// An archive that was checked, and the table in it.
#[derive(Debug)]
pub struct Ramdisk<'a> {
    /// All of it.
    pub archive: Archive<'a>,
    /// The table.
    pub table: Table,
    /// SHA-256 of the table as it lies in the archive.
    pub table_sha256: [u8; 32],
}

/// Why a ramdisk is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RamdiskError {
    /// dom0 was started without one.
    Missing,
    /// It is no archive of ours.
    Archive(ArchiveError),
    /// The archive has no table.
    NoTable,
    /// The table cannot be read.
    Table(RecordError),
}

impl fmt::Display for RamdiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("archive: dom0 was started without one"),
            Self::Archive(error) => write!(f, "archive: {error}"),
            Self::NoTable => write!(f, "archive: it has no entry `{TABLE}`"),
            Self::Table(error) => write!(f, "table: {error}"),
        }
    }
}

impl core::error::Error for RamdiskError {}

impl<'a> Ramdisk<'a> {
    /// Checks the archive and reads the table.
    ///
    /// # Errors
    /// As [`RamdiskError`] tells.
    pub fn open(bytes: Option<&'a [u8]>) -> Result<Self, RamdiskError> {
        let archive = Archive::open(bytes.ok_or(RamdiskError::Missing)?).map_err(RamdiskError::Archive)?;
        let bytes = archive.find(TABLE).ok_or(RamdiskError::NoTable)?;
        let table = Table::decode(bytes).map_err(RamdiskError::Table)?;
        Ok(Self { archive, table, table_sha256: sha256(bytes) })
    }

    /// The provisioning files as an archive of their own, their names without the prefix.
    pub fn provisioning(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for entry in self.archive.under(CONFIG) {
            // A name that was good behind the prefix is good without it, and there are fewer.
            if let Err(error) = writer.add(entry.name, entry.data) {
                log::warn!("provisioning file {}: {error} [{}]", entry.name, boot::BAD_PROVISIONING);
            }
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn complaint(bytes: Option<&[u8]>) -> std::string::String {
        Ramdisk::open(bytes).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn each_fault_is_one_clear_line() {
        assert_eq!(complaint(None), "archive: dom0 was started without one");
        assert_eq!(complaint(Some(b"")), "archive: it is empty");
        let text = "archive: it ends within the entry at byte 0";
        assert_eq!(complaint(Some(b"\x1f\x8b gzip")), text);
        let empty = Writer::new().finish();
        assert_eq!(complaint(Some(&empty)), "archive: it has no entry `table`");
        let mut old = Writer::new();
        old.add("table", b"SaTa\x63\0\0\0").unwrap();
        let text = "table: version 99 is unknown, this program reads version 4";
        assert_eq!(complaint(Some(&old.finish())), text);
    }
}
