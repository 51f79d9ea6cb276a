//! What every service does first: its wiring, its channels, its word to dom0. As `stubdoms/service`.

use std::rc::Rc;

use board_support_pv::{
    channel::{
        self, OpenError,
        peers::{Peers, Tie},
    },
    grant::Park,
};
use embassy_futures::select::{Either, select};
use proto_manifest::wiring::{End, Wiring};
use proto_svc::{
    Message,
    supervision::{FromService, PeerEnd, ToService},
};
use proto_xen::{DomId, Gaddr, Gref, Port};
use tests_fakexen::{Domain, page::SpecialPage};

use crate::ground::{Accepted, Bell, Line, Offered, Owned, Seen, sleep_ms};

/// A service's own things.
#[derive(Clone)]
pub struct Base {
    /// Its view of Xen.
    pub domain: Domain,
    /// Its wiring record.
    pub wiring: Rc<Wiring>,
    /// Its peers.
    pub peers: &'static Peers,
    /// Rung when it does its work.
    pub ready: Rc<Bell>,
    /// What the story looks at.
    pub seen: Rc<Seen>,
}

impl Base {
    /// What a service begins with.
    #[must_use]
    pub fn new(domain: Domain, wiring: Wiring, seen: Rc<Seen>) -> Self {
        let peers: &'static Peers = Box::leak(Box::default());
        for channel in &wiring.channels {
            let end = match channel.end {
                End::Dom0 { .. } => continue,
                End::Offer { peer, page, gref, port, bind } => {
                    PeerEnd::Offer { peer, page, gref, port, bind }
                }
                End::Accept { peer, gref, port, bind } => PeerEnd::Accept { peer, gref, port, bind },
            };
            peers.back(&channel.name, end);
        }
        Self { domain, wiring: Rc::new(wiring), peers, ready: Rc::default(), seen }
    }

    fn page(&self, at: u64) -> SpecialPage {
        self.domain.special_page(Gaddr(at).frame()).expect("the wiring names pages of ours")
    }

    fn adopt(&self, port: u32) -> Line {
        Line::adopt(self.domain.clone(), self.domain.clone(), Port(port))
            .expect("the wiring names ports of ours")
    }

    /// Opens a channel to dom0.
    ///
    /// # Panics
    /// If dom0 wired it wrongly.
    pub async fn open_dom0<Out: Message, In: Message>(&self) -> Owned<Out, In> {
        let Some(End::Dom0 { page, port }) = self.wiring.channel(Out::CHANNEL) else {
            panic!("the wiring has no channel {}", Out::CHANNEL)
        };
        Owned::open_lower(self.adopt(port), self.page(page)).await.expect("dom0 greets as it should")
    }

    /// Serves channel `dom0` for ever.
    ///
    /// # Panics
    /// If dom0 breaks it.
    pub async fn supervise(self) {
        let mut channel = self.open_dom0::<FromService, ToService>().await;
        loop {
            let answer = match select(channel.receive(), self.ready.wait()).await {
                Either::First(told) => match told.expect("dom0 keeps its channel") {
                    ToService::Ping { number } => FromService::Pong { number },
                    ToService::PeerGone { channel } => {
                        self.peers.gone(&channel);
                        continue;
                    }
                    ToService::PeerBack { channel, end } => {
                        self.peers.back(&channel, end);
                        continue;
                    }
                    ToService::Hello { .. } | ToService::Break(_) | ToService::Probe(_) => continue,
                },
                Either::Second(()) => FromService::Ready,
            };
            if self.seen.hung.borrow().contains(&self.domain.id().0) {
                // It runs, and says nothing any more.
                std::future::pending::<()>().await;
            }
            channel.send(&answer).await.expect("dom0 keeps its channel");
        }
    }

    /// Opens the channel that we offer, once its peer is there.
    ///
    /// # Panics
    /// If dom0 wired it wrongly.
    pub async fn offer<Out: Message, In: Message>(
        &self,
        park: &'static Park<SpecialPage>,
    ) -> (Tie<'static>, DomId, Offered<Out, In>) {
        loop {
            let tie = self.peers.wait(Out::CHANNEL).await;
            let PeerEnd::Offer { peer, page, gref, port, bind } = tie.end() else {
                panic!("not ours to offer")
            };
            let open = async {
                while !park.is_empty() {
                    park.retry(&self.domain);
                    sleep_ms(&self.domain, 1).await;
                }
                let page = self.page(page);
                let offer = channel::Offer { peer: DomId(peer), gref: Gref(gref), gfn: page.gfn() };
                let line = self.line(peer, port, bind)?;
                channel::offer(line, self.domain.clone(), park, offer, page).await
            };
            let opened = select(tie.cut(), open).await;
            if let Some(channel) = self.opened(opened, &tie).await {
                return (tie, DomId(peer), channel);
            }
        }
    }

    /// Opens the channel that another offers, once that is there.
    ///
    /// # Panics
    /// If dom0 wired it wrongly.
    pub async fn accept<Out: Message, In: Message>(&self) -> (Tie<'static>, DomId, Accepted<Out, In>) {
        loop {
            let tie = self.peers.wait(Out::CHANNEL).await;
            let PeerEnd::Accept { peer, gref, port, bind } = tie.end() else { panic!("not ours to accept") };
            let open = async {
                let line = self.line(peer, port, bind)?;
                channel::accept(line, self.domain.clone(), DomId(peer), Gref(gref)).await
            };
            let opened = select(tie.cut(), open).await;
            if let Some(channel) = self.opened(opened, &tie).await {
                return (tie, DomId(peer), channel);
            }
        }
    }

    fn line(&self, peer: u16, port: u32, bind: bool) -> Result<Line, OpenError> {
        let xen = || self.domain.clone();
        channel::line(xen(), xen(), DomId(peer), Port(port), bind)
    }

    async fn opened<C>(&self, opened: Either<(), Result<C, OpenError>>, tie: &Tie<'_>) -> Option<C> {
        match opened {
            Either::First(()) => None,
            Either::Second(Ok(channel)) => Some(channel),
            Either::Second(Err(_)) => {
                tie.cut().await;
                None
            }
        }
    }
}
