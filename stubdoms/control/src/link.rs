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
use stubdoms_web::net::Stack;

use crate::{
    brain::Brain,
    vif::{self, Network, Vif},
    web::Web,
};

/// Rung when the counters of the uplink are wanted.
pub(crate) type CountersWanted = Rc<Signal<NoopRawMutex, ()>>;

/// The ends of what net has connected.
pub(crate) struct Link {
    /// The channel to net.
    pub(crate) channel: Network,
    /// The stack on the vif.
    pub(crate) stack: &'static Stack<Vif>,
    /// Largest IP packet that net takes, in bytes.
    pub(crate) mtu: u16,
}

/// Serves the channel and runs the stack until net ends either of them. `first` is what net has said
/// already.
///
/// Without net the controller cannot be reached any more. The rest goes on: the applications, their
/// consoles, the channel to dom0.
pub(crate) async fn serve(
    link: Link,
    first: Option<Uplink>,
    wanted: CountersWanted,
    web: &'static Web,
    brain: Brain,
) {
    let Link { mut channel, stack, mtu } = link;
    let mut known = Known { uplink: None, mtu, counters: LinkCounters::default() };
    if let Some(uplink) = first {
        known.uplink(uplink, web, &brain);
    }
    select(vif::run(stack), talk(&mut channel, &mut known, &wanted, web, &brain)).await;
    known.lost(&brain);
}

/// Talks with net until it closes the channel or breaks its protocol, of which it leaves a line in the
/// log.
async fn talk(
    channel: &mut Network,
    known: &mut Known,
    wanted: &CountersWanted,
    web: &'static Web,
    brain: &Brain,
) {
    let (mut sender, mut receiver) = channel.split();
    loop {
        let sent = match select(receiver.receive(), wanted.wait()).await {
            Either::First(Ok(message)) => {
                known.hear(message, web, brain);
                Ok(())
            }
            Either::First(Err(error)) => Err(error),
            Either::Second(()) => sender.send(&FromControl::QueryCounters).await,
        };
        if let Err(error) = sent {
            return log::error!("channel network: {error}; the controller cannot be reached any more");
        }
    }
}

/// What net has said so far.
struct Known {
    uplink: Option<Uplink>,
    mtu: u16,
    counters: LinkCounters,
}

impl Known {
    fn hear(&mut self, message: ToControl, web: &Web, brain: &Brain) {
        match message {
            ToControl::Uplink(uplink) => self.uplink(uplink, web, brain),
            ToControl::Counters(counters) => self.counters(&counters, brain),
            message => log::warn!("channel network: unexpected {message:?}"),
        }
    }

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

    /// Nothing goes through net any more.
    fn lost(mut self, brain: &Brain) {
        match &mut self.uplink {
            Some(uplink) => {
                uplink.link = false;
                uplink.lease = None;
                self.tell(brain);
            }
            None => brain.tell(|agent, now| agent.on_uplink(now, stubdoms_agent::Uplink::default())),
        }
    }

    fn tell(&self, brain: &Brain) {
        let Some(uplink) = &self.uplink else { return };
        let mut told = stubdoms_agent::Uplink {
            up: uplink.link && uplink.lease.is_some(),
            interface: uplink.name.to_string(),
            mac: uplink.mac,
            mtu: self.mtu.into(),
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
