use alloc::string::ToString;
use alloc::vec;

use super::*;
use crate::http::{FailureKind, Unusable};

const DEVICE: Uuid = Uuid([7; 16]);
const DAY: u64 = 24 * 3600;

fn now(seconds: u64) -> Now {
    let wall = Some(WallTime { seconds: 1_800_000_000 + seconds, nanos: 0 });
    Now { monotonic_ns: seconds * 1_000_000_000, wall }
}

fn message(now: Now) -> Vec<u8> {
    let dev_id = DEVICE.to_string();
    ZMetricMsg { dev_id, at_time_stamp: now.timestamp(), ..ZMetricMsg::default() }.encode_to_vec()
}

fn ok() -> Outcome {
    Outcome::Success { status: 201, payload: Vec::new() }
}

fn status(status: u16) -> Outcome {
    Outcome::Status { status, class: StatusClass::of(status) }
}

/// Takes all that is to be delivered; the seconds at which each was made.
fn deliver(spool: &mut Spool, mut at: Instant) -> Vec<u64> {
    let mut random = Random::new(1);
    let mut made = Vec::new();
    while let Some(due) = spool.deadline(|_| true) {
        at = at.max(due);
        let (delivery, body) = spool.due(at, |_| true).unwrap();
        spool.sent(delivery);
        let message = ZMetricMsg::decode(&body[..]).unwrap();
        made.push(message.at_time_stamp.unwrap().seconds as u64 - 1_800_000_000);
        assert!(spool.on_answer(at, delivery, &ok(), &mut random), "the controller has it");
    }
    made
}

#[test]
fn each_period_tries_the_oldest_and_what_is_refused_for_good_is_given_up() {
    let mut spool = Spool::new(1);
    let mut random = Random::new(1);
    let mut tries = Vec::new();
    for (round, outcome) in
        [Outcome::NoAnswer(FailureKind::Timeout), status(503), status(403), status(429), status(401)]
            .into_iter()
            .chain((0..10).map(|_| status(413)))
            .enumerate()
    {
        let now = now(60 * round as u64);
        spool.push(now, DEVICE, message(now));
        let (delivery, body) = spool.due(now.at(), |_| true).unwrap();
        tries.push(body);
        assert!(!spool.on_answer(now.at(), delivery, &outcome, &mut random), "it has it not");
        assert_eq!(spool.due(now.at(), |_| true), None, "one attempt a period");
    }
    assert!(tries.iter().all(|body| *body == tries[0]), "the same bytes");
    assert_eq!((spool.lost, spool.messages.len()), (1, 14));
    // What comes back with a success is not looked at, so one that is of no use is a success.
    let (delivery, _) = spool.due(now(5000).at(), |_| true).unwrap();
    let useless = Outcome::Unusable(Unusable::TooLarge);
    assert!(spool.on_answer(now(5000).at(), delivery, &useless, &mut random));
    assert_eq!(deliver(&mut spool, now(10_000).at()), (2..15).map(|round| 60 * round).collect::<Vec<_>>());
}

#[test]
fn a_long_outage_thins_out_evenly_and_tells_what_is_missing() {
    let mut spool = Spool::new(1);
    for round in 0..7 * DAY / 60 {
        let now = now(60 * round);
        spool.push(now, DEVICE, message(now));
        spool.step(now);
        if let Some((number, _)) = spool.next_to_keep(now.at(), false) {
            spool.on_kept(number);
        }
        let kept = spool.messages.iter().filter(|message| matches!(message.place, Place::Kept(_))).count();
        assert!(kept <= MAX_METRICS && spool.messages.len() <= MAX_MESSAGES && spool.bytes <= MAX_BYTES);
    }
    let all = (7 * DAY / 60) as usize;
    assert_eq!((spool.messages.len() + spool.lost as usize, spool.messages.len()), (all, MAX_MESSAGES));
    let made = deliver(&mut spool, now(7 * DAY).at());
    assert_eq!((made[0], made[MAX_MESSAGES - 1]), (0, 7 * DAY - 60), "the first and the last");
    let widest = made.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(widest <= 4 * 7 * DAY / MAX_MESSAGES as u64, "{widest} s");
    spool.step(now(7 * DAY));
    assert_eq!(spool.untold, 0);
}

#[test]
fn the_last_message_of_a_start_stays() {
    let mut spool = Spool::new(9);
    for number in 0..90 {
        let at = now(60 * u64::from(number));
        let piece = Piece { start: number / 30, serial: number % 30 + 1, body: message(at) };
        spool.restore(at.at(), number, &piece.encode());
    }
    for round in 90..2000 {
        let now = now(60 * round);
        spool.push(now, DEVICE, message(now));
    }
    let made = deliver(&mut spool, now(DAY * 7).at());
    assert!([29, 59, 89].iter().all(|last| made.contains(&(last * 60))), "{made:?}");
}

#[test]
fn storage_is_given_what_waits_and_at_most_one_in_a_quarter_of_a_minute() {
    for (period, expected) in [(5, 20), (18, 16), (60, 5)] {
        let mut spool = Spool::new(1);
        let mut given = Vec::new();
        for second in 0..300 {
            let now = now(second);
            if second % period == 0 {
                spool.push(now, DEVICE, message(now));
            }
            while let Some((number, _)) = spool.next_to_keep(now.at(), false) {
                assert!(spool.keep_deadline().is_none() && !spool.is_safe(|_| false));
                given.push(second);
                spool.on_kept(number);
            }
        }
        assert_eq!(given[0], 20);
        assert!((expected - 2..=expected).contains(&given.len()), "{period}: {given:?}");
        assert!(given.windows(2).all(|pair| pair[1] - pair[0] >= 15), "{period}: {given:?}");
    }
}

/// What is before the first one is waited for: the next one is not sent before storage has dropped the last one.
#[test]
fn the_next_one_waits_for_the_drop_of_the_last_but_not_for_ever() {
    let mut spool = Spool::new(1);
    for round in 0..2 {
        let now = now(60 * round);
        spool.push(now, DEVICE, message(now));
        let (number, _) = spool.next_to_keep(now.at(), true).unwrap();
        spool.on_kept(number);
    }
    let (delivery, _) = spool.due(now(100).at(), |_| true).unwrap();
    spool.on_answer(now(100).at(), delivery, &ok(), &mut Random::new(1));
    assert_eq!(spool.deadline(|_| true), Some(now(160).at()), "it was not even asked for");
    assert_eq!(spool.next_to_drop(), Some(0));
    assert_eq!(spool.due(now(159).at(), |_| false), None);
    assert!(spool.due(now(102).at(), |_| true).is_some());
    assert!(spool.due(now(160).at(), |_| false).is_some());
}

#[test]
fn what_was_made_without_a_clock_is_dated_before_it_leaves() {
    let mut spool = Spool::new(1);
    let blind = |seconds| Now { wall: None, ..now(seconds) };
    for seconds in [10, 70] {
        spool.push(blind(seconds), DEVICE, message(blind(seconds)));
        spool.step(blind(seconds));
    }
    assert_eq!((spool.deadline(|_| true), spool.keep_deadline()), (None, None));
    spool.step(now(100));
    assert!(spool.next_to_keep(now(100).at(), false).is_some());
    assert_eq!(spool.bytes, spool.messages.iter().map(|message| message.body.len()).sum::<usize>());
    assert_eq!(deliver(&mut spool, now(100).at()), [10, 70]);
    assert_eq!(spool.bytes, 0);
}

#[test]
fn what_was_said_under_another_name_is_dropped() {
    let mut spool = Spool::new(1);
    let other = Uuid([8; 16]);
    spool.push(now(0), other, message(now(0)));
    spool.push(now(60), DEVICE, message(now(60)));
    spool.belong_to(&DEVICE);
    assert_eq!(spool.lost, 1);
    assert_eq!(deliver(&mut spool, now(60).at()), [60]);
}

#[test]
fn a_message_that_is_too_large_for_storage_waits_in_memory() {
    let mut spool = Spool::new(1);
    spool.push(now(0), DEVICE, vec![0; MAX_MESSAGE + 1]);
    assert_eq!(spool.next_to_keep(now(60).at(), true), None);
    assert!(spool.is_safe(|_| false));
    spool.push(now(60), DEVICE, vec![0; MAX_BYTES]);
    assert_eq!((spool.messages.len(), spool.lost), (1, 1));
}
