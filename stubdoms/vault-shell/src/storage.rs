//! Channel `sealing`: storage gets its key.

use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, select};
use proto_svc::sealing::{FromVault, ToVault};
use stubdoms_service::{
    Peers,
    footing::{Accepted, Footing, serve_lives},
};

use crate::desk::{Asker, Desk, Request};

/// Serves each life of storage.
pub(crate) async fn run<F: Footing>(footing: F, desk: &'static Desk, peers: &'static Peers) {
    serve_lives(&footing, peers, "storage", async |channel| {
        // What was meant for the life before is not for this one.
        desk.ask(Asker::Storage, Request::StorageGone).await;
        desk.letters.borrow_mut().clear();
        serve::<F>(desk, channel).await
    })
    .await;
}

async fn serve<F: Footing>(
    desk: &'static Desk,
    channel: &mut Accepted<F, FromVault, ToVault>,
) -> ChannelError {
    let (mut sender, mut receiver) = channel.split();
    loop {
        match select(receiver.receive(), desk.mail.wait()).await {
            Either::First(Ok(said)) => {
                desk.ask(Asker::Storage, Request::Storage(said)).await;
            }
            Either::First(Err(error)) => return error,
            Either::Second(()) => {}
        }
        loop {
            let letter = desk.letters.borrow_mut().pop_front();
            let Some(letter) = letter else { break };
            if let Err(error) = sender.send(&letter).await {
                return error;
            }
        }
    }
}
