//! The TPM of the wiring.

use alloc::boxed::Box;
use core::{task::Poll, time::Duration};

use board_support_drv::{
    mmio::Window,
    tpm::{Fault, Step, Transport, crb, tis},
};
use board_support_rt::timer;
use proto_errors::vault as code;
use proto_manifest::{table::DeviceKind, wiring::Wiring};
use proto_tpm::wire::MAX_RESPONSE;
use stubdoms_service::registers::Registers;
use stubdoms_vault_core::tpm::{NoAnswer, Tpm};

use crate::worker::now;

const _: () = assert!(MAX_RESPONSE == board_support_drv::tpm::MAX_BYTES);

/// The first and the longest time between two looks at a TPM that works on a command.
const LOOKS: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// A TPM behind its registers.
pub(crate) struct Chip(Box<dyn Transport>);

/// The TPM; none if the wiring has none.
pub(crate) fn find(wiring: &Wiring) -> Option<Chip> {
    wiring.devices.iter().find_map(|device| {
        let open = match device.kind {
            DeviceKind::TpmTis => fifo as fn(Registers) -> Option<Box<dyn Transport>>,
            DeviceKind::TpmCrb => buffer,
            DeviceKind::E1000e | DeviceKind::VirtioNet | DeviceKind::Nvme | DeviceKind::VirtioBlk => {
                return None;
            }
        };
        let chip = Registers::of(device).and_then(open).map(Chip);
        if chip.is_none() {
            log::error!("TPM {}: its registers cannot be mapped [{}]", device.name, code::TPM_FAILED);
        }
        chip
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

impl Tpm for Chip {
    async fn transact(
        &mut self,
        command: &[u8],
        patience: Duration,
        answer: &mut [u8; MAX_RESPONSE],
    ) -> Result<usize, NoAnswer> {
        self.0.begin(now(), command, patience);
        let (mut wait, longest) = LOOKS;
        loop {
            match self.0.poll(now(), answer) {
                Poll::Ready(Ok(length)) => return Ok(length),
                Poll::Ready(Err(fault)) => {
                    log::warn!("TPM: {fault} [{}]", code::TPM_FAILED);
                    return Err(match fault {
                        Fault::Absent { .. } => NoAnswer::Absent,
                        Fault::Silent { .. } | Fault::Stuck { step: Step::Predecessor, .. } => {
                            NoAnswer::Silent
                        }
                        Fault::Stuck { .. }
                        | Fault::Length { .. }
                        | Fault::Bytes { .. }
                        | Fault::Elsewhere { .. }
                        | Fault::Broken { .. } => NoAnswer::Interface,
                    });
                }
                Poll::Pending => {
                    timer::sleep(wait).await;
                    wait = (wait * 2).min(longest);
                }
            }
        }
    }

    async fn pause(&mut self, time: Duration) {
        timer::sleep(time).await;
    }
}
