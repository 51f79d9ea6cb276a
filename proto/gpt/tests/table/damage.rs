//! Bits that flip, and power that goes: the disk always tells which slot to start, and never a wrong one.

use crate::disk::{BACKUP_ENTRIES, BACKUP_HEADER, Disk, states};
use proptest::prelude::*;
use proto_gpt::copy::Which;
use proto_gpt::slots::{Choice, Reason, Slot, Slots, State};
use proto_gpt::table::Condition;

const TRIED: State = State { tries: 0, ..State::UPDATING };

#[test]
fn one_bit_flipped_anywhere_changes_no_choice_and_is_repaired() {
    let good = Disk::new(State::ACTIVE, State::UPDATING);
    let expected = Some(Choice { slot: Slot::B, reason: Reason::Trial });
    // The headers' blocks and those of the entries in use, of both copies.
    let blocks = [1, 2, BACKUP_ENTRIES, BACKUP_HEADER];
    let mut positions = 0;
    for bit in blocks.into_iter().flat_map(|block| (block * 512 * 8..(block + 1) * 512 * 8).step_by(5)) {
        let mut disk = good.clone();
        disk.0[bit / 8] ^= 1 << (bit % 8);
        let joined = disk.joined().unwrap();
        let damaged = if bit < BACKUP_ENTRIES * 512 * 8 { Which::Primary } else { Which::Backup };
        assert!(matches!(joined.condition(), Condition::Damaged { which, .. } if which == damaged), "{bit}");
        assert_eq!(Slots::find(joined.table()).unwrap().choose(&[]), expected, "{bit}");
        disk.repaired();
        assert!(disk == good, "{bit} was not repaired to what it was");
        positions += 1;
    }
    assert!(positions > 3000, "{positions}");
}

#[test]
fn both_copies_damaged_are_told_apart() {
    let mut disk = Disk::new(State::ACTIVE, State::SPARE);
    disk.0[512] ^= 1;
    disk.0[BACKUP_ENTRIES * 512] ^= 1;
    let text = disk.joined().unwrap_err().to_string();
    assert_eq!(
        text,
        "the first copy of the partition table: it has no header; the second copy of the partition table: its entries are damaged"
    );
}

/// Something that changes the slots' states.
type Change = fn(&mut Slots);

const CHANGES: [(Change, [State; 2], [State; 2]); 4] = [
    (|slots| slots.take_try(Slot::B), [State::ACTIVE, State::UPDATING], [State::ACTIVE, TRIED]),
    (|slots| slots.commit(Slot::B), [State::ACTIVE, TRIED], [State::SPARE, State::ACTIVE]),
    (|slots| slots.arm(Slot::B).unwrap(), [State::ACTIVE, State::SPARE], [State::ACTIVE, State::UPDATING]),
    (|slots| slots.give_up(Slot::B), [State::ACTIVE, State::SPARE], [State::ACTIVE, State::UNUSED]),
];

/// What the disk was like before: sound, with one copy spoilt, or with one that an earlier cut left behind.
fn beginnings(before: [State; 2]) -> Vec<Disk> {
    let sound = Disk::new(before[0], before[1]);
    let mut disks = vec![sound.clone()];
    for byte in [512 + 3, 1024 + 200, BACKUP_ENTRIES * 512 + 300, BACKUP_HEADER * 512 + 17] {
        let mut disk = sound.clone();
        disk.0[byte] ^= 0x10;
        disks.push(disk);
    }
    disks
}

#[test]
fn power_cut_at_every_write_leaves_what_was_or_what_is_to_be() {
    let mut cuts = 0;
    for (change, before, after) in CHANGES {
        for disk in beginnings(before) {
            let joined = disk.joined().unwrap();
            let mut groups = disk.writes(joined.repair());
            let mut repaired = disk.clone();
            let mut table = repaired.repaired();
            let mut slots = Slots::find(&table).unwrap();
            change(&mut slots);
            assert!(slots.put(&mut table));
            groups.extend(repaired.writes(table.store()));
            for mut state in disk.cuts(&groups) {
                cuts += 1;
                let joined = state.joined().expect("one copy is always right");
                let slots = Slots::find(joined.table()).unwrap();
                assert!([before, after].contains(&states(&slots)), "{:?}", states(&slots));
                assert!(slots.choose(&[]).is_some(), "nothing to start");
                // And a second look, after the repair, says the same.
                let table = state.repaired();
                assert_eq!(states(&Slots::find(&table).unwrap()), states(&slots));
                assert_eq!(state.joined().unwrap().condition(), Condition::Sound);
            }
        }
    }
    assert!(cuts > 1000, "only {cuts} states");
}

#[test]
fn torn_between_two_right_copies_the_fewer_tries_count() {
    for (first, second) in [(1, 0), (0, 1), (3, 1)] {
        let with = |tries| Disk::new(State::ACTIVE, State { tries, ..State::UPDATING });
        let (mut disk, other) = (with(first), with(second));
        disk.0[BACKUP_ENTRIES * 512..].copy_from_slice(&other.0[BACKUP_ENTRIES * 512..]);
        let joined = disk.joined().unwrap();
        let stale = if first > second { Which::Primary } else { Which::Backup };
        assert_eq!(joined.condition(), Condition::Stale(stale));
        let slots = Slots::find(joined.table()).unwrap();
        assert_eq!(slots.state(Slot::B).tries, first.min(second));
    }
}

#[test]
fn where_another_program_stopped_halfway_the_first_copy_counts() {
    let mut disk = Disk::new(State::ACTIVE, State::SPARE);
    let other = Disk::new(State::ACTIVE, State::SPARE);
    let mut theirs =
        gpt::GptConfig::new().writable(true).open_from_device(std::io::Cursor::new(other.0)).unwrap();
    let mut partitions = theirs.partitions().clone();
    partitions.get_mut(&1).unwrap().name = "other".into();
    theirs.update_partitions(partitions).unwrap();
    let theirs = theirs.write().unwrap().into_inner();
    disk.0[BACKUP_ENTRIES * 512..].copy_from_slice(&theirs[BACKUP_ENTRIES * 512..]);
    let joined = disk.joined().unwrap();
    assert_eq!(joined.condition(), Condition::Stale(Which::Backup));
    assert_eq!(joined.table().partitions().next().unwrap().to_string(), "esp");
}

proptest! {
    /// Starts with cuts anywhere in between: a version that has not proven itself is started at most as often
    /// as it has tries, and something is started every time.
    #[test]
    fn a_trial_is_never_started_more_often_than_it_has_tries(
        tries in 1u8..4, cuts in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..12),
    ) {
        let mut disk = Disk::new(State::ACTIVE, State { tries, ..State::UPDATING });
        let mut started = 0;
        for cut in cuts {
            let joined = disk.joined().unwrap();
            let mut groups = disk.writes(joined.repair());
            let mut after = disk.clone();
            let mut table = after.repaired();
            let mut slots = Slots::find(&table).unwrap();
            let choice = slots.choose(&[]).unwrap();
            slots.take_try(choice.slot);
            slots.put(&mut table);
            groups.extend(after.writes(table.store()));
            match cut {
                Some(cut) => {
                    let states = disk.cuts(&groups);
                    disk = states[cut.index(states.len())].clone();
                }
                None => {
                    groups.iter().flatten().for_each(|write| disk.put(write));
                    started += u8::from(choice.slot == Slot::B);
                }
            }
        }
        prop_assert!(started <= tries);
    }

    #[test]
    fn states_and_attributes_are_one(priority in 0u8..16, tries in 0u8..16, successful: bool, others: u64) {
        let state = State { priority, tries, successful };
        let attributes = state.put(others);
        prop_assert_eq!(State::of(attributes), state);
        prop_assert_eq!(attributes & !(0x1ff << 48), others & !(0x1ff << 48));
    }

    /// Whatever the states: what is chosen may be started, and nothing startable of a higher priority was left.
    #[test]
    fn the_choice_is_the_highest_that_may_be_started(a: u64, b: u64, refuse_a: bool, refuse_b: bool) {
        let (a, b) = (State::of(a), State::of(b));
        let disk = Disk::new(a, b);
        let slots = Slots::find(disk.joined().unwrap().table()).unwrap();
        let mut refused = Vec::new();
        refused.extend(refuse_a.then_some(Slot::A));
        refused.extend(refuse_b.then_some(Slot::B));
        let may = |slot: &Slot| slots.state(*slot).is_startable() && !refused.contains(slot);
        match slots.choose(&refused) {
            None => prop_assert!(!Slot::ALL.iter().any(may)),
            Some(choice) => {
                prop_assert!(may(&choice.slot));
                let other = choice.slot.other();
                prop_assert!(!may(&other) || slots.state(other).priority <= slots.state(choice.slot).priority);
                prop_assert_eq!(choice.reason == Reason::Refused, refused.contains(&other));
            }
        }
    }
}

#[test]
fn reasons_are_told_apart() {
    let reason = |a, b| {
        let disk = Disk::new(a, b);
        Slots::find(disk.joined().unwrap().table())
            .unwrap()
            .choose(&[])
            .map(|choice| (choice.slot, choice.reason))
    };
    assert_eq!(reason(State::ACTIVE, State::SPARE), Some((Slot::A, Reason::Proven)));
    assert_eq!(reason(State::ACTIVE, State::UPDATING), Some((Slot::B, Reason::Trial)));
    assert_eq!(reason(State::ACTIVE, TRIED), Some((Slot::A, Reason::Exhausted)));
    assert_eq!(reason(State::UNUSED, State::ACTIVE), Some((Slot::B, Reason::Proven)));
    assert_eq!(reason(State::UNUSED, TRIED), None);
}

#[test]
fn a_slot_is_armed_only_with_something_to_fall_back_to() {
    let slots = |a, b| Slots::find(Disk::new(a, b).joined().unwrap().table()).unwrap();
    let mut both = slots(State::ACTIVE, State::UNUSED);
    assert_eq!(both.arm(Slot::B), Ok(()));
    assert_eq!(both.arm(Slot::A), Err(proto_gpt::slots::ArmError::NoFallback));
    let mut trial = slots(State::UNUSED, TRIED);
    assert_eq!(trial.arm(Slot::A), Err(proto_gpt::slots::ArmError::NoFallback));
    trial.commit(Slot::B);
    assert_eq!(states(&trial), [State::UNUSED, State::ACTIVE]);
}
