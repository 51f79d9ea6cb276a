//! A device with firmware, disk and TPM: until it is attested, over an update, and back from versions that are of no use.
//!
//! ```text
//!   power-on -> attested -> 0.2.0 is offered -> it serves, is proven -> 0.3.0 panics -> 0.2.0 serves
//!                                                                    -> 0.4.0 hangs  -> 0.2.0 serves
//! ```
//!
//! A version serves when the controller sees the application RUNNING that was started under it. What the console tells
//! (the selector, a panic, the watchdog's reset) has the host's clock, as in [`super`].

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask_controller::{DeviceView, Observed};

use super::samples::Samples;
use crate::broken::{self, Broken};
use crate::build::Built;
use crate::console::Line;
use crate::image;
use crate::measure::Made;
use crate::progress::{application, attested, runs};
use crate::qemu::{Boot, Machine, Options as MachineOptions};
use crate::setup::Stock;
use crate::site::Site;
use crate::slot::{self, Key, Pieces};
use crate::swtpm::Tpm;
use crate::{selector, ui};

/// The selector's own work.
pub const SELECTOR: &str = "selector: its first line to the slot read and verified, without a TPM";
/// With what the TPM takes, and with what the firmware and the next loader take until that says something.
const SELECTOR_TIMES: [[&str; 2]; 2] = [
    [SELECTOR, "selector: its first line to the first line behind it, without a TPM"],
    [
        "selector: its first line to the slot read and verified, with a TPM",
        "selector: its first line to the first line behind it, with a TPM",
    ],
];
/// The program.
pub const SELECTOR_SIZE: &str = "selector: size";
/// What the controller serves for a right version.
pub const PAYLOAD: &str = "update: size of the payload, compressed";

const ATTESTED: &str = "attested: dom0's first instruction to a trusted quote, storage open";
const ATTESTED_READY: &str = "attested: of that, to all services ready (ours, and the TPM's extends)";
const ATTESTED_OPEN: &str = "attested: of that, to the storage open (the TPM makes its keys)";
const UPDATED: &str = "update: offered to the new version serving";

/// The version that the device is updated to, and stays at.
const SECOND: &str = "0.2.0";
/// How often the controller's view is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// For each step.
const PATIENCE: Duration = Duration::from_secs(300);

/// A version that is of no use.
struct Bad {
    broken: Broken,
    version: &'static str,
    /// Names of its times: to the next start, from there to the old version serving, and both.
    names: [&'static str; 3],
}

const BAD: [Bad; 2] = [
    Bad {
        broken: Broken::Panic,
        version: "0.3.0",
        names: [
            "fallback: a panic to the selector's next start",
            "fallback: from there to the old version serving, after a panic",
            "fallback: a panic to the old version serving",
        ],
    },
    Bad {
        broken: Broken::Hang,
        version: "0.4.0",
        names: [
            "fallback: a hang to the selector's next start, by the watchdog (30 s)",
            "fallback: from there to the old version serving, after a hang",
            "fallback: a hang to the old version serving",
        ],
    },
];

/// One device, from power-on to the last way back. Its disk and its TPM are made in `folder`.
///
/// # Errors
/// When something cannot be made, or a step is not seen in time; with the end of the console.
pub fn measure(
    stock: &Stock,
    built: &Built,
    site: &Site,
    folder: &Path,
    samples: &mut Samples,
) -> Result<()> {
    let disk = folder.join("disk.img");
    image::make(built, stock, Some(&site.config()), &disk)?;
    let key = Key::test()?;
    samples.add(SELECTOR_SIZE, "KiB", kib(&selector::build(built.arch, &key)?));
    let step = ui::step("make the versions");
    let pieces = Pieces::of(built, stock, &key)?;
    let payload =
        |broken, version| broken::payload(broken, pieces.clone(), built, stock, &key, version, &step);
    let second = payload(None, SECOND)?;
    samples.add(PAYLOAD, "KiB", kib(&second));
    let bad = BAD.iter().map(|bad| payload(Some(bad.broken), bad.version)).collect::<Result<Vec<_>>>()?;
    step.done("");

    let made = Made::read(&disk, Key::test()?)?;
    site.controller.expect(vec![made.predict(None, &[], None)?]);
    let tpm = Tpm { state: Some(folder.join("tpm")), ..Tpm::new(built.arch) };
    let options = MachineOptions::disk(disk, built, stock);
    let options = MachineOptions { settled: true, ..options };
    selector_times(&start_of_xen(&options)?, SELECTOR_TIMES[0], samples);
    let options = MachineOptions { reboot: true, tpm: Some(tpm), ..options };
    let mut device = Device { machine: Machine::start(&options, None)?, site };
    let result = device.live(&made, &second, &bad, samples);
    selector_times(&device.machine.lines(), SELECTOR_TIMES[1], samples);
    device.machine.quit();
    result
}

/// The lines of a machine without a TPM until Xen's first one. What it writes is dropped.
fn start_of_xen(options: &MachineOptions) -> Result<Vec<Line>> {
    let mut options = options.clone();
    if let Boot::Disk { keep_writes, .. } = &mut options.boot {
        *keep_writes = false;
    }
    let mut machine = Machine::start(&options, None)?;
    machine.wait_for_from("xen", "Xen version", PATIENCE)?;
    let lines = machine.lines();
    machine.quit();
    Ok(lines)
}

fn kib(bytes: &[u8]) -> f64 {
    bytes.len() as f64 / 1024.0
}

struct Device<'a> {
    machine: Machine,
    site: &'a Site,
}

impl Device<'_> {
    fn live(&mut self, made: &Made, second: &[u8], bad: &[Vec<u8>], samples: &mut Samples) -> Result<()> {
        let (_, at) = self.see("the device is attested", |device, _| attested(device))?;
        attestation(&self.machine.lines(), at, samples);
        self.see("the application runs", |_, observed| application(observed))?;
        let first = self
            .see("the first version is proven", |device, _| runs(device, slot::VERSION).map(|_| device.uuid));
        // By now it is known what this firmware measures.
        let log = self.site.controller.event_log(first?.0)?;
        let expected = [None, Some(second)].map(|payload| made.predict(payload, &[second], Some(&log)));
        self.site.controller.expect(expected.into_iter().collect::<Result<_>>()?);

        let offered = self.machine.since_power_on();
        let served = self.served(SECOND, second)?;
        samples.add(UPDATED, "ms", milliseconds(served.saturating_sub(offered)));
        for (bad, payload) in BAD.iter().zip(bad) {
            self.see(&format!("version {SECOND} is proven"), |device, _| runs(device, SECOND))?;
            self.see("it is attested", |device, _| attested(device))?;
            let before = self.machine.lines().len();
            // The old version serves again.
            let served = self.served_by(SECOND, bad.version, payload)?;
            let lines = self.machine.lines_from(before);
            let (end, reset) =
                end_and_next_start(&lines).context("the console tells no end of the version")?;
            let times = [reset.saturating_sub(end), served.saturating_sub(reset), served.saturating_sub(end)];
            for (name, time) in bad.names.into_iter().zip(times) {
                samples.add(name, "ms", milliseconds(time));
            }
        }
        Ok(())
    }

    /// Offers a version; when it serves.
    fn served(&mut self, version: &str, payload: &[u8]) -> Result<Duration> {
        self.served_by(version, version, payload)
    }

    /// Offers a version; when version `by` serves after a start.
    fn served_by(&mut self, by: &str, version: &str, payload: &[u8]) -> Result<Duration> {
        let last = |device: &DeviceView| device.boots.last().map_or(0, |boot| boot.number);
        let before = |device: &DeviceView, observed: &Observed| Some((last(device), application(observed)?));
        let ((starts, began), _) = self.see("the application runs", before)?;
        self.site.offer_version(version, payload)?;
        let (_, at) =
            self.see(&format!("after {version} was offered, {by} serves"), |device, observed| {
                device.boots.last().filter(|boot| boot.number > starts && boot.version == by)?;
                application(observed).filter(|now| *now > began)
            })?;
        Ok(at)
    }

    /// Waits for something that the controller sees, and takes the time.
    fn see<T>(
        &mut self,
        what: &str,
        reached: impl Fn(&DeviceView, &Observed) -> Option<T>,
    ) -> Result<(T, Duration)> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.site.controller.observe(|observed| {
                observed.devices.values().next().and_then(|device| reached(device, observed))
            });
            if let Some(seen) = seen {
                return Ok((seen, self.machine.since_power_on()));
            }
            if let Some(reason) = self.machine.trouble() {
                bail!("{what}: {reason}\n{}", self.machine.tail());
            }
            ensure!(
                Instant::now() < end,
                "{what}: not within {} s\n{}",
                PATIENCE.as_secs(),
                self.machine.tail()
            );
            std::thread::sleep(LOOK);
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What the lines of the first start tell of the way to the quote, which was taken at `at`.
fn attestation(lines: &[Line], at: Duration, samples: &mut Samples) {
    let Some(began) = super::first_instruction(lines) else { return };
    let open = |line: &&Line| line.who == "storage" && line.text.contains("the store is open");
    let points = [
        (ATTESTED, Some(at)),
        (ATTESTED_READY, super::healthy(lines)),
        (ATTESTED_OPEN, lines.iter().find(open).map(|line| line.at)),
    ];
    for (name, at) in points {
        if let Some(at) = at {
            samples.add(name, "ms", milliseconds(at) - began);
        }
    }
}

/// How long the selector took in each start: until it has read and verified a slot, and until the first line behind it.
fn selector_times(lines: &[Line], names: [&str; 2], samples: &mut Samples) {
    for (index, first) in lines.iter().enumerate().filter(|(_, line)| begins_selector(line)) {
        let mut rest = lines[index + 1..].iter().take_while(|line| !begins_selector(line));
        let read =
            rest.find(|line| line.text.starts_with("selector: ") && line.text.contains(" holds version "));
        let behind = rest.find(|line| !line.text.starts_with("selector: "));
        for (name, line) in names.into_iter().zip([read, behind]) {
            if let Some(line) = line {
                samples.add(name, "ms", milliseconds(line.at.saturating_sub(first.at)));
            }
        }
    }
}

/// When a version that was tried has ended, by its last words or, without any, by Xen's last line; and when the selector is
/// there again. Which of the lines in between are the firmware's cannot be told.
fn end_and_next_start(lines: &[Line]) -> Option<(Duration, Duration)> {
    let tried = lines.iter().position(|line| line.text.contains("): it is tried"))?;
    let length = lines[tried..].iter().position(begins_selector)?;
    let start = &lines[tried..tried + length];
    let words = start.iter().find(|line| line.text.contains("PANIC"));
    let end = words.or_else(|| start.iter().rev().find(|line| line.who == "xen"))?;
    Some((end.at, lines[tried + length].at))
}

/// Whether it is the selector's first line.
fn begins_selector(line: &Line) -> bool {
    let version = line.text.strip_prefix("selector ");
    version.is_some_and(|version| version.starts_with(|letter: char| letter.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::line;

    fn start(words: &str) -> Vec<Line> {
        vec![
            line(90, "dom0", "the machine is reset"),
            line(100, "firmware", "selector 0.1.0"),
            line(101, "firmware", words),
            line(130, "firmware", "selector: slot B holds version 0.1.0, 7068 KiB"),
            line(400, "firmware", "GRUB: loading Xen"),
            line(500, "xen", "Xen version 4.20"),
            line(900, "xen", "Freed 656kB init memory"),
        ]
    }

    #[test]
    fn the_selectors_time_ends_with_what_it_has_read_and_with_what_comes_behind() {
        let mut lines = start("selector: slot B (priority 3, tries 1, not proven): it is tried");
        // One that refuses everything has no times.
        lines.push(line(1000, "firmware", "selector 0.1.0"));
        let mut samples = Samples::default();
        selector_times(&lines, ["read", "behind"], &mut samples);
        let values = samples.summaries();
        let got: Vec<_> = values.iter().map(|value| (value.name.as_str(), value.median)).collect();
        assert_eq!(got, [("behind", 300.0), ("read", 30.0)]);
    }

    #[test]
    fn a_version_ends_with_its_last_words_or_in_silence() {
        let mut lines = start("selector: slot B (priority 3, tries 1, not proven): it is tried");
        lines.extend([line(30_900, "dom0", "BdsDxe: loading"), line(31_000, "dom0", "selector 0.1.0")]);
        let at = Duration::from_millis;
        assert_eq!(end_and_next_start(&lines), Some((at(900), at(31_000))));
        lines.insert(7, line(950, "dom0", "PANIC: no wiring"));
        lines.insert(8, line(980, "xen", "Dom0 crashed: rebooting machine"));
        assert_eq!(end_and_next_start(&lines), Some((at(950), at(31_000))));
        assert_eq!(end_and_next_start(&start("selector: slot A (priority 2, tries 0, proven)")), None);
    }

    #[test]
    fn the_way_to_the_quote_counts_from_dom0s_first_instruction() {
        let lines = [
            line(1100, "dom0", "sarsen dom0 0.1.0"),
            line(1101, "dom0", "INFO dom0: measure first-instruction-to-first-line.dom0 100.0 ms"),
            line(1110, "dom0", "INFO dom0: domain storage is d1"),
            line(1500, "dom0", "INFO dom0: domain storage: ready after 70 ms"),
            line(1800, "storage", "INFO store: the store is open: 0 values"),
        ];
        let mut samples = Samples::default();
        attestation(&lines, Duration::from_millis(3000), &mut samples);
        let values = samples.summaries();
        let got: Vec<_> = values.iter().map(|value| (value.name.as_str(), value.median)).collect();
        assert_eq!(got, [(ATTESTED, 2000.0), (ATTESTED_READY, 500.0), (ATTESTED_OPEN, 800.0)]);
    }
}
