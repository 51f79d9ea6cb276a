//! The time of day, where Xen does not read the machine's clock: on aarch64.

use core::{sync::atomic::Ordering::Relaxed, time::Duration};

use board_support_hyp::Machine;
use board_support_rt::{
    Boot,
    memory::device_memory,
    wallclock::{self, counted},
};
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
    // Xen counts from its own start, which it does not tell; but it adds the whole seconds from there to a domain's creation
    // to what it tells that domain. How many they are for dom0 is seen when it is told the time as if there were none.
    let set = |lead: Duration| {
        let counted = (counted() + lead).as_nanos();
        XEN.set_wall_clock(since_1970, u64::try_from(counted).unwrap_or(u64::MAX))
    };
    let done = set(Duration::ZERO).and_then(|()| {
        let ahead = wallclock::now().map_or(0, |told| told.seconds.saturating_sub(since_1970.as_secs()));
        set(Duration::from_secs(ahead))
    });
    if let Err(errno) = done {
        log::warn!(target: "dom0", "Xen refuses the time of day: {errno} [{}]", proto_errors::boot::NO_CLOCK);
    }
}
