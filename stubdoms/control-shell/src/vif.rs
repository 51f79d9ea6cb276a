//! The vif towards net: rings granted, backend asked to connect, the frontend as a device of the
//! TCP/IP stack. The stack outlives the vif; net has many lives.

use core::{
    future::{Future, pending, poll_fn},
    net::Ipv4Addr,
    pin::pin,
};

use board_support_hyp::Pages;
use board_support_pv::{
    grant::Park,
    net::{device::Device, front::BufferCounts},
};
use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_errors::{Coded, ctl};
use proto_svc::network::Uplink;
use proto_xen::DomId;
use stubdoms_service::footing::Footing;
use stubdoms_service::vif::{self, Wanted, connect};
use stubdoms_web::{
    net::{Address, Stack},
    time::Timer,
};

use crate::{clock::Alarm, system::System};

/// The vif as a network device, unplugged while net is not there.
pub(crate) type Vif<S> = Device<Option<vif::Vif<<S as Footing>::Xen, <S as Footing>::Runtime>>>;
/// The channel by which net is asked for it.
pub(crate) type Network<S> = vif::Network<<S as Footing>::Xen, <S as Footing>::Runtime>;
/// A park for the pages of vifs.
pub(crate) type FramePark<S> = Park<<<S as Footing>::Runtime as Pages>::Page>;

/// Our hardware address on the vif: locally administered, seen by net alone.
const MAC: [u8; 6] = [0x02, 0x53, 0x52, 0x53, 0x4e, 0x02];

/// Our address until net gives one.
const NO_ADDRESS: Address =
    Address { mac: MAC, address: Ipv4Addr::new(169, 254, 0, 1), prefix: 32, gateway: None };

/// What net has told while it connected the vif.
pub(crate) struct Connected {
    /// Largest IP packet that net takes, in bytes.
    pub(crate) mtu: u16,
    /// What net said of the uplink meanwhile.
    pub(crate) uplink: Option<Uplink>,
}

/// A stack whose vif is unplugged.
pub(crate) fn unplugged<S: System>(system: &S) -> Stack<Vif<S>> {
    Stack::new(Device::new(None), NO_ADDRESS, S::fill, Alarm(system.clone()).now())
        .expect("the address is a host's")
}

/// Takes the vif away, with everything that was granted for it. Exchanges that are under way end now.
pub(crate) fn unplug<S: System>(stack: &Stack<Vif<S>>) {
    stack.with_device(|device| *device = Device::new(None));
    stack.reset_connections();
}

/// Has net connect a vif, and plugs it in. `None` after a line in the log if net closes the channel or gives an address
/// that cannot be ours.
pub(crate) async fn plug<S: System>(
    system: &S,
    stack: &Stack<Vif<S>>,
    park: &'static FramePark<S>,
    net: DomId,
    channel: &mut Network<S>,
) -> Option<Connected> {
    let wanted = Wanted { net, mac: MAC, buffers: BufferCounts::default() };
    let connected = match connect(system.xen(), system.runtime(), park, channel, wanted).await {
        Ok(connected) => connected,
        Err(error) => {
            log::error!("channel network: {}", error.told());
            return None;
        }
    };
    let address = Address {
        mac: MAC,
        address: Ipv4Addr::from(connected.address),
        prefix: connected.prefix,
        gateway: Some(Ipv4Addr::from(connected.gateway)),
    };
    if let Err(error) = stack.set_address(address) {
        log::error!("vif: net gave an address that cannot be ours: {error} [{}]", ctl::BAD_ADDRESS);
        return None;
    }
    stack.with_device(|device| *device = Device::new(Some(connected.front)));
    Some(Connected { mtu: connected.mtu, uplink: connected.uplink })
}

/// Runs the stack until net breaks the protocol of the vif, of which it leaves a line in the log.
pub(crate) async fn run<S: System>(system: &S, stack: &Stack<Vif<S>>) {
    let alarm = Alarm(system.clone());
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
    let Either::First(fault) = select(broken.wait(), stack.run(&alarm, frames)).await;
    log::error!("vif: net broke the protocol: {fault} [{}]", ctl::NET_FAULT);
}
