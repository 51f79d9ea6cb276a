//! Another implementation of FAT makes the volumes, writes to them as U-Boot does, and says what is started by what is
//! believed to be the same.

use std::io::{Cursor, Read, Write};
use std::vec;
use std::vec::Vec;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use super::*;

const PROGRAM: &str = "EFI/BOOT/BOOTAA64.EFI";
const VARIABLES: &str = "ubootefi.var";
/// The tables of a volume of [`volume`], one behind the other, and the root folder.
const TABLES: usize = 512;
const ROOT: usize = TABLES + 2 * 17 * 512;
const DATA: usize = ROOT + 64 * UNIT;

fn program() -> Vec<u8> {
    (0..9000_u32).map(|at| (at / 3) as u8 | 1).collect()
}

fn volume(kind: FatType) -> Vec<u8> {
    let mut volume = Cursor::new(vec![0; 4300 * 512]);
    let options = FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(512).max_root_dir_entries(64);
    let options = if kind == FatType::Fat12 { options.bytes_per_cluster(1024) } else { options };
    fatfs::format_volume(&mut volume, options.volume_label(*b"ESP        ")).unwrap();
    edit(volume.into_inner(), |root| {
        root.create_dir("EFI").unwrap().create_dir("BOOT").unwrap();
        write(root, PROGRAM, &program());
    })
}

fn image(volume: &[u8]) -> &[u8] {
    let used = volume.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    &volume[..used.next_multiple_of(4096)]
}

type Dir<'a, 'b> = fatfs::Dir<'a, &'b mut Cursor<Vec<u8>>>;

fn edit(volume: Vec<u8>, edit: impl FnOnce(&Dir<'_, '_>)) -> Vec<u8> {
    let mut volume = Cursor::new(volume);
    {
        let system = FileSystem::new(&mut volume, FsOptions::new()).unwrap();
        let root = system.root_dir();
        edit(&root);
    }
    volume.into_inner()
}

fn write(root: &Dir<'_, '_>, path: &str, bytes: &[u8]) {
    let mut file = root.create_file(path).unwrap();
    file.truncate().unwrap();
    file.write_all(bytes).unwrap();
}

/// As U-Boot leaves a volume.
fn started(bytes: usize) -> Vec<u8> {
    edit(volume(FatType::Fat16), |root| write(root, VARIABLES, &vec![7; bytes]))
}

fn is_same(image: &[u8], found: &[u8]) -> bool {
    let mut whole = Comparison::of_volume(image);
    let mut pieces = whole.clone();
    whole.take(&found[..image.len()]);
    found[..image.len()].chunks(1024).for_each(|piece| pieces.take(piece));
    assert_eq!(whole.is_same(), pieces.is_same());
    whole.is_same()
}

/// What another reader finds in the place from which firmware starts.
fn starts(volume: &[u8]) -> Option<Vec<u8>> {
    let system = FileSystem::new(Cursor::new(volume.to_vec()), FsOptions::new()).ok()?;
    let mut bytes = Vec::new();
    system.root_dir().open_file(PROGRAM).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[test]
fn a_volume_in_which_firmware_keeps_its_variables_is_the_same() {
    let clean = volume(FatType::Fat16);
    let image = image(&clean);
    assert!(is_same(image, &clean));
    for bytes in [0, 1, 328, 512, 5000, 100_000] {
        let found = started(bytes);
        assert!(bytes == 0 || found != clean);
        assert!(is_same(image, &found), "{bytes}");
        // Written anew, shorter or longer, and removed.
        for again in [1, 700, 30_000] {
            let found = edit(found.clone(), |root| write(root, VARIABLES, &vec![9; again]));
            assert!(is_same(image, &found), "{bytes}, {again}");
        }
        let removed = edit(found, |root| root.remove(VARIABLES).unwrap());
        assert!(removed != clean && is_same(image, &removed), "{bytes}");
    }
    // A cut in the midst of it: one copy of the table is old.
    let mut found = started(3000);
    found[TABLES..TABLES + 17 * 512].copy_from_slice(&clean[TABLES..TABLES + 17 * 512]);
    assert!(is_same(image, &found));
}

/// The entries that U-Boot 2025.01 left on a disk: a long name, a short one, some time, cluster 78, 328 bytes.
#[test]
fn entries_as_firmware_writes_them_are_those_of_the_file() {
    let short = b"UBOOTEFIVAR \0\0\xe1\x94}]\0\0\0\0\xe1\x94}]\x4e\0\x48\x01\0\0";
    let long = b"\x41\x75\x00\x62\x00\x6f\x00\x6f\x00\x74\x00\x0f\x00\x63\x65\x00\
        \x66\x00\x69\x00\x2e\x00\x76\x00\x61\x00\x00\x00\x72\x00\x00\x00";
    let clean = volume(FatType::Fat16);
    let mut found = clean.clone();
    let free = (ROOT..DATA).step_by(UNIT).find(|&at| clean[at] == 0).unwrap();
    found[free..free + UNIT].copy_from_slice(long);
    found[free + UNIT..free + 2 * UNIT].copy_from_slice(short);
    assert!(is_same(image(&clean), &found));
    assert_eq!(found[free..free + UNIT], *FILE_LONG);
    // Once and again, or with one of both: nothing that is looked for.
    found.copy_within(free + UNIT..free + 2 * UNIT, free);
    assert!(is_same(image(&clean), &found));
}

/// Whatever one byte is: what is taken for the same starts the same.
#[test]
fn what_is_the_same_starts_the_same_program() {
    let clean = volume(FatType::Fat16);
    let image = image(&clean);
    let found = started(3000);
    let (mut same, mut other) = (0, 0);
    let of_tables = (TABLES..ROOT).filter(|at| (at - TABLES) % (17 * 512) < 100);
    let places = (0..TABLES).chain(of_tables).chain(ROOT..ROOT + 256).chain((DATA..image.len()).step_by(29));
    for at in places {
        for flip in [0x01, 0xff] {
            let mut found = found.clone();
            found[at] ^= flip;
            if is_same(image, &found) {
                assert_eq!(starts(&found).as_deref(), Some(&program()[..]), "{at}, {flip}");
                same += 1;
            } else {
                other += 1;
            }
        }
    }
    assert!(same > 100 && other > 2_000, "{same}, {other}");
}

#[test]
fn what_leads_elsewhere_is_another() {
    let clean = volume(FatType::Fat16);
    let image = image(&clean);
    let put = |at: usize, bytes: &[u8]| {
        let mut found = started(3000);
        found[at..at + bytes.len()].copy_from_slice(bytes);
        found
    };
    let file = (ROOT..DATA).step_by(UNIT).find(|&at| started(3000)[at..].starts_with(FILE)).unwrap();
    let entry = |cluster: usize| TABLES + cluster * 2;
    let free = (2..).find(|&cluster| started(3000)[entry(cluster)..][..2] == [0, 0]).unwrap();
    let all = [
        ("another file", edit(started(3), |root| write(root, "other.efi", b"1"))),
        ("another folder", edit(started(3), |root| drop(root.create_dir("EFI2").unwrap()))),
        ("a file beside the program", edit(started(3), |root| write(root, "EFI/BOOT/startup.nsh", b"1"))),
        ("another program", edit(started(3), |root| write(root, PROGRAM, b"1"))),
        ("no program", edit(started(3), |root| root.remove(PROGRAM).unwrap())),
        ("the file is a folder", put(file + 11, &[0x10])),
        ("the file is a label", put(file + 11, &[0x08])),
        ("the file has a cluster of the program", put(file + 26, &[4, 0])),
        ("the file has no cluster of the volume", put(file + 26, &[0xff, 0x7f])),
        ("the file has one of FAT32", put(file + 20, &[1])),
        ("a long name of another", put(file - UNIT + 1, b"v")),
        ("a free cluster leads to the program", put(entry(free), &[4, 0])),
        ("a free cluster leads to none", put(entry(free), &[1, 0])),
        ("and so in the second copy", put(entry(free) + 17 * 512, &[4, 0])),
        ("the program ends early", put(entry(5), &[0xff, 0xff])),
        ("and so in the second copy", put(entry(5) + 17 * 512, &[0xff, 0xff])),
        ("the volume is dirty", put(entry(1), &[0xff, 0x7f])),
        ("an entry behind the end", put(DATA - UNIT + 1, b"E")),
        ("no boot sector", put(0, &[0; 512])),
    ];
    for (name, found) in all {
        assert!(!is_same(image, &found), "{name}");
    }
}

/// There nothing is known of what may differ.
#[test]
fn what_is_no_volume_of_the_host_tool_is_compared_byte_by_byte() {
    let sixteen = volume(FatType::Fat16);
    let zeroed = |at: usize| {
        let mut volume = sixteen.clone();
        volume[at..at + 2].fill(0);
        volume
    };
    let unlike = {
        let mut volume = sixteen.clone();
        volume[TABLES + 9] ^= 1;
        volume
    };
    let volumes =
        [volume(FatType::Fat12), zeroed(11), zeroed(13), zeroed(16), zeroed(17), zeroed(22), unlike];
    for volume in volumes {
        let image = image(&volume);
        assert_eq!(Volume::of(image), None);
        assert!(is_same(image, &volume));
        let mut found = volume.clone();
        // An entry of the table for a cluster that nothing uses.
        found[TABLES + 4000] ^= 0xff;
        assert!(!is_same(image, &found));
    }
    // What it uses lies behind the image.
    let image = image(&sixteen);
    assert!(Volume::of(image).is_some() && Volume::of(&image[..image.len() - 4096]).is_none());
    for long in [0, 1, 11, 100, 511, 512, 4096] {
        assert_eq!(Volume::of(&image[..long]), None, "{long}");
    }
    let mut short = Comparison::of_volume(image);
    short.take(&sixteen[..image.len() - 4096]);
    assert!(!short.is_same() && short.left() == 4096);
    short.take(&sixteen[..4097]);
    assert!(!short.is_same() && short.left() == 0);
}
