//! Stories of a clock that is wrong: the device gets the time from somebody, and goes on by it.

use proto_eve::wire::common::{DhcpType, Ipspec};
use proto_eve::wire::config::{EdgeDevConfig, NetworkConfig, SystemAdapter};
use proto_eve::wire::info::{NtpSource, NtpSourceMode, NtpSourceState};
use stubdoms_agent::BootCause;

use crate::world::*;

/// The machine's clock says 1970.
const NEVER_SET: i64 = -(START as i64);
const YEARS: i64 = 13 * 365 * 86_400;

/// The seconds at which the reported boot was.
fn boot_time(world: &World) -> i64 {
    world.device_info().boot_time.as_ref().unwrap().seconds
}

fn wall(world: &World) -> u64 {
    world.now().wall.unwrap().seconds
}

#[test]
fn a_device_whose_clock_was_never_set_onboards_with_a_time_servers() {
    for off in [NEVER_SET, YEARS, -YEARS] {
        let mut world = World::with_vault_that(false, |_| {});
        world.clock_off = off;
        world.reset(BootCause::Unknown);
        world.run(30);
        assert!(world.agent.has_config(), "{off}: {:#?}", world.controller.trace);
        assert_eq!(world.asked, ["pool.ntp.org"]);
        assert_eq!(wall(&world), world.true_time(0).as_secs());
        assert_eq!(boot_time(&world), i64::try_from(START).unwrap());
    }
}

#[test]
fn nothing_is_signed_while_nobody_tells_the_time() {
    let mut world = World::with_vault_that(false, |_| {});
    (world.clock_off, world.server_off) = (NEVER_SET, None);
    world.reset(BootCause::Unknown);
    world.run(3600);
    let signed = world.controller.trace.iter().find(|request| !request.starts_with("certs"));
    assert_eq!(signed, None);
    // Once somebody does, it goes on within the longest wait.
    world.server_off = Some(0);
    world.run(70);
    assert!(world.agent.has_config(), "{:#?}", world.controller.trace);
}

#[test]
fn a_clock_that_looks_right_serves_where_nobody_tells_the_time() {
    let mut world = World::with_vault_that(false, |_| {});
    world.server_off = None;
    world.reset(BootCause::Unknown);
    world.run(30);
    assert!(world.agent.has_config(), "{:#?}", world.controller.trace);
}

#[test]
fn a_later_life_of_the_agent_has_the_time_of_the_earlier_one() {
    let mut world = World::onboarded();
    world.clock_off = YEARS;
    world.reset(BootCause::Unknown);
    world.run(30);
    let right = world.true_time(0).as_secs();
    assert_eq!(wall(&world), right);
    let booted = i64::try_from(right - world.seconds()).unwrap();
    // Nobody answers any more.
    world.server_off = None;
    world.reborn();
    world.run(30);
    assert_eq!(wall(&world), right + 30);
    assert_eq!(boot_time(&world), booted);
}

#[test]
fn what_the_controller_has_told_is_a_bound_and_timers_go_on() {
    let mut world = World::onboarded();
    let told = world.true_time(0).as_secs();
    world.agent.on_controller_date(world.now(), told);
    world.server_off = Some(-YEARS);
    let before = world.controller.trace.len();
    world.run(7200);
    assert_eq!(wall(&world), world.true_time(0).as_secs(), "a time server that is wrong is not believed");
    world.server_off = Some(-3);
    world.run(7200);
    assert_eq!(wall(&world), world.true_time(-3).as_secs(), "one that is a little behind is");
    assert!(world.controller.trace.len() > before + 100, "the configuration is asked for all the time");
}

#[test]
fn the_configuration_and_the_network_name_time_servers() {
    let mut world = World::onboarded();
    world.controller.set_config(naming_servers());
    world.run(90);
    assert_eq!(world.asked, ["ntp.example", "10.1.1.1"]);
}

/// A configuration that names two time servers, and one that has no name.
fn naming_servers() -> EdgeDevConfig {
    let mut config = config();
    config.networks.push(NetworkConfig {
        id: "net".into(),
        ip: Some(Ipspec {
            dhcp: DhcpType::Client as i32,
            ntp: "ntp.example".into(),
            more_ntp: vec!["no name".into(), "10.1.1.1".into()],
            ..Ipspec::default()
        }),
        ..NetworkConfig::default()
    });
    config.system_adapter_list.push(SystemAdapter {
        name: "eth0".into(),
        uplink: true,
        network_uuid: "net".into(),
        ..SystemAdapter::default()
    });
    config
}

/// Facts file, section 5: on a change of the set, a state or what is reached, and every ten minutes.
#[test]
fn the_controller_is_told_of_the_time_servers() {
    let last = |world: &World| world.controller.times.last().unwrap().sources.clone();
    let mut world = World::onboarded();
    world.run(30);
    let [source] = &last(&world)[..] else { panic!("{:?}", last(&world)) };
    assert_eq!(
        *source,
        NtpSource {
            reachable: true,
            reachability: 1,
            state: NtpSourceState::Sync as i32,
            mode: NtpSourceMode::Client as i32,
            hostname: "pool.ntp.org".into(),
            dst_addr: "10.0.2.2".into(),
            dst_port: 123,
            stratum: 2,
            delay: 0.002,
            ..NtpSource::default()
        }
    );
    assert_eq!(world.controller.times.len(), 1);
    world.run(500);
    assert_eq!(world.controller.times.len(), 1, "nothing moves");
    world.run(60);
    assert_eq!(world.controller.times.len(), 2, "they are told of all the same");
    world.server_off = None;
    world.run(2 * 3600);
    let source = &last(&world)[0];
    assert_eq!((source.state, source.reachable), (NtpSourceState::Unreach as i32, false));
    // It answers, but is not believed.
    world.agent.on_controller_date(world.now(), world.true_time(0).as_secs());
    world.server_off = Some(-YEARS);
    world.run(3600);
    let source = &last(&world)[0];
    assert_eq!((source.state, source.reachable), (NtpSourceState::Falseticker as i32, true));
    assert!((source.offset + YEARS as f64).abs() < 1.0, "{}", source.offset);
}

#[test]
fn servers_of_which_nothing_is_known_yet_are_told_of_later() {
    let mut world = World::onboarded();
    world.run(480);
    assert_eq!(world.controller.times.len(), 1);
    // They are being asked when it is time to tell of them again.
    (world.time_waits, world.server_off) = (true, None);
    world.controller.set_config(naming_servers());
    world.run(120);
    assert_eq!(world.asked, ["ntp.example", "10.1.1.1"]);
    assert_eq!(world.controller.times.len(), 1, "{:?}", world.controller.times);
    world.run(90);
    let states = |world: &World| {
        let last = world.controller.times.last().unwrap();
        last.sources.iter().map(|source| (source.hostname.clone(), source.state())).collect::<Vec<_>>()
    };
    let unreached = |name: &str| (name.into(), NtpSourceState::Unreach);
    assert_eq!(states(&world), [unreached("ntp.example"), unreached("10.1.1.1")]);
}
