//! Channel `measure`: dom0 has extended what it starts.

use core::future::pending;

use proto_errors::Coded;
use proto_manifest::wiring::Wiring;
use proto_svc::measure::{FromVault, ToVault};

use crate::desk::{Answer, Asker, Desk, Request};

/// Serves dom0, which is there for as long as we are.
pub(crate) async fn run(desk: &'static Desk, wiring: Wiring) {
    let mut channel = stubdoms_service::open_dom0::<FromVault, ToVault>(&wiring).await;
    loop {
        let asked = match channel.receive().await {
            Ok(asked) => asked,
            Err(error) => {
                log::error!("channel measure: {}", error.told());
                return pending().await;
            }
        };
        let Answer::Measure(Some(answer)) = desk.ask(Asker::Dom0, Request::Measure(asked)).await else {
            continue;
        };
        if let Err(error) = channel.send(&answer).await {
            log::error!("channel measure: {}", error.told());
        }
    }
}
