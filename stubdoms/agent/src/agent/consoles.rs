//! Consoles of applications, on their way to the log.

use alloc::{string::String, vec::Vec};

use proto_errors::agent as code;
use proto_eve::uuid::Uuid;

use super::Agent;
use crate::report::console::Lines;

/// Console bytes that are held until there is a configuration.
const MAX_HELD: usize = 512 * 1024;

/// That of an application of the configuration.
pub(super) struct Console {
    pub(super) name: String,
    lines: Lines,
}

impl Agent {
    pub(super) fn on_console(&mut self, uuid: Uuid, offset: u64, bytes: Vec<u8>) {
        let end = offset.saturating_add(bytes.len() as u64);
        let Some(app) = self.apps.by_uuid(&uuid) else {
            if self.apps.is_known(&uuid) {
                self.hold(uuid, offset, bytes);
            } else {
                self.logs.pass_over(uuid, end);
            }
            return;
        };
        if !app.logs_wanted() {
            return self.logs.pass_over(uuid, end);
        }
        let console = self
            .consoles
            .entry(uuid)
            .or_insert_with(|| Console { name: app.name.clone(), lines: Lines::default() });
        console.name.clone_from(&app.name);
        let (now, logs) = (self.now, &mut self.logs);
        console
            .lines
            .push(offset, &bytes, |line, mark| logs.app_line(now, uuid, &app.name, app.domid, &line, mark));
        if console.lines.is_empty() {
            self.logs.pass_over(uuid, end);
        }
    }

    /// Holds console bytes until there is a configuration.
    fn hold(&mut self, uuid: Uuid, offset: u64, bytes: Vec<u8>) {
        self.held_bytes += bytes.len();
        self.held.push_back((uuid, offset, bytes));
        while self.held_bytes > MAX_HELD
            && let Some((_, _, oldest)) = self.held.pop_front()
        {
            log::warn!(
                "application: {} bytes of its console are dropped [{}]",
                oldest.len(),
                code::LOGS_LOST
            );
            self.held_bytes -= oldest.len();
        }
    }

    /// There is a configuration: what was held goes where it says.
    pub(super) fn release_held(&mut self) {
        self.held_bytes = 0;
        for (uuid, offset, bytes) in core::mem::take(&mut self.held) {
            self.on_console(uuid, offset, bytes);
        }
    }

    pub(super) fn flush_console(&mut self, uuid: Uuid) {
        let Some(app) = self.apps.by_uuid(&uuid) else { return };
        if let Some(console) = self.consoles.get_mut(&uuid) {
            let (now, logs) = (self.now, &mut self.logs);
            console
                .lines
                .flush(&mut |line, mark| logs.app_line(now, uuid, &app.name, app.domid, &line, mark));
        }
    }
}
