//! The network port through which the controller is reached: what it has, and what the configuration
//! asks of it.

use alloc::{format, string::String, vec::Vec};

use proto_errors::agent;
use proto_eve::{
    Timestamp, text, time,
    wire::{common::DhcpType, config::EdgeDevConfig},
};

use crate::timekeeper::MAX_SERVERS;

/// The uplink, as the shell sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplink {
    /// Whether it has a link and an address.
    pub up: bool,
    /// Name of the interface.
    pub interface: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses, in text without prefix length.
    pub addresses: Vec<String>,
    /// Its subnet as `address/length`, or empty.
    pub subnet: String,
    /// Its routers.
    pub gateways: Vec<String>,
    /// Its name servers.
    pub dns_servers: Vec<String>,
    /// The time servers that it names.
    pub ntp_servers: Vec<String>,
    /// Its domain name.
    pub domain: String,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Traffic so far.
    pub counters: LinkCounters,
}

/// Traffic of a port since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that were not sent.
    pub tx_drops: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets that were received and not taken.
    pub rx_drops: u64,
}

impl LinkCounters {
    fn fields(self) -> [u64; 6] {
        let Self { tx_bytes, tx_packets, tx_drops, rx_bytes, rx_packets, rx_drops } = self;
        [tx_bytes, tx_packets, tx_drops, rx_bytes, rx_packets, rx_drops]
    }

    fn of([tx_bytes, tx_packets, tx_drops, rx_bytes, rx_packets, rx_drops]: [u64; 6]) -> Self {
        Self { tx_bytes, tx_packets, tx_drops, rx_bytes, rx_packets, rx_drops }
    }

    fn plus(self, other: Self) -> Self {
        let (a, b) = (self.fields(), other.fields());
        Self::of(core::array::from_fn(|index| a[index].saturating_add(b[index])))
    }
}

/// Traffic of the port over all lives of whoever counts it, which begins anew with each.
#[derive(Debug, Default)]
pub(crate) struct LinkTotals {
    earlier: LinkCounters,
    last: LinkCounters,
}

impl LinkTotals {
    /// Takes what is counted in this life, and says what that makes since boot. Zeros say that nothing is known.
    pub(crate) fn add(&mut self, counted: LinkCounters) -> LinkCounters {
        let fewer = counted.fields().iter().zip(self.last.fields()).any(|(now, last)| *now < last);
        if counted != LinkCounters::default() {
            if fewer {
                self.earlier = self.earlier.plus(self.last);
            }
            self.last = counted;
        }
        self.earlier.plus(self.last)
    }

    /// What a later life of the agent has to know.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u64> + use<> {
        self.earlier.fields().into_iter().chain(self.last.fields())
    }

    /// Takes what an earlier life left.
    pub(crate) fn recall(&mut self, counters: &mut impl Iterator<Item = u64>) {
        let mut six = || LinkCounters::of(core::array::from_fn(|_| counters.next().unwrap_or(0)));
        *self = Self { earlier: six(), last: six() };
    }
}

/// What the configuration asks of the port. One port with DHCP is what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortConfig {
    /// Label by which the configuration names the port.
    pub(crate) label: Option<String>,
    pub(crate) network: String,
    /// Group of the device behind it, if that is in the configuration and has one.
    pub(crate) group: Option<String>,
    /// What the configuration says that the device behind it is for.
    pub(crate) usage: Option<i32>,
    pub(crate) cost: u32,
    pub(crate) since: Option<Timestamp>,
    /// Time servers that it names.
    pub(crate) ntp_servers: Vec<String>,
    /// What of it is not done.
    pub(crate) problem: Option<String>,
}

impl PortConfig {
    pub(crate) fn read(config: &EdgeDevConfig) -> Self {
        let mut uplinks = config.system_adapter_list.iter().filter(|adapter| adapter.uplink);
        let Some(adapter) = uplinks.next() else { return Self::default() };
        let network = config.networks.iter().find(|network| network.id == adapter.network_uuid);
        let problem = if uplinks.next().is_some() {
            Some("more than one uplink is not supported; the first one is used")
        } else if !config.vlans.is_empty() || !config.bonds.is_empty() {
            Some("VLANs and bonds are not supported; the port is used as it is")
        } else if network.is_none() {
            Some("its network is not in the configuration; it runs on DHCP")
        } else if network
            .and_then(|network| network.ip.as_ref())
            .is_some_and(|ip| ip.dhcp != DhcpType::Client as i32)
        {
            Some("static addresses are not supported; it runs on DHCP")
        } else if network.and_then(|network| network.ent_proxy.as_ref()).is_some_and(|proxy| {
            proxy.network_proxy_enable || !proxy.proxies.is_empty() || !proxy.pacfile.is_empty()
        }) {
            Some("proxies are not supported; the controller is reached directly")
        } else if network.is_some_and(|network| network.wireless.is_some()) {
            Some("wireless networks are not supported")
        } else {
            None
        };
        let ip = network.and_then(|network| network.ip.as_ref());
        let ntp_servers = ip.into_iter().flat_map(|ip| core::iter::once(&ip.ntp).chain(&ip.more_ntp));
        let lower = match adapter.lower_layer_name.as_str() {
            "" => &adapter.name,
            lower => lower,
        };
        let device = config.device_io_list.iter().find(|device| match device.logicallabel.as_str() {
            "" => device.phylabel == lower,
            label => label == lower,
        });
        let group = device.map(|device| device.assigngrp.as_str()).filter(|group| !group.is_empty());
        let label = text::bounded(&adapter.name, 64);
        if let Some(problem) = problem {
            log::warn!("port {label}: {problem} [{}]", agent::PORT_CONFIG);
        }
        Self {
            network: text::bounded(&adapter.network_uuid, 64),
            group: group.map(|group| text::bounded(group, 64)),
            usage: device.map(|device| device.usage),
            cost: adapter.cost,
            // It is echoed, and controllers refuse times outside of their calendar.
            since: config
                .config_timestamp
                .map(|at| time::timestamp(at.seconds, u32::try_from(at.nanos).unwrap_or(0))),
            ntp_servers: server_names(ntp_servers.map(String::as_str)),
            problem: problem.map(|problem| format!("port {label}: {problem}")),
            label: Some(label),
        }
    }
}

/// The names of a list of time servers that can be one: `host` or `host:port`.
pub(crate) fn server_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let sound = |name: &&str| !name.is_empty() && name.len() <= 260 && name.chars().all(fits);
    names.filter(sound).take(MAX_SERVERS).map(String::from).collect()
}

pub(crate) fn mac_text(mac: &[u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(tx_bytes: u64, rx_bytes: u64) -> LinkCounters {
        LinkCounters { tx_bytes, rx_bytes, ..LinkCounters::default() }
    }

    #[test]
    fn traffic_counts_over_lives_of_net_and_of_the_agent() {
        let mut link = LinkTotals::default();
        assert_eq!(link.add(counted(100, 50)), counted(100, 50));
        assert_eq!(link.add(counted(0, 0)), counted(100, 50), "nothing is known yet");
        assert_eq!(link.add(counted(120, 60)), counted(120, 60));
        assert_eq!(link.add(counted(10, 70)), counted(130, 130), "net is there anew");
        let mut later = LinkTotals::default();
        later.recall(&mut link.counters());
        assert_eq!(later.add(counted(0, 0)), counted(130, 130));
        assert_eq!(later.add(counted(15, 71)), counted(135, 131), "net goes on");
        assert_eq!(later.add(counted(1, 1)), counted(136, 132));
        later.recall(&mut [u64::MAX; 12].into_iter());
        assert_eq!(later.add(counted(1, 1)), LinkCounters::of([u64::MAX; 6]));
    }
}
