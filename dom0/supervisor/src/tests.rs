//! Tables of states and events, and random schedules.

mod schedules;

use core::time::Duration;
use std::{vec, vec::Vec};

use proto_manifest::table::MAX_DOMAINS;

use crate::{
    ANSWER_WITHIN, Boot, Command, Event, FEED_EVERY, HUNG_WITHIN, Input, Instant, Life, Next, Notice,
    PING_EVERY, READY_LIMIT, Reason, SECOND_CHANCE, START_LIMIT, ServiceId, Supervisor,
    history::{FIRST_DELAY, History, LIMIT, LONGEST_DELAY, WINDOW},
    service::{Service, State},
    supervisor::Place,
};

const NET: ServiceId = ServiceId(0);
const CONTROL: ServiceId = ServiceId(1);

fn ms(count: u64) -> Instant {
    Duration::from_millis(count)
}

/// net, and control which needs it.
fn two() -> Supervisor {
    Supervisor::new([Place { needs: 0, vital: true }, Place { needs: 1, vital: true }], Boot::Fresh)
}

/// One service that is healthy from 10 ms on.
fn healthy() -> Supervisor {
    let mut one = Supervisor::new([Place { needs: 0, vital: true }], Boot::Fresh);
    assert_eq!(one.step(ms(0), Input::Tick), [Command::Build(NET, Life(1)), Command::Feed]);
    assert_eq!(one.step(ms(5), Input::Of(NET, Life(1), Event::Built)), []);
    assert_eq!(one.step(ms(10), Input::Of(NET, Life(1), Event::Ready)), []);
    one
}

fn state(supervisor: &Supervisor, id: ServiceId) -> State {
    supervisor.service(id).unwrap().state()
}

fn of(id: ServiceId, life: u32, event: Event) -> Input {
    Input::Of(id, Life(life), event)
}

#[test]
fn a_hung_service_is_ended_in_time() {
    let mut one = healthy();
    let ask = ms(10) + PING_EVERY;
    assert_eq!(one.deadline(), Some(ask));
    assert_eq!(one.step(ask, Input::Tick), [Command::Ping(NET, Life(1))]);
    let again = ask + ANSWER_WITHIN;
    assert_eq!(one.deadline(), Some(again));
    assert_eq!(one.step(again, Input::Tick), [Command::Ping(NET, Life(1))]);
    let hung = again + SECOND_CHANCE;
    assert_eq!(one.deadline(), Some(hung));
    let died = Notice::Died(Reason::Hung, Next::Restart(ms(0)));
    assert_eq!(one.step(hung, Input::Tick), [Command::Tell(NET, died), Command::End(NET, Life(1))]);
    assert!(hung - ms(10) < HUNG_WITHIN, "{hung:?}");
    // It is gone before the next one is built.
    assert_eq!(one.step(hung + ms(1), of(NET, 1, Event::Gone)), [Command::Build(NET, Life(2))]);
    one.step(hung + ms(9), of(NET, 2, Event::Built));
    let recovered = Command::Tell(NET, Notice::Recovered(ms(60)));
    assert_eq!(one.step(hung + ms(60), of(NET, 2, Event::Ready)), [recovered]);
    assert_eq!(one.step(hung + ms(61), of(NET, 2, Event::Ready)), [], "told once");
}

/// A step as the shell makes it, with `resting` at rest. Says whether anybody was looked at, too.
fn step_with(supervisor: &mut Supervisor, now: Instant, resting: &[ServiceId]) -> (bool, Vec<Command>) {
    let looks: Vec<_> = supervisor.to_look_at(now).collect();
    for &(id, life) in looks.iter().filter(|(id, _)| resting.contains(id)) {
        supervisor.at_rest(now, id, life);
    }
    (!looks.is_empty(), supervisor.step(now, Input::Tick).to_vec())
}

#[test]
fn services_at_rest_are_never_asked_and_looked_at_together_once_a_second() {
    let mut two = both();
    two.step(ms(150), of(CONTROL, 1, Event::Heard));
    let (mut now, mut looks, mut steps) = (ms(0), 0, 0);
    while now < ms(60_000) {
        now = two.deadline().unwrap();
        let (looked, commands) = step_with(&mut two, now, &[NET, CONTROL]);
        assert!(commands.is_empty() || commands == [Command::Feed], "{commands:?}");
        looks += u32::from(looked);
        steps += 1;
    }
    assert!(looks <= 60 && steps <= 60, "{looks} looks, {steps} wake-ups of dom0 in a minute");
}

#[test]
fn one_that_stops_resting_is_found_in_time() {
    let mut two = both();
    let rested = two.deadline().unwrap();
    step_with(&mut two, rested, &[NET, CONTROL]);
    // It hangs from just after the look on.
    let ended = loop {
        let now = two.deadline().unwrap();
        let (_, commands) = step_with(&mut two, now, &[CONTROL]);
        assert!(!commands.contains(&Command::Ping(CONTROL, Life(1))), "{commands:?}");
        if commands.contains(&Command::End(NET, Life(1))) {
            break now;
        }
    };
    assert!(ended - rested < HUNG_WITHIN, "{ended:?}");
}

#[test]
fn rest_is_no_answer_and_changes_nothing_before_its_time() {
    let mut one = healthy();
    let before = state(&one, NET);
    assert_eq!(one.to_look_at(ms(500)).count(), 0);
    one.at_rest(ms(500), NET, Life(1));
    assert_eq!(state(&one, NET), before);
    let ask = ms(10) + PING_EVERY;
    one.at_rest(ask, NET, Life(0));
    assert_eq!(one.step(ask, Input::Tick), [Command::Ping(NET, Life(1))], "an earlier life rested");
    for until in [ANSWER_WITHIN, ANSWER_WITHIN + SECOND_CHANCE] {
        assert_eq!(one.to_look_at(ask + until).count(), 0, "asked already");
        one.at_rest(ask + until, NET, Life(1));
        one.step(ask + until, Input::Tick);
    }
    assert!(matches!(state(&one, NET), State::Ending { .. }));
}

#[test]
fn whatever_is_said_is_an_answer() {
    for silent in [ms(0), PING_EVERY, PING_EVERY + ANSWER_WITHIN] {
        let mut one = healthy();
        for at in [PING_EVERY, PING_EVERY + ANSWER_WITHIN] {
            if at <= silent {
                one.step(ms(10) + at, Input::Tick);
            }
        }
        let now = ms(20) + silent;
        one.step(now, of(NET, 1, Event::Heard));
        assert_eq!(state(&one, NET), State::Healthy { ask: now + PING_EVERY });
    }
    // Who talks all the time is never asked.
    let mut one = healthy();
    for now in (20..20_000).step_by(700) {
        let commands = one.step(ms(now), of(NET, 1, Event::Heard));
        assert!(!commands.contains(&Command::Ping(NET, Life(1))), "{commands:?}");
    }
}

#[test]
fn a_dom0_that_was_held_up_does_not_blame_the_service() {
    let mut one = healthy();
    one.step(ms(1010), Input::Tick);
    one.step(ms(9000), Input::Tick);
    assert!(matches!(state(&one, NET), State::Suspect { forgiven: 0, .. }));
    let mut now = ms(9000);
    for forgiven in 1..=3 {
        now += SECOND_CHANCE + ms(2000);
        assert_eq!(one.step(now, Input::Tick).iter().filter(|c| **c != Command::Feed).count(), 0);
        assert!(matches!(state(&one, NET), State::Suspect { forgiven: count, .. } if count == forgiven));
    }
    // Not for ever.
    now += SECOND_CHANCE + ms(2000);
    assert!(one.step(now, Input::Tick).contains(&Command::End(NET, Life(1))));
}

#[test]
fn a_service_that_never_speaks_is_started_again() {
    let mut one = Supervisor::new([Place { needs: 0, vital: true }], Boot::Fresh);
    one.step(ms(0), Input::Tick);
    one.step(ms(5), of(NET, 1, Event::Built));
    assert_eq!(one.service(NET).unwrap().deadline(), Some(ms(5) + START_LIMIT));
    let commands = one.step(ms(5) + START_LIMIT, Input::Tick);
    let died = Notice::Died(Reason::StartTimeout, Next::Restart(ms(0)));
    assert_eq!(commands[..2], [Command::Tell(NET, died), Command::End(NET, Life(1))]);
}

/// Lets time pass until `end`; who is asked answers at once, who is ended is gone at once and built anew. Returns
/// what people are told, and whether the watchdog was fed at the end.
fn answer_until(supervisor: &mut Supervisor, end: Instant) -> (Vec<(Instant, ServiceId, Notice)>, bool) {
    let (mut told, mut now, mut fed) = (vec![], ms(0), false);
    while let Some(at) = supervisor.deadline().filter(|&at| at <= end) {
        now = now.max(at);
        let mut inputs = vec![Input::Tick];
        while let Some(input) = inputs.pop() {
            for command in supervisor.step(now, input) {
                match command {
                    Command::Ping(id, life) => inputs.push(Input::Of(id, life, Event::Heard)),
                    Command::End(id, life) => inputs.push(Input::Of(id, life, Event::Gone)),
                    Command::Build(id, life) => {
                        inputs.push(Input::Of(id, life, Event::Heard));
                        inputs.push(Input::Of(id, life, Event::Built));
                    }
                    Command::Tell(id, notice) => told.push((now, id, notice)),
                    Command::Feed => fed = true,
                }
            }
        }
        if now + FEED_EVERY * 2 < end {
            fed = false;
        }
    }
    (told, fed)
}

fn not_ready(next: Next) -> Notice {
    Notice::Died(Reason::NotReady, next)
}

#[test]
fn one_that_answers_and_never_does_its_work_is_ended() {
    let mut one = Supervisor::new([Place { needs: 0, vital: true }], Boot::Fresh);
    one.step(ms(0), Input::Tick);
    one.step(ms(5), of(NET, 1, Event::Built));
    one.step(ms(10), of(NET, 1, Event::Heard));
    let (told, _) = answer_until(&mut one, READY_LIMIT + ms(4));
    assert_eq!(told, []);
    let (told, _) = answer_until(&mut one, READY_LIMIT + ms(5));
    assert_eq!(told, [(READY_LIMIT + ms(5), NET, not_ready(Next::Restart(ms(0))))]);
    // The next one does its work, however long after that it says nothing new.
    one.step(READY_LIMIT + ms(9), of(NET, 2, Event::Ready));
    assert_eq!(answer_until(&mut one, READY_LIMIT * 20).0, []);
}

#[test]
fn one_that_waits_for_another_has_no_limit_until_that_does_its_work() {
    let mut two = two();
    two.step(ms(0), Input::Tick);
    for (id, at) in [(NET, 1), (CONTROL, 2)] {
        two.step(ms(at), of(id, 1, Event::Built));
        two.step(ms(at), of(id, 1, Event::Heard));
    }
    // net never does, and is ended for that: control is not.
    let (told, _) = answer_until(&mut two, READY_LIMIT * 2);
    assert!(!told.is_empty() && told.iter().all(|&(_, id, _)| id == NET), "{told:?}");
    let life = |two: &Supervisor, id| two.service(id).unwrap().life();
    let now = READY_LIMIT * 2;
    two.step(now, Input::Of(NET, life(&two, NET), Event::Ready));
    // Its time begins anew when net dies and does its work again.
    two.step(now + ms(500), Input::Of(NET, life(&two, NET), Event::Died(Reason::Panicked)));
    two.step(now + ms(600), Input::Of(NET, life(&two, NET), Event::Gone));
    let since = now + ms(20_000);
    answer_until(&mut two, since);
    two.step(since, Input::Of(NET, life(&two, NET), Event::Ready));
    assert_eq!(answer_until(&mut two, since + READY_LIMIT - ms(1)).0, []);
    let (told, _) = answer_until(&mut two, since + READY_LIMIT);
    assert_eq!(told, [(since + READY_LIMIT, CONTROL, not_ready(Next::Restart(ms(0))))]);
}

#[test]
fn one_that_never_does_its_work_is_given_up_and_the_machine_reset_once() {
    for (boot, reset) in [(Boot::Fresh, true), (Boot::Reset, false)] {
        let mut one = Supervisor::new([Place { needs: 0, vital: true }], boot);
        one.step(ms(0), Input::Tick);
        one.step(ms(5), of(NET, 1, Event::Built));
        one.step(ms(10), of(NET, 1, Event::Heard));
        let (told, fed) = answer_until(&mut one, WINDOW + ms(60_000));
        assert_eq!(told.len(), LIMIT + 1, "{told:?}");
        assert_eq!(told[LIMIT - 1].2, not_ready(Next::GiveUp));
        assert!(told[LIMIT - 1].0 < WINDOW, "{told:?}");
        assert_eq!(told[LIMIT].2, if reset { Notice::NotFed } else { Notice::NoUse });
        assert_eq!(fed, !reset);
    }
}

#[test]
fn what_is_needed_is_built_first() {
    let mut two =
        Supervisor::new([Place { needs: 2, vital: true }, Place { needs: 0, vital: true }], Boot::Fresh);
    let commands = two.step(ms(0), Input::Tick);
    assert_eq!(commands, [Command::Build(CONTROL, Life(1)), Command::Build(NET, Life(1)), Command::Feed]);
}

#[test]
fn a_circle_of_needs_is_built_in_the_order_of_the_table() {
    let mut two =
        Supervisor::new([Place { needs: 2, vital: true }, Place { needs: 1, vital: true }], Boot::Fresh);
    let commands = two.step(ms(0), Input::Tick);
    assert_eq!(commands[..2], [Command::Build(NET, Life(1)), Command::Build(CONTROL, Life(1))]);
}

/// Both of [`two`] run.
fn both() -> Supervisor {
    let mut two = two();
    two.step(ms(0), Input::Tick);
    for id in [NET, CONTROL] {
        two.step(ms(1), of(id, 1, Event::Built));
        two.step(ms(2), of(id, 1, Event::Ready));
    }
    two
}

#[test]
fn two_that_died_together_come_back_in_order() {
    let mut two = both();
    two.step(ms(3), of(CONTROL, 1, Event::Died(Reason::Panicked)));
    two.step(ms(3), of(NET, 1, Event::Died(Reason::Shutdown(1))));
    assert_eq!(two.step(ms(4), of(CONTROL, 1, Event::Gone)), [], "net is about to come");
    assert_eq!(
        two.step(ms(5), of(NET, 1, Event::Gone)),
        [Command::Build(NET, Life(2)), Command::Build(CONTROL, Life(2))]
    );
}

#[test]
fn nobody_waits_for_one_that_backs_off() {
    let mut two = both();
    two.step(ms(3), of(NET, 1, Event::Died(Reason::Panicked)));
    two.step(ms(4), of(NET, 1, Event::Gone));
    two.step(ms(5), of(NET, 2, Event::NotBuilt));
    assert_eq!(state(&two, NET), State::BackingOff { until: ms(5) + FIRST_DELAY });
    two.step(ms(6), of(CONTROL, 1, Event::Died(Reason::Channel)));
    assert_eq!(two.step(ms(7), of(CONTROL, 1, Event::Gone)), [Command::Build(CONTROL, Life(2))]);
}

#[test]
fn an_earlier_instance_changes_nothing() {
    let mut one = healthy();
    one.step(ms(20), of(NET, 1, Event::Died(Reason::Panicked)));
    one.step(ms(21), of(NET, 1, Event::Gone));
    let before = state(&one, NET);
    for event in [
        Event::Built,
        Event::NotBuilt,
        Event::Heard,
        Event::Ready,
        Event::Died(Reason::Panicked),
        Event::Gone,
    ] {
        assert_eq!(one.step(ms(22), of(NET, 1, event)), [], "{event:?}");
        assert_eq!(state(&one, NET), before, "{event:?}");
    }
    assert_eq!(one.step(ms(22), of(ServiceId(7), 1, Event::Heard)), [], "there is no such service");
}

#[test]
fn waits_double_up_to_the_longest_and_then_it_is_given_up() {
    let mut history = History::new();
    let nexts: Vec<Next> = (0..LIMIT as u64).map(|n| history.died(ms(n))).collect();
    let mut expected = vec![ms(0)];
    expected.extend((0..LIMIT as u32 - 2).map(|n| (FIRST_DELAY * 2u32.pow(n)).min(LONGEST_DELAY)));
    let mut expected: Vec<Next> = expected.into_iter().map(Next::Restart).collect();
    expected.push(Next::GiveUp);
    assert_eq!(nexts, expected);
    assert!(nexts.contains(&Next::Restart(LONGEST_DELAY)));
}

#[test]
fn old_deaths_are_forgotten() {
    let mut history = History::new();
    for n in 0..100 {
        assert_eq!(history.died(WINDOW * n), Next::Restart(ms(0)));
    }
}

/// Kills the one service until it is given up, and says when.
fn give_up(one: &mut Supervisor) -> (Instant, Vec<Command>) {
    let mut now = ms(20);
    let mut all = Vec::new();
    for _ in 0..1000 {
        let life = one.service(NET).unwrap().life();
        for event in [Event::Died(Reason::Shutdown(3)), Event::Gone] {
            all.extend(one.step(now, Input::Of(NET, life, event)));
        }
        if state(one, NET) == State::GivenUp {
            return (now, all);
        }
        now += LONGEST_DELAY;
        all.extend(one.step(now, Input::Tick));
        let life = one.service(NET).unwrap().life();
        all.extend(one.step(now, Input::Of(NET, life, Event::Built)));
    }
    panic!("never given up");
}

#[test]
fn the_watchdog_is_not_fed_for_a_vital_service_that_is_given_up() {
    let mut one = healthy();
    let (now, all) = give_up(&mut one);
    assert_eq!(all.iter().filter(|c| matches!(c, Command::End(..))).count(), LIMIT);
    assert_eq!(all.iter().filter(|c| **c == Command::Tell(NET, Notice::NotFed)).count(), 1);
    assert!(all.contains(&Command::Feed), "it was fed until then");
    assert_eq!(one.deadline(), None);
    assert_eq!(one.step(now + WINDOW, Input::Tick), [], "neither fed nor built");
    // A person may try again.
    let again = one.step(now + WINDOW, Input::Order(NET));
    assert!(matches!(again[..], [Command::Build(NET, _), Command::Feed]), "{again:?}");
}

#[test]
fn a_vital_service_is_missing_while_it_does_not_do_its_work() {
    let mut two =
        Supervisor::new([Place { needs: 0, vital: true }, Place { needs: 1, vital: false }], Boot::Fresh);
    assert_eq!(two.missing(), Some(NET), "nothing does yet");
    two.step(ms(0), Input::Tick);
    two.step(ms(5), of(NET, 1, Event::Built));
    two.step(ms(6), of(NET, 1, Event::Heard));
    assert_eq!(two.missing(), Some(NET), "to speak is not to work");
    two.step(ms(7), of(NET, 1, Event::Ready));
    assert_eq!(two.missing(), None, "the other one is not vital");
    two.step(ms(8), of(NET, 1, Event::Died(Reason::Panicked)));
    assert_eq!(two.missing(), Some(NET));
    two.step(ms(9), of(NET, 1, Event::Gone));
    two.step(ms(10), of(NET, 2, Event::Built));
    assert_eq!(two.missing(), Some(NET), "the next one has yet to work");
    two.step(ms(11), of(NET, 2, Event::Ready));
    assert_eq!(two.missing(), None);
}

#[test]
fn a_reset_that_did_not_help_is_not_tried_again() {
    // A network card that is not there, on a machine that was reset for that.
    let mut one = Supervisor::new([Place { needs: 0, vital: true }], Boot::Reset);
    let (mut now, mut all) = (ms(0), Vec::new());
    while state(&one, NET) != State::GivenUp {
        all.extend(one.step(now, Input::Tick));
        let life = one.service(NET).unwrap().life();
        all.extend(one.step(now, Input::Of(NET, life, Event::NotBuilt)));
        now += LONGEST_DELAY;
    }
    assert_eq!(all.iter().filter(|c| matches!(c, Command::Build(..))).count(), LIMIT);
    assert_eq!(all.iter().filter(|c| **c == Command::Tell(NET, Notice::NoUse)).count(), 1);
    assert!(one.is_fit());
    assert_eq!(one.step(now + WINDOW, Input::Tick), [Command::Feed]);

    // One that has worked since, and then dies too often, is another matter.
    let mut one = Supervisor::new([Place { needs: 0, vital: true }], Boot::Reset);
    one.step(ms(0), Input::Tick);
    one.step(ms(5), of(NET, 1, Event::Built));
    one.step(ms(10), of(NET, 1, Event::Ready));
    let (_, all) = give_up(&mut one);
    assert!(all.contains(&Command::Tell(NET, Notice::NotFed)) && !one.is_fit(), "{all:?}");

    // And one that is missing is worth one reset.
    let mut one = Supervisor::new([Place { needs: 0, vital: true }], Boot::Fresh);
    one.step(ms(0), Input::Tick);
    one.step(ms(0), of(NET, 1, Event::Built));
    let (_, all) = give_up(&mut one);
    assert!(all.contains(&Command::Tell(NET, Notice::NotFed)) && !one.is_fit(), "{all:?}");
}

#[test]
fn others_are_fed_for_when_one_that_is_not_vital_is_given_up() {
    let mut one = Supervisor::new([Place::default()], Boot::Fresh);
    one.step(ms(0), Input::Tick);
    one.step(ms(0), of(NET, 1, Event::Built));
    let (now, all) = give_up(&mut one);
    assert!(!all.contains(&Command::Tell(NET, Notice::NotFed)));
    assert!(one.deadline().is_some_and(|at| at > now));
    assert_eq!(one.step(now + WINDOW, Input::Tick), [Command::Feed]);
}

#[test]
fn the_watchdog_is_fed_with_the_pings() {
    let mut one = healthy();
    let (mut now, mut fed, mut steps) = (ms(10), vec![ms(0)], 0);
    while now < ms(60_000) {
        now = one.deadline().unwrap();
        steps += 1;
        let commands = one.step(now, Input::Tick);
        if commands.contains(&Command::Feed) {
            fed.push(now);
        }
        if commands.contains(&Command::Ping(NET, Life(1))) {
            one.step(now + ms(1), of(NET, 1, Event::Heard));
        }
    }
    assert!(steps <= 60, "{steps} wake-ups of dom0 in a minute");
    assert!(
        fed.windows(2).all(|pair| (FEED_EVERY..FEED_EVERY * 2).contains(&(pair[1] - pair[0]))),
        "{fed:?}"
    );
}

#[test]
fn services_are_asked_together() {
    let mut two = both();
    let mut wakes = 0;
    let mut now = ms(2);
    two.step(ms(150), of(CONTROL, 1, Event::Heard));
    for _ in 0..10 {
        now = two.deadline().unwrap();
        wakes += 1;
        let asked = two.step(now, Input::Tick);
        for command in asked {
            if let Command::Ping(id, life) = command {
                two.step(now + ms(1), Input::Of(id, life, Event::Heard));
            }
        }
    }
    assert_eq!(wakes, 10);
    assert!(now >= PING_EVERY * 9, "{now:?}");
}

#[test]
fn an_order_does_not_count_as_a_death() {
    let mut one = healthy();
    for life in 1..200 {
        let now = ms(10 + u64::from(life));
        let ended = one.step(now, Input::Order(NET));
        let died = Notice::Died(Reason::Ordered, Next::Restart(ms(0)));
        assert_eq!(ended, [Command::Tell(NET, died), Command::End(NET, Life(life))]);
        assert_eq!(one.step(now, of(NET, life, Event::Gone)), [Command::Build(NET, Life(life + 1))]);
        one.step(now, of(NET, life + 1, Event::Built));
    }
}

/// Every state, and what it becomes by every event. `None` stands for no change.
#[test]
fn every_state_and_event() {
    const NOW: Instant = Duration::from_secs(100);
    let soon = NOW + ms(500);
    let states: [fn() -> Service; 8] = [
        Service::default,
        || {
            made(|s| {
                s.build();
            })
        },
        || {
            made(|s| {
                s.build();
                s.built(NOW - ms(1));
            })
        },
        || {
            made(|s| {
                s.build();
                s.built(NOW);
                s.heard(NOW - PING_EVERY + ms(500));
            })
        },
        || {
            made(|s| {
                s.build();
                s.built(NOW);
                s.heard(NOW - ms(1500));
                s.tick(NOW - ms(1));
            })
        },
        || {
            made(|s| {
                s.build();
                s.built(NOW);
                s.heard(NOW - ms(1500));
                s.tick(NOW - ms(450));
                s.tick(NOW - ms(1));
            })
        },
        || {
            made(|s| {
                s.build();
                s.built(NOW);
                s.died(NOW, Reason::Hung);
            })
        },
        || {
            made(|s| {
                s.build();
                s.not_built(NOW);
                s.build();
                s.not_built(NOW);
            })
        },
    ];
    let healthy = State::Healthy { ask: NOW + PING_EVERY };
    let ending = State::Ending { next: Next::Restart(ms(0)) };
    let starting = State::Starting { until: NOW + START_LIMIT };
    let back_off = State::BackingOff { until: NOW + FIRST_DELAY };
    // waiting, building, starting, healthy, asked, suspect, ending, backing off
    type Row = (&'static str, fn(&mut Service), [Option<State>; 8]);
    let table: [Row; 8] = [
        ("built", |s| s.built(NOW), [None, Some(starting), None, None, None, None, None, None]),
        (
            "not built",
            |s| drop(s.not_built(NOW)),
            [None, Some(State::Waiting), None, None, None, None, None, None],
        ),
        (
            "heard",
            |s| s.heard(NOW),
            [None, None, Some(healthy), Some(healthy), Some(healthy), Some(healthy), None, None],
        ),
        (
            "ready",
            |s| drop(s.ready(NOW)),
            [None, None, Some(healthy), Some(healthy), Some(healthy), Some(healthy), None, None],
        ),
        (
            "died",
            |s| drop(s.died(NOW, Reason::Panicked)),
            [None, None, Some(ending), Some(ending), Some(ending), Some(ending), None, None],
        ),
        (
            "ordered",
            |s| drop(s.died(NOW, Reason::Ordered)),
            [None, None, Some(ending), Some(ending), Some(ending), Some(ending), None, Some(State::Waiting)],
        ),
        ("gone", |s| s.gone(NOW), [None, None, None, None, None, None, Some(State::Waiting), None]),
        ("tick", |s| drop(s.tick(NOW)), [None, None, None, None, None, None, None, None]),
    ];
    for (name, event, row) in table {
        for (make, expected) in states.iter().zip(row) {
            let mut service = make();
            let before = service.state();
            event(&mut service);
            assert_eq!(service.state(), expected.unwrap_or(before), "{name} in {before:?}");
        }
    }
    assert_eq!(states[3]().state(), State::Healthy { ask: soon });
    assert!(matches!(states[4]().state(), State::Asked { .. }));
    assert!(matches!(states[5]().state(), State::Suspect { .. }));
    assert_eq!(states[7]().state(), back_off);
}

fn made(by: impl FnOnce(&mut Service)) -> Service {
    let mut service = Service::default();
    by(&mut service);
    service
}

#[test]
fn a_table_gives_who_needs_whom() {
    use proto_manifest::table::{Applications, Channel, Party, Table};
    let domain = || {
        let mut domain: proto_manifest::table::Domain = sample_domain();
        domain.vcpus = 1;
        domain
    };
    let channel = |offers, accepts| Channel { name: "c".try_into().unwrap(), offers, accepts };
    let table = Table {
        board: "test".try_into().unwrap(),
        domains: [domain(), domain()].into_iter().collect(),
        channels: [channel(1, Party::Dom0), channel(1, Party::Domain(0))].into_iter().collect(),
        devices: heapless::Vec::new(),
        applications: Applications { memory_mib: 0, count: 0, vcpus: 1, cpus: 0, image_kib: 0 },
    };
    let commands = Supervisor::of(&table, Boot::Fresh).step(ms(0), Input::Tick);
    assert_eq!(commands[..2], [Command::Build(NET, Life(1)), Command::Build(CONTROL, Life(1))]);
    assert!(table.domains.len() < MAX_DOMAINS);
    // Who is vital stands in the table.
    let mut supervisor = Supervisor::of(&table, Boot::Fresh);
    supervisor.step(ms(0), Input::Tick);
    supervisor.step(ms(0), of(NET, 1, Event::Built));
    give_up(&mut supervisor);
    assert_eq!(supervisor.is_fit(), !table.domains[0].vital);
}

fn sample_domain() -> proto_manifest::table::Domain {
    proto_manifest::table::Domain {
        name: "x".try_into().unwrap(),
        image: "x".try_into().unwrap(),
        sha256: [0; 32],
        memory_mib: 2,
        vcpus: 1,
        cpus: 0,
        heap_kib: 1,
        provisioning: false,
        vital: false,
        devices: heapless::Vec::new(),
    }
}
