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
use proto_errors::{Coded, ctl};
use proto_svc::{
    network::{Counters, FromControl, ToControl, Uplink},
    supervision::PeerEnd,
};
use proto_xen::DomId;
use stubdoms_agent::LinkCounters;
use stubdoms_service::{
    Peers,
    channels::{bear, offer, park},
    footing::ChannelPark,
};
use stubdoms_web::net::Stack;

use crate::{
    brain::Brain,
    system::System,
    vif::{self, Connected, Network, Vif},
    web::Web,
};

/// Rung when the counters of the uplink are wanted.
pub(crate) type CountersWanted = Rc<Signal<NoopRawMutex, ()>>;

/// What the link stands on.
pub(crate) struct Link<S: System> {
    /// Who is there.
    pub(crate) peers: &'static Peers,
    /// The stack whose vif is plugged in and out.
    pub(crate) stack: &'static Stack<Vif<S>>,
    /// For the name servers that net tells.
    pub(crate) web: &'static Web<S>,
    /// Rung by who wants counters.
    pub(crate) wanted: CountersWanted,
    /// For how the uplink stands.
    pub(crate) brain: Brain<S>,
}

/// Connects with one life of net after the other. `first` is called when the first vif is plugged in.
///
/// Without net the controller cannot be reached; the rest goes on: the applications, their consoles, the
/// channel to dom0.
pub(crate) async fn serve<S: System>(link: Link<S>, first: impl FnOnce()) {
    let Link { peers, stack, web, wanted, brain } = link;
    let pages: &'static ChannelPark<S> = park();
    let frames = park();
    let system = brain.system().clone();
    let mut first = Some(first);
    loop {
        let (xen, runtime) = (system.xen().clone(), system.runtime().clone());
        let (tie, mut channel): (_, Network<S>) = offer(xen, runtime, peers, pages).await;
        let served = async {
            let net = match tie.end() {
                PeerEnd::Offer { peer, .. } | PeerEnd::Accept { peer, .. } => DomId(peer),
            };
            let Some(Connected { mtu, uplink }) = vif::plug(&system, stack, frames, net, &mut channel).await
            else {
                return;
            };
            if let Some(first) = first.take() {
                first();
            }
            let mut known = Known { uplink: None, mtu, counters: LinkCounters::default() };
            if let Some(uplink) = uplink {
                known.uplink(uplink, web, &brain);
            }
            select(vif::run(&system, stack), talk(&mut channel, &mut known, &wanted, web, &brain)).await;
        };
        let over = select(tie.cut(), served).await;
        // The agent knows before its exchanges fail, so that it sends nothing until net is back.
        brain.tell(|agent, now| agent.on_uplink_lost(now));
        vif::unplug::<S>(stack);
        drop(channel);
        match over {
            Either::First(()) => {
                log::warn!("network: net has ended; waiting for it to come back [{}]", ctl::NET_GONE)
            }
            // Of what it did wrong there is a line.
            Either::Second(()) => bear(system.runtime(), &tie).await,
        }
    }
}

/// Talks with net until it closes the channel or breaks its protocol, of which it leaves a line in the
/// log.
async fn talk<S: System>(
    channel: &mut Network<S>,
    known: &mut Known,
    wanted: &CountersWanted,
    web: &'static Web<S>,
    brain: &Brain<S>,
) {
    let (mut sender, mut receiver) = channel.split();
    loop {
        let sent = match select(receiver.receive(), wanted.wait()).await {
            Either::First(Ok(ToControl::VifClosed)) => {
                return log::error!(
                    "channel network: net has closed our vif; the controller cannot be reached until another life of ours \
                     [{}]",
                    ctl::NET_FAULT
                );
            }
            Either::First(Ok(message)) => {
                known.hear(message, web, brain);
                Ok(())
            }
            Either::First(Err(error)) => Err(error),
            Either::Second(()) => sender.send(&FromControl::QueryCounters).await,
        };
        if let Err(error) = sent {
            return log::error!(
                "channel network: {}; the controller cannot be reached until net is built anew",
                error.told()
            );
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
    fn hear<S: System>(&mut self, message: ToControl, web: &Web<S>, brain: &Brain<S>) {
        match message {
            ToControl::Uplink(uplink) => self.uplink(uplink, web, brain),
            ToControl::Counters(counters) => self.counters(&counters, brain),
            message => log::warn!("channel network: unexpected {message:?} [{}]", ctl::NET_FAULT),
        }
    }

    fn uplink<S: System>(&mut self, uplink: Uplink, web: &Web<S>, brain: &Brain<S>) {
        let servers: Vec<Ipv4Addr> =
            uplink.lease.iter().flat_map(|lease| &lease.dns).map(|&server| Ipv4Addr::from(server)).collect();
        web.set_servers(&servers);
        self.uplink = Some(uplink);
        self.tell(brain);
    }

    fn counters<S: System>(&mut self, counters: &Counters, brain: &Brain<S>) {
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

    fn tell<S: System>(&self, brain: &Brain<S>) {
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
            told.ntp_servers = lease.ntp.iter().map(|&server| text(server)).collect();
            told.dns_servers = lease.dns.iter().map(|&server| text(server)).collect::<Vec<String>>();
        }
        brain.tell(|agent, now| agent.on_uplink(now, told));
    }
}
