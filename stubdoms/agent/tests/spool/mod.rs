//! Lines of the log over an outage of the controller, and over starts of the machine and lives of the agent in it.

use std::collections::{BTreeMap, BTreeSet};

use proto_eve::wire::config::DeviceOpsCmd;
use stubdoms_agent::{BootCause, LogRecord, Severity};

use crate::world::{storage::Storage, *};

/// dom0's journal of one start: it keeps a line until that is taken.
#[derive(Default)]
struct Journal {
    lines: BTreeMap<u64, String>,
    last: u64,
    note: Vec<u8>,
    /// Lines of all starts.
    said: BTreeSet<String>,
    /// Those that need not be kept here any more, and up to where in this start.
    taken: BTreeSet<String>,
    before: u64,
    /// Lines of this start that nobody can have any more.
    lost: u64,
}

impl Journal {
    fn say(&mut self, world: &mut World) {
        self.last += 1;
        let line = format!("line {}.", self.said.len());
        self.said.insert(line.clone());
        self.lines.insert(self.last, line);
        self.tell(world, self.last);
    }

    fn tell(&self, world: &mut World, mark: u64) {
        let content = self.lines[&mark].clone();
        let record = LogRecord { severity: Severity::Info, source: "net".into(), content, at: None };
        world.agent.log(world.now(), &record, mark);
    }

    fn take(&mut self, world: &mut World) {
        while let Some(taken) = world.agent.next_taken() {
            if taken.app.is_none() {
                let left = self.lines.split_off(&(taken.before + 1));
                self.taken.extend(core::mem::replace(&mut self.lines, left).into_values());
                (self.note, self.before) = (taken.note, self.before.max(taken.before));
            }
        }
    }

    /// The machine starts anew.
    fn reset(&mut self, world: &mut World) {
        (self.lines, self.last, self.note, self.before) = (BTreeMap::new(), 0, Vec::new(), 0);
        self.lost = 0;
        world.reset(BootCause::Unknown);
    }

    /// The journal is full, and this line makes room.
    fn overwrite(&mut self, mark: u64) {
        let line = self.lines.remove(&mark).expect("it was not taken");
        self.said.remove(&line);
        self.lost += 1;
    }

    /// Another agent in the same start is told how much is lost, and given what was not taken.
    fn reborn(&mut self, world: &mut World) {
        world.reborn();
        world.agent.goes_on(None, &self.note);
        if self.lost > 0 {
            world.agent.lost(world.now(), self.lost, 0);
        }
        for &mark in self.lines.keys() {
            self.tell(world, mark);
        }
    }
}

/// How often the controller has each line; and files that it has twice.
fn received(world: &World) -> (BTreeMap<String, usize>, usize) {
    let mut lines = BTreeMap::new();
    let mut files = BTreeSet::new();
    let mut twice = 0;
    for (_, file) in &world.controller.logs {
        if !files.insert(file) {
            twice += 1;
            continue;
        }
        for line in file.lines() {
            let content = line.split_once("\"content\":\"").and_then(|(_, rest)| rest.split_once('"'));
            *lines.entry(content.unwrap().0.to_owned()).or_default() += 1;
        }
    }
    (lines, twice)
}

fn stored(world: &World) -> usize {
    let values = &world.storage.as_ref().unwrap().values;
    values.keys().filter(|name| name.starts_with("log.")).count()
}

fn quiet_world() -> World {
    let mut world = World::with_storage();
    world.controller.logs.clear();
    world
}

/// All that was taken from dom0 is with the controller in the end, once; files that came twice are as many at most.
fn check(world: &mut World, journal: &Journal, all: bool, twice: usize, told: &str) {
    world.controller.up = true;
    world.run(2500);
    let (lines, again) = received(world);
    let expected = if all { &journal.said } else { &journal.taken };
    let missing: Vec<_> = expected.iter().filter(|line| !lines.contains_key(*line)).collect();
    assert!(missing.is_empty(), "{told}: {missing:?}");
    assert!(lines.values().all(|count| *count == 1), "{told}: {lines:?}");
    assert!(again <= twice, "{told}: {again} files twice");
    assert_eq!(stored(world), 0, "{told}");
}

#[test]
fn what_the_controller_does_not_have_survives_a_start() {
    let mut world = quiet_world();
    let mut journal = Journal::default();
    world.controller.up = false;
    for _ in 0..40 {
        journal.say(&mut world);
        world.run(30);
        journal.take(&mut world);
    }
    // A file each five minutes, and only what waits is written.
    assert!((2..=5).contains(&stored(&world)), "{}", stored(&world));
    let unkept = journal.lines.len();
    assert!(unkept <= 15, "{unkept} lines are not kept after {} s", 15 * 30);
    journal.reset(&mut world);
    world.run(200);
    // And over a second one, without a controller in between.
    journal.reset(&mut world);
    journal.say(&mut world);
    check(&mut world, &journal, false, 0, "two starts");
    let (lines, _) = received(&world);
    assert!(lines.len() >= 40 - unkept);
}

#[test]
fn a_controller_that_answers_costs_no_writes() {
    let mut world = quiet_world();
    let mut journal = Journal::default();
    for _ in 0..100 {
        journal.say(&mut world);
        world.run(30);
        journal.take(&mut world);
        assert_eq!(stored(&world), 0);
    }
    check(&mut world, &journal, true, 0, "an hour");
}

#[test]
fn ahead_of_a_reset_that_was_ordered_all_is_kept() {
    let mut world = quiet_world();
    let mut journal = Journal::default();
    journal.say(&mut world);
    let counter = |counter| Some(DeviceOpsCmd { counter, desired_state: true, ops_time: String::new() });
    world.controller.edit(|config| config.reboot = counter(1));
    world.run(100);
    world.controller.edit(|config| config.reboot = counter(2));
    let known = world.controller.trace.len();
    world.run_until("the command", |world| {
        world.controller.trace[known..].iter().any(|line| line == "config 200")
    });
    world.controller.up = false;
    journal.say(&mut world);
    world.run_until("the reset", |world| world.resets == 1);
    journal.take(&mut world);
    check(&mut world, &journal, true, 0, "reboot");
}

/// The disk is full, or fails: nothing is taken that is not kept, and it is kept when it can be.
#[test]
fn what_storage_refuses_stays_with_dom0() {
    let mut world = quiet_world();
    let mut journal = Journal::default();
    world.controller.up = false;
    world.storage.as_mut().unwrap().full = true;
    for _ in 0..20 {
        journal.say(&mut world);
        world.run(30);
        journal.take(&mut world);
    }
    assert_eq!((stored(&world), journal.lines.len()), (0, 20));
    world.storage.as_mut().unwrap().full = false;
    world.run(120);
    journal.take(&mut world);
    assert!(stored(&world) > 0 && journal.lines.len() < 20);
    journal.reborn(&mut world);
    check(&mut world, &journal, true, 0, "full");
}

/// Control ends before there was a configuration, so that it has left nothing about the device with dom0.
#[test]
fn a_life_before_the_first_configuration_doubles_no_line() {
    for rounds in [3, 10, 20] {
        let mut world = World::new();
        world.storage = Some(Storage::new());
        world.agent.expect_storage();
        world.agent.on_storage(world.now(), true);
        world.controller.up = false;
        let mut journal = Journal::default();
        for _ in 0..rounds {
            journal.say(&mut world);
            world.run(37);
        }
        assert_eq!(stored(&world) > 0, rounds > 3);
        // It could not tell dom0 of what storage has.
        journal.reborn(&mut world);
        world.controller.set_config(config());
        world.controller.up = true;
        check(&mut world, &journal, true, 0, &format!("{rounds}"));
    }
}

/// Control ends, and what storage has is told late: the vault is shut, or storage is away so long that nobody waits for
/// it any more. Lines go to the controller meanwhile.
#[test]
fn a_storage_that_tells_late_doubles_no_line_and_loses_none() {
    for (away, told) in [(false, false), (true, false), (false, true), (true, true)] {
        for late in [10, 29, 45, 100, 200, 700] {
            let mut world = quiet_world();
            let mut journal = Journal::default();
            world.controller.up = false;
            for _ in 0..20 {
                journal.say(&mut world);
                world.run(37);
            }
            assert!(stored(&world) >= 1);
            if told {
                // Of some of what storage has dom0 knows.
                journal.take(&mut world);
                for _ in 0..10 {
                    journal.say(&mut world);
                    world.run(37);
                }
            }
            let storage = world.storage.as_mut().unwrap();
            (storage.open, storage.there) = (away, !away);
            journal.reborn(&mut world);
            if away {
                world.agent.on_storage(world.now(), false);
            }
            world.controller.up = true;
            for _ in 0..late / 5 {
                journal.say(&mut world);
                world.run(5);
            }
            world.storage.as_mut().unwrap().open = true;
            if away {
                world.storage.as_mut().unwrap().restart();
                world.agent.on_storage(world.now(), true);
            } else {
                world.agent.on_storage_changed(world.now());
            }
            check(&mut world, &journal, true, 0, &format!("{away} {told} {late}"));
        }
    }
}

/// Controller and storage are silent so long that dom0's journal is full, and control ends: what is missing is told to each
/// life of the agent, whether the one before has counted and reported it or not, and all of it is counted once.
#[test]
fn what_dom0_has_overwritten_is_counted_once() {
    let mut world = quiet_world();
    world.controller.edit(|config| {
        config.config_items = vec![item("timer.config.interval", "60"), item("timer.metric.interval", "60")];
    });
    world.run(100);
    let mut journal = Journal::default();
    world.controller.up = false;
    world.agent.on_storage(world.now(), false);
    for _ in 0..40 {
        journal.say(&mut world);
        world.run(20);
        journal.take(&mut world);
    }
    assert_eq!(journal.lines.len(), 40, "nobody has them");
    (1..=10).chain(15..=17).chain([30]).for_each(|mark| journal.overwrite(mark));
    // This one makes a message and notes what it has counted, and ends before a line is taken.
    journal.reborn(&mut world);
    let before = made(&world);
    world.run(100);
    journal.take(&mut world);
    assert_eq!((made(&world) > before, journal.lines.len()), (true, 26));
    journal.overwrite(18);
    journal.reborn(&mut world);
    world.agent.on_storage(world.now(), false);
    world.run(100);
    world.controller.up = true;
    world.run(400);
    assert_eq!(counted(&world, "log.lost_lines"), 15);
    journal.take(&mut world);
    assert!(journal.lines.is_empty());
    journal.reborn(&mut world);
    check(&mut world, &journal, true, 0, "overwritten");
    assert_eq!((counted(&world, "log.lost_lines"), counted(&world, "consoles.lost_bytes")), (15, 0));
}

/// The power is cut, or control ends, ahead of each request to storage: lines that were taken are there, once.
#[test]
fn no_line_is_lost_or_doubled_wherever_it_ends() {
    for power in [true, false] {
        let (mut cut, mut over) = (0, false);
        while !over {
            let mut world = quiet_world();
            let mut journal = Journal::default();
            world.controller.up = false;
            let storage = world.storage.as_mut().unwrap();
            (storage.dies_after, storage.stays_away) = (Some(cut), true);
            over = true;
            for round in 0..45 {
                journal.say(&mut world);
                // Steps that are no multiple of anything, so that what is taken is told late now and then.
                world.run(37);
                world.controller.up = round >= 20;
                if world.storage.as_ref().unwrap().there {
                    if round % 3 == 0 {
                        journal.take(&mut world);
                    }
                    continue;
                }
                over = false;
                if power {
                    journal.take(&mut world);
                    journal.reset(&mut world);
                } else {
                    world.storage.as_mut().unwrap().restart();
                    journal.reborn(&mut world);
                }
            }
            // What the controller has and storage was not told of comes twice.
            check(&mut world, &journal, !power, 1, &format!("{cut} {power}"));
            cut += 1;
        }
        assert!(cut >= 8, "{cut}");
    }
}
