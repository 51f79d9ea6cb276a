//! The device tree with which Xen starts on aarch64: the machine's own, and in it where dom0 and archive lie,
//! the command lines, which devices dom0 leaves to others, and the record for dom0.
//!
//! Source: Xen, `docs/misc/arm/device-tree/{booting,passthrough}.txt`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, ToPropertyValue};

/// The property of `/chosen` that carries the record.
pub const HANDOFF: &str = "sarsen,handoff";

/// The property of `/chosen` that carries the firmware's log of measurements.
pub const EVENT_LOG: &str = "sarsen,event-log";

/// The property of `/chosen` that carries the provisioning files, as an archive.
pub const PROVISIONING: &str = "sarsen,provisioning";

/// The property of `/chosen` with random bytes. U-Boot takes it away where it has another source for who asks it.
pub const SEED: &str = "rng-seed";

/// What Xen is told.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Xen's command line.
    pub xen: &'a str,
    /// dom0's command line.
    pub dom0: &'a str,
    /// dom0.
    pub kernel: Module,
    /// The archive.
    pub ramdisk: Module,
    /// Paths of the devices that dom0 leaves to driver domains.
    pub give_away: &'a [&'a str],
    /// The record for dom0, if a selector has made one.
    pub handoff: Option<&'a [u8]>,
    /// The firmware's log of measurements for dom0, if there is a TPM.
    pub event_log: Option<&'a [u8]>,
    /// The provisioning files for dom0, if they could be read.
    pub provisioning: Option<&'a [u8]>,
    /// Random bytes for dom0, if the machine's tree has none.
    pub seed: Option<&'a [u8]>,
    /// Address of the [pages that outlive a reset](crate::kept), which are nobody's memory.
    pub kept_at: Option<u64>,
}

/// A file in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Address of its first byte.
    pub at: u64,
    /// Bytes.
    pub length: u64,
}

/// Why there is no such tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeError {
    /// The machine's tree is broken.
    Broken(String),
    /// The machine has no such node.
    Missing(String),
    /// A module is empty.
    Empty,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "the machine's device tree: {why}"),
            Self::Missing(path) => write!(f, "the machine has no {path}"),
            Self::Empty => f.write_str("a module is empty"),
        }
    }
}

impl core::error::Error for TreeError {}

/// Puts what Xen is told into the machine's tree.
///
/// # Errors
/// When the tree is broken, has no `/chosen`, or lacks a device that is to be given away.
pub fn extend(machine: &[u8], start: &Start<'_>) -> Result<Vec<u8>, TreeError> {
    let mut tree = read(machine)?;
    let chosen = tree.find_node_mut("/chosen").ok_or_else(|| TreeError::Missing("/chosen".into()))?;
    put(chosen, "#address-cells", 2u32)?;
    put(chosen, "#size-cells", 2u32)?;
    put(chosen, "xen,xen-bootargs", start.xen)?;
    // What somebody else said about a record does not count.
    for (name, value) in
        [(HANDOFF, start.handoff), (EVENT_LOG, start.event_log), (PROVISIONING, start.provisioning)]
    {
        chosen.remove_property(name);
        if let Some(value) = value {
            put(chosen, name, value)?;
        }
    }
    if let (Some(seed), None) = (start.seed, chosen.property(SEED)) {
        put(chosen, SEED, seed)?;
    }
    let mut kernel = module("multiboot,kernel", start.kernel)?;
    put(&mut kernel, "bootargs", start.dom0)?;
    chosen.add_child(kernel);
    chosen.add_child(module("multiboot,ramdisk", start.ramdisk)?);
    for &path in start.give_away {
        // Xen keeps it, and its interrupt, from dom0: what dom0 owns it cannot hand on.
        let node = tree.find_node_mut(path).ok_or_else(|| TreeError::Missing(path.into()))?;
        put(node, "xen,passthrough", [0u8; 0])?;
    }
    if let Some(at) = start.kept_at {
        reserve(&mut tree, at)?;
    }
    Ok(tree.to_dtb())
}

/// How deep nodes may lie in one another. Those of machines lie less than ten deep.
const MAX_DEPTH: usize = 32;

/// The machine's tree. It is taken apart and put together by recursion, and a tree of the longest length can have its
/// nodes in one another so deep that no stack holds that: such a tree is broken.
fn read(machine: &[u8]) -> Result<DeviceTree, TreeError> {
    let tree = Fdt::new(machine).map_err(broken)?;
    if is_deeper(&tree.root(), MAX_DEPTH) {
        return Err(TreeError::Broken(format!("its nodes lie more than {MAX_DEPTH} deep")));
    }
    Ok(DeviceTree::from_fdt(&tree))
}

/// Whether nodes lie in this one more than so many `levels` deep.
fn is_deeper(node: &FdtNode<'_>, levels: usize) -> bool {
    node.children().any(|child| levels.checked_sub(1).is_none_or(|levels| is_deeper(&child, levels)))
}

/// Keeps the pages at `at` from becoming anybody's memory. Xen maps what is reserved into dom0.
fn reserve(tree: &mut DeviceTree, at: u64) -> Result<(), TreeError> {
    const PARENT: &str = "reserved-memory";
    use dtoolkit::{Node, Property};
    let parent = match tree.find_node_mut("/reserved-memory") {
        // Its cells are whoever's who made it. If they are not those of 64 bits nothing outlives a reset; it starts.
        Some(parent) => {
            let is_two = |name| parent.property(name).is_some_and(|cells| cells.value() == [0, 0, 0, 2]);
            if !is_two("#address-cells") || !is_two("#size-cells") {
                return Ok(());
            }
            parent
        }
        None => {
            let mut parent = DeviceTreeNode::builder(PARENT).map_err(broken)?.build();
            put(&mut parent, "#address-cells", 2u32)?;
            put(&mut parent, "#size-cells", 2u32)?;
            put(&mut parent, "ranges", [0u8; 0])?;
            tree.root.add_child(parent);
            tree.find_node_mut("/reserved-memory").ok_or_else(|| TreeError::Missing(PARENT.into()))?
        }
    };
    let mut node = DeviceTreeNode::builder(format!("kept@{at:x}")).map_err(broken)?.build();
    let length = (crate::kept::PAGES * PAGE) as u32;
    put(&mut node, "reg", [(at >> 32) as u32, at as u32, 0, length])?;
    parent.add_child(node);
    Ok(())
}

/// Bytes of a page.
const PAGE: usize = 4096;

/// Where the machine's tree says that configuration space of PCI is mapped, from bus 0 on.
#[must_use]
pub fn ecam(machine: &[u8]) -> Option<u64> {
    use dtoolkit::Property;
    let tree = read(machine).ok()?;
    let is_host = |node: &&DeviceTreeNode| {
        let compatible = node.property("compatible");
        compatible.is_some_and(|text| text.value().split(|&byte| byte == 0).any(|one| one == HOST))
    };
    let host = tree.root.children().find(is_host)?;
    let reg = host.property("reg")?.value().first_chunk::<8>().copied()?;
    Some(u64::from_be_bytes(reg))
}

/// What such a host bridge is compatible with.
const HOST: &[u8] = b"pci-host-ecam-generic";

fn module(compatible: &str, module: Module) -> Result<DeviceTreeNode, TreeError> {
    if module.length == 0 {
        return Err(TreeError::Empty);
    }
    let mut node = DeviceTreeNode::builder(format!("module@{:x}", module.at)).map_err(broken)?.build();
    let words = [module.at >> 32, module.at & 0xffff_ffff, module.length >> 32, module.length & 0xffff_ffff];
    put(&mut node, "compatible", [compatible, "multiboot,module"].as_slice())?;
    put(&mut node, "reg", words.map(|word| word as u32))?;
    Ok(node)
}

fn put(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) -> Result<(), TreeError> {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new(name, value).map_err(broken)?);
    Ok(())
}

fn broken(why: impl ToString) -> TreeError {
    TreeError::Broken(why.to_string())
}

#[cfg(test)]
mod tests {
    use dtoolkit::Property;

    use super::*;

    fn machine(transports: u8) -> Vec<u8> {
        let mut tree = DeviceTree::new();
        let mut chosen = DeviceTreeNode::builder("chosen").unwrap().build();
        put(&mut chosen, "#size-cells", 1u32).unwrap();
        put(&mut chosen, HANDOFF, b"forged".as_slice()).unwrap();
        tree.root.add_child(chosen);
        for transport in 0..transports {
            let name = format!("virtio_mmio@{:x}", 0x0a00_0000 + 0x200 * u32::from(transport));
            tree.root.add_child(DeviceTreeNode::new(name).unwrap());
        }
        tree.to_dtb()
    }

    const START: Start<'static> = Start {
        xen: "console=dtuart",
        dom0: "drill=net:1:2",
        kernel: Module { at: 0x4c00_0000, length: 0x1234 },
        ramdisk: Module { at: 0x1_0000_0000, length: 5 },
        give_away: &["/virtio_mmio@a000200"],
        handoff: Some(b"record"),
        event_log: Some(b"log"),
        provisioning: Some(b"files"),
        seed: Some(b"random"),
        kept_at: Some(0x4fff_e000),
    };

    fn bytes(tree: &DeviceTree, node: &str, name: &str) -> Vec<u8> {
        let node = tree.find_node(node).unwrap_or_else(|| panic!("no {node}"));
        node.property(name).unwrap_or_else(|| panic!("no {name}")).value().to_vec()
    }

    #[test]
    fn configuration_space_is_found() {
        assert_eq!(ecam(&machine(1)), None);
        let mut tree = DeviceTree::new();
        let mut host = DeviceTreeNode::builder("pcie@10000000").unwrap().build();
        put(&mut host, "compatible", ["other", "pci-host-ecam-generic"].as_slice()).unwrap();
        put(&mut host, "reg", [0x40u32, 0x1000_0000, 0, 0x1000_0000]).unwrap();
        tree.root.add_child(host);
        assert_eq!(ecam(&tree.to_dtb()), Some(0x40_1000_0000));
        assert_eq!(ecam(b"no tree"), None);
    }

    #[test]
    fn xen_finds_lines_and_modules_and_dom0_the_record() {
        let out = extend(&machine(2), &START).unwrap();
        let tree = DeviceTree::from_fdt(&Fdt::new(&out).unwrap());
        assert_eq!(bytes(&tree, "/chosen", "xen,xen-bootargs"), b"console=dtuart\0");
        assert_eq!(bytes(&tree, "/chosen", "#size-cells"), [0, 0, 0, 2]);
        assert_eq!(bytes(&tree, "/chosen", "sarsen,handoff"), b"record");
        assert_eq!(bytes(&tree, "/chosen", "sarsen,provisioning"), b"files");
        assert_eq!(bytes(&tree, "/chosen", "rng-seed"), b"random");
        let kernel = "/chosen/module@4c000000";
        assert_eq!(bytes(&tree, kernel, "compatible"), b"multiboot,kernel\0multiboot,module\0");
        assert_eq!(bytes(&tree, kernel, "bootargs"), b"drill=net:1:2\0");
        assert_eq!(bytes(&tree, kernel, "reg"), [0, 0, 0, 0, 0x4c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]);
        let ramdisk = "/chosen/module@100000000";
        assert_eq!(bytes(&tree, ramdisk, "reg"), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn what_outlives_a_reset_is_nobody_s_memory() {
        let reg = |out: &[u8]| {
            let tree = DeviceTree::from_fdt(&Fdt::new(out).unwrap());
            bytes(&tree, "/reserved-memory/kept@4fffe000", "reg")
        };
        let wanted = [0, 0, 0, 0, 0x4f, 0xff, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0];
        let plain = machine(2);
        assert_eq!(reg(&extend(&plain, &START).unwrap()), wanted);
        // Firmware may have reserved something itself.
        let with = |cells: u32| {
            let mut tree = DeviceTree::from_fdt(&Fdt::new(&plain).unwrap());
            let mut reserved = DeviceTreeNode::builder("reserved-memory").unwrap().build();
            put(&mut reserved, "#address-cells", cells).unwrap();
            put(&mut reserved, "#size-cells", cells).unwrap();
            reserved.add_child(DeviceTreeNode::new("firmware@1000").unwrap());
            tree.root.add_child(reserved);
            extend(&tree.to_dtb(), &START)
        };
        let out = with(2).unwrap();
        assert_eq!(reg(&out), wanted);
        let tree = DeviceTree::from_fdt(&Fdt::new(&out).unwrap());
        assert!(tree.find_node("/reserved-memory/firmware@1000").is_some());
        let other = with(1).unwrap();
        let other = DeviceTree::from_fdt(&Fdt::new(&other).unwrap());
        assert_eq!(other.find_node("/reserved-memory").unwrap().children().count(), 1);
        let none = extend(&plain, &Start { kept_at: None, ..START }).unwrap();
        assert!(DeviceTree::from_fdt(&Fdt::new(&none).unwrap()).find_node("/reserved-memory").is_none());
    }

    #[test]
    fn a_record_that_firmware_made_up_does_not_reach_dom0() {
        let out = extend(&machine(2), &Start { handoff: None, ..START }).unwrap();
        let tree = DeviceTree::from_fdt(&Fdt::new(&out).unwrap());
        assert!(tree.find_node("/chosen").unwrap().property(HANDOFF).is_none());
    }

    #[test]
    fn only_what_is_named_is_given_away() {
        let out = extend(&machine(3), &START).unwrap();
        let tree = DeviceTree::from_fdt(&Fdt::new(&out).unwrap());
        let given = |path: &str| tree.find_node(path).unwrap().property("xen,passthrough").is_some();
        assert_eq!(
            [0, 0x200, 0x400].map(|at| given(&format!("/virtio_mmio@{:x}", 0x0a00_0000 + at))),
            [false, true, false]
        );
    }

    /// A tree of `depth` nodes in one another, beside `/chosen`.
    fn nested(depth: usize) -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let mut nodes = words(&[1, 0, 1]);
        nodes.extend(b"chosen\0\0");
        nodes.extend(words(&[2]));
        for _ in 0..depth {
            nodes.extend(words(&[1]));
            nodes.extend(b"n\0\0\0");
        }
        nodes.extend(words(&[2]).repeat(depth));
        nodes.extend(words(&[2, 9]));
        let end = (56 + nodes.len()) as u32;
        let header = words(&[0xd00d_feed, end, 56, end, 40, 17, 16, 0, 0, nodes.len() as u32, 0, 0, 0, 0]);
        [header, nodes].concat()
    }

    /// 1. Whoever writes what firmware loads its tree from nests nodes.
    /// 2. Taken apart by recursion, it runs over the selector's stack, into whatever lies behind it.
    #[test]
    fn a_tree_that_no_stack_holds_is_refused() {
        let start = Start { give_away: &[], ..START };
        assert!(extend(&nested(MAX_DEPTH), &start).is_ok());
        assert_eq!(ecam(&nested(MAX_DEPTH)), None);
        // As long as the selector reads at most.
        for depth in [MAX_DEPTH + 1, (2 << 20) / 12 - 10] {
            let why = extend(&nested(depth), &start).unwrap_err().to_string();
            assert_eq!(why, "the machine's device tree: its nodes lie more than 32 deep");
            assert_eq!(ecam(&nested(depth)), None);
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = extend(&machine(1), &START).unwrap_err().to_string();
        assert_eq!(missing, "the machine has no /virtio_mmio@a000200");
        let empty = Start { ramdisk: Module { at: 1, length: 0 }, ..START };
        assert_eq!(extend(&machine(2), &empty), Err(TreeError::Empty));
        assert!(extend(b"no tree", &START).is_err());
        assert_eq!(extend(&DeviceTree::new().to_dtb(), &START), Err(TreeError::Missing("/chosen".into())));
    }
}
