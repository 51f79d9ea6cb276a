//! The vif towards net: rings granted, backend asked to connect, the frontend as a device of the
//! TCP/IP stack.

use core::{
    future::{Future, pending, poll_fn},
    net::Ipv4Addr,
    pin::pin,
};

use board_support_hyp::Xen;
use board_support_pv::{
    net::{
        device::Device,
        front::{BufferCounts, Front},
    },
    port::BoundPort,
};
use board_support_rt::{Domain, entropy, pool::Page};
use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_manifest::wiring::{End, Wiring};
use proto_svc::network::{FromControl, ToControl, Uplink};
use proto_xen::DomId;
use stubdoms_service::{Offered, Port, park};
use stubdoms_web::{
    net::{Address, Stack},
    time::Timer,
};

use crate::clock::Alarm;

/// The vif as a network device.
pub(crate) type Vif = Device<Front<'static, Port, Xen, Page>>;
/// The channel by which net is asked for it.
pub(crate) type Network = Offered<FromControl, ToControl>;

/// Our hardware address on the vif: locally administered, seen by net alone.
const MAC: [u8; 6] = [0x02, 0x53, 0x52, 0x53, 0x4e, 0x02];

/// What net has connected and told.
pub(crate) struct Connected {
    /// The stack on the vif.
    pub(crate) stack: Stack<Vif>,
    /// Largest IP packet that net takes, in bytes.
    pub(crate) mtu: u16,
    /// What net said of the uplink meanwhile.
    pub(crate) uplink: Option<Uplink>,
}

/// Has net connect a vif, and makes the stack that uses it. `None` after a line in the log if net
/// refuses, closes the channel or gives an address that cannot be ours.
///
/// # Panics
/// If the wiring or Xen gives us no means to ask.
pub(crate) async fn connect(wiring: &Wiring, channel: &mut Network) -> Option<Connected> {
    let mut said = None;
    let Some(End::Offer { peer, .. }) = wiring.channel("network") else {
        panic!("wiring: channel network is not ours to offer")
    };
    let backend = DomId(peer);
    let line = BoundPort::allocate(Xen, Domain, backend)
        .unwrap_or_else(|errno| panic!("vif: no event channel for net: {errno}"));
    let port = line.port();
    let front = Front::new(line, Xen, &Domain, park(), backend, BufferCounts::default())
        .unwrap_or_else(|error| panic!("vif: {error}"));
    let (tx, rx) = front.rings();
    let request = FromControl::VifConnect { tx_gref: tx.0, rx_gref: rx.0, port: port.0, mac: MAC };
    if let Err(error) = channel.send(&request).await {
        log::error!("channel network: {error}");
        return None;
    }
    loop {
        match channel.receive().await {
            Ok(ToControl::VifConnected { address, prefix, gateway, mtu }) => {
                let address = Address {
                    mac: MAC,
                    address: Ipv4Addr::from(address),
                    prefix,
                    gateway: Some(Ipv4Addr::from(gateway)),
                };
                return match Stack::new(Device::new(front), address, entropy::fill, Alarm.now()) {
                    Ok(stack) => Some(Connected { stack, mtu, uplink: said }),
                    Err(error) => {
                        log::error!("vif: net gave an address that cannot be ours: {error}");
                        None
                    }
                };
            }
            Ok(ToControl::VifRefused(refusal)) => {
                log::error!("vif: net refuses to connect it: {refusal:?}");
                return None;
            }
            Ok(ToControl::Uplink(uplink)) => said = Some(uplink),
            Ok(ToControl::Hello { .. } | ToControl::Counters(_)) => {}
            Err(error) => {
                log::error!("channel network: {error}");
                return None;
            }
        }
    }
}

/// Runs the stack until net breaks the protocol of the vif, of which it leaves a line in the log.
/// Exchanges that are under way end by their own deadlines then.
pub(crate) async fn run(stack: &Stack<Vif>) {
    let broken = Signal::<NoopRawMutex, _>::new();
    let frames = async || {
        // The borrow of the device must not last over a wait, so the wait is asked anew each time;
        // nothing is lost by dropping it.
        let looked = poll_fn(|context| stack.with_device(|device| pin!(device.wait()).poll(context))).await;
        if let Err(fault) = looked {
            broken.signal(fault);
            pending::<()>().await;
        }
    };
    // The fault is asked for first: a device with a fault is not polled again.
    let Either::First(fault) = select(broken.wait(), stack.run(&Alarm, frames)).await;
    log::error!("vif: net broke the protocol: {fault}");
}
