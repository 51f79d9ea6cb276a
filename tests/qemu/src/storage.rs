//! The domain with the disk: it makes its store in an empty partition, and finds it again after kills and a reset.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use xtask::image;
use xtask::qemu::Disk;

use crate::Story;
use crate::restart::dom0_words;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "storage",
        about: "storage finds its disk and makes its store; after kills and a reset of the machine it finds it again",
        tell: storage,
    },
    Story { name: "storage-aarch64", about: "the same with a virtio disk on aarch64", tell: storage },
];

const LINE: Duration = Duration::from_secs(60);
/// Kills, and the time before each.
const KILLS: u32 = 3;
const PAUSE_MS: u32 = 3000;

const EMPTY: &str = "store: its partition was empty, and is formatted";
const AS_LEFT: &str = "store: found as it was left";

fn storage(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.direct();
    let file = stage.folder()?.join("kept.img");
    image::blank(&file)?;
    options.disk = Disk::File(std::path::absolute(file)?);
    options.reboot = true;
    dom0_words(&mut options, &format!("drill=storage:{PAUSE_MS}:{KILLS}"));
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("storage", "disk: ", LINE)?;
    machine.wait_for_from("storage", EMPTY, LINE)?;
    for kill in 1..=KILLS {
        machine.wait_for_from("dom0", &format!("drill {kill}: domain storage"), LINE)?;
        machine.wait_for_from("storage", AS_LEFT, LINE)?;
    }
    machine.qmp("system_reset", json!({}))?;
    machine.wait_for_from("storage", AS_LEFT, LINE)?;
    let formatted = machine.lines().iter().filter(|line| line.text.contains(EMPTY)).count();
    ensure!(formatted == 1, "the store was made {formatted} times");
    // The next dom0 takes such a reset for a crash.
    stage.end_but(machine, &["storage", "boot reason"])
}
