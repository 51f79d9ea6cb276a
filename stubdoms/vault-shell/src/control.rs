//! Channel `vault`: control has things done by keys that it never sees.

use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, select};
use proto_svc::vault::{FromVault, ToVault};
use stubdoms_service::{
    Peers,
    footing::{Accepted, Footing, serve_lives},
};

use crate::desk::{Answer, Asker, Desk, Request};

/// Serves each life of control.
pub(crate) async fn run<F: Footing>(footing: F, desk: &'static Desk, peers: &'static Peers) {
    serve_lives(&footing, peers, "control", async |channel| serve::<F>(desk, channel).await).await;
}

async fn serve<F: Footing>(
    desk: &'static Desk,
    channel: &mut Accepted<F, FromVault, ToVault>,
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
