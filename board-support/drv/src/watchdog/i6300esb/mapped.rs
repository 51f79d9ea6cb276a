//! The registers where they are mapped: configuration space by ECAM, and BAR 0.

use core::sync::atomic::AtomicU32;

use super::{ID, Registers, offset};

/// Words of a function's configuration space, as far as it is used.
const CONFIG_WORDS: usize = 64;
/// Words of BAR 0.
const BAR_WORDS: usize = 4;
/// Offset of the command register; memory decode is the second bit.
const COMMAND: u16 = 0x04;
const MEMORY: u16 = 1 << 1;
/// Word of BAR 0.
const BAR0: usize = 4;

/// The watchdog's registers.
#[derive(Debug)]
pub struct Mapped {
    config: &'static [AtomicU32],
    bar: &'static [AtomicU32],
}

impl Mapped {
    /// Where BAR 0 is, if `config`, a function's configuration space, is this watchdog's and has an address.
    pub fn bar(config: &[AtomicU32]) -> Option<u64> {
        let word = |at: usize| config.get(at).map(|word| word.load(core::sync::atomic::Ordering::Relaxed));
        let bar = word(BAR0)?;
        // Memory below 4 GiB, at an address that somebody gave it.
        let usable = word(0)? == ID && bar & 0b111 == 0 && bar & !0xf != 0 && bar != u32::MAX;
        usable.then_some(u64::from(bar & !0xf))
    }

    /// Takes both, and has it decode its registers. `None` if they are too short.
    pub fn new(config: &'static [AtomicU32], bar: &'static [AtomicU32]) -> Option<Self> {
        let mapped = Self { config: config.get(..CONFIG_WORDS)?, bar: bar.get(..BAR_WORDS)? };
        let command = mapped.read(mapped.config, COMMAND);
        mapped.write_config16(COMMAND, command | MEMORY);
        Some(mapped)
    }

    fn read(&self, words: &'static [AtomicU32], at: u16) -> u16 {
        let Some(pointer) = place(words, at, 2) else { return u16::MAX };
        // SAFETY:
        // 1. `place` gives two bytes within the words, aligned, which are mapped for ever.
        // 2. They are a device's, which no reference of ours reads or writes but by whole atomics.
        unsafe { pointer.cast::<u16>().read_volatile() }
    }

    fn write(&self, words: &'static [AtomicU32], at: u16, value: u16) {
        let Some(pointer) = place(words, at, 2) else { return };
        // SAFETY: as for reading; the words allow changes through a shared reference.
        unsafe { pointer.cast::<u16>().write_volatile(value) }
    }
}

/// Where `bytes` bytes are, if they are within the words and aligned.
fn place(words: &'static [AtomicU32], at: u16, bytes: usize) -> Option<*mut u8> {
    let at = usize::from(at);
    let word = words.get(at / 4).filter(|_| at.is_multiple_of(bytes))?;
    Some(word.as_ptr().cast::<u8>().wrapping_add(at % 4))
}

impl Registers for Mapped {
    fn write_config16(&self, offset: u16, value: u16) {
        self.write(self.config, offset, value);
    }

    fn write_config8(&self, offset: u16, value: u8) {
        let Some(pointer) = place(self.config, offset, 1) else { return };
        // SAFETY:
        // 1. `place` gives a byte within the words, which are mapped for ever.
        // 2. As in `read`.
        unsafe { pointer.write_volatile(value) }
    }

    fn read_config8(&self, offset: u16) -> u8 {
        let Some(pointer) = place(self.config, offset, 1) else { return u8::MAX };
        // SAFETY: as for writing.
        unsafe { pointer.read_volatile() }
    }

    fn write32(&self, offset: u16, value: u32) {
        if let Some(word) = self.bar.get(usize::from(offset / 4)) {
            word.store(value, core::sync::atomic::Ordering::Relaxed);
        }
    }

    fn write16(&self, offset: u16, value: u16) {
        self.write(self.bar, offset, value);
    }

    fn read16(&self, offset: u16) -> u16 {
        self.read(self.bar, offset)
    }
}

const _: () = assert!((offset::RELOAD as usize) < BAR_WORDS * 4);

#[cfg(test)]
mod tests {
    use std::{boxed::Box, vec::Vec};

    use core::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn words(count: usize) -> &'static [AtomicU32] {
        Box::leak((0..count).map(|_| AtomicU32::new(0)).collect::<Vec<_>>().into_boxed_slice())
    }

    #[test]
    fn a_function_is_known_by_its_number_and_an_address() {
        let config = words(64);
        assert_eq!(Mapped::bar(config), None);
        config[0].store(ID, Relaxed);
        assert_eq!(Mapped::bar(config), None, "nobody gave it an address");
        config[4].store(0xfebf_1000, Relaxed);
        assert_eq!(Mapped::bar(config), Some(0xfebf_1000));
        config[4].store(0xc001, Relaxed);
        assert_eq!(Mapped::bar(config), None, "ports");
        config[4].store(u32::MAX, Relaxed);
        assert_eq!(Mapped::bar(config), None);
        assert_eq!(Mapped::bar(&config[..2]), None);
    }

    #[test]
    fn accesses_have_their_width_and_stay_within() {
        let (config, bar) = (words(64), words(4));
        assert!(Mapped::new(&config[..63], bar).is_none() && Mapped::new(config, &bar[..3]).is_none());
        config[1].store(0x0010_0104, Relaxed);
        config[0x1a].store(0x1122_3344, Relaxed);
        let mapped = Mapped::new(config, bar).unwrap();
        assert_eq!(config[1].load(Relaxed), 0x0010_0106, "memory decode, and the rest as it was");
        mapped.write_config8(0x69, 0x55);
        assert_eq!((config[0x1a].load(Relaxed), mapped.read_config8(0x69)), (0x1122_5544, 0x55));
        mapped.write16(0x0c, 0x86);
        mapped.write16(0x0e, 0x77);
        mapped.write32(4, 9);
        assert_eq!((bar[3].load(Relaxed), bar[1].load(Relaxed)), (0x0077_0086, 9));
        assert_eq!(mapped.read16(0x0c), 0x86);
        mapped.write16(0x10, 1);
        assert_eq!(mapped.read16(0x10), u16::MAX, "there is nothing");
    }
}
