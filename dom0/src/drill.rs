//! A drill: a service is ended on purpose and built anew, some times over.
//!
//! `drill=NAME:MS:COUNT` on dom0's command line. What it shows is that nothing of the dead one stands
//! in the way of the next: devices, interrupts, memory.

use alloc::rc::Rc;
use core::time::Duration;

use board_support_rt::timer::{now, sleep};

use crate::{
    ground::{Ground, free_kib},
    services::Services,
};

/// Runs the drill.
pub(crate) async fn run(ground: Rc<Ground>, order: &'static str) {
    let mut parts = order.split(':');
    let name = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    let (Some(pause_ms), Some(count)) = (number(), number()) else {
        log::error!(target: "dom0", "drill={order}: it is drill=NAME:MS:COUNT");
        return;
    };
    for round in 1..=count {
        sleep(Duration::from_millis(pause_ms)).await;
        let Some(id) = ground.services.find(name) else {
            log::error!(target: "dom0", "drill: domain {name} does not run");
            return;
        };
        let started = now();
        let Some(index) = Services::end(&ground, id).await else { return };
        let took = now() - started;
        let free = free_kib();
        log::info!(target: "dom0", "drill {round}: domain {name} ended in {} us, {free} KiB free", took.as_micros());
        Services::rebuild(&ground, index);
    }
    log::info!(target: "dom0", "drill: done");
}
