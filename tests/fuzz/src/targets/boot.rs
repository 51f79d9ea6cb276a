//! What loader and firmware leave in memory.

use proto_handoff::tree::{self, Module, Start};
use proto_xen::start_info::{MAGIC, MemmapEntry, ModlistEntry, StartInfo};
use zerocopy::IntoBytes;

use board_support_arch::fuzz;
use dom0_toolstack::{acpi::find_ecam, tpm};

/// Where the bytes lie in the memory that the parsers see.
const BASE: u64 = fuzz::BASE;

pub(super) fn start_info(bytes: &[u8]) {
    fuzz::start_info(bytes);
}

pub(super) fn start_infos() -> Vec<Vec<u8>> {
    let mut memory = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    let start = StartInfo {
        magic: MAGIC,
        version: 1,
        nr_modules: 2,
        modlist_paddr: BASE + 0x200,
        cmdline_paddr: BASE + 0x100,
        memmap_paddr: BASE + 0x300,
        memmap_entries: 2,
        ..Default::default()
    };
    put(0, start.as_bytes());
    put(0x100, b"greeting=hi verbose\0");
    for (at, paddr, size) in [(0x200, BASE + 0x180, 3), (0x220, BASE + 0x190, 0)] {
        put(at, ModlistEntry { paddr, size, ..Default::default() }.as_bytes());
    }
    put(0x180, b"one");
    put(0x300, MemmapEntry { addr: 0, size: 0x80_0000, kind: 1, reserved: 0 }.as_bytes());
    put(0x318, MemmapEntry { addr: 0x80_0000, size: 0x1000, kind: 2, reserved: 0 }.as_bytes());
    vec![memory]
}

pub(super) fn device_tree(bytes: &[u8]) {
    fuzz::device_tree(bytes);
}

/// A tree such as Xen gives to dom0.
pub(super) fn device_trees() -> Vec<Vec<u8>> {
    let mut tree = Tree::default();
    tree.begin("");
    tree.property("#address-cells", &2u32.to_be_bytes());
    tree.property("#size-cells", &2u32.to_be_bytes());
    tree.begin("memory@40000000");
    tree.property("reg", &[0x4000_0000u64, 0x1000_0000].map(u64::to_be_bytes).concat());
    tree.end();
    tree.begin("chosen");
    tree.property("bootargs", b"console=hvc0\0");
    tree.property("linux,initrd-start", &BASE.to_be_bytes());
    tree.property("linux,initrd-end", &(BASE + 16).to_be_bytes());
    tree.end();
    tree.begin("hypervisor");
    tree.property(
        "reg",
        &[0xb000_0000u64, 0x2_0000, 0x8_0000_0000, 0x1000_0000].map(u64::to_be_bytes).concat(),
    );
    tree.end();
    tree.begin("interrupt-controller@8000000");
    tree.property("compatible", b"arm,gic-v3\0");
    tree.property("reg", &[0x800_0000u64, 0x1_0000, 0x80a_0000, 0xf6_0000].map(u64::to_be_bytes).concat());
    tree.end();
    tree.end();
    vec![tree.finish()]
}

/// What Xen is told is put into the tree that the firmware gives (the first byte says what of it there is): it can be put
/// there once more, and changes nothing then but the order.
pub(super) fn start_tree(bytes: &[u8]) {
    let Some((&choice, machine)) = bytes.split_first() else { return };
    let some = |bit: u8| choice & 1 << bit != 0;
    let start = Start {
        xen: "console=dtuart",
        dom0: "drill=net:1:2",
        kernel: Module { at: 0x4c00_0000, length: 0x1234 },
        ramdisk: Module { at: 0x1_0000_0000, length: 5 },
        give_away: if some(0) { &["/virtio_mmio@a000200"] } else { &[] },
        handoff: some(1).then_some(b"record"),
        event_log: some(2).then_some(b"log"),
        provisioning: some(3).then_some(b"files"),
        seed: some(4).then_some(b"random"),
        kept_at: some(5).then_some(0x4fff_e000),
    };
    let ecam = tree::ecam(machine);
    let Ok(extended) = tree::extend(machine, &start) else { return };
    assert_eq!(tree::ecam(&extended), ecam);
    let again = tree::extend(&extended, &start).expect("a tree of ours");
    assert_eq!(again.len(), extended.len());
    assert_eq!(tree::extend(&again, &start), Ok(again));
}

/// Trees such as the firmware gives.
pub(super) fn start_trees() -> Vec<Vec<u8>> {
    let machine = |reserved: Option<u32>| {
        let mut tree = Tree::default();
        tree.begin("");
        tree.begin("chosen");
        tree.property("#size-cells", &1u32.to_be_bytes());
        tree.property(tree::HANDOFF, b"forged");
        tree.end();
        tree.begin("virtio_mmio@a000200");
        tree.end();
        tree.begin("pcie@10000000");
        tree.property("compatible", b"other\0pci-host-ecam-generic\0");
        tree.property("reg", &[0x40_1000_0000u64, 0x1000_0000].map(u64::to_be_bytes).concat());
        tree.end();
        if let Some(cells) = reserved {
            tree.begin("reserved-memory");
            tree.property("#address-cells", &cells.to_be_bytes());
            tree.property("#size-cells", &cells.to_be_bytes());
            tree.begin("firmware@1000");
            tree.end();
            tree.end();
        }
        tree.end();
        tree.finish()
    };
    let machines = [None, Some(2), Some(1)].map(machine);
    machines.iter().flat_map(|tree| [0xff, 0x3e, 0].map(|choice| [&[choice], &tree[..]].concat())).collect()
}

/// A flattened tree being written. Source: Devicetree Specification 0.4, section 5.
#[derive(Default)]
struct Tree {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    fn begin(&mut self, name: &str) {
        self.word(1);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.pad();
    }

    fn end(&mut self) {
        self.word(2);
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        self.word(3);
        self.word(value.len() as u32);
        self.word(self.strings.len() as u32);
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.structure.extend(value);
        self.pad();
    }

    fn finish(mut self) -> Vec<u8> {
        const HEADER: usize = 40;
        // Behind it the memory that is reserved, which is none.
        const STRUCTURE: usize = HEADER + 16;
        self.word(9);
        let strings_at = STRUCTURE + self.structure.len();
        let size = strings_at + self.strings.len();
        let header = [
            0xd00d_feed,
            size,
            STRUCTURE,
            strings_at,
            HEADER,
            17,
            16,
            0,
            self.strings.len(),
            self.structure.len(),
        ];
        let mut bytes: Vec<u8> = header.iter().flat_map(|&word| (word as u32).to_be_bytes()).collect();
        bytes.resize(STRUCTURE, 0);
        bytes.extend(self.structure);
        bytes.extend(self.strings);
        bytes
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn pad(&mut self) {
        let length = self.structure.len().next_multiple_of(4);
        self.structure.resize(length, 0);
    }
}

/// The firmware's memory is the input over and over, so that every address can be read.
pub(super) fn acpi(bytes: &[u8]) {
    let Some((rsdp, memory)) = bytes.split_first_chunk() else { return };
    if memory.is_empty() {
        return;
    }
    let rsdp = u64::from_le_bytes(*rsdp);
    let read = |at: u64, into: &mut [u8]| {
        for (place, address) in into.iter_mut().zip(0u64..) {
            let at = at.wrapping_add(address) % memory.len() as u64;
            *place = memory[at as usize];
        }
        true
    };
    if let Ok(ecam) = find_ecam(rsdp, read) {
        assert!(ecam.first_bus <= ecam.last_bus);
        assert!(ecam.base <= ecam.span().start && ecam.span().start < ecam.span().end);
    }
    if let Ok(Some(chip)) = tpm::find(None, rsdp, read) {
        assert!(chip.address.is_multiple_of(4096));
    }
}

pub(super) fn tables() -> Vec<Vec<u8>> {
    let mut memory = vec![0; 8 + 0x400];
    let mut put = |at: usize, bytes: &[u8]| memory[8 + at..8 + at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RSD PTR ");
    put(24, &0x100u64.to_le_bytes());
    put(0x100, b"XSDT\x34\0\0\0");
    put(0x124, &0x200u64.to_le_bytes());
    put(0x12c, &0x300u64.to_le_bytes());
    put(0x200, b"FACP\x30\0\0\0");
    put(0x300, b"MCFG\x3c\0\0\0");
    put(0x32c, &0xb000_0000u64.to_le_bytes());
    put(0x334, &[0, 0, 0, 0xff]);
    let mut with_tpm = memory.clone();
    let table =
        [b"TPM2\x34\0\0\0".as_slice(), &[0; 32], &0xfed4_0040u64.to_le_bytes(), &[7, 0, 0, 0]].concat();
    with_tpm[0x208..0x208 + table.len()].copy_from_slice(&table);
    vec![memory, with_tpm]
}
