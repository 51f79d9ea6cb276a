//! The channel to control.

use board_support_pv::channel::ChannelError;
use embassy_futures::select::{Either, select};
use proto_errors::Coded;
use proto_svc::storage::{FromStorage, ToStorage};
use stubdoms_service::{
    Peers,
    footing::{Accepted, Footing, serve_lives},
};
use stubdoms_storage_core::clients::Burst;
use stubdoms_storage_core::clients::control::answer_without_disk;

use crate::{disk::FoundDisk, holding::Holding};

type Channel<F> = Accepted<F, FromStorage, ToStorage>;

/// Serves the channel in each life of control. A request that was under way when one ended is dropped: it is
/// done or not, and the next request finds everything in order.
pub(crate) async fn run<F: Footing, D: FoundDisk>(holding: &'static Holding<F, D>, peers: &'static Peers) {
    let mut burst = Burst::default();
    let serve = async |channel: &mut Channel<F>| serve(holding, channel, &mut burst).await;
    serve_lives(&holding.footing, peers, "control", serve).await;
}

/// Answers requests one after the other, until control closes the channel or breaks its protocol.
async fn serve<F: Footing, D: FoundDisk>(
    holding: &Holding<F, D>,
    channel: &mut Channel<F>,
    burst: &mut Burst,
) -> ChannelError {
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
