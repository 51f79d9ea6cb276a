//! Metrics over an outage of the controller, and over starts of the machine and lives of the agent in it.

use proto_eve::Message;
use stubdoms_agent::BootCause;

use crate::world::*;

/// A world with a storage domain, whose device reports metrics each minute, and of which the controller has none yet.
fn measured() -> World {
    let mut world = World::with_storage();
    world.controller.edit(|config| {
        config.config_items = vec![item("timer.config.interval", "60"), item("timer.metric.interval", "60")];
    });
    // The longer interval of before counts until then.
    world.run(200);
    world.controller.metrics.clear();
    world
}

fn stored(world: &World) -> usize {
    let values = &world.storage.as_ref().unwrap().values;
    values.keys().filter(|name| name.starts_with("metrics.")).count()
}

/// When the messages that the controller has were made, in seconds; and how many came twice.
fn received(world: &World) -> (Vec<u64>, usize) {
    let mut made = Vec::new();
    let mut twice = 0;
    for (index, message) in world.controller.metrics.iter().enumerate() {
        if world.controller.metrics[..index].contains(message) {
            twice += 1;
            continue;
        }
        let at = message.at_time_stamp.as_ref().expect("a time");
        made.push(at.seconds as u64 - START);
    }
    (made, twice)
}

/// What the last message tells of those that are missing.
fn lost(world: &World) -> u64 {
    counted(world, "metrics.lost")
}

#[test]
fn an_outage_leaves_no_hole_in_the_metrics() {
    for storage in [true, false] {
        let mut world = measured();
        if !storage {
            world = World::onboarded();
            world.controller.metrics.clear();
        }
        let before = made(&world);
        world.controller.up = false;
        world.run(3000);
        assert!(world.controller.metrics.is_empty());
        world.controller.up = true;
        world.run(400);
        let (times, twice) = received(&world);
        assert_eq!((times.len() as u64, twice), (made(&world) - before, 0));
        assert!(times.is_sorted() && times.windows(2).all(|pair| pair[1] - pair[0] <= 65), "{times:?}");
        assert_eq!(lost(&world), 0);
        if storage {
            assert_eq!(stored(&world), 0);
        }
    }
}

#[test]
fn a_link_that_is_down_leaves_none_either() {
    let mut world = measured();
    let before = made(&world);
    world.agent.on_uplink_lost(world.now());
    world.run(1000);
    world.uplink(true);
    world.run(200);
    let (times, twice) = received(&world);
    assert_eq!((times.len() as u64, twice), (made(&world) - before, 0));
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 65), "{times:?}");
}

#[test]
fn metrics_that_are_delivered_cost_no_writes() {
    let mut world = measured();
    for _ in 0..100 {
        world.run(17);
        assert_eq!(stored(&world), 0);
    }
}

/// The controller takes a message and its answer is lost: it comes once more, the same with the same time.
#[test]
fn an_answer_that_is_lost_has_the_same_message_sent_again() {
    let mut world = measured();
    world.controller.mute = Some("metrics".into());
    world.run(130);
    world.controller.mute = None;
    world.run(200);
    let (times, twice) = received(&world);
    assert!(twice >= 2 && times.is_sorted(), "{twice} {times:?}");
    let first = &world.controller.metrics[0];
    assert_eq!(world.controller.metrics[1].encode_to_vec(), first.encode_to_vec());
}

#[test]
fn what_is_left_out_of_an_outage_of_days_is_told() {
    let mut world = measured();
    let before = made(&world);
    world.controller.up = false;
    world.run(24 * 3600);
    assert!((80..=96).contains(&stored(&world)), "{}", stored(&world));
    world.controller.up = true;
    world.run(1000);
    let (times, twice) = received(&world);
    assert_eq!(twice, 0);
    assert_eq!(times.len() as u64 + lost(&world), made(&world) - before);
    assert!(times.len() >= 256 && lost(&world) > 1000, "{} {}", times.len(), lost(&world));
    let widest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(widest < 3600, "{widest} s");
    assert_eq!(stored(&world), 0);
}

#[test]
fn metrics_of_before_a_start_are_delivered_before_those_of_it() {
    let mut world = measured();
    let before = made(&world);
    world.controller.up = false;
    world.run(600);
    let first = made(&world) - before;
    world.reset(BootCause::Unknown);
    world.run(300);
    world.reset(BootCause::Unknown);
    world.controller.up = true;
    world.run(300);
    let (times, twice) = received(&world);
    assert!(times.is_sorted() && twice == 0, "{times:?}");
    let end = 230 + 600;
    // The power cut finds what is younger than what storage is given.
    assert!(times.iter().filter(|time| **time < end).count() as u64 + 1 >= first, "{first} {times:?}");
    assert_eq!(stored(&world), 0);
}

/// Control ends: what was in memory alone is missing, and counted.
#[test]
fn a_later_life_delivers_what_storage_has_and_counts_the_rest() {
    for away in [false, true] {
        let mut world = measured();
        let before = made(&world);
        world.controller.up = false;
        world.run(400);
        if away {
            world.storage.as_mut().unwrap().full = true;
            world.run(400);
        }
        world.storage.as_mut().unwrap().full = false;
        world.reborn();
        world.run(200);
        world.controller.up = true;
        world.run(300);
        let (times, twice) = received(&world);
        assert!(times.is_sorted() && twice == 0, "{times:?}");
        assert_eq!(times.len() as u64 + lost(&world), made(&world) - before, "{away}");
        assert_eq!(lost(&world) > 2, away, "{}", lost(&world));
        assert_eq!(stored(&world), 0);
    }
}

/// The controller is back while storage is away, and then control ends: a late drop doubles nothing.
#[test]
fn a_storage_that_drops_late_doubles_nothing() {
    let mut world = measured();
    let before = made(&world);
    world.controller.up = false;
    world.run(600);
    let there = stored(&world);
    assert!(there > 5);
    world.agent.on_storage(world.now(), false);
    world.controller.up = true;
    // Without storage one is delivered in a minute.
    world.run(2000);
    assert_eq!(stored(&world), there);
    world.reborn();
    world.run(200);
    let (times, twice) = received(&world);
    assert!(times.is_sorted() && twice == 0, "{twice} {times:?}");
    assert_eq!(times.len() as u64 + lost(&world), made(&world) - before);
    assert_eq!((lost(&world), stored(&world)), (0, 0));
}

/// The power is cut, or control ends, ahead of each request to storage.
#[test]
fn no_message_is_lost_or_doubled_wherever_it_ends() {
    for power in [true, false] {
        let (mut cut, mut over) = (0, false);
        while !over {
            let mut world = measured();
            let mut before = made(&world);
            let mut expected = 0;
            world.controller.up = false;
            let storage = world.storage.as_mut().unwrap();
            (storage.dies_after, storage.stays_away) = (Some(cut), true);
            over = true;
            for round in 0..30 {
                world.run(37);
                world.controller.up = round >= 12;
                if world.storage.as_ref().unwrap().there {
                    continue;
                }
                over = false;
                if power {
                    expected += made(&world) - before;
                    before = 0;
                    world.reset(BootCause::Unknown);
                } else {
                    world.storage.as_mut().unwrap().restart();
                    world.reborn();
                }
            }
            world.controller.up = true;
            world.run(300);
            expected += made(&world) - before;
            let (times, twice) = received(&world);
            assert!(times.is_sorted(), "{cut} {power}: {times:?}");
            assert!(twice <= 1, "{cut} {power}: {twice}");
            let missing = expected - times.len() as u64;
            // What had waited for less than storage is given, or for the storage that had ended.
            assert!(missing <= 2, "{cut} {power}: {missing} of {expected}");
            if !power {
                assert_eq!(missing, lost(&world), "{cut}");
            }
            assert_eq!(stored(&world), 0, "{cut} {power}");
            cut += 1;
        }
        assert!(cut >= 20, "{cut}");
    }
}
