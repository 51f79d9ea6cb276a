//! The channel that every service has to dom0: it is up, its log, it is well; what becomes of its peers.

use board_support_hyp::{
    Runtime,
    runtime::{Item, Record},
};
use board_support_pv::channel::peers::Peers;
use core::future::pending;
use embassy_futures::select::{Either3, select3};
use embassy_sync::{blocking_mutex::raw::RawMutex, signal::Signal};
use proto_manifest::wiring::Wiring;
use proto_svc::{
    supervision::{Break, FromService, Level, LogRecord, MAX_FILLER, Probe, ToService},
    text::clipped,
};

use crate::channels::{Hypervisor, open_dom0};

/// Serves the channel for ever; `ready` says when the service does its work. The log is forwarded from the domain's first line on; while the channel
/// has no room, lines wait in the log's own queue, which counts what it loses.
///
/// # Panics
/// If dom0 breaks the channel: without it the domain is not supervised any more.
pub async fn supervise<X: Hypervisor, R: Runtime, M: RawMutex>(
    xen: X,
    runtime: R,
    wiring: Wiring,
    peers: &'static Peers,
    ready: &Signal<M, ()>,
) {
    let mut channel = open_dom0::<X, R, FromService, ToService>(xen, runtime.clone(), &wiring).await;
    let (mut sender, mut receiver) = channel.split();
    // Messages that a probe has asked for and that were not sent yet.
    let mut filler = 0_u16;
    loop {
        if let Some(left) = filler.checked_sub(1) {
            filler = left;
            if let Err(error) = sender.send(&FromService::Filler { text: clipped(FILLER) }).await {
                panic!("channel dom0: {error}");
            }
            continue;
        }
        let message = match select3(receiver.receive(), ready.wait(), runtime.next_line()).await {
            Either3::First(Ok(ToService::Probe(Probe::Fill { count }))) => {
                filler = count;
                continue;
            }
            Either3::First(Ok(ToService::Break(Break::Hang))) => {
                runtime.hang();
                return pending().await;
            }
            Either3::First(Ok(told)) => match hear(&runtime, told, peers) {
                Some(answer) => answer,
                None => continue,
            },
            Either3::First(Err(error)) => panic!("channel dom0: {error}"),
            Either3::Second(()) => FromService::Ready,
            Either3::Third(Item::Record(record)) => FromService::Log(convert(&record)),
            Either3::Third(Item::Lost(count)) => FromService::LogLost { count },
        };
        if let Err(error) = sender.send(&message).await {
            panic!("channel dom0: {error}");
        }
    }
}

/// What a filler holds.
const FILLER: &str = match core::str::from_utf8(&[b'.'; MAX_FILLER]) {
    Ok(text) => text,
    Err(_) => "",
};

/// Does what dom0 says, and gives what there is to answer.
fn hear<R: Runtime>(runtime: &R, told: ToService, peers: &Peers) -> Option<FromService> {
    match told {
        // Said and checked when the channel was opened.
        ToService::Hello { .. } => None,
        ToService::Ping { number } => Some(FromService::Pong { number }),
        ToService::PeerGone { channel } => {
            peers.gone(&channel);
            None
        }
        ToService::PeerBack { channel, end } => {
            peers.back(&channel, end);
            None
        }
        ToService::Probe(Probe::Rounds) => Some(FromService::Rounds { count: runtime.rounds() }),
        // Done by who calls.
        ToService::Probe(Probe::Fill { .. }) | ToService::Break(Break::Hang) => None,
        ToService::Break(Break::Panic) => panic!("a drill: dom0 ordered it"),
    }
}

fn convert(record: &Record) -> LogRecord {
    let level = match record.level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug | log::Level::Trace => Level::Debug,
    };
    LogRecord { level, at_ns: record.at.as_nanos(), text: clipped(&record.text) }
}
