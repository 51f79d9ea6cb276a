//! What a domain's code is: net, control or the application, by its image. It begins when dom0 lets the domain
//! run, and finds what it needs where the real one does: the wiring record by the start info, its parameters at
//! Xen.
//!
//! A panic in the sources of a service is the end of its domain, as on the device: last words, then a crash. The story
//! gets the words, and fails if it did not expect them. Any other panic is a failure of the test: the fake Xen was
//! misused, or a check of ours has failed.

use core::{
    cell::RefCell,
    fmt::Write,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};
use std::{
    panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind},
    rc::Rc,
    sync::Once,
};

use board_support_hyp::{Shared, Spawn};
use board_support_rt::epitaph;
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_manifest::wiring::Wiring;
use proto_svc::{Message, measure::FromVault};
use proto_xen::{DomId, Gaddr, Gfn, sched::ShutdownReason, start_info::MAGIC};
use stubdoms_service::{
    Peers, channels,
    channels::{Accepted, Offered, Owned},
    footing::Footing,
    park, peers, supervision,
};
use tests_fakexen::{Domain, Rng, World, executor::Spawner};

use crate::{
    control, false_net, hostile, image,
    keeper::{self, Kept},
    liar, plain, random,
    stage::Seen,
    storage::{self, Disk},
    taken,
    vault::{self, Chip},
    whole,
    wire::{Card, Down},
};

/// Pages of a service's pool.
const POOL_PAGES: u64 = 256;

/// Pages of a service.
pub const SERVICE_PAGES: u64 = 1024;

/// Whose panics end their domain.
const SERVICES: &str = "stubdoms/";

/// Wakes one task. Whatever it carries is looked up.
pub type Bell = Signal<NoopRawMutex, ()>;
/// A port.
pub type Line = channels::Port<Domain, Domain>;
/// A service's end of a channel to dom0.
pub type ToDom0<Out, In> = Owned<Domain, Domain, Out, In>;
/// The end of a channel that a service offers to another.
pub type ToService<Out, In> = Offered<Domain, Domain, Out, In>;
/// The other end of that.
pub type OfService<Out, In> = Accepted<Domain, Domain, Out, In>;

/// What services stand on here.
#[derive(Clone, Debug)]
pub(crate) struct Ground(pub(crate) Domain);

impl Footing for Ground {
    type Xen = Domain;
    type Runtime = Domain;

    fn xen(&self) -> &Domain {
        &self.0
    }

    fn runtime(&self) -> &Domain {
        &self.0
    }

    fn fill(bytes: &mut [u8]) {
        random::fill(bytes);
    }
}

/// Which control there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The small one.
    Small,
    /// The one of the device.
    Whole,
    /// One that was taken over.
    Liar,
}

/// All programs, and what they share with the story.
pub struct Programs {
    /// Starts tasks.
    pub spawner: Spawner<'static>,
    /// The card of net.
    pub card: Rc<Card>,
    /// The TPM of vault.
    pub chip: Rc<Chip>,
    /// The disk of storage.
    pub disk: Rc<Disk>,
    /// What the story looks at.
    pub seen: Rc<Seen>,
    /// What is kept for vault.
    pub kept: Rc<Kept>,
    /// Which control there is.
    pub control: Control,
    /// Chooses what is random in them.
    pub rng: Rng,
}

impl Programs {
    /// Begins a domain's code.
    ///
    /// # Panics
    /// If dom0 has built a domain that it was not told to build.
    pub fn begin(&mut self, domain: Domain) {
        let text = image::text(domain.world(), domain.id());
        if text.starts_with(hostile::TEXT) {
            let seed = self.rng.next_u64();
            self.spawner.spawn(domain.id(), hostile::main(domain, self.seen.clone(), seed));
            return;
        }
        if text.starts_with(plain::TEXT) {
            self.spawner.spawn(domain.id(), plain::main(domain, self.seen.clone()));
            return;
        }
        *self.seen.lives.borrow_mut() += 1;
        let begun = (text.to_vec(), self.chip.log().len());
        self.seen.begun.borrow_mut().push(begun);
        let base = Base::new(domain, self.spawner.clone(), self.seen.clone());
        if text.starts_with(b"net") {
            let mut seed = [0; 32];
            seed.fill_with(|| self.rng.next_u64() as u8);
            let honest = net(base.clone(), self.card.clone(), seed);
            if self.seen.false_net.get() {
                let rng = Rng::new(self.rng.next_u64());
                base.tasks.spawn(false_net::main(base.clone(), rng, honest));
            } else {
                base.tasks.spawn(honest);
            }
        } else if text.starts_with(b"control") && self.seen.taken.get() {
            let rng = Rng::new(self.rng.next_u64());
            base.tasks.spawn(taken::main(base.clone(), rng));
        } else if text.starts_with(b"control") {
            match self.control {
                Control::Small => base.tasks.spawn(control::main(base.clone())),
                Control::Whole => base.tasks.spawn(whole::main(base.clone())),
                Control::Liar => {
                    let rng = Rng::new(self.rng.next_u64());
                    base.tasks.spawn(liar::main(base.clone(), rng));
                }
            }
        } else if text.starts_with(b"keeper") {
            base.tasks.spawn(keeper::main(base.clone(), self.kept.clone()));
        } else if text.starts_with(b"storage") {
            base.tasks.spawn(storage::main(base.clone(), self.disk.clone()));
        } else if text.starts_with(b"vault") && base.wiring.channel(FromVault::CHANNEL).is_none() {
            base.tasks.spawn(storage::vault(base.clone()));
        } else if text.starts_with(b"vault") {
            let rng = Rng::new(self.rng.next_u64());
            base.tasks.spawn(vault::main(base.clone(), self.chip.clone(), rng));
        } else if text.starts_with(b"quiet") {
            base.supervise();
            base.ready.signal(());
        } else {
            panic!("{} begins with {text:?}", base.domain.id());
        }
    }
}

/// net's `main`: the card is another one, the rest is net's own.
async fn net(base: Base, card: Rc<Card>, seed: [u8; 32]) {
    base.supervise();
    let found = Down::found(card, &base.domain, &base.wiring);
    let Base { domain, tasks, peers, .. } = base.clone();
    stubdoms_net_shell::start(domain.clone(), domain, tasks, peers, found, seed).await;
    base.ready.signal(());
}

/// What a service begins with.
#[derive(Clone)]
pub struct Base {
    /// Its Xen and its runtime.
    pub domain: Domain,
    /// Starts its tasks.
    pub tasks: Tasks,
    /// Its wiring record.
    pub wiring: Rc<Wiring>,
    /// Its peers.
    pub peers: &'static Peers,
    /// Rung when it does its work.
    pub ready: &'static Bell,
    /// What the story looks at.
    pub seen: Rc<Seen>,
}

impl Base {
    fn new(domain: Domain, spawner: Spawner<'static>, seen: Rc<Seen>) -> Self {
        // Above the image, below the modules.
        domain.set_pool(Gfn(0x200), POOL_PAGES);
        let wiring = channels::wiring(module(domain.world(), domain.id(), 0).as_deref());
        let epitaph = Gaddr(wiring.epitaph).frame();
        let tasks = Tasks { domain: domain.clone(), spawner, epitaph, seen: seen.clone() };
        let (peers, ready) = (peers(&wiring), Box::leak(Box::default()));
        Self { domain, tasks, wiring: Rc::new(wiring), peers, ready, seen }
    }

    /// Starts what serves channel `dom0`.
    pub fn supervise(&self) {
        let (xen, runtime) = (self.domain.clone(), self.domain.clone());
        let wiring = (*self.wiring).clone();
        self.tasks.spawn(supervision::supervise(xen, runtime, wiring, self.peers, self.ready));
    }

    /// Ends the domain, as a panic on the device does, unless there is a value.
    pub async fn must<T, E>(&self, result: Result<T, E>) -> T {
        match result {
            Ok(value) => value,
            Err(_) => {
                self.tasks.end("a call has failed");
                core::future::pending().await
            }
        }
    }
}

/// A park for the pages of a service's channels.
#[must_use]
pub fn channel_park() -> &'static board_support_pv::grant::Park<tests_fakexen::page::SpecialPage> {
    park()
}

/// A module of the start info, whose page is the highest that begins with its magic. The first is the wiring record,
/// the second one the archive of provisioning files, where there is one.
pub(crate) fn module(world: &World, id: DomId, index: u32) -> Option<Vec<u8>> {
    let number = |at: u64, bytes: usize| {
        let bytes = world.read(id, at, bytes);
        bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte))
    };
    let pages = (0..SERVICE_PAGES).rev().map(|page| page << 12);
    let mut start_info = pages.filter(|&page| number(page, 4) == u64::from(MAGIC));
    let start_info = start_info.next().expect("dom0 wrote the start info");
    if index as u64 >= number(start_info + 12, 4) {
        return None;
    }
    let module = number(start_info + 16, 8) + 32 * u64::from(index);
    Some(world.read(id, number(module, 8), number(module + 8, 8) as usize))
}

/// Starts tasks of a service, and ends it if one of them panics.
#[derive(Clone)]
pub struct Tasks {
    domain: Domain,
    spawner: Spawner<'static>,
    epitaph: Gfn,
    seen: Rc<Seen>,
}

impl Tasks {
    /// Ends the domain with these last words.
    fn end(&self, words: &str) {
        if let Some(page) = self.domain.page_at(self.epitaph) {
            let mut writer = epitaph::Writer::new(page.words());
            // What does not fit is left out.
            let _ = writer.write_str(words);
            writer.publish();
        }
        self.seen.last_words.borrow_mut().push((self.domain.id(), words.to_owned()));
        self.domain.world().crash(self.domain.id(), ShutdownReason::CRASH);
    }
}

impl Spawn for Tasks {
    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        init();
        let guarded = Guarded { tasks: self.clone(), work: Some(Box::pin(work)) };
        self.spawner.spawn(self.domain.id(), guarded);
    }
}

struct Guarded {
    tasks: Tasks,
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Future for Guarded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(cause) => match LAST.take() {
                Some(words) => {
                    self.tasks.end(&words);
                    // What it holds has no effect any more.
                    self.work = None;
                    Poll::Pending
                }
                None => resume_unwind(cause),
            },
        }
    }
}

thread_local! {
    /// The words of the last panic, if it was one of a service.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

fn init() {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let ours = |at: &Location<'_>| at.file().starts_with(SERVICES);
            let words = info.location().filter(|at| ours(at)).map(|_| info.to_string());
            if words.is_none() {
                usual(info);
            }
            LAST.set(words);
        }));
    });
}
