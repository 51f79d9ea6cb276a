//! A DHCP server in the form of a script. Source: RFC 2131 figure 1 and §4.3, RFC 2132.

use super::*;

const DHCP: usize = ETHERNET_HEADER + 20 + 8;
const OPTIONS: usize = DHCP + 240;

/// What the server gives.
pub(super) struct Server {
    pub(super) address: Ipv4Addr,
    pub(super) mask: [u8; 4],
    pub(super) router: Ipv4Addr,
    /// Options of its answers behind the usual ones.
    pub(super) more: Vec<u8>,
    pub(super) lease_seconds: u32,
    /// It is not there.
    pub(super) silent: bool,
    /// It refuses every REQUEST.
    pub(super) refuses: bool,
    /// Message types that it has seen: 1 DISCOVER, 3 REQUEST.
    pub(super) seen: Vec<u8>,
    /// Options that were asked for last.
    pub(super) wanted: Vec<u8>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            address: OURS,
            mask: [255, 255, 255, 0],
            router: ROUTER,
            more: vec![],
            lease_seconds: 3600,
            silent: false,
            refuses: false,
            seen: vec![],
            wanted: vec![],
        }
    }
}

/// Whether a frame goes to a DHCP server.
pub(super) fn is_request(frame: &[u8]) -> bool {
    frame.len() > OPTIONS && frame[12..14] == [8, 0] && frame[23] == 17 && frame[34..38] == [0, 68, 0, 67]
}

fn option(frame: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = &frame[OPTIONS..];
    while let [code, length, tail @ ..] = rest {
        let (value, tail) = tail.split_at(usize::from(*length));
        if *code == wanted {
            return Some(value);
        }
        rest = tail;
    }
    None
}

impl Server {
    /// OFFER to a DISCOVER, ACK or NAK to a REQUEST.
    pub(super) fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        assert_eq!(checksum::of(&request[14..34]), 0);
        assert_eq!(request[DHCP..DHCP + 4], [1, 1, 6, 0]);
        assert_eq!(request[DHCP + 28..DHCP + 34], OUR_MAC.0);
        assert_eq!(request[DHCP + 236..OPTIONS], [99, 130, 83, 99]);
        let kind = option(request, 53).unwrap()[0];
        self.seen.push(kind);
        self.wanted = option(request, 55).unwrap_or_default().to_vec();
        if self.silent {
            return None;
        }
        let kind = match kind {
            1 => 2,
            3 if self.refuses => 6,
            3 => 5,
            other => panic!("message type {other}"),
        };
        let mut message = vec![0; 240];
        message[..4].copy_from_slice(&[2, 1, 6, 0]);
        message[4..8].copy_from_slice(&request[DHCP + 4..DHCP + 8]);
        if kind != 6 {
            message[16..20].copy_from_slice(&self.address.octets());
        }
        message[28..34].copy_from_slice(&OUR_MAC.0);
        message[236..].copy_from_slice(&[99, 130, 83, 99]);
        message.extend([53, 1, kind, 54, 4]);
        message.extend(ROUTER.octets());
        if kind != 6 {
            message.extend([51, 4]);
            message.extend(self.lease_seconds.to_be_bytes());
            message.extend([1, 4]);
            message.extend(self.mask);
            message.extend([3, 4]);
            message.extend(self.router.octets());
            message.extend([6, 8, 10, 0, 2, 3, 0, 0, 0, 0]);
            message.extend(&self.more);
        }
        message.push(255);
        let packet = udp(ROUTER, Ipv4Addr::BROADCAST, 67, 68, &message);
        Some(framed(Mac::BROADCAST, ROUTER_MAC, ETHERTYPE_IPV4, &packet))
    }
}
