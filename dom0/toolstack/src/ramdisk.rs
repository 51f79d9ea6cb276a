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

    /// The provisioning files as an archive of their own: those of the disk, which the selector has `handed` over as
    /// such an archive, or else those of this ramdisk, their names without the prefix. Also whether they are those that the
    /// device has: the disk's, or the ramdisk's where no selector looks for others.
    pub fn provisioning(&self, handed: Option<&[u8]>, has_selector: bool) -> (Vec<u8>, bool) {
        let handed = handed.and_then(|bytes| match Archive::open(bytes) {
            Ok(archive) => Some(archive),
            Err(error) => {
                log::warn!("the selector's provisioning files: {error} [{}]", boot::BAD_PROVISIONING);
                None
            }
        });
        let were_read = handed.is_some() || !has_selector;
        let mut writer = Writer::new();
        let (archive, prefix) = handed.map_or((self.archive, CONFIG), |archive| (archive, ""));
        for entry in archive.under(prefix) {
            // A name that was good behind the prefix is good without it, and there are no more.
            if let Err(error) = writer.add(entry.name, entry.data) {
                log::warn!("provisioning file {}: {error} [{}]", entry.name, boot::BAD_PROVISIONING);
            }
        }
        (writer.finish(), were_read)
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
    fn files_of_the_disk_take_the_place_of_those_in_the_ramdisk() {
        let mut table = Writer::new();
        let mut buffer = [0; proto_manifest::table::MAX_BYTES];
        table.add(TABLE, crate::tests::table().encode(&mut buffer).unwrap()).unwrap();
        table.add("config/server", b"old").unwrap();
        let bytes = table.finish();
        let ramdisk = Ramdisk::open(Some(&bytes)).unwrap();
        let mut handed = Writer::new();
        handed.add("server", b"new").unwrap();
        handed.add("GlobalConfig/global.json", b"{}").unwrap();
        let handed = handed.finish();
        let server = |handed: Option<&[u8]>| {
            let (files, were_read) = ramdisk.provisioning(handed, true);
            (Archive::open(&files).unwrap().find("server").map(<[u8]>::to_vec), were_read)
        };
        assert_eq!(server(None), (Some(b"old".to_vec()), false));
        assert!(ramdisk.provisioning(None, false).1, "nobody looks on a disk");
        assert_eq!(ramdisk.provisioning(Some(&handed), true), (handed.clone(), true));
        // What cannot be read is as if it were not there.
        for length in 0..handed.len() - 4 {
            assert_eq!(server(Some(&handed[..length])), (Some(b"old".to_vec()), false), "{length}");
        }
        // The disk has none.
        assert_eq!(server(Some(&Writer::new().finish())), (None, true));
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
