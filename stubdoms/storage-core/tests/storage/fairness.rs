//! Vault is served also while control never stops asking.

use core::cell::Cell;

use embassy_futures::select::{Either, select};
use embassy_futures::{block_on, yield_now};
use proto_svc::sealing::{FromVault, ToVault};
use proto_svc::storage::Request;
use stubdoms_storage_core::clients::sealing::Sealing;

use crate::world::{Life, disk, flashed, puts, system};

fn keep(number: u8) -> FromVault {
    FromVault::Keep { sealed: [number; 300].into_iter().collect(), kept: heapless::Vec::new(), fresh: false }
}

#[test]
fn a_control_that_floods_takes_every_other_turn_at_most() {
    let disk = disk(flashed()).pending(3);
    let life = Life::open(&disk);
    let asked = Cell::new(0);
    let flood = async {
        for request in puts("flood", &[1; 5000]).iter().cycle() {
            life.storage.answer(request).await;
            asked.set(asked.get() + 1);
        }
    };
    let vault = async {
        let mut sealing = Sealing::default();
        for number in 0..50 {
            let before = asked.get();
            let heard = sealing.hear(&life.storage, keep(number)).await;
            assert_eq!(heard.reply, Some(ToVault::Kept));
            let meanwhile = asked.get() - before;
            assert!(meanwhile <= 2, "{meanwhile} requests of control were ahead");
            yield_now().await;
        }
    };
    assert!(matches!(block_on(select(flood, vault)), Either::Second(())));
    assert!(asked.get() >= 25, "and control is served, too");
}

#[test]
fn vault_does_not_wait_for_a_slot_to_be_verified() {
    let disk = disk(flashed()).pending(2);
    let life = Life::open(&disk);
    life.fill(&system("1.1.0"));
    let verified = Cell::new(0);
    let verify = async {
        loop {
            life.storage.answer(&Request::Verify).await;
            verified.set(verified.get() + 1);
        }
    };
    let vault = async {
        let mut sealing = Sealing::default();
        for number in 0..50 {
            let before = disk.calls();
            assert_eq!(sealing.hear(&life.storage, keep(number)).await.reply, Some(ToVault::Kept));
            // Two writes and two flushes of its own, and not more than one call ahead of each.
            assert!(disk.calls() - before <= 9, "{} calls", disk.calls() - before);
            yield_now().await;
        }
    };
    assert!(matches!(block_on(select(verify, vault)), Either::Second(())));
    assert!(verified.get() > 10);
}
