//! Honest talk on a channel, between the lies.

use alloc::format;

use board_support_hyp::Shared;
use board_support_pv::{channel::Channel, port::Line};
use embassy_futures::select::{Either, select};
use proto_svc::Message;

use super::Verdict;

/// Sends a message, and shows `take` what the peer says meanwhile: it hears us only while we hear it.
pub(crate) async fn say<L: Line, S: Shared, Out: Message, In: Message>(
    channel: &mut Channel<L, S, Out, In>,
    message: &Out,
    mut take: impl FnMut(&In),
) -> Verdict {
    loop {
        let (mut sender, mut receiver) = channel.split();
        let heard = match select(sender.send(message), receiver.receive()).await {
            Either::First(sent) => return sent.map_err(|error| format!("{error}")),
            Either::Second(heard) => heard.map_err(|error| format!("{error}"))?,
        };
        take(&heard);
    }
}

/// The next that the peer says, which `take` is shown too.
pub(crate) async fn hear<L: Line, S: Shared, Out: Message, In: Message>(
    channel: &mut Channel<L, S, Out, In>,
    mut take: impl FnMut(&In),
) -> Verdict<In> {
    let heard = channel.receive().await.map_err(|error| format!("{error}"))?;
    take(&heard);
    Ok(heard)
}
