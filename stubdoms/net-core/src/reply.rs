//! Packets that the gateway itself writes to a guest: ICMP errors, the end of a connection that is
//! not known (any more), and answers to echoes.
//!
//! Each is at most as long as 576 bytes or as the packet that caused it, and one packet causes at
//! most one: nobody can be hit harder through us than by what the sender sends.
//!
//! Source: RFC 792, RFC 1812 §4.3.2.3 (length), RFC 9293 §3.10.7.1 (reset).

use core::net::Ipv4Addr;

use crate::{
    checksum,
    packet::{
        EchoKind, ICMP_HEADER, IP_CHECKSUM, IP_HEADER, Packet, TcpFlags, Transport, put_address, put_word,
    },
};

/// Longest reply in bytes but for echoes, which are as long as what they answer.
pub const MAX_ERROR: usize = 576;

/// An error that a router tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No way to the network: type 3, code 0.
    NetUnreachable,
    /// The hop count ran out: type 11, code 0.
    TimeExceeded,
}

impl IcmpError {
    fn type_and_code(self) -> [u8; 2] {
        match self {
            Self::NetUnreachable => [3, 0],
            Self::TimeExceeded => [11, 0],
        }
    }
}

fn ip_header(out: &mut [u8], protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) {
    let Some(head) = out.get_mut(..IP_HEADER) else {
        return;
    };
    head.fill(0);
    head[0] = 0x45;
    head[8] = 64;
    head[9] = protocol;
    // Callers build packets that fit a frame.
    let length = out.len() as u16;
    put_word(out, 2, length);
    put_address(out, 12, source);
    put_address(out, 16, destination);
    let sum = checksum::of(&out[..IP_HEADER]);
    put_word(out, IP_CHECKSUM, sum);
}

/// Writes an error about `original`, whose facts are `packet`, to the front of `out`, and returns its
/// length. `None` for an ICMP error (RFC 1122 §3.2.2) and when `out` is too short.
pub fn icmp_error(
    error: IcmpError,
    from: Ipv4Addr,
    packet: &Packet,
    original: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    if matches!(packet.transport, Transport::Error(_)) {
        return None;
    }
    let quoted = original.get(..packet.length.min(MAX_ERROR - IP_HEADER - ICMP_HEADER))?;
    let length = IP_HEADER + ICMP_HEADER + quoted.len();
    let out = out.get_mut(..length)?;
    ip_header(out, 1, from, packet.source);
    let message = &mut out[IP_HEADER..];
    message[..ICMP_HEADER].fill(0);
    message[..2].copy_from_slice(&error.type_and_code());
    message[ICMP_HEADER..].copy_from_slice(quoted);
    let sum = checksum::of(message);
    put_word(message, 2, sum);
    Some(length)
}

/// Writes the segment that ends the connection to which the TCP packet `original` belongs. `None` if
/// it is a reset itself, not TCP, or `out` is too short.
pub fn tcp_reset(packet: &Packet, original: &[u8], out: &mut [u8]) -> Option<usize> {
    let Transport::Tcp { source, destination, flags } = packet.transport else {
        return None;
    };
    if flags.contains(TcpFlags::RST) {
        return None;
    }
    let segment = original.get(IP_HEADER..packet.length)?;
    let (head, _) = segment.split_first_chunk::<20>()?;
    let out = out.get_mut(..IP_HEADER + 20)?;
    ip_header(out, 6, packet.destination, packet.source);
    let reset = &mut out[IP_HEADER..];
    reset.fill(0);
    put_word(reset, 0, destination);
    put_word(reset, 2, source);
    reset[12] = 5 << 4;
    if flags.contains(TcpFlags::ACK) {
        reset[4..8].copy_from_slice(&head[8..12]);
        reset[13] = TcpFlags::RST.bits();
    } else {
        let sequence = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let data = segment.len().saturating_sub(usize::from(head[12] >> 4) * 4) as u32;
        let controls = flags.contains(TcpFlags::SYN) as u32 + flags.contains(TcpFlags::FIN) as u32;
        let next = sequence.wrapping_add(data).wrapping_add(controls);
        reset[8..12].copy_from_slice(&next.to_be_bytes());
        reset[13] = (TcpFlags::RST | TcpFlags::ACK).bits();
    }
    let sum = checksum::of_segment(packet.destination, packet.source, 6, reset);
    put_word(reset, 16, sum);
    Some(IP_HEADER + 20)
}

/// Writes the answer to the echo request `original`. `None` if it is something else.
pub fn echo(packet: &Packet, original: &[u8], out: &mut [u8]) -> Option<usize> {
    if !matches!(packet.transport, Transport::Echo { kind: EchoKind::Request, .. }) {
        return None;
    }
    let out = out.get_mut(..packet.length)?;
    out.copy_from_slice(original.get(..packet.length)?);
    ip_header(out, 1, packet.destination, packet.source);
    let message = &mut out[IP_HEADER..];
    message[0] = 0;
    put_word(message, 2, 0);
    let sum = checksum::of(message);
    put_word(message, 2, sum);
    Some(packet.length)
}
