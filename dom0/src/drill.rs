//! A drill: a service is ended on purpose, some times over, to see that it comes back.
//!
//! On dom0's command line:
//!
//! - `drill=NAME:MS:COUNT`: dom0 ends it, every MS milliseconds, COUNT times;
//! - `drill=starve:MS`: after MS milliseconds dom0 feeds the watchdogs no more;
//! - `drill=panic:NAME:MS:COUNT`, `drill=hang:NAME:MS:COUNT`: it is told to panic, or to hang.
//!
//! What it shows is that nothing of the dead one stands in the way of the next: devices, interrupts,
//! memory.

use alloc::rc::Rc;
use core::time::Duration;

use board_support_rt::timer::sleep;
use dom0_supervisor::Input;
use proto_errors::boot;
use proto_svc::supervision::{Break, ToService};

use crate::ground::{Ground, free_kib};

/// Runs the drill.
pub(crate) async fn run(ground: Rc<Ground>, order: &'static str) {
    if let Some(pause_ms) = order.strip_prefix("starve:").and_then(|ms| ms.parse().ok()) {
        sleep(Duration::from_millis(pause_ms)).await;
        log::warn!(target: "dom0", "drill: the watchdogs are not fed any more [{}]", proto_errors::svc::DRILL);
        return ground.starved.set(true);
    }
    let (how, rest) = match order.split_once(':') {
        Some(("panic", rest)) => (Some(Break::Panic), rest),
        Some(("hang", rest)) => (Some(Break::Hang), rest),
        _ => (None, order),
    };
    let mut parts = rest.split(':');
    let name = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    let (Some(service), Some(pause_ms), Some(count)) = (ground.services.find(name), number(), number())
    else {
        log::error!(target: "dom0", "drill={order}: it is drill=[panic:|hang:]NAME:MS:COUNT, with a name of the table, or drill=starve:MS [{}]", boot::BAD_OPTION);
        return;
    };
    for round in 1..=count {
        sleep(Duration::from_millis(pause_ms)).await;
        log::info!(target: "dom0", "drill {round}: domain {name}, {} KiB free", free_kib());
        match how {
            None => ground.services.tell(Input::Order(service)),
            Some(how) => ground.services.say(service, ToService::Break(how)),
        }
    }
    sleep(Duration::from_millis(pause_ms)).await;
    log::info!(target: "dom0", "drill: done, {} KiB free", free_kib());
}
