//! Stopping a device for good before it changes hands: whatever its last owner left running must
//! not write into the next owner's memory.

use proto_manifest::table::DeviceKind;
use proto_xen::Maddr;

use super::{
    ConfigSpace, Function, PciError,
    function::{command, register},
};

/// Device capabilities and device control, from the PCI Express capability on.
const DEVICE_CAPABILITIES: u16 = 4;
const DEVICE_CONTROL: u16 = 8;
/// The function can be reset alone.
const HAS_FLR: u32 = 1 << 28;
/// Starts that.
const START_FLR: u16 = 1 << 15;

/// Registers of the 82574. Source: its datasheet, section 10.2.
mod e1000e {
    /// Device control.
    pub(super) const CTRL: u64 = 0x0000;
    /// Interrupt mask clear.
    pub(super) const IMC: u64 = 0x00d8;
    /// Resets everything but the PCI configuration; clears itself.
    pub(super) const CTRL_RST: u32 = 1 << 26;
}

/// Registers of an NVM Express controller. Source: NVM Express 1.4, section 3.1.
mod nvme {
    /// Controller configuration.
    pub(super) const CC: u64 = 0x14;
    /// Controller status.
    pub(super) const CSTS: u64 = 0x1c;
    /// The controller is enabled; clearing it resets.
    pub(super) const CC_EN: u32 = 1 << 0;
    /// The controller is ready.
    pub(super) const CSTS_RDY: u32 = 1 << 0;
}

/// How often the end of a reset is looked for. One look takes at least a microsecond, and a function-level
/// reset may take 100 ms (PCI Express Base Specification 3.0, section 6.6.2).
const LOOKS: u32 = 200_000;

/// Resets a function that is not assigned to a domain, with bus mastering off and memory decode on.
///
/// # Errors
/// [`PciError::Reset`] if it does not come back.
pub(super) fn reset(
    config: &impl ConfigSpace,
    function: &Function,
    kind: DeviceKind,
) -> Result<(), PciError> {
    let resettable = function
        .express
        .filter(|&express| config.read32(function.at, express + DEVICE_CAPABILITIES) & HAS_FLR != 0);
    match (resettable, kind) {
        (Some(express), _) => reset_function(config, function, express),
        (None, DeviceKind::E1000e) => reset_e1000e(config, function),
        (None, DeviceKind::Nvme) => reset_nvme(config, function),
        // The table puts none of these on PCI, and here nothing is known that resets one.
        (None, DeviceKind::VirtioNet | DeviceKind::VirtioBlk | DeviceKind::TpmCrb | DeviceKind::TpmTis) => {
            Err(PciError::Reset { function: function.at })
        }
    }
}

/// Function-level reset. It loses BARs and command register, which are put back. Memory decode is off meanwhile:
/// as long as Xen believes that a function of dom0 decodes its BARs, it drops what dom0 writes there.
fn reset_function(config: &impl ConfigSpace, function: &Function, express: u16) -> Result<(), PciError> {
    let at = function.at;
    let mut saved = [0; 10];
    for (word, offset) in saved.iter_mut().zip((0..).step_by(4)) {
        *word = config.read32(at, offset);
    }
    let command = saved[1] as u16;
    config.write16(at, register::COMMAND, command & !command::MEMORY);
    let control = config.read16(at, express + DEVICE_CONTROL);
    config.write16(at, express + DEVICE_CONTROL, control | START_FLR);
    // The function answers with ones until it is back.
    let back = (0..LOOKS).any(|_| config.read32(at, 0) == saved[0]);
    if !back {
        return Err(PciError::Reset { function: at });
    }
    for (word, offset) in saved.into_iter().zip((0u16..).step_by(4)).skip(4) {
        config.write32(at, offset, word);
    }
    // The low half is the command, the high half status bits that are cleared by writing ones.
    config.write16(at, register::COMMAND, command);
    Ok(())
}

fn reset_e1000e(config: &impl ConfigSpace, function: &Function) -> Result<(), PciError> {
    let failed = PciError::Reset { function: function.at };
    let base = function.bar(0).ok_or(PciError::NoSuchBar { function: function.at, bar: 0 })?.address;
    let control = Maddr(base + e1000e::CTRL);
    config.write_register(Maddr(base + e1000e::IMC), u32::MAX);
    let before = config.read_register(control);
    config.write_register(control, before | e1000e::CTRL_RST);
    let done = |_| {
        let now = config.read_register(control);
        now != u32::MAX && now & e1000e::CTRL_RST == 0
    };
    if (0..LOOKS).any(done) { Ok(()) } else { Err(failed) }
}

/// The controller's own reset. One that is not ready after it has stopped: it fetches no commands and touches no
/// memory (NVM Express 1.4, section 7.3.2).
fn reset_nvme(config: &impl ConfigSpace, function: &Function) -> Result<(), PciError> {
    let failed = PciError::Reset { function: function.at };
    let base = function.bar(0).ok_or(PciError::NoSuchBar { function: function.at, bar: 0 })?.address;
    let control = Maddr(base + nvme::CC);
    let before = config.read_register(control);
    config.write_register(control, before & !nvme::CC_EN);
    let done = |_| {
        let now = config.read_register(Maddr(base + nvme::CSTS));
        now != u32::MAX && now & nvme::CSTS_RDY == 0
    };
    if (0..LOOKS).any(done) { Ok(()) } else { Err(failed) }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use proto_xen::Sbdf;

    use super::*;
    use crate::pci::Bar;

    const BAR: u64 = 0xfeb0_0000;

    /// An NVM Express controller without function-level reset: CC, and how many looks it takes to stop.
    struct Controller {
        cc: Cell<u32>,
        looks: Cell<u32>,
        gone: bool,
    }

    impl ConfigSpace for Controller {
        fn read32(&self, _: Sbdf, _: u16) -> u32 {
            panic!("its configuration space has nothing that resets it")
        }

        fn write16(&self, _: Sbdf, _: u16, _: u16) {
            panic!("its configuration space has nothing that resets it")
        }

        fn write32(&self, _: Sbdf, _: u16, _: u32) {
            panic!("its configuration space has nothing that resets it")
        }

        fn can_be_registers(&self, _: Maddr, _: u64) -> bool {
            true
        }

        fn read_register(&self, at: Maddr) -> u32 {
            match at.0 - BAR {
                _ if self.gone => u32::MAX,
                0x14 => self.cc.get(),
                0x1c => {
                    let left = self.looks.get();
                    self.looks.set(left.saturating_sub(1));
                    u32::from(self.cc.get() & 1 != 0 || left > 0)
                }
                other => panic!("register {other:#x}"),
            }
        }

        fn write_register(&self, at: Maddr, value: u32) {
            assert_eq!(at.0 - BAR, 0x14, "only CC is written");
            self.cc.set(value);
        }
    }

    fn reset_of(looks: u32, gone: bool) -> (Result<(), PciError>, u32) {
        let controller = Controller { cc: Cell::new(0x46_0001), looks: Cell::new(looks), gone };
        let bars = core::array::from_fn(|bar| (bar == 0).then_some(Bar { address: BAR, size: 0x4000 }));
        let function = Function { at: Sbdf::new(0, 4, 0), bars, msix: None, express: None };
        (reset(&controller, &function, DeviceKind::Nvme), controller.cc.get())
    }

    #[test]
    fn a_disk_that_cannot_be_reset_from_outside_is_stopped_by_its_registers() {
        assert_eq!(reset_of(3, false), (Ok(()), 0x46_0000));
        let failed = PciError::Reset { function: Sbdf::new(0, 4, 0) };
        assert_eq!(reset_of(u32::MAX, false).0, Err(failed), "it does not stop");
        assert_eq!(reset_of(0, true).0, Err(failed), "it is gone");
    }
}
