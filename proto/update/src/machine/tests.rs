use std::vec::Vec as List;

use proptest::prelude::*;

use super::*;

mod device;

const TIMERS: Timers = Timers {
    window: Duration::from_secs(600),
    fallback: Duration::from_secs(300),
    vault: Duration::from_secs(300),
    again: Duration::from_secs(60),
};

fn version(name: &str) -> Version {
    Version::new(name).unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn view(slot: Slot, state: SlotState, name: &str) -> SlotView {
    SlotView { slot, state, version: Version::new(name), room: 1 << 20 }
}

/// Version 1 in A, which runs; what is in B.
fn slots(current: SlotState, other: SlotState, name: &str) -> Slots {
    Slots { current: view(Slot::A, current, "1"), other: view(Slot::B, other, name) }
}

const QUIET: Inputs = Inputs {
    wanted: None,
    retry: None,
    force: Some(0),
    free: true,
    well: true,
    vault: Lock::Open,
    timers: TIMERS,
};

fn wants(name: &str, activate: bool) -> Inputs {
    Inputs { wanted: Some(Wanted { version: version(name), activate }), ..QUIET }
}

fn machine(told: Slots, memory: Memory) -> Update {
    let mut update = Update::new(at(0), false);
    update.recall(memory);
    update.step(at(0), Event::Slots(told), &QUIET);
    update
}

const KNOWN: Memory = Memory { retry: 0, force: Some(0), failed: [None; MAX_FAILED], forced: false };

/// A machine that runs version 1 and wants version 2, after these events.
fn after(events: &[Event]) -> (Update, Actions) {
    let mut update = machine(slots(SlotState::Active, SlotState::Unused, ""), KNOWN);
    let mut actions = update.step(at(1), Event::Look, &wants("2", true));
    for event in events {
        actions = update.step(at(1), *event, &wants("2", true));
    }
    (update, actions)
}

fn claim(name: &str) -> Event {
    Event::Claim { version: version(name), slot_bytes: 9000 }
}

fn armed() -> Event {
    Event::Slots(slots(SlotState::Active, SlotState::Updating, "2"))
}

/// EVE's row `active / unused`, step by step, and `active / updating`.
#[test]
fn a_wanted_version_is_fetched_written_verified_armed_and_started() {
    let (update, actions) = after(&[]);
    assert_eq!((update.state(), &actions[..]), (State::Fetching, &[Action::Fetch][..]));
    let (update, actions) = after(&[claim("2")]);
    assert_eq!((update.state(), &actions[..]), (State::Emptying, &[Action::Begin { slot_bytes: 9000 }][..]));
    let events = [claim("2"), Event::Emptied];
    assert_eq!(after(&events).0.state(), State::Filling);
    let events = [claim("2"), Event::Emptied, Event::Complete];
    assert_eq!(after(&events), (after(&events).0, Actions::from_slice(&[Action::Verify]).unwrap()));
    let events = [claim("2"), Event::Emptied, Event::Complete, Event::Verified(version("2"))];
    let (update, actions) = after(&events);
    assert_eq!((update.state(), &actions[..]), (State::Arming, &[Action::Change(Change::Arm)][..]));
    let events = [&events[..], &[armed()]].concat();
    let (update, actions) = after(&events);
    assert_eq!((update.state(), &actions[..]), (State::Armed, &[Action::Reset(Ending::Update)][..]));
}

impl PartialEq for Update {
    fn eq(&self, other: &Self) -> bool {
        std::format!("{self:?}") == std::format!("{other:?}")
    }
}

#[test]
fn what_is_not_to_be_activated_is_fetched_and_verified_only() {
    let mut update = machine(slots(SlotState::Active, SlotState::Unused, ""), KNOWN);
    let quiet = wants("2", false);
    for event in
        [Event::Look, claim("2"), Event::Emptied, Event::Complete, Event::Verified(version("2")), Event::Look]
    {
        let actions = update.step(at(1), event, &quiet);
        assert!(!actions.iter().any(|action| matches!(action, Action::Change(_) | Action::Reset(_))));
    }
    assert_eq!(update.state(), State::Loaded);
    let actions = update.step(at(2), Event::Look, &wants("2", true));
    assert_eq!(&actions[..], &[Action::Change(Change::Arm)]);
}

#[test]
fn the_version_that_runs_needs_nothing_done() {
    let mut update = machine(slots(SlotState::Active, SlotState::Unused, "2"), KNOWN);
    assert!(update.step(at(1), Event::Look, &wants("1", true)).is_empty());
    assert_eq!(update.trouble(&wants("1", true).wanted.unwrap()), None);
    // The other slot's version is fetched all the same.
    assert_eq!(&update.step(at(1), Event::Look, &wants("2", true))[..], &[Action::Fetch]);
}

#[test]
fn another_version_than_was_wanted_is_refused_at_its_head_and_after_it_was_written() {
    let (update, actions) = after(&[claim("3")]);
    assert_eq!((update.state(), &actions[..]), (State::Settled, &[Action::Stop][..]));
    let wanted = Wanted { version: version("2"), activate: true };
    assert_eq!(update.trouble(&wanted), Some(Trouble::OtherVersion(version("3"))));
    let (mut update, actions) =
        after(&[claim("2"), Event::Emptied, Event::Complete, Event::Verified(version("3"))]);
    assert!(actions.is_empty() && update.state() == State::Settled);
    assert_eq!(update.trouble(&wanted), Some(Trouble::OtherVersion(version("3"))));
    // It is not fetched again, whatever time passes; another version is.
    assert!(update.step(at(999_999), Event::Look, &wants("2", true)).is_empty());
    assert_eq!(&update.step(at(999_999), Event::Look, &wants("4", true))[..], &[Action::Fetch]);
}

#[test]
fn what_storage_refuses_is_not_armed_and_what_the_disk_refuses_is_tried_later() {
    for before in [&[claim("2"), Event::Emptied, Event::Complete][..], &[claim("2"), Event::Emptied][..]] {
        for (refused, retried) in [(Refused::Payload, false), (Refused::Later, true), (Refused::State, true)]
        {
            let events = [before, &[Event::Refused(refused)]].concat();
            let (mut update, actions) = after(&events);
            assert_eq!(update.state(), State::Settled);
            assert_eq!(actions.contains(&Action::AskSlots), refused == Refused::State);
            assert!(update.step(at(60), Event::Look, &wants("2", true)).is_empty(), "not at once");
            let actions = update.step(at(61), Event::Look, &wants("2", true));
            assert_eq!(!actions.is_empty(), retried, "{refused:?}");
            assert!(!actions.contains(&Action::Change(Change::Arm)), "not without verifying");
        }
    }
}

#[test]
fn content_that_is_none_bars_its_version_until_the_counter_changes() {
    let (mut update, actions) = after(&[claim("2"), Event::Emptied, Event::Unusable]);
    assert_eq!((update.state(), &actions[..]), (State::Settled, &[Action::Stop][..]));
    assert!(update.step(at(9999), Event::Look, &wants("2", true)).is_empty());
    let retry = Inputs { retry: Some(1), ..wants("2", true) };
    let actions = update.step(at(9999), Event::Look, &retry);
    assert_eq!(&actions[..], &[Action::Keep, Action::Fetch]);
    assert_eq!(update.memory().retry, 1);
}

#[test]
fn content_that_begins_anew_empties_the_slot_anew() {
    let (_, actions) = after(&[claim("2"), Event::Emptied, Event::Restart, claim("2")]);
    assert_eq!(&actions[..], &[Action::Begin { slot_bytes: 9000 }]);
}

#[test]
fn storage_may_go_and_come_back_anywhere() {
    let told = Event::Slots(slots(SlotState::Active, SlotState::Unused, "2"));
    let whole = [claim("2"), Event::Emptied, Event::Complete, Event::Verified(version("2"))];
    for length in 0..=whole.len() {
        let events = [&whole[..length], &[Event::Lost]].concat();
        let (mut update, actions) = after(&events);
        assert_eq!(update.state(), State::Blind);
        assert_eq!(actions.contains(&Action::Stop), length < 3, "{length}");
        let actions = update.step(at(2), told, &wants("2", true));
        // What was whole is verified again, for a new life of storage knows of nothing.
        let expected = if length < 3 { Action::Fetch } else { Action::Verify };
        assert_eq!(&actions[..], &[expected], "{length}");
    }
    // It had armed the slot before it ended.
    let (mut update, _) = after(&[&whole[..], &[Event::Lost]].concat());
    assert_eq!(&update.step(at(2), armed(), &wants("2", true))[..], &[Action::Reset(Ending::Update)]);
}

#[test]
fn what_is_withdrawn_stops_wherever_it_is() {
    let whole = [claim("2"), Event::Emptied, Event::Complete];
    for length in 0..=whole.len() {
        let (mut update, _) = after(&whole[..length]);
        let actions = update.step(at(2), Event::Look, &QUIET);
        assert_eq!(update.state(), State::Settled);
        assert_eq!(actions.contains(&Action::Stop), length < 3);
        // Late answers change nothing.
        for event in
            [Event::Emptied, Event::Verified(version("2")), Event::Complete, claim("2"), Event::Restart]
        {
            assert!(update.step(at(2), event, &QUIET).is_empty());
        }
    }
    let mut update = machine(slots(SlotState::Active, SlotState::Updating, "2"), KNOWN);
    update.goes_on();
    let mut update = Update { fresh: false, ..update };
    update.state = State::Armed;
    update.target = Some(version("2"));
    let actions = update.step(at(2), Event::Look, &QUIET);
    assert_eq!(&actions[..], &[Action::Change(Change::Abandon)]);
    let told = Event::Slots(slots(SlotState::Active, SlotState::Unused, "2"));
    update.step(at(2), told, &QUIET);
    assert_eq!(update.state(), State::Settled);
}

#[test]
fn a_start_that_should_have_been_another_is_not_repeated_for_ever() {
    let mut update = Update::new(at(0), false);
    update.recall(KNOWN);
    let actions = update.step(at(0), armed(), &wants("2", true));
    assert_eq!(&actions[..], &[Action::Change(Change::Abandon)]);
    update.step(at(1), Event::Slots(slots(SlotState::Active, SlotState::Unused, "2")), &wants("2", true));
    assert_eq!(update.trouble(&wants("2", true).wanted.unwrap()), Some(Trouble::NotStarted));
    assert_eq!(update.state(), State::Settled);
    // A later life in the same start finds what an earlier one has armed.
    let mut update = Update::new(at(0), false);
    update.goes_on();
    assert_eq!(&update.step(at(0), armed(), &wants("2", true))[..], &[Action::Reset(Ending::Update)]);
}

/// A machine that tests version 1; B has version 0.
fn testing() -> Update {
    machine(slots(SlotState::InProgress, SlotState::Active, "0"), KNOWN)
}

fn committed() -> Event {
    Event::Slots(slots(SlotState::Active, SlotState::Unused, "0"))
}

/// EVE's row `inprogress / active`, test window passed.
#[test]
fn what_was_reached_and_is_well_for_the_whole_window_is_committed() {
    let mut update = testing();
    assert!(update.is_testing());
    assert_eq!(update.test_left(at(5), &TIMERS), Some(at(600)));
    update.reached(at(10), Class::Success);
    assert_eq!(update.test_left(at(110), &TIMERS), Some(at(500)));
    assert_eq!(update.deadline(&QUIET), Some(at(610)));
    assert!(update.step(at(609), Event::Look, &QUIET).is_empty());
    assert_eq!(&update.step(at(610), Event::Look, &QUIET)[..], &[Action::Change(Change::Commit)]);
    assert!(update.step(at(611), committed(), &QUIET).is_empty());
    assert_eq!((update.state(), update.is_testing()), (State::Settled, false));
}

#[test]
fn a_request_under_test_waits_for_its_end() {
    let mut update = testing();
    update.reached(at(0), Class::Success);
    let retry = Inputs { retry: Some(9), ..wants("2", true) };
    assert!(update.step(at(1), Event::Look, &retry).is_empty());
    assert_eq!(update.memory().retry, 0, "the counter is not looked at under test");
    update.step(at(600), Event::Look, &retry);
    let actions = update.step(at(601), committed(), &retry);
    assert_eq!(&actions[..], &[Action::Keep, Action::Fetch]);
}

/// EVE's row `inprogress / active`, everything else.
#[test]
fn what_is_lost_ill_or_locked_falls_back() {
    type Story = fn(&mut Update) -> Inputs;
    let stories: [(&str, u64, Ending, Story); 6] = [
        ("never reached", 300, Ending::Fallback, |_| QUIET),
        ("lost", 410, Ending::Fallback, |update| {
            update.reached(at(10), Class::Success);
            update.reached(at(110), Class::Fail);
            update.reached(at(170), Class::Fail);
            QUIET
        }),
        ("not well", 303, Ending::Fallback, |update| {
            update.reached(at(1), Class::Success);
            let ill = Inputs { well: false, ..QUIET };
            update.step(at(3), Event::Look, &ill);
            ill
        }),
        ("locked", 310, Ending::VaultFailed, |update| {
            update.reached(at(10), Class::Success);
            let locked = Inputs { vault: Lock::Locked, ..QUIET };
            update.step(at(10), Event::Look, &locked);
            locked
        }),
        ("locked later", 750, Ending::VaultFailed, |update| {
            update.reached(at(10), Class::Success);
            update.step(at(20), Event::Look, &QUIET);
            let locked = Inputs { vault: Lock::Locked, ..QUIET };
            update.step(at(450), Event::Look, &locked);
            locked
        }),
        ("storage away", 305, Ending::Fallback, |update| {
            update.reached(at(1), Class::Success);
            let ill = Inputs { well: false, ..QUIET };
            update.step(at(5), Event::Lost, &ill);
            ill
        }),
    ];
    for (name, seconds, ending, story) in stories {
        let mut update = testing();
        let inputs = story(&mut update);
        assert_eq!(update.deadline(&inputs), Some(at(seconds)), "{name}");
        let early = update.step(at(seconds) - Duration::from_nanos(1), Event::Look, &inputs);
        assert!(early.is_empty(), "{name}");
        let actions = update.step(at(seconds), Event::Look, &inputs);
        assert_eq!(&actions[..], &[Action::Reset(ending)], "{name}");
        assert_eq!(update.state(), State::Leaving(ending));
        // It has been said once, and nothing is committed any more.
        for event in [Event::Look, committed(), Event::Lost] {
            assert!(update.step(at(9999), event, &QUIET).is_empty(), "{name}");
        }
    }
}

#[test]
fn a_temporary_failure_begins_the_window_anew_and_keeps_the_version() {
    let mut update = testing();
    update.reached(at(10), Class::Success);
    update.reached(at(500), Class::TemporaryFail);
    assert!(update.step(at(700), Event::Look, &QUIET).is_empty());
    // Not while the last answer was none.
    assert!(update.step(at(2000), Event::Look, &QUIET).is_empty());
    update.reached(at(2001), Class::Success);
    assert_eq!(&update.step(at(2001), Event::Look, &QUIET)[..], &[Action::Change(Change::Commit)]);
}

#[test]
fn one_failure_at_the_end_of_the_window_delays_it() {
    let mut update = testing();
    update.reached(at(10), Class::Success);
    update.reached(at(600), Class::Fail);
    assert!(update.step(at(620), Event::Look, &QUIET).is_empty());
    update.reached(at(650), Class::Success);
    assert_eq!(&update.step(at(650), Event::Look, &QUIET)[..], &[Action::Change(Change::Commit)]);
}

#[test]
fn a_commit_that_the_disk_refuses_is_tried_again() {
    let mut update = testing();
    update.reached(at(10), Class::Success);
    update.step(at(610), Event::Look, &QUIET);
    update.step(at(611), Event::Refused(Refused::Later), &QUIET);
    assert_eq!(update.deadline(&QUIET), Some(at(671)));
    assert_eq!(&update.step(at(671), Event::Look, &QUIET)[..], &[Action::Change(Change::Commit)]);
    // Storage is gone before it answers: still under test, and the window is not forgotten.
    update.step(at(672), Event::Lost, &QUIET);
    let told = Event::Slots(slots(SlotState::InProgress, SlotState::Active, "0"));
    assert_eq!(&update.step(at(673), told, &QUIET)[..], &[Action::Change(Change::Commit)]);
}

#[test]
fn a_trial_whose_storage_never_comes_up_falls_back() {
    let mut update = Update::new(at(2), true);
    update.reached(at(3), Class::Success);
    let ill = Inputs { well: false, ..QUIET };
    update.step(at(4), Event::Look, &ill);
    assert_eq!(&update.step(at(304), Event::Look, &ill)[..], &[Action::Reset(Ending::Fallback)]);
}

/// Another machine in place of one that ended, at this time, which storage tells that version 1 is under test.
fn another(update: &Update, seconds: u64) -> (Update, Actions) {
    let mut anew = Update::new(at(seconds), true);
    anew.goes_on();
    anew.resume(at(seconds), update.course());
    anew.recall(update.memory());
    let told = Event::Slots(slots(SlotState::InProgress, SlotState::Active, "0"));
    let actions = anew.step(at(seconds), told, &QUIET);
    (anew, actions)
}

#[test]
fn the_times_of_a_test_go_on_in_a_later_life() {
    // It was never reached, in neither of them.
    let (mut update, actions) = another(&testing(), 200);
    assert!(actions.is_empty());
    assert_eq!(update.deadline(&QUIET), Some(at(300)));
    assert_eq!(&update.step(at(300), Event::Look, &QUIET)[..], &[Action::Reset(Ending::Fallback)]);
    // One that ended when that was due does it at once.
    assert_eq!(&another(&testing(), 301).1[..], &[Action::Reset(Ending::Fallback)]);
    // It was reached in the first, and has to be again.
    let mut update = testing();
    update.reached(at(10), Class::Success);
    let (mut update, _) = another(&update, 500);
    assert_eq!((update.deadline(&QUIET), update.test_left(at(510), &TIMERS)), (Some(at(800)), Some(at(100))));
    update.reached(at(510), Class::Success);
    assert!(update.step(at(609), Event::Look, &QUIET).is_empty());
    assert_eq!(&update.step(at(610), Event::Look, &QUIET)[..], &[Action::Change(Change::Commit)]);
    update.step(at(611), committed(), &QUIET);
    // After that there is no test to go on with, whatever was told when the machine was started.
    assert_eq!(update.course(), None);
    let mut later = Update::new(at(700), true);
    later.resume(at(700), update.course());
    assert!(!later.is_testing());
}

#[test]
fn the_time_of_a_vault_that_is_locked_goes_on_in_a_later_life() {
    let with = |vault| Inputs { vault, ..QUIET };
    let told = Event::Slots(slots(SlotState::InProgress, SlotState::Active, "0"));
    let mut update = testing();
    update.reached(at(10), Class::Success);
    update.step(at(20), Event::Look, &with(Lock::Locked));
    let life = |seconds| {
        let mut anew = Update::new(at(seconds), true);
        anew.goes_on();
        anew.resume(at(seconds), update.course());
        anew.recall(update.memory());
        anew
    };
    // It has not heard of the vault yet, and hears that it is locked still.
    for (begins, ends) in [(200, 320), (400, 410)] {
        let mut anew = life(begins);
        assert!(anew.step(at(begins), told, &with(Lock::Unknown)).is_empty());
        anew.reached(at(begins), Class::Success);
        assert!(anew.step(at(begins + 1), Event::Look, &with(Lock::Unknown)).is_empty());
        let early = anew.step(at(begins.max(ends - 10)), Event::Look, &with(Lock::Locked));
        assert_eq!(early.is_empty(), begins < 320, "{begins}");
        if early.is_empty() {
            assert_eq!(anew.deadline(&with(Lock::Locked)), Some(at(ends)));
            let over = anew.step(at(ends), Event::Look, &with(Lock::Locked));
            assert_eq!(&over[..], &[Action::Reset(Ending::VaultFailed)]);
        }
    }
    // Or that it is open: another lock is another time.
    let mut anew = life(400);
    anew.step(at(400), told, &with(Lock::Unknown));
    anew.reached(at(400), Class::Success);
    anew.step(at(401), Event::Look, &with(Lock::Open));
    assert_eq!(anew.course().and_then(|course| course.locked), None);
    assert!(anew.step(at(402), Event::Look, &with(Lock::Locked)).is_empty());
}

#[test]
fn a_version_whose_machine_ends_again_and_again_under_test_falls_back() {
    let mut update = testing();
    for life in 1..=MAX_LIVES {
        assert!(!update.ends_again_and_again());
        update.reached(at(u64::from(life) * 100 - 10), Class::Success);
        let (anew, actions) = another(&update, u64::from(life) * 100);
        assert_eq!(actions.is_empty(), life < MAX_LIVES, "{life}");
        update = anew;
    }
    assert_eq!(update.state(), State::Leaving(Ending::Fallback));
    assert!(update.ends_again_and_again());
    // Before storage has told, the test may be over.
    let mut blind = Update::new(at(310), true);
    blind.resume(at(310), update.course());
    assert!(blind.step(at(310), Event::Look, &QUIET).is_empty());
    assert!(blind.step(at(310), committed(), &QUIET).is_empty() && !blind.is_testing());
}

fn failed() -> Slots {
    slots(SlotState::Active, SlotState::InProgress, "2")
}

/// EVE's rows `active / inprogress`.
#[test]
fn a_version_that_fell_back_is_remembered_and_refused() {
    let mut update = machine(failed(), KNOWN);
    assert!(update.memory().has_failed(version("2")));
    for seconds in [1, 100_000] {
        assert!(update.step(at(seconds), Event::Look, &wants("2", true)).is_empty());
    }
    let wanted = wants("2", true).wanted.unwrap();
    assert_eq!(update.trouble(&wanted), Some(Trouble::FailedBefore));
    // Also when the slot holds something else by then.
    let memory = update.memory();
    let mut update = machine(slots(SlotState::Active, SlotState::Unused, "3"), memory);
    assert!(update.step(at(1), Event::Look, &wants("2", true)).is_empty());
    assert_eq!(update.trouble(&wanted), Some(Trouble::FailedBefore));
}

#[test]
fn the_last_versions_that_failed_are_remembered() {
    let all = ["1", "2", "3", "2", "4", "5"].map(version);
    let memory = all.into_iter().fold(KNOWN, Memory::failing);
    assert_eq!(memory.failed, ["5", "4", "2", "3"].map(|name| Some(version(name))));
    let memory = memory.forgiving(Some(version("4")));
    assert_eq!(memory.failed, [Some(version("5")), Some(version("2")), Some(version("3")), None]);
}

#[test]
fn another_version_overwrites_the_one_that_failed() {
    let mut update = machine(failed(), KNOWN);
    assert_eq!(&update.step(at(1), Event::Look, &wants("3", true))[..], &[Action::Fetch]);
}

#[test]
fn the_retry_counter_has_it_tried_again_without_being_written() {
    let mut update = machine(failed(), KNOWN);
    let retry = Inputs { retry: Some(1), ..wants("2", true) };
    let actions = update.step(at(1), Event::Look, &retry);
    assert_eq!(&actions[..], &[Action::Keep, Action::Change(Change::TryOther)]);
    assert_eq!(update.memory(), Memory { retry: 1, ..KNOWN });
    let actions = update.step(at(2), armed(), &retry);
    assert_eq!(&actions[..], &[Action::Reset(Ending::Update)]);
    // It fails again: once more only for another counter.
    let mut update = machine(failed(), update.memory());
    assert!(update.step(at(1), Event::Look, &retry).is_empty());
    let again = Inputs { retry: Some(0), ..retry };
    assert!(update.step(at(1), Event::Look, &again).contains(&Action::Change(Change::TryOther)));
    // And succeeds.
    let mut update = machine(slots(SlotState::InProgress, SlotState::Active, "0"), update.memory());
    update.reached(at(0), Class::Success);
    update.step(at(600), Event::Look, &QUIET);
    update.step(at(601), committed(), &QUIET);
    assert_eq!(update.memory().failed, KNOWN.failed);
}

#[test]
fn a_retry_that_does_not_come_about_is_not_forgotten() {
    let retry = Inputs { retry: Some(1), ..wants("2", true) };
    for event in [Event::Refused(Refused::Later), Event::Refused(Refused::State), Event::Lost] {
        let mut update = machine(failed(), KNOWN);
        update.step(at(1), Event::Look, &retry);
        let actions = update.step(at(2), event, &retry);
        let actions = if event == Event::Lost {
            update.step(at(2), Event::Slots(failed()), &retry)
        } else {
            assert!(actions.contains(&Action::Keep) && update.memory().retry == 0);
            update.step(at(62), Event::Look, &retry)
        };
        assert!(actions.contains(&Action::Change(Change::TryOther)), "{event:?}: {actions:?}");
    }
    // The slot is damaged: the version is fetched once more.
    let mut update = machine(failed(), KNOWN);
    update.step(at(1), Event::Look, &retry);
    let actions = update.step(at(2), Event::Refused(Refused::Payload), &retry);
    assert_eq!(&actions[..], &[Action::Change(Change::Abandon)]);
    let told = Event::Slots(slots(SlotState::Active, SlotState::Unused, "2"));
    assert_eq!(&update.step(at(3), told, &retry)[..], &[Action::Fetch]);
}

#[test]
fn the_retry_counter_alone_is_only_recorded() {
    let mut update = machine(slots(SlotState::Active, SlotState::Unused, "0"), KNOWN);
    let actions = update.step(at(1), Event::Look, &Inputs { retry: Some(5), ..wants("1", true) });
    assert_eq!((&actions[..], update.memory().retry), (&[Action::Keep][..], 5));
}

/// EVE's row `active / unused with version`, §8.7.
#[test]
fn a_forced_fallback_tries_the_other_slot_and_does_not_come_back_by_itself() {
    let told = slots(SlotState::Active, SlotState::Spare, "0");
    let mut update = machine(told, Memory::default());
    // The first value that is ever seen is only stored.
    assert_eq!((update.memory().force, update.state()), (Some(0), State::Settled));
    let inputs = wants("1", true);
    let forced = Inputs { force: Some(1), ..inputs };
    let actions = update.step(at(1), Event::Look, &forced);
    assert_eq!(&actions[..], &[Action::Keep, Action::Change(Change::TryOther)]);
    let updating = Event::Slots(slots(SlotState::Active, SlotState::Updating, "0"));
    assert_eq!(&update.step(at(2), updating, &forced)[..], &[Action::Reset(Ending::Update)]);
    assert!(update.step(at(3), Event::Look, &forced).is_empty(), "it is not withdrawn");
    // Version 0 runs in B; the configuration still names version 1.
    let kept = update.memory();
    let swapped =
        |current, other| Slots { current: view(Slot::B, current, "0"), other: view(Slot::A, other, "1") };
    let mut update = machine(swapped(SlotState::InProgress, SlotState::Active), kept);
    update.reached(at(0), Class::Success);
    update.step(at(600), Event::Look, &forced);
    update.step(at(601), Event::Slots(swapped(SlotState::Active, SlotState::Spare)), &forced);
    assert!(update.step(at(9999), Event::Look, &forced).is_empty());
    assert_eq!(update.trouble(&inputs.wanted.unwrap()), Some(Trouble::FailedBefore));
    assert!(!update.memory().forced);
}

#[test]
fn a_forced_fallback_that_is_not_possible_stays_pending() {
    let forced = Inputs { force: Some(1), ..QUIET };
    for (state, name) in [
        (SlotState::Unused, ""),
        // Signed, perhaps; it has proven nothing here, and storage would say no each time.
        (SlotState::Unused, "0"),
        (SlotState::Spare, "1"),
        (SlotState::InProgress, "2"),
    ] {
        let mut update = machine(slots(SlotState::Active, state, name), KNOWN);
        let actions = update.step(at(1), Event::Look, &forced);
        assert!(!actions.contains(&Action::Change(Change::TryOther)), "{state:?}");
        assert_eq!(update.memory().force, Some(0));
        assert!(update.step(at(99), Event::Look, &forced).is_empty(), "{state:?}: nor later");
        update.step(at(100), Event::Slots(slots(SlotState::Active, SlotState::Spare, "0")), &forced);
        let actions = update.step(at(101), Event::Look, &forced);
        assert!(actions.contains(&Action::Change(Change::TryOther)) || update.state() == State::Arming);
    }
    // A slot that is damaged is none to go to, and what runs is none that failed.
    let mut update = machine(slots(SlotState::Active, SlotState::Spare, "0"), KNOWN);
    update.step(at(1), Event::Look, &forced);
    update.step(at(2), Event::Refused(Refused::Payload), &forced);
    assert_eq!(update.memory(), Memory { force: Some(1), ..KNOWN });
}

#[test]
fn nothing_begins_before_the_memory_is_there_or_while_the_device_is_not_free() {
    let mut update = Update::new(at(0), false);
    update.step(at(0), Event::Slots(slots(SlotState::Active, SlotState::Unused, "0")), &wants("2", true));
    assert_eq!(update.state(), State::Settled);
    update.recall(KNOWN);
    let busy = Inputs { free: false, retry: Some(7), force: Some(7), ..wants("2", true) };
    assert!(update.step(at(1), Event::Look, &busy).is_empty());
    assert_eq!(&update.step(at(2), Event::Look, &wants("2", true))[..], &[Action::Fetch]);
}

/// Facts file, section 5.6: while the vault is locked, updates of the base OS still work.
#[test]
fn while_the_vault_stays_locked_updates_go_on_without_what_was_kept() {
    let locked = |inputs: Inputs| Inputs { vault: Lock::Locked, retry: Some(7), force: Some(7), ..inputs };
    let mut update = Update::new(at(0), false);
    update.step(at(10), Event::Slots(failed()), &locked(wants("3", true)));
    assert_eq!(update.state(), State::Settled, "it may open yet, and tell what failed");
    assert_eq!(update.deadline(&locked(QUIET)), Some(at(310)));
    // The slots tell of one version that failed; counters wait, whatever they say.
    assert!(update.step(at(310), Event::Look, &locked(wants("2", true))).is_empty());
    assert_eq!(update.trouble(&wants("2", true).wanted.unwrap()), Some(Trouble::FailedBefore));
    assert_eq!(update.deadline(&locked(QUIET)), None);
    assert_eq!(&update.step(at(311), Event::Look, &locked(wants("3", true)))[..], &[Action::Fetch]);
    for event in [claim("3"), Event::Emptied, Event::Complete] {
        update.step(at(312), event, &locked(wants("3", true)));
    }
    let actions = update.step(at(313), Event::Verified(version("3")), &locked(wants("3", true)));
    assert_eq!(&actions[..], &[Action::Change(Change::Arm)]);
    // One that opens and closes again has all of its time again.
    let mut update = Update::new(at(0), false);
    update.step(at(0), Event::Slots(failed()), &locked(wants("3", true)));
    update.step(at(200), Event::Look, &wants("3", true));
    assert!(update.step(at(310), Event::Look, &locked(wants("3", true))).is_empty());
    // What was kept is there: it counts.
    update.recall(KNOWN.failing(version("3")));
    let actions = update.step(at(999), Event::Look, &Inputs { retry: Some(0), ..wants("3", true) });
    assert!(!actions.contains(&Action::Fetch), "{actions:?}");
}

#[test]
fn bad_content_is_not_fetched_for_ever_while_the_vault_is_locked() {
    let inputs = Inputs { vault: Lock::Locked, ..wants("3", true) };
    let mut update = Update::new(at(0), false);
    update.step(at(0), Event::Slots(failed()), &inputs);
    assert_eq!(&update.step(at(310), Event::Look, &inputs)[..], &[Action::Fetch]);
    update.step(at(311), Event::Unusable, &inputs);
    assert_eq!(update.trouble(&inputs.wanted.unwrap()), Some(Trouble::Refused));
    assert!(update.step(at(312), Event::Look, &inputs).is_empty());
}

/// The other slot was emptied for a version that came to nothing, which storage does not tell of by itself.
#[test]
fn a_slot_that_was_emptied_is_not_tried() {
    let mut update = machine(failed(), KNOWN);
    let wanted = Inputs { retry: Some(0), ..wants("3", true) };
    assert_eq!(&update.step(at(1), Event::Look, &wanted)[..], &[Action::Fetch]);
    for event in [claim("3"), Event::Emptied, Event::Unusable] {
        update.step(at(2), event, &wanted);
    }
    let again = Inputs { retry: Some(1), ..wants("2", true) };
    let actions = update.step(at(3), Event::Look, &again);
    assert!(!actions.contains(&Action::Change(Change::TryOther)), "{actions:?}");
    assert!(actions.contains(&Action::Fetch), "{actions:?}");
}

/// The schedules below are none in which nothing happens.
#[test]
fn schedules_reach_everything() {
    let mut all = device::Seen::default();
    for seed in 0..300 {
        let seen = device::Device::new(seed).live(400);
        all.armed += seen.armed;
        all.committed += seen.committed;
        all.fell_back += seen.fell_back;
        all.refused += seen.refused;
        all.tried_other += seen.tried_other;
    }
    let device::Seen { armed, committed, fell_back, refused, tried_other } = all;
    let least = [armed, committed, fell_back, refused, tried_other].into_iter().min();
    assert!(least > Some(30), "{all:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The rules, on a model of device, storage, selector and controller that does what it likes.
    #[test]
    fn whatever_happens(seed in any::<u64>()) {
        device::Device::new(seed).live(400);
    }
}
