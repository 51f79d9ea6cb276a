//! What the host tool reads.

use std::time::Duration;

use xtask::apt::{fetch, sources};
use xtask::bench::debian::libraries;
use xtask::console::Speakers;
use xtask::pack;
use xtask::qmp::{self, Said};

pub(super) fn apt_sources(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut found = sources::parse_one_line(&text);
    found.extend(sources::parse_deb822(&text));
    let _ = sources::of_release(&found, "bookworm");
}

pub(super) fn source_lists() -> Vec<Vec<u8>> {
    let one_line = "# comment\ndeb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian \
                    bookworm main contrib\ndeb-src http://mirror.example/debian bookworm main\n";
    let deb822 = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\
                  Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n -----END PGP PUBLIC KEY BLOCK-----\n\n\
                  Enabled: no\nTypes: deb deb-src\n";
    vec![one_line.into(), deb822.into()]
}

pub(super) fn console_speakers(bytes: &[u8]) {
    let mut speakers = Speakers::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = speakers.line(Duration::ZERO, line);
        assert!(!line.who.is_empty());
        let _ = xtask::console::xen_time(&line.text);
    }
}

pub(super) fn consoles() -> Vec<Vec<u8>> {
    let lines = "BdsDxe: starting\n(XEN) [    1.234567] Xen version 4.20\nsarsen dom0: domain net is d1\n\
                 (d1) net: up\n(d99) \x1b[1mwho\x1b[0m\n(d) \n(XEN)\n";
    vec![lines.into()]
}

/// An image, and a domain's program that starts at address 0.
pub(super) fn elf_pack(bytes: &[u8]) {
    if let Ok(packed) = pack::pack(bytes) {
        let again = pack::pack(&packed).expect("what was packed is a program");
        assert_eq!(again, packed, "there is nothing left to pack");
    }
    let _ = pack::flatten(bytes);
}

/// What `apt-cache show` prints. A field of an offer is a line of the text, so none spans two.
pub(super) fn apt_show(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for offer in fetch::parse_show(&text) {
        for field in [&offer.name, &offer.architecture, &offer.version, &offer.sha256] {
            assert!(text.contains(field.as_str()) && !field.contains('\n'));
        }
        assert!(!offer.depends.contains([' ', ',']), "one package only");
    }
}

pub(super) fn offers() -> Vec<Vec<u8>> {
    let text = "Package: a\nVersion: 2\nArchitecture: all\nDepends: b-6.12+deb13 (= 2), c\nDescription: x\n more\n\
                SHA256: ff\n\nPackage: a\nVersion: 1\nArchitecture: all\nSHA256: ee\n";
    vec![text.into()]
}

/// A program and its libraries, all of which are the input.
pub(super) fn elf_libraries(bytes: &[u8]) {
    if let Ok(Some(path)) = libraries::interpreter("a", bytes) {
        assert!(!path.starts_with('/') && !path.ends_with('\0'));
    }
    let programs = [("a".to_owned(), bytes.to_vec())];
    if let Ok(found) = libraries::closure(&programs, |_| Ok(Some(bytes.to_vec()))) {
        let alone = libraries::closure(&programs, |_| Ok(None));
        assert_eq!(alone.is_ok(), found.is_empty(), "a library is found, or missing");
    }
}

/// A program that names an interpreter and the library `b.so`, and one that names none.
pub(super) fn programs() -> Vec<Vec<u8>> {
    let words = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    // Entry, program headers, section headers; then flags, sizes and counts.
    program.extend(words(&[0, 64, 192]));
    program.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 4, 0, 0, 0]);
    // PT_INTERP, of 13 bytes at 120.
    program.extend(words(&[3, 120, 0, 0, 13, 13, 1]));
    program.extend(b"/lib64/ld.so\0\0\0\0");
    // The dynamic section at 136: DT_NEEDED, DT_NULL. Strings at 168.
    program.extend(words(&[1, 1, 0, 0]));
    program.extend(b"\0b.so\0");
    program.resize(192, 0);
    program.extend([0; 64]);
    for (kind, at, size, link, entry) in [(11_u64, 64, 0, 2_u64, 24), (3, 168, 6, 0, 0), (6, 136, 32, 2, 16)]
    {
        program.extend(words(&[kind << 32, 0, 0, at, size, link, 0, entry]));
    }
    vec![program, super::manifest::elves().swap_remove(0)]
}

/// Lines of QEMU's control socket.
pub(super) fn qmp(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        let Ok(object) = qmp::parse(line) else { continue };
        match Said::of(object.clone()) {
            Said::Event(event) => assert_eq!(event, object),
            Said::Result(result) => assert_eq!(object.get("return"), Some(&result)),
            Said::Refused(why) => assert!(line.contains("error") || !why.is_null()),
        }
    }
}

pub(super) fn qmp_lines() -> Vec<Vec<u8>> {
    let lines = "{\"QMP\":{\"version\":{}}}\n{\"return\":{}}\n{\"event\":\"RESUME\"}\n\
                 {\"error\":{\"class\":\"GenericError\",\"desc\":\"no such link\"}}\n{\"return\":{\"running\":true}}\n";
    vec![lines.into()]
}
