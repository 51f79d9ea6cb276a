//! The driver domain's end of a vif.
//!
//! Who owns it drives it: take frames with [`Back::next_frame`] until there is none, give frames with
//! [`Back::push_frame`], then [`Back::wait`]. A pass handles at most as many slots as the ring has and then
//! yields, so that one guest cannot starve the others.

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use board_support_hyp::{Access, EventChannels, GrantError, Grants, Shared, Wait};
use proto_io::netif::checksum::Checksum;
use proto_io::netif::packet::{Assembler, Content, Packet, Refusal};
use proto_io::netif::rx::{RxRequest, RxResponse};
use proto_io::netif::{RX_SLOT, Status, TX_SLOT};
use proto_ring::PeerFault;
use proto_ring::back::Back as Ring;
use proto_xen::{DomId, Errno, Gref, Port};

use super::MAX_FRAME;
use crate::port::{BoundPort, Line};

/// Slots of the tx ring that one pass handles at most.
const PASS: u32 = Ring::<TX_SLOT>::NR_ENTS;

/// Bad rx buffers that one frame is tried with before it is dropped.
const RX_ATTEMPTS: usize = 4;

/// What a frontend tells of its vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vif {
    /// The frontend's domain.
    pub frontend: DomId,
    /// The page of the tx ring.
    pub tx_gref: Gref,
    /// The page of the rx ring.
    pub rx_gref: Gref,
    /// The frontend's port for both rings, for us to bind.
    pub port: Port,
}

/// Why a vif was not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// A ring could not be mapped.
    Ring(Gref, GrantError),
    /// The port could not be bound.
    Port(Port, Errno),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(gref, error) => write!(f, "ring page {} cannot be mapped: {error}", gref.0),
            Self::Port(port, errno) => write!(f, "port {} cannot be bound: {errno}", port.0),
        }
    }
}

impl core::error::Error for ConnectError {}

/// A frame that came from the frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of it, from the start of the buffer.
    pub length: usize,
    /// What the frontend says of its checksum. With [`Checksum::Blank`], who passes the frame to a wire fills
    /// it in.
    pub checksum: Checksum,
}

/// Why a frame was not given to the frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The frontend has no buffer out. Drop the frame, or try again after [`Back::wait`].
    Busy,
    /// The frame is longer than a page.
    TooLong,
    /// The frontend's buffers could not be written. The frame is dropped.
    BadBuffers,
    /// The frontend broke the protocol. The vif is of no more use.
    Peer(PeerFault),
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the frontend has no buffer out"),
            Self::TooLong => write!(f, "the frame is longer than {MAX_FRAME} bytes"),
            Self::BadBuffers => f.write_str("the frontend's buffers cannot be written"),
            Self::Peer(fault) => write!(f, "{fault}"),
        }
    }
}

impl core::error::Error for PushError {}

/// What went through a vif and what was refused, tx and rx as the frontend sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames from the frontend.
    pub tx_frames: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// Packets refused.
    pub tx_errors: u64,
    /// Why the last of them was.
    pub last_refusal: Option<Refusal>,
    /// Frames to the frontend.
    pub rx_frames: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Frames for which the frontend had no buffer.
    pub rx_drops: u64,
    /// Buffers of the frontend that could not be written.
    pub rx_errors: u64,
}

/// The driver domain's end of a vif. Dropping it unmaps the rings and closes the port.
#[derive(Debug)]
pub struct Back<L: Line, G: Grants> {
    line: L,
    grants: G,
    frontend: DomId,
    tx: Ring<TX_SLOT>,
    tx_page: G::Mapped,
    assembler: Assembler,
    rx: Ring<RX_SLOT>,
    rx_page: G::Mapped,
    /// A frame found no rx buffer since the last time there was one.
    rx_starved: bool,
    /// Slots of the tx ring that this pass may still handle.
    budget: u32,
    yielded: bool,
    counters: Counters,
    fault: Option<PeerFault>,
    /// Who waits for work. A fault that is found by who gives a frame is theirs to act on, and the frontend
    /// need not raise its event ever again.
    sleeper: Option<Waker>,
}

impl<E: EventChannels, W: Wait, G: Grants> Back<BoundPort<E, W>, G> {
    /// Binds the port and maps the rings of a frontend that has just made them.
    ///
    /// # Errors
    /// See [`ConnectError`]. Nothing is left behind.
    pub fn connect(events: E, wait: W, grants: G, vif: Vif) -> Result<Self, ConnectError> {
        let ring = |gref| {
            grants.map(vif.frontend, gref, Access::ReadWrite).map_err(|error| ConnectError::Ring(gref, error))
        };
        let tx_page = ring(vif.tx_gref)?;
        let rx_page = ring(vif.rx_gref)?;
        let line = BoundPort::bind(events, wait, vif.frontend, vif.port)
            .map_err(|errno| ConnectError::Port(vif.port, errno))?;
        Ok(Self {
            line,
            grants,
            frontend: vif.frontend,
            tx: Ring::new(),
            tx_page,
            assembler: Assembler::new(),
            rx: Ring::new(),
            rx_page,
            rx_starved: false,
            budget: PASS,
            yielded: false,
            counters: Counters::default(),
            fault: None,
            sleeper: None,
        })
    }
}

impl<L: Line, G: Grants> Back<L, G> {
    /// The frontend's domain.
    pub fn frontend(&self) -> DomId {
        self.frontend
    }

    /// What went through.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the frontend did wrong, if it did.
    pub fn fault(&self) -> Option<PeerFault> {
        self.fault
    }

    /// Copies the next frame of the frontend to the front of `into`. `Ok(None)` means that there is none, or
    /// that the pass is over: go on to [`wait`](Self::wait).
    ///
    /// A packet that is bad, longer than `into`, or in a page that cannot be read is answered with an error
    /// and counted.
    ///
    /// # Errors
    /// What the frontend did wrong. The vif is then to be dropped.
    pub fn next_frame(&mut self, into: &mut [u8]) -> Result<Option<Frame>, PeerFault> {
        let next = self.find_frame(into);
        self.guard(next)
    }

    /// Copies a frame into a buffer of the frontend. It sees it after [`flush`](Self::flush) or
    /// [`wait`](Self::wait).
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push_frame(&mut self, frame: &[u8], checksum: Checksum) -> Result<(), PushError> {
        if frame.len() > MAX_FRAME {
            return Err(PushError::TooLong);
        }
        for _ in 0..RX_ATTEMPTS {
            let mut slot = [0; RX_SLOT];
            let taken = self.rx.take(self.rx_page.words(), &mut slot);
            if !self.guard(taken).map_err(PushError::Peer)? {
                self.rx_starved = true;
                self.counters.rx_drops += 1;
                return Err(PushError::Busy);
            }
            let RxRequest { id, gref } = RxRequest::parse(&slot);
            let copied = self.grants.copy_to(self.frontend, gref, 0, frame);
            // At most a page.
            let outcome = if copied.is_ok() { Ok(frame.len() as u16) } else { Err(Status::ERROR) };
            let response = RxResponse { id, offset: 0, flags: checksum.rx_flags(), outcome };
            self.rx.put(self.rx_page.words(), &response.emit());
            if outcome.is_ok() {
                self.counters.rx_frames += 1;
                self.counters.rx_bytes += frame.len() as u64;
                return Ok(());
            }
            self.counters.rx_errors += 1;
        }
        Err(PushError::BadBuffers)
    }

    /// Shows the frontend what was done, with one event at most.
    pub fn flush(&mut self) {
        let tx = self.tx.push(self.tx_page.words());
        let rx = self.rx.push(self.rx_page.words());
        if tx.or(rx).wanted() {
            // A port that does not work has nobody behind it to be told.
            let _ = self.line.notify();
        }
    }

    /// Flushes, and waits until the frontend has frames for us, or buffers if there were none. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// What the frontend did wrong. The vif is then to be dropped.
    pub async fn wait(&mut self) -> Result<(), PeerFault> {
        poll_fn(|cx| self.poll_work(cx)).await
    }

    /// As [`wait`](Self::wait), for who waits for several things at once. A fault that
    /// [`push_frame`](Self::push_frame) finds wakes them, too.
    pub fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerFault>> {
        self.sleeper = None;
        self.flush();
        if self.budget == 0 && !self.yielded {
            self.yielded = true;
            return yield_now(cx);
        }
        for _ in 0..2 {
            let work = self.work();
            match self.guard(work) {
                Err(fault) => return Poll::Ready(Err(fault)),
                Ok(true) => {
                    self.budget = PASS;
                    self.yielded = false;
                    return Poll::Ready(Ok(()));
                }
                Ok(false) if self.line.poll_look(cx).is_pending() => {
                    self.sleeper = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Ok(false) => {}
            }
        }
        // Told to look without anything to see: others first.
        yield_now(cx)
    }

    /// Arms the thresholds and looks once more.
    fn work(&mut self) -> Result<bool, PeerFault> {
        let frames = self.tx.await_request(self.tx_page.words())?;
        let buffers = self.rx_starved && self.rx.await_request(self.rx_page.words())?;
        if buffers {
            self.rx_starved = false;
        }
        Ok(frames || buffers)
    }

    fn find_frame(&mut self, into: &mut [u8]) -> Result<Option<Frame>, PeerFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut slot = [0; TX_SLOT];
        while self.budget > 0 && self.tx.take(self.tx_page.words(), &mut slot)? {
            self.budget -= 1;
            let Some(packet) = self.assembler.add(&slot)? else { continue };
            if let Some(frame) = self.serve(&packet, into) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Copies a packet in and answers it.
    fn serve(&mut self, packet: &Packet, into: &mut [u8]) -> Option<Frame> {
        let served = packet.content.as_ref().map_err(|refusal| *refusal);
        let served = served.and_then(|content| self.copy_packet(content, into));
        let status = if served.is_ok() { Status::OKAY } else { Status::ERROR };
        for response in packet.responses(status) {
            self.tx.put(self.tx_page.words(), &response.emit());
        }
        match served {
            Ok(frame) => {
                self.counters.tx_frames += 1;
                self.counters.tx_bytes += frame.length as u64;
                Some(frame)
            }
            Err(refusal) => {
                self.counters.tx_errors += 1;
                self.counters.last_refusal = Some(refusal);
                None
            }
        }
    }

    fn copy_packet(&self, content: &Content, into: &mut [u8]) -> Result<Frame, Refusal> {
        let length = usize::from(content.length);
        let max = into.len();
        let Some(mut rest) = into.get_mut(..length) else {
            return Err(Refusal::TooLong { length: content.length, max });
        };
        for fragment in &content.fragments {
            // The sizes add up to `length` (invariant of `Content`).
            let (piece, behind) = rest.split_at_mut(fragment.size.into());
            self.grants
                .copy_from(self.frontend, fragment.gref, fragment.offset, piece)
                .map_err(|_| Refusal::Unreadable(fragment.gref))?;
            rest = behind;
        }
        Ok(Frame { length, checksum: content.checksum })
    }

    /// Keeps a fault, and returns the first one for ever after.
    fn guard<T>(&mut self, result: Result<T, PeerFault>) -> Result<T, PeerFault> {
        match (self.fault, result) {
            (Some(fault), _) => Err(fault),
            (None, Err(fault)) => {
                self.fault = Some(fault);
                if let Some(sleeper) = self.sleeper.take() {
                    sleeper.wake();
                }
                Err(fault)
            }
            (None, ok) => ok,
        }
    }
}

fn yield_now<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}
