//! The TPM of the wiring.

use alloc::boxed::Box;

use board_support_drv::{
    mmio::Window,
    tpm::{Transport, crb, tis},
};
use proto_errors::vault as code;
use proto_manifest::{table::DeviceKind, wiring::Wiring};
use stubdoms_service::registers::Registers;

/// The way to the TPM; none if the wiring has none.
pub(crate) fn find(wiring: &Wiring) -> Option<Box<dyn Transport>> {
    wiring.devices.iter().find_map(|device| {
        let open = match device.kind {
            DeviceKind::TpmTis => fifo as fn(Registers) -> Option<Box<dyn Transport>>,
            DeviceKind::TpmCrb => buffer,
            DeviceKind::E1000e | DeviceKind::VirtioNet | DeviceKind::Nvme | DeviceKind::VirtioBlk => {
                return None;
            }
        };
        let transport = Registers::of(device).and_then(open);
        if transport.is_none() {
            log::error!("TPM {}: its registers cannot be mapped [{}]", device.name, code::TPM_FAILED);
        }
        transport
    })
}

fn fifo(registers: Registers) -> Option<Box<dyn Transport>> {
    let window = Window::<_, tis::Registers>::new(registers).ok()?;
    Some(Box::new(tis::Tis::new(window)))
}

fn buffer(registers: Registers) -> Option<Box<dyn Transport>> {
    let window = Window::<_, crb::Registers>::new(registers).ok()?;
    Some(Box::new(crb::Crb::new(window)))
}
