//! Whole stories of an agent and the world around it, in virtual time.

mod applications;
mod clock;
mod hostile;
mod metrics;
mod reports;
mod spool;
mod timers;
mod updates;
mod vault;
mod world;

use proto_eve::wire::{
    config::{DeviceOpsCmd, EdgeDevConfig, InstanceOpsCmd},
    info::{AttestationState, Severity, ZDeviceState, ZSwState},
    metrics::z_metric_msg::MetricContent,
};
use stubdoms_agent::{
    Agent, AppEvent, AppFailure, BootCause, DeviceCommand, DeviceFacts, DomainUsage, DownloadError,
    FailureKind, HttpFailure, LinkCounters, Now, Provisioning, Stage, StopReason, Uplink, Uuid, WallTime,
};
use world::*;

const RUNNING: i32 = ZSwState::Running as i32;
const HALTED: i32 = ZSwState::Halted as i32;
const ERROR: i32 = ZSwState::Error as i32;

fn reboots(world: &World) -> usize {
    world.device_commands.iter().filter(|command| matches!(command, DeviceCommand::Reboot(_))).count()
}

fn is_rebooting(world: &World) -> bool {
    reboots(world) > 0
}

fn running(world: &World) -> bool {
    world.app_state() == RUNNING
}

#[test]
fn a_fresh_device_onboards_attests_and_runs_its_application() {
    let mut world = World::new();
    world.controller.set_config(config());
    world.run_until("RUNNING", running);
    assert!(world.seconds() < 5, "{} s", world.seconds());
    let requests: Vec<&str> = world
        .controller
        .trace
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with("info") && !line.starts_with("metrics"))
        .collect();
    assert_eq!(requests, ["certs 200", "register 201", "uuid 200", "attest 201", "attest 201", "config 200"],);
    assert_eq!(world.dom0.commands, ["define", "start"]);
    let definition = world.dom0.definition.as_ref().unwrap();
    assert_eq!((definition.memory_kib, definition.vcpus), (16_384, 1));
    assert_eq!(definition.command_line, format!("console=hvc0 appuuid={APP} greeting=hi"));
    assert_eq!((world.downloads.len(), world.downloads[0].url.as_str()), (1, URL));

    let app = world.app_info();
    assert_eq!((app.app_id.as_str(), app.app_name.as_str(), app.app_err.len()), (APP, "hello", 0));
    assert_eq!(app.volume_refs, [VOLUME]);
    assert_eq!(world.controller.contents.last().unwrap().state, ZSwState::Delivered as i32);
    assert_eq!(world.controller.volumes.last().unwrap().state, ZSwState::CreatedVolume as i32);

    world.app_event(AppEvent::Console { offset: 0, bytes: b"hello, world\nsecond ".to_vec() });
    world.app_event(AppEvent::Console { offset: 20, bytes: b"line\n".to_vec() });
    world.net_logs();
    world.run(100);
    assert_eq!(world.controller.trace.iter().filter(|line| *line == "certs 200").count(), 2);
    let device = world.device_info();
    assert_eq!(device.state, ZDeviceState::ZdeviceStateOnline as i32);
    assert_eq!(device.attestation_info.as_ref().unwrap().state, AttestationState::Complete as i32);
    assert_eq!(device.sw_list.len(), 2);
    assert_eq!(device.app_instances.len(), 1);
    let echo = device.config_item_status.as_ref().unwrap();
    assert_eq!(echo.config_items["timer.config.interval"].value, "10");
    assert!(world.controller.metrics.len() >= 2);
    let logs = &world.controller.logs;
    let of_app: String =
        logs.iter().filter(|(path, _)| path.contains(APP)).map(|(_, lines)| &**lines).collect();
    assert!(of_app.contains("hello, world") && of_app.contains("second line"), "{of_app}");
    assert!(logs.iter().any(|(path, lines)| path == "newlogs" && lines.contains("link is up")));
}

#[test]
fn a_token_that_the_controller_forgot_is_renewed() {
    let mut world = World::onboarded();
    world.controller.token = None;
    world.controller.trace.clear();
    let before = world.seconds();
    world.controller.edit(|config| config.apps[0].activate = false);
    world.run_until("the edited configuration", |world| world.app_state() == HALTED);
    let trace = &world.controller.trace;
    let refused = trace.iter().position(|line| line == "config 403").unwrap();
    assert!(trace[refused..].iter().any(|line| line == "attest 201"));
    assert!(world.seconds() - before < 60);
}

#[test]
fn a_quote_that_is_refused_is_reported_and_tried_again() {
    let mut world = World::new();
    world.controller.set_config(config());
    world.controller.quote_answer = 4;
    world.run(100);
    let attestation = world.device_info().attestation_info.clone().unwrap();
    assert_eq!(attestation.state, AttestationState::RestartWait as i32);
    assert!(!attestation.error.unwrap().description.is_empty());
    assert!(!world.agent.has_config());
    world.controller.quote_answer = 1;
    world.run_until("RUNNING", running);
}

#[test]
fn certificates_are_published_before_the_quote() {
    let files = Provisioning { key_exchange_cert: Some(file("ecdh.pem")), ..provisioning() };
    let mut world = World::with(files);
    world.controller.set_config(config());
    world.run_until("RUNNING", running);
    assert_eq!(world.controller.published.len(), 1);
    assert_eq!(world.controller.published[0].cert_hash.len(), 16);
}

#[test]
fn a_rotated_signing_certificate_is_fetched_and_believed() {
    let mut world = World::onboarded();
    world.controller.rotate("signing-2");
    world.controller.edit(|config| config.apps[0].activate = false);
    world.controller.trace.clear();
    world.run_until("the edited configuration", |world| world.app_state() == HALTED);
    let trace = &world.controller.trace;
    let of = |wanted: &str| trace.iter().filter(|line| *line == wanted).count();
    // Once refused for its unknown sender, then taken.
    assert_eq!((of("config 200"), of("certs 200")), (2, 1), "{trace:?}");
}

#[test]
fn a_configuration_with_a_flipped_bit_is_not_applied() {
    let mut world = World::onboarded();
    world.run(60);
    assert_eq!(world.verify_failures(), 0);
    world.controller.flip_bit = true;
    world.controller.edit(|config| config.apps.clear());
    world.run(300);
    assert!(running(&world) && world.dom0.commands == ["define", "start"]);
    assert!(world.verify_failures() > 0);
    world.controller.flip_bit = false;
    world.run_until("removal", |world| world.app_info().app_name.is_empty());
}

#[test]
fn certificates_under_another_root_are_refused() {
    let mut world = World::new();
    world.controller.served_certs = "signing-stranger".into();
    world.run(60);
    assert_eq!(world.agent.stage(), Stage::Certs);
    // The ticker: 0, 1, 3, 7, 15, 31 s.
    assert_eq!(world.controller.trace.len(), 6);
    world.controller.served_certs = "signing".into();
    world.controller.set_config(config());
    world.run_until("RUNNING", running);
}

#[test]
fn without_a_clock_nothing_is_believed() {
    let mut world = World::new();
    let wall = world.now().wall;
    let mut agent = Agent::new(provisioning(), facts(), 1, Now { monotonic_ns: 0, wall: None }).unwrap();
    agent.on_uplink(world.now(), Uplink { up: true, ..Uplink::default() });
    // The same answer, without and then with the time of day.
    for (monotonic_ns, wall, stage) in [(0, None, Stage::Certs), (3_000_000_000, wall, Stage::Register)] {
        let now = Now { monotonic_ns, wall };
        agent.poll(now);
        let request = agent.next_request().unwrap();
        assert!(request.url.ends_with("/certs"));
        let answer = world.controller.serve(&request);
        assert!(answer.as_ref().is_ok_and(|answer| answer.status == 200 && !answer.body.is_empty()));
        agent.on_response(now, request.id, answer);
        assert_eq!(agent.stage(), stage, "{wall:?}");
    }
}

#[test]
fn a_registered_device_gets_by_on_its_uuid() {
    let mut world = World::new();
    world.controller.register_status = 409;
    world.controller.set_config(config());
    world.run(20);
    assert_eq!(world.agent.stage(), Stage::Register);
    world.controller.known = true;
    world.run_until("RUNNING", running);
}

#[test]
fn a_device_that_was_deleted_registers_again() {
    let mut world = World::onboarded();
    world.controller.known = false;
    world.controller.token = None;
    world.controller.devices.clear();
    world.run_until("registration", |world| world.controller.known);
    world.run_until("a new token", |world| world.controller.token.is_some());
    world.run(60);
    assert_eq!(world.controller.trace.last().map(String::as_str), Some("config 304"));
    assert!(running(&world), "the application runs all the while");
    assert_eq!(world.dom0.commands, ["define", "start"]);
}

#[test]
fn a_wrong_hash_is_an_error_that_names_both() {
    let mut world = World::new();
    world.controller.set_config(config());
    world.store = Ok(b"something else".to_vec());
    world.run(300);
    let content = world.controller.contents.last().unwrap();
    assert_eq!(content.state, ERROR);
    let error = content.err.clone().unwrap();
    assert!(error.description.starts_with("hello.elf: SHA-256 is "), "{}", error.description);
    assert!(!error.retry_condition.is_empty());
    assert_eq!(world.app_state(), ERROR);
    assert!(world.app_info().app_err[0].description.contains("SHA-256"));
    // The first attempt and `blob.download.max.retries` more, then with `timer.download.retry`.
    assert_eq!(world.downloads.len(), 6);
    world.store = Ok(IMAGE.to_vec());
    world.run_until("RUNNING", running);
    assert!(world.app_info().app_err.is_empty());
}

#[test]
fn a_store_that_is_away_is_tried_again() {
    let mut world = World::new();
    world.controller.set_config(config());
    world.store =
        Err(DownloadError::Http(HttpFailure { kind: FailureKind::Refused, text: "no listener".into() }));
    world.run(100);
    assert_eq!(world.controller.contents.last().unwrap().state, ERROR);
    assert!(world.controller.contents.last().unwrap().err.clone().unwrap().description.contains(URL));
    world.store = Ok(IMAGE.to_vec());
    world.run_until("RUNNING", running);
    assert!(world.seconds() < 700);
}

#[test]
fn more_memory_than_there_is_is_an_error_until_it_is_edited() {
    let mut world = World::new();
    let mut wanted = config();
    wanted.apps[0].fixedresources.as_mut().unwrap().memory = 4_194_304;
    world.controller.set_config(wanted);
    world.run(60);
    assert_eq!(world.app_state(), ERROR);
    let error = &world.app_info().app_err[0];
    assert!(error.description.starts_with("hello: needs 4194304 KiB"), "{}", error.description);
    assert!(world.dom0.commands.is_empty());
    world.controller.edit(|config| config.apps[0].fixedresources.as_mut().unwrap().memory = 16_384);
    world.run_until("RUNNING", running);
}

#[test]
fn what_is_not_supported_says_so() {
    let mut world = World::new();
    let mut wanted = config();
    wanted.content_info[0].iformat = 3;
    wanted.apps[0].fixedresources.as_mut().unwrap().virtualization_mode = 1;
    world.controller.set_config(wanted);
    world.run(30);
    assert_eq!((world.app_state(), world.controller.contents.last().unwrap().state), (ERROR, ERROR));
    assert!(world.app_info().app_err[0].description.contains("virtualization mode 1 is not supported"));
    assert!(world.controller.contents.last().unwrap().err.clone().unwrap().description.contains("format 3"));
}

#[test]
fn counters_are_obeyed_and_changes_wait_for_them() {
    let mut world = World::onboarded();
    assert!(running(&world));
    world.controller.edit(|config| config.apps[0].fixedresources.as_mut().unwrap().memory = 32_768);
    world.run(60);
    assert!(running(&world) && world.dom0.commands == ["define", "start"]);
    assert!(world.app_info().app_err[0].description.contains("restart command"));
    world.controller.edit(|config| config.apps[0].restart.as_mut().unwrap().counter = 8);
    world.run(60);
    assert!(running(&world) && world.app_info().app_err.is_empty());
    assert_eq!(world.dom0.commands, ["define", "start", "stop", "define", "start"]);
    assert_eq!(world.dom0.definition.as_ref().unwrap().memory_kib, 32_768);
    // With nothing changed the image need not be given again.
    world.controller.edit(|config| config.apps[0].restart.as_mut().unwrap().counter = 9);
    world.run(60);
    assert_eq!(world.dom0.commands[5..], ["stop", "start"]);
    world.controller.edit(|config| config.apps[0].purge.as_mut().unwrap().counter = 4);
    world.run(60);
    assert_eq!(world.dom0.commands[7..], ["stop", "define", "start"]);
    assert!(running(&world));
}

#[test]
fn the_first_restart_command_of_an_application_without_one_is_obeyed() {
    let mut world = World::new();
    let mut wanted = config();
    wanted.apps[0].restart = None;
    world.controller.set_config(wanted);
    world.run_until("RUNNING", running);
    let first = proto_eve::wire::config::InstanceOpsCmd { counter: 1, ..Default::default() };
    world.controller.edit(|config| config.apps[0].restart = Some(first));
    world.run(60);
    assert_eq!(world.dom0.commands, ["define", "start", "stop", "start"]);
}

#[test]
fn a_purge_prepares_the_new_content_while_the_old_one_runs() {
    let mut world = World::onboarded();
    let new = b"another image".to_vec();
    let sha256 = {
        use sha2::Digest;
        sha2::Sha256::digest(&new)
    };
    world.store = Err(DownloadError::Status(404));
    world.controller.edit(|config| {
        let (content, volume) =
            ("e0e0e0e0-0000-4000-8000-000000000002", "c0c0c0c0-0000-4000-8000-000000000002");
        let mut tree = config.content_info[0].clone();
        tree.uuid = content.into();
        tree.sha256 = hex::encode(sha256);
        config.content_info.push(tree);
        let mut second = config.volumes[0].clone();
        second.uuid = volume.into();
        second.origin.as_mut().unwrap().download_content_tree_id = content.into();
        config.volumes.push(second);
        config.apps[0].volume_ref_list[0].uuid = volume.into();
    });
    world.run(60);
    assert!(world.app_info().app_err[0].description.contains("purge command"));
    world.controller.edit(|config| config.apps[0].purge.as_mut().unwrap().counter = 4);
    world.run(60);
    assert!(running(&world) && world.dom0.commands == ["define", "start"]);
    world.store = Ok(new);
    world.run_until("the new image", |world| world.dom0.commands.len() == 5);
    world.run(30);
    assert!(running(&world));
    assert_eq!(world.dom0.definition.as_ref().unwrap().image_sha256, sha256[..]);
}

#[test]
fn removal_stops_and_is_signalled() {
    let mut world = World::onboarded();
    world.controller.edit(|config| {
        config.apps.clear();
        config.volumes.clear();
        config.content_info.clear();
    });
    world.run(60);
    assert_eq!(world.dom0.commands, ["define", "start", "stop", "remove"]);
    assert_eq!(world.released.len(), 1);
    let app = world.app_info();
    assert_eq!((app.app_id.as_str(), app.state, app.app_name.as_str()), (APP, 0, ""));
    assert_eq!(world.controller.contents.last().unwrap().state, 0);
    assert_eq!(world.controller.volumes.last().unwrap().state, 0);
    assert!(world.device_info().app_instances.is_empty());
}

#[test]
fn an_inactive_application_is_halted_and_started_again() {
    let mut world = World::onboarded();
    world.controller.edit(|config| config.apps[0].activate = false);
    world.run(60);
    assert_eq!(world.app_state(), HALTED);
    world.controller.edit(|config| config.apps[0].restart.as_mut().unwrap().counter = 9);
    world.run(60);
    assert_eq!(world.app_state(), HALTED, "a restart counter is only recorded while inactive");
    world.controller.edit(|config| config.apps[0].activate = true);
    world.run(60);
    assert!(running(&world));
    assert_eq!(world.dom0.commands, ["define", "start", "stop", "start"]);
}

#[test]
fn a_guest_that_powers_off_is_halted_with_a_warning_and_retried() {
    let mut world = World::onboarded();
    world.app_event(AppEvent::Stopped(StopReason::PowerOff));
    world.run(30);
    let app = world.app_info();
    assert_eq!((app.state, app.app_err[0].severity), (HALTED, Severity::Warning as i32));
    world.run(500);
    assert_eq!(world.app_state(), HALTED);
    world.run(100);
    assert!(running(&world) && world.app_info().app_err.is_empty());
    world.app_event(AppEvent::Stopped(StopReason::Crash));
    world.run(30);
    assert_eq!((world.app_state(), world.app_info().app_err[0].severity), (ERROR, Severity::Error as i32));
    world.run(600);
    world.app_event(AppEvent::Stopped(StopReason::Reboot));
    world.run(1);
    assert!(running(&world));
}

#[test]
fn a_domain_that_does_not_start_is_tried_three_times_and_then_rarely() {
    let mut world = World::new();
    world.dom0.failures.extend([AppFailure::Build; 4]);
    world.controller.set_config(config());
    world.run(60);
    assert_eq!(world.dom0.commands.iter().filter(|command| *command == "start").count(), 3);
    assert_eq!(world.app_state(), ERROR);
    assert!(world.app_info().app_err[0].description.contains("building the domain failed"));
    world.run(540);
    assert_eq!(world.dom0.commands.iter().filter(|command| *command == "start").count(), 3);
    world.run_until("RUNNING", running);
}

#[test]
fn a_content_that_the_shell_lost_is_fetched_again() {
    let mut world = World::new();
    world.dom0.failures.extend([AppFailure::ContentGone]);
    world.controller.set_config(config());
    world.run_until("RUNNING", running);
    assert_eq!(world.downloads.len(), 2);
}

#[test]
fn a_domain_that_does_not_answer_does_not_hang_the_agent() {
    let mut world = World::new();
    world.dom0.mute = true;
    world.controller.set_config(config());
    world.run(330);
    assert!(world.app_info().app_err[0].description.contains("no confirmation of its image within 300 s"));
    world.dom0.mute = false;
    world.run_until("RUNNING", running);
    world.dom0.mute = true;
    world.controller.edit(|config| config.apps.clear());
    world.run(250);
    assert_eq!(world.app_info().app_name, "");
}

#[test]
fn a_controller_that_is_away_gets_the_latest_state_when_it_is_back() {
    let mut world = World::onboarded();
    world.controller.up = false;
    world.app_event(AppEvent::Stopped(StopReason::PowerOff));
    world.run(300);
    assert!(running(&world), "the controller knows nothing yet");
    world.app_event(AppEvent::Console { offset: 0, bytes: b"while away\n".to_vec() });
    world.run(400);
    world.controller.apps.clear();
    world.controller.up = true;
    let before = world.seconds();
    world.run_until("reports", |world| !world.controller.apps.is_empty());
    assert!(world.seconds() - before <= 75, "{} s", world.seconds() - before);
    // It was halted and runs again; only the last state was waiting.
    assert_eq!(world.controller.apps.len(), 1);
    world.run(60);
    assert!(world.controller.logs.iter().any(|(_, lines)| lines.contains("while away")));
}

#[test]
fn onboarding_waits_out_an_absent_controller() {
    let mut world = World::new();
    world.controller.up = false;
    world.run(20);
    world.controller.up = true;
    world.controller.set_config(config());
    world.run_until("RUNNING", running);
    assert!(world.seconds() < 40, "{} s", world.seconds());
}

#[test]
fn a_pulled_cable_stops_all_requests_and_its_return_starts_them() {
    let mut world = World::onboarded();
    world.uplink(false);
    world.controller.trace.clear();
    world.run(3000);
    assert!(world.controller.trace.is_empty());
    world.uplink(true);
    world.run(1);
    assert!(world.controller.trace.iter().any(|line| line == "config 304"));
}

#[test]
fn reports_are_refused_for_a_while_and_arrive_in_the_end() {
    let mut world = World::new();
    world.controller.set_config(config());
    world.controller.force.insert("info".into(), 500);
    world.run(100);
    assert!(world.controller.apps.is_empty());
    world.controller.force.clear();
    world.run_until("RUNNING", running);
}

#[test]
fn a_reboot_is_obeyed_once_and_not_for_its_first_value() {
    let mut world = World::new();
    let mut wanted = config();
    wanted.reboot = Some(proto_eve::wire::config::DeviceOpsCmd { counter: 5, ..Default::default() });
    world.controller.set_config(wanted);
    world.run(60);
    assert!(running(&world) && !is_rebooting(&world));
    assert_eq!(world.device_info().reboot_config_counter, 5);
    world.controller.edit(|config| config.reboot.as_mut().unwrap().counter = 6);
    world.run_until("the reboot", is_rebooting);
    assert_eq!(world.app_state(), HALTED);
    assert_eq!(world.device_info().state, ZDeviceState::ZdeviceStateRebooting as i32);
    world.run(600);
    assert_eq!(reboots(&world), 1);
}

#[test]
fn a_shutdown_stops_applications_and_stays() {
    let mut world = World::onboarded();
    let order = |counter| Some(proto_eve::wire::config::DeviceOpsCmd { counter, ..Default::default() });
    world.controller.edit(|config| config.shutdown = order(1));
    world.run(60);
    assert!(running(&world));
    world.controller.edit(|config| config.shutdown = order(2));
    world.run(120);
    assert_eq!(world.app_state(), HALTED);
    assert_eq!(world.device_info().state, ZDeviceState::ZdeviceStatePreparedPoweroff as i32);
}

#[test]
fn maintenance_leaves_applications_alone_until_it_ends() {
    let mut world = World::onboarded();
    world.controller.edit(|config| {
        config.maintenance_mode = true;
        config.apps.clear();
    });
    world.run(60);
    assert!(running(&world));
    assert_eq!(world.device_info().state, ZDeviceState::ZdeviceStateMaintenanceMode as i32);
    assert_eq!(world.device_info().maintenance_mode_reasons, [1]);
    world.controller.edit(|config| config.config_items.push(item("maintenance.mode", "disabled")));
    world.run(60);
    assert_eq!(world.dom0.commands, ["define", "start", "stop", "remove"]);
}

#[test]
fn a_later_life_in_maintenance_reports_what_runs() {
    let mut world = World::onboarded();
    world.controller.edit(|config| config.maintenance_mode = true);
    world.run(60);
    world.dom0.commands.clear();
    world.reborn();
    let before = world.controller.metrics.len();
    world.app_event(AppEvent::Console { offset: 0, bytes: b"one\n".to_vec() });
    world.run(200);
    let later = &world.controller.metrics[before..];
    assert!(!later.is_empty() && later.iter().all(|message| message.am.len() == 1), "{later:?}");
    assert_eq!(world.taken().last(), Some(&4), "its lines go on");
    assert!(running(&world) && world.dom0.commands.is_empty(), "{:?}", world.dom0.commands);
}

#[test]
fn an_older_configuration_is_not_applied() {
    let mut world = World::onboarded();
    let stamp = |seconds| Some(proto_eve::Timestamp { seconds, nanos: 0 });
    world.controller.edit(|config| config.config_timestamp = stamp(100));
    world.run(30);
    world.controller.edit(|config| {
        config.config_timestamp = stamp(99);
        config.apps.clear();
    });
    world.run(60);
    assert!(running(&world));
}

#[test]
fn a_new_epoch_has_everything_sent_again() {
    let mut world = World::onboarded();
    world.controller.edit(|config| config.controller_epoch = 1);
    world.controller.contents.clear();
    world.controller.apps.clear();
    world.run(30);
    assert_eq!((world.controller.contents.len(), world.controller.apps.len()), (1, 1));
}

#[test]
fn an_idle_agent_sleeps() {
    let mut world = World::onboarded();
    world.controller.edit(|config| config.config_items.clear());
    world.run(600);
    world.wakeups = 0;
    world.run(3600);
    // A poll for configuration and metrics each 39 s on average, device info each ten minutes, and
    // a few for log files: nothing else.
    assert!(world.wakeups < 400, "{}", world.wakeups);
}

/// What the controller has of the application's console.
fn console(world: &World) -> String {
    let apps = world.controller.logs.iter().filter(|(action, _)| action != "newlogs");
    apps.map(|(_, lines)| lines.as_str()).collect()
}

#[test]
fn an_agent_that_is_there_anew_adopts_what_runs() {
    let mut world = World::onboarded();
    assert!(running(&world));
    world.app_event(AppEvent::Console { offset: 0, bytes: b"one\ntwo\nhal".to_vec() });
    world.run(30);
    assert_eq!(world.taken(), [8], "half a line is not taken");
    let domid = world.dom0.domid();
    world.dom0.commands.clear();

    world.reborn();
    // dom0 gives again what was not taken, before there is a configuration.
    world.app_event(AppEvent::Console { offset: 8, bytes: b"hal".to_vec() });
    world.app_event(AppEvent::Console { offset: 11, bytes: b"f a line\nnext\n".to_vec() });
    world.run(60);
    assert!(running(&world) && world.agent.has_config());
    assert_eq!(world.dom0.commands, [""; 0], "it was neither stopped nor started");
    assert_eq!(world.dom0.domid(), domid);
    assert!(world.app_info().app_err.is_empty());
    let console = console(&world);
    for line in ["one", "two", "half a line", "next"] {
        let wanted = format!("\"content\":\"{line}\"");
        assert_eq!(console.matches(&wanted).count(), 1, "{line} in {console}");
    }
    assert_eq!(world.taken().last(), Some(&25));
}

#[test]
fn a_later_life_measures_when_it_has_its_configuration() {
    let mut world = World::new();
    world.controller.set_config(config());
    world.run(120);
    assert!(running(&world));
    let before = world.controller.metrics.len();
    world.controller.force.insert("config".into(), 503);
    world.reborn();
    world.run(15);
    world.controller.force.clear();
    world.run(240);
    let later = &world.controller.metrics[before..];
    assert!(!later.is_empty());
    for message in later {
        let Some(MetricContent::Dm(device)) = &message.metric_content else { panic!("{message:?}") };
        assert!(device.last_received_config.is_some() && device.last_processed_config.is_some());
        assert_eq!(message.am.len(), 1, "of the application that runs on");
    }
}

#[test]
fn what_metrics_count_goes_on_in_a_later_life() {
    let mut world = World::onboarded();
    let counters = LinkCounters { tx_bytes: 1000, rx_bytes: 2000, ..LinkCounters::default() };
    world.traffic(counters);
    world.app_event(AppEvent::Console { offset: 0, bytes: b"a line\n".to_vec() });
    world.run(600);
    let count = |world: &World| {
        let message = world.controller.metrics.last().unwrap();
        let Some(MetricContent::Dm(device)) = message.metric_content.clone() else { panic!("{message:?}") };
        let (cloud, network) = (&device.zedcloud[0], &device.network[0]);
        let path = |of: &str| {
            let mut paths = cloud.url_metrics.iter().filter(|path| path.url.ends_with(of));
            paths.next().map_or(0, |path| path.sent_msg_count)
        };
        let logs = device.newlog.unwrap().total_bytes_upload;
        [
            cloud.success,
            path("/config") as u64,
            path("/info") as u64,
            logs,
            network.tx_bytes,
            network.rx_bytes,
        ]
    };
    let before = count(&world);
    assert!(before.iter().all(|&counter| counter > 0), "{before:?}");
    assert_eq!(before[4..], [1000, 2000]);
    world.reborn();
    world.run(120);
    let after = count(&world);
    assert!(before.iter().zip(after).all(|(before, after)| *before <= after), "{before:?} {after:?}");
    assert!(after[1] > before[1], "it asked for its configuration");
    // And net may be there anew.
    world.traffic(LinkCounters { tx_bytes: 10, rx_bytes: 20, ..LinkCounters::default() });
    world.run(120);
    assert_eq!(count(&world)[4..], [1010, 2020]);
}

#[test]
fn the_content_of_what_is_adopted_is_fetched_when_dom0_has_to_be_given_it_again() {
    let mut world = World::onboarded();
    world.dom0.commands.clear();
    world.downloads.clear();
    world.reborn();
    world.run(60);
    assert!(running(&world) && world.downloads.is_empty());
    assert_eq!(world.controller.contents.last().unwrap().state, ZSwState::Delivered as i32);
    // dom0 has no use for its image with other arguments.
    world.controller.edit(|config| {
        let app = &mut config.apps[0];
        app.restart = Some(InstanceOpsCmd { counter: 78, ..InstanceOpsCmd::default() });
        app.fixedresources.as_mut().unwrap().extraargs = "greeting=servus".into();
    });
    world.run(200);
    assert_eq!(world.dom0.commands, ["stop", "define in vain", "define", "start"]);
    assert_eq!(world.downloads.len(), 1);
    assert!(running(&world) && world.app_info().app_err.is_empty());
}

#[test]
fn an_agent_that_is_there_anew_reports_nothing_older_than_what_was_reported() {
    let mut world = World::onboarded();
    world.controller.devices.clear();
    world.controller.force.insert("config".into(), 503);
    world.reborn();
    world.run(30);
    assert!(world.controller.devices.is_empty(), "without the configuration it knows less than before");
    // For ever it does not wait.
    world.run(60);
    assert!(!world.controller.devices.is_empty());
    world.controller.devices.clear();
    world.controller.force.clear();
    world.reborn();
    world.run(30);
    assert!(!world.controller.devices.is_empty() && world.agent.has_config());
}

#[test]
fn an_agent_that_is_there_anew_obeys_what_was_ordered_meanwhile() {
    let mut world = World::onboarded();
    world.dom0.commands.clear();
    let command = InstanceOpsCmd { counter: 77, ..InstanceOpsCmd::default() };
    world.controller.edit(|config| config.apps[0].restart = Some(command));
    world.reborn();
    world.run(60);
    assert_eq!(world.dom0.commands, ["stop", "start"]);
    // Once, and not again in the next life.
    world.reborn();
    world.run(60);
    assert_eq!(world.dom0.commands, ["stop", "start"]);
    world.controller.edit(|config| config.apps[0].fixedresources.as_mut().unwrap().memory = 32_768);
    world.reborn();
    world.run(60);
    assert_eq!(world.dom0.commands, ["stop", "start"], "another size needs a restart command");
    assert!(world.app_info().app_err[0].description.contains("restart command"));
}

#[test]
fn an_application_that_is_not_configured_any_more_is_removed_with_the_first_configuration() {
    let mut world = World::onboarded();
    world.dom0.commands.clear();
    world.controller.edit(|config| config.apps.clear());
    world.controller.up = false;
    world.reborn();
    world.app_event(AppEvent::Console { offset: 0, bytes: b"still here\n".to_vec() });
    world.run(60);
    assert_eq!(world.dom0.commands, [""; 0], "without a configuration nothing is removed");
    world.controller.up = true;
    world.run(200);
    assert_eq!(world.dom0.commands, ["remove"]);
    assert_eq!(world.taken(), [11], "nobody wants its console any more");
}

#[test]
fn an_application_that_ended_meanwhile_is_started() {
    let mut world = World::onboarded();
    world.dom0.commands.clear();
    world.reborn();
    world.app_event(AppEvent::Stopped(StopReason::Crash));
    world.run(60);
    assert_eq!(world.dom0.commands, ["define", "start"]);
    assert!(running(&world));
}

#[test]
fn a_reboot_is_ordered_once_over_all_lives() {
    let mut world = World::onboarded();
    let order = |counter| DeviceOpsCmd { counter, ..DeviceOpsCmd::default() };
    world.controller.edit(|config| config.reboot = Some(order(3)));
    world.run(100);
    world.reborn();
    world.run(100);
    assert!(!is_rebooting(&world), "the first value is only recorded");
    // Ordered while nobody looked.
    world.controller.edit(|config| config.reboot = Some(order(4)));
    world.reborn();
    world.run_until("the reboot", is_rebooting);
    // The rest of the configuration waits, which is nothing that is wrong with the application.
    world.run(30);
    assert!(!running(&world));
    assert_eq!(world.app_info().app_err, []);
}
