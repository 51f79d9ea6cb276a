//! The chipset's watchdog, armed before anything else is done. Firmware, GRUB and Xen leave it alone, so that
//! it covers all of them until dom0 feeds it.

use core::arch::asm;
use core::sync::atomic::AtomicU32;
use core::time::Duration;

use board_support_drv::watchdog::itco::{Itco, Place, Ports};
use proto_errors::slot as code;
use proto_handoff::record;
use uefi::println;

/// How long the way to dom0 may take from here on, and from each slot on that is tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// Address and data of the first way to configuration space, and the LPC bridge's place in it.
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const LPC: u32 = 1 << 31 | 0x1f << 11;

/// The watchdog, if there is one.
pub(crate) struct Watchdog {
    armed: Option<(Itco<Ports>, Duration)>,
    fired: bool,
}

impl Watchdog {
    /// Reads what it says of the last start, and arms it.
    pub(crate) fn arm() -> Self {
        let Some(place) = Place::find(read_config) else { return Self { armed: None, fired: false } };
        // SAFETY:
        // 1. The address is that of a register of 32 bits in the chipset: `Place::find` saw that the bridge
        //    decodes it there, and firmware maps all registers one to one.
        // 2. Nothing else of ours reaches it; it is there as long as the machine runs.
        let gcs =
            unsafe { AtomicU32::from_ptr(core::ptr::with_exposed_provenance_mut(place.gcs() as usize)) };
        let itco = Itco::new(Ports::new(place, gcs));
        let fired = itco.read_evidence();
        if fired {
            println!("selector: the watchdog has reset the machine");
        }
        match itco.arm(PATIENCE) {
            Ok(patience) => Self { armed: Some((itco, patience)), fired },
            Err(why) => {
                println!("selector: the watchdog is of no use: {why} [{}]", code::NO_WATCHDOG);
                Self { armed: None, fired }
            }
        }
    }

    /// Gives it another patience.
    pub(crate) fn feed(&self) {
        if let Some((itco, _)) = &self.armed {
            itco.feed();
        }
    }

    /// What dom0 is told of it.
    pub(crate) fn told(&self) -> record::Watchdog {
        match &self.armed {
            Some((_, patience)) => {
                record::Watchdog::Itco { seconds: u16::try_from(patience.as_secs()).unwrap_or(u16::MAX) }
            }
            None => record::Watchdog::None,
        }
    }

    /// Whether it had reset the machine. dom0 cannot see it any more.
    pub(crate) fn had_fired(&self) -> bool {
        self.fired
    }
}

/// A word of the LPC bridge's configuration space.
fn read_config(offset: u16) -> u32 {
    let value;
    // SAFETY:
    // 1. The instructions touch no memory.
    // 2. Address and data port read configuration space, which changes nothing of a bridge; firmware, which
    //    uses them too, does not run meanwhile.
    unsafe {
        asm!(
            "out dx, eax", "mov dx, {data}", "in eax, dx", data = const DATA,
            inout("dx") ADDRESS => _, inout("eax") LPC | u32::from(offset & 0xfc) => value,
            options(nomem, nostack, preserves_flags),
        );
    }
    value
}
