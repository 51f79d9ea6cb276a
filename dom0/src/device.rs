//! What dom0 stands on: the real Xen, the runtime, the machine.

use alloc::string::String;

use board_support_hyp::Xen;
use board_support_rt::{self as rt, Domain, Spawner, epitaph, log::STARTS_HEARD};
use dom0_shell::{System, ground};
use proto_ring::Words;
use proto_xen::sched::ShutdownReason;

use crate::{machine::Machine, watchdog::Watchdogs};

/// Xen has no state of its own, so one value serves all.
pub(crate) static XEN: Xen = Xen;

/// The real things.
pub(crate) enum Device {}

impl System for Device {
    type Xen = Xen;
    type Runtime = Domain;
    type Spawner = Spawner;
    type Machine = Machine;
    type Watchdogs = Watchdogs;

    const STARTS_HEARD: bool = STARTS_HEARD;

    fn last_words(page: &Words) -> Option<String> {
        epitaph::read(page)
    }

    fn shutdown(_: &Xen, reason: ShutdownReason) {
        rt::shutdown(reason)
    }
}

/// What all tasks share.
pub(crate) type Ground = dom0_shell::Ground<Device>;
/// A page of another domain.
pub(crate) type Page = ground::Page<Device>;
/// A port of ours.
pub(crate) type Line = ground::Line<Device>;
/// The builder of services.
pub(crate) type Builder = ground::Builder<Device>;
