//! A drill: a service is ended on purpose, some times over, to see that it comes back.
//!
//! On dom0's command line:
//!
//! - `drill=NAME:MS:COUNT`: dom0 ends it, every MS milliseconds, COUNT times;
//! - `drill=starve:MS`: after MS milliseconds dom0 feeds the watchdogs no more;
//! - `drill=crash:MS`: after MS milliseconds dom0 panics;
//! - `drill=panic:NAME:MS:COUNT`, `drill=hang:NAME:MS:COUNT`: it is told to panic, or to hang;
//! - `drill=random:SEED:NAME+NAME:MIN-MAX-REST:COUNT`: each of them is ended COUNT times, at random times, as
//!   [`dom0_toolstack::drill`] says, beginning when an application runs;
//! - `drill=early:SEED:…`: the same, beginning at once.
//!
//! What it shows is that nothing of the dead one stands in the way of the next: devices, interrupts,
//! memory. An end that is ordered is no death that the supervisor counts towards its limit.

use alloc::{rc::Rc, vec::Vec};
use core::time::Duration;

use board_support_hyp::{EventChannels, gnttab, window};
use board_support_rt::{heap, timer::sleep};
use dom0_supervisor::{Input, Life, ServiceId};
use dom0_toolstack::drill::Drill;
use proto_errors::boot;
use proto_svc::supervision::{Break, ToService};
use proto_xen::DomId;

use crate::device::{Ground, XEN};

/// How often a random drill looks whether an application runs.
const LOOK: Duration = Duration::from_millis(100);
/// How often it looks whether the service that is to be ended is there.
const SOON: Duration = Duration::from_millis(1);

/// Runs the drill.
pub(crate) async fn run(ground: Rc<Ground>, order: &'static str) {
    if let Some(pause_ms) = order.strip_prefix("starve:").and_then(|ms| ms.parse().ok()) {
        sleep(Duration::from_millis(pause_ms)).await;
        log::warn!(target: "dom0", "drill: the watchdogs are not fed any more [{}]", proto_errors::svc::DRILL);
        return ground.starved.set(true);
    }
    if let Some(pause_ms) = order.strip_prefix("crash:").and_then(|ms| ms.parse().ok()) {
        sleep(Duration::from_millis(pause_ms)).await;
        panic!("a drill: it was ordered on dom0's command line");
    }
    for (kind, waits) in [("random:", true), ("early:", false)] {
        if let Some(drill) = order.strip_prefix(kind).and_then(|order| find_all(&ground, order)) {
            if waits {
                application(&ground).await;
                sleep(drill.0.rest()).await;
            }
            return at_random(&ground, drill).await;
        }
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
        log::error!(target: "dom0", "drill={order}: it is drill=[panic:|hang:]NAME:MS:COUNT or drill=random:SEED:NAME+NAME:MIN-MAX-REST:COUNT, with names of the table, or the same with early: for random:, or drill=starve:MS or drill=crash:MS [{}]", boot::BAD_OPTION);
        return;
    };
    for round in 1..=count {
        sleep(Duration::from_millis(pause_ms)).await;
        log::info!(target: "dom0", "drill {round}: domain {name}, {} KiB free", ground.free_kib());
        match how {
            None => ground.services.tell(Input::Order(service)),
            Some(how) => ground.services.say(service, ToService::Break(how)),
        }
    }
    sleep(Duration::from_millis(pause_ms)).await;
    log::info!(target: "dom0", "drill: done, {} KiB free", ground.free_kib());
}

/// A service, and the life of it that was ended last.
type Target = (ServiceId, Option<Life>);

/// A random drill, if all that it names is in the table.
fn find_all(ground: &Ground, order: &'static str) -> Option<(Drill<'static>, Vec<(&'static str, Target)>)> {
    let drill = Drill::parse(order)?;
    let targets = drill.names().map(|name| Some((name, (ground.services.find(name)?, None))));
    let targets = targets.collect::<Option<_>>()?;
    Some((drill, targets))
}

/// Waits until an application runs.
async fn application(ground: &Ground) {
    while ground.server.borrow().requests().running().next().is_none() {
        sleep(LOOK).await;
    }
}

async fn at_random(ground: &Ground, (drill, mut targets): (Drill<'static>, Vec<(&'static str, Target)>)) {
    let rest = drill.rest();
    log::info!(target: "dom0", "drill: begins, {}", in_use(ground));
    for (round, kill) in (1..).zip(drill) {
        sleep(kill.pause).await;
        // Each name is one of these.
        let Some((_, (service, ended))) = targets.iter_mut().find(|(name, _)| *name == kill.name) else {
            return;
        };
        // Who is being ended, or built, is not there to be ended.
        while ground.services.life(*service).is_none_or(|life| Some(life) == *ended) {
            sleep(SOON).await;
        }
        *ended = ground.services.life(*service);
        log::info!(target: "dom0", "drill {round}: domain {}, {}", kill.name, in_use(ground));
        ground.services.tell(Input::Order(*service));
    }
    sleep(rest).await;
    log::info!(target: "dom0", "drill: done, {}", in_use(ground));
}

/// What a leak would change: dom0's lowest free port, its heap, its grant references in use, the pages of others that it
/// has mapped, and the machine's free memory.
fn in_use(ground: &Ground) -> alloc::string::String {
    let port = XEN.alloc_unbound(DomId::SELF, DomId::DOM0).inspect(|&port| {
        // It is ours, and bound to nobody.
        let _ = XEN.close(port);
    });
    let port = port.map_or(0, |port| port.0);
    let (heap, references) = (heap::usage().allocated / 1024, gnttab::references_in_use());
    let (mapped, free) = (window::usage().pages, ground.free_kib());
    alloc::format!(
        "port {port}, heap {heap} KiB, {references} grant references, {mapped} mapped pages, {free} KiB free"
    )
}
