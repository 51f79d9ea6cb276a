//! A net that was taken over, towards control: it does its work and writes over what control shares with it, or it says
//! whatever it likes on their channel. It goes on until somebody ends it.

use std::time::Duration;

use board_support_hyp::{EventChannels, Grants, Spawn, Timer};
use proto_svc::network::{Counters, FromControl, Lease, ToControl, Uplink, VifRefusal};
use proto_xen::{DomId, Gref, Port};
use stubdoms_service::channels::accept;
use tests_fakexen::Rng;

use crate::{
    programs::{Base, OfService},
    taken::{Raw, bytes_of, one_of, spoil},
};

/// Domains that may share something with it.
const OTHERS: core::ops::Range<u16> = 1..40;
/// References by which they may.
const REFERENCES: core::ops::Range<u32> = 8..512;
/// Its own ports are below.
const PORTS: usize = 40;

/// net's `main`, which goes its own way by the numbers. `honest` is what it would be.
pub async fn main(base: Base, mut rng: Rng, honest: impl Future<Output = ()> + 'static) {
    if rng.once_in(2) {
        base.tasks.spawn(honest);
        write_over(&base, &mut rng).await;
    } else {
        base.supervise();
        base.ready.signal(());
        talk(&base, &mut rng).await;
    }
}

fn count(base: &Base) {
    base.seen.spoilt.set(base.seen.spoilt.get() + 1);
}

/// Changes words of pages that are granted to it, most of them where rings have their indices.
async fn write_over(base: &Base, rng: &mut Rng) {
    let xen = &base.domain;
    loop {
        xen.sleep(Duration::from_millis(rng.below(500) as u64)).await;
        let all =
            OTHERS.map(DomId).flat_map(|whose| REFERENCES.map(move |reference| (whose, Gref(reference))));
        let shared: Vec<_> = all
            .filter(|&(whose, reference)| xen.copy_from(whose, reference, 0, &mut [0; 4]).is_ok())
            .collect();
        if shared.is_empty() {
            continue;
        }
        for _ in 0..rng.below(100) {
            let (whose, reference) = one_of(rng, &shared);
            let offset = 4 * if rng.once_in(2) { rng.below(1024) } else { rng.below(100) } as u16;
            let mut word = [0; 4];
            // Whoever shares it may take it back.
            let _ = xen.copy_from(whose, reference, offset, &mut word);
            let near = u32::from_le_bytes(word).wrapping_add(rng.below(4096) as u32);
            let lie = if rng.once_in(2) { near } else { rng.next_u64() as u32 };
            if xen.copy_to(whose, reference, offset, &lie.to_le_bytes()).is_ok() {
                count(base);
            }
            let _ = xen.send(Port(rng.below(PORTS) as u32));
            xen.sleep(Duration::from_micros(50)).await;
        }
    }
}

/// Says anything, and takes what control says now and then.
async fn talk(base: &Base, rng: &mut Rng) {
    loop {
        let (xen, runtime) = (base.domain.clone(), base.domain.clone());
        let (tie, (_, mut channel)): (_, (_, OfService<Raw<ToControl>, FromControl>)) =
            accept(xen, runtime, base.peers).await;
        // What is no message ends the channel.
        let spoils = rng.once_in(2);
        for _ in 0..rng.below(100) {
            let mut bytes = bytes_of(&message(rng));
            if spoils && rng.once_in(50) {
                spoil(&mut bytes, rng);
            }
            let sent = base.domain.with_timeout(Duration::from_secs(1), channel.send(&Raw::new(bytes))).await;
            count(base);
            if !matches!(sent, Ok(Ok(()))) || !rng.once_in(3) && channel.try_receive().is_err() {
                break;
            }
            base.domain.sleep(Duration::from_millis(rng.below(50) as u64)).await;
        }
        tie.cut().await;
    }
}

fn address(rng: &mut Rng) -> [u8; 4] {
    let any = (rng.next_u64() as u32).to_le_bytes();
    one_of(rng, &[[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [169, 254, 0, 1], [100, 64, 0, 2], any])
}

fn addresses<const N: usize>(rng: &mut Rng) -> heapless::Vec<[u8; 4], N> {
    let count = rng.below(N + 1);
    core::iter::repeat_with(|| address(rng)).take(count).collect()
}

/// Something that net may say, whether it is true or not.
fn message(rng: &mut Rng) -> ToControl {
    let prefix = one_of(rng, &[0, 1, 24, 31, 32, 33, u8::MAX]);
    match rng.below(7) {
        0..3 => {
            let mtu = one_of(rng, &[0, 1, 67, 68, 576, 1500, u16::MAX]);
            ToControl::VifConnected { address: address(rng), prefix, gateway: address(rng), mtu }
        }
        3 => ToControl::VifRefused(one_of(rng, &[VifRefusal::Busy, VifRefusal::Grant, VifRefusal::Port])),
        4 => {
            let lease = Lease {
                address: address(rng),
                prefix,
                gateway: rng.once_in(2).then(|| address(rng)),
                dns: addresses(rng),
                ntp: addresses(rng),
            };
            ToControl::Uplink(Uplink {
                name: name(rng),
                mac: [rng.next_u64() as u8; 6],
                link: rng.once_in(2),
                lease: rng.once_in(2).then_some(lease),
            })
        }
        5 => {
            let mut number = || one_of(rng, &[0, 1, u64::MAX]);
            ToControl::Counters(Counters {
                rx_bytes: number(),
                rx_frames: number(),
                rx_drops: number(),
                rx_errors: number(),
                tx_bytes: number(),
                tx_frames: number(),
                tx_drops: number(),
                tx_errors: number(),
                port: name(rng),
            })
        }
        _ => ToControl::VifClosed,
    }
}

fn name(rng: &mut Rng) -> heapless::String<16> {
    let name = one_of(rng, &["", "eth0", "vif0", "\u{1b}[2J", "\u{e4}\u{e4}\u{e4}\u{e4}"]);
    name.try_into().expect("it is short")
}
