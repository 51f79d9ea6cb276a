//! The sequence of accesses, on a timer that counts as the datasheet says.

use core::cell::{Cell, RefCell};
use std::{format, string::String, vec::Vec};

use super::*;

/// The timer and GCS.
struct Fake {
    calls: RefCell<Vec<String>>,
    gcs: Cell<u32>,
    /// GCS is wired so that NO_REBOOT stays.
    stuck: bool,
    /// The block of the timer is not there; GCS is.
    absent: bool,
    ticks: Cell<u32>,
    left: Cell<u32>,
    rounds: Cell<u32>,
    halted: Cell<bool>,
    status: Cell<(u16, u16)>,
    message: Cell<u16>,
    resets: Cell<u32>,
}

impl Fake {
    fn new() -> Self {
        Self {
            calls: RefCell::default(),
            gcs: Cell::new(0x20),
            stuck: false,
            absent: false,
            ticks: Cell::new(4),
            left: Cell::new(4),
            rounds: Cell::new(0),
            halted: Cell::new(true),
            status: Cell::new((0, 0)),
            message: Cell::new(0),
            resets: Cell::new(0),
        }
    }

    /// Lets time pass; says whether the machine was reset.
    fn pass(&self, ms: u32) -> bool {
        let before = self.resets.get();
        for _ in 0..ms / TICK_MS {
            if self.halted.get() {
                break;
            }
            self.left.set(self.left.get().saturating_sub(1));
            if self.left.get() > 0 {
                continue;
            }
            self.left.set(self.ticks.get());
            self.rounds.set(self.rounds.get() + 1);
            let (one, two) = self.status.get();
            if self.rounds.get() == 1 {
                self.status.set((one | 8, two));
            } else {
                self.status.set((one, two | 2));
                self.rounds.set(0);
                if self.gcs.get() & NO_REBOOT == 0 {
                    self.resets.set(self.resets.get() + 1);
                }
            }
        }
        self.resets.get() > before
    }
}

impl Registers for &Fake {
    fn read(&self, offset: u16) -> u16 {
        match offset {
            _ if self.absent => u16::MAX,
            offset::STATUS1 => self.status.get().0,
            offset::STATUS2 => self.status.get().1,
            offset::TIMER => self.ticks.get() as u16,
            // The second message was somebody else's.
            offset::MESSAGE => 0x7700 | self.message.get(),
            offset => panic!("register {offset:#x} is read"),
        }
    }

    fn write(&self, offset: u16, value: u16) {
        self.calls.borrow_mut().push(format!("{offset:#x} <- {value:#x}"));
        let (one, two) = self.status.get();
        match offset {
            offset::RELOAD => {
                self.left.set(self.ticks.get());
                self.rounds.set(0);
            }
            offset::STATUS1 => self.status.set((one & !value, two)),
            offset::STATUS2 => self.status.set((one, two & !value)),
            offset::MESSAGE => self.message.set(value & 0xff),
            offset::CONTROL1 => self.halted.set(value & 0x800 != 0),
            offset::TIMER => {
                assert!(self.halted.get(), "the timer is set while it runs");
                self.ticks.set(u32::from(value) & 0x3ff);
            }
            offset => panic!("register {offset:#x} is written"),
        }
    }

    fn read_gcs(&self) -> u32 {
        self.gcs.get()
    }

    fn write_gcs(&self, value: u32) {
        self.calls.borrow_mut().push(format!("gcs <- {value:#x}"));
        self.gcs.set(if self.stuck { value | NO_REBOOT } else { value });
    }
}

const PATIENCE: Duration = Duration::from_secs(12);

#[test]
fn it_is_armed_in_this_order() {
    let fake = Fake::new();
    assert_eq!(Itco::new(&fake).arm(PATIENCE), Ok(PATIENCE));
    let calls = fake.calls.borrow();
    assert_eq!(
        *calls,
        ["0x8 <- 0x800", "0x4 <- 0x8", "0x6 <- 0x6", "gcs <- 0x0", "0x12 <- 0xa", "0x0 <- 0x1", "0x8 <- 0x0"]
    );
}

#[test]
fn one_that_is_fed_resets_nothing_and_one_that_is_not_does() {
    let fake = Fake::new();
    let watchdog = Itco::new(&fake);
    watchdog.arm(PATIENCE).unwrap();
    for _ in 0..100 {
        assert!(!fake.pass(11_400));
        watchdog.feed();
    }
    assert!(!fake.pass(11_400) && fake.pass(600));
    assert!(watchdog.read_evidence());
    // Who starts next arms it again, and the evidence is gone.
    watchdog.arm(PATIENCE).unwrap();
    assert!(!watchdog.read_evidence() && !fake.pass(11_400) && fake.pass(600));
}

#[test]
fn one_that_is_halted_resets_nothing_and_leaves_no_evidence() {
    let fake = Fake::new();
    let watchdog = Itco::new(&fake);
    watchdog.arm(PATIENCE).unwrap();
    fake.pass(7000);
    watchdog.halt();
    assert!(!fake.pass(100_000) && !watchdog.read_evidence());
    assert_eq!(fake.status.get(), (0, 0));
}

#[test]
fn one_that_may_not_reset_the_machine_is_of_no_use() {
    let fake = Fake { stuck: true, ..Fake::new() };
    assert_eq!(Itco::new(&fake).arm(PATIENCE), Err(Unusable::NoReboot { gcs: 0x20 }));
    assert!(fake.halted.get());
}

#[test]
fn patience_is_rounded_up_and_bounded() {
    for (patience, ticks) in [(0, 2), (1, 2), (2400, 2), (2401, 3), (12_000, 10), (10_000_000, 0x3ff)] {
        let fake = Fake::new();
        let got = Itco::new(&fake).arm(Duration::from_millis(patience)).unwrap();
        assert_eq!((fake.ticks.get(), got.as_millis()), (ticks, u128::from(2 * ticks * 600)), "{patience}");
    }
}

#[test]
fn a_block_that_is_not_there_is_of_no_use_and_gives_no_evidence() {
    let fake = Fake { absent: true, ..Fake::new() };
    assert!(!Itco::new(&fake).read_evidence());
    // The longest patience is as many ticks as such a block reads.
    for (seconds, ticks) in [(12, 10), (100_000, 0x3ff)] {
        let unusable = Unusable::Timer { written: ticks, read: u16::MAX };
        assert_eq!(Itco::new(&fake).arm(Duration::from_secs(seconds)), Err(unusable));
    }
}

#[test]
fn a_note_is_left_for_the_next_life() {
    use crate::watchdog::{Left, Note, Watchdog};
    let fake = Fake::new();
    let itco = Itco::new(&fake);
    let left = |note, starts| Some(Left { note, starts });
    assert_eq!(Watchdog::left(&itco), left(None, 0), "the power has just come");
    Watchdog::count_start(&itco);
    assert_eq!(Watchdog::left(&itco), left(None, 1));
    for note in [Note::Working, Note::Ordered] {
        Watchdog::leave(&itco, note);
        Itco::new(&fake).arm(PATIENCE).unwrap();
        assert_eq!(Watchdog::left(&itco), left(Some(note), 0));
        for starts in (1..=15).chain([15]) {
            Watchdog::count_start(&itco);
            assert_eq!(Watchdog::left(&itco), left(Some(note), starts));
        }
    }
    fake.message.set(0x31);
    assert_eq!(Watchdog::left(&itco), left(None, 1), "somebody else's note");
    fake.message.set(0xff);
    assert_eq!(Watchdog::left(&itco), None, "registers that are not there read as ones");
}
