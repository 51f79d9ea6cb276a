//! A real thread that writes into the page whatever it likes, while an end works on it.
//!
//! What is asserted holds at every instant, whatever the two threads' speeds: no panic, nothing beyond the
//! ring's size, no end that goes on after a fault as if nothing had been, and slots that are torn between
//! words at worst.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;

use proto_ring::back::Back;
use proto_ring::channel::UP;
use proto_ring::frame::{FrameReader, MAX_PAYLOAD};
use proto_ring::front::Front;
use proto_ring::page::Word;
use proto_ring::stream::{Reader, Writer};
use proto_ring::{Index, PeerFault, WORDS_PER_PAGE, Words};

const SLOT: usize = 12;
const NR_ENTS: u32 = Front::<SLOT>::NR_ENTS;
const STEPS: u32 = if cfg!(miri) { 200 } else { 50_000 };
/// Where the slots begin, in words.
const SLOTS: usize = 16;

const REQ_PROD: Word = Word::at(0);
const RSP_PROD: Word = Word::at(8);

fn page() -> Arc<Words> {
    Arc::new([const { AtomicU32::new(0) }; WORDS_PER_PAGE])
}

/// xorshift: what the peer does next.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

/// Runs `work` while another thread does `harm` over and over.
fn beside(
    page: &Arc<Words>,
    mut harm: impl FnMut(&Words, &mut Random) + Send + 'static,
    work: impl FnOnce(),
) {
    let stop = Arc::new(AtomicBool::new(false));
    let (page, stopped) = (page.clone(), stop.clone());
    let peer = thread::spawn(move || {
        let mut random = Random(0x9e37_79b9);
        while !stopped.load(Relaxed) {
            harm(&page, &mut random);
            // Else a machine with few processors gives each of the two a long time alone.
            thread::yield_now();
        }
    });
    work();
    stop.store(true, Relaxed);
    peer.join().unwrap();
}

/// An index word moves a little, mostly forward, or anywhere.
fn shake(words: &Words, random: &mut Random, word: Word) {
    let now = word.load(words);
    word.store(
        words,
        match random.next() % 16 {
            0 => random.next(),
            1 => now.wrapping_sub(1),
            2 => now.wrapping_add(NR_ENTS + 1),
            _ => now.wrapping_add(random.next() % 3),
        },
    );
}

#[test]
fn back_keeps_its_bounds_under_a_front_that_writes_anything() {
    let page = page();
    let start = Index::new(u32::MAX - 50);
    REQ_PROD.store(&page, start.raw());
    let harm = |words: &Words, random: &mut Random| {
        shake(words, random, REQ_PROD);
        words[SLOTS + random.next() as usize % 768].store(random.next(), Relaxed);
    };
    let (mut taken, mut faults) = (0_u32, 0_u32);
    beside(&page, harm, || {
        let mut back = Back::<SLOT>::starting_at(start);
        let mut random = Random(7);
        for step in 0..STEPS {
            // The other thread may not run for a while, and both kinds of ends are to be seen.
            if step % 5 == 0 {
                shake(&page, &mut random, REQ_PROD);
            }
            let fault = match back.take(&page, &mut [0; SLOT]) {
                Ok(found) => {
                    taken += u32::from(found);
                    None
                }
                Err(fault) => Some(fault),
            };
            match fault {
                None => {}
                Some(PeerFault::ProducerOutOfRange { pending, room }) => {
                    assert!(pending > room && room <= NR_ENTS)
                }
                Some(PeerFault::ProducerMovedBack { pending, seen }) => {
                    assert!(pending < seen && seen <= NR_ENTS)
                }
                Some(fault) => panic!("{fault}"),
            }
            if fault.is_some() {
                // As when the device was closed and a new frontend came.
                faults += 1;
                back = Back::starting_at(Index::new(REQ_PROD.load(&page)));
            }
            assert!(back.in_flight() <= NR_ENTS);
            if step % 3 == 0 && back.in_flight() > 0 {
                back.put(&page, &[1; SLOT]);
                let _ = back.push(&page);
            }
        }
    });
    assert!(taken > 0 && faults > 0, "taken {taken}, faults {faults}");
}

#[test]
fn front_takes_no_more_answers_than_it_asked() {
    let page = page();
    let start = Index::new(u32::MAX - 50);
    RSP_PROD.store(&page, start.raw());
    let harm = |words: &Words, random: &mut Random| shake(words, random, RSP_PROD);
    beside(&page, harm, || {
        let mut front = Front::<SLOT>::starting_at(start);
        let (mut asked, mut answered) = (0_u32, 0_u32);
        for step in 0..STEPS {
            if front.put(&page, &[2; SLOT]).is_ok() {
                asked += 1;
            }
            if step % 4 == 0 {
                let _ = front.push(&page);
            }
            if let Ok(Some(at)) = front.take(&page, &mut [0; SLOT]) {
                assert_eq!(at, start.plus(answered), "answers come slot by slot");
                answered += 1;
            }
            assert!(answered <= asked && front.free() == NR_ENTS - (asked - answered));
        }
    });
}

/// The peer rewrites a slot while it is copied: each word of the copy is one that it wrote, and the copy does
/// not change afterwards.
#[test]
fn slots_are_torn_between_words_at_worst() {
    let page = page();
    let value = |random: &mut Random| (random.next() % 0xffff) * 0x1_0001;
    let harm = move |words: &Words, random: &mut Random| {
        let slot = SLOTS + random.next() as usize % NR_ENTS as usize * SLOT / 4;
        let value = value(random);
        words[slot..slot + SLOT / 4].iter().for_each(|word| word.store(value, Relaxed));
    };
    beside(&page, harm, || {
        let mut back = Back::<SLOT>::new();
        for request in 1..=STEPS {
            REQ_PROD.publish(&page, request);
            let mut slot = [0; SLOT];
            assert_eq!(back.take(&page, &mut slot), Ok(true));
            for word in slot.as_chunks::<4>().0 {
                let word = u32::from_ne_bytes(*word);
                assert_eq!(word >> 16, word & 0xffff, "a word is torn");
            }
            back.put(&page, &slot);
            let _ = back.push(&page);
        }
    });
}

#[test]
fn stream_keeps_its_bounds_under_a_peer_that_writes_anything() {
    let page = page();
    let start = Index::new(u32::MAX - 700);
    for word in [UP.prod, UP.cons] {
        word.store(&page, start.raw());
    }
    let harm = |words: &Words, random: &mut Random| {
        shake(words, random, UP.prod);
        shake(words, random, UP.cons);
        words[512 + random.next() as usize % 512].store(random.next(), Relaxed);
    };
    beside(&page, harm, || {
        let mut buffer = [0; 4096];
        let mut reader = Reader::starting_at(UP, start);
        let mut writer = Writer::starting_at(UP, start);
        for step in 0..STEPS / 4 {
            let count = 1 + (step as usize * 37) % 3000;
            assert!(reader.take(&page, &mut buffer[..count]).unwrap_or(0) <= count.min(2048));
            let _ = reader.release(&page);
            assert!(writer.stage(&page, &buffer[..count]).unwrap_or(0) <= count.min(2048));
            let _ = writer.publish(&page);
            assert!(writer.outstanding() <= 2048);
            if step % 64 == 0 {
                (reader, writer) = match (Reader::attach(UP, &page), Writer::attach(UP, &page)) {
                    (Ok(reader), Ok(writer)) => (reader, writer),
                    _ => (Reader::starting_at(UP, start), Writer::starting_at(UP, start)),
                };
            }
        }
    });
}

/// A length that the peer rewrites under our hands is taken once.
#[test]
fn frames_have_the_length_that_was_read_first() {
    let page = page();
    let harm = |words: &Words, random: &mut Random| {
        shake(words, random, UP.prod);
        words[512 + random.next() as usize % 512].store(random.next() % 0x400 * 0x1_0001, Relaxed);
    };
    beside(&page, harm, || {
        let mut frames = FrameReader::new(Reader::new(UP));
        let mut buffer = [0; MAX_PAYLOAD];
        for _ in 0..STEPS / 4 {
            match frames.receive(&page, &mut buffer) {
                Ok(Some((length, _))) => assert!(length <= MAX_PAYLOAD),
                Ok(None) => {}
                Err(_) => frames = FrameReader::new(Reader::starting_at(UP, Index::new(UP.prod.load(&page)))),
            }
        }
    });
}
