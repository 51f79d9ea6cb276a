//! What the tasks share: the machine and the ports it forwards between. Borrowed for one pass at a
//! time, never while waiting.

use alloc::{boxed::Box, rc::Rc};
use core::{
    cell::RefCell,
    task::{Context, Poll},
};

use board_support_drv::nic::{Causes, Fault, Link};
use board_support_hyp::{Instant as Moment, Runtime, Timer};
use board_support_pv::net::back::{Back, ConnectError, Vif};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_errors::net as code;
use proto_io::netif::checksum::Checksum;
use proto_ring::PeerFault;
use proto_xen::DomId;
use stubdoms_net_core::{
    Duration, Instant, MAX_FRAME, Mac, checksum,
    counters::PortCounters,
    forward::{Egress, Event, Forwarder, Sizes, VifRefused},
    uplink::{self, Lease},
    vif::{MAX_VIFS, VifId, VifNetwork},
};
use stubdoms_service::channels::{Hypervisor, Port};

use crate::card::Card;

/// Name of the uplink in messages and lines.
pub const UPLINK: &str = "eth0";

/// Frames that one pass takes from the card before others have their turn.
const PASS: usize = 64;

/// Shortest time between two passes for a deadline, whatever the machine asks for.
const TICK: Duration = Duration::from_millis(1);

type Backend<X, R> = Back<Port<X, R>, X>;
type Flag = Signal<NoopRawMutex, ()>;

/// Rung when one connection of a guest is over. The next connection of the same vif has another one, so that it says
/// nothing of that, however late it is heard.
pub(crate) type Gone = Rc<Flag>;

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// There is nothing left.
    Empty,
    /// There may be more, and it is somebody else's turn.
    More,
    /// The uplink has no room: go on after [`Node::room`].
    NoRoom,
}

/// Why a vif does not work (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VifError {
    /// The machine does not take it.
    Refused(VifRefused),
    /// Its rings or its port.
    Connect(ConnectError),
}

/// How the uplink stands.
#[derive(Clone, Debug)]
pub(crate) struct UplinkState {
    pub(crate) mac: Mac,
    pub(crate) link: bool,
    pub(crate) lease: Option<Lease>,
}

/// What the tasks share.
pub struct Node<X: Hypervisor, R: Runtime> {
    xen: X,
    runtime: R,
    state: RefCell<State<X, R>>,
    /// The next deadline is another one.
    pub(crate) deadline_moved: Flag,
    /// A guest has broken the protocol of its vif, which is closed for that.
    pub(crate) vif_failed: Flag,
    /// The uplink's link or lease is another one.
    pub(crate) uplink_changed: Flag,
    /// The card is to be looked at: a vif waits for room in it, or it did what it must not.
    pub(crate) card_wanted: Flag,
    /// There is room in the card again, for each vif.
    room: [Flag; MAX_VIFS],
}

struct State<X: Hypervisor, R: Runtime> {
    machine: Forwarder,
    ports: Ports<X, R>,
    next: Option<Instant>,
    /// Frames that the card itself counted as bad or missed; and how often it was reset.
    card_errors: u64,
    card_drops: u64,
    frame: [u8; MAX_FRAME],
}

/// Where frames go.
struct Ports<X: Hypervisor, R: Runtime> {
    card: Option<Card>,
    link: bool,
    vifs: [Option<Backend<X, R>>; MAX_VIFS],
    /// For the task of each.
    gone: [Option<Gone>; MAX_VIFS],
    /// Some vif waits for room.
    starved: bool,
}

impl<X: Hypervisor, R: Runtime> Egress for Ports<X, R> {
    fn uplink(&mut self, frame: &[u8]) -> bool {
        // Without carrier frames would pile up in the card and leave when they mean nothing any more.
        self.link && self.card.as_mut().is_some_and(|card| card.transmit(frame).is_ok())
    }

    fn vif(&mut self, vif: VifId, frame: &[u8]) -> bool {
        let Some(back) = &mut self.vifs[vif.index()] else {
            return false;
        };
        back.push_frame(frame, Checksum::Unchecked).is_ok()
    }
}

impl<X: Hypervisor, R: Runtime> Node<X, R> {
    /// A node with a running card, for as long as the domain lives.
    pub(crate) fn new(xen: X, runtime: R, card: Card, seed: [u8; 32]) -> &'static Self {
        let machine = Forwarder::new(now(&runtime), Mac(card.mac()), Sizes::default(), seed);
        let (vifs, gone) = ([const { None }; MAX_VIFS], [const { None }; MAX_VIFS]);
        let ports = Ports { card: Some(card), link: false, vifs, gone, starved: false };
        let state =
            State { machine, ports, next: None, card_errors: 0, card_drops: 0, frame: [0; MAX_FRAME] };
        Box::leak(Box::new(Self {
            xen,
            runtime,
            state: RefCell::new(state),
            deadline_moved: Flag::new(),
            uplink_changed: Flag::new(),
            vif_failed: Flag::new(),
            card_wanted: Flag::new(),
            room: [const { Flag::new() }; MAX_VIFS],
        }))
    }

    /// Xen.
    pub(crate) fn xen(&self) -> &X {
        &self.xen
    }

    /// Events and time.
    pub(crate) fn runtime(&self) -> &R {
        &self.runtime
    }

    /// When [`Node::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let next = self.state.borrow().next?;
        // The machine's times are the runtime's, in microseconds since power-on.
        Some(Moment::from_nanos(next.total_micros().max(0).unsigned_abs() * 1000))
    }

    /// Does what time demands.
    pub(crate) fn tick(&self) {
        self.settle(&mut self.state.borrow_mut());
    }

    /// Reads the carrier.
    ///
    /// # Errors
    /// What the card did wrong.
    pub(crate) fn look_at_link(&self) -> Result<Option<Link>, Fault> {
        let mut state = self.state.borrow_mut();
        let Some(card) = &mut state.ports.card else {
            return Ok(None);
        };
        let link = card.read_link()?;
        state.ports.link = link.is_some();
        state.machine.on_link(now(&self.runtime), link.is_some());
        // Without carrier nothing has to wait for the card.
        self.give_room(&mut state);
        self.settle(&mut state);
        Ok(link)
    }

    /// To be called when this interrupt of the card came; says what it is about.
    ///
    /// # Errors
    /// What the card did wrong.
    pub(crate) fn acknowledge(&self, interrupt: usize) -> Result<Causes, Fault> {
        match &mut self.state.borrow_mut().ports.card {
            Some(card) => card.acknowledge(interrupt),
            None => Ok(Causes::empty()),
        }
    }

    /// Forwards what the card has received.
    ///
    /// # Errors
    /// What the card did wrong.
    pub(crate) fn receive(&self) -> Result<Pass, Fault> {
        let mut state = self.state.borrow_mut();
        let mut outcome = Ok(Pass::More);
        for _ in 0..PASS {
            let State { machine, ports, frame, .. } = &mut *state;
            let received = match &mut ports.card {
                Some(card) => card.receive(frame),
                None => Ok(None),
            };
            match received {
                Ok(Some(length)) => machine.on_uplink_frame(now(&self.runtime), &frame[..length], ports),
                Ok(None) => outcome = Ok(Pass::Empty),
                Err(fault) => outcome = Err(fault),
            }
            if outcome != Ok(Pass::More) {
                break;
            }
        }
        self.settle(&mut state);
        outcome
    }

    /// To be called when the card has sent something: vifs may go on.
    pub(crate) fn has_transmitted(&self) {
        self.give_room(&mut self.state.borrow_mut());
    }

    /// Whether a vif waits for room while frames stay in the card.
    pub(crate) fn waits_for_card(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let ports = &mut state.ports;
        ports.starved && ports.link && ports.card.as_mut().is_some_and(|card| card.unsent() > 0)
    }

    /// Takes the card away, to reset it. The machine sees that as a pulled cable; it counts as an error.
    pub(crate) fn detach(&self) -> Option<Card> {
        let mut state = self.state.borrow_mut();
        let card = state.ports.card.take();
        state.card_errors += u64::from(card.is_some());
        state.ports.link = false;
        state.machine.on_link(now(&self.runtime), false);
        self.give_room(&mut state);
        self.settle(&mut state);
        card
    }

    /// Gives the card back.
    pub(crate) fn attach(&self, card: Card) {
        self.state.borrow_mut().ports.card = Some(card);
    }

    /// Connects a guest. Beside its network it gives what rings at the end of the connection.
    ///
    /// # Errors
    /// [`VifError`]; nothing is left behind.
    pub(crate) fn connect(&self, id: VifId, vif: Vif, mac: Mac) -> Result<(VifNetwork, Gone), VifError> {
        let mut state = self.state.borrow_mut();
        let network = state.machine.connect_vif(id, mac).map_err(VifError::Refused)?;
        match Back::connect(self.xen.clone(), self.runtime.clone(), self.xen.clone(), vif) {
            Ok(back) => {
                let gone = Gone::default();
                state.ports.vifs[id.index()] = Some(back);
                state.ports.gone[id.index()] = Some(gone.clone());
                Ok((network, gone))
            }
            Err(error) => {
                state.machine.disconnect_vif(id);
                Err(VifError::Connect(error))
            }
        }
    }

    /// Forgets a guest. Returns its domain, if it was connected.
    pub(crate) fn disconnect(&self, id: VifId) -> Option<DomId> {
        let mut state = self.state.borrow_mut();
        state.machine.disconnect_vif(id);
        let back = state.ports.vifs[id.index()].take()?;
        if let Some(gone) = state.ports.gone[id.index()].take() {
            gone.signal(());
        }
        Some(back.frontend())
    }

    /// Ready once the guest has frames for us; never if it is disconnected.
    pub(crate) fn poll_vif(&self, id: VifId, context: &mut Context<'_>) -> Poll<Result<(), PeerFault>> {
        match &mut self.state.borrow_mut().ports.vifs[id.index()] {
            Some(back) => back.poll_work(context),
            None => Poll::Pending,
        }
    }

    /// Forwards what a guest has sent, as far as the card has room.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub(crate) fn forward(&self, id: VifId) -> Result<Pass, PeerFault> {
        let mut state = self.state.borrow_mut();
        let outcome = loop {
            let State { machine, ports, frame, .. } = &mut *state;
            if !ports.has_room() {
                break Ok(Pass::NoRoom);
            }
            let Some(back) = &mut ports.vifs[id.index()] else {
                break Ok(Pass::Empty);
            };
            match back.next_frame(frame) {
                Ok(Some(sent)) => {
                    // Within the buffer: `next_frame` copied it there.
                    let frame = &mut frame[..sent.length];
                    if sent.checksum == Checksum::Blank {
                        checksum::complete(frame);
                    }
                    machine.on_vif_frame(now(&self.runtime), id, frame, ports);
                }
                Ok(None) => break Ok(Pass::Empty),
                Err(fault) => break Err(fault),
            }
        };
        self.settle(&mut state);
        if outcome == Ok(Pass::NoRoom) {
            self.card_wanted.signal(());
        }
        outcome
    }

    /// Waits until the card has room again.
    pub(crate) async fn room(&self, id: VifId) {
        self.room[id.index()].wait().await;
    }

    /// How the uplink stands.
    pub(crate) fn uplink(&self) -> UplinkState {
        let machine = &self.state.borrow().machine;
        UplinkState { mac: machine.mac(), link: machine.link(), lease: machine.lease().cloned() }
    }

    /// Counts of the uplink, with those of the card itself.
    pub(crate) fn uplink_counters(&self) -> PortCounters {
        let mut state = self.state.borrow_mut();
        if let Some(card) = &mut state.ports.card {
            let counted = card.read_statistics();
            state.card_errors += u64::from(counted.rx_errors);
            state.card_drops += u64::from(counted.rx_missed);
        }
        let mut counters = *state.machine.uplink_counters();
        counters.rx_errors += state.card_errors;
        counters.rx_drops += state.card_drops;
        counters
    }

    /// Counts of a guest.
    pub(crate) fn vif_counters(&self, id: VifId) -> Option<PortCounters> {
        self.state.borrow().machine.vif_counters(id).copied()
    }

    fn give_room(&self, state: &mut State<X, R>) {
        if core::mem::take(&mut state.ports.starved) {
            self.room.iter().for_each(|room| room.signal(()));
        }
    }

    /// After each pass: what the machine wants to do now, what the ports want to be told, what changed.
    fn settle(&self, state: &mut State<X, R>) {
        let State { machine, ports, .. } = state;
        let now = now(&self.runtime);
        let next = machine.poll(now, ports).map(|next| next.max(now + TICK));
        ports.flush();
        if ports.card.as_ref().is_some_and(|card| card.fault().is_some()) {
            self.card_wanted.signal(());
        }
        while let Some(event) = machine.take_event() {
            match event {
                Event::Uplink(event) => {
                    tell(&event);
                    self.uplink_changed.signal(());
                }
                Event::Suspicious { vif, reason } => {
                    log::warn!(
                        "vif{}: frame dropped: {reason}; more are counted, not told [{}]",
                        vif.index(),
                        code::FRAME_DROPPED
                    );
                }
            }
        }
        if next != state.next {
            state.next = next;
            self.deadline_moved.signal(());
        }
    }
}

impl<X: Hypervisor, R: Runtime> Ports<X, R> {
    /// Whether a frame of a guest may be taken: it might go to the card.
    fn has_room(&mut self) -> bool {
        let Some(card) = self.card.as_mut().filter(|_| self.link) else {
            return true;
        };
        // A frame, and a question for its next hop.
        if card.has_room(2) {
            return true;
        }
        card.want_room();
        self.starved = !card.has_room(2);
        !self.starved
    }

    fn flush(&mut self) {
        if let Some(card) = &mut self.card {
            card.flush();
        }
        self.vifs.iter_mut().flatten().for_each(Back::flush);
    }
}

fn now(timer: &impl Timer) -> Instant {
    // Microseconds since power-on stay below 2⁶³ for 292,000 years.
    Instant::from_micros((timer.now_ns() / 1000) as i64)
}

fn tell(event: &uplink::Event) {
    match event {
        uplink::Event::Link(true) => log::info!("uplink {UPLINK}: link up"),
        uplink::Event::Link(false) => log::info!("uplink {UPLINK}: link down"),
        uplink::Event::Leased(lease) => log::info!("uplink {UPLINK}: {lease}"),
        uplink::Event::LeaseLost => log::warn!("uplink {UPLINK}: address lost [{}]", code::LEASE_LOST),
        uplink::Event::LeaseRefused(why) => {
            log::warn!("uplink {UPLINK}: lease refused: {why} [{}]", code::LEASE_REFUSED)
        }
    }
}
