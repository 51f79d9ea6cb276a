//! How far a device has come, as the controller sees it. What `demo` and `bench` wait for. Pure.

use xtask_controller::{DeviceView, Observed};

use crate::site;

/// How far the device's clock may be from the controller's, in milliseconds: one that is not further off the device puts
/// right without a change to what it has told of its start.
const APART_MS: i64 = 10_000;

/// Whether it has an accepted quote of what it was started with last, and its storage is open; the verdict.
#[must_use]
pub fn attested(device: &DeviceView) -> Option<String> {
    let info = device.info.as_ref()?;
    let quote = device.quote.as_ref().filter(|quote| quote.trusted && device.attested)?;
    let open = info.vaults.iter().any(|vault| vault.status == "ENABLED");
    (open && quote.at_ms + APART_MS >= info.boot_ms).then(|| quote.verdict.clone())
}

/// Whether the version is the one that has proven itself, and runs; in which slot.
#[must_use]
pub fn runs(device: &DeviceView, version: &str) -> Option<String> {
    let slots = &device.info.as_ref()?.slots;
    slots.iter().find(|slot| slot.runs(version)).map(|slot| format!("in {}", slot.label))
}

/// When the sample application was started that is RUNNING, in milliseconds since 1970 by the device's clock.
#[must_use]
pub fn application(observed: &Observed) -> Option<i64> {
    let app = observed.app(site::APP)?;
    (app.state == "RUNNING" && !app.deleted).then_some(app.boot_ms)
}
