//! A vif as a device of smoltcp.

use core::future::poll_fn;

use proto_ring::PeerFault;
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use super::Frames;

/// Largest Ethernet frame for an IP packet of 1500 bytes.
const FRAME: usize = 1514;

/// Something that frames go through, as a device of smoltcp.
#[derive(Debug)]
pub struct Device<F> {
    frames: F,
    received: [u8; FRAME],
    built: [u8; FRAME],
    /// A frame was left waiting because an answer to it would have found no room.
    blocked: bool,
}

impl<F: Frames> Device<F> {
    /// Wraps it.
    pub fn new(frames: F) -> Self {
        Self { frames, received: [0; FRAME], built: [0; FRAME], blocked: false }
    }

    /// Waits until it is worth to let smoltcp look at the device again. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the peer did wrong; the device is of no more use.
    pub async fn wait(&mut self) -> Result<(), PeerFault> {
        // A frame that waits for room is no reason to look again before there is room.
        let blocked = self.blocked;
        poll_fn(|cx| if blocked { self.frames.poll_room(cx) } else { self.frames.poll_work(cx) }).await
    }

    /// What was wrapped, to count.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.frames
    }
}

impl<F: Frames> phy::Device for Device<F> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a, F>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_, F>)> {
        // smoltcp may answer at once, so without room to transmit the frame stays where it is.
        self.blocked = !self.frames.can_transmit();
        if self.blocked {
            return None;
        }
        let length = self.frames.receive(&mut self.received)?;
        let frame = RxToken { frame: &self.received[..length] };
        Some((frame, TxToken { frames: &mut self.frames, built: &mut self.built }))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_, F>> {
        self.frames.can_transmit().then_some(TxToken { frames: &mut self.frames, built: &mut self.built })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// A frame received.
#[derive(Debug)]
pub struct RxToken<'a> {
    frame: &'a [u8],
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, T: FnOnce(&[u8]) -> R>(self, use_frame: T) -> R {
        use_frame(self.frame)
    }
}

/// Room for a frame.
#[derive(Debug)]
pub struct TxToken<'a, F> {
    frames: &'a mut F,
    built: &'a mut [u8; FRAME],
}

impl<F: Frames> phy::TxToken for TxToken<'_, F> {
    fn consume<R, T: FnOnce(&mut [u8]) -> R>(self, length: usize, build: T) -> R {
        // smoltcp keeps to the capabilities, so nothing is cut.
        let frame = &mut self.built[..length.min(FRAME)];
        let result = build(frame);
        // Room was seen when the token was made. A vif that has failed since drops the frame, as a wire
        // does; who waits for it is told of the fault.
        let _ = self.frames.transmit(frame);
        result
    }
}
