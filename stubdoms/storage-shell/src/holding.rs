//! The disk, from its wiring to what is on it.

use alloc::boxed::Box;
use core::{cell::OnceCell, fmt::Display, pin::pin, time::Duration};

use board_support_hyp::Timer;
use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_errors::{Coded, storage as code};
use proto_gpt::slots::Slot;
use proto_manifest::wiring::{RunningSlot, Wiring};
use proto_svc::{Message, sealing::ToVault};
use stubdoms_service::footing::Footing;
use stubdoms_storage_core::clients::sealing::Sealed;
use stubdoms_storage_core::clients::{Backoff, Burst, Started, Storage};
use stubdoms_storage_core::slots::Trust;

use crate::{disk::FoundDisk, sealing};

/// How long a disk has to come up: a rotating one takes its time.
const BRING_UP: Duration = Duration::from_secs(10);
/// When people are told that it takes its time: what is wrong is to be seen within five seconds of the start.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// What this domain has.
pub(crate) struct Holding<F: Footing, D: FoundDisk> {
    pub(crate) footing: F,
    storage: OnceCell<Storage<D::Running>>,
    running: Option<Slot>,
    trust: Trust,
    /// Whether the wiring has a channel to vault.
    pub(crate) has_vault: bool,
    /// The store has become open, or closed.
    pub(crate) changed: Signal<NoopRawMutex, ()>,
    /// The store was found later than the disk.
    pub(crate) store_found: Signal<NoopRawMutex, ()>,
    /// The disk has failed at something that is to be tried again.
    pub(crate) failed: Signal<NoopRawMutex, ()>,
}

impl<F: Footing, D: FoundDisk> Holding<F, D> {
    /// Nothing yet.
    pub(crate) fn new(footing: F, wiring: &Wiring, trust: Trust) -> &'static Self {
        let running = wiring.slot.map(|slot| match slot {
            RunningSlot::A => Slot::A,
            RunningSlot::B => Slot::B,
        });
        let has_vault = wiring.channel(ToVault::CHANNEL).is_some();
        Box::leak(Box::new(Self {
            footing,
            storage: OnceCell::new(),
            running,
            trust,
            has_vault,
            changed: Signal::new(),
            store_found: Signal::new(),
            failed: Signal::new(),
        }))
    }

    /// The disk and what is on it; none if there is no disk, or it did not come up yet.
    pub(crate) fn storage(&self) -> Option<&Storage<D::Running>> {
        self.storage.get()
    }

    /// Brings the disk up that was found. One that is returned did not come up.
    pub(crate) async fn begin(&self, disk: Result<D, impl Display>) -> Option<D> {
        match disk {
            Ok(found) => {
                if found.is_unconfined() {
                    log::warn!("disk: no IOMMU confines it [{}]", code::UNCONFINED);
                }
                let mut coming = pin!(self.bring_up(found));
                let told = self.footing.runtime().sleep(TOLD_AFTER);
                if let Either::First(missing) = select(&mut coming, told).await {
                    return missing;
                }
                let waited = TOLD_AFTER.as_secs();
                log::warn!("disk: it is not up after {waited} s, and is waited for [{}]", code::SLOW_DISK);
                coming.await
            }
            Err(why) => {
                told(&why);
                None
            }
        }
    }

    /// Tries again, ever more rarely, until it comes up.
    pub(crate) async fn try_again(&self, mut disk: D) {
        let mut backoff = Backoff::new();
        loop {
            self.footing.runtime().sleep(backoff.pause()).await;
            match self.bring_up(disk).await {
                Some(still) => disk = still,
                None => return,
            }
        }
    }

    async fn bring_up(&self, found: D) -> Option<D> {
        let disk = match found.bring_up(BRING_UP).await {
            Ok(disk) => disk,
            Err((why, still)) => {
                told(&why);
                return Some(still);
            }
        };
        let (storage, started) = Storage::start(disk, self.running, self.trust.clone(), F::fill).await;
        let (identity, mib) = (storage.disk().identity(), storage.disk().geometry().bytes() >> 20);
        log::info!("disk: {} {}, {mib} MiB", identity.model, identity.serial);
        tell(&started);
        if storage.is_failing().await {
            self.failed.signal(());
        }
        // It was empty: only this sets it, and only until it has.
        let _ = self.storage.set(storage);
        self.changed.signal(());
        None
    }

    /// Tries again what the disk has failed at, for ever: ever more rarely as long as it fails.
    pub(crate) async fn mend(&self, storage: &Storage<D::Running>) {
        let mut burst = Burst::default();
        loop {
            self.failed.wait().await;
            let mut backoff = Backoff::new();
            while storage.is_failing().await {
                self.footing.runtime().sleep(backoff.pause()).await;
                let tried = storage.try_again(F::fill).await;
                if let Some(started) = &tried.found {
                    // As often as it fails it is told ever more rarely.
                    if started.store.as_ref().err().is_none_or(|why| burst.is_news(why.code())) {
                        tell(started);
                    }
                    if started.store.is_ok() {
                        self.store_found.signal(());
                    }
                }
                match &tried.sealed {
                    Some(Sealed::Closed(why)) if !burst.is_news(why.code()) => {}
                    Some(sealed) => sealing::tell(sealed),
                    None => {}
                }
                if tried.changed {
                    self.changed.signal(());
                }
            }
        }
    }
}

/// What was found on the disk.
fn tell(started: &Started) {
    for complaint in started.complaints() {
        log::error!("disk: {}", complaint.told());
    }
    if let Ok(found) = started.store {
        log::info!("store: {found}");
    }
}

fn told(why: &impl Display) {
    log::error!("disk: {why} [{}]", code::NO_DISK);
}
