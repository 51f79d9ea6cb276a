//! Channel `sealing`: storage gets its key.

use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, select};
use proto_errors::Coded;
use proto_svc::sealing::{FromVault, ToVault};
use stubdoms_service::{Peers, channels::accept};

use crate::{
    desk::{Asker, Desk, Request},
    system::{Accepted, System},
};

/// Serves each life of storage.
pub(crate) async fn run<S: System>(system: S, desk: &'static Desk, peers: &'static Peers) {
    loop {
        let (xen, runtime) = (system.xen().clone(), system.runtime().clone());
        let (tie, (peer, mut channel)) = accept(xen, runtime, peers).await;
        // What was meant for the life before is not for this one.
        desk.ask(Asker::Storage, Request::StorageGone).await;
        desk.letters.borrow_mut().clear();
        let end = select(tie.cut(), serve::<S>(desk, &mut channel)).await;
        drop(channel);
        if let Either::Second(error) = end {
            log::warn!("storage {peer}: closed: channel sealing: {}", error.told());
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
