use std::{string::String, vec, vec::Vec};

use super::*;

/// `printf 'table\nimages/net\n' | cpio -o -H newc --reproducible` by GNU cpio 2.13.
const GNU: &[u8] = include_bytes!("gnu.cpio");

fn listed(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let archive = Archive::open(bytes)?;
    Ok(archive.entries().map(|entry| (entry.name.into(), entry.data.to_vec())).collect())
}

fn two_files() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.add("table", b"table-bytes").unwrap();
    writer.add("images/net", b"\x7fELF\x00\x01").unwrap();
    writer.finish()
}

#[test]
fn an_archive_of_gnu_cpio_is_read() {
    let expected: Vec<(String, Vec<u8>)> =
        vec![("table".into(), b"table-bytes".to_vec()), ("images/net".into(), b"\x7fELF\x00\x01".to_vec())];
    assert_eq!(listed(GNU).unwrap(), expected);
    assert_eq!(listed(&two_files()).unwrap(), expected);
}

#[test]
fn entries_are_found_by_name_and_prefix() {
    let bytes = two_files();
    let archive = Archive::open(&bytes).unwrap();
    assert_eq!(archive.find("table"), Some(&b"table-bytes"[..]));
    assert_eq!(archive.find("net"), None);
    assert_eq!(archive.under(IMAGES).next().map(|entry| entry.name), Some("net"));
}

#[test]
fn a_cut_archive_is_refused_at_every_length() {
    let bytes = two_files();
    for length in 0..bytes.len() {
        let error = Archive::open(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ArchiveError::Truncated { .. } | ArchiveError::Empty), "{length}: {error}");
    }
}

#[test]
fn faults_are_named() {
    let spoil = |at: usize, byte: u8| {
        let mut bytes = two_files();
        bytes[at] = byte;
        Archive::open(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(spoil(5, b'2'), ArchiveError::Magic { at: 0 }, "the format with checksums");
    assert_eq!(spoil(6, b'x'), ArchiveError::Digit { at: 0 });
    assert_eq!(spoil(18, b'4'), ArchiveError::NotAFile { at: 0 }, "a directory");
    assert_eq!(spoil(110, b'/'), ArchiveError::Name { at: 0 }, "an absolute name");
    assert_eq!(spoil(112, 0), ArchiveError::Name { at: 0 }, "a NUL within the name");
    assert_eq!(spoil(115, b'x'), ArchiveError::Padding { at: 0 }, "no NUL at its end");
    assert_eq!(spoil(127, 1), ArchiveError::Padding { at: 0 }, "the filler behind the contents");
    assert_eq!(spoil(58, b'1'), ArchiveError::Truncated { at: 0 }, "a length past the end");
    assert_eq!(spoil(54, b'F'), ArchiveError::Truncated { at: 0 }, "a length near 4 GiB");
}

#[test]
fn only_zeroes_may_follow_the_trailer() {
    let mut bytes = two_files();
    bytes.extend([0; 400]);
    Archive::open(&bytes).unwrap();
    bytes.push(1);
    assert_eq!(Archive::open(&bytes).unwrap_err(), ArchiveError::Garbage { at: bytes.len() - 1 });
}

#[test]
fn a_name_comes_once() {
    let mut writer = Writer::new();
    writer.add("a", b"1").unwrap();
    let second = Writer::size_of("a", b"1");
    writer.add("a", b"2").unwrap();
    assert_eq!(Archive::open(&writer.finish()).unwrap_err(), ArchiveError::Duplicate { at: second });
}

#[test]
fn the_number_of_entries_is_bounded() {
    let fill = |count: usize| {
        let mut writer = Writer::new();
        let all: Result<(), _> = (0..count).try_for_each(|index| writer.add(&std::format!("f{index}"), b""));
        all.map(|()| writer.finish())
    };
    assert_eq!(listed(&fill(MAX_ENTRIES).unwrap()).unwrap().len(), MAX_ENTRIES);
    assert_eq!(fill(MAX_ENTRIES + 1), Err(ArchiveError::TooMany));
    // A writer that does not count.
    let mut bytes = fill(MAX_ENTRIES).unwrap();
    let trailer = bytes.len() - padded(HEADER + TRAILER.len() + 1);
    let tail = bytes.split_off(trailer);
    let mut extra = Writer::new();
    extra.add("extra", b"").unwrap();
    bytes.extend(&extra.finish()[..padded(HEADER + 6)]);
    bytes.extend(tail);
    assert_eq!(Archive::open(&bytes).unwrap_err(), ArchiveError::TooMany);
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a b", "TRAILER!!!", "ä"] {
        assert!(matches!(Writer::new().add(name, b""), Err(ArchiveError::Name { .. })), "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn what_was_written_is_read(files in proptest::collection::btree_map("[a-z]{1,8}(/[a-zA-Z0-9._-]{1,4}[a-z])?", proptest::prelude::any::<Vec<u8>>(), 0..8)) {
        let mut writer = Writer::new();
        for (name, data) in &files {
            writer.add(name, data).unwrap();
        }
        let bytes = writer.finish();
        let files: Vec<_> = files.into_iter().collect();
        assert_eq!(listed(&bytes).unwrap(), files);
    }

    #[test]
    fn spoilt_archives_never_panic(changes in proptest::collection::vec((0usize..2000, proptest::prelude::any::<u8>()), 1..6)) {
        let mut bytes = two_files();
        let length = bytes.len();
        for (at, byte) in changes {
            bytes[at % length] = byte;
        }
        if let Ok(archive) = Archive::open(&bytes) {
            archive.entries().for_each(drop);
        }
    }
}
