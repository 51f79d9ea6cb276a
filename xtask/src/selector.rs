//! The selector, built for the firmware: the first program on the ESP, and the ESP around it.
//!
//! A disk has two ESPs, which are equal. A slot has what they hold, too, so that a device can have it replaced
//! (`proto/update`, `selector`): of the partition as much as is not zero.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use proto_update::manifest::ALIGN;
use proto_update::selector::MAX_BYTES as MAX_IMAGE;

use crate::build::{Arch, PROFILE, SLOT_KEY};
use crate::slot::Key;
use crate::tool::tool;
use crate::{disk, paths, ui};

/// MiB of an ESP.
pub const ESP_MIB: u64 = 48;

/// The selector's package, and the program in it.
const PACKAGE: &str = "boot-selector";
const PROGRAM: &str = "selector.efi";
/// It is read and measured at every start: it stays small.
pub const MAX_BYTES: usize = 150 << 10;

/// Where firmware looks for a program on a disk that it does not know. Source: UEFI 2.10, section 3.5.1.1.
#[must_use]
pub fn path(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "EFI/BOOT/BOOTX64.EFI",
        Arch::Aarch64 => "EFI/BOOT/BOOTAA64.EFI",
    }
}

/// Builds it, signed for Secure Boot if that is asked for. It starts what `key` has signed, and nothing else.
///
/// # Errors
/// When it does not compile, has become too large, or cannot be signed.
pub fn build(arch: Arch, key: &Key) -> Result<Vec<u8>> {
    let step = ui::step(format!("build the selector for {}", arch.name()));
    let mut cargo = tool("cargo")
        .args(["build", "--profile", PROFILE, "--package", PACKAGE, "--target", &arch.firmware_target()])
        .dir(&paths::repository())
        .env("CARGO_TARGET_DIR", paths::target());
    // A variable would replace the flags in .cargo/config.toml.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", SLOT_KEY] {
        cargo = cargo.without_env(name);
    }
    if let Some(public) = key.public_if_real() {
        cargo = cargo.env(SLOT_KEY, public);
    }
    cargo.run_loud(&step)?;
    let program = paths::read(&paths::target().join(arch.firmware_target()).join(PROFILE).join(PROGRAM))?;
    let kib = program.len().div_ceil(1024);
    ensure!(program.len() <= MAX_BYTES, "the selector has {kib} KiB, and may have {}", MAX_BYTES >> 10);
    let program = key.program(program, &step)?;
    step.done(format!("{kib} KiB"));
    Ok(program)
}

/// The volume of an ESP with this selector. Equal selectors give equal volumes.
///
/// # Errors
/// When it does not fit.
pub fn esp(arch: Arch, program: Vec<u8>) -> Result<Vec<u8>> {
    disk::volume("esp", ESP_MIB, &BTreeMap::from([(path(arch).to_owned(), program)]))
}

/// What a slot has of such a volume: all up to the last block that is not zero, in whole units.
///
/// # Errors
/// When that is more than a device takes.
pub fn image(volume: &[u8]) -> Result<Vec<u8>> {
    let used = volume.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let image = volume.get(..used.next_multiple_of(ALIGN)).context("the ESP has no whole units")?;
    let kib = image.len() >> 10;
    ensure!(image.len() <= MAX_IMAGE, "what the ESP holds takes {kib} KiB, and may take {}", MAX_IMAGE >> 10);
    Ok(image.to_vec())
}

/// The selector in such an image.
///
/// # Errors
/// When it is none.
pub fn in_image(arch: Arch, image: &[u8]) -> Result<Vec<u8>> {
    let mut volume = image.to_vec();
    volume.resize(usize::try_from(ESP_MIB << 20)?, 0);
    disk::file(&volume, path(arch))
}

#[cfg(test)]
mod tests {
    use proto_update::selector::{Doubt, Replacement};

    use super::*;

    #[test]
    fn an_image_is_a_file_system_for_its_partition_and_no_longer_than_it_has_to_be() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let program: Vec<u8> = (0..140_001_u32).map(|at| at as u8 | 1).collect();
            let volume = esp(arch, program.clone()).unwrap();
            let image = image(&volume).unwrap();
            assert!(volume == esp(arch, program.clone()).unwrap() && volume.starts_with(&image));
            assert!(image.len().is_multiple_of(ALIGN) && image.len() < 400 << 10, "{}", image.len());
            assert_eq!(in_image(arch, &image).unwrap(), program);
            let blocks = |bytes: usize| (bytes / 512) as u64;
            let begun = |room| {
                Replacement::new(&image, 512, room, &[], Doubt { target: false, other: false }).is_ok()
            };
            assert!(begun(blocks(volume.len())) && !begun(blocks(volume.len()) - 1));
            let other = esp(arch, [program, vec![0; 8]].concat()).unwrap();
            assert!(other != volume);
        }
        assert!(image(&vec![1; MAX_IMAGE + 1]).is_err() && in_image(Arch::X86_64, &[0; 8192]).is_err());
    }
}
