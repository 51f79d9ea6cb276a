//! What a PCI card says of itself.

use std::cell::RefCell;

use dom0_toolstack::pci::{ConfigSpace, Function, Places, find};
use proto_manifest::table::PciSelect;
use proto_xen::{Maddr, Sbdf};

use super::input::Input;

/// Where the card is.
const AT: Sbdf = Sbdf::new(0, 3, 0);
/// Below is memory.
const END_OF_MEMORY: u64 = 0xc000_0000;
const HEADER_BYTES: usize = 256;
const VENDOR: u16 = 0x8086;
const DEVICE: u16 = 0x10d3;

/// A card whose configuration space is some bytes, that answers all ones in its BARs with others, and that
/// has each word of the rest of the input added to what it answers next. Every bus has a bridge that leads
/// where the card wants.
struct Card<'a> {
    state: RefCell<State<'a>>,
    masks: [u32; 6],
}

struct State<'a> {
    words: [u32; HEADER_BYTES / 4],
    lies: Input<'a>,
}

impl<'a> Card<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut input = Input::new(bytes);
        let masks = core::array::from_fn(|_| input.word());
        let words = core::array::from_fn(|_| input.word());
        Self { state: RefCell::new(State { words, lies: input }), masks }
    }
}

impl ConfigSpace for Card<'_> {
    fn read32(&self, function: Sbdf, offset: u16) -> u32 {
        assert_eq!(offset % 4, 0, "an unaligned read");
        let State { words, lies } = &mut *self.state.borrow_mut();
        let word = words[usize::from(offset / 4)] ^ lies.word();
        match function.0 as u8 {
            0 if offset == 0x0c => 1 << 16,
            0 => word,
            _ if function.0 as u8 == AT.0 as u8 => word,
            _ => u32::MAX,
        }
    }

    fn write16(&self, _: Sbdf, offset: u16, value: u16) {
        assert_eq!(offset % 2, 0, "an unaligned write");
        let words = &mut self.state.borrow_mut().words;
        let (word, shift) = (&mut words[usize::from(offset / 4)], 8 * u32::from(offset % 4));
        *word = *word & !(0xffff << shift) | u32::from(value) << shift;
    }

    fn write32(&self, _: Sbdf, offset: u16, value: u32) {
        assert_eq!(offset % 4, 0, "an unaligned write");
        let bar = usize::from(offset / 4).checked_sub(4).and_then(|number| self.masks.get(number));
        let mask = bar.expect("only BARs are written");
        self.state.borrow_mut().words[usize::from(offset / 4)] =
            if value == u32::MAX { *mask } else { value };
    }

    fn can_be_registers(&self, at: Maddr, _: u64) -> bool {
        at.0 >= END_OF_MEMORY
    }

    fn read_register(&self, _: Maddr) -> u32 {
        u32::MAX
    }

    fn write_register(&self, _: Maddr, _: u32) {}
}

/// Whatever the card says, it is found or not, and what a domain would be given are whole pages of its BARs.
pub(super) fn card(bytes: &[u8]) {
    let card = Card::new(bytes);
    let select = PciSelect { vendor: VENDOR, device: DEVICE, class: None, skip: 1 };
    if let Some(found) = find(&card, &select) {
        assert!([0, AT.0 as u8].contains(&(found.0 as u8)), "{found:?} is nobody");
    }
    let function = Function::probe(&card, AT);
    for bar in function.bars.iter().flatten() {
        assert!(bar.size.is_power_of_two() && bar.size >= 16, "{bar:x?}");
        assert!(bar.address.is_multiple_of(bar.size) && bar.address >= END_OF_MEMORY, "{bar:x?}");
        assert!(bar.address + bar.size <= 1 << 52, "{bar:x?}");
    }
    for offset in function.express.into_iter().chain(function.msix.map(|msix| msix.control)) {
        assert!((0x40..=0xfe).contains(&offset), "a capability at {offset:#x}");
    }
    let table = function.msix.filter(|msix| function.table_base(msix).is_ok());
    for number in 0..6 {
        for part in function.open_parts(number) {
            let size = function.bar(number).map_or(0, |bar| bar.size);
            assert!(part.start < part.end && part.end <= size, "{part:x?} of BAR {number}");
            assert!(part.start % 4096 == 0 && part.end % 4096 == 0, "{part:x?} of BAR {number}");
            if let Some(msix) = table.filter(|msix| msix.table_bar == number) {
                let start = u64::from(msix.table_offset);
                let end = start + u64::from(msix.entries) * 16;
                assert!(part.end <= start || end <= part.start, "the MSI-X table is in {part:x?}");
            }
            if let Some(msix) = function.msix.filter(|msix| msix.pending_bar == number) {
                let start = u64::from(msix.pending_offset);
                let end = start + u64::from(msix.entries).div_ceil(64) * 8;
                assert!(part.end <= start || end <= part.start, "the pending bits are in {part:x?}");
            }
        }
    }
    for bars in [&[0][..], &[0, 2, 4], &[1, 3], &[5, 4, 3, 2, 1, 0]] {
        let Ok(windows) = function.windows(bars, &mut Places::default()) else { continue };
        let mut end = 0xe000_0000;
        for window in &windows {
            let bar = function.bar(window.bar).expect("it was looked at");
            assert!(window.gaddr.0 >= end, "{window:x?} overlaps another");
            assert!(window.length > 0 && window.gaddr.0 % 4096 == 0 && window.at.0 % 4096 == 0);
            assert_eq!(window.at.0, bar.address + window.offset);
            assert!(window.offset + window.length <= bar.size, "{window:x?}");
            end = window.gaddr.0 + window.length;
        }
        assert!(end <= 0xfec0_0000, "{windows:x?}");
    }
}

/// An 82574L, and a card with a 64-bit BAR; the second with a bridge to bus 1.
pub(super) fn cards() -> Vec<Vec<u8>> {
    let mut config = [0u8; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, &(u32::from(DEVICE) << 16 | u32::from(VENDOR)).to_le_bytes());
    put(0x06, &[0x10, 0]);
    put(0x10, &0xfeb8_0000u32.to_le_bytes());
    put(0x1c, &0xfebe_0000u32.to_le_bytes());
    put(0x34, &[0xe0]);
    put(0xe0, &[0x10, 0xa0]);
    put(0xa0, &[0x11, 0x00, 4, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
    let input = |masks: [u32; 6], config: &[u8]| {
        let masks: Vec<u8> = masks.iter().flat_map(|mask| mask.to_le_bytes()).collect();
        [&masks, config].concat()
    };
    let plain = input([0xfffe_0000, 0, 0, 0xffff_c000, 0, 0], &config);
    config[0x10..0x18].copy_from_slice(&0x10_0000_0004u64.to_le_bytes());
    config[0x19] = 1;
    vec![plain, input([0xfff0_0004, 0xffff_ffff, 0, 0xffff_c000, 0, 0], &config)]
}
