//! The disk of storage, which is as it is on the device; and who gives the store its key.
//!
//! The disk outlasts storage and the machine. It takes its time, fails where a story wants that, and has a cache: at the
//! start of each life of storage it holds, of each block that was not made durable, any version or a torn one, as after
//! a power cut. Storage's window on it is looked at: no life writes a block of another's.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use board_support_drv::block::{
    BlockDevice, Cause, Error, Fault, Geometry, Identity, Refusal, Status,
    fake::{Done, Event, Failure, FakeDisk, Image},
};
use board_support_hyp::Timer;
use embassy_futures::select::{Either, select};
use proto_gpt::slots::Slot;
use proto_svc::{
    device::BootSlot,
    sealing::{FromVault, StorageKey, ToVault},
    storage::SlotName,
};
use proto_update::payload::pack;
use stubdoms_service::channels::accept;
use stubdoms_storage_shell::{FoundDisk, Start};
use stubdoms_vault_core::record::{Clear, Sealed};
use tests_fakexen::Domain;

use crate::{
    programs::{Base, Ground, OfService},
    random,
};

#[path = "../../../stubdoms/storage-core/tests/storage/world.rs"]
// Shared with the tests of storage, which use all of it; here some of it is left over.
#[expect(dead_code, reason = "the tests of storage use the rest of it")]
mod world;

/// How long a call takes at most, ahead of what it does and after.
const CALL: Duration = Duration::from_micros(300);

/// Blocks at the end of the disk, for the second copy of the partition table.
const TABLE_BLOCKS: u64 = 40;

/// What a disk says when it fails. Of the ones that it does not answer the driver says so when time is up.
const ERRORS: [Error; 5] = [
    Error::Refused(Refusal { cause: Cause::Internal, status: Status::Nvme { sct: 0, sc: 6 } }),
    Error::Refused(Refusal { cause: Cause::Aborted, status: Status::Nvme { sct: 0, sc: 7 } }),
    Error::Fault(Fault::Short { says: 512, room: 4096 }),
    Error::Fault(Fault::Fatal),
    Error::TimedOut { within: Duration::ZERO },
];

/// The disk.
pub struct Disk {
    /// As it is since storage began, of whatever life.
    fake: RefCell<FakeDisk>,
    /// Blocks that were written, ahead of that.
    written: RefCell<BTreeSet<u64>>,
    /// One call in so many fails; none if 0.
    fails: Cell<usize>,
    failed: Cell<u32>,
    /// How often it does not come up.
    sleeps: Cell<u32>,
    /// Writes to the slot that is not the first.
    filled: Cell<u32>,
    /// Starts of the machine.
    starts: Cell<u32>,
}

impl Disk {
    /// As it is flashed: two slots with a version, the first one runs; nothing is stored.
    #[must_use]
    pub fn flashed() -> Rc<Self> {
        Self::of(world::flashed())
    }

    fn of(image: Image) -> Rc<Self> {
        Rc::new(Self {
            fake: RefCell::new(world::disk(image)),
            written: RefCell::default(),
            fails: Cell::new(0),
            failed: Cell::new(0),
            sleeps: Cell::new(0),
            filled: Cell::new(0),
            starts: Cell::new(0),
        })
    }

    /// Has one call in so many fail from now on, or none.
    pub fn fail(&self, one_in: usize) {
        self.fails.set(one_in);
    }

    /// How many calls have failed.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.failed.get()
    }

    /// Has it not come up so often.
    pub fn sleep(&self, times: u32) {
        self.sleeps.set(times);
    }

    /// Another one with what this one holds for certain, as after a power cut.
    #[must_use]
    pub fn after_power_cut(&self) -> Rc<Self> {
        let disk = Self::of(self.left());
        disk.starts.set(self.starts());
        disk
    }

    /// How often the machine was started from it.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts.get()
    }

    /// How often the second slot was written.
    #[must_use]
    pub fn filled(&self) -> u32 {
        self.filled.get()
    }

    /// The values of control that are stored, by their names; none if nobody has made the store, or a TPM has its key.
    ///
    /// # Panics
    /// If the key that lies beside the store does not open it.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, Vec<u8>> {
        let mut life = world::Life::start(&world::disk(self.left()));
        let Some(ToVault::Open { sealed, .. }) = life.sealed() else { return BTreeMap::new() };
        let Ok(Sealed::Clear(clear)) = Sealed::parse(&sealed) else { return BTreeMap::new() };
        life.hear(FromVault::Key { key: StorageKey(clear.key), fresh: false });
        let values = life.values();
        assert_eq!(life.damaged(), 0);
        values
    }

    /// What the next start of the machine would start, and whether that has proved itself.
    #[must_use]
    pub fn next_start(&self) -> Option<(String, bool)> {
        let mut image = self.left();
        let (slot, version) = world::boot(&mut image)?;
        Some((version, world::states(&image)[usize::from(slot == Slot::B)].successful))
    }

    /// The selector starts a slot, and takes a try off it.
    ///
    /// # Panics
    /// If there is none that it may start.
    #[must_use]
    pub fn start(&self) -> BootSlot {
        self.starts.set(self.starts() + 1);
        let mut image = self.left();
        let (slot, version) = world::boot(&mut image).expect("there is a slot that can be started");
        let state = world::states(&image)[usize::from(slot == Slot::B)];
        self.fake.replace(world::disk(image));
        BootSlot {
            slot: if slot == Slot::A { SlotName::A } else { SlotName::B },
            version: version.as_str().try_into().expect("it fits"),
            priority: state.priority,
            tries: state.tries,
            successful: state.successful,
            other_refused: false,
            reason: heapless::String::new(),
        }
    }

    /// No block was written but the store's, those of the slot that does not run, and the table's two copies, which name
    /// the same partitions as ever.
    ///
    /// # Panics
    /// If one was.
    pub fn check_windows(&self) {
        self.note_written();
        for &block in &*self.written.borrow() {
            let others = [world::SLOT_A..world::SLOT_B, world::STORE_END..world::BLOCKS - TABLE_BLOCKS];
            let is_others = others.iter().any(|blocks| blocks.contains(&block));
            assert!(!is_others, "block {block} was written, which is nobody's");
        }
        let (now, flashed) = (self.fake.borrow().image(), world::flashed());
        for block in world::SLOT_A..world::SLOT_B {
            assert_eq!(now.block(block), flashed.block(block), "block {block} of the slot that runs");
        }
        let _ = world::states(&now);
    }

    fn note_written(&self) {
        let fake = self.fake.borrow();
        let log = fake.log();
        let blocks = log.events().iter().filter_map(|event| match event {
            Event::Write { block, .. } => Some(*block),
            Event::Flush | Event::Durable { .. } | Event::Lost { .. } | Event::Doubt { .. } => None,
        });
        self.written.borrow_mut().extend(blocks);
    }

    /// What a power cut leaves.
    fn left(&self) -> Image {
        let fake = self.fake.borrow();
        let log = fake.log();
        log.cut(log.events().len()).left(random::below)
    }

    /// A life of storage begins.
    fn reset(&self) -> FakeDisk {
        self.note_written();
        let fake = world::disk(self.left());
        self.fake.replace(fake.clone());
        fake
    }
}

/// The disk as a life of storage finds it.
struct Stopped {
    disk: Rc<Disk>,
    domain: Domain,
}

impl FoundDisk for Stopped {
    type Running = Running;
    type Why = &'static str;

    fn is_unconfined(&self) -> bool {
        false
    }

    async fn bring_up(self, within: Duration) -> Result<Running, (&'static str, Self)> {
        if let Some(less) = self.disk.sleeps.get().checked_sub(1) {
            self.disk.sleeps.set(less);
            self.domain.sleep(within).await;
            return Err(("it does not come up", self));
        }
        let fake = self.disk.reset();
        Ok(Running { fake, disk: self.disk, domain: self.domain })
    }
}

/// The disk in a life of storage.
struct Running {
    fake: FakeDisk,
    disk: Rc<Disk>,
    domain: Domain,
}

impl Running {
    /// Ahead of what a call does, which may then fail, part of it done.
    async fn begin(&self, within: Duration) {
        self.pause().await;
        let one_in = self.disk.fails.get();
        if one_in == 0 || random::below(one_in) > 0 {
            return;
        }
        let mut error = ERRORS[random::below(ERRORS.len())];
        if matches!(error, Error::TimedOut { .. }) {
            self.domain.sleep(within).await;
            error = Error::TimedOut { within };
        }
        let done = [Done::Nothing, Done::Blocks(1), Done::All, Done::Unsure][random::below(4)];
        self.disk.failed.set(self.disk.failed.get() + 1);
        self.fake.fail(self.fake.calls(), Failure { error, done });
    }

    async fn pause(&self) {
        self.domain.sleep(CALL.mul_f64(random::below(1000) as f64 / 1000.0)).await;
    }
}

impl BlockDevice for Running {
    fn identity(&self) -> &Identity {
        self.fake.identity()
    }

    fn geometry(&self) -> Geometry {
        self.fake.geometry()
    }

    async fn read(&mut self, first: u64, into: &mut [u8], within: Duration) -> Result<(), Error> {
        self.begin(within).await;
        let result = self.fake.read(first, into, within).await;
        self.pause().await;
        result
    }

    async fn write(&mut self, first: u64, from: &[u8], within: Duration) -> Result<(), Error> {
        self.begin(within).await;
        let in_second = (world::SLOT_B..world::STORE).contains(&first);
        self.disk.filled.set(self.disk.filled() + u32::from(in_second));
        let result = self.fake.write(first, from, within).await;
        self.pause().await;
        result
    }

    async fn flush(&mut self, within: Duration) -> Result<(), Error> {
        self.begin(within).await;
        let result = self.fake.flush(within).await;
        self.pause().await;
        result
    }
}

/// The content of an update to this version: what a controller gives for a slot. Some of it cannot be packed, so that it
/// takes a while.
///
/// # Panics
/// Never: the slot has a header.
#[must_use]
pub fn update(version: &str) -> Vec<u8> {
    let mut noise = vec![0; 30_000];
    random::fill(&mut noise);
    pack(&world::system_with(version, &noise)).expect("a slot")
}

/// storage's `main`: all is its own but what it stands on.
pub async fn main(base: Base, disk: Rc<Disk>) {
    base.supervise();
    let Base { domain, tasks, wiring, peers, ready, .. } = base;
    let start = Start { wiring: &wiring, peers, trust: world::trust() };
    let found: Result<_, &str> = Ok(Stopped { disk, domain: domain.clone() });
    stubdoms_storage_shell::main(Ground(domain), tasks, start, found, || ready.signal(())).await;
}

/// vault, as far as storage asks it: a key that lies in the clear. It has storage keep it anew all the time, and
/// counts how often that was done.
pub async fn vault(base: Base) {
    base.supervise();
    base.ready.signal(());
    loop {
        let (xen, runtime) = (base.domain.clone(), base.domain.clone());
        let (tie, (_, mut channel)): (_, (_, OfService<FromVault, ToVault>)) =
            accept(xen, runtime, base.peers).await;
        let over = select(tie.cut(), seal(&base, &mut channel)).await;
        drop(channel);
        if let Either::Second(()) = over {
            tie.cut().await;
        }
    }
}

/// How often the key is sealed anew.
const AGAIN: Duration = Duration::from_secs(5);

/// Serves storage until the channel ends.
async fn seal(base: &Base, channel: &mut OfService<FromVault, ToVault>) {
    let (mut sender, mut receiver) = channel.split();
    let ours = Sealed::Clear(Clear { key: world::KEY, note: heapless::Vec::new() }).emit();
    let keep = |fresh| FromVault::Keep { sealed: ours.clone(), kept: heapless::Vec::new(), fresh };
    let key = |fresh| FromVault::Key { key: StorageKey(world::KEY), fresh };
    let mut fresh = false;
    loop {
        let say = match select(receiver.receive(), base.domain.sleep(AGAIN)).await {
            Either::First(Ok(ToVault::Open { sealed, .. })) if sealed.is_empty() => {
                fresh = true;
                keep(true)
            }
            Either::First(Ok(ToVault::Open { sealed, .. })) => {
                assert_eq!(sealed, ours, "storage gives back another key");
                fresh = false;
                key(false)
            }
            Either::First(Ok(ToVault::Kept)) if core::mem::take(&mut fresh) => key(true),
            Either::First(Ok(ToVault::Kept)) => {
                base.seen.sealed.set(base.seen.sealed.get() + 1);
                continue;
            }
            Either::First(Ok(ToVault::NotKept | ToVault::Hello { .. })) => continue,
            Either::First(Err(_)) => return,
            // What a new key is sealed with comes first.
            Either::Second(()) if fresh => continue,
            Either::Second(()) => keep(false),
        };
        if sender.send(&say).await.is_err() {
            return;
        }
    }
}
