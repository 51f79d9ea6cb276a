//! The vif towards net: rings granted, backend asked to connect, the frontend as a device of the
//! TCP/IP stack.

use core::{
    future::{Future, poll_fn},
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

/// Has net connect a vif, and makes the stack that uses it. What net says of the uplink meanwhile is
/// given back with it.
///
/// # Panics
/// If net refuses or closes the channel: without a network this domain has nothing to do, and a new
/// start is the way to another attempt.
pub(crate) async fn connect(wiring: &Wiring, channel: &mut Network) -> (Stack<Vif>, Option<Uplink>) {
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
    channel.send(&request).await.unwrap_or_else(|error| panic!("channel network: {error}"));
    loop {
        match channel.receive().await {
            Ok(ToControl::VifConnected { address, prefix, gateway, mtu: _ }) => {
                let address = Address {
                    mac: MAC,
                    address: Ipv4Addr::from(address),
                    prefix,
                    gateway: Some(Ipv4Addr::from(gateway)),
                };
                let stack = Stack::new(Device::new(front), address, entropy::fill, Alarm.now())
                    .unwrap_or_else(|error| panic!("vif: net gave an address that cannot be ours: {error}"));
                return (stack, said);
            }
            Ok(ToControl::VifRefused(refusal)) => panic!("vif: net refuses to connect it: {refusal:?}"),
            Ok(ToControl::Uplink(uplink)) => said = Some(uplink),
            Ok(ToControl::Hello { .. } | ToControl::Counters(_)) => {}
            Err(error) => panic!("channel network: {error}"),
        }
    }
}

/// Runs the stack for ever.
///
/// # Panics
/// If net breaks the protocol of the vif.
pub(crate) async fn run(stack: &'static Stack<Vif>) {
    let frames = async || {
        // The borrow of the device must not last over a wait, so the wait is asked anew each time;
        // nothing is lost by dropping it.
        let looked = poll_fn(|context| stack.with_device(|device| pin!(device.wait()).poll(context))).await;
        if let Err(fault) = looked {
            panic!("vif: net broke the protocol: {fault}");
        }
    };
    stack.run(&Alarm, frames).await;
}
