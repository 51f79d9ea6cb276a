//! Domains that come and go, or that cannot be built, leave nothing in Xen and in dom0.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto_manifest::archive::{IMAGES, TABLE};
use proto_manifest::table::Table;
use xtask::build::{Arch, SAMPLE};
use xtask::paths;
use xtask::qemu::Boot;

use crate::Story;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "create-destroy",
        about: "200 applications live, as many cannot be built, and Xen has every page and port back, dom0 its grants and mappings",
        tell: create_destroy,
    },
    Story { name: "create-destroy-aarch64", about: "the same on aarch64", tell: create_destroy },
];

/// Lives of the sample application.
const COUNT: u32 = 200;

/// How long they may take, the boot included.
const PATIENCE: Duration = Duration::from_secs(90);

/// Pages by which Xen's own heap differs from one time to another, on x86_64 and on aarch64; one that is lost with each
/// life is two hundred.
const NOISE: [u64; 2] = [0, 3];

fn create_destroy(stage: &Stage<'_>) -> Result<()> {
    let is_arm = stage.built().arch == Arch::Aarch64;
    let sample = paths::read(&stage.built().image(SAMPLE))?;
    let mut options = stage.direct_with(|entries| {
        // Nobody else who comes and goes: what is counted is what the applications leave.
        let table = entries.get_mut(TABLE).with_context(|| format!("the archive has no `{TABLE}`"))?;
        let mut alone = Table::decode(table)?;
        alone.channels.clear();
        alone.domains.clear();
        alone.devices.clear();
        let mut buffer = [0; proto_manifest::table::MAX_BYTES];
        *table = alone.encode(&mut buffer)?.to_vec();
        entries.insert(format!("{IMAGES}{SAMPLE}"), sample);
        Ok(())
    })?;
    if let Boot::Direct { dom0_command_line, .. } = &mut options.boot {
        dom0_command_line.push_str(&format!("cycles={SAMPLE}:{COUNT}:1"));
    }
    let mut machine = stage.start(&options)?;
    let line = machine.wait_for_from("dom0", "cycles:", PATIENCE)?.text;
    let wanted = format!("{COUNT} lives of {SAMPLE} in ");
    ensure!(line.contains(&wanted), "{line}");
    let numbers = |after: &str| -> Result<Vec<u64>> {
        let (_, rest) = line.split_once(after).with_context(|| format!("no `{after}` in `{line}`"))?;
        let words = rest.split(|letter: char| !letter.is_ascii_digit()).filter(|word| !word.is_empty());
        words.take(2).map(|word| Ok(word.parse()?)).collect()
    };
    // One before each life, and some that want all memory.
    let refused = numbers(" ms, ")?;
    ensure!(refused.first().is_some_and(|&refused| refused > COUNT.into()), "{line}");
    for counted in ["free pages ", "first free port ", "grant references ", "mapped pages "] {
        let counts = numbers(counted)?;
        let noise = if counted == "free pages " { NOISE[usize::from(is_arm)] } else { 0 };
        let same = counts.len() == 2 && counts[0].abs_diff(counts[1]) <= noise;
        ensure!(same, "{counted}before and after differ: {line}");
    }
    stage.end(machine)
}
