//! Stopping a device for good before it changes hands: whatever its last owner left running must
//! not write into the next owner's memory.

use proto_manifest::table::DeviceKind;
use proto_xen::Maddr;

use super::{ConfigSpace, Function, PciError};

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
        // The table puts none of these on PCI, and here nothing is known that resets one.
        (None, DeviceKind::VirtioNet | DeviceKind::TpmCrb | DeviceKind::TpmTis) => {
            Err(PciError::Reset { function: function.at })
        }
    }
}

/// Function-level reset. It loses BARs and command register, which are put back.
fn reset_function(config: &impl ConfigSpace, function: &Function, express: u16) -> Result<(), PciError> {
    let at = function.at;
    let mut saved = [0; 10];
    for (word, offset) in saved.iter_mut().zip((0..).step_by(4)) {
        *word = config.read32(at, offset);
    }
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
    config.write16(at, super::function::register::COMMAND, saved[1] as u16);
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
