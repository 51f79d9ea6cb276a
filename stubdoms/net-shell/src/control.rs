//! The channel to control: it asks for its vif, and is told how the uplink stands.

use board_support_hyp::{Runtime, Spawn};
use board_support_pv::{
    channel::ChannelError,
    net::back::{ConnectError, Vif},
};
use embassy_futures::select::{Either, Either3, select, select3};
use heapless::String;
use proto_errors::{Coded, net as code};
use proto_svc::{
    network::{Counters, FromControl, Lease, ToControl, Uplink, VifRefusal},
    text::clipped,
};
use proto_xen::{DomId, Gref, Port};
use stubdoms_net_core::{MTU, Mac, counters::PortCounters, forward::VifRefused, vif::VifId};
use stubdoms_service::{
    Peers,
    channels::{Accepted, Hypervisor, accept},
};

use crate::{
    node::{Node, UPLINK, VifError},
    vif,
};

/// control's vif.
const VIF: VifId = VifId::new(0).expect("there is at least one vif");
const VIF_NAME: &str = "vif0";

/// Serves the channel in each life of control; its vif goes with it.
pub(crate) async fn run<X: Hypervisor, R: Runtime>(
    node: &'static Node<X, R>,
    peers: &'static Peers,
    spawner: impl Spawn,
) {
    loop {
        let (xen, runtime) = (node.xen().clone(), node.runtime().clone());
        let (tie, (control, mut channel)) = accept::<X, R, ToControl, FromControl>(xen, runtime, peers).await;
        let end = select(tie.cut(), serve(node, control, &mut channel, &spawner)).await;
        // What is control's is unmapped before anything else is waited for: Xen keeps a dead domain for it.
        node.disconnect(VIF);
        drop(channel);
        match end {
            Either::First(()) => log::info!("{VIF_NAME} of {control}: closed: control has ended"),
            Either::Second(error) => {
                log::warn!("{VIF_NAME} of {control}: closed: channel network: {}", error.told());
                tie.cut().await;
            }
        }
    }
}

/// Serves the channel until control closes it or breaks its protocol.
async fn serve<X: Hypervisor, R: Runtime>(
    node: &'static Node<X, R>,
    control: DomId,
    channel: &mut Accepted<X, R, ToControl, FromControl>,
    spawner: &impl Spawn,
) -> ChannelError {
    let (mut sender, mut receiver) = channel.split();
    node.vif_failed.reset();
    // The greeting is done; what follows is how things stand.
    node.uplink_changed.signal(());
    loop {
        let heard = select3(receiver.receive(), node.uplink_changed.wait(), node.vif_failed.wait()).await;
        let asked = match heard {
            Either3::First(Ok(asked)) => asked,
            Either3::First(Err(error)) => return error,
            Either3::Second(()) => {
                if let Err(error) = sender.send(&ToControl::Uplink(uplink(node))).await {
                    return error;
                }
                continue;
            }
            Either3::Third(()) => {
                if let Err(error) = sender.send(&ToControl::VifClosed).await {
                    return error;
                }
                continue;
            }
        };
        for answer in answers(node, control, spawner, &asked).into_iter().flatten() {
            if let Err(error) = sender.send(&answer).await {
                return error;
            }
        }
    }
}

fn answers<X: Hypervisor, R: Runtime>(
    node: &'static Node<X, R>,
    control: DomId,
    spawner: &impl Spawn,
    asked: &FromControl,
) -> [Option<ToControl>; 2] {
    match asked {
        FromControl::Hello { .. } => [None, None],
        FromControl::VifConnect { tx_gref, rx_gref, port, mac } => {
            let frontend = Vif {
                frontend: control,
                tx_gref: Gref(*tx_gref),
                rx_gref: Gref(*rx_gref),
                port: Port(*port),
            };
            [Some(connect(node, spawner, frontend, Mac(*mac))), None]
        }
        FromControl::QueryCounters => {
            let vif = node.vif_counters(VIF).map(|counted| counters(VIF_NAME, &counted));
            [Some(counters(UPLINK, &node.uplink_counters())), vif]
        }
    }
}

fn connect<X: Hypervisor, R: Runtime>(
    node: &'static Node<X, R>,
    spawner: &impl Spawn,
    frontend: Vif,
    mac: Mac,
) -> ToControl {
    let error = match node.connect(VIF, frontend, mac) {
        Ok((network, gone)) => {
            log::info!("{VIF_NAME} of {}: connected as {}", frontend.frontend, network.guest);
            spawner.spawn(vif::run(node, VIF, gone));
            return ToControl::VifConnected {
                address: network.guest.octets(),
                prefix: network.prefix,
                gateway: network.gateway.octets(),
                mtu: MTU,
            };
        }
        Err(error) => error,
    };
    let refusal = match error {
        VifError::Refused(VifRefused::Busy) => VifRefusal::Busy,
        VifError::Refused(VifRefused::Mac) => VifRefusal::Mac,
        VifError::Connect(error) => {
            log::warn!("{VIF_NAME} of {}: {error} [{}]", frontend.frontend, code::VIF_CONNECT);
            match error {
                ConnectError::Ring(..) => VifRefusal::Grant,
                ConnectError::Port(..) => VifRefusal::Port,
            }
        }
    };
    ToControl::VifRefused(refusal)
}

fn uplink<X: Hypervisor, R: Runtime>(node: &Node<X, R>) -> Uplink {
    let state = node.uplink();
    let lease = state.lease.map(|lease| Lease {
        address: lease.address.address().octets(),
        prefix: lease.address.prefix_len(),
        gateway: lease.gateway.map(|gateway| gateway.octets()),
        dns: lease.dns.iter().map(|server| server.octets()).collect(),
        ntp: lease.ntp.iter().map(|server| server.octets()).collect(),
    });
    Uplink { name: name(UPLINK), mac: state.mac.0, link: state.link, lease }
}

fn counters(port: &str, counted: &PortCounters) -> ToControl {
    ToControl::Counters(Counters {
        port: name(port),
        rx_bytes: counted.rx_bytes,
        rx_frames: counted.rx_frames,
        rx_drops: counted.rx_drops,
        rx_errors: counted.rx_errors,
        tx_bytes: counted.tx_bytes,
        tx_frames: counted.tx_frames,
        tx_drops: counted.tx_drops,
        tx_errors: counted.tx_errors,
    })
}

fn name(text: &str) -> String<16> {
    clipped(text)
}
