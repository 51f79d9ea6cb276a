//! The channel to control.

use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, select};
use proto_errors::Coded;
use proto_svc::storage::{FromStorage, ToStorage};
use stubdoms_service::{Peers, channels::accept};
use stubdoms_storage_core::clients::Burst;
use stubdoms_storage_core::clients::control::answer_without_disk;

use crate::{
    holding::Holding,
    system::{Accepted, System},
};

type Channel<S> = Accepted<S, FromStorage, ToStorage>;

/// Serves the channel in each life of control. A request that was under way when one ended is dropped: it is
/// done or not, and the next request finds everything in order.
pub(crate) async fn run<S: System>(holding: &'static Holding<S>, peers: &'static Peers) {
    let mut burst = Burst::default();
    loop {
        let (xen, runtime) = (holding.system.xen().clone(), holding.system.runtime().clone());
        let (tie, (_, mut channel)): (_, (_, Channel<S>)) = accept(xen, runtime, peers).await;
        let end = select(tie.cut(), serve(holding, &mut channel, &mut burst)).await;
        drop(channel);
        if let Either::Second(error) = end {
            log::warn!("channel storage: {}", error.told());
            tie.cut().await;
        }
    }
}

/// Answers requests one after the other, until control closes the channel or breaks its protocol.
async fn serve<S: System>(holding: &Holding<S>, channel: &mut Channel<S>, burst: &mut Burst) -> ChannelError {
    let (mut sender, mut receiver) = channel.split();
    loop {
        let message = match select(receiver.receive(), holding.changed.wait()).await {
            Either::First(Ok(ToStorage::Ask { number, request })) => {
                let answer = match holding.storage() {
                    Some(storage) => {
                        let (answer, event) = storage.answer(&request).await;
                        match event {
                            Some(Ok(event)) => log::info!("slots: {event}"),
                            Some(Err(refused)) if burst.is_news(refused.code()) => {
                                log::warn!("control is refused: {}", refused.told());
                            }
                            Some(Err(_)) | None => {}
                        }
                        answer
                    }
                    None => answer_without_disk(&request),
                };
                FromStorage::Answer { number, answer }
            }
            // Said and checked when the channel was opened.
            Either::First(Ok(ToStorage::Hello { .. })) => continue,
            Either::First(Err(error)) => return error,
            Either::Second(()) => FromStorage::Changed,
        };
        if let Err(error) = sender.send(&message).await {
            return error;
        }
    }
}
