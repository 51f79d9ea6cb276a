//! What resets the machine when dom0 does not feed it: the hardware's watchdog, which also covers Xen, and
//! Xen's own, which covers dom0.

use core::time::Duration;

use alloc::{boxed::Box, vec::Vec};

use board_support_drv::watchdog::{
    self as hardware,
    i6300esb::{I6300esb, ID, Mapped},
};
use board_support_hyp::{Xen, sched::Watchdog};
use dom0_shell::system;
use dom0_supervisor::Boot;
use dom0_toolstack::{origin::Evidence, pci::find};
use proto_handoff::kept::{Kept, Note};
use proto_manifest::table::PciSelect;
use proto_xen::Maddr;

use crate::{kept::Pages, machine::Machine, tco};

/// How the watchdog that is a PCI function is found.
const I6300ESB: PciSelect = PciSelect { vendor: ID as u16, device: (ID >> 16) as u16, class: None, skip: 0 };

/// How long the hardware waits for food.
const HARDWARE: Duration = Duration::from_secs(12);
/// How long Xen does, in seconds: longer, so that the hardware leaves its evidence for the next boot.
const XEN_SECONDS: u32 = 20;

/// The watchdogs that are armed.
pub(crate) struct Watchdogs {
    hardware: Option<Box<dyn hardware::Watchdog>>,
    xen: Option<u32>,
    /// Whether the hardware's ended the last life of the machine.
    has_reset: bool,
    /// Memory that outlives a reset.
    kept: Option<Pages>,
}

impl Watchdogs {
    /// Says what the hardware's watchdog knows of the last boot, and arms all that there are. `fired` is what
    /// the selector has read of it, which is cleared by that; `kept_at` where it has found memory that outlives a
    /// reset. What the life before has left comes along.
    pub(crate) fn arm(
        machine: Option<&'static Machine>,
        fired: bool,
        kept_at: Option<u64>,
    ) -> (Self, Evidence) {
        let mut found: Vec<_> = machine
            .into_iter()
            .flat_map(|machine| [tco::find(machine), i6300esb(machine)])
            .flatten()
            .collect();
        let has_reset = fired || found.iter().any(|one| one.read_evidence());
        if has_reset {
            log::error!(target: "dom0", "boot reason: the watchdog has reset the machine: Xen, dom0 or the selector stood still, or a service that is needed was given up [{}]", proto_errors::svc::WATCHDOG_RESET);
        }
        let left = found.iter().find_map(|one| one.left());
        let (kept, evidence) = match kept_at.and_then(Pages::open) {
            Some((pages, found)) => {
                // Firmware that clears memory leaves the chipset's alone.
                let kept = Some(found.note).filter(|kept| kept.note != Note::Nothing);
                let left = kept.or_else(|| left.map(note)).or(Some(found.note));
                (
                    Some(pages),
                    Evidence { watchdog: has_reset, left, order: found.order, last_words: found.last_words },
                )
            }
            // The chipset keeps less.
            None => (None, Evidence { watchdog: has_reset, left: left.map(note), ..Evidence::default() }),
        };
        let armed = found.iter().position(|hardware| match hardware.arm(HARDWARE) {
            Ok(patience) => {
                log::info!(target: "dom0", "watchdog: the hardware ({}) resets the machine after {} s without food", hardware.name(), patience.as_secs());
                true
            }
            Err(why) => {
                log::warn!(target: "dom0", "watchdog: the hardware's is of no use: {why} [{}]", proto_errors::svc::NO_WATCHDOG);
                false
            }
        });
        let hardware = armed.map(|place| found.swap_remove(place));
        if let Some(hardware) = &hardware {
            hardware.leave(hardware::Note::Working);
        }
        let xen = match Xen.watchdog(0, XEN_SECONDS) {
            Ok(id) => Some(id),
            Err(errno) => {
                log::warn!(target: "dom0", "watchdog: Xen's is of no use: {errno} [{}]", proto_errors::svc::NO_WATCHDOG);
                None
            }
        };
        if hardware.is_none() && xen.is_some() {
            log::info!(target: "dom0", "watchdog: Xen resets the machine after {XEN_SECONDS} s without food");
        }
        (Self { hardware, xen, has_reset, kept }, evidence)
    }

    /// What is known of how the machine came to be started. Xen's watchdog leaves no evidence.
    pub(crate) fn boot(&self) -> Boot {
        if self.hardware.is_some() && !self.has_reset { Boot::Fresh } else { Boot::Reset }
    }
}

/// What a watchdog's registers keep, as memory keeps it.
fn note(left: hardware::Left) -> Kept {
    let note = match left.note {
        None => Note::Nothing,
        Some(hardware::Note::Working) => Note::Working,
        Some(hardware::Note::Ordered) => Note::Ordered,
    };
    Kept { note, starts: left.starts.into() }
}

/// The one that is a PCI function, if firmware gave it an address.
fn i6300esb(machine: &'static Machine) -> Option<Box<dyn hardware::Watchdog>> {
    let config = machine.config_words(find(machine, &I6300ESB)?)?;
    let bar = machine.words(Maddr(Mapped::bar(config)?), 16)?;
    Some(Box::new(I6300esb::new(Mapped::new(config, bar)?)))
}

impl system::Watchdogs for Watchdogs {
    fn has_hardware(&self) -> bool {
        self.hardware.is_some()
    }

    fn feed(&self) {
        if let Some(hardware) = &self.hardware {
            hardware.feed();
        }
        if let Some(id) = self.xen {
            // It was armed; what else could be done than to be reset?
            let _ = Xen.watchdog(id, XEN_SECONDS);
        }
    }

    fn halt(&self, why: &[u8]) {
        if let Some(hardware) = &self.hardware {
            hardware.halt();
        }
        if let Some(id) = self.xen {
            let _ = Xen.watchdog(id, 0);
        }
        log::info!(target: "dom0", "watchdog: stopped, for the machine ends by order");
        // The last thing, so that whatever crashes ahead of it is not taken for the order.
        if let Some(hardware) = &self.hardware {
            hardware.leave(hardware::Note::Ordered);
        }
        if let Some(kept) = &self.kept {
            kept.leave_order(why);
        }
    }
}
