//! The attacker as a service: lies to dom0 on the channel that every service has.

use core::time::Duration;

use board_support_hyp::Shared;
use board_support_rt::{memory, timer};
use proto_manifest::{
    table::DOM0_CHANNEL,
    wiring::{End, Wiring},
};
use proto_ring::channel::initialise;
use proto_svc::{
    Message,
    supervision::{FromService, Level, LogRecord},
};
use proto_xen::{Gaddr, Port};

use crate::pen::Pen;

/// How long the flood comes with as many events.
const STORM: Duration = Duration::from_secs(5);

/// Greets as it should, except where that is the lie, then lies as the service's name says.
pub(crate) async fn run(wiring: &Wiring) {
    let Some(mut pen) = fresh(wiring) else { return log::error!("no channel to lie on") };
    // Before a fault there is a moment of truth, so that dom0 sees the service come up.
    if wiring.name != "lie-version" {
        pen.message(&FromService::Hello { version: FromService::VERSION });
        timer::sleep(Duration::from_millis(50)).await;
    }
    match wiring.name.as_str() {
        "lie-version" => pen.message(&FromService::Hello { version: 99 }),
        "lie-index" => pen.announce(100_000),
        "lie-length" => pen.bytes(&[0xff, 0xff, 1, 2, 3]),
        "lie-garbage" => pen.frame(&[0xff; 7]),
        "lie-flood" => flood(&mut pen).await,
        "lie-torn" => pen.bytes(&[100, 0, 1, 2, 3]),
        other => log::error!("there is no lie called {other}"),
    }
    loop {
        timer::sleep(Duration::from_millis(20)).await;
        pen.bell();
    }
}

/// The channel to dom0, which nobody has used.
fn fresh(wiring: &Wiring) -> Option<Pen> {
    let End::Dom0 { page, port } = wiring.channel(DOM0_CHANNEL)? else { return None };
    let page = memory::special_page(Gaddr(page))?;
    initialise(page.words());
    Pen::take_over(page, Port(port))
}

/// Logs without end, each line said to be older than the channel. For some seconds it rings all the time
/// and lets nobody have the CPU; then only its messages are too many.
async fn flood(pen: &mut Pen) {
    let text = "this line is one of too many".try_into().unwrap_or_default();
    let line = FromService::Log(LogRecord { level: Level::Info, at_ns: 0, text });
    let storm = timer::now() + STORM;
    loop {
        pen.message(&line);
        if timer::now() >= storm {
            timer::sleep(Duration::from_millis(1)).await;
        }
    }
}
