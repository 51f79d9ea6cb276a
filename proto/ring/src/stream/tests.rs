use super::*;
use crate::channel::{DOWN, UP};
use crate::page::test_page;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

const NEAR_THE_WRAP: u32 = u32::MAX - 300;
/// Miri takes a thousand times as long, and looks at each access for itself.
const ROUNDS: usize = if cfg!(miri) { 40 } else { 2000 };
const STEPS: usize = if cfg!(miri) { 12 } else { 200 };

/// Both ends of one direction, standing at `start`.
fn both_ends(at: Direction, start: u32) -> (Box<Words>, Writer, Reader) {
    let page = test_page();
    let start = Index::new(start);
    at.prod.store(&page, start.raw());
    at.cons.store(&page, start.raw());
    if let Some(events) = at.events {
        events.data.store(&page, start.plus(1).raw());
    }
    (page, Writer::starting_at(at, start), Reader::starting_at(at, start))
}

#[test]
fn bytes_arrive_in_order_across_the_wrap() {
    for start in [0, NEAR_THE_WRAP, u32::MAX] {
        let (page, mut writer, mut reader) = both_ends(UP, start);
        let mut next_out = 0_u8;
        let mut next_in = 0_u8;
        for round in 0..ROUNDS {
            let bytes: Vec<u8> = (0..round % 97).map(|n| next_out.wrapping_add(n as u8)).collect();
            let count = writer.stage(&page, &bytes).unwrap();
            next_out = next_out.wrapping_add(count as u8);
            let _ = writer.publish(&page);
            let mut got = [0; 80];
            let count = reader.take(&page, &mut got[..round % 80]).unwrap();
            for &byte in &got[..count] {
                assert_eq!(byte, next_in);
                next_in = next_in.wrapping_add(1);
            }
            let _ = reader.release(&page);
        }
        assert_ne!(next_in, 0);
    }
}

#[test]
fn staged_bytes_are_invisible_until_published() {
    let (page, mut writer, mut reader) = both_ends(UP, NEAR_THE_WRAP);
    assert_eq!(writer.stage(&page, b"hello"), Ok(5));
    assert_eq!(reader.available(&page), Ok(0));
    assert_eq!(writer.publish(&page), Notify::Yes);
    assert_eq!(reader.available(&page), Ok(5));
    assert_eq!(writer.publish(&page), Notify::No);
}

#[test]
fn taken_bytes_keep_their_room_until_released() {
    let (page, mut writer, mut reader) = both_ends(DOWN, NEAR_THE_WRAP);
    assert_eq!(writer.stage(&page, &[7; 2000]), Ok(1024));
    let _ = writer.publish(&page);
    assert_eq!(reader.take(&page, &mut [0; 100]), Ok(100));
    assert_eq!(writer.room(&page), Ok(0));
    assert_eq!(reader.release(&page), Notify::No);
    assert_eq!(writer.room(&page), Ok(100));
}

#[test]
fn reader_is_told_only_when_it_asked() {
    let (page, mut writer, mut reader) = both_ends(UP, NEAR_THE_WRAP);
    writer.stage(&page, b"a").unwrap();
    assert_eq!(writer.publish(&page), Notify::Yes);
    writer.stage(&page, b"b").unwrap();
    assert_eq!(writer.publish(&page), Notify::No);
    reader.take(&page, &mut [0; 2]).unwrap();
    assert_eq!(reader.await_data(&page, 3), Ok(false));
    writer.stage(&page, b"cd").unwrap();
    assert_eq!(writer.publish(&page), Notify::No);
    writer.stage(&page, b"e").unwrap();
    assert_eq!(writer.publish(&page), Notify::Yes);
    assert_eq!(reader.await_data(&page, 3), Ok(true));
}

#[test]
fn writer_is_told_only_when_there_is_enough_room() {
    let (page, mut writer, mut reader) = both_ends(DOWN, NEAR_THE_WRAP);
    writer.stage(&page, &[0; 1024]).unwrap();
    let _ = writer.publish(&page);
    assert_eq!(writer.await_room(&page, 200), Ok(false));
    reader.take(&page, &mut [0; 199]).unwrap();
    assert_eq!(reader.release(&page), Notify::No);
    reader.take(&page, &mut [0; 1]).unwrap();
    assert_eq!(reader.release(&page), Notify::Yes);
    assert_eq!(writer.await_room(&page, 200), Ok(true));
    // More than the window has is the whole window, so the wait ends.
    assert_eq!(writer.await_room(&page, 5000), Ok(false));
    reader.take(&page, &mut [0; 1024]).unwrap();
    assert_eq!(reader.release(&page), Notify::Yes);
    assert_eq!(writer.await_room(&page, 5000), Ok(true));
}

#[test]
fn bytes_rewritten_after_they_were_copied_stay_as_copied() {
    let (page, mut writer, mut reader) = both_ends(UP, 0);
    writer.stage(&page, b"good").unwrap();
    let _ = writer.publish(&page);
    let mut got = [0; 4];
    reader.take(&page, &mut got).unwrap();
    UP.window.copy_in(&page, Index::new(0), b"evil");
    assert_eq!(&got, b"good");
}

#[test]
fn attached_ends_go_on_where_the_last_ones_stopped() {
    let (page, mut writer, mut reader) = both_ends(UP, NEAR_THE_WRAP);
    writer.stage(&page, b"abc").unwrap();
    let _ = writer.publish(&page);
    reader.take(&page, &mut [0; 1]).unwrap();
    let _ = reader.release(&page);
    let mut writer = Writer::attach(UP, &page).unwrap();
    let mut reader = Reader::attach(UP, &page).unwrap();
    writer.stage(&page, b"d").unwrap();
    let _ = writer.publish(&page);
    let mut got = [0; 8];
    assert_eq!(reader.take(&page, &mut got), Ok(3));
    assert_eq!(&got[..3], b"bcd");
}

#[test]
fn attaching_to_nonsense_is_a_peer_fault() {
    let page = test_page();
    UP.prod.store(&page, 5000);
    assert!(matches!(Writer::attach(UP, &page), Err(PeerFault::ConsumerOutOfRange { .. })));
    assert!(matches!(Reader::attach(UP, &page), Err(PeerFault::ProducerOutOfRange { .. })));
}

/// Each row: producer index that the hostile writer shows after an honest 10, of which 4 were taken.
#[test]
fn hostile_writer() {
    let rows = [
        (2048 + 4 + 1, PeerFault::ProducerOutOfRange { pending: 2049, room: 2048 }),
        (9, PeerFault::ProducerMovedBack { pending: 5, seen: 6 }),
        (4, PeerFault::ProducerMovedBack { pending: 0, seen: 6 }),
        (3, PeerFault::ProducerOutOfRange { pending: u32::MAX, room: 2048 }),
        (0x8000_0000, PeerFault::ProducerOutOfRange { pending: 0x8000_0000 - 4, room: 2048 }),
    ];
    for start in [0, NEAR_THE_WRAP, u32::MAX - 5] {
        for (shown, fault) in rows {
            let (page, mut writer, mut reader) = both_ends(UP, start);
            writer.stage(&page, &[1; 10]).unwrap();
            let _ = writer.publish(&page);
            reader.take(&page, &mut [0; 4]).unwrap();
            let _ = reader.release(&page);
            UP.prod.store(&page, start.wrapping_add(shown));
            assert_eq!(reader.available(&page), Err(fault), "start {start} shown {shown}");
            assert_eq!(reader.take(&page, &mut [0; 4]), Err(fault));
            assert_eq!(reader.await_data(&page, 1), Err(fault));
        }
    }
}

/// Each row: consumer index that the hostile reader shows after an honest 4 of 10.
#[test]
fn hostile_reader() {
    let rows = [
        (11, PeerFault::ConsumerOutOfRange { taken: 7, outstanding: 6 }),
        (3, PeerFault::ConsumerOutOfRange { taken: u32::MAX, outstanding: 6 }),
        (0x8000_0000, PeerFault::ConsumerOutOfRange { taken: 0x8000_0000 - 4, outstanding: 6 }),
    ];
    for start in [0, NEAR_THE_WRAP, u32::MAX - 5] {
        for (shown, fault) in rows {
            let (page, mut writer, _) = both_ends(UP, start);
            writer.stage(&page, &[1; 10]).unwrap();
            let _ = writer.publish(&page);
            UP.cons.store(&page, start.wrapping_add(4));
            assert_eq!(writer.room(&page), Ok(2048 - 6));
            UP.cons.store(&page, start.wrapping_add(shown));
            assert_eq!(writer.room(&page), Err(fault), "start {start} shown {shown}");
            assert_eq!(writer.stage(&page, b"x"), Err(fault));
            assert_eq!(writer.await_room(&page, 1), Err(fault));
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    /// The event to the reader is delivered once more although nobody sent it.
    SpuriousToReader,
    SpuriousToWriter,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..1500_usize).prop_map(Step::Write),
        (1..1500_usize).prop_map(Step::Read),
        Just(Step::SpuriousToReader),
        Just(Step::SpuriousToWriter),
    ]
}

proptest! {
    /// Whatever the schedule, an end that sleeps although the other made it possible to go on has an event
    /// under way: no wake-up is lost, and spurious ones do no harm.
    #[test]
    fn nobody_sleeps_for_ever(start in any::<u32>(), steps in prop::collection::vec(step(), 1..STEPS)) {
        let (page, mut writer, mut reader) = both_ends(DOWN, start);
        let mut expected = VecDeque::new();
        let mut next = 0_u8;
        // What each end waits for while it sleeps.
        let (mut writer_sleeps, mut reader_sleeps) = (None, None);
        for step in steps {
            match step {
                Step::Write(count) => {
                    if writer_sleeps.is_some() { continue }
                    let bytes: Vec<u8> = (0..count).map(|n| next.wrapping_add(n as u8)).collect();
                    let done = writer.stage(&page, &bytes).unwrap();
                    expected.extend(&bytes[..done]);
                    next = next.wrapping_add(done as u8);
                    if writer.publish(&page).wanted() { reader_sleeps = None; }
                    let rest = (count - done).min(1024) as u32;
                    if rest > 0 && !writer.await_room(&page, rest).unwrap() { writer_sleeps = Some(rest); }
                }
                Step::Read(count) => {
                    if reader_sleeps.is_some() { continue }
                    let mut got = std::vec![0; count];
                    let done = reader.take(&page, &mut got).unwrap();
                    for byte in &got[..done] { prop_assert_eq!(Some(*byte), expected.pop_front()); }
                    if reader.release(&page).wanted() { writer_sleeps = None; }
                    if done < count && !reader.await_data(&page, 1).unwrap() { reader_sleeps = Some(1); }
                }
                Step::SpuriousToReader => {
                    if let Some(need) = reader_sleeps
                        && reader.await_data(&page, need).unwrap() { reader_sleeps = None; }
                }
                Step::SpuriousToWriter => {
                    if let Some(need) = writer_sleeps
                        && writer.await_room(&page, need).unwrap() { writer_sleeps = None; }
                }
            }
            if let Some(need) = writer_sleeps { prop_assert!(writer.room(&page).unwrap() < need); }
            if let Some(need) = reader_sleeps { prop_assert!(reader.available(&page).unwrap() < need); }
        }
    }

    /// Random words in the page never make an end panic or take more than there is.
    #[test]
    fn random_indices_are_survived(values in prop::collection::vec((any::<u32>(), any::<u32>()), 1..20)) {
        let (page, mut writer, mut reader) = both_ends(DOWN, 0);
        for (prod, cons) in values {
            DOWN.prod.store(&page, prod);
            if let Ok(count) = reader.take(&page, &mut [0; 2000]) { prop_assert!(count <= 1024); }
            let _ = reader.release(&page);
            DOWN.cons.store(&page, cons);
            if let Ok(count) = writer.stage(&page, &[0; 2000]) { prop_assert!(count <= 1024); }
            let _ = writer.publish(&page);
        }
    }
}
