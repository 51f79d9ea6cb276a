//! The selector, built for the firmware: the first program on the ESP.

use anyhow::{Result, ensure};

use crate::build::{Arch, PROFILE, SLOT_KEY};
use crate::slot::Key;
use crate::tool::tool;
use crate::{paths, ui};

/// The selector's package, and the program in it.
const PACKAGE: &str = "boot-selector";
const PROGRAM: &str = "selector.efi";
/// It is read and measured at every start: it stays small.
const MAX_BYTES: usize = 150 << 10;

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
