//! Source address translation: guests appear on the wire under the uplink's address.
//!
//! A flow is opened by a guest only, gets a random port of [`PORTS`], and lets back in what comes from
//! the very address and port that the guest talks to (RFC 4787 calls both address- and port-dependent).
//! ICMP errors about a known flow are translated together with the packet that they quote.
//!
//! Checksums are adjusted, not made anew, so a packet that was damaged on its way stays damaged. ICMP
//! errors are the exception: they are verified when parsed, and computed in full.
//!
//! Source: RFC 3022, RFC 5382, RFC 4787, RFC 5508 (errors), RFC 6056 §3.3.2 (random ports).

use core::{net::Ipv4Addr, ops::RangeInclusive};

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;
use smoltcp::time::Instant;

use crate::{
    checksum,
    conntrack::{Flow, Inside, Limits, Outside, Refused, Table},
    packet::{
        EchoKind, ICMP_HEADER, IP_CHECKSUM, IP_DESTINATION, IP_HEADER, IP_SOURCE, IP_TTL, Packet, Protocol,
        Quoted, TcpFlags, Transport, put_address, put_word, word,
    },
    vif::VifId,
};

/// Ports of the uplink that belong to translation. What net itself opens stays below.
pub const PORTS: RangeInclusive<u16> = 16384..=65535;

/// How often another port is drawn before a flow is refused.
const DRAWS: usize = 32;

/// Why a packet is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untranslated {
    /// It belongs to no flow and may not open one.
    NoFlow,
    /// The table is full, for all or for this guest.
    TableFull,
    /// A hop count of 1 or less.
    TtlExceeded,
}

/// The translation for one uplink address.
pub struct Nat {
    table: Table,
    random: ChaCha12Rng,
}

/// One end of a packet: where its address and port stand.
#[derive(Clone, Copy)]
struct End {
    address_at: usize,
    /// Offset of the port from the transport header.
    port_at: usize,
}

const SOURCE: End = End { address_at: IP_SOURCE, port_at: 0 };
const DESTINATION: End = End { address_at: IP_DESTINATION, port_at: 2 };

impl Nat {
    /// An empty table of `limits`; ports are drawn from `random`.
    #[must_use]
    pub fn new(limits: Limits, random: ChaCha12Rng) -> Self {
        Self { table: Table::new(limits), random }
    }

    /// Flows in the table.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.table.len()
    }

    /// Forgets all flows: our address has changed.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// Forgets a guest's flows.
    pub fn clear_vif(&mut self, vif: VifId) {
        self.table.clear_vif(vif);
    }

    /// Rewrites a guest's packet so that it comes from `ours`. `bytes` is exactly the packet whose
    /// facts `packet` are.
    ///
    /// # Errors
    /// [`Untranslated`]; `bytes` is then as before.
    pub fn outward(
        &mut self,
        now: Instant,
        vif: VifId,
        ours: Ipv4Addr,
        packet: &Packet,
        bytes: &mut [u8],
    ) -> Result<(), Untranslated> {
        if packet.ttl <= 1 {
            return Err(Untranslated::TtlExceeded);
        }
        let (protocol, port, remote_port, flags) = match packet.transport {
            Transport::Tcp { source, destination, flags } => (Protocol::Tcp, source, destination, flags),
            Transport::Udp { source, destination } => (Protocol::Udp, source, destination, TcpFlags::empty()),
            Transport::Echo { ident, .. } => (Protocol::Echo, ident, 0, TcpFlags::empty()),
            Transport::Error(quoted) => return self.error_outward(now, vif, ours, packet, &quoted, bytes),
        };
        let (address, remote) = (packet.source, packet.destination);
        let key = Inside { vif, protocol, address, port, remote, remote_port };
        let outside_port = match self.table.pass_out(now, &key, flags) {
            Some(flow) => flow.outside_port,
            None if opens(packet.transport) => self.open(now, key)?,
            None => return Err(Untranslated::NoFlow),
        };
        decrement_ttl(bytes);
        rewrite(bytes, protocol, SOURCE, ours, outside_port);
        Ok(())
    }

    /// Rewrites a packet from the wire, which is addressed to us, so that it goes to the guest whose
    /// flow it belongs to, and says which guest that is.
    ///
    /// # Errors
    /// [`Untranslated`]; `bytes` is then as before. [`Untranslated::NoFlow`] means that the packet is
    /// for ourselves, if for anyone.
    pub fn inward(&mut self, now: Instant, packet: &Packet, bytes: &mut [u8]) -> Result<VifId, Untranslated> {
        let (protocol, port, remote_port, flags) = match packet.transport {
            Transport::Tcp { source, destination, flags } => (Protocol::Tcp, destination, source, flags),
            Transport::Udp { source, destination } => (Protocol::Udp, destination, source, TcpFlags::empty()),
            Transport::Echo { kind: EchoKind::Reply, ident } => (Protocol::Echo, ident, 0, TcpFlags::empty()),
            Transport::Echo { kind: EchoKind::Request, .. } => return Err(Untranslated::NoFlow),
            Transport::Error(quoted) => return self.error_inward(now, packet, &quoted, bytes),
        };
        let key = Outside { protocol, port, remote: packet.source, remote_port };
        if self.table.peek_outside(now, &key).is_none() {
            return Err(Untranslated::NoFlow);
        }
        if packet.ttl <= 1 {
            return Err(Untranslated::TtlExceeded);
        }
        let flow = self.table.pass_in(now, &key, flags).ok_or(Untranslated::NoFlow)?;
        decrement_ttl(bytes);
        rewrite(bytes, protocol, DESTINATION, flow.inside.address, flow.inside.port);
        Ok(flow.inside.vif)
    }

    fn open(&mut self, now: Instant, inside: Inside) -> Result<u16, Untranslated> {
        let width = u32::from(*PORTS.end() - *PORTS.start()) + 1;
        for _ in 0..DRAWS {
            // The remainder is below `width`, 49152, which divides 2³² but for a third of itself: the
            // bias is one in 87,000.
            let port = PORTS.start() + (self.random.next_u32() % width) as u16;
            match self.table.open(now, Flow { inside, outside_port: port }) {
                Ok(()) => return Ok(port),
                Err(Refused::Full) => break,
                Err(Refused::PortTaken) => {}
            }
        }
        Err(Untranslated::TableFull)
    }

    /// An error that a guest tells about a packet that reached it: the quoted packet went to the guest.
    fn error_outward(
        &mut self,
        now: Instant,
        vif: VifId,
        ours: Ipv4Addr,
        packet: &Packet,
        quoted: &Quoted,
        bytes: &mut [u8],
    ) -> Result<(), Untranslated> {
        let remote_port = if quoted.protocol == Protocol::Echo { 0 } else { quoted.source_port };
        let key = Inside {
            vif,
            protocol: quoted.protocol,
            address: quoted.destination,
            port: quoted.destination_port,
            remote: quoted.source,
            remote_port,
        };
        // Only whom the guest talks to is told: nobody else has sent it anything.
        if packet.destination != quoted.source {
            return Err(Untranslated::NoFlow);
        }
        let flow = self.table.peek_inside(now, &key).ok_or(Untranslated::NoFlow)?;
        decrement_ttl(bytes);
        rewrite_quoted(bytes, quoted.protocol, DESTINATION, ours, flow.outside_port);
        rewrite_address(bytes, SOURCE, ours);
        finish_error(bytes);
        Ok(())
    }

    /// An error from the wire, told by anyone on the way: the quoted packet is one that we sent.
    fn error_inward(
        &mut self,
        now: Instant,
        packet: &Packet,
        quoted: &Quoted,
        bytes: &mut [u8],
    ) -> Result<VifId, Untranslated> {
        let remote_port = if quoted.protocol == Protocol::Echo { 0 } else { quoted.destination_port };
        let key = Outside {
            protocol: quoted.protocol,
            port: quoted.source_port,
            remote: quoted.destination,
            remote_port,
        };
        // What it quotes must have come from our address, to which the error itself is sent.
        if quoted.source != packet.destination {
            return Err(Untranslated::NoFlow);
        }
        let flow = self.table.peek_outside(now, &key).ok_or(Untranslated::NoFlow)?;
        if packet.ttl <= 1 {
            return Err(Untranslated::TtlExceeded);
        }
        decrement_ttl(bytes);
        rewrite_quoted(bytes, quoted.protocol, SOURCE, flow.inside.address, flow.inside.port);
        rewrite_address(bytes, DESTINATION, flow.inside.address);
        finish_error(bytes);
        Ok(flow.inside.vif)
    }
}

/// Whether a packet of a guest may begin a flow.
fn opens(transport: Transport) -> bool {
    match transport {
        Transport::Tcp { flags, .. } => flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK),
        Transport::Udp { .. } | Transport::Echo { kind: EchoKind::Request, .. } => true,
        Transport::Echo { kind: EchoKind::Reply, .. } | Transport::Error(_) => false,
    }
}

/// Changes the word at `at` and adjusts the checksum at `sum_at` for it.
fn change(bytes: &mut [u8], at: usize, new: u16, sum_at: usize) {
    if let (Some(old), Some(sum)) = (word(bytes, at), word(bytes, sum_at)) {
        put_word(bytes, at, new);
        put_word(bytes, sum_at, checksum::adjusted(sum, old, new));
    }
}

fn decrement_ttl(bytes: &mut [u8]) {
    // Both callers have seen a hop count above 1; it is the upper half of the word.
    if let Some(old) = word(bytes, IP_TTL) {
        change(bytes, IP_TTL, old.wrapping_sub(0x100), IP_CHECKSUM);
    }
}

/// Puts `new` at `end` of the packet and adjusts the header's checksum. Returns what was there.
fn rewrite_address(bytes: &mut [u8], end: End, new: Ipv4Addr) -> Option<Ipv4Addr> {
    let old = crate::packet::address(bytes, end.address_at)?;
    let sum = word(bytes, IP_CHECKSUM)?;
    put_address(bytes, end.address_at, new);
    put_word(bytes, IP_CHECKSUM, checksum::adjusted_address(sum, old, new));
    Some(old)
}

/// Puts address and port at `end` of the packet and adjusts all checksums, as far as the bytes go: a
/// quoted packet may end before its transport checksum.
fn rewrite(bytes: &mut [u8], protocol: Protocol, end: End, address: Ipv4Addr, port: u16) {
    let Some(old_address) = rewrite_address(bytes, end, address) else {
        return;
    };
    let (sum_at, port_at) = match protocol {
        Protocol::Tcp => (IP_HEADER + 16, IP_HEADER + end.port_at),
        Protocol::Udp => (IP_HEADER + 6, IP_HEADER + end.port_at),
        Protocol::Echo => (IP_HEADER + 2, IP_HEADER + 4),
    };
    let Some(old_port) = word(bytes, port_at) else {
        return;
    };
    put_word(bytes, port_at, port);
    let Some(sum) = word(bytes, sum_at) else {
        return;
    };
    let sum = match protocol {
        // Zero means that the sender made none (RFC 768); it stays so.
        Protocol::Udp if sum == 0 => return,
        Protocol::Echo => checksum::adjusted(sum, old_port, port),
        Protocol::Tcp | Protocol::Udp => {
            let sum = checksum::adjusted_address(sum, old_address, address);
            checksum::adjusted(sum, old_port, port)
        }
    };
    // A sum that comes out as zero is sent as its other form, for zero is taken.
    put_word(bytes, sum_at, if protocol == Protocol::Udp && sum == 0 { 0xffff } else { sum });
}

/// [`rewrite`] for the packet that the ICMP error in `bytes` quotes.
fn rewrite_quoted(bytes: &mut [u8], protocol: Protocol, end: End, address: Ipv4Addr, port: u16) {
    if let Some(quoted) = bytes.get_mut(IP_HEADER + ICMP_HEADER..) {
        rewrite(quoted, protocol, end, address, port);
    }
}

/// Computes the checksum of the ICMP message in `bytes` anew.
fn finish_error(bytes: &mut [u8]) {
    if let Some(message) = bytes.get_mut(IP_HEADER..) {
        put_word(message, 2, 0);
        let sum = checksum::of(message);
        put_word(message, 2, sum);
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
