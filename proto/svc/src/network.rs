//! Channel `network`: control asks net for a vif and learns how the uplink stands.
//!
//! control is the frontend: it grants two rings of Xen's netif protocol, allocates the event channel
//! towards net, and says where they are in [`FromControl::VifConnect`].

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::envelope::Message;

/// What control says to net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromControl {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// The rings are there: connect the backend.
    VifConnect {
        /// Grant reference of the tx ring's page.
        tx_gref: u32,
        /// Grant reference of the rx ring's page.
        rx_gref: u32,
        /// control's event channel port for both rings, unbound, for net to bind.
        port: u32,
        /// The only source address that net takes from this vif.
        mac: [u8; 6],
    },
    /// Asks for a [`ToControl::Counters`] for each port.
    QueryCounters,
}

/// An address of the uplink and what came with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The uplink's IPv4 address.
    pub address: [u8; 4],
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// Where everything else goes.
    pub gateway: Option<[u8; 4]>,
    /// Name servers, best first.
    pub dns: Vec<[u8; 4], 3>,
    /// Time servers, best first.
    pub ntp: Vec<[u8; 4], 3>,
}

/// How an uplink stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Name of the port, such as `eth0`.
    pub name: String<16>,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Whether a carrier is there.
    pub link: bool,
    /// Its address, once it has one.
    pub lease: Option<Lease>,
}

/// What went through a port since net's start, from the port's own point of view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Name of the port: `eth0` for the uplink, `vif0` for control's.
    pub port: String<16>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames received and dropped, for a rule or for want of room.
    pub rx_drops: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Frames that were to be sent and were dropped.
    pub tx_drops: u64,
    /// Frames that failed.
    pub tx_errors: u64,
}

/// Why net did not connect a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VifRefusal {
    /// A vif is connected already.
    Busy,
    /// A ring could not be mapped.
    Grant,
    /// The event channel could not be bound.
    Port,
    /// The hardware address is a group address or all zero.
    Mac,
}

/// What net says to control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToControl {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// The backend is connected; control has this address behind it.
    VifConnected {
        /// control's IPv4 address.
        address: [u8; 4],
        /// Length of the network prefix in bits.
        prefix: u8,
        /// net's own address on this vif, the way out.
        gateway: [u8; 4],
        /// Largest IP packet in bytes.
        mtu: u16,
    },
    /// The backend was not connected.
    VifRefused(VifRefusal),
    /// The uplink changed; also sent once after the first message.
    Uplink(Uplink),
    /// What went through one port.
    Counters(Counters),
    /// control has broken the protocol of its vif, which is closed for that.
    VifClosed,
}

impl Message for FromControl {
    const CHANNEL: &'static str = "network";
    const VERSION: u16 = 2;
}

impl Message for ToControl {
    const CHANNEL: &'static str = "network";
    const VERSION: u16 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_MESSAGE, decode, encode};

    #[test]
    fn an_uplink_with_a_lease_survives_the_round_trip() {
        let message = ToControl::Uplink(Uplink {
            name: String::try_from("eth0").unwrap(),
            mac: [2, 0, 0, 0, 0, 1],
            link: true,
            lease: Some(Lease {
                address: [10, 0, 2, 15],
                prefix: 24,
                gateway: Some([10, 0, 2, 2]),
                dns: Vec::from_slice(&[[10, 0, 2, 3]]).unwrap(),
                ntp: Vec::from_slice(&[[10, 0, 2, 4], [10, 0, 2, 5]]).unwrap(),
            }),
        });
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = encode(&message, &mut buffer).unwrap();
        assert_eq!(decode::<ToControl>(bytes), Ok(message));
    }
}
