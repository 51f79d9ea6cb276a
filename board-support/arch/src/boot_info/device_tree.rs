//! The flattened device tree that a domain gets on aarch64, as far as a start needs it.
//!
//! dom0's is the machine's as Xen changed it, and has its one module as Linux's initial ramdisk. That of
//! a domain that dom0 built names its modules in `/chosen`, as nodes `module@…` that are compatible with
//! `sarsen,module`, in their order.
//!
//! Read once, without a heap. Source: Devicetree Specification 0.4, section 5; Xen
//! `docs/misc/arm/device-tree/guest.txt` for `/hypervisor`; `dom0/toolstack`, `build/arm.rs` for modules.

use heapless::Vec;

use super::{BootInfo, BootInfoError, InterruptController, MAX_MODULES, Physical};
use crate::memory_map::{Kind, MAX_RANGES, MemoryMap, Span};

/// First word, big endian.
pub(super) const MAGIC: u32 = 0xd00d_feed;

/// The largest tree that is read.
const MAX_BYTES: usize = 2 << 20;
/// Most levels of nodes.
const MAX_DEPTH: usize = 16;

/// Interrupts of a processor's own, in the tree counted from here on. Source: binding of `arm,gic-v3`.
const FIRST_PPI: u32 = 16;
const KIND_PPI: u32 = 1;

/// Least bytes of a range of `/hypervisor` that is taken for the window.
const MIN_WINDOW: u64 = 48 << 20;

/// What stands in one node, as far as it is of interest.
#[derive(Clone, Copy, Default)]
struct Node {
    kind: NodeKind,
    reg: &'static [u8],
    /// Where its children's addresses are among its parent's: triples of both and a length.
    ranges: &'static [u8],
    is_gic_v3: bool,
    is_module: bool,
    is_rtc: bool,
    is_tpm: bool,
    is_pci: bool,
    /// Sizes in the `reg` of its children, in words of 32 bits.
    address_cells: usize,
    size_cells: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum NodeKind {
    #[default]
    Other,
    Root,
    Memory,
    Chosen,
    Hypervisor,
    ReservedMemory,
}

/// Reads the tree at `address`.
///
/// # Errors
/// [`BootInfoError::DeviceTree`] if it is broken, [`BootInfoError::OutOfReach`] if it is not there.
pub(super) fn parse(memory: &impl Physical, address: u64) -> Result<BootInfo, BootInfoError> {
    const BROKEN: BootInfoError = BootInfoError::DeviceTree;
    let header = memory.bytes(address, 40).ok_or(BootInfoError::OutOfReach { address, length: 40 })?;
    let size = word(header, 4).ok_or(BROKEN)? as usize;
    if !(40..=MAX_BYTES).contains(&size) {
        return Err(BROKEN);
    }
    let mut info = BootInfo::default();
    let tree = info.read_bytes(memory, address, size as u64)?;
    let structure = tree.get(word(header, 8).ok_or(BROKEN)? as usize..).ok_or(BROKEN)?;
    let strings = tree.get(word(header, 12).ok_or(BROKEN)? as usize..).ok_or(BROKEN)?;

    let mut found = Found { map: MemoryMap::new(), ..Found::default() };
    walk(structure, strings, &mut found)?;

    info.rsdp = address;
    info.command_line = found.arguments;
    info.seed = found.seed;
    info.rtc = found.rtc;
    info.tpm = found.tpm;
    info.ecam = found.ecam;
    info.handoff = found.handoff;
    info.event_log = found.event_log;
    info.provisioning = found.provisioning;
    if let Some((start, end)) = found.ramdisk_start.zip(found.ramdisk_end)
        && start < end
    {
        let contents = info.read_bytes(memory, start, end - start)?;
        // The first of four.
        let _ = info.modules.push(contents);
    }
    for module in &found.modules {
        let contents = info.read_bytes(memory, module.start, module.length())?;
        // Past the capacity they are not looked at.
        let _ = info.modules.push(contents);
    }
    info.memory_map = Some(found.memory_map().ok_or(BootInfoError::TooManyRanges)?);
    info.controller = found.gic.zip(found.upcall).map(|((distributor, redistributors), upcall)| {
        InterruptController { distributor, redistributors, upcall }
    });
    info.window = found.window;
    Ok(info)
}

#[derive(Default)]
struct Found {
    map: MemoryMap,
    arguments: &'static str,
    seed: Option<&'static [u8]>,
    ramdisk_start: Option<u64>,
    ramdisk_end: Option<u64>,
    modules: Vec<Span, MAX_MODULES>,
    gic: Option<(Span, Span)>,
    upcall: Option<u32>,
    window: Option<Span>,
    rtc: Option<u64>,
    tpm: Option<u64>,
    ecam: Option<u64>,
    handoff: Option<&'static [u8]>,
    event_log: Option<&'static [u8]>,
    provisioning: Option<&'static [u8]>,
}

fn walk(structure: &'static [u8], strings: &'static [u8], found: &mut Found) -> Result<(), BootInfoError> {
    const BROKEN: BootInfoError = BootInfoError::DeviceTree;
    let mut nodes = [Node { address_cells: 2, size_cells: 1, ..Node::default() }; MAX_DEPTH];
    let mut depth = 0;
    let mut at = 0;
    loop {
        let token = word(structure, at).ok_or(BROKEN)?;
        at += 4;
        match token {
            // Begin of a node: its name.
            1 => {
                let name = text(structure.get(at..).ok_or(BROKEN)?).ok_or(BROKEN)?;
                at += (name.len() + 1).next_multiple_of(4);
                let kind = match (depth, name.split('@').next()) {
                    (0, _) => NodeKind::Root,
                    (1, Some("memory")) => NodeKind::Memory,
                    (1, Some("chosen")) => NodeKind::Chosen,
                    (1, Some("hypervisor")) => NodeKind::Hypervisor,
                    (1, Some("reserved-memory")) => NodeKind::ReservedMemory,
                    _ => NodeKind::Other,
                };
                let node = Node { kind, address_cells: 2, size_cells: 1, ..Node::default() };
                *nodes.get_mut(depth).ok_or(BROKEN)? = node;
                depth += 1;
            }
            // End of a node.
            2 => {
                depth = depth.checked_sub(1).ok_or(BROKEN)?;
                if depth > 0 {
                    found.node(&nodes[depth], &nodes[depth - 1])?;
                    if nodes[depth].is_pci {
                        found.ecam = first_address(&nodes[..=depth]);
                    }
                    if nodes[depth].is_tpm {
                        found.tpm = first_address(&nodes[..=depth]);
                    }
                }
            }
            // A property: length, place of the name, value.
            3 => {
                let length = word(structure, at).ok_or(BROKEN)? as usize;
                let name = word(structure, at + 4).ok_or(BROKEN)? as usize;
                let name = strings.get(name..).and_then(text).ok_or(BROKEN)?;
                let value = structure.get(at + 8..).and_then(|rest| rest.get(..length)).ok_or(BROKEN)?;
                at += 8 + length.next_multiple_of(4);
                let node = depth.checked_sub(1).and_then(|top| nodes.get_mut(top)).ok_or(BROKEN)?;
                found.property(node, name, value);
            }
            // Nothing.
            4 => {}
            // The end.
            9 if depth == 0 => return Ok(()),
            _ => return Err(BROKEN),
        }
    }
}

impl Found {
    fn property(&mut self, node: &mut Node, name: &str, value: &'static [u8]) {
        let cells = |value| word(value, 0).map_or(0, |cells| (cells as usize).min(2));
        match (node.kind, name) {
            (_, "#address-cells") => node.address_cells = cells(value),
            (_, "#size-cells") => node.size_cells = cells(value),
            (_, "reg") => node.reg = value,
            (_, "ranges") => node.ranges = value,
            (_, "compatible") => {
                let is = |what: &[u8]| value.split(|byte| *byte == 0).any(|one| one == what);
                node.is_gic_v3 = is(b"arm,gic-v3");
                node.is_module = is(b"sarsen,module");
                node.is_rtc = is(b"arm,pl031");
                node.is_tpm = is(b"tcg,tpm-tis-mmio");
                node.is_pci = is(b"pci-host-ecam-generic");
            }
            (NodeKind::Hypervisor, "interrupts") if word(value, 0) == Some(KIND_PPI) => {
                self.upcall = word(value, 4).and_then(|number| number.checked_add(FIRST_PPI));
            }
            (NodeKind::Chosen, "bootargs") => self.arguments = text(value).unwrap_or(""),
            (NodeKind::Chosen, "rng-seed") => self.seed = Some(value),
            (NodeKind::Chosen, "sarsen,handoff") => self.handoff = Some(value),
            (NodeKind::Chosen, "sarsen,event-log") => self.event_log = Some(value),
            (NodeKind::Chosen, "sarsen,provisioning") => self.provisioning = Some(value),
            (NodeKind::Chosen, "linux,initrd-start") => self.ramdisk_start = number(value),
            (NodeKind::Chosen, "linux,initrd-end") => self.ramdisk_end = number(value),
            _ => {}
        }
    }

    /// A node is complete; the sizes in its `reg` are its parent's.
    fn node(&mut self, node: &Node, parent: &Node) -> Result<(), BootInfoError> {
        let entry = (parent.address_cells + parent.size_cells) * 4;
        if entry == 0 {
            return Ok(());
        }
        let mut ranges = node.reg.chunks_exact(entry).map(|bytes| {
            let (address, size) = bytes.split_at(parent.address_cells * 4);
            Span::of(number(address).unwrap_or(0), number(size).unwrap_or(0))
        });
        match (node.kind, parent.kind) {
            (NodeKind::Memory, _) => self.add(&mut ranges, Kind::Ram)?,
            (_, NodeKind::ReservedMemory) => self.add(&mut ranges, Kind::Reserved)?,
            (_, NodeKind::Chosen) if node.is_module => {
                // Past the capacity they are not looked at.
                let _ = ranges.next().map(|span| self.modules.push(span));
            }
            // The first is for grants only; the others are free for any mapping.
            (NodeKind::Hypervisor, _) => {
                self.window = ranges.skip(1).find(|span| span.length() >= MIN_WINDOW)
            }
            _ if node.is_rtc => self.rtc = ranges.next().map(|span| span.start),
            _ if node.is_gic_v3 && self.gic.is_none() => self.gic = ranges.next().zip(ranges.next()),
            _ => {}
        }
        Ok(())
    }

    /// The map. What is reserved is no RAM, though Xen lists dom0's reserved memory as memory, too.
    fn memory_map(&self) -> Option<MemoryMap> {
        let reserved: Vec<Span, MAX_RANGES> =
            self.map.ranges().filter(|range| range.kind != Kind::Ram).map(|range| range.span).collect();
        let mut map = MemoryMap::new();
        let mut fits = true;
        self.map.free(&reserved, |ram| fits &= map.add(ram, Kind::Ram));
        self.map
            .ranges()
            .filter(|range| range.kind != Kind::Ram)
            .for_each(|range| fits &= map.add(range.span, range.kind));
        fits.then_some(map)
    }

    fn add(&mut self, ranges: &mut dyn Iterator<Item = Span>, kind: Kind) -> Result<(), BootInfoError> {
        for span in ranges {
            if !self.map.add(span, kind) {
                return Err(BootInfoError::TooManyRanges);
            }
        }
        Ok(())
    }
}

/// Where the registers of the last of these nodes are in the machine's own addresses. The first is the root, and
/// each is the next one's parent.
fn first_address(nodes: &[Node]) -> Option<u64> {
    let (node, above) = nodes.split_last()?;
    let mut address = number(node.reg.get(..above.last()?.address_cells * 4)?)?;
    // The root's addresses are the machine's; every bus on the way may have its own.
    for pair in above.windows(2).rev() {
        let [parent, bus] = pair else { return None };
        if bus.ranges.is_empty() {
            continue;
        }
        let (own, outer) = (bus.address_cells * 4, parent.address_cells * 4);
        let mut ranges = bus.ranges.chunks_exact(own + outer + bus.size_cells * 4);
        address = ranges.find_map(|range| {
            let (first, rest) = range.split_at(own);
            let (at, length) = rest.split_at(outer);
            let offset = address.checked_sub(number(first)?)?;
            (offset < number(length)?).then(|| number(at)?.checked_add(offset)).flatten()
        })?;
    }
    Some(address)
}

/// The big-endian word at byte `at`.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

/// A number of one or two words.
fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => word(bytes, 0).map(u64::from),
        8 => Some(u64::from(word(bytes, 0)?) << 32 | u64::from(word(bytes, 4)?)),
        _ => None,
    }
}

/// Text up to its NUL.
fn text(bytes: &'static [u8]) -> Option<&'static str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    core::str::from_utf8(&bytes[..end]).ok()
}

#[cfg(test)]
mod tests {
    use std::{boxed::Box, vec::Vec};

    use super::*;

    struct At(u64, &'static [u8]);

    impl Physical for At {
        fn bytes(&self, address: u64, length: usize) -> Option<&'static [u8]> {
            let at = usize::try_from(address.checked_sub(self.0)?).ok()?;
            self.1.get(at..at.checked_add(length)?)
        }
    }

    /// Writes trees.
    #[derive(Default)]
    struct Tree {
        structure: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Tree {
        fn words(&mut self, words: &[u32]) -> &mut Self {
            self.structure.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            self
        }

        fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
            self.structure.extend(bytes);
            self.structure.resize(self.structure.len().next_multiple_of(4), 0);
            self
        }

        fn begin(&mut self, name: &str) -> &mut Self {
            self.words(&[1]).bytes(&[name.as_bytes(), b"\0"].concat())
        }

        fn end(&mut self) -> &mut Self {
            self.words(&[2])
        }

        fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
            let at = self.strings.len() as u32;
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
            self.words(&[3, value.len() as u32, at]).bytes(value)
        }

        fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
            let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
            self.property(name, &bytes)
        }

        fn finish(&mut self) -> Vec<u8> {
            self.words(&[9]);
            let structure = 40u32;
            let strings = structure + self.structure.len() as u32;
            let total = strings + self.strings.len() as u32;
            let header = [MAGIC, total, structure, strings, 0, 17, 16, 0, 0, 0];
            let mut all: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
            all.extend(&self.structure);
            all.extend(&self.strings);
            all
        }
    }

    fn dom0() -> Vec<u8> {
        let mut tree = Tree::default();
        tree.begin("").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        tree.begin("chosen")
            .property("bootargs", b"role=dom0\0")
            .property("rng-seed", b"random bytes")
            .property("sarsen,handoff", b"slot A")
            .property("sarsen,event-log", b"events")
            .property("sarsen,provisioning", b"files")
            .cells("linux,initrd-start", &[0, 0x4000_1000])
            .cells("linux,initrd-end", &[0x4000_1004])
            .end();
        tree.begin("memory@40000000").cells("reg", &[0, 0x4000_0000, 0, 0x800_0000]).end();
        tree.begin("hypervisor")
            .property("compatible", b"xen,xen-4.20\0xen,xen\0")
            .cells("reg", &[0, 0x3800_0000, 0, 0x4_0000, 0, 0x1000, 0, 0x1000, 1, 0, 0, 0x4000_0000])
            .cells("interrupts", &[1, 0, 0xf08])
            .end();
        tree.begin("platform-bus@c000000")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .cells("ranges", &[0x100_0000, 0, 0xd00_0000, 0x1000, 0, 0, 0xc00_0000, 0x100_0000])
            .begin("tpm_tis@0")
            .property("compatible", b"tcg,tpm-tis-mmio\0")
            .cells("reg", &[0x1000, 0x5000])
            .end()
            .end();
        tree.begin("pcie@10000000")
            .property("compatible", b"pci-host-ecam-generic\0")
            .cells("reg", &[0x40, 0x1000_0000, 0, 0x1000_0000])
            .end();
        tree.begin("soc").begin("interrupt-controller@8000000");
        tree.cells("reg", &[0, 0, 0]).property("compatible", b"other\0").end().end();
        tree.begin("pl031@9010000")
            .cells("reg", &[0, 0x901_0000, 0, 0x1000])
            .property("compatible", b"arm,pl031\0arm,primecell\0")
            .end();
        tree.begin("intc@8000000")
            .cells("reg", &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000])
            .property("compatible", b"arm,gic-v3\0")
            .end();
        tree.end();
        tree.finish()
    }

    fn read(tree: Vec<u8>) -> Result<BootInfo, BootInfoError> {
        let base = 0x4000_0000;
        let mut memory = tree;
        memory.resize(0x2000, 0);
        memory[0x1000..0x1004].copy_from_slice(b"cpio");
        BootInfo::read(&At(base, Box::leak(memory.into_boxed_slice())), base)
    }

    #[test]
    fn what_dom0_needs_is_found() {
        let info = read(dom0()).unwrap();
        assert_eq!(info.command_line, "role=dom0");
        assert_eq!(info.modules.as_slice(), [b"cpio".as_slice()]);
        assert_eq!(info.seed, Some(&b"random bytes"[..]));
        assert_eq!(info.rtc, Some(0x901_0000));
        assert_eq!(info.tpm, Some(0xc00_1000));
        assert_eq!(info.ecam, Some(0x40_1000_0000));
        assert_eq!(info.handoff, Some(&b"slot A"[..]));
        assert_eq!(info.event_log, Some(&b"events"[..]));
        assert_eq!(info.provisioning, Some(&b"files"[..]));
        assert!(info.memory_map.unwrap().is(Span::of(0x4000_0000, 0x800_0000), Kind::Ram));
        assert_eq!(info.window, Some(Span::of(1 << 32, 0x4000_0000)));
        let controller = info.controller.unwrap();
        assert_eq!(controller.distributor, Span::of(0x800_0000, 0x1_0000));
        assert_eq!(controller.redistributors, Span::of(0x80a_0000, 0xf6_0000));
        assert_eq!(controller.upcall, 16);
    }

    #[test]
    fn modules_and_reserved_memory_are_found() {
        let mut tree = Tree::default();
        tree.begin("").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        tree.begin("chosen").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        tree.begin("module@40001000");
        tree.cells("reg", &[0, 0x4000_1000, 0, 2]).property("compatible", b"sarsen,module\0").end();
        tree.begin("framebuffer@40001000");
        tree.cells("reg", &[0, 0x4000_1000, 0, 3]).property("compatible", b"simple-framebuffer\0").end();
        tree.begin("module@40001002");
        tree.cells("reg", &[0, 0x4000_1002, 0, 2]).property("compatible", b"x\0sarsen,module\0").end();
        tree.end();
        tree.begin("memory@40000000").cells("reg", &[0, 0x4000_0000, 0, 0x80_4000]).end();
        tree.begin("memory@40800000").cells("reg", &[0, 0x4080_0000, 0, 0x3000]).end();
        tree.begin("reserved-memory").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
        tree.begin("special@40800000").cells("reg", &[0x4080_0000, 0x3000]).end().end();
        tree.begin("hypervisor").cells("reg", &[0, 0, 0, 0]).cells("interrupts", &[1, 15, 8]).end();
        tree.begin("intc@3001000").property("compatible", b"arm,gic-v3\0");
        tree.cells("reg", &[0, 0x300_1000, 0, 0x1_0000, 0, 0x302_0000, 0, 0x100_0000]).end();
        tree.end();
        let info = read(tree.finish()).unwrap();
        assert_eq!(info.modules.as_slice(), [b"cp".as_slice(), b"io"]);
        let map = info.memory_map.unwrap();
        assert!(map.is(Span::of(0x4080_0000, 0x3000), Kind::Reserved));
        // Whoever lists it among the memory, too, as Xen does for dom0.
        let ram: Vec<_> = map.ram().collect();
        assert_eq!(ram, [Span::of(0x4000_0000, 0x80_0000), Span::of(0x4080_3000, 0x1000)]);
        assert_eq!(info.controller.unwrap().upcall, 31);
        assert_eq!(info.window, None);
    }

    #[test]
    fn without_an_upcall_there_is_no_controller() {
        let mut tree = Tree::default();
        tree.begin("").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        tree.begin("intc").property("compatible", b"arm,gic-v3\0").cells("reg", &[0; 8]).end();
        tree.begin("hypervisor").cells("interrupts", &[0, 15, 8]).end();
        tree.end();
        assert!(read(tree.finish()).unwrap().controller.is_none());
    }

    #[test]
    fn a_broken_tree_is_refused_wherever_it_is_broken() {
        let good = dom0();
        for at in 0..good.len() {
            let mut tree = good.clone();
            tree[at] ^= 0xff;
            // Whatever comes out, it comes out.
            let _ = read(tree);
            let mut short = good.clone();
            short[4..8].copy_from_slice(&(at as u32).to_be_bytes());
            let _ = read(short);
        }
        let mut endless = good;
        let end = endless.len();
        endless[8..12].copy_from_slice(&(end as u32).to_be_bytes());
        assert_eq!(read(endless).unwrap_err(), BootInfoError::DeviceTree);
    }
}
