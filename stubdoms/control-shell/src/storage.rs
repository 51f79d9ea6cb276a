//! The channel to storage: what the agent asks goes out, several requests ahead of their answers, and answers come in.
//!
//! Storage may end at any time. The agent is told, and asks anew what it still wants when storage is back.

use alloc::rc::Rc;

use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_errors::{Coded, ctl};
use proto_svc::storage::{FromStorage, ToStorage};
use stubdoms_service::{
    Peers,
    channels::{bear, offer, park},
    footing::{ChannelPark, Offered},
};

use crate::{brain::Brain, system::System};

type Channel<S> = Offered<S, ToStorage, FromStorage>;

/// The way to storage.
#[derive(Clone, Default)]
pub(crate) struct Storage(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// Rung when the agent may want something.
    look: Signal<NoopRawMutex, ()>,
    /// Rung when storage has answered, or has gone: a download may go on.
    moved: Signal<NoopRawMutex, ()>,
}

impl Storage {
    /// The agent may want something of it.
    pub(crate) fn look(&self) {
        self.0.look.signal(());
    }

    /// Waits until storage has answered something. One waits at a time: there is one download for the slot.
    pub(crate) async fn moved(&self) {
        self.0.moved.wait().await;
    }
}

/// Connects with one life of storage after the other.
pub(crate) async fn serve<S: System>(storage: Storage, peers: &'static Peers, brain: Brain<S>) {
    let pages: &'static ChannelPark<S> = park();
    loop {
        let (xen, runtime) = (brain.system().xen().clone(), brain.system().runtime().clone());
        let (tie, mut channel): (_, Channel<S>) = offer(xen, runtime, peers, pages).await;
        brain.tell(|agent, now| agent.on_storage(now, true));
        let over = select(tie.cut(), talk(&storage, &mut channel, &brain)).await;
        drop(channel);
        brain.tell(|agent, now| agent.on_storage(now, false));
        storage.0.moved.signal(());
        match over {
            Either::First(()) => {
                log::warn!("storage: it has ended; waiting for it to come back [{}]", ctl::STORAGE_GONE);
            }
            // Of what it did wrong there is a line.
            Either::Second(()) => bear(brain.system().runtime(), &tie).await,
        }
    }
}

/// Talks until storage closes the channel or breaks its protocol, of which it leaves a line in the log.
async fn talk<S: System>(storage: &Storage, channel: &mut Channel<S>, brain: &Brain<S>) {
    let (mut sender, mut receiver) = channel.split();
    let outgoing = async {
        loop {
            while let Some((number, request)) = brain.ask(|agent, _| agent.next_storage_request()) {
                if let Err(error) = sender.send(&ToStorage::Ask { number, request }).await {
                    return error;
                }
            }
            storage.0.look.wait().await;
        }
    };
    let incoming = async {
        loop {
            match receiver.receive().await {
                // Said and checked when the channel was opened.
                Ok(FromStorage::Hello { .. }) => {}
                Ok(FromStorage::Changed) => brain.tell(|agent, now| agent.on_storage_changed(now)),
                Ok(FromStorage::Answer { number, answer }) => {
                    brain.tell(|agent, now| agent.on_storage_answer(now, number, answer));
                    storage.0.moved.signal(());
                }
                Err(error) => return error,
            }
            // There is room for another request.
            storage.look();
        }
    };
    let (Either::First(error) | Either::Second(error)) = select(outgoing, incoming).await;
    log::error!("channel storage: {}", error.told());
}
