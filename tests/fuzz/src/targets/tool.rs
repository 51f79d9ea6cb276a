//! What the host tool reads.

use std::time::Duration;

use xtask::apt::sources;
use xtask::console::Speakers;
use xtask::pack;

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
