//! Devices that do anything.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use board_support_drv::dma::DevicePages;
use board_support_drv::nic::e1000e::{self, Bus, Readable, Writable};
use board_support_drv::nic::{self, MAX_FRAME};
use board_support_hyp::Shared;
use proto_xen::Dfn;

use super::input::Input;

/// A queue of some size, steps, and words for the device to write.
pub(super) fn schedules() -> Vec<Vec<u8>> {
    let turns: Vec<u8> = (0..200).map(|turn| [0, 0, 1, 2, 3, 1, 0, 0][turn % 8]).collect();
    vec![[&[128], turns.as_slice()].concat(), (0..=255).collect(), vec![3; 64]]
}

/// Frame of the first page of the card.
const FIRST: u64 = 0x8_0000;
/// The rings, and two buffers in each further page.
const RINGS: u64 = 2;

type Words = [AtomicU32; 1024];

/// A page that driver and card share.
struct Page {
    words: Rc<Words>,
    at: Dfn,
}

impl Shared for Page {
    fn words(&self) -> &Words {
        &self.words
    }
}

/// Pages for a card, kept to write into them as the card.
#[derive(Clone, Default)]
struct Pages(Rc<RefCell<Vec<Rc<Words>>>>);

impl DevicePages for Pages {
    type Page = Page;

    fn allocate(&self) -> Option<Page> {
        let mut pages = self.0.borrow_mut();
        let words: Rc<Words> = Rc::new([const { AtomicU32::new(0) }; 1024]);
        let at = Dfn(FIRST + pages.len() as u64);
        pages.push(words.clone());
        Some(Page { words, at })
    }

    fn dfn(&self, page: &Page) -> Dfn {
        page.at
    }
}

/// An e1000e whose registers read as the bytes say.
struct Card<'a> {
    input: Rc<RefCell<Input<'a>>>,
    pages: Pages,
}

impl Card<'_> {
    fn say(&self, otherwise: u32) -> u32 {
        let mut input = self.input.borrow_mut();
        if input.byte().is_multiple_of(8) { otherwise } else { input.word() }
    }
}

impl Bus for Card<'_> {
    fn read(&mut self, register: Readable) -> u32 {
        match register {
            Readable::Control => self.say(0),
            Readable::Status => self.say(0x83),
            Readable::AddressLow => self.say(0x1200_5452),
            Readable::AddressHigh => self.say(0x8000_5634),
            Readable::CrcErrors | Readable::ReceiveErrors | Readable::Missed => self.say(1),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let pages = self.pages.0.borrow().len() as u64;
        match register {
            Writable::ReceiveBaseLow | Writable::TransmitBaseLow => {
                assert!((FIRST..FIRST + RINGS).contains(&u64::from(value >> 12)), "a ring outside");
            }
            Writable::ReceiveBaseHigh | Writable::TransmitBaseHigh => assert_eq!(value, 0, "a ring outside"),
            Writable::ReceiveTail | Writable::TransmitTail => {
                // Whatever the card is shown leads to one of the buffers, or nowhere yet. The card itself
                // writes into the ring as it likes, but the driver never reads an address from there.
                assert!(value < 256 && pages > RINGS);
            }
            _ => {}
        }
    }
}

/// A whole card: registers that read as the bytes say, and pages that they write into. It hands out no frame
/// beyond the buffer, and after a fault it starts again from a reset.
pub(super) fn e1000e(bytes: &[u8]) {
    let input = Rc::new(RefCell::new(Input::new(bytes)));
    let pages = Pages::default();
    let card = Card { input: input.clone(), pages: pages.clone() };
    let Ok(stopped) = e1000e::Stopped::new(card, &pages) else { panic!("there are pages enough") };
    let Ok(mut card) = stopped.start() else { return };
    let mut frame = [0; MAX_FRAME];
    while !input.borrow().is_empty() {
        let step = input.borrow_mut().byte();
        let failed = match step % 8 {
            0 => match card.receive(&mut frame) {
                Ok(length) => {
                    assert!(length.is_none_or(|length| length <= MAX_FRAME));
                    false
                }
                Err(_) => true,
            },
            1 => {
                let length = usize::from(step) * 6 % (MAX_FRAME + 1);
                let room = card.has_room(1);
                let sent = card.transmit(&frame[..length]);
                assert!(!room || sent.is_ok() || length < nic::SHORTEST_FRAME, "there was room");
                false
            }
            2 => {
                card.flush();
                false
            }
            3 => {
                card.acknowledge_receive();
                card.want_room();
                false
            }
            4 => card.read_link().is_err(),
            _ => {
                // A ring, where the card writes best, or somewhere in the first buffers.
                let mut input = input.borrow_mut();
                let page = usize::from(step >> 3) % 3;
                let at = usize::from(input.half()) % 1024;
                pages.0.borrow()[page][at].store(input.word(), Relaxed);
                false
            }
        };
        if failed {
            match card.stop().start() {
                Ok(again) => card = again,
                Err(_) => return,
            }
        }
    }
}

/// A card that starts, receives and sends; one that lies about a length, and one that is gone.
pub(super) fn e1000e_schedules() -> Vec<Vec<u8>> {
    let start = [0_u8; 4];
    // Word 2 and 3 of the first descriptor: 60 bytes, done and whole.
    let received = [5, 2, 0, 60, 0, 0, 0, 5, 3, 0, 3, 0, 0, 0, 0];
    let too_long = [5, 2, 0, 0xff, 0xff, 0, 0, 5, 3, 0, 3, 0, 0, 0, 0, 0];
    let sent = [0x51, 2, 0x0d, 3, 0, 1, 0, 0, 0, 0x51, 2, 3];
    let gone = [4, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 4];
    vec![
        [start.as_slice(), &received, &sent].concat(),
        [start.as_slice(), &too_long, &start, &received].concat(),
        [start.as_slice(), &gone, &sent.repeat(20)].concat(),
    ]
}
