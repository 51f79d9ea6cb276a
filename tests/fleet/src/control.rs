//! control: its vif with an echo through it, and the life of an application over and over. As
//! `stubdoms/control`, without a controller.

use std::{net::Ipv4Addr, rc::Rc};

use board_support_hyp::Clock;
use board_support_pv::{
    grant::Park,
    net::{
        Frames,
        front::{BufferCounts, Front},
    },
};
use dom0_toolstack::image::sha256;
use embassy_futures::select::{Either, select};
use proto_svc::{
    device::{self, AppDefinition, AppId, AppState},
    network::{FromControl, ToControl},
};
use proto_xen::DomId;
use stubdoms_net_core::{Mac, vif::GATEWAY_MAC};
use tests_fakexen::page::{PoolPage, SpecialPage};

use crate::{
    ground::{Line, Offered, Spawner, sleep_ms, within},
    hostile,
    service::Base,
    wire::{ECHO, ROUTER, echoed, udp},
};

const MAC: Mac = Mac([0x02, 0x53, 0x52, 0x53, 0x4e, 0x02]);
const PORT: u16 = 4000;
/// The application.
pub const APP: AppId = AppId([9; 16]);
const APP_MEMORY_KIB: u32 = 4096;
/// Bytes of an image that go in one message.
const PIECE: usize = 400;

type Channel = Offered<FromControl, ToControl>;
type Vif = Front<'static, Line, tests_fakexen::Domain, PoolPage>;

/// The domain's story.
pub async fn main(base: Base, spawner: Spawner) {
    let id = base.domain.id();
    spawner.spawn(id, base.clone().supervise());
    spawner.spawn(id, applications(base.clone()));
    base.ready.signal(());
    let channel_park: &'static Park<SpecialPage> = Box::leak(Box::default());
    let vif_park: &'static Park<PoolPage> = Box::leak(Box::default());
    loop {
        let (tie, net, mut channel) = base.offer::<FromControl, ToControl>(channel_park).await;
        select(tie.cut(), network(&base, net, &mut channel, vif_park)).await;
        drop(channel);
        tie.cut().await;
    }
}

/// Has net connect a vif, and uses it.
async fn network(base: &Base, net: DomId, channel: &mut Channel, park: &'static Park<PoolPage>) {
    let domain = &base.domain;
    let Ok(line) = Line::allocate(domain.clone(), domain.clone(), net) else { return };
    let port = line.port();
    let counts = BufferCounts { tx: 8, rx: 8 };
    let Ok(mut front) = Front::new(line, domain.clone(), domain, park, net, counts) else { return };
    let (tx, rx) = front.rings();
    let request = FromControl::VifConnect { tx_gref: tx.0, rx_gref: rx.0, port: port.0, mac: MAC.0 };
    if channel.send(&request).await.is_err() {
        return;
    }
    let address = loop {
        match channel.receive().await {
            Ok(ToControl::VifConnected { address, .. }) => break Ipv4Addr::from(address),
            Ok(ToControl::VifRefused(_)) | Err(_) => return,
            Ok(_) => {}
        }
    };
    let closed = async { while channel.receive().await.is_ok() {} };
    select(closed, echo(base, net, &mut front, address)).await;
}

/// Sends a datagram and waits for its echo, over and over. What is lost is sent again.
async fn echo(base: &Base, net: DomId, front: &mut Vif, address: Ipv4Addr) {
    let mut buffer = [0; 1514];
    for number in 0u32.. {
        let payload = number.to_be_bytes();
        'answered: loop {
            let frame = udp((MAC, address, PORT), (GATEWAY_MAC, ROUTER, ECHO), &payload);
            // One that finds no room is lost, as on a wire.
            let _ = front.transmit(&frame);
            let until = base.domain.now_ns() + 100_000_000;
            while base.domain.now_ns() < until {
                while let Some(length) = front.receive(&mut buffer) {
                    match echoed(&buffer[..length]) {
                        Some(bytes) if bytes == payload => break 'answered,
                        // From before it was sent again.
                        Some(bytes) => assert_eq!(bytes.len(), payload.len()),
                        None => {}
                    }
                }
                if let Some(Err(fault)) = within(&base.domain, 20, front.wait()).await {
                    panic!("net, which is ours, breaks the protocol: {fault}");
                }
            }
        }
        base.seen.echoes.borrow_mut().push((base.domain.id().0, net.0));
        sleep_ms(&base.domain, 20).await;
    }
}

/// Has dom0 run the application, hears its console, has it end; for ever.
async fn applications(base: Base) {
    let mut channel = base.open_dom0::<device::FromControl, device::ToControl>().await;
    let image = Rc::new(hostile::image());
    // What an earlier control has left is stopped first.
    let _ = channel.send(&device::FromControl::Forget { app: APP }).await;
    loop {
        let definition = AppDefinition {
            app: APP,
            name: "hostile".try_into().expect("it is short"),
            memory_kib: APP_MEMORY_KIB,
            vcpus: 1,
            command_line: heapless::String::new(),
            image_length: image.len() as u32,
            image_sha256: sha256(&image),
        };
        let mut requests = vec![device::FromControl::Define(definition)];
        for (number, piece) in image.chunks(PIECE).enumerate() {
            let bytes = heapless::Vec::from_slice(piece).expect("a piece fits");
            requests.push(device::FromControl::Image { app: APP, offset: (number * PIECE) as u32, bytes });
        }
        requests.push(device::FromControl::Start { app: APP });
        for request in requests {
            channel.send(&request).await.expect("dom0 keeps its channel");
        }
        let life = select(hear(&base, &mut channel), sleep_ms(&base.domain, 400)).await;
        if let Either::Second(()) = life {
            channel.send(&device::FromControl::Stop { app: APP }).await.expect("dom0 keeps its channel");
            within(&base.domain, 5000, hear(&base, &mut channel)).await;
        }
    }
}

/// Hears of the application until it has ended.
async fn hear(base: &Base, channel: &mut crate::ground::Owned<device::FromControl, device::ToControl>) {
    loop {
        match channel.receive().await.expect("dom0 keeps its channel") {
            device::ToControl::State { state: AppState::Running { .. }, .. } => {
                *base.seen.started.borrow_mut() += 1
            }
            device::ToControl::State { state: AppState::Stopped(_), .. } => {
                *base.seen.ended.borrow_mut() += 1;
                return;
            }
            device::ToControl::ConsoleOutput { bytes, .. } => *base.seen.console.borrow_mut() += bytes.len(),
            _ => {}
        }
    }
}
