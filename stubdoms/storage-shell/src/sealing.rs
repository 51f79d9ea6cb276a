//! The channel to vault.

use core::future::pending;

use board_support_hyp::Timer;
use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, Either3, select, select3};
use proto_errors::{Coded, storage as code};
use proto_svc::{
    Message,
    sealing::{FromVault, ToVault},
};
use stubdoms_service::{
    Peers,
    channels::{bear, offer, park},
    footing::{ChannelPark, Footing, Offered},
};
use stubdoms_storage_core::clients::Storage;
use stubdoms_storage_core::clients::sealing::{Heard, Sealed, Sealing};

use crate::{disk::FoundDisk, holding::Holding};

type Channel<F> = Offered<F, ToVault, FromVault>;

/// Serves the channel in each life of vault.
pub(crate) async fn run<F: Footing, D: FoundDisk>(
    holding: &'static Holding<F, D>,
    storage: &'static Storage<D::Running>,
    peers: &'static Peers,
) {
    let missing = if holding.has_vault { "vault is not there" } else { "this board has no vault" };
    let pages: &'static ChannelPark<F> = park();
    loop {
        // It may never come, as where dom0 has given it up.
        if !peers.is_there(ToVault::CHANNEL) && storage.lock(missing).await {
            log::warn!("store: locked: {missing} [{}]", code::STORE_LOCKED);
            holding.changed.signal(());
        }
        let (xen, runtime) = (holding.footing.xen().clone(), holding.footing.runtime().clone());
        let (tie, mut channel): (_, Channel<F>) = offer(xen, runtime, peers, pages).await;
        // This one says itself why it gives no key.
        storage.lock("").await;
        let end = select(tie.cut(), serve(holding, storage, &mut channel)).await;
        drop(channel);
        if let Either::Second(error) = end {
            log::warn!("channel sealing: {}", error.told());
            bear(holding.footing.runtime(), &tie).await;
        }
    }
}

/// Says what lies on the disk, and does what vault says, until it closes the channel or breaks its protocol.
async fn serve<F: Footing, D: FoundDisk>(
    holding: &Holding<F, D>,
    storage: &Storage<D::Running>,
    channel: &mut Channel<F>,
) -> ChannelError {
    let (mut sender, mut receiver) = channel.split();
    let mut sealing = Sealing::default();
    holding.store_found.reset();
    if let Some(open) = sealing.open(storage).await
        && let Err(error) = sender.send(&open).await
    {
        return error;
    }
    loop {
        let pause = sealing.pause();
        let again = async {
            match pause {
                Some(pause) => holding.footing.runtime().sleep(pause).await,
                None => pending().await,
            }
        };
        let heard = match select3(receiver.receive(), holding.store_found.wait(), again).await {
            Either3::First(Ok(said)) => sealing.hear(storage, said).await,
            Either3::First(Err(error)) => return error,
            Either3::Second(()) => Heard { reply: sealing.open(storage).await, ..Heard::default() },
            Either3::Third(()) => sealing.try_again(storage).await,
        };
        if let Some(sealed) = &heard.sealed {
            tell(sealed);
        }
        if heard.changed {
            holding.changed.signal(());
        }
        if storage.is_failing().await {
            holding.failed.signal(());
        }
        if let Some(reply) = heard.reply
            && let Err(error) = sender.send(&reply).await
        {
            return error;
        }
    }
}

/// What has become of the store.
pub(crate) fn tell(sealed: &Sealed) {
    match sealed.complaint() {
        None => log::info!("store: {sealed}"),
        Some(complaint) => log::error!("store: {}", complaint.told()),
    }
    if let Sealed::Open(opened) = sealed {
        for (_, key) in &opened.damaged {
            log::error!("store: value {key} was damaged, and is dropped [{}]", code::VALUE_DAMAGED);
        }
    }
}
