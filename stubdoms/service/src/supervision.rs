//! The channel that every service has to dom0: it is up, its log, it is well.

use board_support_rt::log::{Item, Record, next};
use embassy_futures::select::{Either3, select3};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use proto_manifest::wiring::Wiring;
use proto_svc::{
    supervision::{FromService, Level, LogRecord, ToService},
    text::clipped,
};

use crate::channels::open_dom0;

static READY: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// Tells dom0 that the service does its work from now on.
pub fn ready() {
    READY.signal(());
}

/// Serves the channel for ever. The log is forwarded from the domain's first line on; while the channel
/// has no room, lines wait in the log's own queue, which counts what it loses.
///
/// # Panics
/// If dom0 breaks the channel: without it the domain is not supervised any more.
pub async fn supervise(wiring: Wiring) {
    let mut channel = open_dom0::<FromService, ToService>(&wiring).await;
    let (mut sender, mut receiver) = channel.split();
    loop {
        let message = match select3(receiver.receive(), READY.wait(), next()).await {
            Either3::First(Ok(ToService::Ping { number })) => FromService::Pong { number },
            Either3::First(Ok(ToService::Hello { .. })) => continue,
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

fn convert(record: &Record) -> LogRecord {
    let level = match record.level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug | log::Level::Trace => Level::Debug,
    };
    LogRecord { level, at_ns: record.at.as_nanos(), text: clipped(&record.text) }
}
