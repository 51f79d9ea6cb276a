//! Channel `sealing`: storage gets its key.

use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, select};
use proto_errors::Coded;
use proto_svc::sealing::{FromVault, ToVault};
use stubdoms_service::{Accepted, Peers};

use crate::desk::{Asker, Desk, Request};

/// Serves each life of storage.
pub(crate) async fn run(desk: &'static Desk, peers: &'static Peers) {
    loop {
        let (tie, (peer, mut channel)) = stubdoms_service::accept::<FromVault, ToVault>(peers).await;
        // What was meant for the life before is not for this one.
        desk.ask(Asker::Storage, Request::StorageGone).await;
        desk.letters.borrow_mut().clear();
        let end = select(tie.cut(), serve(desk, &mut channel)).await;
        drop(channel);
        if let Either::Second(error) = end {
            log::warn!("storage {peer}: closed: channel sealing: {}", error.told());
            tie.cut().await;
        }
    }
}

async fn serve(desk: &'static Desk, channel: &mut Accepted<FromVault, ToVault>) -> ChannelError {
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
