//! The guest's end of a vif.
//!
//! Pages are granted once, when the vif is made, and used for all frames: the tx pages for reading, the rx
//! pages for writing. Frames are copied into and out of them, so the backend sees nothing of our memory but
//! frames, and a frame that it rewrites after the fact stays as it was copied.

use core::future::poll_fn;
use core::task::{Context, Poll};

use board_support_hyp::{Access, Grants, Pages, Shared};
use heapless::Vec;
use proto_io::netif::extra::Extra;
use proto_io::netif::packet::MIN_FRAME;
use proto_io::netif::rx::{RxFlags, RxRequest, RxResponse};
use proto_io::netif::tx::{TxFlags, TxRequest, TxResponse};
use proto_io::netif::{RX_SLOT, Status, TX_SLOT};
use proto_ring::front::Front as Ring;
use proto_ring::page::{PAGE_BYTES, Window};
use proto_ring::{Index, PeerFault, Words};
use proto_xen::{DomId, Gref};

use super::{Frames, MAX_FRAME, TransmitError};
use crate::grant::{GrantedPage, OfferError, Park};
use crate::port::Line;

/// Most pages for frames in each direction.
pub const MAX_BUFFERS: usize = 64;

const PAGE: Window = Window::at(0, PAGE_BYTES as u32);
const RX_RING: usize = Ring::<RX_SLOT>::NR_ENTS as usize;

/// How many pages a vif uses for frames. Two more are the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferCounts {
    /// Frames that may be on their way out, at most [`MAX_BUFFERS`].
    pub tx: usize,
    /// Frames that may be waiting for us, at most [`MAX_BUFFERS`].
    pub rx: usize,
}

impl Default for BufferCounts {
    fn default() -> Self {
        Self { tx: 32, rx: 64 }
    }
}

/// What went through a vif, and what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that the backend took.
    pub tx_frames: u64,
    /// Bytes of the frames handed to the backend.
    pub tx_bytes: u64,
    /// Frames that the backend refused or dropped.
    pub tx_errors: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Frames dropped: in several pieces, too long for the caller, or too short to be one.
    pub rx_drops: u64,
    /// Buffers that came back with an error.
    pub rx_errors: u64,
}

/// The guest's end of a vif.
#[derive(Debug)]
pub struct Front<'p, L: Line, G: Grants, P: Shared> {
    line: L,
    tx: Tx<'p, G, P>,
    rx: Rx<'p, G, P>,
    counters: Counters,
    fault: Option<PeerFault>,
}

impl<'p, L: Line, G: Grants + Clone, P: Shared> Front<'p, L, G, P> {
    /// Makes the rings and grants all pages to `backend`. What the backend has to be told are the
    /// references of [`rings`](Self::rings) and the port of `line`.
    ///
    /// # Errors
    /// [`OfferError`] if there are not enough pages or references; what was granted is taken back.
    pub fn new<M: Pages<Page = P>>(
        line: L,
        grants: G,
        pool: &M,
        park: &'p Park<P>,
        backend: DomId,
        counts: BufferCounts,
    ) -> Result<Self, OfferError> {
        let page = |access| GrantedPage::offer(grants.clone(), pool, park, backend, access);
        let mut tx = Tx::new(page(Access::ReadWrite)?);
        for _ in 0..counts.tx.min(MAX_BUFFERS) {
            tx.add(page(Access::ReadOnly)?);
        }
        let mut rx = Rx::new(page(Access::ReadWrite)?);
        for _ in 0..counts.rx.min(MAX_BUFFERS) {
            rx.add(page(Access::ReadWrite)?);
        }
        // Nobody listens yet, so nobody is told.
        let _ = rx.ring.push(rx.page.words());
        Ok(Self { line, tx, rx, counters: Counters::default(), fault: None })
    }
}

impl<L: Line, G: Grants, P: Shared> Front<'_, L, G, P> {
    /// The grant references of the tx ring and of the rx ring.
    pub fn rings(&self) -> (Gref, Gref) {
        (self.tx.page.gref(), self.rx.page.gref())
    }

    /// The event channel.
    pub fn line(&self) -> &L {
        &self.line
    }

    /// What went through.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the backend did wrong, if it did.
    pub fn fault(&self) -> Option<PeerFault> {
        self.fault
    }

    /// Waits until there is a frame to receive, or room to transmit if there was none. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// What the backend did wrong.
    pub async fn wait(&mut self) -> Result<(), PeerFault> {
        poll_fn(|cx| self.poll_work(cx)).await
    }

    /// Looks with `look`, which arms a threshold, until it finds something or there is nothing to see.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        look: fn(&mut Self) -> Result<bool, PeerFault>,
    ) -> Poll<Result<(), PeerFault>> {
        for _ in 0..2 {
            let found = look(self);
            match self.guard(found) {
                Err(fault) => return Poll::Ready(Err(fault)),
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) if self.line.poll_look(cx).is_pending() => return Poll::Pending,
                Ok(false) => {}
            }
        }
        // Told to look without anything to see: others first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn work(&mut self) -> Result<bool, PeerFault> {
        let received = self.rx.ring.await_response(self.rx.page.words())?;
        // Only a sender that was turned away wants to be told that frames are out.
        let room = self.tx.starved && self.room()?;
        Ok(received || room)
    }

    fn room(&mut self) -> Result<bool, PeerFault> {
        Ok(!self.tx.free.is_empty() || self.tx.ring.await_response(self.tx.page.words())?)
    }

    /// Keeps a fault, and returns the first one for ever after.
    fn guard<T>(&mut self, result: Result<T, PeerFault>) -> Result<T, PeerFault> {
        match (self.fault, result) {
            (Some(fault), _) => Err(fault),
            (None, Err(fault)) => {
                self.fault = Some(fault);
                Err(fault)
            }
            (None, ok) => ok,
        }
    }

    fn tell(&self, notify: proto_ring::stream::Notify) {
        if notify.wanted() {
            // A port that does not work has nobody behind it to be told.
            let _ = self.line.notify();
        }
    }
}

impl<L: Line, G: Grants, P: Shared> Frames for Front<'_, L, G, P> {
    fn can_transmit(&mut self) -> bool {
        let reaped = self.tx.reap(&mut self.counters);
        if self.guard(reaped).is_err() {
            return false;
        }
        self.tx.starved = self.tx.free.is_empty();
        !self.tx.starved
    }

    fn transmit(&mut self, frame: &[u8]) -> Result<(), TransmitError> {
        let length = frame.len();
        if !(MIN_FRAME..=MAX_FRAME).contains(&length) {
            return Err(TransmitError::Length { length });
        }
        let sent = self.tx.reap(&mut self.counters).map(|()| self.tx.send(frame));
        if !self.guard(sent).map_err(TransmitError::Peer)? {
            return Err(TransmitError::Busy);
        }
        self.counters.tx_bytes += length as u64;
        let notify = self.tx.ring.push(self.tx.page.words());
        self.tell(notify);
        Ok(())
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerFault>> {
        self.poll(cx, Self::work)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerFault>> {
        self.poll(cx, Self::room)
    }

    fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        let received = self.rx.receive(into, &mut self.counters);
        let received = self.guard(received).ok()?;
        let notify = self.rx.ring.push(self.rx.page.words());
        self.tell(notify);
        received
    }
}

/// Frames on their way out.
#[derive(Debug)]
struct Tx<'p, G: Grants, P: Shared> {
    ring: Ring<TX_SLOT>,
    page: GrantedPage<'p, G, P>,
    /// By identifier.
    buffers: Vec<GrantedPage<'p, G, P>, MAX_BUFFERS>,
    /// Identifiers that are not with the backend.
    free: Vec<u16, MAX_BUFFERS>,
    in_flight: [bool; MAX_BUFFERS],
    /// A frame found no room since the last time there was some.
    starved: bool,
}

impl<'p, G: Grants, P: Shared> Tx<'p, G, P> {
    fn new(page: GrantedPage<'p, G, P>) -> Self {
        let ring = Ring::initialise(page.words());
        let (buffers, free) = (Vec::new(), Vec::new());
        Self { ring, page, buffers, free, in_flight: [false; MAX_BUFFERS], starved: false }
    }

    fn add(&mut self, buffer: GrantedPage<'p, G, P>) {
        let id = self.buffers.len() as u16;
        if self.buffers.push(buffer).is_ok() {
            let _ = self.free.push(id);
        }
    }

    /// Takes the answers of the backend.
    fn reap(&mut self, counters: &mut Counters) -> Result<(), PeerFault> {
        let mut slot = [0; TX_SLOT];
        for _ in 0..Ring::<TX_SLOT>::NR_ENTS {
            if self.ring.take(self.page.words(), &mut slot)?.is_none() {
                break;
            }
            let TxResponse { id, status } = TxResponse::parse(&slot);
            // Also stops an identifier that is answered twice: its buffer would then be free twice.
            let Some(in_flight) = self.in_flight.get_mut(usize::from(id)).filter(|in_flight| **in_flight)
            else {
                return Err(PeerFault::UnknownId { id });
            };
            *in_flight = false;
            // Each identifier is free or in flight, so there is room.
            let _ = self.free.push(id);
            match status {
                Status::OKAY => counters.tx_frames += 1,
                _ => counters.tx_errors += 1,
            }
        }
        Ok(())
    }

    /// Writes the frame's request. `false` if there is no room.
    fn send(&mut self, frame: &[u8]) -> bool {
        if self.ring.free() == 0 {
            self.starved = true;
            return false;
        }
        let Some(id) = self.free.pop() else {
            self.starved = true;
            return false;
        };
        self.starved = false;
        let buffer = &self.buffers[usize::from(id)];
        PAGE.copy_in(buffer.words(), Index::new(0), frame);
        // The caller has compared the length with a page.
        let size = frame.len() as u16;
        let request = TxRequest { gref: buffer.gref(), offset: 0, flags: TxFlags::empty(), id, size };
        self.in_flight[usize::from(id)] = true;
        // There is a free slot (above).
        self.ring.put(self.page.words(), &request.emit()).is_ok()
    }
}

/// What the next response is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Frame,
    /// Extra info of a packet that is being dropped, and whether more data follows it.
    Extra {
        then_data: bool,
    },
    /// More of a packet that is being dropped.
    Rest,
}

/// Frames on their way in.
#[derive(Debug)]
struct Rx<'p, G: Grants, P: Shared> {
    ring: Ring<RX_SLOT>,
    page: GrantedPage<'p, G, P>,
    buffers: Vec<GrantedPage<'p, G, P>, MAX_BUFFERS>,
    /// By slot of the ring: the buffer whose request stands there. A response answers the request of its
    /// own slot, for extra info has no identifier.
    posted: [Option<u16>; RX_RING],
    expect: Expect,
}

impl<'p, G: Grants, P: Shared> Rx<'p, G, P> {
    fn new(page: GrantedPage<'p, G, P>) -> Self {
        let ring = Ring::initialise(page.words());
        Self { ring, page, buffers: Vec::new(), posted: [None; RX_RING], expect: Expect::Frame }
    }

    fn add(&mut self, buffer: GrantedPage<'p, G, P>) {
        let number = self.buffers.len() as u16;
        if self.buffers.push(buffer).is_ok() {
            self.post(number);
        }
    }

    /// Gives a buffer to the backend.
    fn post(&mut self, buffer: u16) {
        let slot = slot_of(self.ring.next());
        let request = RxRequest { id: slot as u16, gref: self.buffers[usize::from(buffer)].gref() };
        // There are fewer buffers than slots.
        if self.ring.put(self.page.words(), &request.emit()).is_ok() {
            self.posted[slot] = Some(buffer);
        }
    }

    fn receive(&mut self, into: &mut [u8], counters: &mut Counters) -> Result<Option<usize>, PeerFault> {
        let mut bytes = [0; RX_SLOT];
        for _ in 0..Ring::<RX_SLOT>::NR_ENTS {
            let Some(index) = self.ring.take(self.page.words(), &mut bytes)? else { return Ok(None) };
            let slot = slot_of(index);
            // The ring hands out no more responses than there were requests, each in its slot.
            let buffer = self.posted[slot].take().ok_or(PeerFault::UnknownId { id: slot as u16 })?;
            let frame = self.response(slot as u16, buffer, &bytes, into, counters);
            self.post(buffer);
            if let Some(length) = frame? {
                counters.rx_frames += 1;
                counters.rx_bytes += length as u64;
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    fn response(
        &mut self,
        id: u16,
        buffer: u16,
        bytes: &[u8; RX_SLOT],
        into: &mut [u8],
        counters: &mut Counters,
    ) -> Result<Option<usize>, PeerFault> {
        if let Expect::Extra { then_data } = self.expect {
            let (_, more) = Extra::parse(bytes);
            self.expect = match (more, then_data) {
                (true, _) => Expect::Extra { then_data },
                (false, true) => Expect::Rest,
                (false, false) => Expect::Frame,
            };
            return Ok(None);
        }
        let response = RxResponse::parse(bytes);
        if response.id != id {
            return Err(PeerFault::UnknownId { id: response.id });
        }
        let alone = self.expect == Expect::Frame;
        let then_data = response.flags.contains(RxFlags::MORE_DATA);
        self.expect = if response.flags.contains(RxFlags::EXTRA_INFO) {
            Expect::Extra { then_data }
        } else if then_data {
            Expect::Rest
        } else {
            Expect::Frame
        };
        let Ok(length) = response.outcome else {
            counters.rx_errors += 1;
            return Ok(None);
        };
        let offset = response.offset;
        if usize::from(offset) + usize::from(length) > PAGE_BYTES {
            return Err(PeerFault::ResponseOutOfRange { offset, length });
        }
        let length = usize::from(length);
        if !alone || self.expect != Expect::Frame || !(MIN_FRAME..=into.len()).contains(&length) {
            // Counted once for a packet in pieces.
            counters.rx_drops += u64::from(alone);
            return Ok(None);
        }
        let words: &Words = self.buffers[usize::from(buffer)].words();
        PAGE.copy_out(words, Index::new(offset.into()), &mut into[..length]);
        Ok(Some(length))
    }
}

fn slot_of(index: Index) -> usize {
    index.raw() as usize % RX_RING
}
