//! The table of flows: which guest talks to whom, under which port of the uplink.
//!
//! A flow is known under two keys. *Inside* is what the guest writes into its packets; *outside* is
//! what the wire sees. Both indices are sorted lists of slot numbers: a lookup is a binary search, and
//! no choice of ports by a guest or a stranger makes it slower, which a hash table would have to buy
//! with a secret key.
//!
//! ```text
//!              SYN out          SYN or ACK back           FIN both ways
//!   (no flow) ────────► Opening ─────────────► Established ──────────► Closing ──► (gone)
//!                          ▲                      ▲   │ RST              │
//!                          │                      │   └────────────────► │
//!                          │                      └── segment of the guest after a RST from the wire
//!                          └──────────────────────────── SYN out ────────┘
//! ```
//!
//! A RST from the wire shortens a flow's life and does not end it: a stranger who guesses two ports
//! can send one (RFC 7857 §2.1 does the same).
//!
//! Time-outs are looked at when a flow is used or room is needed, so an idle table needs no timer.
//!
//! Source of the time-outs: RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-1.

use alloc::vec::Vec;
use core::{cmp::Ordering, net::Ipv4Addr};

use smoltcp::time::{Duration, Instant};

use crate::{
    packet::{Protocol, TcpFlags},
    vif::{MAX_VIFS, VifId},
};

/// How a flow looks from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inside {
    /// The guest.
    pub vif: VifId,
    /// Protocol of the flow.
    pub protocol: Protocol,
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The guest's port, or identifier.
    pub port: u16,
    /// The other end's address.
    pub remote: Ipv4Addr,
    /// The other end's port; 0 for echoes.
    pub remote_port: u16,
}

/// How a flow looks on the wire. Our own address is not part of it: there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outside {
    /// Protocol of the flow.
    pub protocol: Protocol,
    /// Our port, or identifier.
    pub port: u16,
    /// The other end's address.
    pub remote: Ipv4Addr,
    /// The other end's port; 0 for echoes.
    pub remote_port: u16,
}

/// A flow under both keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As the guest sees it.
    pub inside: Inside,
    /// The uplink's port that stands for it.
    pub outside_port: u16,
}

impl Flow {
    /// The key by which the wire knows it.
    #[must_use]
    pub fn outside(&self) -> Outside {
        Outside {
            protocol: self.inside.protocol,
            port: self.outside_port,
            remote: self.inside.remote,
            remote_port: self.inside.remote_port,
        }
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the guest to the wire.
    Out,
    /// From the wire to the guest.
    In,
}

/// How far a flow has come, which decides how long it may stay silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// TCP: the guest sent a SYN.
    Opening,
    /// TCP: both ends have spoken. The flags say who sent a FIN.
    Established { fin_out: bool, fin_in: bool },
    /// TCP: both FINs, or a RST. `reset_from_wire` can be undone by the guest.
    Closing { reset_from_wire: bool },
    /// UDP and echo: only the guest has spoken.
    OneWay,
    /// UDP and echo: there was an answer.
    BothWays,
}

/// Why a flow was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The table, or this guest's share of it, is full of living flows.
    Full,
    /// The outside key belongs to another flow.
    PortTaken,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    flow: Flow,
    state: State,
    /// When it dies unless a packet comes.
    expires: Instant,
}

/// Sizes of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows of all guests together.
    pub flows: u16,
    /// Flows of one guest.
    pub flows_per_vif: u16,
}

/// The table. Memory for [`Limits::flows`] is taken at start.
pub struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u16>,
    by_inside: Vec<u16>,
    by_outside: Vec<u16>,
    used: [u16; MAX_VIFS],
    limits: Limits,
    /// A sweep before this time would find nothing that has run out.
    next_sweep: Instant,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let room = usize::from(limits.flows);
        Self {
            slots: alloc::vec![None; room],
            free: (0..limits.flows).rev().collect(),
            by_inside: Vec::with_capacity(room),
            by_outside: Vec::with_capacity(room),
            used: [0; MAX_VIFS],
            limits,
            next_sweep: Instant::ZERO,
        }
    }

    /// Flows in the table, those included whose time has run out unnoticed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_inside.len()
    }

    /// Whether no flow is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_inside.is_empty()
    }

    /// The living flow that a guest knows as `key`, unchanged.
    #[must_use]
    pub fn peek_inside(&self, now: Instant, key: &Inside) -> Option<Flow> {
        let at = self.find_inside(key).ok()?;
        self.living(now, self.by_inside[at])
    }

    /// The living flow that the wire knows as `key`, unchanged.
    #[must_use]
    pub fn peek_outside(&self, now: Instant, key: &Outside) -> Option<Flow> {
        let at = self.find_outside(key).ok()?;
        self.living(now, self.by_outside[at])
    }

    /// The flow of a packet that the guest sent; its life is prolonged.
    pub fn pass_out(&mut self, now: Instant, key: &Inside, flags: TcpFlags) -> Option<Flow> {
        let at = self.find_inside(key).ok()?;
        self.pass(now, self.by_inside[at], Direction::Out, flags)
    }

    /// The flow of a packet that came from the wire; its life is prolonged.
    pub fn pass_in(&mut self, now: Instant, key: &Outside, flags: TcpFlags) -> Option<Flow> {
        let at = self.find_outside(key).ok()?;
        self.pass(now, self.by_outside[at], Direction::In, flags)
    }

    /// Adds a flow whose first packet the guest has just sent. Makes room from flows that have run out
    /// and, after those, from the guest's oldest connection that is closing anyway.
    ///
    /// # Errors
    /// [`Refused`]; the table is as before, but for flows that had run out.
    pub fn open(&mut self, now: Instant, flow: Flow) -> Result<(), Refused> {
        let vif = flow.inside.vif;
        if self.is_full_for(vif) && now >= self.next_sweep {
            self.sweep(now);
        }
        if self.is_full_for(vif) && !self.evict_closing(vif) {
            return Err(Refused::Full);
        }
        // A dead flow may still sit on either key.
        if self.find_inside(&flow.inside).is_ok_and(|at| !self.forget_dead(now, self.by_inside[at])) {
            return Err(Refused::PortTaken);
        }
        if self.find_outside(&flow.outside()).is_ok_and(|at| !self.forget_dead(now, self.by_outside[at])) {
            return Err(Refused::PortTaken);
        }
        let (Err(inside_at), Err(outside_at)) =
            (self.find_inside(&flow.inside), self.find_outside(&flow.outside()))
        else {
            return Err(Refused::PortTaken);
        };
        let Some(index) = self.free.pop() else {
            return Err(Refused::Full);
        };
        let state = match flow.inside.protocol {
            Protocol::Tcp => State::Opening,
            Protocol::Udp | Protocol::Echo => State::OneWay,
        };
        let expires = now + lifetime(&flow.inside, state);
        self.slots[usize::from(index)] = Some(Slot { flow, state, expires });
        self.by_inside.insert(inside_at, index);
        self.by_outside.insert(outside_at, index);
        self.used[vif.index()] += 1;
        self.next_sweep = self.next_sweep.min(expires);
        Ok(())
    }

    /// Forgets every flow, as when the uplink's address changes.
    pub fn clear(&mut self) {
        while let Some(index) = self.by_inside.last().copied() {
            self.remove(index);
        }
    }

    /// Forgets the flows of one guest.
    pub fn clear_vif(&mut self, vif: VifId) {
        self.remove_all(|slot| slot.flow.inside.vif == vif);
    }

    fn is_full_for(&self, vif: VifId) -> bool {
        self.free.is_empty() || self.used[vif.index()] >= self.limits.flows_per_vif
    }

    fn living(&self, now: Instant, index: u16) -> Option<Flow> {
        self.slots[usize::from(index)].as_ref().filter(|slot| now < slot.expires).map(|slot| slot.flow)
    }

    fn pass(&mut self, now: Instant, index: u16, direction: Direction, flags: TcpFlags) -> Option<Flow> {
        if self.forget_dead(now, index) {
            return None;
        }
        let slot = self.slots[usize::from(index)].as_mut()?;
        slot.state = slot.state.after(direction, flags);
        slot.expires = now + lifetime(&slot.flow.inside, slot.state);
        self.next_sweep = self.next_sweep.min(slot.expires);
        Some(slot.flow)
    }

    /// Removes the flow in `index` if its time has run out, and says whether it did.
    fn forget_dead(&mut self, now: Instant, index: u16) -> bool {
        let dead = self.living(now, index).is_none();
        if dead {
            self.remove(index);
        }
        dead
    }

    fn sweep(&mut self, now: Instant) {
        self.remove_all(|slot| slot.expires <= now);
        // Never too late: who changes an end lowers this. Too early costs one sweep.
        let ends = self.slots.iter().flatten().map(|slot| slot.expires);
        self.next_sweep = ends.min().unwrap_or(now);
    }

    fn evict_closing(&mut self, vif: VifId) -> bool {
        let candidates = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let slot = slot.as_ref()?;
            let closing = matches!(slot.state, State::Closing { .. });
            (closing && slot.flow.inside.vif == vif).then_some((slot.expires, index))
        });
        let Some((_, index)) = candidates.min() else {
            return false;
        };
        // Slot numbers are below `limits.flows`, a u16.
        self.remove(index as u16);
        true
    }

    fn remove_all(&mut self, condemned: impl Fn(&Slot) -> bool) {
        for index in 0..self.limits.flows {
            if self.slots[usize::from(index)].as_ref().is_some_and(&condemned) {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: u16) {
        let Some(slot) = &self.slots[usize::from(index)] else {
            return;
        };
        let flow = slot.flow;
        if let Ok(at) = self.find_inside(&flow.inside) {
            self.by_inside.remove(at);
        }
        if let Ok(at) = self.find_outside(&flow.outside()) {
            self.by_outside.remove(at);
        }
        self.slots[usize::from(index)] = None;
        self.free.push(index);
        self.used[flow.inside.vif.index()] -= 1;
    }

    fn find_inside(&self, key: &Inside) -> Result<usize, usize> {
        self.by_inside.binary_search_by(|index| self.compare(*index, |flow| flow.inside.cmp(key)))
    }

    fn find_outside(&self, key: &Outside) -> Result<usize, usize> {
        self.by_outside.binary_search_by(|index| self.compare(*index, |flow| flow.outside().cmp(key)))
    }

    fn compare(&self, index: u16, order: impl Fn(&Flow) -> Ordering) -> Ordering {
        // A number in an index names a taken slot: `open` and `remove` change both together.
        self.slots[usize::from(index)].as_ref().map_or(Ordering::Less, |slot| order(&slot.flow))
    }
}

impl State {
    fn after(self, direction: Direction, flags: TcpFlags) -> Self {
        match (self, direction) {
            (Self::OneWay, Direction::Out) => Self::OneWay,
            (Self::OneWay | Self::BothWays, _) => Self::BothWays,
            // A guest that opens a connection on ports whose last one is closing, or asks again.
            (Self::Opening | Self::Closing { .. }, Direction::Out) if flags.contains(TcpFlags::SYN) => {
                Self::Opening
            }
            (Self::Opening, Direction::Out) if !flags.contains(TcpFlags::RST) => Self::Opening,
            (_, Direction::Out) if flags.contains(TcpFlags::RST) => Self::Closing { reset_from_wire: false },
            (Self::Opening | Self::Established { .. }, Direction::In) if flags.contains(TcpFlags::RST) => {
                Self::Closing { reset_from_wire: true }
            }
            (Self::Opening, _) => Self::Established { fin_out: false, fin_in: flags.contains(TcpFlags::FIN) },
            (Self::Established { fin_out, fin_in }, _) => {
                let fin = flags.contains(TcpFlags::FIN);
                let fin_out = fin_out || fin && direction == Direction::Out;
                let fin_in = fin_in || fin && direction == Direction::In;
                if fin_out && fin_in {
                    Self::Closing { reset_from_wire: false }
                } else {
                    Self::Established { fin_out, fin_in }
                }
            }
            (Self::Closing { reset_from_wire: true }, Direction::Out) => {
                Self::Established { fin_out: flags.contains(TcpFlags::FIN), fin_in: false }
            }
            (Self::Closing { .. }, _) => self,
        }
    }
}

/// How long a flow may stay silent.
fn lifetime(inside: &Inside, state: State) -> Duration {
    const DNS: u16 = 53;
    Duration::from_secs(match (inside.protocol, state) {
        (_, State::Opening | State::Closing { .. }) => 240,
        (_, State::Established { .. }) => 7440,
        (Protocol::Echo, _) => 60,
        // One question, one answer, and a new port for the next: RFC 4787 REQ-5a allows less here.
        (_, _) if inside.remote_port == DNS => 30,
        (_, State::OneWay) => 120,
        (_, State::BothWays) => 300,
    })
}

#[cfg(test)]
mod tests;
