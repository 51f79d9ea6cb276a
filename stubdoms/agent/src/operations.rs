//! Operations on the whole device: reboot, shutdown, maintenance.
//!
//! A command is a counter. The first value that is seen is only recorded, so that a device which
//! starts afresh does not obey history; a different one is obeyed once.

use core::time::Duration;

use proto_eve::wire::{
    config::{DeviceOpsCmd, EdgeDevConfig},
    info::MaintenanceModeReason,
};

use crate::{clock::Instant, note::Commands};

/// How long applications may take to stop.
const STOPPING: Duration = Duration::from_secs(300);
/// How long reports and logs may take to leave once the applications have stopped.
const LEAVING: Duration = Duration::from_secs(30);

/// Why the machine is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The controller ordered it.
    Command,
    /// Another version of the base OS is to be started.
    Update,
    /// The version under test did not prove itself.
    Fallback,
    /// It could not open the vault.
    VaultFailed,
    /// The controller was not reached for too long.
    Disconnect,
}

/// What the controller wants of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Reboot,
    Shutdown,
}

/// A counter whose first value is only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter(Option<u32>);

impl Counter {
    /// One that has seen `value`.
    pub(crate) fn at(value: u32) -> Self {
        Self(Some(value))
    }

    /// Whether `value` asks for action. An absent message makes the counter forget.
    pub(crate) fn observe(&mut self, value: Option<u32>) -> bool {
        let fires = matches!((self.0, value), (Some(old), Some(new)) if old != new);
        self.0 = value;
        fires
    }

    pub(crate) fn value(self) -> u32 {
        self.0.unwrap_or(0)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Operations {
    reboot: Counter,
    shutdown: Counter,
    pending: Option<(Operation, Instant)>,
    /// Why, if it is a reboot.
    cause: Option<Cause>,
    /// A version is under test: commands wait for its end.
    held: bool,
    waiting: Option<Operation>,
    stopped: Option<Instant>,
    done: bool,
    maintenance_wanted: bool,
}

/// Where a pending operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing is pending.
    Idle,
    /// Applications are being stopped, or reports are leaving.
    Stopping(Operation),
    /// It is time to act.
    Act(Operation),
    /// It was acted upon.
    Done(Operation),
}

impl Operations {
    /// Looks at the counters. Tells whether the rest of the configuration is to be skipped.
    pub(crate) fn observe(&mut self, now: Instant, config: &EdgeDevConfig) -> bool {
        self.observe_maintenance(config);
        let counter = |command: &Option<DeviceOpsCmd>| command.as_ref().map(|command| command.counter);
        let reboot = self.reboot.observe(counter(&config.reboot));
        let shutdown = self.shutdown.observe(counter(&config.shutdown));
        let operation = match (reboot, shutdown) {
            (true, _) => Some(Operation::Reboot),
            (false, true) => Some(Operation::Shutdown),
            (false, false) => None,
        };
        if let Some(operation) = operation {
            log::info!("device: {operation:?} was ordered");
            if self.held {
                log::info!("device: it waits until the version that runs has proven itself");
                self.waiting = Some(operation);
            } else {
                self.begin(now, operation, Cause::Command);
            }
        }
        self.pending.is_some()
    }

    /// Looks at that alone, where commands are not looked at.
    pub(crate) fn observe_maintenance(&mut self, config: &EdgeDevConfig) {
        self.maintenance_wanted = config.maintenance_mode;
    }

    /// The counters, as they were seen last.
    pub(crate) fn counters(&self) -> Commands {
        Commands { reboot: self.reboot.0, shutdown: self.shutdown.0 }
    }

    fn begin(&mut self, now: Instant, operation: Operation, cause: Cause) {
        let overrides =
            operation == Operation::Reboot || !matches!(self.pending, Some((Operation::Reboot, _)));
        if overrides {
            self.pending = Some((operation, now));
            self.cause = (operation == Operation::Reboot).then_some(cause);
            self.stopped = None;
            self.done = false;
        }
    }

    /// Reboots by the device's own decision, unless it is about to already.
    pub(crate) fn order(&mut self, now: Instant, cause: Cause) {
        if !matches!(self.pending, Some((Operation::Reboot, _))) {
            log::info!("device: it reboots: {cause:?}");
            self.begin(now, Operation::Reboot, cause);
        }
    }

    /// Whether commands wait, for a version is under test. Those that have waited are obeyed when it is over.
    pub(crate) fn hold(&mut self, now: Instant, held: bool) {
        self.held = held;
        if let Some(operation) = self.waiting.take_if(|_| !held) {
            self.begin(now, operation, Cause::Command);
        }
    }

    /// Why the machine is about to be reset.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// What is to be left for a later life of the agent. A command that is being obeyed is not in it: a later
    /// life obeys it again.
    pub(crate) fn note(&self) -> Option<Commands> {
        let note = self.counters();
        (self.pending.is_none() && self.waiting.is_none()).then_some(note)
    }

    /// Takes what an earlier life of the agent left.
    pub(crate) fn recall(&mut self, note: Commands) {
        self.reboot = Counter(note.reboot);
        self.shutdown = Counter(note.shutdown);
    }

    pub(crate) fn reboot_counter(&self) -> u32 {
        self.reboot.value()
    }

    pub(crate) fn shutdown_counter(&self) -> u32 {
        self.shutdown.value()
    }

    pub(crate) fn maintenance_wanted(&self) -> bool {
        self.maintenance_wanted
    }

    pub(crate) fn pending(&self) -> Option<Operation> {
        self.pending.map(|(operation, _)| operation)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Looks whether it is time to act. `drained` tells that nothing waits to be reported.
    pub(crate) fn step(&mut self, now: Instant, apps_stopped: bool, drained: bool) -> Progress {
        let Some((operation, since)) = self.pending else { return Progress::Idle };
        if self.done {
            return Progress::Done(operation);
        }
        if self.stopped.is_none() && (apps_stopped || now.since(since) >= STOPPING) {
            self.stopped = Some(now);
        }
        match self.stopped {
            Some(stopped) if drained || now.since(stopped) >= LEAVING => {
                self.done = true;
                Progress::Act(operation)
            }
            _ => Progress::Stopping(operation),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (_, since) = self.pending.filter(|_| !self.done)?;
        Some(self.stopped.map_or(since.after(STOPPING), |stopped| stopped.after(LEAVING)))
    }
}

/// Why the device is in maintenance mode, in which applications are left as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maintenance {
    pub(crate) requested: bool,
    pub(crate) certs_refused: bool,
    pub(crate) vault_locked: bool,
}

impl Maintenance {
    pub(crate) fn is_active(self) -> bool {
        self.requested || self.certs_refused || self.vault_locked
    }

    /// Whether the base OS is left as it is, too: not for a vault that is locked, which another version may open.
    pub(crate) fn holds_base_os(self) -> bool {
        self.requested || self.certs_refused
    }

    pub(crate) fn reasons(self) -> impl Iterator<Item = i32> {
        let requested = self.requested.then_some(MaintenanceModeReason::UserRequested as i32);
        let locked = self.vault_locked.then_some(MaintenanceModeReason::VaultLockedUp as i32);
        let refused = self.certs_refused.then_some(MaintenanceModeReason::EdgeNodeCertsRefused as i32);
        requested.into_iter().chain(locked).chain(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(0).after(Duration::from_secs(seconds))
    }

    fn config(reboot: Option<u32>) -> EdgeDevConfig {
        let reboot = reboot.map(|counter| DeviceOpsCmd { counter, ..DeviceOpsCmd::default() });
        EdgeDevConfig { reboot, ..EdgeDevConfig::default() }
    }

    #[test]
    fn the_first_value_is_only_recorded() {
        let mut operations = Operations::default();
        assert!(!operations.observe(at(0), &config(Some(5))));
        assert!(!operations.observe(at(0), &config(Some(5))));
        assert_eq!(operations.reboot_counter(), 5);
        assert!(!operations.observe(at(0), &config(None)));
        assert!(!operations.observe(at(0), &config(Some(7))));
        assert!(operations.observe(at(0), &config(Some(0))));
        assert_eq!(operations.pending(), Some(Operation::Reboot));
    }

    #[test]
    fn reports_leave_before_the_reset() {
        let mut operations = Operations::default();
        operations.observe(at(0), &config(Some(1)));
        assert_eq!(operations.step(at(0), true, true), Progress::Idle);
        operations.observe(at(0), &config(Some(2)));
        assert_eq!(operations.step(at(1), false, true), Progress::Stopping(Operation::Reboot));
        assert_eq!(operations.step(at(2), true, false), Progress::Stopping(Operation::Reboot));
        assert_eq!(operations.deadline(), Some(at(32)));
        assert_eq!(operations.step(at(32), true, false), Progress::Act(Operation::Reboot));
        assert_eq!(operations.step(at(33), true, true), Progress::Done(Operation::Reboot));
    }

    #[test]
    fn applications_that_do_not_stop_are_not_waited_for() {
        let mut operations = Operations::default();
        operations.observe(at(0), &config(Some(1)));
        operations.observe(at(0), &config(Some(2)));
        assert_eq!(operations.step(at(299), false, true), Progress::Stopping(Operation::Reboot));
        assert_eq!(operations.step(at(300), false, true), Progress::Act(Operation::Reboot));
    }
}
