//! What the configuration asks of one application, and whether that can be done at all.

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use proto_eve::{
    text,
    uuid::Uuid,
    wire::config::{AppInstanceConfig, VmMode},
};

use super::{
    super::{
        contents::Image,
        problem::{Feature, Problem},
    },
    command::AppDefinition,
};

/// Bytes of a guest's command line, as dom0 takes it.
const MAX_COMMAND_LINE: usize = 512;
/// Bytes of a domain's name, as dom0 takes it.
const MAX_NAME: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vm {
    pub(crate) memory_kib: u32,
    pub(crate) vcpus: u32,
    pub(crate) mode: i32,
    pub(crate) arguments: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeRef {
    pub(crate) id: String,
    pub(crate) generation: i64,
}

/// What the configuration says.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) vm: Vm,
    pub(crate) volumes: Vec<VolumeRef>,
    /// Why it cannot be started at all.
    pub(crate) refused: Option<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) activate: bool,
    pub(crate) start_delay: Duration,
    pub(crate) disable_logs: bool,
}

impl Vm {
    /// What a domain was defined with, as a configuration says it.
    pub(super) fn of(definition: &AppDefinition) -> Self {
        let arguments = definition.command_line.strip_prefix(&prefix(definition.app));
        Self {
            memory_kib: definition.memory_kib,
            vcpus: definition.vcpus.into(),
            // The only one that is ever started.
            mode: VmMode::Pv as i32,
            arguments: arguments.unwrap_or_default().trim_start().into(),
        }
    }
}

fn prefix(app: Uuid) -> String {
    format!("console=hvc0 appuuid={app}")
}

pub(crate) fn definition(app: Uuid, name: &str, vm: &Vm, image: Image) -> AppDefinition {
    AppDefinition {
        app,
        name: text::bounded(name, MAX_NAME),
        memory_kib: vm.memory_kib,
        vcpus: u16::try_from(vm.vcpus).unwrap_or(u16::MAX),
        command_line: format!("{} {}", prefix(app), vm.arguments).trim_end().into(),
        image_sha256: image.sha256,
        image_length: image.length,
    }
}

pub(crate) fn read(instance: &AppInstanceConfig, profile: &str) -> Wanted {
    let vm = instance.fixedresources.clone().unwrap_or_default();
    let volumes: Vec<VolumeRef> = instance
        .volume_ref_list
        .iter()
        .take(16)
        .map(|volume| VolumeRef { id: volume.uuid.clone(), generation: volume.generation_count })
        .collect();
    let mut warnings = Vec::new();
    if vm.enable_vnc {
        warnings.push(Problem::Unsupported(Feature::Vnc));
    }
    if instance.snapshot.as_ref().is_some_and(|snapshot| !snapshot.snapshots.is_empty()) {
        warnings.push(Problem::Unsupported(Feature::Snapshots));
    }
    let profiles = &instance.profile_list;
    Wanted {
        refused: refusal(instance, &volumes),
        vm: Vm {
            // Xen gives whole MiB.
            memory_kib: vm.memory.checked_next_multiple_of(1024).unwrap_or(u32::MAX),
            vcpus: vm.vcpus.max(1),
            mode: vm.virtualization_mode,
            arguments: vm.extraargs.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        },
        volumes,
        warnings,
        activate: instance.activate && (profiles.is_empty() || profiles.iter().any(|known| known == profile)),
        start_delay: Duration::from_secs(instance.start_delay_in_seconds.into()),
        disable_logs: vm.disable_logs,
    }
}

/// Why an application can never be started as it is configured.
fn refusal(instance: &AppInstanceConfig, volumes: &[VolumeRef]) -> Option<Problem> {
    const METADATA_NONE: i32 = 1;
    let vm = instance.fixedresources.clone().unwrap_or_default();
    let unsupported = |feature| Some(Problem::Unsupported(feature));
    if vm.virtualization_mode != VmMode::Pv as i32 {
        return unsupported(Feature::VirtualizationMode(vm.virtualization_mode));
    }
    if instance.service {
        return unsupported(Feature::Service);
    }
    if !instance.adapters.is_empty() {
        return unsupported(Feature::Passthrough);
    }
    if !vm.kernel.is_empty() || !vm.ramdisk.is_empty() {
        return unsupported(Feature::GuestKernel);
    }
    if instance.cipher_data.is_some() && instance.user_data.is_empty() {
        return unsupported(Feature::EncryptedUserData);
    }
    if !instance.user_data.is_empty() && instance.meta_data_type != METADATA_NONE {
        return unsupported(Feature::UserData);
    }
    if let Some(interface) = instance.interfaces.first() {
        return Some(Problem::NetworkInstance { id: text::bounded(&interface.network_id, 64) });
    }
    if vm.memory == 0 {
        return Some(Problem::Domain { text: "no memory is configured".into() });
    }
    if vm.extraargs.len() > MAX_COMMAND_LINE - 64 {
        let text = format!(
            "extra arguments of {} bytes, and {} are the most",
            vm.extraargs.len(),
            MAX_COMMAND_LINE - 64
        );
        return Some(Problem::Domain { text });
    }
    match volumes.len() {
        0 => Some(Problem::NoImage),
        1 => None,
        _ => unsupported(Feature::SecondVolume),
    }
}
