//! The machine that joins the others: frames of the uplink and of the vifs come in, frames go out.
//!
//! The shell calls `on_…` for what happened and [`Forwarder::poll`] after each batch of calls and when
//! the time that it returned has come; then it looks at [`Forwarder::take_event`].
//!
//! What a guest may do, in the order of the checks:
//! 1. its frames carry its own hardware address, its packets its own IP address;
//! 2. it may ask for the gateway's hardware address and send echo requests to the gateway: nothing
//!    else is open on any address of net's, the uplink's included (no hairpin);
//! 3. it may open flows to addresses that have a meaning beyond this machine ([`vif::is_routable`]),
//!    and not to the uplink network's broadcast address;
//! 4. its flows are limited ([`crate::conntrack::Limits`]).
//!
//! What the wire may do: send packets of flows that a guest has opened, ask who has our address, play
//! DHCP server to a request of ours, send echo requests.

use alloc::boxed::Box;
use core::net::Ipv4Addr;

use heapless::Deque;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use rand_core::Rng;
use smoltcp::{time::Instant, wire::EthernetAddress as Mac};

use crate::{
    MAX_FRAME,
    arp::{Arp, Operation},
    conntrack::Limits,
    counters::{DropReason, Drops, PortCounters},
    nat::{Nat, Untranslated},
    neighbor::{Neighbors, Way},
    packet::{ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet, Malformed, Packet, Transport},
    reply::{self, IcmpError},
    uplink::{self, Lease, Uplink},
    vif::{self, GATEWAY_MAC, MAX_VIFS, QUIET, Vif, VifId, VifNetwork},
};

/// Where frames go. Both return whether the port took the frame; one that has no room says `false`,
/// and the frame is dropped and counted.
pub trait Egress {
    /// Sends on the uplink.
    fn uplink(&mut self, frame: &[u8]) -> bool;
    /// Sends to a guest.
    fn vif(&mut self, vif: VifId, frame: &[u8]) -> bool;
}

/// What is worth to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The uplink changed.
    Uplink(uplink::Event),
    /// A guest does what no guest should do. Told once in [`QUIET`]; all are counted.
    Suspicious {
        /// Which guest.
        vif: VifId,
        /// What was wrong with its frame.
        reason: DropReason,
    },
}

/// Sizes of all pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The table of flows.
    pub flows: Limits,
    /// Next hops on the uplink.
    pub neighbors: usize,
    /// Frames that may wait for a next hop's hardware address.
    pub waiting: usize,
}

impl Default for Sizes {
    /// For a device with a few guests; takes about 0.4 MiB.
    fn default() -> Self {
        Self { flows: Limits { flows: 2048, flows_per_vif: 1024 }, neighbors: 64, waiting: 64 }
    }
}

/// Why a vif was not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VifRefused {
    /// It is connected already.
    Busy,
    /// The hardware address is a group's, all zero, or our own.
    Mac,
}

/// The machine.
pub struct Forwarder {
    mac: Mac,
    uplink: Uplink,
    uplink_counters: PortCounters,
    neighbors: Neighbors,
    nat: Nat,
    /// Under which address the flows in `nat` are known on the wire.
    nat_address: Option<Ipv4Addr>,
    vifs: [Option<Vif>; MAX_VIFS],
    drops: Drops,
    events: Deque<Event, 16>,
    /// The frame that is being translated, and the one that is being answered with.
    scratch: Box<[u8; MAX_FRAME]>,
    answer: Box<[u8; MAX_FRAME]>,
}

impl Forwarder {
    /// A machine whose uplink has hardware address `mac` and no carrier yet. `seed` is secret: it
    /// chooses the ports of flows and DHCP's transaction numbers.
    #[must_use]
    pub fn new(now: Instant, mac: Mac, sizes: Sizes, seed: [u8; 32]) -> Self {
        // One secret generator feeds the other, whose output everyone on the wire sees.
        let mut random = ChaCha12Rng::from_seed(seed);
        Self {
            mac,
            uplink: Uplink::new(now, mac, random.next_u64()),
            uplink_counters: PortCounters::default(),
            neighbors: Neighbors::new(sizes.neighbors, sizes.waiting),
            nat: Nat::new(sizes.flows, random),
            nat_address: None,
            vifs: [None; MAX_VIFS],
            drops: Drops::default(),
            events: Deque::new(),
            scratch: Box::new([0; MAX_FRAME]),
            answer: Box::new([0; MAX_FRAME]),
        }
    }

    /// Hardware address of the uplink.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Whether the uplink has carrier.
    #[must_use]
    pub fn link(&self) -> bool {
        self.uplink.link()
    }

    /// The uplink's lease.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.uplink.lease()
    }

    /// What changed since the last call, oldest first.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Counts of the uplink.
    #[must_use]
    pub fn uplink_counters(&self) -> &PortCounters {
        &self.uplink_counters
    }

    /// Counts of a vif. `None` unless it is connected.
    #[must_use]
    pub fn vif_counters(&self, vif: VifId) -> Option<&PortCounters> {
        self.vifs[vif.index()].as_ref().map(|vif| &vif.counters)
    }

    /// Frames dropped on all ports, by reason.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Flows in the table.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.nat.flows()
    }

    /// Connects a guest whose hardware address is `mac`; returns its addresses.
    ///
    /// # Errors
    /// [`VifRefused`].
    pub fn connect_vif(&mut self, vif: VifId, mac: Mac) -> Result<VifNetwork, VifRefused> {
        if !mac.is_unicast() || mac == Mac([0; 6]) || mac == GATEWAY_MAC {
            return Err(VifRefused::Mac);
        }
        let place = &mut self.vifs[vif.index()];
        if place.is_some() {
            return Err(VifRefused::Busy);
        }
        let network = vif.network();
        let counters = PortCounters::default();
        *place = Some(Vif { mac, network, counters, quiet_until: Instant::ZERO });
        Ok(network)
    }

    /// Forgets a guest and its flows.
    pub fn disconnect_vif(&mut self, vif: VifId) {
        self.vifs[vif.index()] = None;
        self.nat.clear_vif(vif);
    }

    /// Tells about the uplink's carrier.
    pub fn on_link(&mut self, now: Instant, up: bool) {
        self.uplink.on_link(now, up);
        self.react();
    }

    /// Takes a frame that came in on the uplink.
    pub fn on_uplink_frame(&mut self, now: Instant, frame: &[u8], out: &mut impl Egress) {
        self.uplink_counters.received(frame.len());
        if let Err(reason) = self.uplink_frame(now, frame, out) {
            self.uplink_counters.dropped(reason);
            self.drops.add(reason);
        }
    }

    /// Takes a frame that a guest sent.
    pub fn on_vif_frame(&mut self, now: Instant, vif: VifId, frame: &[u8], out: &mut impl Egress) {
        let Some(Vif { mac, network, counters, .. }) = &mut self.vifs[vif.index()] else {
            return;
        };
        counters.received(frame.len());
        let guest = Guest { vif, mac: *mac, network: *network };
        if let Err(reason) = self.vif_frame(now, guest, frame, out) {
            self.blame(now, vif, reason);
        }
    }

    /// Does what time demands. Returns when to be called next, if nothing happens before.
    pub fn poll(&mut self, now: Instant, out: &mut impl Egress) -> Option<Instant> {
        let Self { uplink, uplink_counters, neighbors, drops, mac, .. } = self;
        let own = uplink.poll(now, |frame| send(uplink_counters, out, frame));
        let address = uplink.lease().map(|lease| lease.address.address());
        let ask = |hop| {
            if let Some(address) = address {
                send(uplink_counters, out, &Arp::request(*mac, address, hop));
            }
        };
        let lost = |count| (0..count).for_each(|_| drops.add(DropReason::NextHop));
        let hops = neighbors.poll(now, ask, lost);
        self.react();
        // What `react` does after a change needs no timer that is not in `own`.
        [own, hops].into_iter().flatten().min()
    }

    fn uplink_frame(&mut self, now: Instant, frame: &[u8], out: &mut impl Egress) -> Result<(), DropReason> {
        if frame.len() > MAX_FRAME {
            return Err(DropReason::TooLong);
        }
        let (ethernet, payload) = Ethernet::parse(frame).ok_or(DropReason::Malformed)?;
        let to_us = ethernet.destination == self.mac;
        if !to_us && !ethernet.destination.is_broadcast() {
            return Err(DropReason::NotOurs);
        }
        match ethernet.ethertype {
            ETHERTYPE_ARP => self.arp_from_uplink(now, &ethernet, payload, frame, out),
            ETHERTYPE_IPV4 => {
                let packet = Packet::parse(payload).map_err(reason_of)?;
                if is_dhcp_answer(&packet) {
                    self.for_ourselves(now, frame, out);
                    return Ok(());
                }
                // A broadcast frame with a packet for one host is nobody's (RFC 1122 §3.3.6).
                let ours = self.uplink.lease().map(|lease| lease.address.address());
                if !to_us || ours != Some(packet.destination) {
                    return Err(DropReason::NotOurs);
                }
                self.packet_for_us(now, frame, payload, &packet, out)
            }
            _ => Err(DropReason::Protocol),
        }
    }

    fn arp_from_uplink(
        &mut self,
        now: Instant,
        ethernet: &Ethernet,
        payload: &[u8],
        frame: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let arp = Arp::parse(payload).ok_or(DropReason::Malformed)?;
        let ours = self.uplink.lease().map(|lease| lease.address.address());
        if ours != Some(arp.target) {
            return Err(DropReason::NotOurs);
        }
        if arp.sender_mac != ethernet.source || arp.sender_mac == self.mac {
            return Err(DropReason::Malformed);
        }
        let answer = arp.operation == Operation::Reply
            && ethernet.destination == self.mac
            && arp.target_mac == self.mac
            && self.neighbors.answered(now, arp.sender, arp.sender_mac);
        if answer {
            let counters = &mut self.uplink_counters;
            self.neighbors.release(arp.sender, |waiting| {
                // Frames wait with their header written but for this.
                waiting[..6].copy_from_slice(&arp.sender_mac.0);
                send(counters, out, waiting);
            });
        }
        // The uplink has a cache of its own for what it sends itself.
        self.for_ourselves(now, frame, out);
        Ok(())
    }

    fn packet_for_us(
        &mut self,
        now: Instant,
        frame: &[u8],
        payload: &[u8],
        packet: &Packet,
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let bytes = copied(&mut self.scratch, payload, packet)?;
        match self.nat.inward(now, packet, bytes) {
            Ok(vif) => self.deliver(vif, packet.length, out),
            Err(Untranslated::NoFlow) => {
                self.for_ourselves(now, frame, out);
                Ok(())
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Sends the packet in `scratch` to a guest.
    fn deliver(&mut self, vif: VifId, length: usize, out: &mut impl Egress) -> Result<(), DropReason> {
        // Flows go with their vif, so it is there.
        let Some(port) = &mut self.vifs[vif.index()] else {
            return Err(DropReason::NoFlow);
        };
        let header = Ethernet { destination: port.mac, source: GATEWAY_MAC, ethertype: ETHERTYPE_IPV4 };
        self.scratch[..ETHERNET_HEADER].copy_from_slice(&header.emit());
        let frame = &self.scratch[..ETHERNET_HEADER + length];
        let taken = out.vif(vif, frame);
        port.counters.sent(frame.len(), taken);
        if taken { Ok(()) } else { Err(DropReason::NoRoom) }
    }

    fn for_ourselves(&mut self, now: Instant, frame: &[u8], out: &mut impl Egress) {
        let counters = &mut self.uplink_counters;
        self.uplink.on_frame(now, frame, |frame| send(counters, out, frame));
        self.react();
    }

    fn vif_frame(
        &mut self,
        now: Instant,
        guest: Guest,
        frame: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        if frame.len() > MAX_FRAME {
            return Err(DropReason::TooLong);
        }
        let (ethernet, payload) = Ethernet::parse(frame).ok_or(DropReason::Malformed)?;
        if ethernet.source != guest.mac {
            return Err(DropReason::SpoofedMac);
        }
        match ethernet.ethertype {
            ETHERTYPE_ARP => self.arp_from_vif(guest, payload, out),
            ETHERTYPE_IPV4 if ethernet.destination != GATEWAY_MAC => Err(DropReason::NotOurs),
            ETHERTYPE_IPV4 => self.packet_from_vif(now, guest, payload, out),
            _ => Err(DropReason::Protocol),
        }
    }

    fn arp_from_vif(
        &mut self,
        guest: Guest,
        payload: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let arp = Arp::parse(payload).ok_or(DropReason::Malformed)?;
        if arp.sender_mac != guest.mac {
            return Err(DropReason::SpoofedMac);
        }
        if arp.sender != guest.network.guest && !arp.sender.is_unspecified() {
            return Err(DropReason::SpoofedAddress);
        }
        if arp.operation == Operation::Request && arp.target == guest.network.gateway {
            let frame = arp.reply(GATEWAY_MAC);
            self.send_to_guest(guest.vif, &frame, out);
        }
        Ok(())
    }

    fn packet_from_vif(
        &mut self,
        now: Instant,
        guest: Guest,
        payload: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let packet = Packet::parse(payload).map_err(reason_of)?;
        if packet.source != guest.network.guest {
            return Err(DropReason::SpoofedAddress);
        }
        if packet.destination == guest.network.gateway {
            return match self.answer(guest, out, |room| reply::echo(&packet, payload, room)) {
                true => Ok(()),
                false => Err(DropReason::Denied),
            };
        }
        if !vif::is_routable(packet.destination) {
            return Err(DropReason::Denied);
        }
        let from = guest.network.gateway;
        let Some((ours, hop)) = self.way_out(packet.destination)? else {
            let error = IcmpError::NetUnreachable;
            self.answer(guest, out, |room| reply::icmp_error(error, from, &packet, payload, room));
            return Err(DropReason::NoUplink);
        };
        let bytes = copied(&mut self.scratch, payload, &packet)?;
        match self.nat.outward(now, guest.vif, ours, &packet, bytes) {
            Ok(()) => self.send_to_hop(now, ours, hop, packet.length, out),
            Err(refused) => {
                self.answer(guest, out, |room| match refused {
                    Untranslated::NoFlow => reply::tcp_reset(&packet, payload, room),
                    Untranslated::TtlExceeded => {
                        reply::icmp_error(IcmpError::TimeExceeded, from, &packet, payload, room)
                    }
                    Untranslated::TableFull => None,
                });
                Err(refused.into())
            }
        }
    }

    /// Our address and the next hop to `destination`; `None` without a lease or gateway.
    fn way_out(&self, destination: Ipv4Addr) -> Result<Option<(Ipv4Addr, Ipv4Addr)>, DropReason> {
        let Some(lease) = self.uplink.lease() else {
            return Ok(None);
        };
        let ours = lease.address.address();
        if destination == ours || lease.address.broadcast() == Some(destination) {
            return Err(DropReason::Denied);
        }
        Ok(lease.next_hop(destination).map(|hop| (ours, hop)))
    }

    /// Sends the packet in `scratch` on the uplink by way of `hop`, now or when its hardware address
    /// is known.
    fn send_to_hop(
        &mut self,
        now: Instant,
        ours: Ipv4Addr,
        hop: Ipv4Addr,
        length: usize,
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let way = self.neighbors.way(now, hop);
        let destination = match way {
            Way::To(mac) | Way::ToAndAsk(mac) => mac,
            Way::Ask | Way::Wait => Mac([0; 6]),
        };
        let header = Ethernet { destination, source: self.mac, ethertype: ETHERTYPE_IPV4 };
        self.scratch[..ETHERNET_HEADER].copy_from_slice(&header.emit());
        let frame = &self.scratch[..ETHERNET_HEADER + length];
        if matches!(way, Way::Ask | Way::ToAndAsk(_)) {
            send(&mut self.uplink_counters, out, &Arp::request(self.mac, ours, hop));
        }
        match way {
            Way::To(_) | Way::ToAndAsk(_) => {
                let taken = out.uplink(frame);
                self.uplink_counters.sent(frame.len(), taken);
                if taken { Ok(()) } else { Err(DropReason::NoRoom) }
            }
            Way::Ask | Way::Wait if self.neighbors.wait(hop, frame) => Ok(()),
            Way::Ask | Way::Wait => Err(DropReason::NextHop),
        }
    }

    /// Lets `write` make a packet for the guest and sends it. Says whether it made one.
    fn answer(
        &mut self,
        guest: Guest,
        out: &mut impl Egress,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let (header, packet) = self.answer.split_at_mut(ETHERNET_HEADER);
        let Some(length) = write(packet) else {
            return false;
        };
        let ethernet = Ethernet { destination: guest.mac, source: GATEWAY_MAC, ethertype: ETHERTYPE_IPV4 };
        header.copy_from_slice(&ethernet.emit());
        let frame = &self.answer[..ETHERNET_HEADER + length];
        let taken = out.vif(guest.vif, frame);
        if let Some(vif) = &mut self.vifs[guest.vif.index()] {
            vif.counters.sent(frame.len(), taken);
        }
        true
    }

    fn send_to_guest(&mut self, vif: VifId, frame: &[u8], out: &mut impl Egress) {
        let taken = out.vif(vif, frame);
        if let Some(vif) = &mut self.vifs[vif.index()] {
            vif.counters.sent(frame.len(), taken);
        }
    }

    /// Counts a guest's frame that was dropped, and tells about the first suspicious one.
    fn blame(&mut self, now: Instant, id: VifId, reason: DropReason) {
        self.drops.add(reason);
        let Some(vif) = &mut self.vifs[id.index()] else {
            return;
        };
        vif.counters.dropped(reason);
        if reason.is_suspicious() && now >= vif.quiet_until {
            vif.quiet_until = now + QUIET;
            self.tell(Event::Suspicious { vif: id, reason });
        }
    }

    fn tell(&mut self, event: Event) {
        // Whoever does not look for long loses the oldest; the state itself is there to be asked.
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    /// Draws the consequences of what happened to the uplink.
    fn react(&mut self) {
        while let Some(event) = self.uplink.take_event() {
            if matches!(event, uplink::Event::Link(_)) {
                // The other end of the cable may be another one.
                self.forget_hops();
            }
            self.tell(Event::Uplink(event));
        }
        let address = self.uplink.lease().map(|lease| lease.address.address());
        if address != self.nat_address {
            self.nat_address = address;
            self.nat.clear();
            self.forget_hops();
        }
    }

    fn forget_hops(&mut self) {
        let waited = self.neighbors.clear();
        (0..waited).for_each(|_| self.drops.add(DropReason::NextHop));
    }
}

/// Who sent a frame.
#[derive(Clone, Copy)]
struct Guest {
    vif: VifId,
    mac: Mac,
    network: VifNetwork,
}

fn send(counters: &mut PortCounters, out: &mut impl Egress, frame: &[u8]) {
    let taken = out.uplink(frame);
    counters.sent(frame.len(), taken);
}

/// Copies the packet behind the room for an Ethernet header, and returns it there.
fn copied<'s>(
    scratch: &'s mut [u8; MAX_FRAME],
    payload: &[u8],
    packet: &Packet,
) -> Result<&'s mut [u8], DropReason> {
    let place = scratch.get_mut(ETHERNET_HEADER..ETHERNET_HEADER + packet.length);
    let (Some(place), Some(bytes)) = (place, payload.get(..packet.length)) else {
        return Err(DropReason::TooLong);
    };
    place.copy_from_slice(bytes);
    Ok(place)
}

fn is_dhcp_answer(packet: &Packet) -> bool {
    packet.transport == Transport::Udp { source: 67, destination: 68 }
}

fn reason_of(malformed: Malformed) -> DropReason {
    match malformed {
        Malformed::Fragment => DropReason::Fragment,
        Malformed::Version(_) | Malformed::Options | Malformed::Protocol(_) | Malformed::IcmpType(_) => {
            DropReason::Protocol
        }
        Malformed::Truncated { .. }
        | Malformed::HeaderLength(_)
        | Malformed::TotalLength { .. }
        | Malformed::HeaderChecksum
        | Malformed::TransportLength { .. }
        | Malformed::TcpFlags(_)
        | Malformed::IcmpChecksum
        | Malformed::Quoted => DropReason::Malformed,
    }
}

impl From<Untranslated> for DropReason {
    fn from(refused: Untranslated) -> Self {
        match refused {
            Untranslated::NoFlow => Self::NoFlow,
            Untranslated::TableFull => Self::TableFull,
            Untranslated::TtlExceeded => Self::TtlExceeded,
        }
    }
}

#[cfg(test)]
mod tests;
