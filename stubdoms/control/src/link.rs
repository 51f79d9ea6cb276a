//! The channel to net while the vif is in use: how the uplink stands, and what went through it.

use alloc::{
    format,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::net::Ipv4Addr;

use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_svc::network::{Counters, FromControl, ToControl, Uplink};
use stubdoms_agent::LinkCounters;

use crate::{brain::Brain, vif::Network, web::Web};

/// Rung when the counters of the uplink are wanted.
pub(crate) type CountersWanted = Rc<Signal<NoopRawMutex, ()>>;

/// Largest IP packet on the uplink, in bytes.
const MTU: u32 = 1500;

/// Serves the channel for ever. `first` is what net has said already.
///
/// # Panics
/// If net closes the channel or breaks its protocol: the vif is gone with it.
pub(crate) async fn serve(
    mut channel: Network,
    first: Option<Uplink>,
    wanted: CountersWanted,
    web: &'static Web,
    brain: Brain,
) {
    let mut known = Known::default();
    if let Some(uplink) = first {
        known.uplink(uplink, web, &brain);
    }
    let (mut sender, mut receiver) = channel.split();
    loop {
        match select(receiver.receive(), wanted.wait()).await {
            Either::First(Ok(ToControl::Uplink(uplink))) => known.uplink(uplink, web, &brain),
            Either::First(Ok(ToControl::Counters(counters))) => known.counters(&counters, &brain),
            Either::First(Ok(message)) => log::warn!("channel network: unexpected {message:?}"),
            Either::First(Err(error)) => panic!("channel network: {error}"),
            Either::Second(()) => {
                if let Err(error) = sender.send(&FromControl::QueryCounters).await {
                    panic!("channel network: {error}");
                }
            }
        }
    }
}

/// What net has said so far.
#[derive(Default)]
struct Known {
    uplink: Option<Uplink>,
    counters: LinkCounters,
}

impl Known {
    fn uplink(&mut self, uplink: Uplink, web: &Web, brain: &Brain) {
        let servers: Vec<Ipv4Addr> =
            uplink.lease.iter().flat_map(|lease| &lease.dns).map(|&server| Ipv4Addr::from(server)).collect();
        web.set_servers(&servers);
        self.uplink = Some(uplink);
        self.tell(brain);
    }

    fn counters(&mut self, counters: &Counters, brain: &Brain) {
        if self.uplink.as_ref().is_some_and(|uplink| uplink.name == counters.port) {
            self.counters = LinkCounters {
                tx_bytes: counters.tx_bytes,
                tx_packets: counters.tx_frames,
                tx_drops: counters.tx_drops,
                rx_bytes: counters.rx_bytes,
                rx_packets: counters.rx_frames,
                rx_drops: counters.rx_drops,
            };
            self.tell(brain);
        }
    }

    fn tell(&self, brain: &Brain) {
        let Some(uplink) = &self.uplink else { return };
        let mut told = stubdoms_agent::Uplink {
            up: uplink.link && uplink.lease.is_some(),
            interface: uplink.name.to_string(),
            mac: uplink.mac,
            mtu: MTU,
            counters: self.counters,
            ..stubdoms_agent::Uplink::default()
        };
        if let Some(lease) = &uplink.lease {
            let text = |address: [u8; 4]| Ipv4Addr::from(address).to_string();
            let host = u32::from(Ipv4Addr::from(lease.address));
            let mask = u32::MAX.checked_shl(32 - u32::from(lease.prefix.min(32))).unwrap_or(0);
            told.addresses = alloc::vec![text(lease.address)];
            told.subnet = format!("{}/{}", Ipv4Addr::from(host & mask), lease.prefix);
            told.gateways = lease.gateway.map(text).into_iter().collect();
            told.dns_servers = lease.dns.iter().map(|&server| text(server)).collect::<Vec<String>>();
        }
        brain.tell(|agent, now| agent.on_uplink(now, told));
    }
}
