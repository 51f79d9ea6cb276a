//! The disk, from its wiring to what is on it.

use alloc::boxed::Box;
use core::{cell::OnceCell, time::Duration};

use board_support_rt::{entropy, timer};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_errors::{Coded, storage as code};
use proto_gpt::slots::Slot;
use proto_manifest::wiring::{RunningSlot, Wiring};
use proto_svc::{Message, sealing::ToVault};
use stubdoms_service::disk::{Disk, FoundDisk, NoDisk};
use stubdoms_storage_core::clients::Storage;

use crate::trust::trust;

/// How long a disk has to come up: a rotating one takes its time.
const BRING_UP: Duration = Duration::from_secs(10);
/// How soon a disk that did not come up is tried again, at first and at the longest.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// What this domain has.
pub(crate) struct Holding {
    storage: OnceCell<Storage<Disk>>,
    running: Option<Slot>,
    /// Whether the wiring has a channel to vault.
    pub(crate) has_vault: bool,
    /// The store has become open, or closed.
    pub(crate) changed: Signal<NoopRawMutex, ()>,
    found: Signal<NoopRawMutex, ()>,
}

impl Holding {
    /// Nothing yet.
    pub(crate) fn new(wiring: &Wiring) -> &'static Self {
        let running = wiring.slot.map(|slot| match slot {
            RunningSlot::A => Slot::A,
            RunningSlot::B => Slot::B,
        });
        let has_vault = wiring.channel(ToVault::CHANNEL).is_some();
        let (changed, found) = (Signal::new(), Signal::new());
        Box::leak(Box::new(Self { storage: OnceCell::new(), running, has_vault, changed, found }))
    }

    /// The disk and what is on it; none if there is no disk, or it did not come up yet.
    pub(crate) fn storage(&self) -> Option<&Storage<Disk>> {
        self.storage.get()
    }

    /// The same, once it is there.
    pub(crate) async fn wait(&self) -> &Storage<Disk> {
        loop {
            if let Some(storage) = self.storage.get() {
                return storage;
            }
            self.found.wait().await;
        }
    }

    /// Finds the disk of the wiring and brings it up. A disk that is returned did not come up.
    pub(crate) async fn find(&self, wiring: &Wiring) -> Option<FoundDisk> {
        match FoundDisk::find(wiring) {
            Ok(found) => {
                if found.is_unconfined() {
                    log::warn!("disk: no IOMMU confines it [{}]", code::UNCONFINED);
                }
                self.bring_up(found).await
            }
            Err(why) => {
                told(&why);
                None
            }
        }
    }

    /// Tries again, ever more rarely, until it comes up.
    pub(crate) async fn try_again(&self, mut disk: FoundDisk) {
        let [mut pause, longest] = AGAIN;
        loop {
            timer::sleep(pause).await;
            pause = longest.min(pause * 2);
            match self.bring_up(disk).await {
                Some(still) => disk = still,
                None => return,
            }
        }
    }

    async fn bring_up(&self, found: FoundDisk) -> Option<FoundDisk> {
        let disk = match found.bring_up(BRING_UP).await {
            Ok(disk) => disk,
            Err((why, still)) => {
                told(&why);
                return Some(still);
            }
        };
        let (storage, started) = Storage::start(disk, self.running, trust(), entropy::fill).await;
        let (identity, mib) = (storage.disk().identity(), storage.disk().geometry().bytes() >> 20);
        log::info!("disk: {} {}, {mib} MiB", identity.model, identity.serial);
        for complaint in started.complaints() {
            log::error!("disk: {}", complaint.told());
        }
        if let Ok(found) = started.store {
            log::info!("store: {found}");
        }
        // It was empty: only this sets it, and only until it has.
        let _ = self.storage.set(storage);
        self.found.signal(());
        self.changed.signal(());
        None
    }
}

fn told(why: &NoDisk) {
    log::error!("disk: {why} [{}]", code::NO_DISK);
}
