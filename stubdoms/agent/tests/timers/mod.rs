//! Config items that are times: each has an effect.

use super::*;

#[test]
fn dial_stall_and_send_limits_are_handed_to_the_shell() {
    let limits = |items: &[(&str, &str)]| {
        let mut world = World::onboarded();
        world.controller.edit(|config| {
            config.config_items.extend(items.iter().map(|(key, value)| item(key, value)));
            // Something to download under the new limits.
            config.content_info[0].max_size_bytes += 1;
        });
        world.run(60);
        let request = world.request.as_ref().unwrap();
        let download = world.downloads.last().unwrap();
        assert_eq!(world.downloads.len(), 2);
        [request.timeout, request.dial, download.dial, download.stall].map(|time| time.as_secs())
    };
    assert_eq!(limits(&[]), [120, 10, 10, 600]);
    assert_eq!(
        limits(&[
            ("timer.send.timeout", "33"),
            ("timer.dial.timeout", "4"),
            ("timer.download.stalled", "25"),
        ]),
        [33, 4, 4, 25]
    );
    // 0 is no limit of its own.
    assert_eq!(limits(&[("timer.send.timeout", "0"), ("timer.dial.timeout", "0")]), [120, 10, 10, 600]);
}

/// A world whose device reboots after two minutes without its configuration.
fn impatient() -> World {
    let mut world = World::onboarded();
    world.controller.edit(|config| config.config_items.push(item("timer.reboot.no.network", "120")));
    world.run(60);
    world
}

fn reboots(world: &World) -> usize {
    world.device_commands.iter().filter(|command| matches!(command, DeviceCommand::Reboot(_))).count()
}

#[test]
fn a_device_without_a_controller_reboots_in_time() {
    // The controller is gone, or says for all that time that it has no configuration for us.
    let ways: [fn(&mut World); 3] = [
        |world| world.controller.up = false,
        |world| world.uplink(false),
        |world| world.controller.force.extend([("config".into(), 500)]),
    ];
    for (way, lose) in ways.iter().enumerate() {
        let mut world = impatient();
        lose(&mut world);
        world.run(100);
        assert_eq!((reboots(&world), world.dom0.commands.len()), (0, 2), "way {way}: too early");
        // Applications are stopped first; reports have half a minute to leave.
        world.run(60);
        assert_eq!(world.dom0.commands, ["define", "start", "stop"], "way {way}");
        assert_eq!(reboots(&world), 1, "way {way}");
        world.run(600);
        assert_eq!(reboots(&world), 1, "way {way}: once");
    }
}

#[test]
fn a_device_that_hears_of_its_configuration_does_not_reboot() {
    let mut world = impatient();
    world.run(3600);
    assert_eq!(reboots(&world), 0);
    // Short absences do not add up.
    for _ in 0..10 {
        world.controller.up = false;
        world.run(80);
        world.controller.up = true;
        world.run(30);
    }
    assert!(reboots(&world) == 0 && running(&world));
    // Nor does a week pass for one that was never told otherwise.
    let mut world = World::onboarded();
    world.uplink(false);
    world.run(604_000);
    assert_eq!(reboots(&world), 0);
    world.run(2_000);
    assert_eq!(reboots(&world), 1);
}
