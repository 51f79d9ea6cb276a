//! Peers that end and are there anew.
//!
//! dom0 says which peers a service has ([`Peers::back`], [`Peers::gone`]); one task for each channel opens
//! its end, serves it, and gives it up when its [`Tie`] is cut:
//!
//! ```text
//!   loop { tie = peers.wait("network"); open the channel of tie.end(); serve it until tie.cut() }
//! ```
//!
//! What a channel was opened with counts for one life of the peer. A peer that ended and is there anew
//! before its task looked is another life, and cuts the tie all the same.

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use heapless::{String, Vec};
use proto_svc::supervision::{MAX_CHANNEL, PeerEnd};
use proto_svc::text::clipped;

/// Most channels of a service to other services.
const MAX_PLACES: usize = 8;

/// The peers of a service, by channel.
#[derive(Debug, Default)]
pub struct Peers {
    places: RefCell<Vec<Place, MAX_PLACES>>,
}

#[derive(Debug)]
struct Place {
    channel: String<MAX_CHANNEL>,
    /// Our end, while the peer is there.
    end: Option<PeerEnd>,
    /// Counts what was said of the peer.
    life: u32,
    sleeper: Option<Waker>,
}

impl Peers {
    /// Nobody is there.
    pub const fn new() -> Self {
        Self { places: RefCell::new(Vec::new()) }
    }

    /// The peer of `channel` is there, the first time or anew, and our end is `end`.
    pub fn back(&self, channel: &str, end: PeerEnd) {
        self.say(channel, Some(end));
    }

    /// The peer of `channel` has ended.
    pub fn gone(&self, channel: &str) {
        self.say(channel, None);
    }

    /// Whether the peer of `channel` is there.
    pub fn is_there(&self, channel: &str) -> bool {
        self.look(channel, |place| place.end).is_some()
    }

    /// Waits until the peer of `channel` is there. For one task for each channel.
    pub async fn wait(&self, channel: &str) -> Tie<'_> {
        poll_fn(|cx| {
            let found = self.look(channel, |place| {
                place.sleeper = Some(cx.waker().clone());
                place.end.map(|end| (end, place.life))
            });
            match found {
                Some((end, life)) => Poll::Ready(Tie { peers: self, channel: clipped(channel), end, life }),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn say(&self, channel: &str, end: Option<PeerEnd>) {
        let sleeper = self.look(channel, |place| {
            place.end = end;
            place.life = place.life.wrapping_add(1);
            place.sleeper.take()
        });
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Looks at the place of a channel, which is made if it is new. A service has fewer channels than there
    /// is room for, so what does not fit is nobody's.
    fn look<R>(&self, channel: &str, look: impl FnOnce(&mut Place) -> Option<R>) -> Option<R> {
        let mut places = self.places.borrow_mut();
        if !places.iter().any(|place| place.channel == channel) {
            let place = Place { channel: clipped(channel), end: None, life: 0, sleeper: None };
            places.push(place).ok()?;
        }
        places.iter_mut().find(|place| place.channel == channel).and_then(look)
    }
}

/// One life of a peer.
#[derive(Debug)]
pub struct Tie<'p> {
    peers: &'p Peers,
    channel: String<MAX_CHANNEL>,
    end: PeerEnd,
    life: u32,
}

impl Tie<'_> {
    /// Our end of the channel to this life of the peer.
    pub fn end(&self) -> PeerEnd {
        self.end
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Waits until this life of the peer is over. Dropping the future loses nothing.
    pub async fn cut(&self) {
        poll_fn(|cx| self.poll_cut(cx)).await
    }

    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        let over = self.peers.look(&self.channel, |place| {
            place.sleeper = Some(cx.waker().clone());
            (place.life != self.life).then_some(())
        });
        over.map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests;
