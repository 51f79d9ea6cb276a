//! A channel that is ours to offer, and how it is broken.

use alloc::format;
use core::{marker::PhantomData, time::Duration};

use board_support_hyp::{Access, EventChannels, Grants, Shared, Xen};
use board_support_rt::{memory, memory::SpecialPage, timer};
use proto_ring::channel::initialise;
use proto_svc::{Message, supervision::PeerEnd};
use proto_xen::{DomId, Gaddr, Gref, Port};
use serde::{Deserialize, Serialize};
use stubdoms_service::{Offered, Peers, Tie, offer, park};

use super::{Lie, PATIENCE, Verdict};
use crate::pen::Pen;

/// The greeting of another version, and nothing else.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
enum Stranger<Out> {
    Hello { version: u16, to: PhantomData<Out> },
}

impl<Out: Message> Message for Stranger<Out> {
    const CHANNEL: &'static str = Out::CHANNEL;
    const VERSION: u16 = 99;
}

/// What the wiring says of our end.
pub(super) struct Ours {
    pub(super) peer: DomId,
    pub(super) page: SpecialPage,
    gref: Gref,
    pub(super) port: Port,
}

impl Ours {
    pub(super) fn of(tie: &Tie<'_>) -> Verdict<Self> {
        // Whoever is built anew after the peer has the port itself.
        let PeerEnd::Offer { peer, page, gref, port, bind: false } = tie.end() else {
            return Err("not ours to offer, or not with our port".into());
        };
        let page = memory::special_page(Gaddr(page)).ok_or("no page")?;
        Ok(Self { peer: DomId(peer), page, gref: Gref(gref), port: Port(port) })
    }

    /// Breaks the channel, and waits until the peer has closed it. `message` is one that the peer takes.
    pub(super) async fn lie<Out: Message>(self, lie: Lie, message: &Out) -> Verdict {
        let mut pen = Pen::take_over(self.page, self.port).ok_or("the page is in disorder")?;
        write(&mut pen, lie, message)?;
        closed(&pen).await
    }
}

/// Writes what breaks a channel whatever it is for.
pub(super) fn write<Out: Message>(pen: &mut Pen, lie: Lie, message: &Out) -> Verdict {
    match lie {
        Lie::Ahead => pen.announce(100_000),
        Lie::Back => pen.announce(-8),
        Lie::Claim => {
            pen.claim(5000);
            pen.message(message);
        }
        Lie::Length => pen.bytes(&[0xff, 0xff, 1, 2, 3]),
        Lie::Garbage => pen.frame(&[0xff; 7]),
        Lie::Torn => {
            pen.bytes(&[100, 0, 1, 2, 3]);
            pen.close();
        }
        Lie::Trailing | Lie::TooMuch | Lie::Version | Lie::Magic => return Err("not tried here".into()),
    }
    Ok(())
}

/// Opens the channel with a greeting that is not the peer's, and waits until the peer has closed it.
pub(super) async fn greet_in_another_version<Out: Message, In: Message>(peers: &'static Peers) -> Verdict {
    let greeted = timer::with_timeout(PATIENCE, offer::<Stranger<Out>, In>(peers, park())).await;
    let (tie, channel) = greeted.map_err(|_| "it does not greet")?;
    let Ours { page, port, .. } = Ours::of(&tie)?;
    let pen = Pen::take_over(page, port).ok_or("the page is in disorder")?;
    let closed = closed(&pen).await;
    drop(channel);
    closed
}

/// Grants the peer a page that is no channel's. What it makes of that is on its console.
pub(super) async fn show_another_page<Out: Message>(peers: &'static Peers) {
    let tie = peers.wait(Out::CHANNEL).await;
    let shown = Ours::of(&tie).and_then(|Ours { peer, page, gref, port }| {
        initialise(page.words());
        page.words()[0].store(0x6c69_6172, core::sync::atomic::Ordering::Release);
        Xen.offer(gref, peer, page.gfn(), Access::ReadWrite).map_err(|error| format!("{error}"))?;
        Xen.send(port).map_err(|error| format!("{error}"))
    });
    if let Err(why) = shown {
        log::error!("FAIL another_page on {}: {why}", Out::CHANNEL);
    }
    // It is looked at, and told of.
    timer::sleep(Duration::from_millis(500)).await;
}

async fn closed(pen: &Pen) -> Verdict {
    let closed = timer::with_timeout(PATIENCE, async {
        while !pen.is_closed() {
            timer::sleep(Duration::from_millis(5)).await;
        }
    });
    closed.await.map_err(|_| "it keeps the channel open".into())
}

/// A channel to somebody who answers requests, as control has it.
pub(super) struct Asked<Out, In> {
    channel: Offered<Out, In>,
    tie: Tie<'static>,
}

impl<Out: Message, In: Message> Asked<Out, In> {
    pub(super) async fn open(peers: &'static Peers) -> Verdict<Self> {
        let opened = timer::with_timeout(PATIENCE, offer(peers, park())).await;
        let (tie, channel) = opened.map_err(|_| "it does not open")?;
        Ok(Self { channel, tie })
    }

    /// Whether the peer answers as it should.
    pub(super) async fn answers(&mut self, request: &Out, is_right: impl Fn(&In) -> bool) -> Verdict {
        let asked = async {
            super::talk::say(&mut self.channel, request, |_| ()).await?;
            while !is_right(&super::talk::hear(&mut self.channel, |_| ()).await?) {}
            Ok(())
        };
        timer::with_timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no answer".into()))
    }

    /// As [`Ours::lie`].
    pub(super) async fn lie(self, lie: Lie, message: &Out) -> Verdict {
        Ours::of(&self.tie)?.lie(lie, message).await
    }
}
