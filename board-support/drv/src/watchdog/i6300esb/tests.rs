use core::cell::{Cell, RefCell};

use super::*;

/// The chip: it takes nothing that was not unlocked.
#[derive(Default)]
struct Chip {
    unlocked: Cell<u8>,
    preload: RefCell<[u32; 2]>,
    reloads: Cell<u32>,
    timeout: Cell<bool>,
    lock: Cell<u8>,
    configuration: Cell<u16>,
    stuck: bool,
}

impl Chip {
    fn is_unlocked(&self) -> bool {
        self.unlocked.replace(0) == 2
    }
}

impl Registers for &Chip {
    fn write_config16(&self, offset: u16, value: u16) {
        assert_eq!(offset, 0x60);
        self.configuration.set(value);
    }

    fn write_config8(&self, offset: u16, value: u8) {
        assert_eq!(offset, 0x68);
        if !self.stuck {
            self.lock.set(value);
        }
    }

    fn read_config8(&self, _: u16) -> u8 {
        self.lock.get()
    }

    fn write32(&self, offset: u16, value: u32) {
        if self.is_unlocked() {
            self.preload.borrow_mut()[usize::from(offset / 4)] = value & 0xf_ffff;
        }
    }

    fn write16(&self, offset: u16, value: u16) {
        assert_eq!(offset, 0xc);
        match (value, self.unlocked.get()) {
            (0x80, _) => self.unlocked.set(1),
            (0x86, 1) => self.unlocked.set(2),
            _ if self.is_unlocked() => {
                self.reloads.set(self.reloads.get() + u32::from(value & 0x100 != 0));
                self.timeout.set(self.timeout.get() && value & 0x200 == 0);
            }
            _ => {}
        }
    }

    fn read16(&self, _: u16) -> u16 {
        // As emulators have it: two bits tell the same.
        if self.timeout.get() { 0x1200 } else { 0 }
    }
}

#[test]
fn it_is_armed_for_two_times_and_fed() {
    let chip = Chip { timeout: Cell::new(true), ..Chip::default() };
    let watchdog = I6300esb::new(&chip);
    assert!(watchdog.read_evidence());
    let patience = watchdog.arm(Duration::from_secs(10)).unwrap();
    assert!((10_000..10_002).contains(&patience.as_millis()), "{patience:?}");
    assert_eq!(*chip.preload.borrow(), [5036, 5036]);
    assert_eq!((chip.lock.get(), chip.configuration.get()), (2, 3));
    assert!(!watchdog.read_evidence(), "arming clears it");
    let before = chip.reloads.get();
    watchdog.feed();
    assert_eq!(chip.reloads.get(), before + 1);
    watchdog.halt();
    assert_eq!(chip.lock.get(), 0);
}

#[test]
fn patience_has_limits() {
    let chip = Chip::default();
    let watchdog = I6300esb::new(&chip);
    watchdog.arm(Duration::ZERO).unwrap();
    assert_eq!(*chip.preload.borrow(), [1, 1]);
    watchdog.arm(Duration::MAX).unwrap();
    assert_eq!(*chip.preload.borrow(), [0xf_ffff; 2]);
}

#[test]
fn one_that_is_not_enabled_is_of_no_use() {
    for (lock, stuck) in [(0, true), (0xff, true)] {
        let chip = Chip { lock: Cell::new(lock), stuck, ..Chip::default() };
        let error = I6300esb::new(&chip).arm(Duration::from_secs(1)).unwrap_err();
        assert_eq!(error, Disabled { lock });
    }
}
