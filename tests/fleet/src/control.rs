//! A small control: its vif with an echo through it, and the life of an application over and over. It stands for
//! the [`whole`](crate::whole) one where there is no controller; channels and supervision are those of every service.

use std::{net::Ipv4Addr, rc::Rc, time::Duration};

use board_support_hyp::{Clock, Instant, Spawn, Timer};
use board_support_pv::{
    grant::Park,
    net::{Frames, front::BufferCounts},
};
use dom0_toolstack::image::sha256;
use embassy_futures::select::select;
use proto_svc::{
    device::{self, AppDefinition, AppId, AppState},
    network::{FromControl, ToControl},
    supervision::PeerEnd,
};
use proto_xen::DomId;
use stubdoms_net_core::{Mac, vif::GATEWAY_MAC};
use stubdoms_service::{
    channels::{bear, offer, open_dom0},
    vif::{self, Connected, Wanted, connect},
};
use tests_fakexen::{Domain, page::PoolPage};

use crate::{
    controller::Hearing,
    hostile,
    programs::{Base, ToDom0, ToService, channel_park},
    wire::{ECHO, ROUTER, echoed, udp},
};

const MAC: Mac = Mac([0x02, 0x53, 0x52, 0x53, 0x4e, 0x02]);
const PORT: u16 = 4000;
/// The application.
pub const APP: AppId = AppId([9; 16]);
const APP_MEMORY_KIB: u32 = 4096;
/// Bytes of an image that go in one message.
const PIECE: usize = 400;

type Channel = ToService<FromControl, ToControl>;
type Vif = vif::Vif<Domain, Domain>;

/// The domain's story.
pub async fn main(base: Base) {
    base.supervise();
    base.tasks.spawn(applications(base.clone()));
    base.ready.signal(());
    let pages = channel_park();
    let vif_park: &'static Park<PoolPage> = Box::leak(Box::default());
    loop {
        let (xen, runtime) = (base.domain.clone(), base.domain.clone());
        let (tie, mut channel): (_, Channel) = offer(xen, runtime, base.peers, pages).await;
        let PeerEnd::Offer { peer, .. } = tie.end() else { panic!("it was offered") };
        select(tie.cut(), network(&base, DomId(peer), &mut channel, vif_park)).await;
        drop(channel);
        bear(&base.domain, &tie).await;
    }
}

/// Has net connect a vif, and uses it.
async fn network(base: &Base, net: DomId, channel: &mut Channel, park: &'static Park<PoolPage>) {
    let domain = &base.domain;
    let wanted = Wanted { net, mac: MAC.0, buffers: BufferCounts { tx: 8, rx: 8 } };
    let Ok(Connected { mut front, address, .. }) = connect(domain, domain, park, channel, wanted).await
    else {
        return;
    };
    let address = Ipv4Addr::from(address);
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
                if let Ok(Err(fault)) =
                    base.domain.with_timeout(Duration::from_millis(20), front.wait()).await
                {
                    panic!("net, which is ours, breaks the protocol: {fault}");
                }
            }
        }
        base.seen.echoes.borrow_mut().push((base.domain.id().0, net.0));
        log::info!("echo {number}");
        base.domain.sleep(Duration::from_millis(20)).await;
    }
}

type Device = ToDom0<device::FromControl, device::ToControl>;

/// Goes on with the application that an earlier control has left running; has dom0 run it, hears its console,
/// has it end; for ever.
async fn applications(base: Base) {
    let mut channel: Device = open_dom0(base.domain.clone(), base.domain.clone(), &base.wiring).await;
    let mut hearing = Hearing::default();
    let image = Rc::new(hostile::image());
    let mut runs = greeted(&base, &mut channel, &mut hearing).await;
    *base.seen.adopted.borrow_mut() += u32::from(runs);
    loop {
        if !runs {
            while base.seen.calm.get() {
                base.domain.sleep(Duration::from_secs(1)).await;
            }
            start(&base, &mut channel, &image).await;
        }
        runs = false;
        let until = |ms: u64| base.domain.now_ns() + ms * 1_000_000;
        if !hear(&base, &mut channel, &mut hearing, until(400)).await {
            let sent = channel.send(&device::FromControl::Stop { app: APP }).await;
            base.must(sent).await;
            hear(&base, &mut channel, &mut hearing, until(5000)).await;
        }
    }
}

/// Hears what there is, which dom0 says first, and tells whether the application runs.
async fn greeted(base: &Base, channel: &mut Device, hearing: &mut Hearing) -> bool {
    let machine = channel.receive().await;
    let machine = base.must(machine).await;
    assert!(matches!(machine, device::ToControl::Machine(_)), "dom0 greets with {machine:?}");
    let mut runs = false;
    loop {
        let told = channel.receive().await;
        match base.must(told).await {
            device::ToControl::Known(known) => {
                assert_eq!((known.definition.app, runs), (APP, false));
                runs = known.running.is_some();
            }
            device::ToControl::GoesOn { app, note } => {
                assert_eq!(app, Some(APP));
                hearing.goes_on(&note);
            }
            device::ToControl::KnownAll { .. } => return runs,
            other => panic!("{other:?} within dom0's greeting"),
        }
    }
}

/// Has dom0 start the application.
async fn start(base: &Base, channel: &mut Device, image: &[u8]) {
    let definition = AppDefinition {
        app: APP,
        name: "hostile".try_into().expect("it is short"),
        memory_kib: APP_MEMORY_KIB,
        vcpus: 1,
        command_line: heapless::String::new(),
        image_length: image.len() as u32,
        image_sha256: sha256(image),
    };
    let mut requests = vec![device::FromControl::Define(definition)];
    for (number, piece) in image.chunks(PIECE).enumerate() {
        let bytes = heapless::Vec::from_slice(piece).expect("a piece fits");
        requests.push(device::FromControl::Image { app: APP, offset: (number * PIECE) as u32, bytes });
    }
    requests.push(device::FromControl::Start { app: APP });
    for request in requests {
        let sent = channel.send(&request).await;
        base.must(sent).await;
    }
}

/// Hears what dom0 tells, until the application has ended or it is `until_ns`. True if it has ended.
async fn hear(base: &Base, channel: &mut Device, hearing: &mut Hearing, until_ns: u64) -> bool {
    loop {
        let until = Instant::from_nanos(until_ns);
        let Ok(told) = base.domain.with_deadline(until, channel.receive()).await else { return false };
        let told = base.must(told).await;
        let taken = hearing.hear(&mut base.seen.controller.borrow_mut(), &told);
        if let Some(taken) = taken {
            let sent = channel.send(&taken).await;
            base.must(sent).await;
        }
        if let device::ToControl::State { state, .. } = told {
            match state {
                AppState::Running { .. } => *base.seen.started.borrow_mut() += 1,
                AppState::Stopped(_) => {
                    *base.seen.ended.borrow_mut() += 1;
                    return true;
                }
                _ => {}
            }
        }
    }
}
