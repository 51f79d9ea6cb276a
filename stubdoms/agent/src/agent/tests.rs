//! Configurations that no controller should send, applied as if one had.

use alloc::{format, string::String, vec, vec::Vec};

use proptest::prelude::*;
use proto_eve::{
    Message, config,
    wire::config::{
        AppInstanceConfig, ConfigItem, ConfigResponse, ContentTree, DatastoreConfig, EdgeDevConfig,
        UuiDandVersion, VmConfig, Volume, VolumeContentOrigin, VolumeRef,
    },
};

use super::*;
use crate::{
    clock::WallTime,
    http::Outcome,
    reconcile::domains::command::{AppFailure, StopReason},
};

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("../../../../proto/eve/tests/vectors/", $name)).to_vec()
    };
}

fn now(seconds: u64) -> Now {
    Now {
        monotonic_ns: seconds * 1_000_000_000,
        wall: Some(WallTime { seconds: 1_767_225_600 + seconds, nanos: 0 }),
    }
}

fn agent() -> Agent {
    let files = Provisioning {
        server: b"controller.example".to_vec(),
        root_certificate: vector!("root.pem"),
        device_cert: vector!("device.pem"),
        device_key: vector!("device-pkcs8.key.pem"),
        ..Provisioning::default()
    };
    let facts = DeviceFacts {
        app_memory_kib: 65_536,
        app_vcpus: 1,
        content_bytes: 1 << 20,
        ..DeviceFacts::default()
    };
    let mut agent = Agent::new(files, facts, 1, now(0)).unwrap();
    agent.session.set_uuid(Uuid([1; 16]));
    agent
}

fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..3_u8).prop_map(|n| format!("00000000-0000-4000-8000-00000000000{n}")),
        ".{0,8}",
        Just(String::new()),
    ]
}

prop_compose! {
    fn apps()(
        id in ids(), volume in ids(), name in ".{0,20}", activate in any::<bool>(), memory in any::<u32>(),
        small in any::<bool>(), vcpus in any::<u32>(), mode in prop_oneof![4 => Just(0), 1 => any::<i32>()],
        generation in 0..2_i64, restart in proptest::option::of(0..3_u32), delay in any::<u32>(),
        extraargs in ".{0,40}", volumes in 0..3_usize,
    ) -> AppInstanceConfig {
        let memory = if small { 16_384 } else { memory };
        let vcpus = if small { 1 } else { vcpus };
        AppInstanceConfig {
            uuidandversion: Some(UuiDandVersion { uuid: id, version: "1".into() }),
            displayname: name,
            activate,
            fixedresources: Some(VmConfig { memory, vcpus, virtualization_mode: mode, extraargs, ..VmConfig::default() }),
            volume_ref_list: vec![
                VolumeRef { uuid: volume, generation_count: generation, ..VolumeRef::default() }; volumes
            ],
            restart: restart.map(|counter| proto_eve::wire::config::InstanceOpsCmd { counter, ops_time: String::new() }),
            start_delay_in_seconds: delay % 3,
            ..AppInstanceConfig::default()
        }
    }
}

prop_compose! {
    fn configs()(
        apps in prop::collection::vec(apps(), 0..4), ids in prop::collection::vec(ids(), 6),
        types in prop::collection::vec(prop_oneof![3 => Just(1), 1 => any::<i32>()], 3), size in any::<u64>(),
        sha in prop_oneof![Just("ab".repeat(32)), ".{0,70}"], items in prop::collection::vec((".{0,30}", ".{0,10}"), 0..4),
        url in ".{0,30}", generation in 0..2_i64, reboot in proptest::option::of(0..2_u32),
    ) -> EdgeDevConfig {
        EdgeDevConfig {
            apps,
            datastores: vec![DatastoreConfig {
                id: ids[0].clone(), d_type: types[0], fqdn: "http://store".into(), ..DatastoreConfig::default()
            }],
            content_info: vec![ContentTree {
                uuid: ids[1].clone(), ds_id: ids[2].clone(), url, iformat: types[1], sha256: sha,
                max_size_bytes: size % (2 << 20), ..ContentTree::default()
            }],
            volumes: vec![Volume {
                uuid: ids[3].clone(), generation_count: generation,
                origin: Some(VolumeContentOrigin { r#type: types[2] + 1 - types[2] % 2, download_content_tree_id: ids[1].clone() }),
                ..Volume::default()
            }],
            config_items: items.into_iter().map(|(key, value)| ConfigItem { key, value }).collect(),
            reboot: reboot.map(|counter| proto_eve::wire::config::DeviceOpsCmd { counter, ..Default::default() }),
            ..EdgeDevConfig::default()
        }
    }
}

/// Drains what is to be done and lets the outside answer in some way.
fn serve(agent: &mut Agent, at: u64, choice: u8) {
    while let Some(command) = agent.next_content_command() {
        if let ContentCommand::Fetch(download) = command {
            assert!(download.max_bytes <= 1 << 20);
            let result = match choice % 3 {
                0 => Ok(100),
                1 => Err(DownloadError::WrongHash { found: [0; 32] }),
                _ => Err(DownloadError::Status(404)),
            };
            agent.on_download_done(now(at), download.id, result);
        }
    }
    while let Some(command) = agent.next_app_command() {
        let (app, event) = match command {
            AppCommand::Define(definition) => {
                assert!(definition.memory_kib <= 65_536 && definition.memory_kib.is_multiple_of(1024));
                assert!(definition.vcpus == 1 && definition.command_line.len() <= 512);
                assert!(definition.name.len() <= 64);
                (definition.app, AppEvent::Staged)
            }
            AppCommand::Start { app } if choice.is_multiple_of(4) => {
                (app, AppEvent::Failed { failure: AppFailure::Build, text: String::new() })
            }
            AppCommand::Start { app } => (app, AppEvent::Running { domid: 5 }),
            AppCommand::Stop { app } => (app, AppEvent::Stopped(StopReason::Ordered)),
            AppCommand::Remove { .. } => continue,
            AppCommand::Note { note, .. } => {
                assert!(note.len() <= 128);
                continue;
            }
        };
        agent.on_app_event(now(at), app, AppEvent::Console { offset: at, bytes: b"line\n\xff\n".to_vec() });
        agent.on_app_event(now(at), app, event);
    }
    while agent.next_device_command().is_some() {}
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_configuration_panics_or_breaks_the_limits(
        configs in prop::collection::vec((configs(), any::<u8>()), 1..6), step in 1..400_u64,
    ) {
        let mut agent = agent();
        let mut at = 1;
        for (config, choice) in configs {
            // Over the wire, so that what the codec would refuse does not get here.
            let bytes = ConfigResponse { config: Some(config), config_hash: String::new() }.encode_to_vec();
            let Ok(response) = config::parse_response(&bytes) else { continue };
            let Some(config) = response.config else { continue };
            agent.now = now(at);
            agent.apply(&config, Origin::Controller);
            for _ in 0..6 {
                agent.poll(now(at));
                serve(&mut agent, at, choice);
                agent.poll(now(at));
                serve(&mut agent, at, choice);
                let deadline = agent.poll(now(at));
                prop_assert!(agent.apps.memory_in_use_kib() <= 65_536);
                // It never asks to be called again at once: that would spin.
                prop_assert!(deadline.is_some_and(|deadline| deadline > now(at).monotonic_ns));
                at += step;
            }
        }
        // What waits to be sent is valid on the wire.
        while let Some((sent, body)) = agent.queue.due(now(at + 100_000).at()) {
            prop_assert!(proto_eve::wire::info::ZInfoMsg::decode(body).is_ok());
            let ok = Outcome::Success { status: 201, payload: Vec::new() };
            agent.queue.on_answer(now(at).at(), &sent, &ok, &mut agent.random);
        }
    }
}
