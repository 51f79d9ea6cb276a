//! The time of day, where Xen does not read the machine's clock: on aarch64.

use core::{sync::atomic::Ordering::Relaxed, time::Duration};

use board_support_hyp::Machine;
use board_support_rt::{Boot, memory::device_memory, timer::now, wallclock};
use proto_xen::{Gaddr, PAGE_SIZE};

use crate::device::XEN;

/// Sets Xen's wall clock by the machine's, a PL031, before any domain looks at it.
pub(crate) fn set(boot: &Boot) {
    if wallclock::now().is_some() {
        // Xen knows.
        return;
    }
    let Some(address) = boot.rtc() else {
        log::warn!(target: "dom0", "the machine has no clock that tells the time of day [{}]", proto_errors::boot::NO_CLOCK);
        return;
    };
    // DR, the data register: seconds since 1970. Source: Arm DDI 0224, summary of registers.
    let clock = device_memory(Gaddr(address), PAGE_SIZE as u64);
    let Some(seconds) = clock.as_ref().and_then(|memory| memory.words().first()) else {
        log::warn!(target: "dom0", "the machine's clock at {address:#x} cannot be mapped [{}]", proto_errors::boot::NO_CLOCK);
        return;
    };
    let since_1970 = Duration::from_secs(seconds.load(Relaxed).into());
    // Xen counts from its own start, and our domains from power-on, as the processor does. Theirs is told.
    if let Err(errno) = XEN.set_wall_clock(since_1970, now().as_nanos()) {
        log::warn!(target: "dom0", "Xen refuses the time of day: {errno} [{}]", proto_errors::boot::NO_CLOCK);
    }
}
