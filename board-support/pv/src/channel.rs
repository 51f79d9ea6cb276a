//! A channel between two of our domains: typed messages over one page and one event channel.
//!
//! The *lower* end owns the page (a domain on its channel to dom0, or the service that offers); the *upper*
//! end maps it (dom0, or the service that accepts). Both say `Hello` first, and a channel is open when the
//! versions are found equal:
//!
//! ```text
//!   lower                                  upper
//!     | initialise page, Hello, event  -->   |  waits for the magic (1)
//!     |   <--------------------- Hello       |  (2)
//!     | messages <-------------> messages    |  until one end is dropped or faults (3)
//! ```
//!
//! 1. [`Channel::open_upper`]; a page that an earlier upper end left behind counts as not ready.
//! 2. [`Channel::open_lower`] returns.
//! 3. The closed flag is set and an event sent; the other end still gets the messages sent before.
//!
//! A fault of the peer closes the channel. Everything that comes from it went through [`proto_ring`] and
//! [`proto_svc`], so it is a message of the right type or a fault; what is in the message is still the
//! peer's word.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::marker::PhantomData;
use core::task::{Context, Poll, Waker};

use board_support_hyp::Shared;
use proto_ring::channel::{Readiness, Side, initialise, inspect};
use proto_ring::frame::{FrameReader, FrameWriter, MAX_PAYLOAD, Sent};
use proto_ring::index::Index;
use proto_ring::stream::Notify;
use proto_ring::{PeerFault, Words};
use proto_svc::{MAX_MESSAGE, Message, MessageError, decode, encode};
use proto_xen::Errno;

use crate::port::{Line, look};
use greeting::Greeting;

mod code;
mod greeting;
pub mod peers;
mod wiring;

pub use wiring::{Offer, OpenError, line, map, offer};

const _: () = assert!(MAX_MESSAGE == MAX_PAYLOAD);

/// Why a message was not sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The peer closed the channel, and there is nothing left to receive.
    Closed,
    /// There is no room for the message now. Try again after an event, or use [`Sender::send`].
    Busy,
    /// The message is too long. Our fault; the channel stays open.
    TooLong,
    /// The peer broke the protocol of the page. The channel is closed.
    Peer(PeerFault),
    /// The peer sent something that is no message of this channel. The channel is closed.
    Message(MessageError),
    /// The peer speaks another version. The channel is closed.
    Version {
        /// The peer's.
        theirs: u16,
        /// Ours.
        ours: u16,
    },
    /// The event channel refused to work. The channel is closed.
    Event(Errno),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "the peer has closed the channel"),
            Self::Busy => write!(f, "the channel has no room for the message yet"),
            Self::TooLong => write!(f, "the message is longer than {MAX_MESSAGE} bytes"),
            Self::Peer(fault) => write!(f, "{fault}"),
            Self::Message(error) => write!(f, "{error}"),
            Self::Version { theirs, ours } => {
                write!(f, "the peer speaks version {theirs} of the protocol, we speak {ours}")
            }
            Self::Event(errno) => write!(f, "the event channel failed: {errno}"),
        }
    }
}

impl core::error::Error for ChannelError {}

/// One end of a channel that sends `Out` and receives `In`.
///
/// It may be used whole, or split into halves for two tasks. Dropping it tells the peer.
#[derive(Debug)]
pub struct Channel<L: Line, S: Shared, Out, In> {
    core: Core<L, S>,
    types: PhantomData<fn(Out) -> In>,
}

impl<L: Line, S: Shared, Out: Message, In: Message> Channel<L, S, Out, In> {
    /// Opens the end that owns the page: makes the page fresh, greets, waits for the peer's greeting.
    ///
    /// A service's end of its dom0 channels, and the offering end between services.
    ///
    /// # Errors
    /// What the peer did wrong with its first message, see [`ChannelError`].
    pub async fn open_lower(line: L, page: S) -> Result<Self, ChannelError> {
        initialise(page.words());
        Self::greet(line, page, Side::Lower).await
    }

    /// Opens the end that maps the page: waits until the owner has made it ready, greets, waits for the
    /// owner's greeting.
    ///
    /// dom0's end, and the accepting end between services.
    ///
    /// # Errors
    /// [`ChannelError::Peer`] if the page holds something else; and what the peer did wrong with its first
    /// message.
    pub async fn open_upper(line: L, page: S) -> Result<Self, ChannelError> {
        while inspect(page.words()).map_err(ChannelError::Peer)? == Readiness::NotYet {
            look(&line).await;
        }
        Self::greet(line, page, Side::Upper).await
    }

    async fn greet(line: L, page: S, side: Side) -> Result<Self, ChannelError> {
        let mut channel = Self { core: Core::new(line, page, side), types: PhantomData };
        let (mut sender, mut receiver) = channel.core.split::<Greeting, Greeting>();
        sender.send(&Greeting::Hello { version: Out::VERSION }).await?;
        let Greeting::Hello { version } = receiver.receive().await?;
        if version != In::VERSION {
            return Err(channel.core.fail(ChannelError::Version { theirs: version, ours: In::VERSION }));
        }
        Ok(channel)
    }

    /// Whether the peer's end of the line is there. After the peer was taken away it is not, though nobody has closed
    /// the channel.
    pub fn has_peer(&self) -> bool {
        self.core.line.has_peer()
    }

    /// The two halves, which may live in two tasks.
    pub fn split(&mut self) -> (Sender<'_, L, S, Out>, Receiver<'_, L, S, In>) {
        self.core.split()
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send(&mut self, message: &Out) -> Result<(), ChannelError> {
        self.split().0.send(message).await
    }

    /// As [`Sender::try_send`].
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    pub fn try_send(&mut self, message: &Out) -> Result<(), ChannelError> {
        self.split().0.try_send(message)
    }

    /// As [`Receiver::receive`].
    ///
    /// # Errors
    /// As [`Receiver::receive`].
    pub async fn receive(&mut self) -> Result<In, ChannelError> {
        self.split().1.receive().await
    }

    /// As [`Receiver::try_receive`].
    ///
    /// # Errors
    /// As [`Receiver::try_receive`].
    pub fn try_receive(&mut self) -> Result<Option<In>, ChannelError> {
        self.split().1.try_receive()
    }
}

/// The sending half of a channel.
#[derive(Debug)]
pub struct Sender<'c, L: Line, S: Shared, Out> {
    core: &'c Core<L, S>,
    types: PhantomData<fn(Out)>,
}

impl<L: Line, S: Shared, Out: Message> Sender<'_, L, S, Out> {
    /// Sends a message, and waits for room if the peer is slow. Dropping the future before it is done means
    /// that the message was not sent; it never goes out in part.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`], after which the channel is as before; [`ChannelError::Closed`] and the
    /// faults, after which it is closed.
    pub async fn send(&mut self, message: &Out) -> Result<(), ChannelError> {
        let mut buffer = [0; MAX_MESSAGE];
        let payload = encode(message, &mut buffer).map_err(|_| ChannelError::TooLong)?;
        let turn = self.core.turn(Half::Sender);
        poll_fn(|cx| turn.poll_send(payload, cx)).await
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// [`ChannelError::Busy`] if there is none; otherwise as [`send`](Self::send).
    pub fn try_send(&mut self, message: &Out) -> Result<(), ChannelError> {
        let mut buffer = [0; MAX_MESSAGE];
        let payload = encode(message, &mut buffer).map_err(|_| ChannelError::TooLong)?;
        self.core.try_send(payload)
    }

    /// Where the peer stands when it has taken all that was sent; [`proto_ring::channel::Side::taken_of`]
    /// tells where it does.
    #[must_use]
    pub fn end(&self) -> Index {
        self.core.writer.borrow().end()
    }
}

/// The receiving half of a channel.
#[derive(Debug)]
pub struct Receiver<'c, L: Line, S: Shared, In> {
    core: &'c Core<L, S>,
    types: PhantomData<fn() -> In>,
}

impl<L: Line, S: Shared, In: Message> Receiver<'_, L, S, In> {
    /// Waits for the next message. Dropping the future loses no message.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] after the last message of a peer that closed, and the faults.
    pub async fn receive(&mut self) -> Result<In, ChannelError> {
        let mut buffer = [0; MAX_MESSAGE];
        let turn = self.core.turn(Half::Receiver);
        let length = poll_fn(|cx| turn.poll_receive(&mut buffer, cx)).await?;
        self.read(&buffer, length)
    }

    /// The next message if it is there.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn try_receive(&mut self) -> Result<Option<In>, ChannelError> {
        let mut buffer = [0; MAX_MESSAGE];
        match self.core.try_receive(&mut buffer)? {
            Some(length) => self.read(&buffer, length).map(Some),
            None => Ok(None),
        }
    }

    fn read(&self, buffer: &[u8; MAX_MESSAGE], length: usize) -> Result<In, ChannelError> {
        decode(&buffer[..length]).map_err(|error| self.core.fail(ChannelError::Message(error)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Sender,
    Receiver,
}

/// What the two halves share. No borrow of a cell lasts over an `.await`.
#[derive(Debug)]
struct Core<L: Line, S: Shared> {
    line: L,
    page: S,
    side: Side,
    writer: RefCell<FrameWriter>,
    reader: RefCell<FrameReader>,
    /// The first error that closed the channel.
    end: Cell<Option<ChannelError>>,
    /// The tasks that sleep in a half, by [`Half`].
    sleepers: [RefCell<Option<Waker>>; 2],
    /// Messages received since the receiver last let other tasks run.
    in_a_row: Cell<u32>,
}

impl<L: Line, S: Shared> Core<L, S> {
    fn new(line: L, page: S, side: Side) -> Self {
        let (writer, reader) = side.streams();
        Self {
            line,
            page,
            side,
            writer: RefCell::new(FrameWriter::new(writer)),
            reader: RefCell::new(FrameReader::new(reader)),
            end: Cell::new(None),
            sleepers: [const { RefCell::new(None) }; 2],
            in_a_row: Cell::new(0),
        }
    }

    fn split<Out, In>(&mut self) -> (Sender<'_, L, S, Out>, Receiver<'_, L, S, In>) {
        (Sender { core: self, types: PhantomData }, Receiver { core: self, types: PhantomData })
    }

    fn words(&self) -> &Words {
        self.page.words()
    }

    fn turn(&self, half: Half) -> Turn<'_, L, S> {
        Turn { core: self, half }
    }

    fn try_send(&self, payload: &[u8]) -> Result<(), ChannelError> {
        self.check_end()?;
        if self.side.peer().is_closed(self.words()) {
            return Err(ChannelError::Closed);
        }
        let sent = self.writer.borrow_mut().send(self.words(), payload);
        match sent.map_err(|fault| self.fail(ChannelError::Peer(fault)))? {
            Sent::Whole(notify) => self.notify(notify),
            Sent::NoRoom => Err(ChannelError::Busy),
            Sent::TooLong => Err(ChannelError::TooLong),
        }
    }

    fn try_receive(&self, buffer: &mut [u8; MAX_MESSAGE]) -> Result<Option<usize>, ChannelError> {
        self.check_end()?;
        // Looked at first: what the peer sent before it closed is visible once the flag is.
        let closed = self.side.peer().is_closed(self.words());
        let received = self.reader.borrow_mut().receive(self.words(), buffer);
        match received.map_err(|fault| self.fail(ChannelError::Peer(fault)))? {
            Some((length, notify)) => self.notify(notify).map(|()| Some(length)),
            None if closed => Err(ChannelError::Closed),
            None => Ok(None),
        }
    }

    fn await_room(&self, payload_bytes: usize) -> Result<bool, ChannelError> {
        let enough = self.writer.borrow_mut().await_room(self.words(), payload_bytes);
        enough.map_err(|fault| self.fail(ChannelError::Peer(fault)))
    }

    fn await_data(&self) -> Result<bool, ChannelError> {
        let enough = self.reader.borrow_mut().await_data(self.words());
        enough.map_err(|fault| self.fail(ChannelError::Peer(fault)))
    }

    fn notify(&self, notify: Notify) -> Result<(), ChannelError> {
        if !notify.wanted() {
            return Ok(());
        }
        self.line.notify().map_err(|errno| self.fail(ChannelError::Event(errno)))
    }

    fn check_end(&self) -> Result<(), ChannelError> {
        self.end.get().map_or(Ok(()), Err)
    }

    /// Closes the channel for this reason and returns it.
    fn fail(&self, reason: ChannelError) -> ChannelError {
        if self.end.get().is_none() {
            self.end.set(Some(reason));
            self.close();
            self.wake(Half::Sender);
            self.wake(Half::Receiver);
        }
        reason
    }

    fn close(&self) {
        self.side.close(self.words());
        // Closing anyway: a port that does not work has nobody behind it to be told.
        let _ = self.line.notify();
    }

    fn sleeper(&self, half: Half) -> &RefCell<Option<Waker>> {
        match half {
            Half::Sender => &self.sleepers[0],
            Half::Receiver => &self.sleepers[1],
        }
    }

    fn wake(&self, half: Half) {
        let waker = self.sleeper(half).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<L: Line, S: Shared> Drop for Core<L, S> {
    fn drop(&mut self) {
        if self.end.get().is_none() {
            self.close();
        }
    }
}

/// One half's use of the line.
///
/// Both halves wait on one port, and the port wakes only the task that asked last. So a half that is told to
/// look passes it on to the other, and a half that stops waiting (its future was dropped) wakes the other,
/// which then asks for itself.
struct Turn<'c, L: Line, S: Shared> {
    core: &'c Core<L, S>,
    half: Half,
}

impl<L: Line, S: Shared> Turn<'_, L, S> {
    fn poll_send(&self, payload: &[u8], cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        for _ in 0..LOOKS {
            match self.core.try_send(payload) {
                Err(ChannelError::Busy) => {}
                done => return Poll::Ready(done),
            }
            match self.core.await_room(payload.len()) {
                Ok(true) => {}
                Ok(false) if self.poll_look(cx).is_pending() => return Poll::Pending,
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        yield_now(cx)
    }

    fn poll_receive(
        &self,
        buffer: &mut [u8; MAX_MESSAGE],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, ChannelError>> {
        if self.core.in_a_row.get() >= MOST_IN_A_ROW {
            self.core.in_a_row.set(0);
            return yield_now(cx);
        }
        for _ in 0..LOOKS {
            match self.core.try_receive(buffer) {
                Ok(None) => {}
                Ok(Some(length)) => {
                    self.core.in_a_row.set(self.core.in_a_row.get() + 1);
                    return Poll::Ready(Ok(length));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.core.await_data() {
                Ok(true) => {}
                Ok(false) if self.poll_look(cx).is_pending() => {
                    self.core.in_a_row.set(0);
                    return Poll::Pending;
                }
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        yield_now(cx)
    }

    fn poll_look(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.core.sleeper(self.half).replace(Some(cx.waker().clone()));
        let told = self.core.line.poll_look(cx);
        if told.is_ready() {
            self.core.wake(self.other());
        }
        told
    }

    fn other(&self) -> Half {
        match self.half {
            Half::Sender => Half::Receiver,
            Half::Receiver => Half::Sender,
        }
    }
}

impl<L: Line, S: Shared> Drop for Turn<'_, L, S> {
    fn drop(&mut self) {
        // Empty if we never slept: then the other half's place at the port is its own.
        if self.core.sleeper(self.half).take().is_some() {
            self.core.wake(self.other());
        }
    }
}

/// Messages that are received without a turn for other tasks. A peer that sends as fast as we receive would
/// otherwise keep them from running for ever.
const MOST_IN_A_ROW: u32 = 16;

/// Looks in one poll. A peer that raises the port all the time costs us this many and then waits its turn.
const LOOKS: usize = 4;

fn yield_now<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

#[cfg(test)]
mod tests;
