//! Channel `vault`: control has things done by keys that it never sees.

use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, select};
use proto_errors::Coded;
use proto_svc::vault::{FromVault, ToVault};
use stubdoms_service::{Peers, channels::accept};

use crate::{
    desk::{Answer, Asker, Desk, Request},
    system::{Accepted, System},
};

/// Serves each life of control.
pub(crate) async fn run<S: System>(system: S, desk: &'static Desk, peers: &'static Peers) {
    loop {
        let (xen, runtime) = (system.xen().clone(), system.runtime().clone());
        let (tie, (peer, mut channel)) = accept(xen, runtime, peers).await;
        let end = select(tie.cut(), serve::<S>(desk, &mut channel)).await;
        drop(channel);
        if let Either::Second(error) = end {
            log::warn!("control {peer}: closed: channel vault: {}", error.told());
            tie.cut().await;
        }
    }
}

async fn serve<S: System>(
    desk: &'static Desk,
    channel: &mut Accepted<S, FromVault, ToVault>,
) -> ChannelError {
    let (mut sender, mut receiver) = channel.split();
    loop {
        let (number, request) = match select(receiver.receive(), desk.changed.wait()).await {
            Either::First(Ok(ToVault::Ask { number, request })) => (number, request),
            Either::First(Ok(ToVault::Hello { .. })) => continue,
            Either::First(Err(error)) => return error,
            Either::Second(()) => {
                if let Err(error) = sender.send(&FromVault::Changed).await {
                    return error;
                }
                continue;
            }
        };
        let Answer::Control(answer) = desk.ask(Asker::Control, Request::Control(request)).await else {
            continue;
        };
        if let Err(error) = sender.send(&FromVault::Answer { number, answer }).await {
            return error;
        }
    }
}
