//! The disk and the store on it, as the storage domain tells of them.
//!
//! EVE knows a persist partition and file systems on it; here that is the store of what is kept, with its quota.

use alloc::{format, string::String, vec::Vec};

use proto_eve::wire::{
    common::DiskDescription,
    info::{StorageDiskState, StorageInfo, StorageRaidType, StorageStatus, ZInfoStorage},
    metrics::DiskMetric,
};
use proto_svc::storage::{Refusal, Status};

/// Where controllers look for what is kept.
const PERSIST: &str = "/persist";

const MIB: u64 = 1 << 20;

/// Bytes as whole MiB, those begun included: a store is small.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

/// MiB of what may be kept.
pub(crate) fn capacity(status: Option<&Status>) -> u64 {
    status.map_or(0, |status| mib(status.quota.into()))
}

/// The disk, and the store on it.
pub(crate) fn list(status: Option<&Status>) -> Vec<ZInfoStorage> {
    let Some(status) = present(status) else { return Vec::new() };
    let disk = ZInfoStorage {
        device: status.disk.as_str().into(),
        total: mib(status.bytes),
        ..ZInfoStorage::default()
    };
    let store = ZInfoStorage {
        mount_path: PERSIST.into(),
        total: mib(status.quota.into()),
        storage_location: true,
        ..ZInfoStorage::default()
    };
    alloc::vec![disk, store]
}

/// How they are.
pub(crate) fn state(status: Option<&Status>) -> Vec<StorageInfo> {
    let Some(status) = status else { return Vec::new() };
    let (disk, store) = match status.closed {
        Some(Refusal::NoDisk) => (StorageStatus::Unavail, StorageStatus::Unavail),
        Some(Refusal::Disk) => (StorageStatus::Faulted, StorageStatus::Faulted),
        closed => {
            let disk = if status.disk_errors > 0 { StorageStatus::Degraded } else { StorageStatus::Online };
            let store = match (closed, status.open, status.damaged) {
                (None, true, 0) => disk,
                (None, true, _) => StorageStatus::Degraded,
                // Its key may come yet.
                _ => StorageStatus::Suspended,
            };
            (disk, store)
        }
    };
    let errors = match (status.disk_errors, status.damaged) {
        (0, 0) => String::new(),
        (errors, damaged) => format!("{errors} errors of the disk, {damaged} values damaged and dropped"),
    };
    let disks = present(Some(status)).map(|status| StorageDiskState {
        disk_name: Some(DiskDescription { name: status.disk.as_str().into(), ..DiskDescription::default() }),
        status: disk as i32,
        ..StorageDiskState::default()
    });
    alloc::vec![StorageInfo {
        pool_name: PERSIST.into(),
        current_raid: StorageRaidType::Noraid as i32,
        storage_state: store as i32,
        disks: disks.into_iter().collect(),
        collector_errors: errors,
        pool_status_msg: status.reason.as_str().into(),
        ..StorageInfo::default()
    }]
}

/// What is kept, in MiB.
pub(crate) fn metrics(status: Option<&Status>) -> Vec<DiskMetric> {
    let Some(status) = present(status) else { return Vec::new() };
    let (total, used) = (mib(status.quota.into()), mib(status.used.into()));
    let free = total.saturating_sub(used);
    alloc::vec![DiskMetric { mount_path: PERSIST.into(), total, used, free, ..DiskMetric::default() }]
}

/// Storage has found a disk.
fn present(status: Option<&Status>) -> Option<&Status> {
    status.filter(|status| !status.disk.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            open: true,
            closed: None,
            reason: Default::default(),
            disk: "Maker 1".try_into().unwrap(),
            bytes: 262 << 20,
            quota: 4 << 20,
            used: 1_100_000,
            disk_errors: 0,
            damaged: 0,
        }
    }

    #[test]
    fn the_disk_and_the_store_are_told_of() {
        let all = list(Some(&status()));
        assert_eq!((all[0].device.as_str(), all[0].total, all[0].storage_location), ("Maker 1", 262, false));
        assert_eq!((all[1].mount_path.as_str(), all[1].total, all[1].storage_location), (PERSIST, 4, true));
        assert_eq!((capacity(Some(&status())), capacity(None)), (4, 0));
        let told = &metrics(Some(&status()))[0];
        assert_eq!((told.total, told.used, told.free), (4, 2, 2));
        assert!(list(None).is_empty() && state(None).is_empty() && metrics(None).is_empty());
    }

    #[test]
    fn what_is_wrong_with_them_has_its_state() {
        use StorageStatus as Is;
        let told = |change: fn(&mut Status)| {
            let mut status = status();
            change(&mut status);
            let told = state(Some(&status)).remove(0);
            let disk = told.disks.first().map_or(0, |disk| disk.status);
            (told.storage_state, disk, told.collector_errors)
        };
        let is = |store: Is, disk: Is, errors: &str| (store as i32, disk as i32, errors.into());
        assert_eq!(told(|_| {}), is(Is::Online, Is::Online, ""));
        let worn = "2 errors of the disk, 0 values damaged and dropped";
        assert_eq!(told(|status| status.disk_errors = 2), is(Is::Degraded, Is::Degraded, worn));
        let torn = "0 errors of the disk, 1 values damaged and dropped";
        assert_eq!(told(|status| status.damaged = 1), is(Is::Degraded, Is::Online, torn));
        assert_eq!(
            told(|status| (status.open, status.closed) = (false, Some(Refusal::Locked))),
            is(Is::Suspended, Is::Online, "")
        );
        assert_eq!(
            told(|status| (status.open, status.closed) = (false, Some(Refusal::Disk))),
            is(Is::Faulted, Is::Faulted, "")
        );
        let none = told(|status| {
            (status.open, status.closed) = (false, Some(Refusal::NoDisk));
            status.disk.clear();
        });
        assert_eq!(none, is(Is::Unavail, Is::Unspecified, ""));
    }
}
