//! The provisioning files: read from the config partition once, measured, handed on as an archive.
//!
//! A partition that is missing, or of no use, is told and no reason to start nothing: the device says what it lacks,
//! which can be seen and mended. One without files is handed on as an archive without any, so that dom0 can tell it
//! from one that could not be read.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use proto_gpt::partition::{CONFIG, Partition};
use proto_gpt::table::Table;
use proto_handoff::provisioning::{MAX_BYTES, MAX_FILE, MAX_FILES, PCR, events};
use proto_manifest::archive::{ArchiveError, Writer};
use sha2::{Digest, Sha256};
use uefi::boot::{self, SearchType};
use uefi::println;
use uefi::proto::device_path::DevicePath;
use uefi::proto::media::file::{Directory, File, FileAttribute, FileInfo, FileMode};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CStr16, Status};

use crate::disk::{Disk, nodes, open};
use crate::measure::Chip;
use proto_errors::slot as code;

/// How deep a folder may lie.
const DEPTH: usize = 1;

/// Paths and contents.
type Files = Vec<(String, Vec<u8>)>;

/// Why there are no files.
enum NoFiles {
    Partition,
    Unmounted,
    Firmware(Status),
    TooMany,
    TooLong(String),
    Name(String),
}

impl fmt::Display for NoFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition => f.write_str("the disk has no partition for them"),
            Self::Unmounted => f.write_str("the firmware finds no file system in their partition"),
            Self::Firmware(status) => write!(f, "the firmware says {status}"),
            Self::TooMany => {
                write!(f, "there are more than {MAX_FILES}, or they take more than {MAX_BYTES} bytes")
            }
            Self::TooLong(name) => write!(f, "{name} has more than {MAX_FILE} bytes"),
            Self::Name(name) => write!(f, "the name `{name}` is not allowed"),
        }
    }
}

impl From<uefi::Error> for NoFiles {
    fn from(error: uefi::Error) -> Self {
        Self::Firmware(error.status())
    }
}

/// Reads the files and measures what there is: an archive of them, or nothing when they could not be read.
pub(crate) fn take(disk: &Disk, table: &Table, chip: Option<&mut Chip>) -> Option<Vec<u8>> {
    let (files, were_read) = match read(disk, table) {
        Ok(files) => (files, true),
        Err(why) => {
            println!("selector: no provisioning files: {why} [{}]", code::NO_FILES);
            (Files::new(), false)
        }
    };
    if let Some(chip) = chip {
        let hashes: Vec<(&str, [u8; 32])> =
            files.iter().map(|(name, data)| (name.as_str(), Sha256::digest(data).into())).collect();
        for text in events(&hashes) {
            chip.action(PCR, &text);
        }
    }
    let mut archive = Writer::new();
    for (name, data) in &files {
        // `read` has seen to the names.
        archive.add(name, data).ok()?;
    }
    were_read.then(|| archive.finish())
}

fn read(disk: &Disk, table: &Table) -> Result<Files, NoFiles> {
    let partition = table.partitions().find(|one| one.kind() == CONFIG).ok_or(NoFiles::Partition)?;
    let mut reader = Reader { files: Files::new(), room: MAX_BYTES - Writer::new().finish().len() };
    reader.folder(&mut mounted(disk, &partition)?, "", DEPTH)?;
    Ok(reader.files)
}

/// The root of the partition's file system: the one whose device path begins with the disk's and has the
/// partition's identifier in the rest.
fn mounted(disk: &Disk, partition: &Partition) -> Result<Directory, NoFiles> {
    let guid = partition.guid().to_bytes();
    for &handle in boot::locate_handle_buffer(SearchType::from_proto::<SimpleFileSystem>())?.iter() {
        let Ok(path) = open::<DevicePath>(handle) else { continue };
        let Some(rest) = nodes(&path).strip_prefix(disk.path()) else { continue };
        if rest.windows(guid.len()).any(|window| window == guid) {
            return Ok(open::<SimpleFileSystem>(handle)?.open_volume()?);
        }
    }
    Err(NoFiles::Unmounted)
}

struct Reader {
    files: Files,
    room: usize,
}

impl Reader {
    fn folder(&mut self, folder: &mut Directory, prefix: &str, depth: usize) -> Result<(), NoFiles> {
        // A file system that is made so that it has no end is not walked for ever.
        for _ in 0..=2 * MAX_FILES {
            let Some(entry) = folder.read_entry_boxed()? else { return Ok(()) };
            let name = entry.file_name();
            let path = format!("{prefix}{name}");
            let attributes = entry.attribute();
            match (name.to_string().as_str(), attributes.contains(FileAttribute::DIRECTORY)) {
                ("." | "..", true) => {}
                (_, true) if depth > 0 => {
                    let opened = folder.open(name, FileMode::Read, FileAttribute::empty())?;
                    if let Some(mut inner) = opened.into_directory() {
                        self.folder(&mut inner, &format!("{path}/"), depth - 1)?;
                    }
                }
                (_, true) => return Err(NoFiles::Name(path)),
                (_, false) => self.file(folder, &entry, name, path)?,
            }
        }
        Err(NoFiles::TooMany)
    }

    fn file(
        &mut self,
        folder: &mut Directory,
        entry: &FileInfo,
        name: &CStr16,
        path: String,
    ) -> Result<(), NoFiles> {
        let Some(length) = usize::try_from(entry.file_size()).ok().filter(|&length| length <= MAX_FILE)
        else {
            return Err(NoFiles::TooLong(path));
        };
        let taken = Writer::size_of(&path, &[]) + length.next_multiple_of(4);
        if self.files.len() == MAX_FILES || taken > self.room {
            return Err(NoFiles::TooMany);
        }
        if self.files.iter().any(|(there, _)| *there == path) {
            // A damaged folder. Whoever reads the archive would refuse all of it.
            return Err(NoFiles::Name(path));
        }
        let opened = folder.open(name, FileMode::Read, FileAttribute::empty())?;
        let mut data = vec![0; length];
        let mut read = 0;
        if let Some(mut file) = opened.into_regular_file() {
            while read < length {
                match file.read(data.get_mut(read..).unwrap_or_default())? {
                    0 => break,
                    more => read += more,
                }
            }
        }
        data.truncate(read);
        match Writer::new().add(&path, &[]) {
            Ok(()) => {}
            Err(ArchiveError::TooMany) => return Err(NoFiles::TooMany),
            Err(_) => return Err(NoFiles::Name(path)),
        }
        self.room -= taken;
        self.files.push((path, data));
        Ok(())
    }
}
