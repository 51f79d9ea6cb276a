//! Front and back on one page in one process.

use super::*;
use crate::front::{Front, RingFull};
use crate::page::test_page;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::VecDeque;

const SLOT: usize = 12;
const NEAR_THE_WRAP: u32 = u32::MAX - 100;
/// Miri takes a thousand times as long, and looks at each access for itself.
const MANY: u32 = if cfg!(miri) { 40 } else { 2000 };
const STEPS: usize = if cfg!(miri) { 12 } else { 150 };

fn both_ends(start: u32) -> (Box<Words>, Front<SLOT>, Back<SLOT>) {
    let page = test_page();
    let _ = Front::<SLOT>::initialise(&page);
    let index = Index::new(start);
    for word in [REQ_PROD, RSP_PROD] {
        word.store(&page, start);
    }
    for word in [REQ_EVENT, RSP_EVENT] {
        word.store(&page, index.plus(1).raw());
    }
    (page, Front::starting_at(index), Back::starting_at(index))
}

fn slot(number: u32) -> [u8; SLOT] {
    let mut slot = [0xee; SLOT];
    slot[..4].copy_from_slice(&number.to_le_bytes());
    slot
}

/// The back end takes all and answers all.
fn serve(page: &Words, back: &mut Back<SLOT>) -> u32 {
    let mut served = 0;
    let mut request = [0; SLOT];
    while back.take(page, &mut request).unwrap() {
        back.put(page, &request);
        served += 1;
    }
    served
}

#[test]
fn requests_and_responses_cross_the_wrap() {
    for start in [0, NEAR_THE_WRAP, u32::MAX] {
        let (page, mut front, mut back) = both_ends(start);
        let (mut sent, mut answered) = (0_u32, 0_u32);
        while answered < MANY {
            while sent - answered < 1 + answered % 256 && front.put(&page, &slot(sent)).is_ok() {
                sent += 1;
            }
            let _ = front.push(&page);
            serve(&page, &mut back);
            let _ = back.push(&page);
            let mut response = [0; SLOT];
            while front.take(&page, &mut response).unwrap().is_some() {
                assert_eq!(response, slot(answered));
                answered += 1;
            }
        }
    }
}

#[test]
fn full_ring_refuses_and_goes_on() {
    let (page, mut front, mut back) = both_ends(NEAR_THE_WRAP);
    for number in 0..256 {
        assert_eq!(front.put(&page, &slot(number)), Ok(()));
    }
    assert_eq!(front.put(&page, &slot(256)), Err(RingFull));
    assert_eq!(front.push(&page), Notify::Yes);
    assert_eq!(serve(&page, &mut back), 256);
    // The responses are not published, so the front still sees none.
    assert_eq!(front.take(&page, &mut [0; SLOT]), Ok(None));
    assert_eq!(back.push(&page), Notify::Yes);
    assert_eq!(front.take(&page, &mut [0; SLOT]), Ok(Some(Index::new(NEAR_THE_WRAP))));
    assert_eq!(front.put(&page, &slot(256)), Ok(()));
}

#[test]
fn events_are_held_off_until_asked_for() {
    let (page, mut front, mut back) = both_ends(NEAR_THE_WRAP);
    front.put(&page, &slot(0)).unwrap();
    assert_eq!(front.push(&page), Notify::Yes);
    front.put(&page, &slot(1)).unwrap();
    assert_eq!(front.push(&page), Notify::No);
    assert_eq!(serve(&page, &mut back), 2);
    assert_eq!(back.await_request(&page), Ok(false));
    front.put(&page, &slot(2)).unwrap();
    assert_eq!(front.push(&page), Notify::Yes);
    assert_eq!(back.await_request(&page), Ok(true));
    assert_eq!(back.push(&page), Notify::Yes);
    assert_eq!(front.await_response(&page), Ok(true));
}

/// Each row: `req_prod` that the hostile front shows after 10 honest requests, of which 4 were taken and 2
/// answered; and the fault.
#[test]
fn hostile_front() {
    let rows = [
        (2 + 256 + 1, PeerFault::ProducerOutOfRange { pending: 255, room: 254 }),
        (9, PeerFault::ProducerMovedBack { pending: 5, seen: 6 }),
        (4, PeerFault::ProducerMovedBack { pending: 0, seen: 6 }),
        (3, PeerFault::ProducerOutOfRange { pending: u32::MAX, room: 254 }),
        (0x8000_0004, PeerFault::ProducerOutOfRange { pending: 0x8000_0000, room: 254 }),
    ];
    for start in [0, NEAR_THE_WRAP, u32::MAX - 5] {
        for (shown, fault) in rows {
            let (page, mut front, mut back) = both_ends(start);
            for number in 0..10 {
                front.put(&page, &slot(number)).unwrap();
            }
            let _ = front.push(&page);
            for _ in 0..4 {
                assert_eq!(back.take(&page, &mut [0; SLOT]), Ok(true));
            }
            back.put(&page, &slot(0));
            back.put(&page, &slot(1));
            REQ_PROD.store(&page, start.wrapping_add(shown));
            assert_eq!(back.take(&page, &mut [0; SLOT]), Err(fault), "start {start} shown {shown}");
            assert_eq!(back.await_request(&page), Err(fault));
            assert_eq!(back.in_flight(), 2, "a fault changes nothing");
        }
    }
}

/// Each row: `rsp_prod` that the hostile back shows when 10 requests are out, 5 were answered and 3 taken.
#[test]
fn hostile_back() {
    let rows = [
        (11, PeerFault::ProducerOutOfRange { pending: 8, room: 7 }),
        (4, PeerFault::ProducerMovedBack { pending: 1, seen: 2 }),
        (2, PeerFault::ProducerOutOfRange { pending: u32::MAX, room: 7 }),
        (0x8000_0003, PeerFault::ProducerOutOfRange { pending: 0x8000_0000, room: 7 }),
    ];
    for start in [0, NEAR_THE_WRAP, u32::MAX - 5] {
        for (shown, fault) in rows {
            let (page, mut front, _) = both_ends(start);
            for number in 0..10 {
                front.put(&page, &slot(number)).unwrap();
            }
            let _ = front.push(&page);
            // Written but not pushed: the back cannot have answered it.
            front.put(&page, &slot(10)).unwrap();
            RSP_PROD.store(&page, start.wrapping_add(5));
            for _ in 0..3 {
                assert!(front.take(&page, &mut [0; SLOT]).unwrap().is_some());
            }
            RSP_PROD.store(&page, start.wrapping_add(shown));
            assert_eq!(front.take(&page, &mut [0; SLOT]), Err(fault), "start {start} shown {shown}");
            assert_eq!(front.await_response(&page), Err(fault));
        }
    }
}

#[test]
fn slot_rewritten_after_it_was_taken_changes_nothing() {
    let (page, mut front, mut back) = both_ends(0);
    front.put(&page, &slot(1)).unwrap();
    let _ = front.push(&page);
    let mut request = [0; SLOT];
    assert_eq!(back.take(&page, &mut request), Ok(true));
    Slots::copy_in(&page, Index::new(0), &slot(0xffff_ffff));
    assert_eq!(request, slot(1));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Request(u32),
    Serve(u32),
    Collect(u32),
    WakeFront,
    WakeBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..300_u32).prop_map(Step::Request),
        (1..300_u32).prop_map(Step::Serve),
        (1..300_u32).prop_map(Step::Collect),
        Just(Step::WakeFront),
        Just(Step::WakeBack),
    ]
}

proptest! {
    /// Whatever the schedule and however many spurious events: requests are answered in order, and no end
    /// sleeps while there is work that nobody told it of.
    #[test]
    fn nobody_sleeps_for_ever(start in any::<u32>(), steps in prop::collection::vec(step(), 1..STEPS)) {
        let (page, mut front, mut back) = both_ends(start);
        let (mut front_sleeps, mut back_sleeps) = (false, false);
        let mut outstanding = VecDeque::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Request(count) => {
                    for _ in 0..count {
                        if front.put(&page, &slot(next)).is_err() { break }
                        outstanding.push_back(next);
                        next += 1;
                    }
                    if front.push(&page).wanted() { back_sleeps = false; }
                }
                Step::Serve(count) if !back_sleeps => {
                    let mut request = [0; SLOT];
                    for _ in 0..count {
                        if !back.take(&page, &mut request).unwrap() {
                            back_sleeps = !back.await_request(&page).unwrap();
                            break;
                        }
                        back.put(&page, &request);
                    }
                    if back.push(&page).wanted() { front_sleeps = false; }
                }
                Step::Collect(count) if !front_sleeps => {
                    let mut response = [0; SLOT];
                    for _ in 0..count {
                        if front.take(&page, &mut response).unwrap().is_none() {
                            front_sleeps = !front.await_response(&page).unwrap();
                            break;
                        }
                        prop_assert_eq!(response, slot(outstanding.pop_front().unwrap()));
                    }
                }
                Step::WakeFront => front_sleeps = false,
                Step::WakeBack => back_sleeps = false,
                Step::Serve(_) | Step::Collect(_) => {}
            }
            if front_sleeps { prop_assert_eq!(front.responses(&page), Ok(0)); }
            if back_sleeps { prop_assert_eq!(back.requests(&page), Ok(0)); }
        }
    }

    #[test]
    fn random_words_are_survived(values in prop::collection::vec((any::<u32>(), any::<u32>()), 1..STEPS)) {
        let (page, mut front, mut back) = both_ends(0);
        for (req_prod, rsp_prod) in values {
            REQ_PROD.store(&page, req_prod);
            RSP_PROD.store(&page, rsp_prod);
            let mut bytes = [0; SLOT];
            if back.take(&page, &mut bytes) == Ok(true) { back.put(&page, &bytes); }
            let _ = front.put(&page, &bytes);
            let _ = front.take(&page, &mut bytes);
            prop_assert!(back.in_flight() <= 256 && front.free() <= 256);
        }
    }
}
