//! The device tree with which Xen starts on aarch64: the machine's own, and in it where dom0 and archive lie,
//! the command lines, and which virtio transports dom0 leaves to others.
//!
//! Source: Xen, `docs/misc/arm/device-tree/{booting,passthrough}.txt`.

use anyhow::{Context, Result, anyhow, ensure};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use proto_manifest::table::VirtioMmio;

/// What Xen is told.
#[derive(Debug, Clone, Copy)]
pub struct Handover<'a> {
    /// Xen's command line.
    pub xen: &'a str,
    /// dom0's command line.
    pub dom0: &'a str,
    /// dom0.
    pub kernel: Module,
    /// The archive.
    pub ramdisk: Module,
    /// Transports of driver domains. Eight share a page, which is given away as a whole.
    pub transports: &'a [u8],
}

/// A file in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Address of its first byte.
    pub at: u64,
    /// Bytes.
    pub length: u64,
}

/// Puts what Xen is told into the machine's tree.
///
/// # Errors
/// When the tree is broken, has no `/chosen`, or lacks a transport that is to be given away.
pub fn extend(machine: &[u8], handover: &Handover<'_>) -> Result<Vec<u8>> {
    let tree = Fdt::new(machine).map_err(|error| anyhow!("the machine's device tree: {error}"))?;
    let mut tree = DeviceTree::from_fdt(&tree);
    let chosen = tree.find_node_mut("/chosen").context("the machine's device tree has no /chosen")?;
    put(chosen, "#address-cells", property("#address-cells", 2u32)?);
    put(chosen, "#size-cells", property("#size-cells", 2u32)?);
    put(chosen, "xen,xen-bootargs", property("xen,xen-bootargs", handover.xen)?);
    let mut kernel = module("multiboot,kernel", handover.kernel)?;
    kernel.add_property(property("bootargs", handover.dom0)?);
    chosen.add_child(kernel);
    chosen.add_child(module("multiboot,ramdisk", handover.ramdisk)?);
    for transport in handover.transports {
        let first = transport - transport % VirtioMmio::A_PAGE;
        for transport in first..first + VirtioMmio::A_PAGE {
            give_away(&mut tree, transport)?;
        }
    }
    Ok(tree.to_dtb())
}

/// Has Xen keep a transport, and its interrupt, from dom0: what dom0 owns it cannot hand on.
fn give_away(tree: &mut DeviceTree, transport: u8) -> Result<()> {
    let path = format!("/virtio_mmio@{:x}", VirtioMmio { transport, pool_pages: 1 }.address());
    let node = tree.find_node_mut(&path).with_context(|| format!("the machine has no {path}"))?;
    put(node, "xen,passthrough", property("xen,passthrough", [0u8; 0])?);
    Ok(())
}

fn module(compatible: &str, module: Module) -> Result<DeviceTreeNode> {
    ensure!(module.length > 0, "the module {compatible} is empty");
    let node =
        DeviceTreeNode::builder(format!("module@{:x}", module.at)).map_err(|error| anyhow!("{error}"))?;
    let words = [module.at >> 32, module.at & 0xffff_ffff, module.length >> 32, module.length & 0xffff_ffff];
    Ok(node
        .property(property("compatible", vec![compatible, "multiboot,module"])?)
        .property(property("reg", words.map(|word| word as u32))?)
        .build())
}

fn property(name: &str, value: impl dtoolkit::ToPropertyValue) -> Result<DeviceTreeProperty> {
    DeviceTreeProperty::new(name, value).map_err(|error| anyhow!("{error}"))
}

fn put(node: &mut DeviceTreeNode, name: &str, property: DeviceTreeProperty) {
    node.remove_property(name);
    node.add_property(property);
}

#[cfg(test)]
mod tests {
    use dtoolkit::{Node, Property};

    use super::*;

    fn machine(transports: u8) -> Vec<u8> {
        let mut tree = DeviceTree::new();
        let chosen = DeviceTreeNode::builder("chosen").unwrap();
        tree.root.add_child(chosen.property(property("#size-cells", 1u32).unwrap()).build());
        for transport in 0..transports {
            let name = format!("virtio_mmio@{:x}", 0x0a00_0000 + 0x200 * u32::from(transport));
            tree.root.add_child(DeviceTreeNode::new(name).unwrap());
        }
        tree.to_dtb()
    }

    const HANDOVER: Handover<'static> = Handover {
        xen: "console=dtuart",
        dom0: "drill=net:1:2",
        kernel: Module { at: 0x4c00_0000, length: 0x1234 },
        ramdisk: Module { at: 0x1_0000_0000, length: 5 },
        transports: &[25],
    };

    fn bytes(tree: &DeviceTree, node: &str, name: &str) -> Vec<u8> {
        let node = tree.find_node(node).unwrap_or_else(|| panic!("no {node}"));
        node.property(name).unwrap_or_else(|| panic!("no {name}")).value().to_vec()
    }

    #[test]
    fn xen_finds_lines_and_modules() {
        let out = extend(&machine(32), &HANDOVER).unwrap();
        let tree = DeviceTree::from_fdt(&Fdt::new(&out).unwrap());
        assert_eq!(bytes(&tree, "/chosen", "xen,xen-bootargs"), b"console=dtuart\0");
        assert_eq!(bytes(&tree, "/chosen", "#size-cells"), [0, 0, 0, 2]);
        let kernel = "/chosen/module@4c000000";
        assert_eq!(bytes(&tree, kernel, "compatible"), b"multiboot,kernel\0multiboot,module\0");
        assert_eq!(bytes(&tree, kernel, "bootargs"), b"drill=net:1:2\0");
        assert_eq!(bytes(&tree, kernel, "reg"), [0, 0, 0, 0, 0x4c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]);
        let ramdisk = "/chosen/module@100000000";
        assert_eq!(bytes(&tree, ramdisk, "reg"), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn the_whole_page_of_a_transport_is_given_away() {
        let out = extend(&machine(32), &HANDOVER).unwrap();
        let tree = DeviceTree::from_fdt(&Fdt::new(&out).unwrap());
        for transport in 0..32u32 {
            let node =
                tree.find_node(&format!("/virtio_mmio@{:x}", 0x0a00_0000 + 0x200 * transport)).unwrap();
            let given = node.property("xen,passthrough").is_some();
            assert_eq!(given, (24..32).contains(&transport), "{transport}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = extend(&machine(30), &HANDOVER).unwrap_err().to_string();
        assert_eq!(missing, "the machine has no /virtio_mmio@a003c00");
        let empty = Handover { ramdisk: Module { at: 1, length: 0 }, ..HANDOVER };
        assert!(extend(&machine(32), &empty).is_err());
        assert!(extend(b"no tree", &HANDOVER).is_err());
        assert!(extend(&DeviceTree::new().to_dtb(), &HANDOVER).is_err());
    }
}
