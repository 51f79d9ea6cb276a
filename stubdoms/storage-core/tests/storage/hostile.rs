//! A control that was taken over: what it asks for beyond its rights is refused, and harms nothing.

use board_support_drv::block::fake::{Event, FakeDisk};
use proto_gpt::slots::{Slot, State};
use proto_svc::storage::{Change, MAX_VALUE, Refusal, Request};
use proto_update::manifest::{ALIGN, Machine};

use crate::world::{
    Life, ROOM, SLOT_A, SLOT_B, STORE, boot, disk, fills, flashed, key, puts, signer, states, system,
    system_of, updates,
};

fn put(name: &str, total: u32, offset: u32, bytes: &[u8]) -> Request {
    Request::Put { key: key(name), total, offset, bytes: heapless::Vec::from_slice(bytes).unwrap() }
}

fn write(offset: u64, bytes: &[u8]) -> Request {
    Request::Write { offset, bytes: heapless::Vec::from_slice(bytes).unwrap() }
}

fn begin(length: u64) -> Request {
    Request::Begin { length }
}

/// One line of the table: what is done ahead, what is tried, and why it is refused.
type Case = (&'static str, Vec<Request>, Request, Refusal);

fn cases() -> Vec<Case> {
    use Refusal as R;
    let newer = system("1.1.0");
    let length = newer.len() as u64;
    let arm = Request::Change(Change::Arm);
    let filled = |system: &[u8]| fills(system);
    let verified = || {
        let mut requests = fills(&newer);
        requests.push(Request::Verify);
        requests
    };
    let other_key = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let with = |requests: Vec<Request>, more: Request| [requests, vec![more]].concat();
    let nearly_full = || {
        let pieces = (0..4).map(|piece| write(piece * 900, &[1; 900]));
        core::iter::once(begin(ALIGN as u64 + 1)).chain(pieces).collect::<Vec<_>>()
    };
    let flipped = |at: usize| {
        let mut system = newer.clone();
        system[at] ^= 1;
        fills(&system)
    };
    vec![
        ("arms what was there before", vec![], arm.clone(), R::State),
        ("arms what was begun", vec![begin(length)], arm.clone(), R::State),
        ("arms what was filled", filled(&newer), arm.clone(), R::State),
        ("arms what was refused", with(flipped(5000), Request::Verify), arm.clone(), R::State),
        ("verifies, begins anew, arms", with(verified(), begin(length)), arm.clone(), R::State),
        ("verifies, writes past the end, arms", with(verified(), write(length, &[1])), arm.clone(), R::State),
        ("verifies, writes over the header, arms", with(verified(), write(0, &[1])), arm.clone(), R::State),
        ("verifies half", fills(&newer)[..5].to_vec(), Request::Verify, R::State),
        ("verifies a wiped header", vec![begin(length), write(0, &[1])], Request::Verify, R::State),
        ("a bit of the contents", flipped(5000), Request::Verify, R::Contents),
        ("a bit of the hash", flipped(70), Request::Verify, R::Signature),
        ("a bit of the signature", flipped(500), Request::Verify, R::Signature),
        (
            "another key",
            filled(&system_of("1.1.0", Machine::X86_64, &other_key)),
            Request::Verify,
            R::Signature,
        ),
        (
            "another machine",
            filled(&system_of("1.1.0", Machine::Aarch64, &signer())),
            Request::Verify,
            R::Machine,
        ),
        ("an older version", filled(&system("0.9.9")), Request::Verify, R::Older),
        ("the same version", filled(&system("1.0.0")), Request::Verify, R::Older),
        ("no system", filled(&[7; 9000]), Request::Verify, R::Contents),
        ("older, as another try", filled(&system("0.9.9")), Request::Change(Change::TryOther), R::State),
        ("newer, as another try", filled(&newer), Request::Change(Change::TryOther), R::State),
        ("writes without a beginning", vec![], write(0, &[1]), R::State),
        ("leaves a gap", vec![begin(length), write(0, &[1; 10])], write(11, &[1]), R::Piece),
        ("goes back", vec![begin(length), write(0, &[1; 10])], write(9, &[1]), R::Piece),
        ("begins in the middle", vec![begin(length)], write(ALIGN as u64, &[1]), R::Piece),
        ("an offset that overflows", vec![begin(length)], write(u64::MAX, &[1; 900]), R::Piece),
        ("an empty piece", vec![begin(length)], write(0, &[]), R::Piece),
        ("past the end", with(nearly_full(), write(3600, &[1; 450])), write(4050, &[1; 48]), R::Piece),
        ("no length", vec![], begin(0), R::TooLarge),
        ("a header alone", vec![], begin(ALIGN as u64), R::TooLarge),
        ("more than the slot", vec![], begin(ROOM + 1), R::TooLarge),
        ("a huge slot", vec![], begin(u64::MAX), R::TooLarge),
        ("a value without end", vec![], put("a", u32::MAX, 0, &[1]), R::TooLarge),
        ("one byte too many", vec![], put("a", MAX_VALUE + 1, 0, &[1]), R::TooLarge),
        ("a piece past the end", vec![], put("a", 1, 0, &[1, 2]), R::Piece),
        (
            "an offset past the end",
            vec![put("a", 100, 0, &[1])],
            put("a", 100, u32::MAX, &[1; 900]),
            R::Piece,
        ),
        ("a piece without the first", vec![], put("a", 100, 10, &[1]), R::Piece),
        ("another value's piece", vec![put("a", 100, 0, &[1])], put("b", 100, 1, &[1]), R::Piece),
        ("another length", vec![put("a", 100, 0, &[1])], put("a", 101, 1, &[1]), R::Piece),
        ("a gap in a value", vec![put("a", 100, 0, &[1])], put("a", 100, 2, &[1]), R::Piece),
        ("nothing of something", vec![], put("a", 100, 0, &[]), R::Piece),
        ("no name", vec![], put("", 1, 0, &[1]), R::Name),
        ("a name with a slash", vec![], put("../a", 1, 0, &[1]), R::Name),
        ("a name in capitals", vec![], put("A", 1, 0, &[1]), R::Name),
        ("a name with a zero", vec![], put("a\0", 1, 0, &[1]), R::Name),
        ("a name that is no ASCII", vec![], put("ä", 1, 0, &[1]), R::Name),
        ("reads no name", vec![], Request::Get { key: key(""), offset: 0 }, R::Name),
        ("deletes no name", vec![], Request::Delete { key: key("A") }, R::Name),
        ("lists after no name", vec![], Request::Next { after: key("A") }, R::Name),
        ("reads nothing", vec![], Request::Get { key: key("a"), offset: 0 }, R::NoValue),
        (
            "reads past the end",
            vec![put("a", 1, 0, &[1])],
            Request::Get { key: key("a"), offset: 2 },
            R::Piece,
        ),
        (
            "reads far past",
            vec![put("a", 1, 0, &[1])],
            Request::Get { key: key("a"), offset: u32::MAX },
            R::Piece,
        ),
    ]
}

#[test]
fn what_is_beyond_its_rights_is_refused_by_name() {
    let cases = cases();
    for (name, before, tried, expected) in &cases {
        let disk = disk(flashed());
        let life = Life::open(&disk);
        before.iter().for_each(|request| _ = life.ask(request));
        assert_eq!(life.refusal(tried), Some(*expected), "{name}: {:?}", life.ask(tried));
        // And what runs goes on to be started, in this life and the next.
        assert_eq!(boot(&mut disk.image()), Some((Slot::A, "1.0.0".to_owned())), "{name}");
        let life = Life::open(&disk);
        life.put("after", b"all");
        assert_eq!(life.try_get("after"), Ok(b"all".to_vec()), "{name}");
        updates(&system("1.1.0")).iter().for_each(|request| life.done(request));
        assert_eq!(boot(&mut disk.image()), Some((Slot::B, "1.1.0".to_owned())), "{name}");
    }
    assert!(cases.len() > 45);
}

/// Whatever is asked: of the slot that runs no block is written, and of the table only attributes change.
#[test]
fn no_request_reaches_the_slot_that_runs() {
    for (running, mine) in [(Slot::A, SLOT_A..SLOT_B), (Slot::B, SLOT_B..STORE)] {
        let mut image = crate::world::table(State::ACTIVE, State::ACTIVE);
        for (block, bytes) in [SLOT_A, SLOT_B].into_iter().flat_map(|first| {
            let system = system("1.0.0");
            let blocks = system.len().div_ceil(512);
            let mut whole = system;
            whole.resize(blocks * 512, 0);
            (first..).zip(whole.chunks(512).map(<[u8]>::to_vec).collect::<Vec<_>>())
        }) {
            image.put(block, &bytes);
        }
        let disk = disk(image);
        let mut life = Life::start_from(&disk, Some(running));
        life.hear_key();
        for (_, before, tried, _) in cases() {
            before.iter().chain([&tried]).for_each(|request| _ = life.ask(request));
            for change in [Change::Arm, Change::TryOther, Change::Abandon, Change::Commit] {
                life.ask(&Request::Change(change));
            }
        }
        let written: Vec<u64> = disk
            .log()
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::Write { block, .. } => Some(*block),
                Event::Flush | Event::Durable { .. } | Event::Lost { .. } | Event::Doubt { .. } => None,
            })
            .collect();
        assert!(!written.iter().any(|block| mine.contains(block)));
        assert!(written.len() > 500, "{}", written.len());
        assert!(states(&disk.image())[usize::from(running == Slot::B)].is_startable());
    }
}

fn trial() -> FakeDisk {
    let updated = disk(flashed());
    let life = Life::start(&updated);
    updates(&system("1.1.0")).iter().for_each(|request| life.done(request));
    let mut image = updated.image();
    assert_eq!(boot(&mut image), Some((Slot::B, "1.1.0".to_owned())));
    disk(image)
}

#[test]
fn while_the_slot_that_runs_is_under_test_the_other_one_is_left_alone() {
    let disk = trial();
    let life = Life::start_from(&disk, Some(Slot::B));
    for request in [
        begin(9000),
        Request::Change(Change::Abandon),
        Request::Change(Change::TryOther),
        Request::Change(Change::Arm),
    ] {
        assert_eq!(life.refusal(&request), Some(Refusal::State), "{request:?}");
    }
    // Committed, it is as any other; and asked for twice, the change is made once.
    let before = disk.log().events().len();
    life.done(&Request::Change(Change::Commit));
    let after = disk.log().events().len();
    assert!(after > before);
    life.done(&Request::Change(Change::Commit));
    assert_eq!(disk.log().events().len(), after);
    assert_eq!(life.states(), [State::SPARE, State::ACTIVE]);
    life.done(&begin(9000));
    assert_eq!(life.states(), [State::UNUSED, State::ACTIVE]);
}

#[test]
fn going_back_is_for_what_was_proven_or_tried() {
    // The version before: older, and proven.
    let disk = trial();
    let life = Life::start_from(&disk, Some(Slot::B));
    life.done(&Request::Change(Change::Commit));
    life.done(&Request::Change(Change::TryOther));
    assert_eq!(boot(&mut disk.image()), Some((Slot::A, "1.0.0".to_owned())));
    // Tried in vain: once more.
    let disk = trial();
    let mut image = disk.image();
    assert_eq!(boot(&mut image), Some((Slot::A, "1.0.0".to_owned())));
    let disk = crate::world::disk(image);
    let life = Life::start(&disk);
    life.done(&Request::Change(Change::TryOther));
    assert_eq!(boot(&mut disk.image()), Some((Slot::B, "1.1.0".to_owned())));
    // Abandoned, and what was damaged meanwhile: no more.
    life.done(&Request::Change(Change::Abandon));
    assert_eq!(life.refusal(&Request::Change(Change::TryOther)), Some(Refusal::State));
    let mut image = trial().image();
    boot(&mut image);
    image.put(SLOT_B + 12, &[1; 512]);
    let life = Life::start(&crate::world::disk(image));
    assert_eq!(life.refusal(&Request::Change(Change::TryOther)), Some(Refusal::Contents));
}

#[test]
fn a_machine_that_was_not_started_from_a_slot_has_none_to_write() {
    let disk = disk(flashed());
    let life = Life::start_from(&disk, None);
    for request in [
        begin(9000),
        write(0, &[1]),
        Request::Verify,
        Request::Change(Change::Arm),
        Request::Change(Change::Commit),
        Request::Change(Change::Abandon),
        Request::Change(Change::TryOther),
    ] {
        let refused = life.refusal(&request);
        assert!(matches!(refused, Some(Refusal::NoSlot | Refusal::State)), "{request:?}: {refused:?}");
    }
    assert!(!disk.log().events().iter().any(
        |event| matches!(event, Event::Write { block, .. } if *block < STORE || *block >= crate::world::STORE_END)
    ));
}

#[test]
fn the_quota_ends_what_is_put_and_what_is_deleted_comes_back() {
    let disk = disk(flashed());
    let life = Life::open(&disk);
    let large = vec![7; MAX_VALUE as usize];
    let mut count = 0;
    while life.refusal(&puts(&format!("large.{count}"), &large)[0]).is_none() {
        life.put(&format!("large.{count}"), &large);
        count += 1;
        assert!(count < 40);
    }
    // 8 MiB in values of 65 pages.
    assert_eq!(count, 31);
    assert_eq!(life.refusal(&puts("one-more", &large)[0]), Some(Refusal::TooLarge));
    // What there is can still be replaced, at its full length, again and again.
    for turn in 0..20 {
        life.put("large.3", &vec![turn; MAX_VALUE as usize]);
    }
    assert_eq!(life.try_get("large.3").unwrap()[0], 19);
    life.done(&Request::Delete { key: key("large.0") });
    life.put("one-more", &large);
    // And the number of values has an end.
    let disk = crate::world::disk(flashed());
    let life = Life::open(&disk);
    for number in 0..256 {
        life.put(&format!("small.{number}"), b"1");
    }
    assert_eq!(life.refusal(&puts("small.256", b"1")[0]), Some(Refusal::TooLarge));
    life.put("small.255", b"2");
    assert_eq!(Life::open(&disk).values().len(), 256);
}
