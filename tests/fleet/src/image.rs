//! ELF files: as small as the toolstack takes them.

use proto_xen::DomId;
use tests_fakexen::World;

/// Where an image lies in its domain.
const BASE: u64 = 0x10_0000;

/// The first bytes of the image that a domain was built from.
#[must_use]
pub fn text(world: &World, domain: DomId) -> Vec<u8> {
    world.read(domain, BASE, 16)
}

/// An image whose only bytes are `text`.
#[must_use]
pub fn elf(text: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    const NOTE: u64 = 20;
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // A program, of this machine.
    file.extend([2u16, machine].map(u16::to_le_bytes).as_flattened());
    file.extend(1u32.to_le_bytes());
    // Entry, program headers, section headers.
    file.extend([BASE, 64, 0].map(u64::to_le_bytes).as_flattened());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).as_flattened());
    let length = text.len() as u64;
    for (kind, offset, address, bytes) in [(1u32, HEADERS + NOTE, BASE, length), (4, HEADERS, 0, NOTE)] {
        file.extend([kind, 5].map(u32::to_le_bytes).as_flattened());
        file.extend([offset, address, address, bytes, bytes, 4].map(u64::to_le_bytes).as_flattened());
    }
    // The PVH entry.
    file.extend([4u32, 4, 18].map(u32::to_le_bytes).as_flattened());
    file.extend(b"Xen\0");
    file.extend((BASE as u32).to_le_bytes());
    file.extend(text);
    file
}
