//! Hardware addresses of the next hops on the uplink: the gateway and hosts of our own network.
//!
//! ```text
//!              packet for it            answer
//!   (unknown) ───────────────► Asked ───────────► Known ─┐ time runs out, and then
//!       ▲                        │                  ▲    │ a packet for it
//!       └────────────────────────┘                  └─ Asked, old address still used
//!          no answer to TRIES requests
//! ```
//!
//! An attack, and what stops it: (1) somebody on the wire announces the gateway's address as its own;
//! (2) a cache that learns from announcements sends all traffic there. Ours learns only from replies to
//! a request that is open, addressed to us, for the very address that was asked. Who answers before the
//! gateway still wins: ARP has no defence against that, and TLS above it does.
//!
//! Nothing here is timed while no request is open.
//!
//! Source: RFC 826, RFC 1122 §2.3.2 (one request a second, queue of the latest packets).

use alloc::{boxed::Box, vec::Vec};
use core::net::Ipv4Addr;

use smoltcp::{
    time::{Duration, Instant},
    wire::EthernetAddress as Mac,
};

use crate::MAX_FRAME;

const TRIES: u8 = 3;
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer is believed.
const LIFETIME: Duration = Duration::from_secs(60);
/// Packets that may wait for one next hop.
const WAITING_PER_HOP: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Known { mac: Mac, until: Instant },
    Asked { before: Option<Mac>, tries_left: u8, next: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: Ipv4Addr,
    state: State,
    used: Instant,
}

/// A frame that waits for its destination's hardware address.
struct Waiting {
    hop: Ipv4Addr,
    length: usize,
    place: Place,
}

/// Memory for one frame; it moves between the waiting and the spare ones.
struct Place(Box<[u8; MAX_FRAME]>);

/// What to do with a packet for a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Send it there.
    To(Mac),
    /// Send it there, and a request as well: the address gets old.
    ToAndAsk(Mac),
    /// Let it wait: a request is open.
    Wait,
    /// Let it wait, and send a request.
    Ask,
}

/// The cache, and the frames that wait. All memory is taken by [`Neighbors::new`].
pub struct Neighbors {
    entries: Vec<Entry>,
    most_entries: usize,
    waiting: Vec<Waiting>,
    /// Frames that nothing waits in.
    spare: Vec<Place>,
}

impl Neighbors {
    /// Room for `most_entries` hops (at least 1) and `most_waiting` frames.
    #[must_use]
    pub fn new(most_entries: usize, most_waiting: usize) -> Self {
        let most_entries = most_entries.max(1);
        Self {
            entries: Vec::with_capacity(most_entries),
            most_entries,
            waiting: Vec::with_capacity(most_waiting),
            spare: (0..most_waiting).map(|_| Place(Box::new([0; MAX_FRAME]))).collect(),
        }
    }

    /// The way to `hop` for a packet at `now`.
    pub fn way(&mut self, now: Instant, hop: Ipv4Addr) -> Way {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.address == hop) else {
            self.make_room();
            self.entries.push(Entry { address: hop, state: asked(now, None), used: now });
            return Way::Ask;
        };
        entry.used = now;
        match entry.state {
            State::Known { mac, until } if now < until => Way::To(mac),
            State::Known { mac, .. } => {
                entry.state = asked(now, Some(mac));
                Way::ToAndAsk(mac)
            }
            State::Asked { before: Some(mac), .. } => Way::To(mac),
            State::Asked { before: None, .. } => Way::Wait,
        }
    }

    /// Keeps `frame` until `hop` has answered. Says whether there was room.
    pub fn wait(&mut self, hop: Ipv4Addr, frame: &[u8]) -> bool {
        if self.waiting.iter().filter(|waiting| waiting.hop == hop).count() >= WAITING_PER_HOP {
            return false;
        }
        let Some(mut place) = self.spare.pop() else {
            return false;
        };
        let Some(room) = place.0.get_mut(..frame.len()) else {
            self.spare.push(place);
            return false;
        };
        room.copy_from_slice(frame);
        self.waiting.push(Waiting { hop, length: frame.len(), place });
        true
    }

    /// Takes a reply that was sent to us: `address` is said to be at `mac`. Says whether it was asked
    /// for; the frames that waited are then to be had from [`Neighbors::release`].
    pub fn answered(&mut self, now: Instant, address: Ipv4Addr, mac: Mac) -> bool {
        let entry = self.entries.iter_mut().find(|entry| entry.address == address);
        let Some(entry) = entry.filter(|entry| matches!(entry.state, State::Asked { .. })) else {
            return false;
        };
        if !mac.is_unicast() {
            return false;
        }
        entry.state = State::Known { mac, until: now + LIFETIME };
        true
    }

    /// Hands each frame that waits for `hop` to `send`, oldest first.
    pub fn release(&mut self, hop: Ipv4Addr, mut send: impl FnMut(&mut [u8])) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.hop == hop) {
            let mut place = waiting.place;
            send(&mut place.0[..waiting.length]);
            self.spare.push(place);
        }
    }

    /// Does what time demands: `ask` is called for each request to send again, `lost` for each hop that
    /// stays silent, with its number of frames that waited in vain. Returns when to be called next.
    pub fn poll(
        &mut self,
        now: Instant,
        mut ask: impl FnMut(Ipv4Addr),
        mut lost: impl FnMut(usize),
    ) -> Option<Instant> {
        let mut earliest = None;
        let mut at = 0;
        while let Some(entry) = self.entries.get_mut(at) {
            let address = entry.address;
            if let State::Asked { tries_left, next, .. } = &mut entry.state {
                if *next <= now && *tries_left == 0 {
                    self.entries.swap_remove(at);
                    lost(self.forget_waiting(address));
                    continue;
                }
                if *next <= now {
                    *tries_left -= 1;
                    *next = now + INTERVAL;
                    ask(address);
                }
                earliest = Some(earliest.map_or(*next, |earliest: Instant| earliest.min(*next)));
            }
            at += 1;
        }
        earliest
    }

    /// Forgets everything: the wire is another one. Returns how many frames waited.
    pub fn clear(&mut self) -> usize {
        self.entries.clear();
        let count = self.waiting.len();
        self.spare.extend(self.waiting.drain(..).map(|waiting| waiting.place));
        count
    }

    fn forget_waiting(&mut self, hop: Ipv4Addr) -> usize {
        let before = self.waiting.len();
        self.release(hop, |_| {});
        before - self.waiting.len()
    }

    /// Makes room for one entry: of those that never answered the oldest, else the longest unused. So
    /// a guest that calls on many silent addresses pushes out those, and not the gateway.
    fn make_room(&mut self) {
        if self.entries.len() < self.most_entries {
            return;
        }
        let rank = |entry: &Entry| {
            let answered = !matches!(entry.state, State::Asked { before: None, .. });
            (answered, entry.used)
        };
        let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| rank(entry));
        if let Some((at, _)) = oldest {
            let gone = self.entries.swap_remove(at);
            self.forget_waiting(gone.address);
        }
    }
}

fn asked(now: Instant, before: Option<Mac>) -> State {
    State::Asked { before, tries_left: TRIES - 1, next: now + INTERVAL }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const MAC: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn at(milliseconds: i64) -> Instant {
        Instant::from_millis(milliseconds)
    }

    fn released(neighbors: &mut Neighbors) -> Vec<Vec<u8>> {
        let mut frames = vec![];
        neighbors.release(GATEWAY, |frame| frames.push(frame.to_vec()));
        frames
    }

    #[test]
    fn packets_wait_for_the_answer_and_leave_in_order() {
        let mut neighbors = Neighbors::new(4, 3);
        assert_eq!(neighbors.way(at(0), GATEWAY), Way::Ask);
        assert!(neighbors.wait(GATEWAY, b"one"));
        assert_eq!(neighbors.way(at(1), GATEWAY), Way::Wait);
        assert!(neighbors.wait(GATEWAY, b"two"));
        assert!(neighbors.answered(at(5), GATEWAY, MAC));
        assert_eq!(released(&mut neighbors), [b"one", b"two"]);
        assert_eq!(neighbors.way(at(6), GATEWAY), Way::To(MAC));
        assert_eq!(neighbors.poll(at(7), |_| panic!(), |_| panic!()), None);
    }

    #[test]
    fn what_was_not_asked_is_not_learned() {
        let mut neighbors = Neighbors::new(4, 3);
        assert!(!neighbors.answered(at(0), GATEWAY, OTHER));
        neighbors.way(at(0), GATEWAY);
        assert!(!neighbors.answered(at(1), GATEWAY, Mac::BROADCAST));
        assert!(!neighbors.answered(at(1), Ipv4Addr::new(10, 0, 2, 3), OTHER));
        assert!(neighbors.answered(at(1), GATEWAY, MAC));
        // The second answer to the same question comes too late.
        assert!(!neighbors.answered(at(2), GATEWAY, OTHER));
        assert_eq!(neighbors.way(at(3), GATEWAY), Way::To(MAC));
    }

    #[test]
    fn a_silent_hop_is_asked_three_times_and_given_up() {
        let mut neighbors = Neighbors::new(4, 3);
        neighbors.way(at(0), GATEWAY);
        neighbors.wait(GATEWAY, b"in vain");
        let mut asked = 0;
        let mut lost = 0;
        let mut now = at(0);
        let mut next = neighbors.poll(now, |_| asked += 1, |count| lost += count);
        while let Some(due) = next {
            now = due;
            next = neighbors.poll(now, |_| asked += 1, |count| lost += count);
        }
        // The first request is the caller's, at `Way::Ask`.
        assert_eq!((asked, lost, now), (2, 1, at(3000)));
        assert_eq!(neighbors.way(at(4000), GATEWAY), Way::Ask);
    }

    #[test]
    fn an_old_address_is_used_while_it_is_asked_again() {
        let mut neighbors = Neighbors::new(4, 3);
        neighbors.way(at(0), GATEWAY);
        neighbors.answered(at(0), GATEWAY, MAC);
        assert_eq!(neighbors.way(at(60_000), GATEWAY), Way::ToAndAsk(MAC));
        assert_eq!(neighbors.way(at(60_001), GATEWAY), Way::To(MAC));
        assert!(neighbors.answered(at(60_002), GATEWAY, OTHER));
        assert_eq!(neighbors.way(at(60_003), GATEWAY), Way::To(OTHER));
    }

    #[test]
    fn calling_on_silent_addresses_does_not_push_out_the_gateway() {
        let mut neighbors = Neighbors::new(4, 3);
        neighbors.way(at(0), GATEWAY);
        neighbors.answered(at(0), GATEWAY, MAC);
        for last in 3..200 {
            let hop = Ipv4Addr::new(10, 0, 2, last);
            assert_eq!(neighbors.way(at(i64::from(last)), hop), Way::Ask);
            assert!(neighbors.wait(hop, b"x"));
        }
        assert_eq!(neighbors.way(at(300), GATEWAY), Way::To(MAC));
        assert_eq!(neighbors.entries.len(), 4);
        assert_eq!(neighbors.clear(), 3);
        assert_eq!(neighbors.spare.len(), 3);
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut neighbors = Neighbors::new(4, 20);
        neighbors.way(at(0), GATEWAY);
        let taken = (0..20).filter(|_| neighbors.wait(GATEWAY, b"x")).count();
        assert_eq!(taken, WAITING_PER_HOP);
        assert!(!neighbors.wait(Ipv4Addr::new(10, 0, 2, 9), &[0; MAX_FRAME + 1]));
    }
}
