//! A machine whose clock is wrong: the device gets the time from a time server, and onboards with a certificate of now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use xtask::swtpm::Tpm;

use crate::Story;
use crate::application::{PATIENCE, no_violations};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "clock_never_set",
        about: "with the clock at 1970: time servers are asked first, and the device onboards and is attested",
        tell: |stage| wrong(stage, "1970-01-01T00:00:00", "clock: the machine's clock is not set"),
    },
    Story {
        name: "clock_ahead",
        about: "with the clock at 2040, which may be right: the same",
        tell: |stage| wrong(stage, "2040-01-01T00:00:00", "clock: set to "),
    },
];

/// A device's certificate is valid from the day before it was made, and a story takes less than an hour.
const DAY: i64 = 24 * 3600;
const HOUR: i64 = 3600;

/// `first` is what control says of its clock before anything else.
fn wrong(stage: &Stage<'_>, time: &str, first: &str) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    let mut options = stage.provisioned(&site)?;
    // Its key is the TPM's, and the certificate its own.
    options.tpm = Some(Tpm::new(options.arch));
    options.extra.extend([String::from("-rtc").into(), format!("base={time}").into()]);
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("control", first, PATIENCE)?;
    let device = controller.wait_registered(&site.soft_serial(), PATIENCE)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let made = device.certified_from + DAY;
    let age = i64::try_from(now.as_secs())? - made;
    ensure!((-10..HOUR).contains(&age), "the device's certificate was made {age} s ago");
    controller.wait_device_line("attestation: complete", Duration::from_secs(120))?;
    no_violations(&site)?;
    stage.end(machine)
}
