//! The two ends of a Xen network interface (vif), for Ethernet frames as byte slices.
//!
//! | module | what it is |
//! |---|---|
//! | [`front`] | the guest's end: grants pages, puts frames into them |
//! | [`back`] | the driver domain's end: copies frames out of and into granted pages |
//! | [`device`] | a frontend as a device of smoltcp (feature `smoltcp`) |
//!
//! tx and rx are the frontend's: the backend receives on tx. Payload moves by grant copy; only the two ring
//! pages are mapped. A fault of the peer ends this vif and nothing else: it is kept, and every later call
//! returns it.

use core::fmt;
use core::task::{Context, Poll};

use proto_ring::PeerFault;

pub mod back;
#[cfg(feature = "smoltcp")]
pub mod device;
pub mod front;

/// The longest frame that a vif carries, in bytes: one page.
pub const MAX_FRAME: usize = proto_xen::PAGE_SIZE;

/// Why a frame was not transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitError {
    /// Everything is in use: try again after [`front::Front::wait`].
    Busy,
    /// The frame is shorter than an Ethernet header or longer than [`MAX_FRAME`].
    Length {
        /// Bytes of the frame.
        length: usize,
    },
    /// The backend broke the protocol. The vif is of no more use.
    Peer(PeerFault),
}

impl fmt::Display for TransmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the vif has no room for the frame yet"),
            Self::Length { length } => write!(f, "{length} bytes are no frame for a vif"),
            Self::Peer(fault) => write!(f, "{fault}"),
        }
    }
}

impl core::error::Error for TransmitError {}

/// Something that frames go into and come out of.
pub trait Frames {
    /// Whether [`transmit`](Self::transmit) would find room now.
    fn can_transmit(&mut self) -> bool;

    /// Sends a frame.
    ///
    /// # Errors
    /// See [`TransmitError`].
    fn transmit(&mut self, frame: &[u8]) -> Result<(), TransmitError>;

    /// Copies the next frame out and returns its length in bytes, or `None` if there is none. Frames that do
    /// not fit `into` are dropped and counted.
    fn receive(&mut self, into: &mut [u8]) -> Option<usize>;

    /// Ready once there is a frame to receive, or room to transmit if there was none.
    ///
    /// # Errors
    /// What the peer did wrong; nothing will move any more.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerFault>>;

    /// Ready once there is room to transmit, whatever else is waiting.
    ///
    /// # Errors
    /// As [`poll_work`](Self::poll_work).
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerFault>>;
}

/// A vif that may be unplugged: then frames go nowhere and none come, as with a cable that is pulled.
impl<F: Frames> Frames for Option<F> {
    fn can_transmit(&mut self) -> bool {
        self.as_mut().is_none_or(F::can_transmit)
    }

    fn transmit(&mut self, frame: &[u8]) -> Result<(), TransmitError> {
        self.as_mut().map_or(Ok(()), |frames| frames.transmit(frame))
    }

    fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        self.as_mut()?.receive(into)
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerFault>> {
        self.as_mut().map_or(Poll::Pending, |frames| frames.poll_work(cx))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerFault>> {
        self.as_mut().map_or(Poll::Pending, |frames| frames.poll_room(cx))
    }
}

#[cfg(test)]
mod tests;
