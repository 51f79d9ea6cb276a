//! How a domain on Arm starts: with a device tree, its vCPU at EL1 with MMU and caches off.
//!
//! The tree is what Linux and our own domains need: memory, processors, interrupt controller, timer, Xen,
//! and in `/chosen` the command line and the modules. A module is a node `module@ADDRESS` with
//! `compatible = "sarsen,module"`, in the order of their numbers. `rng-seed` holds fresh random bytes, for
//! many processors have no source of their own. Special pages are children of
//! `/reserved-memory` and lie outside of `/memory`.
//!
//! Source: Xen `docs/misc/arm/device-tree/guest.txt`; Linux `Documentation/arch/arm64/booting.rst` for the
//! state of the processor.

use alloc::{format, vec::Vec};

use proto_xen::{
    Gaddr, PAGE_SIZE, VcpuId,
    arch_arm::{
        EVTCHN_PPI, GICD_BASE, GICD_SIZE, GICR_BASE, GICR_SIZE, GRANT_TABLE_BASE, GRANT_TABLE_SIZE,
        PSR_GUEST64_INIT, SCTLR_GUEST_INIT, TIMER_PHYS_NS_PPI, TIMER_PHYS_S_PPI, TIMER_VIRT_PPI, VGCF_ONLINE,
        VcpuGuestContext, affinity,
    },
};

use super::{
    Seed,
    dtb::Tree,
    layout::{Layout, LayoutError, check_command_line},
};

/// What names the interrupt controller in the tree.
const GIC: u32 = 1;
/// A processor's own interrupt, counted from 16 on.
const PPI: u32 = 1;
const FIRST_PPI: u32 = 16;
/// Triggered by a low level.
const LEVEL_LOW: u32 = 8;

/// The device tree of a domain that is laid out like this.
///
/// # Errors
/// [`LayoutError::CommandLine`]; [`LayoutError::StartInfo`] if it does not fit into the pages that are laid out for it.
pub fn device_tree(
    layout: &Layout,
    command_line: &str,
    vcpus: u32,
    seed: Option<&Seed>,
) -> Result<Vec<u8>, LayoutError> {
    check_command_line(command_line)?;
    let mut tree = Tree::default();
    tree.node("", |tree| {
        tree.text("compatible", &["xen,xenvm-4.20", "xen,xenvm"]);
        tree.cells("#address-cells", &[2]);
        tree.cells("#size-cells", &[2]);
        tree.cells("interrupt-parent", &[GIC]);
        chosen(tree, layout, command_line, seed);
        memory(tree, layout);
        processors(tree, vcpus);
        interrupts_and_time(tree);
        tree.node(&format!("hypervisor@{GRANT_TABLE_BASE:x}"), |tree| {
            tree.text("compatible", &["xen,xen-4.20", "xen,xen"]);
            tree.wide("reg", &[GRANT_TABLE_BASE, GRANT_TABLE_SIZE]);
            tree.cells("interrupts", &[PPI, EVTCHN_PPI - FIRST_PPI, LEVEL_LOW]);
        });
    });
    let tree = tree.finish();
    let room = layout.start_info_bytes();
    if tree.len() > room {
        return Err(LayoutError::StartInfo { need: tree.len(), room });
    }
    Ok(tree)
}

fn chosen(tree: &mut Tree, layout: &Layout, command_line: &str, seed: Option<&Seed>) {
    tree.node("chosen", |tree| {
        tree.text("bootargs", &[command_line]);
        if let Some(seed) = seed {
            tree.bytes("rng-seed", &[seed]);
        }
        tree.cells("#address-cells", &[2]);
        tree.cells("#size-cells", &[2]);
        for (at, length) in layout.modules() {
            tree.node(&format!("module@{:x}", at.0), |tree| {
                tree.text("compatible", &["sarsen,module"]);
                tree.wide("reg", &[at.0, length]);
            });
        }
    });
}

fn memory(tree: &mut Tree, layout: &Layout) {
    let (base, (special, count)) = (layout.base().base().0, layout.specials());
    let special = special.base().0;
    tree.node(&format!("memory@{base:x}"), |tree| {
        tree.text("device_type", &["memory"]);
        tree.wide("reg", &[base, special - base]);
    });
    if count > 0 {
        tree.node("reserved-memory", |tree| {
            tree.cells("#address-cells", &[2]);
            tree.cells("#size-cells", &[2]);
            tree.flag("ranges");
            tree.node(&format!("special@{special:x}"), |tree| {
                tree.wide("reg", &[special, count * PAGE_SIZE as u64]);
                tree.flag("no-map");
            });
        });
    }
}

fn processors(tree: &mut Tree, vcpus: u32) {
    tree.node("cpus", |tree| {
        tree.cells("#address-cells", &[1]);
        tree.cells("#size-cells", &[0]);
        for affinity in (0..vcpus).map(|vcpu| affinity(VcpuId(vcpu))) {
            tree.node(&format!("cpu@{affinity:x}"), |tree| {
                tree.text("device_type", &["cpu"]);
                tree.text("compatible", &["arm,armv8"]);
                tree.text("enable-method", &["psci"]);
                tree.cells("reg", &[affinity]);
            });
        }
    });
    tree.node("psci", |tree| {
        tree.text("compatible", &["arm,psci-1.0", "arm,psci-0.2"]);
        tree.text("method", &["hvc"]);
    });
}

fn interrupts_and_time(tree: &mut Tree) {
    tree.node(&format!("interrupt-controller@{GICD_BASE:x}"), |tree| {
        tree.text("compatible", &["arm,gic-v3"]);
        tree.cells("#interrupt-cells", &[3]);
        tree.flag("interrupt-controller");
        tree.wide("reg", &[GICD_BASE, GICD_SIZE, GICR_BASE, GICR_SIZE]);
        tree.cells("phandle", &[GIC]);
    });
    let timers = [TIMER_PHYS_S_PPI, TIMER_PHYS_NS_PPI, TIMER_VIRT_PPI];
    let cells: Vec<u32> = timers.iter().flat_map(|timer| [PPI, timer - FIRST_PPI, LEVEL_LOW]).collect();
    tree.node("timer", |tree| {
        tree.text("compatible", &["arm,armv8-timer"]);
        tree.cells("interrupts", &cells);
    });
}

/// The state of the first vCPU: at `entry`, with the address of the device tree.
#[must_use]
pub fn first_vcpu(entry: u64, tree: Gaddr) -> VcpuGuestContext {
    VcpuGuestContext {
        flags: VGCF_ONLINE,
        x0: tree.0,
        pc: entry,
        cpsr: PSR_GUEST64_INIT,
        sctlr: SCTLR_GUEST_INIT,
        ..VcpuGuestContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Platform, layout::MAX_COMMAND_LINE};

    const ARM: Platform = Platform::Arm { seeds: || None };

    #[test]
    fn the_longest_command_line_fits() {
        let layout = Layout::new(ARM, 4096, 3, &[1500, 4097]).unwrap();
        let line = "x".repeat(MAX_COMMAND_LINE);
        assert!(device_tree(&layout, &line, 8, Some(&[7; 32])).is_ok());
        let error = device_tree(&layout, &format!("{line}x"), 1, None).unwrap_err();
        assert_eq!(error, LayoutError::CommandLine { length: MAX_COMMAND_LINE + 1 });
        assert!(device_tree(&layout, "a\0b", 1, None).is_err());
    }

    #[test]
    fn a_processor_is_called_what_its_vcpu_says_of_itself() {
        let layout = Layout::new(ARM, 4096, 3, &[]).unwrap();
        let tree = device_tree(&layout, "", 17, None).unwrap();
        let has = |name: &str| tree.windows(name.len()).any(|bytes| bytes == name.as_bytes());
        assert!(has("cpu@f\0") && has("cpu@100\0") && !has("cpu@10\0"));
    }

    #[test]
    fn more_vcpus_than_the_tree_has_room_for_are_refused() {
        let layout = Layout::new(ARM, 4096, 3, &[]).unwrap();
        let fits = |vcpus| device_tree(&layout, "", vcpus, Some(&[7; 32]));
        let most = (1..=128).take_while(|&vcpus| fits(vcpus).is_ok()).count() as u32;
        assert!((32..128).contains(&most), "{most} vCPUs fit");
        let room = ARM.start_info_pages() as usize * PAGE_SIZE;
        assert!(fits(most).unwrap().len() <= room);
        let Err(LayoutError::StartInfo { need, room: told }) = fits(most + 1) else { panic!("it fits") };
        assert!(need > room && told == room);
    }

    #[test]
    fn a_vcpu_starts_as_linux_expects_it() {
        let state = first_vcpu(0x4000_0000, Gaddr(0x4012_3000));
        assert_eq!((state.pc, state.x0, state.x1_to_x30), (0x4000_0000, 0x4012_3000, [0; 30]));
        assert_eq!((state.flags, state.cpsr, state.sctlr), (1, 0x3c5, 0x00c5_0078));
    }
}
