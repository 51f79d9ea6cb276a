//! Updates of the base OS, and what outlives a start.

use proto_eve::wire::{
    config::{BaseOs, ContentTree, DeviceOpsCmd, InstanceOpsCmd},
    info::{BaseOsStatus, BaseOsSubStatus, BootReason, ZDeviceState, ZInfoDevSw, ZSwState},
};
use proto_svc::{
    storage::{Refusal, SlotState},
    vault,
};
use proto_update::manifest::Machine;
use sha2::{Digest, Sha256};
use stubdoms_agent::{BootCause, Destination, DownloadError, FailureKind, HttpFailure, Stage, VaultEvent};

use crate::{
    running,
    world::{storage::*, *},
};

const TREE: &str = "e0e0e0e0-0000-4000-8000-00000000000f";

/// The configuration names this version, with this content.
fn order_bytes(world: &mut World, version: &str, payload: Vec<u8>, sha256: [u8; 32]) {
    world.payload.bytes = payload;
    world.controller.edit(|config| {
        config.content_info.retain(|tree| tree.uuid != TREE);
        config.content_info.push(ContentTree {
            uuid: TREE.into(),
            ds_id: STORE.into(),
            url: format!("base-{version}.update"),
            iformat: 1,
            sha256: hex::encode(sha256),
            max_size_bytes: 1 << 20,
            display_name: format!("base {version}"),
            ..ContentTree::default()
        });
        let retry_update = config.baseos.take().and_then(|base| base.retry_update);
        config.baseos = Some(BaseOs {
            content_tree_uuid: TREE.into(),
            retry_update,
            activate: true,
            base_os_version: version.into(),
        });
    });
}

pub(crate) fn order(world: &mut World, version: &str) {
    let payload = payload(version);
    let sha256 = Sha256::digest(&payload).into();
    order_bytes(world, version, payload, sha256);
}

fn counter(counter: u32) -> Option<DeviceOpsCmd> {
    Some(DeviceOpsCmd { counter, ..DeviceOpsCmd::default() })
}

fn storage(world: &World) -> &Storage {
    world.storage.as_ref().unwrap()
}

fn other(world: &World) -> &ZInfoDevSw {
    &world.device_info().sw_list[1]
}

fn current(world: &World) -> &ZInfoDevSw {
    &world.device_info().sw_list[0]
}

fn error(world: &World) -> String {
    other(world).sw_err.as_ref().map_or_else(String::new, |error| error.description.clone())
}

/// The user's words for both partitions, as they were reported, without repetition.
fn words(world: &World) -> Vec<(i32, i32, i32)> {
    let mut words: Vec<(i32, i32, i32)> = Vec::new();
    for device in &world.controller.devices {
        let software = &device.sw_list[1];
        let now = (software.status, software.user_status, software.sub_status);
        if words.last() != Some(&now) {
            words.push(now);
        }
    }
    words
}

#[test]
fn a_version_is_fetched_installed_started_tested_and_committed() {
    let mut world = World::with_storage();
    let list = &world.device_info().sw_list;
    assert_eq!(
        (list.len(), list[0].partition_state.as_str(), list[1].partition_state.as_str()),
        (2, "active", "unused")
    );
    assert_eq!(
        (list[0].short_version.as_str(), list[0].user_status),
        ("0.1.0", BaseOsStatus::Updated as i32)
    );
    world.controller.devices.clear();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    assert_eq!(storage(&world).asked, INSTALLED);
    assert_eq!(storage(&world).selectors, ["0.1.0", "0.2.0"]);
    assert_eq!(storage(&world).running_version(), "0.2.0");
    assert_eq!(world.payload.starts, [0]);
    let seen = words(&world);
    let state =
        |status: ZSwState, user: BaseOsStatus, sub: BaseOsSubStatus| (status as i32, user as i32, sub as i32);
    let downloading = (BaseOsStatus::Downloading, BaseOsSubStatus::DownloadInprogress);
    assert!(seen.contains(&state(ZSwState::DownloadStarted, downloading.0, downloading.1)), "{seen:?}");
    let rebooting = state(ZSwState::Installed, BaseOsStatus::Updating, BaseOsSubStatus::UpdateRebooting);
    assert!(seen.contains(&rebooting), "it is reported before the machine is reset: {seen:?}");

    // The new version, under test.
    world.controller.devices.clear();
    world.run(100);
    let device = world.device_info();
    assert_eq!(device.last_boot_reason, BootReason::Update as i32);
    assert_eq!(device.restart_counter, 1);
    assert_eq!(device.state, ZDeviceState::ZdeviceStateBaseosUpdating as i32);
    let list = &device.sw_list;
    assert_eq!((list[0].partition_label.as_str(), list[0].partition_state.as_str()), ("IMGB", "inprogress"));
    assert_eq!(
        (list[0].short_version.as_str(), list[0].sub_status),
        ("0.2.0", BaseOsSubStatus::UpdateTesting as i32)
    );
    assert!((480..600).contains(&list[0].sub_status_progress), "{}", list[0].sub_status_progress);
    assert!(running(&world), "the application runs again");

    assert_eq!(storage(&world).selectors, ["0.1.0", "0.2.0"]);
    world.run(600);
    assert_eq!(storage(&world).asked[INSTALLED.len()..], ["commit", "first", "second back"]);
    assert_eq!(storage(&world).selectors, ["0.2.0", "0.2.0"]);
    assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active]);
    let device = world.device_info();
    assert_eq!(device.state, ZDeviceState::ZdeviceStateOnline as i32);
    assert_eq!(
        (current(&world).user_status, current(&world).partition_state.as_str()),
        (BaseOsStatus::Updated as i32, "active")
    );
    assert_eq!(other(&world).user_status, BaseOsStatus::None as i32);
    world.run(3000);
    assert_eq!((world.resets, world.payload.starts.len()), (1, 1), "and that is all");
}

#[test]
fn a_version_that_does_not_reach_the_controller_falls_back_and_is_not_tried_again() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.uplink(false);
    world.controller.devices.clear();
    world.run_until("the fallback", |world| world.resets == 2);
    assert!((300..400).contains(&world.now_of_last_reset()), "{}", world.now_of_last_reset());
    assert_eq!(storage(&world).running_version(), "0.1.0");
    world.run(60);
    let device = world.device_info();
    assert_eq!(device.last_boot_reason, BootReason::Fallback as i32);
    assert!(device.last_reboot_reason.contains("0.2.0"), "{}", device.last_reboot_reason);
    assert_eq!(other(&world).partition_state, "inprogress");
    assert_eq!(
        (other(&world).user_status, other(&world).short_version.as_str()),
        (BaseOsStatus::Failed as i32, "0.2.0")
    );
    assert!(
        error(&world).contains("fell back") && error(&world).contains("E-UPDATE-007"),
        "{}",
        error(&world)
    );
    assert!(running(&world));
    world.run(3000);
    assert_eq!((world.resets, world.payload.starts.len()), (2, 1));
    // Nor after other starts, of whatever kind.
    world.reset(BootCause::Watchdog);
    world.run(1000);
    assert_eq!((world.resets, world.payload.starts.len()), (3, 1));
    // Until it is told to. The partition is not written again.
    world.controller.edit(|config| config.baseos.as_mut().unwrap().retry_update = counter(1));
    world.run_until("the second try", |world| world.resets == 4);
    assert_eq!(storage(&world).asked.last().map(String::as_str), Some("try other"));
    world.run(900);
    assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active]);
    assert_eq!((world.device_info().baseos_update_counter, world.payload.starts.len()), (1, 1));
}

#[test]
fn power_cuts_and_watchdogs_under_test_are_the_reason_that_is_reported() {
    for (cause, reason, text) in [
        (BootCause::Unknown, BootReason::Unknown, "not known"),
        (BootCause::PowerOn, BootReason::PowerFail, "power"),
        (BootCause::Watchdog, BootReason::WatchdogHung, "watchdog"),
    ] {
        let mut world = World::with_storage();
        order(&mut world, "0.2.0");
        world.run_until("the reset", |world| world.resets == 1);
        world.run(100);
        world.reset(cause);
        world.run(60);
        assert_eq!(world.device_info().last_boot_reason, reason as i32);
        assert!(error(&world).contains(text), "{}", error(&world));
        assert_eq!(storage(&world).running_version(), "0.1.0");
    }
}

#[test]
fn temporary_failures_of_the_controller_are_not_the_versions_fault() {
    for status in [503, 404, 400] {
        let mut world = World::with_storage();
        order(&mut world, "0.2.0");
        world.run_until("the reset", |world| world.resets == 1);
        world.controller.force.insert("config".into(), status);
        world.run(1000);
        assert_eq!(world.resets, 1, "{status}");
        assert_eq!(storage(&world).states(), [SlotState::Active, SlotState::InProgress]);
        world.controller.force.clear();
        world.run(700);
        assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active], "{status}");
    }
    // Another failure is.
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.controller.force.insert("config".into(), 500);
    world.run_until("the fallback", |world| world.resets == 2);
}

/// Facts file, section 1.6: a 403 is temporary after attestation had been tried, and a 200 is a success if what came
/// with it was accepted.
#[test]
fn a_version_that_is_never_attested_or_reads_no_configuration_falls_back() {
    // Control's next life gets no nonce, and so quotes nothing.
    let mut world = under_test();
    for action in ["attest", "config"] {
        world.controller.force.insert(action.into(), 403);
    }
    world.reborn();
    world.run_until("the fallback", |world| world.resets == 2);
    assert!((300..340).contains(&world.now_of_last_reset()), "{}", world.now_of_last_reset());
    // It has quoted, and is refused nevertheless.
    let mut world = under_test();
    world.run(30);
    world.controller.force.insert("config".into(), 403);
    world.run(1000);
    assert_eq!(world.resets, 1);

    let mut world = under_test();
    world.controller.edit(|config| config.id.as_mut().unwrap().uuid = "none".into());
    world.run_until("the fallback", |world| world.resets == 2);
    assert_eq!(storage(&world).running_version(), "0.1.0");
}

#[test]
fn a_service_that_stays_away_or_a_vault_that_stays_locked_falls_back() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.agent.on_services(world.now(), Some("vault"));
    world.run_until("the fallback", |world| world.resets == 2);
    world.run(60);
    assert_eq!(world.device_info().last_boot_reason, BootReason::Fallback as i32);
    let reason = &world.device_info().last_reboot_reason;
    assert!(reason.contains("0.2.0: vault was not well"), "{reason}");

    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.storage.as_mut().unwrap().open = false;
    world.restart_storage();
    world.run_until("the fallback", |world| world.resets == 2);
    assert_eq!(storage(&world).running_version(), "0.1.0");
}

/// Facts file, section 5.6: from the first success on it has `timer.vault.ready.cutoff`.
#[test]
fn a_version_whose_vault_never_opens_falls_back_and_that_is_the_reason() {
    for (hardware, keeps_order, reason, text) in [
        (
            BootCause::Ordered,
            true,
            BootReason::VaultFailed,
            "version 0.2.0 could not open the vault under test",
        ),
        // There is no such place, or the version that was tried does not know of it.
        (BootCause::Ordered, false, BootReason::VaultFailed, "its vault was not open"),
        (BootCause::Watchdog, true, BootReason::WatchdogHung, "kept nothing"),
        // No hardware tells: as after a power cut.
        (BootCause::Unknown, true, BootReason::Unknown, "kept nothing"),
    ] {
        let mut world = World::with_storage();
        world.keeps_order = keeps_order;
        order(&mut world, "0.2.0");
        world.after_order = BootCause::Ordered;
        // From its first instruction on, so it can keep nothing.
        world.storage.as_mut().unwrap().open_in = [true, false];
        world.run_until("the reset", |world| world.resets == 1);
        world.after_order = hardware;
        world.run_until("the fallback", |world| world.resets == 2);
        assert!((300..340).contains(&world.now_of_last_reset()), "{}", world.now_of_last_reset());
        assert_eq!(storage(&world).running_version(), "0.1.0");
        world.run(60);
        let device = world.device_info();
        assert_eq!(device.last_boot_reason, reason as i32, "{}", device.last_reboot_reason);
        assert!(device.last_reboot_reason.contains(text), "{}", device.last_reboot_reason);
        assert!(error(&world).contains(text), "{}", error(&world));
        world.run(3000);
        assert_eq!((world.resets, world.payload.starts.len()), (2, 1), "it is not tried again");
    }
}

#[test]
fn a_later_life_of_control_has_no_more_time_for_a_vault_that_is_locked() {
    for (seconds, times) in [(100, 2), (290, 1)] {
        let mut world = World::with_storage();
        order(&mut world, "0.2.0");
        world.storage.as_mut().unwrap().open_in = [true, false];
        world.run_until("the reset", |world| world.resets == 1);
        ends_every(&mut world, seconds, times);
        world.run_until("the fallback", |world| world.resets == 2);
        assert!((300..340).contains(&world.now_of_last_reset()), "{}", world.now_of_last_reset());
    }
}

#[test]
fn a_version_whose_storage_never_comes_up_falls_back() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    // Nobody tells the slots; the selector has told that it is a trial.
    world.agent.on_storage(world.now(), false);
    world.storage.as_mut().unwrap().there = false;
    world.run_until("the fallback", |world| world.resets == 2);
    assert!((300..340).contains(&world.now_of_last_reset()), "{}", world.now_of_last_reset());
}

/// A world whose device has just been reset into version 0.2.0, which is under test.
fn under_test() -> World {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world
}

/// The agent ends, and is there anew, every `seconds`, `times` times or until the machine is reset.
fn ends_every(world: &mut World, seconds: u64, times: usize) {
    let resets = world.resets;
    for _ in 0..times {
        world.run(seconds);
        if world.resets != resets {
            return;
        }
        world.reborn();
    }
}

#[test]
fn a_version_whose_control_ends_again_and_again_falls_back_within_the_window() {
    // Some reach the controller in every life; such as end faster are given up by dom0.
    for seconds in [20, 75, 130, 199] {
        let mut world = under_test();
        ends_every(&mut world, seconds, 30);
        assert_eq!(world.resets, 2, "{seconds}");
        let third = 3 * seconds + 1;
        let at = world.now_of_last_reset();
        assert!((third..600.min(third + seconds)).contains(&at), "{seconds}: {at}");
        assert_eq!(storage(&world).running_version(), "0.1.0");
        world.run(60);
        let reason = &world.device_info().last_reboot_reason;
        assert!(reason.contains("0.2.0: control was not well"), "{reason}");
        assert_eq!(world.device_info().last_boot_reason, BootReason::Fallback as i32);
        world.run(3000);
        assert_eq!((world.resets, world.payload.starts.len()), (2, 1), "it is not tried again");
    }
}

#[test]
fn a_fallback_that_is_due_before_it_is_known_what_was_kept_is_kept_with_its_reason() {
    let mut world = under_test();
    ends_every(&mut world, 100, 2);
    world.run(100);
    // The first value is read at the third attempt.
    world.storage.as_mut().unwrap().refusals.extend([("get", Refusal::Disk); 2]);
    world.reborn();
    world.run(2);
    assert_eq!(world.resets, 1, "it waits for a while");
    world.run_until("the fallback", |world| world.resets == 2);
    world.run(60);
    let reason = &world.device_info().last_reboot_reason;
    assert!(reason.contains("0.2.0: control was not well"), "{reason}");
}

#[test]
fn a_reset_that_waits_keeps_its_reason_when_a_closed_store_opens_meanwhile() {
    let mut world = under_test();
    ends_every(&mut world, 100, 2);
    world.run(100);
    world.storage.as_mut().unwrap().open = false;
    world.restart_storage();
    // The log does not leave, and the reset waits for that.
    world.controller.force.insert("newlogs".into(), 503);
    world.reborn();
    world.net_logs();
    world.run(5);
    assert_eq!(world.resets, 1, "it waits for a while");
    world.storage.as_mut().unwrap().open = true;
    world.restart_storage();
    world.run_until("the fallback", |world| world.resets == 2);
    world.controller.force.clear();
    world.run(60);
    let reason = &world.device_info().last_reboot_reason;
    assert!(reason.contains("0.2.0: control was not well"), "{reason}");
}

#[test]
fn a_later_life_of_control_has_no_more_time_to_reach_the_controller() {
    for ends_at in [30, 200, 295] {
        let mut world = under_test();
        // Not even its first poll was answered.
        world.controller.force.insert("config".into(), 500);
        ends_every(&mut world, ends_at, 1);
        world.run_until("the fallback", |world| world.resets == 2);
        assert!((300..340).contains(&world.now_of_last_reset()), "{}", world.now_of_last_reset());
    }
}

#[test]
fn the_window_goes_on_in_a_later_life_of_control() {
    for (seconds, times) in [(300, 1), (250, 2), (590, 1)] {
        let mut world = under_test();
        ends_every(&mut world, seconds, times);
        let is_tested = |world: &World| storage(world).states() == [SlotState::Active, SlotState::InProgress];
        assert!(is_tested(&world));
        world.run(598 - world.seconds());
        assert!(is_tested(&world), "{seconds}");
        world.run(30);
        assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active], "{seconds}");
        // And after it there is no test that another life could fail.
        ends_every(&mut world, 100, 6);
        world.storage.as_mut().unwrap().there = false;
        world.reborn();
        world.agent.on_storage(world.now(), false);
        world.run(1000);
        assert_eq!(world.resets, 1);
    }
}

#[test]
fn what_the_selector_refuses_is_reported_in_its_words() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    // It would have been tried, and was refused in the same start.
    world.other_refused = true;
    world.reset(BootCause::Ordered);
    world.run(60);
    assert_eq!(storage(&world).running_version(), "0.1.0");
    assert!(error(&world).contains("as the selector says"), "{}", error(&world));
}

#[test]
fn a_version_that_is_damaged_on_the_disk_is_reported_and_written_anew_when_it_is_named() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run(900);
    assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active]);
    let (resets, starts) = (world.resets, world.payload.starts.len());
    // The selector refuses it, and starts what was there before.
    world.storage.as_mut().unwrap().damaged = Some(1);
    world.other_refused = true;
    world.controller.edit(|config| config.baseos = None);
    world.reset(BootCause::Unknown);
    assert_eq!(storage(&world).running_version(), "0.1.0");
    world.run_until("the report", |world| error(world).contains("E-UPDATE-011"));
    assert!(error(&world).contains("as the selector says"), "{}", error(&world));
    assert_eq!(
        (current(&world).partition_label.as_str(), current(&world).partition_state.as_str()),
        ("IMGA", "active")
    );
    let reason = &world.device_info().last_reboot_reason;
    assert!(reason.contains("not known; as the selector says"), "{reason}");
    world.other_refused = false;
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == resets + 2);
    assert_eq!(
        (storage(&world).running_version().as_str(), world.payload.starts.len()),
        ("0.2.0", starts + 1)
    );
}

/// The vault says that it does not give the storage's key, and storage says that it has none.
fn lock(world: &mut World) {
    world.storage.as_mut().unwrap().open = false;
    world.reset(BootCause::Unknown);
    world.agent.on_vault(world.now(), VaultEvent::There);
    assert_eq!(world.agent.next_vault_request(), Some(vault::Request::Status));
    let status = vault::Status {
        tpm: vault::Tpm::Ready,
        sealing: vault::Sealing::Locked,
        about: Default::default(),
        reason: "another selector".try_into().unwrap(),
        changed: 1 << 4,
        writes_refused: 0,
    };
    world.agent.on_vault(world.now(), VaultEvent::Answer(vault::Answer::Status(status)));
}

#[test]
fn while_the_vault_is_locked_the_base_os_is_updated_and_nothing_else() {
    let mut world = World::with_storage();
    lock(&mut world);
    world.controller.known = true;
    world.downloads.clear();
    order(&mut world, "0.2.0");
    world.run(290);
    assert_eq!(world.downloads.len(), 0, "what was kept may still come");
    world.run_until("the reset", |world| world.resets == 2);
    assert_eq!(storage(&world).asked, [&BOTH[..], &INSTALLED[..]].concat());
    assert_eq!(world.payload.starts, [0]);
    assert!(world.downloads.iter().all(|download| download.into != Destination::Memory));
    assert!(!world.dom0.commands.contains(&"define".into()));
    // The other version is what opens it.
    world.storage.as_mut().unwrap().open = true;
    world.restart_storage();
    world.run_until("the commit", |world| storage(world).states()[1] == SlotState::Active);
    assert!(running(&world));
}

/// Nothing is known of commands then, and what is armed is the agent's own order all the same.
#[test]
fn what_was_armed_while_the_vault_is_locked_is_not_withdrawn_by_a_later_life() {
    let mut world = World::with_storage();
    lock(&mut world);
    world.controller.known = true;
    order(&mut world, "0.2.0");
    // The log does not leave, and the reset waits for that.
    world.controller.force.insert("newlogs".into(), 503);
    world.net_logs();
    world.run_until("armed", |world| storage(world).states()[1] == SlotState::Updating);
    world.run(2);
    assert_eq!(world.resets, 1, "it waits for a while");
    world.reborn();
    world.run_until("the reset", |world| world.resets == 2);
    assert!(!storage(&world).asked.contains(&"abandon".into()), "{:?}", storage(&world).asked);
    assert_eq!((storage(&world).running_version().as_str(), world.payload.starts.len()), ("0.2.0", 1));
}

#[test]
fn while_the_vault_is_locked_what_failed_in_the_other_slot_is_not_tried_again() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.uplink(false);
    world.run_until("the fallback", |world| world.resets == 2);
    lock(&mut world);
    world.controller.known = true;
    world.controller.edit(|config| config.baseos.as_mut().unwrap().retry_update = counter(9));
    world.run(3000);
    assert_eq!((world.resets, world.payload.starts.len()), (3, 1));
    assert!(error(&world).contains("E-UPDATE-007"), "{}", error(&world));
}

#[test]
fn a_download_goes_on_where_it_was_cut() {
    let mut world = World::with_storage();
    world.payload.cut_at = Some(20_000);
    world.payload.then_cut_at.extend([50_000, 50_001]);
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    assert_eq!(world.payload.starts, [0, 20_000, 50_000, 50_001]);
    assert_eq!(storage(&world).running_version(), "0.2.0");
}

#[test]
fn a_server_that_does_not_resume_begins_anew() {
    let mut world = World::with_storage();
    world.payload.cut_at = Some(50_000);
    world.payload.resumes = false;
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    assert_eq!(world.payload.starts, [0, 0]);
    assert_eq!(storage(&world).asked, [&BOTH[..], &BOTH[..], &["begin"], &INSTALLED[2..]].concat());
}

#[test]
fn a_server_that_is_away_is_tried_again() {
    let mut world = World::with_storage();
    let text = "connection refused".into();
    world.payload.refuses = Some(DownloadError::Http(HttpFailure { kind: FailureKind::Refused, text }));
    order(&mut world, "0.2.0");
    world.run(60);
    assert_eq!(other(&world).user_status, BaseOsStatus::Failed as i32);
    assert!(error(&world).contains("connection refused"), "{}", error(&world));
    assert_eq!(storage(&world).asked, BOTH, "the other slot is as it was");
    world.payload.refuses = None;
    world.run_until("the reset", |world| world.resets == 1);
}

/// What is refused, and by which name; the old version runs on, nothing is armed, and it is not fetched again.
#[test]
fn content_that_is_no_update_is_refused_by_name() {
    let good = payload("0.2.0");
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let pack = |slot: Vec<u8>| proto_update::payload::pack(&slot).unwrap();
    let own = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let cases: [(&str, Vec<u8>, &str, &str); 7] = [
        ("truncated", good[..good.len() - 9].to_vec(), "it ends after", "E-UPDATE-004"),
        ("something else", b"no update".repeat(200), "holds no system", "E-UPDATE-004"),
        ("trailing bytes", [&good[..], &[0; 5]].concat(), "behind its end", "E-UPDATE-004"),
        (
            "wrong key",
            pack(slot_by("0.2.0", 9000, &stranger, Machine::X86_64)),
            "not installed",
            "E-UPDATE-005",
        ),
        (
            "other machine",
            pack(slot_by("0.2.0", 9000, &own, Machine::Aarch64)),
            "not installed",
            "E-UPDATE-005",
        ),
        ("other version", payload("0.3.0"), "holds version 0.3.0", "E-UPDATE-003"),
        (
            "larger than the slot",
            pack(slot_by("0.2.0", ROOM as usize, &own, Machine::X86_64)),
            "in room for",
            "E-UPDATE-004",
        ),
    ];
    for (name, bytes, text, code) in cases {
        let mut world = World::with_storage();
        let sha256 = Sha256::digest(&bytes).into();
        order_bytes(&mut world, "0.2.0", bytes, sha256);
        world.run(200);
        assert_eq!(other(&world).user_status, BaseOsStatus::Failed as i32, "{name}");
        let told = error(&world);
        let told = if told.contains(text) { told } else { world_text(&world) };
        assert!(told.contains(text) && told.contains(code), "{name}: {told}");
        assert_eq!(world.payload.starts.len(), 1, "{name}");
        world.run(700);
        assert_eq!((world.resets, world.payload.starts.len()), (0, 1), "{name}: it is not tried again");
        assert!(!storage(&world).asked.contains(&"arm".into()), "{name}");
        assert!(running(&world), "{name}");
    }
}

fn world_text(world: &World) -> String {
    format!("{:?}", other(world))
}

#[test]
fn an_older_version_is_refused_by_name() {
    let mut world = World::with_storage();
    order(&mut world, "0.0.9");
    world.run(200);
    assert!(error(&world).contains("E-UPDATE-005"), "{}", error(&world));
    assert!(!storage(&world).asked.contains(&"arm".into()));
}

#[test]
fn a_wrong_hash_is_fetched_again_a_few_times_and_named() {
    let mut world = World::with_storage();
    let right = payload("0.2.0");
    let mut wrong = right.clone();
    wrong[40_000] ^= 1;
    order_bytes(&mut world, "0.2.0", wrong, Sha256::digest(&right).into());
    world.run(300);
    assert_eq!(world.payload.starts, [0; 6], "the first attempt and `blob.download.max.retries` more");
    assert!(error(&world).contains("SHA-256"), "{}", error(&world));
    world.payload.bytes = right;
    world.run_until("the reset", |world| world.resets == 1);
}

#[test]
fn storage_may_end_at_any_request() {
    for requests in [0, 1, 2, 3, 5, 18, 60, 110, 116, 117, 118, 119, 120, 121, 122, 123, 125] {
        let mut world = World::with_storage();
        world.storage.as_mut().unwrap().dies_after = Some(requests);
        order(&mut world, "0.2.0");
        world.run_until("the reset", |world| world.resets == 1);
        assert_eq!(storage(&world).running_version(), "0.2.0", "{requests}");
        assert!(storage(&world).dies_after.is_none() || requests > 115, "{requests}: it has ended");
    }
}

fn times(world: &World, what: &str) -> usize {
    storage(world).asked.iter().filter(|asked| *asked == what).count()
}

/// Both selectors are asked for as those of what runs: at rest, and ahead of emptying a slot.
const BOTH: [&str; 2] = ["first", "second back"];
/// What is asked of storage until a version is armed.
const INSTALLED: [&str; 8] =
    ["first", "second back", "first", "second back", "begin", "verify", "second", "arm"];

/// Whatever storage says about the selectors, the update goes on; a disk that refuses is asked for the first one again.
#[test]
fn an_update_goes_on_without_its_selector() {
    for refusal in [Refusal::Disk, Refusal::NoSelector, Refusal::Selector, Refusal::State] {
        let mut world = World::with_storage();
        world.storage.as_mut().unwrap().refusals.push_back(("second", refusal));
        order(&mut world, "0.2.0");
        world.run_until("the reset", |world| world.resets == 1);
        assert_eq!(storage(&world).asked, INSTALLED, "{refusal:?}");
        assert_eq!(storage(&world).selectors, ["0.1.0", "0.1.0"]);
        world.storage.as_mut().unwrap().refusals.extend([("first", refusal), ("first", refusal)]);
        world.run(750);
        assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active], "{refusal:?}");
        world.run(3000);
        let passes = refusal == Refusal::Disk;
        assert_eq!(times(&world, "first"), if passes { 5 } else { 3 }, "{refusal:?}");
        assert_eq!(storage(&world).selectors[0], if passes { "0.2.0" } else { "0.1.0" });
    }
}

#[test]
fn a_storage_that_ends_over_the_second_selector_has_the_version_armed_without() {
    let mut world = World::with_storage();
    world.storage.as_mut().unwrap().dies_of = Some("second");
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    assert_eq!(storage(&world).asked, [&INSTALLED[..7], &["verify", "arm"]].concat());
}

/// Nobody is at rest between them, and a slot that is emptied vouches for no selector.
#[test]
fn versions_that_are_named_under_test_have_their_selectors_in_both_places() {
    let mut world = World::with_storage();
    for (resets, (version, next)) in
        (1..).zip([("0.2.0", "0.3.0"), ("0.3.0", "0.4.0"), ("0.4.0", "0.5.0"), ("0.5.0", "0.5.0")])
    {
        if resets == 1 {
            order(&mut world, version);
        }
        world.run_until("the reset", |world| world.resets == resets);
        assert_eq!(storage(&world).selectors[1], version);
        assert!(
            storage(&world)
                .asked
                .ends_with(&INSTALLED[2..].iter().map(|&asked| asked.into()).collect::<Vec<String>>())
        );
        world.run(60);
        assert!(storage(&world).is_trial());
        order(&mut world, next);
    }
    world.run(900);
    assert_eq!(storage(&world).states(), [SlotState::Active, SlotState::Spare]);
    assert_eq!(storage(&world).selectors, ["0.5.0", "0.5.0"]);
}

#[test]
fn after_a_fallback_the_second_selector_is_that_of_what_runs() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.uplink(false);
    assert_eq!(storage(&world).selectors, ["0.1.0", "0.2.0"]);
    world.run_until("the fallback", |world| world.resets == 2);
    world.run(60);
    assert_eq!(storage(&world).selectors, ["0.1.0", "0.1.0"]);
}

/// A slot is emptied nevertheless, and a storage that ends over both is not asked for them ahead of that.
#[test]
fn both_selectors_are_no_reason_not_to_empty_a_slot() {
    for of in BOTH {
        for refusal in [Refusal::Disk, Refusal::NoSelector, Refusal::Selector, Refusal::State] {
            let mut world = World::with_storage();
            world.storage.as_mut().unwrap().refusals.extend([(of, refusal); 2]);
            order(&mut world, "0.2.0");
            world.run_until("the reset", |world| world.resets == 1);
            assert_eq!(storage(&world).asked, INSTALLED, "{of}, {refusal:?}");
        }
        let mut world = World::with_storage();
        world.storage.as_mut().unwrap().dies_of = Some(of);
        order(&mut world, "0.2.0");
        world.run_until("the reset", |world| world.resets == 1);
        assert_eq!(storage(&world).running_version(), "0.2.0", "{of}");
    }
}

/// A storage that ends of it is not asked again and again.
#[test]
fn a_storage_that_ends_over_the_first_selector_is_asked_ever_more_rarely() {
    let mut world = World::with_storage();
    world.storage.as_mut().unwrap().dies_of = Some("first");
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.run(750);
    let before = times(&world, "first");
    world.run(2 * 3600);
    assert!((4..8).contains(&(times(&world, "first") - before)), "{:?}", storage(&world).asked);
    world.storage.as_mut().unwrap().dies_of = None;
    world.run(3700);
    assert_eq!(storage(&world).selectors, ["0.2.0", "0.2.0"]);
}

#[test]
fn control_may_end_at_any_time() {
    for seconds in [1, 50, 61] {
        let mut world = World::with_storage();
        order(&mut world, "0.2.0");
        world.run(seconds);
        if world.resets == 0 {
            world.reborn();
        }
        world.run_until("the reset", |world| world.resets == 1);
        world.run(50);
        world.reborn();
        world.run(900);
        assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active], "{seconds}");
        assert_eq!(world.device_info().last_boot_reason, BootReason::Update as i32);
        assert_eq!(world.device_info().restart_counter, 1);
    }
}

#[test]
fn what_the_disk_refuses_is_tried_again() {
    for kind in ["begin", "write", "verify", "arm", "commit"] {
        let mut world = World::with_storage();
        world.storage.as_mut().unwrap().refusals.push_back((kind, Refusal::Disk));
        order(&mut world, "0.2.0");
        world.run_until("the reset", |world| world.resets == 1);
        world.run(900);
        assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active], "{kind}");
        assert_eq!(storage(&world).refusals.len(), 0, "{kind}");
    }
}

/// A table that cannot be read when storage is asked for the slots, and can a while later: nobody says so.
#[test]
fn slots_that_storage_could_not_tell_are_asked_for_again() {
    let mut world = World::with_storage();
    for _ in 0..3 {
        world.storage.as_mut().unwrap().refusals.push_back(("slots", Refusal::Disk));
    }
    order(&mut world, "0.2.0");
    world.restart_storage();
    world.run(90);
    assert!(error(&world).contains("E-UPDATE-001"), "{}", error(&world));
    let wakeups = world.wakeups;
    world.run_until("the reset", |world| world.resets == 1);
    assert!(world.wakeups - wakeups < 300, "it is asked now and then");
    world.run(900);
    assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active]);
}

#[test]
fn applications_wait_while_an_activation_is_under_way_and_are_caught_up_if_it_comes_to_nothing() {
    let mut world = World::with_storage();
    let text = "away".into();
    world.payload.refuses = Some(DownloadError::Http(HttpFailure { kind: FailureKind::Refused, text }));
    order(&mut world, "0.2.0");
    world.run(30);
    world.controller.edit(|config| config.apps[0].activate = false);
    world.run(60);
    assert!(running(&world), "its new configuration waits");
    world.controller.edit(|config| config.baseos = None);
    world.run(60);
    assert!(!running(&world));
    // Also when the version is refused.
    world.controller.edit(|config| config.apps[0].activate = true);
    world.run(60);
    assert!(running(&world));
    world.payload.refuses = None;
    let bytes = b"no update".repeat(200);
    let sha256 = Sha256::digest(&bytes).into();
    order_bytes(&mut world, "0.2.0", bytes, sha256);
    world.controller.edit(|config| config.apps[0].activate = false);
    world.run(120);
    assert!(!running(&world));
}

#[test]
fn a_version_that_is_not_to_run_is_prepared_only() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.controller.edit(|config| config.baseos.as_mut().unwrap().activate = false);
    world.run(300);
    assert_eq!(storage(&world).asked, INSTALLED[..6]);
    assert_eq!(
        (other(&world).status, other(&world).user_status),
        (ZSwState::Delivered as i32, BaseOsStatus::None as i32)
    );
    world.controller.edit(|config| config.baseos.as_mut().unwrap().activate = true);
    world.run_until("the reset", |world| world.resets == 1);
    assert_eq!(world.payload.starts.len(), 1);
}

#[test]
fn a_request_under_test_is_deferred_and_said_to_be() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.run(60);
    order(&mut world, "0.3.0");
    world.controller.edit(|config| config.reboot = counter(1));
    world.run(60);
    let deferred = &world.device_info().sw_list[2];
    assert_eq!(
        (deferred.short_version.as_str(), deferred.sub_status),
        ("0.3.0", BaseOsSubStatus::UpdateDeferred as i32)
    );
    assert_eq!(world.resets, 1);
    world.run_until("the next reset", |world| world.resets == 2);
    assert!(storage(&world).asked.contains(&"commit".into()));
    assert_eq!(storage(&world).running_version(), "0.3.0");
}

#[test]
fn a_reboot_under_test_waits_for_its_end() {
    let mut world = World::with_storage();
    world.controller.edit(|config| config.reboot = counter(1));
    order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.run(60);
    world.controller.edit(|config| config.reboot = counter(2));
    world.run(300);
    assert_eq!(world.resets, 1);
    world.run_until("the reboot", |world| world.resets == 2);
    assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active]);
    world.run(60);
    assert_eq!(world.device_info().last_boot_reason, BootReason::RebootCmd as i32);
    assert_eq!(world.device_info().reboot_config_counter, 2);
}

#[test]
fn a_forced_fallback_goes_to_the_version_before_and_stays_there() {
    let mut world = World::with_storage();
    order(&mut world, "0.2.0");
    world.run(900);
    assert_eq!(storage(&world).states(), [SlotState::Spare, SlotState::Active]);
    let resets = world.resets;
    world.controller.edit(|config| config.config_items.push(item("force.fallback.counter", "1")));
    world.run_until("the reset", |world| world.resets == resets + 1);
    assert_eq!(storage(&world).running_version(), "0.1.0");
    world.run(3000);
    assert_eq!(storage(&world).states(), [SlotState::Active, SlotState::Spare]);
    assert_eq!(world.resets, resets + 1, "the configuration still names the version that was left");
    assert!(error(&world).contains("E-UPDATE-008"), "{}", error(&world));
}

#[test]
fn a_machine_without_slots_says_so() {
    let mut world = World::onboarded();
    order(&mut world, "0.2.0");
    world.run(100);
    assert_eq!(world.device_info().sw_list.len(), 2);
    assert!(error(&world).contains("E-UPDATE-001"), "{}", error(&world));
    assert!(running(&world));
}

// What outlives a start.

#[test]
fn a_device_that_was_onboarded_does_not_ask_who_it_is() {
    let mut world = World::with_storage();
    world.controller.trace.clear();
    world.reset(BootCause::Unknown);
    world.run(30);
    assert_eq!(world.agent.stage(), Stage::Known);
    let asked = |what: &str| world.controller.trace.iter().any(|line| line.starts_with(what));
    assert!(!asked("register") && !asked("uuid") && asked("config 200"), "{:?}", world.controller.trace);
    assert!(running(&world));
    assert_eq!(world.device_info().restart_counter, 1);
}

#[test]
fn a_command_is_obeyed_once_over_starts() {
    let mut world = World::with_storage();
    world.controller.edit(|config| config.reboot = counter(1));
    world.run(100);
    assert_eq!(world.resets, 0, "the first value is only recorded");
    world.controller.edit(|config| config.reboot = counter(2));
    world.run_until("the reset", |world| world.resets == 1);
    world.run(1000);
    assert_eq!(world.resets, 1);
    assert_eq!(world.device_info().last_boot_reason, BootReason::RebootCmd as i32);
    assert_eq!(world.device_info().reboot_config_counter, 2);
    // One that was given while the machine was off.
    world.controller.edit(|config| config.reboot = counter(3));
    world.reset(BootCause::Unknown);
    world.run_until("the reset", |world| world.resets == 3);
    world.run(1000);
    assert_eq!(world.resets, 3);
}

#[test]
fn what_runs_is_reported_by_a_later_life_too_while_another_version_is_fetched() {
    let mut world = World::with_storage();
    world.run(60);
    world.dom0.commands.clear();
    let text = "away".into();
    world.payload.refuses = Some(DownloadError::Http(HttpFailure { kind: FailureKind::Refused, text }));
    order(&mut world, "0.2.0");
    world.controller.edit(|config| {
        let app = &mut config.apps[0];
        app.restart = Some(InstanceOpsCmd { counter: 78, ..InstanceOpsCmd::default() });
        app.fixedresources.as_mut().unwrap().extraargs = "greeting=servus".into();
    });
    world.reborn();
    let before = world.controller.metrics.len();
    world.app_event(stubdoms_agent::AppEvent::Console { offset: 0, bytes: b"one\ntwo\n".to_vec() });
    world.run(120);
    assert!(world.agent.has_config() && world.resets == 0);
    let later = &world.controller.metrics[before..];
    assert!(!later.is_empty() && later.iter().all(|message| message.am.len() == 1), "{later:?}");
    assert!(running(&world));
    assert_eq!(world.taken().last(), Some(&8), "its lines go on");
    assert_eq!(world.dom0.commands, [""; 0], "what runs is left as it is");
    // The order is taken back: the application gets what it was told meanwhile.
    world.controller.edit(|config| config.baseos = None);
    world.run(200);
    assert!(world.dom0.commands.ends_with(&["define".into(), "start".into()]), "{:?}", world.dom0.commands);
    assert!(running(&world) && world.resets == 0);
}

#[test]
fn an_older_configuration_is_not_applied_over_what_an_earlier_life_has_left() {
    let at = |seconds| Some(proto_eve::time::timestamp(seconds, 0));
    let mut world = World::with_storage();
    world.controller.edit(|config| config.config_timestamp = at(1000));
    world.run(60);
    let older = world.storage.as_ref().unwrap().values.clone();
    world.controller.edit(|config| {
        config.config_timestamp = at(1001);
        let app = &mut config.apps[0];
        app.restart = Some(InstanceOpsCmd { counter: 78, ..InstanceOpsCmd::default() });
        app.fixedresources.as_mut().unwrap().extraargs = "greeting=servus".into();
    });
    world.run(200);
    assert!(running(&world));
    world.dom0.commands.clear();
    // Control ended before the newer one was stored, and nobody can be asked for it.
    let newer = std::mem::replace(&mut world.storage.as_mut().unwrap().values, older);
    world.controller.up = false;
    world.reborn();
    world.run(300);
    assert_eq!(world.dom0.commands, [""; 0], "what runs is left as it is");
    assert!(!world.agent.has_config());
    // The same with what was applied last.
    world.storage.as_mut().unwrap().values = newer;
    world.reborn();
    world.run(300);
    assert!(world.agent.has_config());
    assert_eq!(world.dom0.commands, [""; 0]);
    // Nor does a controller get it applied that has gone back in time meanwhile.
    world.reborn();
    world.controller.up = true;
    world.controller.edit(|config| {
        config.config_timestamp = at(999);
        config.apps.clear();
    });
    world.run(300);
    assert_eq!(world.dom0.commands, [""; 0]);
    assert!(running(&world));
}

#[test]
fn the_last_configuration_is_applied_when_the_controller_is_away() {
    let mut world = World::with_storage();
    world.controller.edit(|config| config.reboot = counter(7));
    world.run(60);
    world.controller.up = false;
    world.controller.edit(|config| config.reboot = counter(8));
    world.reset(BootCause::Unknown);
    world.run_until("the application", |world| world.dom0.commands.contains(&"start".into()));
    assert!(world.seconds() < 70, "{}", world.seconds());
    world.run(1000);
    assert_eq!(world.resets, 1, "commands are not looked at in it");
    // The controller is back, with another one.
    world.controller.up = true;
    world.controller.edit(|config| {
        config.reboot = counter(7);
        config.apps[0].activate = false;
    });
    world.run_until("the new one", |world| world.dom0.commands.contains(&"stop".into()));
}

#[test]
fn without_an_uplink_the_last_configuration_is_applied_too() {
    let mut world = World::with_storage();
    world.reset(BootCause::Unknown);
    world.uplink(false);
    world.run(100);
    assert!(world.dom0.commands.is_empty() || world.dom0.commands.contains(&"start".into()));
    assert!(world.agent.has_config());
}

#[test]
fn after_a_crash_it_is_the_configuration_that_the_device_has_lived_with() {
    let mut world = World::with_storage();
    world.run(700);
    world.controller.edit(|config| config.apps[0].activate = false);
    world.run(60);
    world.controller.up = false;
    for (cause, runs) in [(BootCause::Watchdog, true), (BootCause::Unknown, false)] {
        world.reset(cause);
        world.run(100);
        assert!(world.agent.has_config());
        assert_eq!(world.dom0.commands.contains(&"start".into()), runs, "{cause:?}");
    }
}

#[test]
fn a_kept_configuration_that_was_changed_is_not_applied() {
    let mut world = World::with_storage();
    world.controller.up = false;
    for name in ["config", "config.backup"] {
        let value = world.storage.as_mut().unwrap().values.get_mut(name).unwrap();
        let at = value.windows(5).position(|window| window == b"hello").unwrap();
        value[at] ^= 1;
    }
    world.reset(BootCause::Unknown);
    world.run(200);
    assert!(!world.agent.has_config());
}

#[test]
fn a_store_that_stays_locked_does_not_keep_the_device_from_its_work() {
    let mut world = World::with_storage();
    world.controller.edit(|config| config.reboot = counter(1));
    world.run(60);
    world.storage.as_mut().unwrap().open = false;
    world.reset(BootCause::Unknown);
    world.controller.known = true;
    world.run(100);
    assert!(running(&world));
    world.controller.edit(|config| config.reboot = counter(2));
    world.run(200);
    assert_eq!(world.resets, 1, "whether the command is new is not known");
    world.storage.as_mut().unwrap().open = true;
    world.agent.on_storage_changed(world.now());
    world.run_until("the reset", |world| world.resets == 2);
}

#[test]
fn a_later_start_reports_when_it_has_its_configuration() {
    let mut world = World::with_storage();
    world.controller.metrics.clear();
    world.reset(BootCause::Watchdog);
    world.run_until("metrics", |world| !world.controller.metrics.is_empty());
    assert!(world.device_metrics().last_processed_config.is_some());
}
