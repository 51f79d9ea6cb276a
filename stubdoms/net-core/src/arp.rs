//! ARP for IPv4 over Ethernet.
//!
//! Source: RFC 826; RFC 5227 for probes (sender address 0.0.0.0).

use core::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress as Mac;

use crate::packet::{ETHERNET_HEADER, ETHERTYPE_ARP, Ethernet};

/// Length of a frame that carries one message, in bytes, without padding.
pub const FRAME: usize = ETHERNET_HEADER + 28;

/// Hardware type Ethernet, protocol IPv4, address lengths 6 and 4.
const PREAMBLE: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender's address.
    Reply,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What is wanted.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// IP address of the sender; 0.0.0.0 in a probe.
    pub sender: Ipv4Addr,
    /// Hardware address of the target; without meaning in a request.
    pub target_mac: Mac,
    /// IP address of the target.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads a frame's payload. `None` if it is cut off or not ARP for IPv4 over Ethernet.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let rest = payload.strip_prefix(&PREAMBLE)?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let operation = match operation {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let (target, _padding) = rest.split_first_chunk::<4>()?;
        Some(Self {
            operation,
            sender_mac: Mac(*sender_mac),
            sender: Ipv4Addr::from(*sender),
            target_mac: Mac(*target_mac),
            target: Ipv4Addr::from(*target),
        })
    }

    /// The frame that asks all on the wire who has `target`.
    #[must_use]
    pub fn request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> [u8; FRAME] {
        let message =
            Self { operation: Operation::Request, sender_mac: mac, sender, target_mac: Mac([0; 6]), target };
        message.emit(Mac::BROADCAST)
    }

    /// The frame that answers `self`, a request, with `mac`.
    #[must_use]
    pub fn reply(&self, mac: Mac) -> [u8; FRAME] {
        let message = Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        };
        message.emit(self.sender_mac)
    }

    fn emit(&self, destination: Mac) -> [u8; FRAME] {
        let mut out = [0; FRAME];
        let header = Ethernet { destination, source: self.sender_mac, ethertype: ETHERTYPE_ARP };
        out[..14].copy_from_slice(&header.emit());
        out[14..20].copy_from_slice(&PREAMBLE);
        out[21] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        out[22..28].copy_from_slice(&self.sender_mac.0);
        out[28..32].copy_from_slice(&self.sender.octets());
        out[32..38].copy_from_slice(&self.target_mac.0);
        out[38..42].copy_from_slice(&self.target.octets());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The fields in the order of RFC 826, written by hand.
    #[test]
    fn a_request_has_the_bytes_of_the_rfc() {
        let frame = Arp::request(
            Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            Ipv4Addr::new(10, 0, 2, 15),
            Ipv4Addr::new(10, 0, 2, 2),
        );
        assert_eq!(
            frame,
            [
                255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x08, 0x06, // Ethernet
                0, 1, 8, 0, 6, 4, 0, 1, // types, lengths, request
                0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15, // sender
                0, 0, 0, 0, 0, 0, 10, 0, 2, 2, // target
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(macs: ([u8; 6], [u8; 6]), ips: ([u8; 4], [u8; 4]), reply: bool) {
            let operation = if reply { Operation::Reply } else { Operation::Request };
            let arp = Arp {
                operation, sender_mac: Mac(macs.0), sender: ips.0.into(), target_mac: Mac(macs.1), target: ips.1.into(),
            };
            let frame = arp.emit(Mac(macs.1));
            prop_assert_eq!(Arp::parse(&frame[ETHERNET_HEADER..]), Some(arp));
            for end in ETHERNET_HEADER..FRAME {
                prop_assert_eq!(Arp::parse(&frame[ETHERNET_HEADER..end]), None);
            }
        }
    }
}
