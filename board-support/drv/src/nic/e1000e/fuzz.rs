//! An entry for fuzzing: the bytes are what a card does. It panics when something of the driver's promises is
//! broken, and otherwise ends when the bytes do.

use alloc::rc::Rc;
use core::{cell::Cell, ops::Range, sync::atomic::Ordering::Relaxed};

use super::{Bus, E1000e, RX_DESCRIPTORS, Readable, Stopped, TX_DESCRIPTORS, Writable};
use crate::{
    nic::{MAX_FRAME, SHORTEST_FRAME},
    virtio::fuzz::{FIRST, Input, Pages, say},
};

/// Pages with buffers of each ring, counted from the first one, behind the two pages of the rings.
const RX_PAGES: Range<u64> = 2..2 + RX_DESCRIPTORS as u64 / 2;
const TX_PAGES: Range<u64> = RX_PAGES.end..RX_PAGES.end + TX_DESCRIPTORS as u64 / 2;

/// A card whose registers read as the bytes say, where that is of interest.
struct Card<'a> {
    input: Rc<Cell<&'a [u8]>>,
    pages: Pages,
}

impl Card<'_> {
    /// Each descriptor of a ring leads to the front of a buffer for frames of its direction. The card never
    /// writes the words with the address.
    fn check_ring(&self, ring: usize, buffers: &Range<u64>) {
        for descriptor in self.pages.0.borrow()[ring].words.chunks_exact(4) {
            let at = u64::from(descriptor[1].load(Relaxed)) << 32 | u64::from(descriptor[0].load(Relaxed));
            let page = (at >> 12).wrapping_sub(FIRST);
            assert!(
                at == 0 || buffers.contains(&page) && at.is_multiple_of(2048),
                "a buffer outside: {at:#x}"
            );
        }
    }
}

impl Bus for Card<'_> {
    fn read(&mut self, register: Readable) -> u32 {
        match register {
            Readable::Control => say(&self.input, 0),
            Readable::Status => say(&self.input, 0x8008_0083),
            Readable::AddressLow => say(&self.input, 0x1200_5452),
            Readable::AddressHigh => say(&self.input, 0x8000_5634),
            Readable::CrcErrors | Readable::ReceiveErrors | Readable::Missed => say(&self.input, 0),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        match register {
            Writable::ReceiveBaseHigh | Writable::TransmitBaseHigh => assert_eq!(value, 0, "a ring outside"),
            Writable::ReceiveBaseLow => assert_eq!(u64::from(value), FIRST << 12, "a ring outside"),
            Writable::TransmitBaseLow => assert_eq!(u64::from(value), (FIRST + 1) << 12, "a ring outside"),
            Writable::ReceiveLength => assert_eq!(value, 4096, "a ring beyond its page"),
            Writable::TransmitLength => assert_eq!(value, 2048, "a ring beyond its page"),
            Writable::ReceiveTail => {
                assert!(value < RX_DESCRIPTORS.into(), "a tail outside the ring");
                self.check_ring(0, &RX_PAGES);
            }
            Writable::TransmitTail => {
                assert!(value < TX_DESCRIPTORS.into(), "a tail outside the ring");
                self.check_ring(1, &TX_PAGES);
            }
            _ => {}
        }
    }
}

/// Drives a card: registers that read as the bytes say, and descriptors and buffers that they write.
///
/// # Panics
/// If the driver panics, hands out a frame of a length that none has, or tells the card of memory that is not
/// its own or not for frames.
pub fn card(bytes: &[u8]) {
    let input = Rc::new(Cell::new(bytes));
    let pages = Pages::default();
    let Ok(mut stopped) = Stopped::new(Card { input: input.clone(), pages: pages.clone() }, &pages) else {
        return;
    };
    assert_eq!(pages.0.borrow().len() as u64, TX_PAGES.end);
    // A card that does not start is tried again as long as it has something to say.
    while !input.get().is_empty() {
        stopped = match stopped.start() {
            Ok(card) => serve(card, &input, &pages),
            Err((_, stopped)) => stopped.again(),
        };
    }
}

/// Uses a card as the bytes say, until it is stopped or they end.
fn serve<'a>(
    mut card: E1000e<Card<'a>, Pages>,
    input: &Cell<&'a [u8]>,
    pages: &Pages,
) -> Stopped<Card<'a>, Pages> {
    let mut frame = [0; MAX_FRAME];
    loop {
        let mut rest = Input(input.get());
        let Some(step) = rest.byte() else {
            return card.stop();
        };
        input.set(rest.0);
        match step % 8 {
            0 => match card.receive(&mut frame) {
                Ok(Some(length)) => assert!((SHORTEST_FRAME..=MAX_FRAME).contains(&length)),
                Ok(None) => {}
                Err(_) => return card.stop(),
            },
            1 => drop(card.transmit(&frame[..usize::from(step) * 6 % (MAX_FRAME + 1)])),
            2 => card.flush(),
            3 => {
                card.acknowledge_receive();
                card.acknowledge_transmit();
                card.acknowledge_other();
            }
            4 => {
                let _ = card.read_link();
                let _ = card.read_statistics();
                card.want_room();
            }
            5 if step > 250 => return card.stop(),
            // The card writes the last two words of a descriptor, or into a buffer.
            _ => {
                let (Some(place), Some(value)) = (rest.byte(), rest.word()) else {
                    return card.stop();
                };
                input.set(rest.0);
                let page = usize::from(step >> 3) % 4;
                let word = if page < 2 { usize::from(place) * 4 + 2 } else { usize::from(place) };
                let word = word + usize::from(step % 8 == 7 && page < 2);
                pages.0.borrow()[page].words[word].store(value, Relaxed);
            }
        }
        let unsent = card.unsent();
        assert!(unsent < TX_DESCRIPTORS);
        assert_eq!(card.has_room(1), unsent < TX_DESCRIPTORS - 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_card_keeps_its_promises(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::card(&bytes);
        }
    }
}
