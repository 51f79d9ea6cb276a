//! The clock: time servers are asked, and what they tell is set.

use alloc::string::String;
use core::time::Duration;

use proto_errors::agent as code;

use super::{Agent, DeviceCommand};
use crate::{
    clock::{Now, WallTime},
    timekeeper::{TimeReading, Verdict},
};

impl Agent {
    /// What became of [`DeviceCommand::AskTime`]: what a server said, or why none did.
    pub fn on_time(&mut self, now: Now, answer: Result<TimeReading, String>) {
        self.now = now;
        let verdict = match &answer {
            Ok(reading) => {
                let judged = self.time.judge(now, reading);
                judged.map(|verdict| (reading, verdict)).map_err(|refused| {
                    log::warn!("clock: {} is not believed: {refused} [{}]", reading, code::TIME_REFUSED);
                })
            }
            Err(why) => {
                self.time.failed(now);
                // One line for an outage, unless there is no time at all.
                if !core::mem::replace(&mut self.no_time_told, true) || now.known_wall().is_none() {
                    log::warn!("clock: {why}; asking again [{}]", code::NO_TIME);
                }
                Err(())
            }
        };
        if let Ok((reading, verdict)) = verdict {
            self.no_time_told = false;
            if let Verdict::Set { power_on, large } = verdict {
                if large {
                    let heard = WallTime::since(reading.since_1970).timestamp();
                    match now.wall {
                        Some(was) => log::warn!(
                            "clock: set to {heard} as {} says; it was {} [{}]",
                            reading,
                            was.timestamp(),
                            code::CLOCK_SET
                        ),
                        None => {
                            log::info!("clock: set to {heard} as {reading} says; it was not known")
                        }
                    }
                }
                self.set_clock(power_on, large);
            }
        }
        self.settle_identity();
    }

    /// The controller has dated an answer, over TLS that verified: so many seconds since 1970.
    pub fn on_controller_date(&mut self, now: Now, seconds: u64) {
        self.now = now;
        self.time.on_controller(now.at(), seconds);
    }

    fn set_clock(&mut self, power_on: Duration, large: bool) {
        self.move_clock(power_on, large);
        self.leave_note();
        if !large {
            return;
        }
        self.dirty = true;
        // It may have failed for a certificate that was not valid.
        self.hurry();
    }

    /// Takes the clock of an earlier life.
    pub(super) fn recall_clock(&mut self, numbers: &mut impl Iterator<Item = u64>) {
        if let Some(power_on) = self.time.recall(numbers) {
            self.move_clock(power_on, true);
        }
    }

    /// Has the clock set; `boot`: what it said at boot was as wrong.
    fn move_clock(&mut self, power_on: Duration, boot: bool) {
        self.device_commands.push_back(DeviceCommand::SetClock(power_on));
        let counted = Duration::from_nanos(self.now.monotonic_ns);
        if boot {
            let began = Duration::from_nanos(self.facts.began_ns);
            self.facts.boot_time = Some(WallTime::since(power_on + began));
        }
        // The shell's clock is this one from its next reading on; what is decided before goes by it, too.
        self.now.wall = Some(WallTime::since(power_on + counted));
    }

    /// Asks, if it is time to.
    pub(super) fn step_time(&mut self) {
        if self.time.step(self.now) {
            let servers = self.time.servers(&self.port.ntp_servers, &self.uplink.ntp_servers);
            if self.now.known_wall().is_none() && !core::mem::replace(&mut self.no_clock_told, true) {
                let told = self.now.timestamp();
                log::warn!(
                    "clock: the machine's clock is not set{}; asking {} [{}]",
                    told.map_or_else(String::new, |told| alloc::format!(" ({told})")),
                    servers.join(" "),
                    code::NO_TIME
                );
            }
            self.time.ask(&servers);
            self.device_commands.push_back(DeviceCommand::AskTime(servers));
        }
    }
}
