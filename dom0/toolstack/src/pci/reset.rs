//! Stopping a device for good before it changes hands: whatever its last owner left running must
//! not write into the next owner's memory.

use proto_manifest::table::DeviceKind;
use proto_xen::Maddr;

use super::{
    ConfigSpace, Function, PciError,
    function::{command, register},
};

/// Device capabilities and device control, in bytes from the PCI Express capability on.
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

/// What a function-level reset loses and nobody sets again but dom0: where firmware has put the registers, and how
/// large the packets are that everything on the way takes. Saved once, while it is known to be right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved {
    /// Vendor and device: what a function that is there answers.
    identity: u32,
    bars: [u32; 6],
    /// Device control, of a function that has it.
    device_control: Option<u16>,
}

impl Saved {
    /// That of a function as firmware has left it.
    pub(super) fn of(config: &impl ConfigSpace, function: &Function) -> Self {
        let at = function.at;
        let control = |express| config.read16(at, express + DEVICE_CONTROL);
        Self {
            identity: config.read32(at, 0),
            bars: bars(config, function),
            device_control: function.express.map(control),
        }
    }

    /// Waits until the function is there. It answers with ones while it is not.
    fn wait(&self, config: &impl ConfigSpace, function: &Function) -> Result<(), PciError> {
        let back = (0..LOOKS).any(|_| config.read32(function.at, 0) == self.identity);
        if back { Ok(()) } else { Err(PciError::Reset { function: function.at }) }
    }

    /// Puts back what was lost, if anything was. Memory decode is off then: as long as Xen believes that a function of
    /// dom0 decodes its BARs, it drops what dom0 writes there.
    fn put_back(&self, config: &impl ConfigSpace, function: &Function) {
        let at = function.at;
        if bars(config, function) == self.bars {
            return;
        }
        set_command(config, function, 0, command::MEMORY);
        for (bar, offset) in self.bars.into_iter().zip((register::BAR0..).step_by(4)) {
            config.write32(at, offset, bar);
        }
        if let (Some(express), Some(control)) = (function.express, self.device_control) {
            config.write16(at, express + DEVICE_CONTROL, control & !START_FLR);
        }
    }
}

fn bars(config: &impl ConfigSpace, function: &Function) -> [u32; 6] {
    core::array::from_fn(|number| config.read32(function.at, register::BAR0 + 4 * number as u16))
}

/// Changes bits of the command register.
pub(super) fn set_command(config: &impl ConfigSpace, function: &Function, set: u16, clear: u16) {
    let value = config.read16(function.at, register::COMMAND);
    config.write16(function.at, register::COMMAND, value & !clear | set);
}

/// Resets a function that is not assigned to a domain. Afterwards it is where firmware has put it, also if an
/// earlier reset was not over when it was given up; bus mastering is off and memory decode on.
///
/// # Errors
/// [`PciError::Reset`] if it does not come back.
pub(super) fn reset(
    config: &impl ConfigSpace,
    function: &Function,
    saved: &Saved,
    kind: DeviceKind,
) -> Result<(), PciError> {
    saved.wait(config, function)?;
    saved.put_back(config, function);
    set_command(config, function, command::MEMORY | command::NO_INTX, command::BUS_MASTER);
    let resettable = function
        .express
        .filter(|&express| config.read32(function.at, express + DEVICE_CAPABILITIES) & HAS_FLR != 0);
    match (resettable, kind) {
        (Some(express), _) => reset_function(config, function, saved, express),
        (None, DeviceKind::E1000e) => reset_e1000e(config, function),
        (None, DeviceKind::Nvme) => reset_nvme(config, function),
        // The table puts none of these on PCI, and here nothing is known that resets one.
        (None, DeviceKind::VirtioNet | DeviceKind::VirtioBlk | DeviceKind::TpmCrb | DeviceKind::TpmTis) => {
            Err(PciError::Reset { function: function.at })
        }
    }
}

/// Function-level reset, with memory decode off: it loses the BARs, see [`Saved::put_back`]. If the function is not
/// back in time, what was lost is put back ahead of the next reset.
fn reset_function(
    config: &impl ConfigSpace,
    function: &Function,
    saved: &Saved,
    express: u16,
) -> Result<(), PciError> {
    let at = function.at;
    set_command(config, function, 0, command::MEMORY);
    let control = config.read16(at, express + DEVICE_CONTROL);
    config.write16(at, express + DEVICE_CONTROL, control | START_FLR);
    saved.wait(config, function)?;
    saved.put_back(config, function);
    set_command(config, function, command::MEMORY | command::NO_INTX, command::BUS_MASTER);
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

    /// An NVM Express controller without function-level reset, whose BARs nobody has lost: CC, and how many looks it
    /// takes to stop.
    struct Controller {
        cc: Cell<u32>,
        looks: Cell<u32>,
        gone: bool,
    }

    impl ConfigSpace for Controller {
        fn read32(&self, _: Sbdf, offset: u16) -> u32 {
            match offset {
                0 if self.gone => u32::MAX,
                0 => 0x5845_144d,
                // Command and status.
                4 => 0,
                0x10..0x28 => BAR as u32,
                other => panic!("{other:#x}: its configuration space has nothing that resets it"),
            }
        }

        fn write16(&self, _: Sbdf, offset: u16, value: u16) {
            assert_eq!((offset, value & 4), (4, 0), "only the command is written, and no bus mastering");
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
        let saved = Saved { identity: 0x5845_144d, bars: [BAR as u32; 6], device_control: None };
        (reset(&controller, &function, &saved, DeviceKind::Nvme), controller.cc.get())
    }

    #[test]
    fn a_disk_that_cannot_be_reset_from_outside_is_stopped_by_its_registers() {
        assert_eq!(reset_of(3, false), (Ok(()), 0x46_0000));
        let failed = PciError::Reset { function: Sbdf::new(0, 4, 0) };
        assert_eq!(reset_of(u32::MAX, false).0, Err(failed), "it does not stop");
        assert_eq!(reset_of(0, true).0, Err(failed), "it is gone");
    }
}
