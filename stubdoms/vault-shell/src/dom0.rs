//! Channel `measure`: dom0 has extended what it starts.

use core::future::pending;

use proto_errors::Coded;
use proto_manifest::wiring::Wiring;
use proto_svc::measure::{FromVault, ToVault};
use stubdoms_service::{channels::open_dom0, footing::Footing};

use crate::desk::{Answer, Asker, Desk, Request};

/// Serves dom0, which is there for as long as we are.
pub(crate) async fn run<F: Footing>(footing: F, desk: &'static Desk, wiring: Wiring) {
    let (xen, runtime) = (footing.xen().clone(), footing.runtime().clone());
    let mut channel = open_dom0::<_, _, FromVault, ToVault>(xen, runtime, &wiring).await;
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
