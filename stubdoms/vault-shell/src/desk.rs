//! Where requests of the channels wait for the worker, and answers for the channels.

use alloc::boxed::Box;
use core::cell::{Cell, RefCell};

use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_svc::{measure, sealing, vault};
use stubdoms_vault_core::turns::Turns;

/// Whose request.
#[derive(Clone, Copy)]
pub(crate) enum Asker {
    Dom0,
    Storage,
    Control,
}

/// How many askers there are.
const ASKERS: usize = 3;

/// What is asked.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
pub(crate) enum Request {
    Measure(measure::ToVault),
    Storage(sealing::ToVault),
    /// The storage has ended.
    StorageGone,
    Control(vault::Request),
}

/// What it is answered.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
pub(crate) enum Answer {
    Measure(Option<measure::FromVault>),
    /// What is to be said to the storage waits in [`Desk::mail`].
    Storage,
    Control(vault::Answer),
}

type Flag = Signal<NoopRawMutex, ()>;

/// What the tasks share.
pub(crate) struct Desk {
    turns: RefCell<Turns<(u32, Request), ASKERS>>,
    /// Requests are numbered, so that nobody takes the answer to one that was given up.
    number: Cell<u32>,
    answers: [Signal<NoopRawMutex, (u32, Answer)>; ASKERS],
    /// There is a request.
    pub(crate) work: Flag,
    /// What the vault has to say to the storage.
    pub(crate) mail: Signal<NoopRawMutex, ()>,
    pub(crate) letters: RefCell<heapless::Deque<sealing::FromVault, 4>>,
    /// control is to be told that something has changed.
    pub(crate) changed: Flag,
}

impl Desk {
    /// One for as long as the domain lives.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            turns: RefCell::default(),
            number: Cell::new(0),
            answers: [const { Signal::new() }; ASKERS],
            work: Flag::new(),
            mail: Signal::new(),
            letters: RefCell::default(),
            changed: Flag::new(),
        }))
    }

    /// Asks, and waits for the answer. Dropping it gives the answer up; the request may be worked on all the same.
    pub(crate) async fn ask(&self, asker: Asker, request: Request) -> Answer {
        let channel = asker as usize;
        let number = self.number.get().wrapping_add(1);
        self.number.set(number);
        // What a life before has asked and not heard is nobody's any more.
        self.turns.borrow_mut().put(channel, (number, request));
        self.work.signal(());
        loop {
            let (answered, answer) = self.answers[channel].wait().await;
            if answered == number {
                return answer;
            }
        }
    }

    /// The next request, whose turn it is.
    pub(crate) fn take(&self) -> Option<(usize, u32, Request)> {
        self.turns.borrow_mut().take().map(|(channel, (number, request))| (channel, number, request))
    }

    /// Answers one.
    pub(crate) fn answer(&self, channel: usize, number: u32, answer: Answer) {
        self.answers[channel].signal((number, answer));
    }

    /// Puts something into the storage's mail; the oldest goes when there is too much.
    pub(crate) fn post(&self, letter: sealing::FromVault) {
        let mut letters = self.letters.borrow_mut();
        if letters.is_full() {
            letters.pop_front();
        }
        // There is room.
        let _ = letters.push_back(letter);
        self.mail.signal(());
    }
}
