//! The hardware's watchdog, armed before anything else is done. Firmware, GRUB and Xen leave it alone, so that it
//! covers all of them until dom0 feeds it.

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::sync::atomic::AtomicU32;
use core::time::Duration;

use board_support_drv::watchdog::{self, i6300esb};
use proto_errors::slot;
use proto_handoff::record;

#[cfg(target_arch = "aarch64")]
#[path = "watchdog/aarch64.rs"]
mod machine;
#[cfg(target_arch = "x86_64")]
#[path = "watchdog/x86_64.rs"]
mod machine;

/// How long the way to dom0 may take from here on, and from each slot on that is tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// Functions of a bus, each with 4 KiB of configuration space.
const FUNCTIONS: u64 = 256;
const FUNCTION_BYTES: u64 = 4096;

/// One that was found.
type Found = Box<dyn watchdog::Watchdog>;

/// The watchdog, if there is one.
pub(crate) struct Watchdog {
    armed: Option<(Found, record::Watchdog)>,
    fired: bool,
}

impl Watchdog {
    /// Reads what those of the machine say of the last start, and arms the first that can be. What there is to say of it
    /// for people comes along.
    pub(crate) fn arm() -> (Self, Vec<String>) {
        let (mut this, mut lines) = (Self { armed: None, fired: false }, Vec::new());
        let itco: fn(u16) -> record::Watchdog = |seconds| record::Watchdog::Itco { seconds };
        let esb: fn(u16) -> record::Watchdog = |seconds| record::Watchdog::I6300esb { seconds };
        let all = [machine::chipset().zip(Some(itco)), i6300esb().zip(Some(esb))];
        for (found, told) in all.into_iter().flatten() {
            if found.read_evidence() {
                lines.push(format!("the watchdog ({}) has reset the machine", found.name()));
                this.fired = true;
            }
            found.count_start();
            if this.armed.is_some() {
                // It is dom0's to arm; what it says was read.
                continue;
            }
            match found.arm(PATIENCE) {
                Ok(patience) => {
                    let seconds = u16::try_from(patience.as_secs()).unwrap_or(u16::MAX);
                    this.armed = Some((found, told(seconds)));
                }
                Err(why) => lines.push(format!("a watchdog is of no use: {why} [{}]", slot::NO_WATCHDOG)),
            }
        }
        (this, lines)
    }

    /// Gives it another patience.
    pub(crate) fn feed(&self) {
        if let Some((found, _)) = &self.armed {
            found.feed();
        }
    }

    /// What dom0 is told of it.
    pub(crate) fn told(&self) -> record::Watchdog {
        self.armed.as_ref().map_or(record::Watchdog::None, |(_, told)| *told)
    }

    /// Whether one had reset the machine. dom0 cannot see it any more.
    pub(crate) fn had_fired(&self) -> bool {
        self.fired
    }
}

/// The one that is a PCI function, on the first bus.
fn i6300esb() -> Option<Found> {
    let bus = machine::configuration_space()?;
    let config = (0..FUNCTIONS).map(|function| bus + function * FUNCTION_BYTES).find_map(|at| {
        // SAFETY:
        // 1. The machine has configuration space of the first bus here, whether or not there is a function.
        let config = unsafe { registers(at, FUNCTION_BYTES) };
        i6300esb::Mapped::bar(config).map(|bar| (config, bar))
    });
    let (config, bar) = config?;
    // SAFETY:
    // 1. The function has its registers here: firmware gave it the address.
    let bar = unsafe { registers(bar, 16) };
    Some(Box::new(i6300esb::I6300esb::new(i6300esb::Mapped::new(config, bar)?)))
}

/// Registers of the machine as words.
///
/// # Safety
/// 1. There are registers in these bytes, for as long as the machine runs.
unsafe fn registers(at: u64, bytes: u64) -> &'static [AtomicU32] {
    let at = core::ptr::with_exposed_provenance(at as usize);
    // SAFETY:
    // 1. The caller says so, and firmware maps all registers one to one.
    // 2. Atomics permit changes by the device, and nothing else of ours reaches it.
    unsafe { core::slice::from_raw_parts(at, bytes as usize / 4) }
}
