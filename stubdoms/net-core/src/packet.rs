//! Bytes of a frame turned into values that cannot lie about lengths.
//!
//! [`Packet::parse`] looks at everything that later code relies on: after it the IPv4 header has 20
//! bytes, the transport header is whole, and [`Packet::length`] bytes are there. Offsets into the
//! packet are therefore constants.
//!
//! Source: RFC 791, RFC 9293 §3.1, RFC 768, RFC 792.

use core::{fmt, net::Ipv4Addr};

use bitflags::bitflags;
use smoltcp::wire::EthernetAddress as Mac;

use crate::checksum;

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;

/// Length in bytes of the only IPv4 header that is let through: the one without options.
pub const IP_HEADER: usize = 20;
/// Offset of the header's checksum.
pub const IP_CHECKSUM: usize = 10;
/// Offset of the source address.
pub const IP_SOURCE: usize = 12;
/// Offset of the destination address.
pub const IP_DESTINATION: usize = 16;
/// Offset of the word that holds time to live and protocol.
pub const IP_TTL: usize = 8;

/// Length of the ICMP header that stands before a quoted packet or an echo's data.
pub const ICMP_HEADER: usize = 8;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// The 16 bits at `at`, big-endian.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let (pair, _) = bytes.get(at..)?.split_first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

/// The address at `at`.
#[must_use]
pub fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let (octets, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(Ipv4Addr::from(*octets))
}

/// Writes `value` at `at`. Writes nothing if the bytes end before; callers pass offsets that
/// [`Packet::parse`] has covered.
pub fn put_word(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *place = value.to_be_bytes();
    }
}

/// Writes `value` at `at`, as [`put_word`] does.
pub fn put_address(bytes: &mut [u8], at: usize, value: Ipv4Addr) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *place = value.octets();
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// What follows.
    pub ethertype: u16,
}

impl Ethernet {
    /// Splits `frame` into header and payload. `None` if it is shorter than a header.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (destination, rest) = frame.split_first_chunk::<6>()?;
        let (source, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, payload) = rest.split_first_chunk::<2>()?;
        Some((
            Self {
                destination: Mac(*destination),
                source: Mac(*source),
                ethertype: u16::from_be_bytes(*ethertype),
            },
            payload,
        ))
    }

    /// The header's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; ETHERNET_HEADER] {
        let mut out = [0; ETHERNET_HEADER];
        out[..6].copy_from_slice(&self.destination.0);
        out[6..12].copy_from_slice(&self.source.0);
        out[12..].copy_from_slice(&self.ethertype.to_be_bytes());
        out
    }
}

bitflags! {
    /// Control bits of a TCP segment that connection tracking looks at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TcpFlags: u8 {
        /// No more data from the sender.
        const FIN = 1;
        /// Opens a connection.
        const SYN = 2;
        /// Ends a connection at once.
        const RST = 4;
        /// The acknowledgement number counts.
        const ACK = 16;
    }
}

/// The protocols that are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo; the identifier stands where the others have a port.
    Echo,
}

/// The two kinds of echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoKind {
    /// Type 8.
    Request,
    /// Type 0.
    Reply,
}

/// The packet of ours that an ICMP error tells about: as much as identifies its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who had sent it.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its source port, or the identifier.
    pub source_port: u16,
    /// Its destination port, or the identifier.
    pub destination_port: u16,
}

/// What an IPv4 packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Control bits.
        flags: TcpFlags,
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// An echo request or reply.
    Echo {
        /// Which of the two.
        kind: EchoKind,
        /// Identifier, chosen by who asks.
        ident: u16,
    },
    /// Destination unreachable, time exceeded or parameter problem.
    Error(Quoted),
}

/// Facts about an IPv4 packet that were checked against its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it, as the packet says.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// Hops that are left.
    pub ttl: u8,
    /// Bytes from the start of the IPv4 header; what follows in the frame is padding.
    pub length: usize,
    /// What it carries.
    pub transport: Transport,
}

/// Why a packet is not looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before a header does.
    Truncated {
        /// Bytes that the header needs.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// Not version 4.
    Version(u8),
    /// The header says that it is shorter than a header can be.
    HeaderLength(u8),
    /// It has IP options; these are never obeyed.
    Options,
    /// The total length is smaller than the header, or larger than the frame.
    TotalLength {
        /// What the packet says.
        says: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The header's checksum is wrong.
    HeaderChecksum,
    /// A fragment; these are not reassembled.
    Fragment,
    /// A protocol that is not translated.
    Protocol(u8),
    /// A length inside the transport header contradicts the packet's.
    TransportLength {
        /// What the header says.
        says: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// A set of TCP control bits that no conforming sender makes.
    TcpFlags(u8),
    /// An ICMP message that is neither echo nor one of the three errors.
    IcmpType(u8),
    /// The ICMP checksum is wrong.
    IcmpChecksum,
    /// What an ICMP error quotes is no packet that we could have sent.
    Quoted,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { need, have } => write!(f, "header needs {need} bytes, {have} are there"),
            Self::Version(version) => write!(f, "IP version {version}"),
            Self::HeaderLength(words) => write!(f, "IPv4 header of {words} words"),
            Self::Options => write!(f, "IPv4 options"),
            Self::TotalLength { says, have } => write!(f, "total length {says}, {have} bytes are there"),
            Self::HeaderChecksum => write!(f, "wrong IPv4 header checksum"),
            Self::Fragment => write!(f, "fragment"),
            Self::Protocol(number) => write!(f, "protocol {number}"),
            Self::TransportLength { says, have } => {
                write!(f, "transport length {says}, {have} bytes are there")
            }
            Self::TcpFlags(bits) => write!(f, "TCP flags {bits:#04x}"),
            Self::IcmpType(kind) => write!(f, "ICMP type {kind}"),
            Self::IcmpChecksum => write!(f, "wrong ICMP checksum"),
            Self::Quoted => write!(f, "ICMP error about a packet that we did not send"),
        }
    }
}

/// What the fixed part of an IPv4 header says.
struct Header {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    protocol: u8,
    total: usize,
    fragment: u16,
}

impl Packet {
    /// Reads the packet at the front of `bytes`, which are a frame's payload.
    ///
    /// TCP and UDP checksums are not looked at: their owner checks them, and the translation keeps a
    /// wrong one wrong.
    ///
    /// # Errors
    /// One variant of [`Malformed`] for each lie.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = header(bytes)?;
        let says = header.total;
        let packet = bytes
            .get(..says)
            .filter(|_| says >= IP_HEADER)
            .ok_or(Malformed::TotalLength { says, have: bytes.len() })?;
        let (head, payload) =
            packet.split_at_checked(IP_HEADER).ok_or(Malformed::Truncated { need: IP_HEADER, have: says })?;
        if checksum::of(head) != 0 {
            return Err(Malformed::HeaderChecksum);
        }
        // More fragments, or an offset. The reserved bit and "do not fragment" are no fragment.
        if header.fragment & 0x3fff != 0 {
            return Err(Malformed::Fragment);
        }
        let transport = match header.protocol {
            PROTOCOL_TCP => tcp(payload)?,
            PROTOCOL_UDP => udp(payload)?,
            PROTOCOL_ICMP => icmp(payload)?,
            other => return Err(Malformed::Protocol(other)),
        };
        Ok(Self {
            source: header.source,
            destination: header.destination,
            ttl: header.ttl,
            length: says,
            transport,
        })
    }
}

fn header(bytes: &[u8]) -> Result<Header, Malformed> {
    let have = bytes.len();
    let Some((head, _)) = bytes.split_first_chunk::<IP_HEADER>() else {
        return Err(Malformed::Truncated { need: IP_HEADER, have });
    };
    if head[0] >> 4 != 4 {
        return Err(Malformed::Version(head[0] >> 4));
    }
    match head[0] & 0xf {
        words @ 0..5 => return Err(Malformed::HeaderLength(words)),
        5 => {}
        _ => return Err(Malformed::Options),
    }
    Ok(Header {
        total: usize::from(u16::from_be_bytes([head[2], head[3]])),
        fragment: u16::from_be_bytes([head[6], head[7]]),
        ttl: head[8],
        protocol: head[9],
        source: Ipv4Addr::new(head[12], head[13], head[14], head[15]),
        destination: Ipv4Addr::new(head[16], head[17], head[18], head[19]),
    })
}

fn tcp(segment: &[u8]) -> Result<Transport, Malformed> {
    let have = segment.len();
    let Some((head, _)) = segment.split_first_chunk::<20>() else {
        return Err(Malformed::Truncated { need: 20, have });
    };
    let says = usize::from(head[12] >> 4) * 4;
    if says < 20 || says > have {
        return Err(Malformed::TransportLength { says, have });
    }
    let flags = TcpFlags::from_bits_truncate(head[13]);
    let opening = flags.contains(TcpFlags::SYN) && flags.intersects(TcpFlags::FIN | TcpFlags::RST);
    let silent = !flags.intersects(TcpFlags::SYN | TcpFlags::RST | TcpFlags::ACK);
    if opening || silent {
        return Err(Malformed::TcpFlags(head[13]));
    }
    Ok(Transport::Tcp {
        source: u16::from_be_bytes([head[0], head[1]]),
        destination: u16::from_be_bytes([head[2], head[3]]),
        flags,
    })
}

fn udp(datagram: &[u8]) -> Result<Transport, Malformed> {
    let have = datagram.len();
    let Some((head, _)) = datagram.split_first_chunk::<8>() else {
        return Err(Malformed::Truncated { need: 8, have });
    };
    let says = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if says < 8 || says > have {
        return Err(Malformed::TransportLength { says, have });
    }
    Ok(Transport::Udp {
        source: u16::from_be_bytes([head[0], head[1]]),
        destination: u16::from_be_bytes([head[2], head[3]]),
    })
}

fn icmp(message: &[u8]) -> Result<Transport, Malformed> {
    let have = message.len();
    let Some((head, quoted)) = message.split_first_chunk::<ICMP_HEADER>() else {
        return Err(Malformed::Truncated { need: ICMP_HEADER, have });
    };
    let ident = u16::from_be_bytes([head[4], head[5]]);
    let transport = match head[0] {
        0 => Transport::Echo { kind: EchoKind::Reply, ident },
        8 => Transport::Echo { kind: EchoKind::Request, ident },
        3 | 11 | 12 => Transport::Error(quote(quoted)?),
        other => return Err(Malformed::IcmpType(other)),
    };
    // RFC 5508 REQ-3: an error with a wrong checksum is not believed. Echoes are held to the same.
    if checksum::of(message) != 0 {
        return Err(Malformed::IcmpChecksum);
    }
    Ok(transport)
}

/// Reads what an ICMP error quotes: a header and at least 8 bytes. The rest may be cut off.
fn quote(bytes: &[u8]) -> Result<Quoted, Malformed> {
    let header = header(bytes).map_err(|_| Malformed::Quoted)?;
    let transport = bytes.get(IP_HEADER..IP_HEADER + 8).ok_or(Malformed::Quoted)?;
    if header.fragment & 0x3fff != 0 {
        return Err(Malformed::Quoted);
    }
    let at = |offset| word(transport, offset).ok_or(Malformed::Quoted);
    let (protocol, source_port, destination_port) = match header.protocol {
        PROTOCOL_TCP => (Protocol::Tcp, at(0)?, at(2)?),
        PROTOCOL_UDP => (Protocol::Udp, at(0)?, at(2)?),
        // Errors about errors do not exist (RFC 1122 §3.2.2), so only echoes are quoted.
        PROTOCOL_ICMP if matches!(transport.first(), Some(0 | 8)) => (Protocol::Echo, at(4)?, at(4)?),
        _ => return Err(Malformed::Quoted),
    };
    Ok(Quoted {
        source: header.source,
        destination: header.destination,
        protocol,
        source_port,
        destination_port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Packet::parse(&bytes);
            let _ = Ethernet::parse(&bytes);
        }

        /// Most random bytes fail at the first field: this one lets the first fields be right.
        #[test]
        fn lies_behind_a_right_header_are_found(
            protocol in prop::sample::select(std::vec![1u8, 6, 17]), total in 0u16..100,
            payload in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = std::vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            put_word(&mut bytes, 2, total);
            let sum = checksum::of(&bytes);
            put_word(&mut bytes, IP_CHECKSUM, sum);
            bytes.extend(&payload);
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.length <= bytes.len());
                prop_assert!(packet.length >= IP_HEADER + 8);
            }
        }
    }
}
