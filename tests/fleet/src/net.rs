//! net: the card, the machine of `net-core`, the vif of control. As `stubdoms/net-shell`.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use board_support_hyp::Clock;
use board_support_pv::net::back::{Back, Vif};
use embassy_futures::select::{Either, Either3, select, select3};
use proto_io::netif::checksum::Checksum;
use proto_svc::network::{FromControl, ToControl, VifRefusal};
use proto_xen::{DomId, Gref, Port};
use stubdoms_net_core::{
    Duration, Instant, MAX_FRAME, MTU, Mac, checksum,
    forward::{Egress, Forwarder, Sizes},
    vif::VifId,
};
use tests_fakexen::Domain;

use crate::{
    ground::{Accepted, Bell, Line, Spawner, sleep_until},
    service::Base,
    wire::{CARD, Card},
};

const VIF: VifId = VifId::new(0).expect("there is at least one vif");

/// The machine and its ports.
struct Node {
    domain: Domain,
    state: RefCell<State>,
    settled: Bell,
    plugged: Bell,
}

struct State {
    machine: Forwarder,
    ports: Ports,
    next: Option<Instant>,
}

struct Ports {
    driver: Domain,
    card: Rc<Card>,
    back: Option<Back<Line, Domain>>,
}

impl Egress for Ports {
    fn uplink(&mut self, frame: &[u8]) -> bool {
        self.card.transmit(&self.driver, frame);
        true
    }

    fn vif(&mut self, _: VifId, frame: &[u8]) -> bool {
        self.back.as_mut().is_some_and(|back| back.push_frame(frame, Checksum::Unchecked).is_ok())
    }
}

impl Node {
    fn now(&self) -> Instant {
        Instant::from_micros((self.domain.now_ns() / 1000) as i64)
    }

    /// Has the machine do something, then what it wants to do now.
    fn with<R>(&self, what: impl FnOnce(&mut Forwarder, Instant, &mut Ports) -> R) -> R {
        let State { machine, ports, next } = &mut *self.state.borrow_mut();
        let now = self.now();
        let result = what(machine, now, ports);
        *next = machine.poll(now, ports).map(|next| next.max(now + Duration::from_millis(1)));
        while machine.take_event().is_some() {}
        if let Some(back) = &mut ports.back {
            back.flush();
        }
        self.settled.signal(());
        result
    }

    fn poll_vif(&self, context: &mut Context<'_>) -> Poll<bool> {
        match &mut self.state.borrow_mut().ports.back {
            Some(back) => back.poll_work(context).map(|work| work.is_ok()),
            None => Poll::Pending,
        }
    }

    fn connect(&self, frontend: Vif, mac: Mac) -> ToControl {
        self.with(|machine, _, ports| {
            let Ok(network) = machine.connect_vif(VIF, mac) else {
                return ToControl::VifRefused(VifRefusal::Busy);
            };
            let xen = || self.domain.clone();
            match Back::connect(xen(), xen(), xen(), frontend) {
                Ok(back) => {
                    ports.back = Some(back);
                    self.plugged.signal(());
                    let (address, gateway) = (network.guest.octets(), network.gateway.octets());
                    ToControl::VifConnected { address, prefix: network.prefix, gateway, mtu: MTU }
                }
                Err(_) => {
                    machine.disconnect_vif(VIF);
                    ToControl::VifRefused(VifRefusal::Grant)
                }
            }
        })
    }

    fn disconnect(&self) {
        self.with(|machine, _, ports| {
            machine.disconnect_vif(VIF);
            ports.back = None;
        });
    }

    /// Forwards what control has sent. False if it broke the protocol.
    fn forward(&self) -> bool {
        let mut frame = [0; MAX_FRAME];
        loop {
            let next = self.state.borrow_mut().ports.back.as_mut().map(|back| back.next_frame(&mut frame));
            let Some(Ok(Some(sent))) = next else { return !matches!(next, Some(Err(_))) };
            let frame = &mut frame[..sent.length];
            if sent.checksum == Checksum::Blank {
                checksum::complete(frame);
            }
            self.with(|machine, now, ports| machine.on_vif_frame(now, VIF, frame, ports));
        }
    }
}

/// The domain's story.
pub async fn main(base: Base, spawner: Spawner, card: Rc<Card>) {
    let (id, domain) = (base.domain.id(), base.domain.clone());
    spawner.spawn(id, base.clone().supervise());
    card.reset();
    let machine = Forwarder::new(Instant::ZERO, CARD, Sizes::default(), [7; 32]);
    let ports = Ports { driver: domain.clone(), card: card.clone(), back: None };
    let state = RefCell::new(State { machine, ports, next: None });
    let node = Rc::new(Node { domain: domain.clone(), state, settled: Bell::new(), plugged: Bell::new() });
    node.with(|machine, now, _| machine.on_link(now, true));
    spawner.spawn(id, uplink(node.clone(), card));
    spawner.spawn(id, vif(node.clone()));
    base.ready.signal(());
    loop {
        let (tie, control, mut channel) = base.accept::<ToControl, FromControl>().await;
        base.write_line();
        select(tie.cut(), serve(&node, control, &mut channel)).await;
        node.disconnect();
        drop(channel);
        tie.cut().await;
    }
}

/// Receives from the card, and does what time demands.
async fn uplink(node: Rc<Node>, card: Rc<Card>) {
    loop {
        while let Some(frame) = card.receive() {
            node.with(|machine, now, ports| machine.on_uplink_frame(now, &frame, ports));
        }
        let next = node.state.borrow().next.map(|at| at.total_micros() as u64 * 1000);
        let due = async {
            match next {
                Some(at) => sleep_until(&node.domain, at).await,
                None => std::future::pending().await,
            }
        };
        if let Either3::Second(()) = select3(card.interrupt.wait(), due, node.settled.wait()).await {
            node.with(|_, _, _| ());
        }
    }
}

/// Serves the vif whenever there is one.
async fn vif(node: Rc<Node>) {
    loop {
        let work = poll_fn(|context| node.poll_vif(context));
        match select(work, node.plugged.wait()).await {
            Either::First(honest) if honest && node.forward() => {}
            Either::First(_) => node.disconnect(),
            Either::Second(()) => {}
        }
    }
}

async fn serve(node: &Node, control: DomId, channel: &mut Accepted<ToControl, FromControl>) {
    while let Ok(asked) = channel.receive().await {
        if let FromControl::VifConnect { tx_gref, rx_gref, port, mac } = asked {
            let (tx_gref, rx_gref) = (Gref(tx_gref), Gref(rx_gref));
            let answer =
                node.connect(Vif { frontend: control, tx_gref, rx_gref, port: Port(port) }, Mac(mac));
            if channel.send(&answer).await.is_err() {
                return;
            }
        }
    }
}
