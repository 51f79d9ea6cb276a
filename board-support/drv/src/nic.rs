//! Network cards: what is common to them, and how a shell drives one without knowing its model.

use alloc::boxed::Box;
use core::{fmt, time::Duration};

use bitflags::bitflags;

use crate::virtio;

pub mod e1000e;

/// Longest frame in bytes, without the frame check sequence.
pub const MAX_FRAME: usize = 1514;

/// Shortest frame that is sent, in bytes: an Ethernet header.
pub const SHORTEST_FRAME: usize = 14;

/// A cable with a carrier, and what its two ends have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A real cable.
    Negotiated {
        /// Speed in Mbit/s.
        speed_mbit: u16,
        /// Whether both directions work at a time.
        full_duplex: bool,
    },
    /// One that has no speed.
    Virtual,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negotiated { speed_mbit, full_duplex } => {
                write!(f, "{speed_mbit} Mbit/s {} duplex", if *full_duplex { "full" } else { "half" })
            }
            Self::Virtual => f.write_str("virtual link"),
        }
    }
}

bitflags! {
    /// What an interrupt may be about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Causes: u8 {
        /// Frames came in: [`Nic::receive`] them.
        const RECEIVED = 1 << 0;
        /// Frames went out: there may be room.
        const SENT = 1 << 1;
        /// The link, or the card itself: [`Nic::read_link`].
        const LINK = 1 << 2;
    }
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The ring is full, or the card has done what it must not; see [`Nic::want_room`], [`Nic::fault`].
    Full,
    /// Longer than [`MAX_FRAME`], or shorter than [`SHORTEST_FRAME`].
    Length,
}

/// Counts that the device keeps itself, since the last reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that came in damaged.
    pub rx_errors: u32,
    /// Frames for which no buffer was free.
    pub rx_missed: u32,
}

/// Why a card did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// An e1000e.
    E1000e(e1000e::StartError),
    /// A virtio card.
    Virtio(virtio::net::StartError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::E1000e(error) => error.fmt(f),
            Self::Virtio(error) => error.fmt(f),
        }
    }
}

/// What a card did that it must not do. Stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An e1000e.
    E1000e(e1000e::Fault),
    /// A virtio card.
    Virtio(virtio::net::Fault),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::E1000e(fault) => fault.fmt(f),
            Self::Virtio(fault) => fault.fmt(f),
        }
    }
}

/// A card that was told to reset, and the memory that it will use.
pub trait Stopped {
    /// How long after a reset it must be left alone.
    fn reset_time(&self) -> Duration;

    /// Sets the card up. Rings run and interrupts come from then on.
    ///
    /// # Errors
    /// [`StartError`], with the card for another attempt: call [`Stopped::again`] first.
    fn start(self: Box<Self>) -> Result<Box<dyn Nic>, (StartError, Box<dyn Stopped>)>;

    /// Resets once more. [`Stopped::start`] may follow after [`Stopped::reset_time`].
    fn again(self: Box<Self>) -> Box<dyn Stopped>;
}

/// A running card. None of its methods waits.
pub trait Nic {
    /// Its hardware address.
    fn mac(&self) -> [u8; 6];

    /// To be called when an interrupt came, before what it is about is looked at. `interrupt` counts
    /// from 0 in the order in which the card was given its interrupts.
    ///
    /// # Errors
    /// [`Fault`].
    fn acknowledge(&mut self, interrupt: usize) -> Result<Causes, Fault>;

    /// Asks the card for the state of the link: `None` without carrier.
    ///
    /// # Errors
    /// [`Fault`].
    fn read_link(&mut self) -> Result<Option<Link>, Fault>;

    /// Reads and clears what the card counts.
    fn read_statistics(&mut self) -> Statistics;

    /// Copies the next received frame to the front of `frame` and returns its length; `None` if there
    /// is no more, and then an interrupt tells of the next.
    ///
    /// # Errors
    /// [`Fault`].
    fn receive(&mut self, frame: &mut [u8; MAX_FRAME]) -> Result<Option<usize>, Fault>;

    /// Whether [`Nic::transmit`] has room for `frames` frames.
    fn has_room(&mut self, frames: u16) -> bool;

    /// Puts a frame into the ring. The card learns of it after a few more, or by [`Nic::flush`].
    ///
    /// # Errors
    /// [`NotSent`]; the frame is not sent.
    fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent>;

    /// Tells the card about all frames in the ring.
    fn flush(&mut self);

    /// Lets an interrupt come once when the card has sent something. Look for room once more after this
    /// call: what was sent before it raises nothing.
    fn want_room(&mut self);

    /// Frames in the ring that the card has not reported as sent. If the same stay for seconds while the
    /// link is up, the card is stuck: [`Nic::stop`] it.
    fn unsent(&mut self) -> u16;

    /// What the card did that it must not do, if that came out where no error is returned.
    fn fault(&self) -> Option<Fault>;

    /// Tells the card to reset; what was in the rings is lost.
    fn stop(self: Box<Self>) -> Box<dyn Stopped>;
}
