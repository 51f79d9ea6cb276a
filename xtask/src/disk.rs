//! Disk images: a GPT with FAT partitions, written to a file without root and without loop devices.
//!
//! Equal inputs give equal bytes: identifiers are derived from the contents, and files have one fixed date.
//! Source: UEFI 2.10 §5.3 (GPT); Microsoft's FAT specification 1.03.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use gpt::GptError;
use gpt::mbr::MBRError;
use gpt::partition::Partition as Entry;
use gpt::partition_types::{OperatingSystem, Type};
use proto_errors::host as code;
use proto_update::manifest::Header;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::build::Arch;
use crate::{paths, selector};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// One partition to be written.
#[derive(Debug)]
pub struct Partition {
    /// Its name in the partition table.
    pub name: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// Its size in MiB.
    pub size_mib: u64,
    /// What is in it.
    pub contents: Contents,
    /// Its attributes in the partition table.
    pub attributes: u64,
}

/// What is in a partition.
#[derive(Debug)]
pub enum Contents {
    /// Nothing.
    Empty,
    /// A FAT file system with these files, by path.
    Files(BTreeMap<String, Vec<u8>>),
    /// These bytes, from its start on.
    Bytes(Vec<u8>),
}

/// What a partition is for, as its type GUID says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An EFI system partition.
    Esp,
    /// One of the two system slots.
    Slot,
    /// Provisioning files.
    Config,
    /// What the device keeps.
    Persist,
}

impl Kind {
    fn guid(self) -> Uuid {
        match self {
            Self::Esp => gpt::partition_types::EFI.guid,
            // Ours: random once, fixed for ever.
            Self::Slot => Uuid::from_bytes_le(proto_gpt::slots::SLOT.to_bytes()),
            Self::Config => Uuid::from_bytes_le(proto_gpt::partition::CONFIG.to_bytes()),
            Self::Persist => Uuid::from_u128(0xc4f7_83a9_2e60_4d1b_8a95_f13b_60d7_2e8c),
        }
    }
}

/// What an image holds of what is started.
#[derive(Debug)]
pub struct Held {
    /// The first EFI system partition.
    pub esp: Vec<u8>,
    /// The first slot.
    pub slot: Vec<u8>,
    /// The partition of provisioning files.
    pub config: Vec<u8>,
}

impl Held {
    /// Whose selector firmware would start from it; nothing when there is none.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| self::file(&self.esp, selector::path(*arch)).is_ok())
    }

    /// The version that the first slot names, for a person: whoever signed it.
    #[must_use]
    pub fn version(&self) -> String {
        let header = Header::parse(&self.slot, self.slot.len() as u64);
        header.map_or_else(|_| "unknown".into(), |header| header.claimed_version().as_str().to_owned())
    }
}

/// Reads an image, or a disk with one.
///
/// # Errors
/// When it is none, or lacks one of the three.
pub fn read(file: &Path) -> Result<Held> {
    let cannot = || format!("cannot read {} [{}]", file.display(), code::FILE);
    let kind = std::fs::metadata(file).with_context(cannot)?.file_type();
    // Others have no end, or wait for whoever writes to them.
    ensure!(kind.is_file() || kind.is_block_device(), "{} is no disk image", file.display());
    let mut image = File::open(file).with_context(cannot)?;
    let disk = gpt::GptConfig::new()
        .open_from_device(image.try_clone().with_context(cannot)?)
        .with_context(|| format!("{} is no disk image", file.display()))?;
    let mut of = |kind: Kind| {
        let mut entries = disk.partitions().values();
        let entry = entries.find(|entry| entry.part_type_guid.guid == kind.guid());
        let entry = entry.with_context(|| format!("{} has no {kind:?} partition", file.display()))?;
        let sectors = entry.last_lba.saturating_add(1).saturating_sub(entry.first_lba);
        let mut bytes = Vec::new();
        image.seek(SeekFrom::Start(entry.first_lba.saturating_mul(SECTOR))).with_context(cannot)?;
        let length = sectors.saturating_mul(SECTOR);
        (&image).take(length).read_to_end(&mut bytes).with_context(cannot)?;
        ensure!(bytes.len() as u64 == length, "{} is cut", file.display());
        Ok(bytes)
    };
    Ok(Held { esp: of(Kind::Esp)?, slot: of(Kind::Slot)?, config: of(Kind::Config)? })
}

/// A file of a FAT file system.
///
/// # Errors
/// When there is none, or no such file.
pub fn file(volume: &[u8], path: &str) -> Result<Vec<u8>> {
    let volume = FileSystem::new(Cursor::new(volume.to_vec()), FsOptions::new())?;
    let mut bytes = Vec::new();
    let mut file = volume.root_dir().open_file(path).with_context(|| format!("there is no {path}"))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All files of a FAT file system by path.
///
/// # Errors
/// When it is none.
pub fn files(volume: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    type Folder<'a> = fatfs::Dir<'a, Cursor<Vec<u8>>>;
    fn walk(folder: &Folder<'_>, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
        for entry in folder.iter() {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name());
            if entry.is_file() {
                let mut bytes = Vec::new();
                entry.to_file().read_to_end(&mut bytes)?;
                files.insert(path, bytes);
            } else if !matches!(entry.file_name().as_str(), "." | "..") {
                walk(&entry.to_dir(), &format!("{path}/"), files)?;
            }
        }
        Ok(())
    }
    let volume = FileSystem::new(Cursor::new(volume.to_vec()), FsOptions::new())?;
    let mut files = BTreeMap::new();
    walk(&volume.root_dir(), "", &mut files)?;
    Ok(files)
}

/// Writes the image. Partitions stand in their order, each at a whole MiB; the file is sparse.
///
/// # Errors
/// When a partition's files do not fit into it, or the file cannot be written.
pub fn write(file: &Path, partitions: &[Partition]) -> Result<()> {
    let size = (2 + partitions.iter().map(|partition| partition.size_mib).sum::<u64>()) * MIB;
    paths::replace(file, size, |disk| fill(disk, size, partitions))
}

/// Writes the image of this size into an empty file.
fn fill(mut disk: File, size: u64, partitions: &[Partition]) -> Result<()> {
    let digest = digest(partitions);
    disk.set_len(size)?;

    let sectors = u32::try_from(size / SECTOR - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut disk).map_err(
        |error| match error {
            MBRError::Io(error) => anyhow::Error::from(error),
            other => anyhow!("protective MBR: {other}"),
        },
    )?;
    let mut start = MIB;
    let mut entries = BTreeMap::new();
    for (number, partition) in (1..).zip(partitions) {
        let bytes = partition.size_mib * MIB;
        let named = || format!("partition {} of {} MiB", partition.name, partition.size_mib);
        disk.seek(SeekFrom::Start(start))?;
        match &partition.contents {
            Contents::Empty => {}
            Contents::Files(files) => {
                let volume = fat(partition.name, partition.size_mib, files, &digest).with_context(named)?;
                write_sparse(&mut disk, &volume)?;
            }
            Contents::Bytes(held) => {
                let need = held.len() as u64;
                ensure!(need <= bytes, "{}: what it holds takes {} MiB", named(), need.div_ceil(MIB));
                write_sparse(&mut disk, held)?;
            }
        }
        entries.insert(
            number,
            Entry {
                part_type_guid: Type { guid: partition.kind.guid(), os: OperatingSystem::None },
                part_guid: identifier(&digest, partition.name),
                first_lba: start / SECTOR,
                last_lba: (start + bytes) / SECTOR - 1,
                flags: partition.attributes,
                name: partition.name.to_owned(),
            },
        );
        start += bytes;
    }
    write_table(disk, entries, identifier(&digest, "disk")).context("the partition table")
}

fn write_table(disk: File, entries: BTreeMap<u32, Entry>, guid: Uuid) -> Result<()> {
    let config = gpt::GptConfig::new().writable(true);
    let written = config.create_from_device(disk, Some(guid)).and_then(|mut table| {
        table.update_partitions(entries)?;
        table.write()
    });
    written.map(drop).map_err(|error| match error {
        GptError::Io(error) => error.into(),
        other => other.into(),
    })
}

/// Covers names, sizes, attributes and contents: two images differ in their identifiers exactly if they differ here.
fn digest(partitions: &[Partition]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for partition in partitions {
        put(partition.name.as_bytes());
        put(&partition.size_mib.to_le_bytes());
        put(&partition.attributes.to_le_bytes());
        match &partition.contents {
            Contents::Empty => {}
            Contents::Files(files) => files.iter().for_each(|(path, contents)| {
                put(path.as_bytes());
                put(contents);
            }),
            Contents::Bytes(bytes) => put(bytes),
        }
    }
    hash.finalize().into()
}

/// A GUID of version 8 (RFC 9562 §5.8): its bits come from a hash.
fn identifier(digest: &[u8; 32], what: &str) -> Uuid {
    let hash: [u8; 32] = Sha256::new().chain_update(digest).chain_update(what).finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

/// 1980-01-01, the first day that FAT can name.
#[derive(Debug)]
struct FixedDate;

impl TimeProvider for FixedDate {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// A FAT volume with these files. Its identifier is derived from them and its label.
///
/// # Errors
/// When the files do not fit.
pub fn volume(label: &str, size_mib: u64, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let mut hash = Sha256::new();
    for (path, contents) in files {
        hash.update(Sha256::digest(path));
        hash.update(Sha256::digest(contents));
    }
    fat(label, size_mib, files, &hash.finalize().into())
}

/// A FAT volume that fills the partition of this name.
fn fat(name: &str, size_mib: u64, files: &BTreeMap<String, Vec<u8>>, digest: &[u8; 32]) -> Result<Vec<u8>> {
    let room = size_mib * MIB;
    let need: u64 = files.values().map(|contents| contents.len() as u64).sum();
    ensure!(need < room, "its files take {} MiB", need.div_ceil(MIB));

    let mut volume = Cursor::new(vec![0; usize::try_from(room)?]);
    let id = identifier(digest, name).as_u128() as u32;
    let mut label = [b' '; 11];
    for (to, from) in label.iter_mut().zip(name.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    fatfs::format_volume(&mut volume, FormatVolumeOptions::new().volume_id(id).volume_label(label))?;
    {
        let system = FileSystem::new(&mut volume, FsOptions::new().time_provider(&FixedDate))?;
        let root = system.root_dir();
        for (path, contents) in files {
            for (at, _) in path.match_indices('/') {
                root.create_dir(&path[..at])?;
            }
            let mut file = root.create_file(path)?;
            file.write_all(contents).with_context(|| format!("file {path}"))?;
        }
    }
    Ok(volume.into_inner())
}

/// Writes what is not zero; the file was as long and empty before.
fn write_sparse(disk: &mut File, bytes: &[u8]) -> Result<()> {
    for chunk in bytes.chunks(64 * 1024) {
        if chunk.iter().all(|&byte| byte == 0) {
            disk.seek_relative(i64::try_from(chunk.len())?)?;
        } else {
            disk.write_all(chunk)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str) -> Vec<Partition> {
        let files = BTreeMap::from([
            ("EFI/BOOT/BOOTX64.EFI".to_owned(), vec![7; 100_000]),
            ("server".to_owned(), text.as_bytes().to_vec()),
        ]);
        vec![
            Partition {
                name: "esp",
                kind: Kind::Esp,
                size_mib: 4,
                contents: Contents::Files(files),
                attributes: 0,
            },
            Partition {
                name: "slot-a",
                kind: Kind::Slot,
                size_mib: 2,
                contents: Contents::Bytes(vec![5; 5000]),
                attributes: 7 << 48,
            },
        ]
    }

    fn written(partitions: &[Partition]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.img");
        write(&file, partitions).unwrap();
        std::fs::read(file).unwrap()
    }

    #[test]
    fn equal_inputs_give_equal_bytes_and_others_do_not() {
        let image = written(&sample("a"));
        assert_eq!(image.len() as u64, 8 * MIB);
        assert!(image == written(&sample("a")));
        assert!(image != written(&sample("b")));
    }

    #[test]
    fn table_and_files_are_readable() {
        let image = written(&sample("controller.example:443"));
        let disk = gpt::GptConfig::new().open_from_device(Cursor::new(image.clone())).unwrap();
        let names: Vec<_> = disk.partitions().values().map(|entry| entry.name.clone()).collect();
        assert_eq!(names, ["esp", "slot-a"]);
        assert_eq!(disk.primary_header().unwrap().disk_guid, disk.backup_header().unwrap().disk_guid);
        let esp = &disk.partitions()[&1];
        let (start, end) = ((esp.first_lba * SECTOR) as usize, ((esp.last_lba + 1) * SECTOR) as usize);
        let volume = FileSystem::new(Cursor::new(image[start..end].to_vec()), FsOptions::new()).unwrap();
        let mut text = String::new();
        volume.root_dir().open_file("server").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "controller.example:443");
        let mut loader = Vec::new();
        volume.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap().read_to_end(&mut loader).unwrap();
        assert!(loader == vec![7; 100_000]);
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk.img");
        let mut partitions = sample("a");
        write(&image, &partitions).unwrap();
        assert!(read(&image).is_err(), "there is no config partition");
        let there = BTreeMap::from([
            ("server".to_owned(), b"there".to_vec()),
            ("GlobalConfig/global.json".to_owned(), b"{}".to_vec()),
        ]);
        let contents = Contents::Files(there.clone());
        partitions.push(Partition {
            name: "config",
            kind: Kind::Config,
            size_mib: 4,
            contents,
            attributes: 0,
        });
        write(&image, &partitions).unwrap();
        let held = read(&image).unwrap();
        assert_eq!(files(&held.config).unwrap(), there);
        assert_eq!(file(&held.esp, "server").unwrap(), b"a");
        assert!(file(&held.esp, "none").is_err());
        assert_eq!((&held.slot[..5000], held.slot.len() as u64), (&[5; 5000][..], 2 * MIB));
        assert_eq!((held.arch(), held.version().as_str()), (Some(Arch::X86_64), "unknown"));
        let whole = std::fs::read(&image).unwrap();
        std::fs::write(&image, &whole[..6 << 20]).unwrap();
        assert!(read(&image).unwrap_err().to_string().contains("is cut"));
        for (other, why) in
            [("/dev/zero", "is no disk image"), ("/nosuch", "cannot read /nosuch"), ("/", "is no disk image")]
        {
            let told = read(Path::new(other)).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
        std::fs::write(&image, b"no image").unwrap();
        assert!(read(&image).is_err());
    }

    #[test]
    fn files_that_do_not_fit_are_named_with_their_partition() {
        let mut partitions = sample("a");
        partitions[0].contents = Contents::Files(BTreeMap::from([("big".to_owned(), vec![1; 5 << 20])]));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.img");
        let told = format!("{:#}", write(&file, &partitions).unwrap_err());
        let why = "is not written: partition esp of 4 MiB: its files take 5 MiB";
        assert_eq!(told, format!("{} {why}", file.display()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing of it is left");
    }
}
