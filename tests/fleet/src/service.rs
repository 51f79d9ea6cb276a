//! What every service does first: its wiring, its channels, its word to dom0. As `stubdoms/service`.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt::Debug,
    rc::Rc,
};

use board_support_hyp::Clock;
use board_support_pv::{
    channel::{
        self, OpenError,
        peers::{Peers, Tie},
    },
    grant::Park,
};
use embassy_futures::select::{Either, Either3, select, select3};
use proto_manifest::wiring::{End, Wiring};
use proto_svc::{
    Message,
    supervision::{FromService, Level, LogRecord, PeerEnd, ToService},
    text::clipped,
};
use proto_xen::{DomId, Gaddr, Gref, Port, sched::ShutdownReason};
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
    /// Its log, as far as dom0 was not told.
    log: Rc<Log>,
    /// What the story looks at.
    pub seen: Rc<Seen>,
}

#[derive(Default)]
struct Log {
    lines: RefCell<VecDeque<LogRecord>>,
    written: Cell<u64>,
    added: Bell,
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
        Self { domain, wiring: Rc::new(wiring), peers, ready: Rc::default(), log: Rc::default(), seen }
    }

    /// Writes a line to its log: who it is, and how many lines it has written before.
    pub fn write_line(&self) {
        let text = format!("{} {}", self.domain.id(), self.log.written.get());
        self.log.written.set(self.log.written.get() + 1);
        let record = LogRecord { level: Level::Info, at_ns: self.domain.now_ns(), text: clipped(&text) };
        self.log.lines.borrow_mut().push_back(record);
        self.log.added.signal(());
    }

    async fn next_line(&self) -> LogRecord {
        loop {
            if let Some(record) = self.log.lines.borrow_mut().pop_front() {
                return record;
            }
            self.log.added.wait().await;
        }
    }

    /// What is there, or else the end of the domain: as a panic on the device.
    pub async fn must<T, E: Debug>(&self, result: Result<T, E>) -> T {
        match result {
            Ok(value) => value,
            Err(_) => {
                self.domain.world().crash(self.domain.id(), ShutdownReason::CRASH);
                std::future::pending().await
            }
        }
    }

    fn page(&self, at: u64) -> SpecialPage {
        self.domain.special_page(Gaddr(at).frame()).expect("the wiring names pages of ours")
    }

    async fn adopt(&self, port: u32) -> Line {
        let line = Line::adopt(self.domain.clone(), self.domain.clone(), Port(port));
        self.must(line).await
    }

    /// Opens a channel to dom0.
    ///
    /// # Panics
    /// If dom0 wired it wrongly.
    pub async fn open_dom0<Out: Message, In: Message>(&self) -> Owned<Out, In> {
        let Some(End::Dom0 { page, port }) = self.wiring.channel(Out::CHANNEL) else {
            panic!("the wiring has no channel {}", Out::CHANNEL)
        };
        let opened = Owned::open_lower(self.adopt(port).await, self.page(page)).await;
        self.must(opened).await
    }

    /// Serves channel `dom0` for ever.
    pub async fn supervise(self) {
        let mut channel = self.open_dom0::<FromService, ToService>().await;
        self.write_line();
        loop {
            let next = select3(channel.receive(), self.ready.wait(), self.next_line()).await;
            let answer = match next {
                Either3::First(told) => match self.must(told).await {
                    ToService::Ping { number } => FromService::Pong { number },
                    ToService::PeerGone { channel } => {
                        self.peers.gone(&channel);
                        self.write_line();
                        continue;
                    }
                    ToService::PeerBack { channel, end } => {
                        self.peers.back(&channel, end);
                        self.write_line();
                        continue;
                    }
                    ToService::Hello { .. } | ToService::Break(_) | ToService::Probe(_) => continue,
                },
                Either3::Second(()) => FromService::Ready,
                Either3::Third(record) => FromService::Log(record),
            };
            if self.seen.hung.borrow().contains(&self.domain.id().0) {
                // It runs, and says nothing any more.
                std::future::pending::<()>().await;
            }
            let sent = channel.send(&answer).await;
            self.must(sent).await;
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
