//! `image`: the disk image that a machine boots from.
//!
//! | partition | what is in it |
//! |---|---|
//! | esp, x86_64 | `EFI/BOOT/BOOTX64.EFI` (GRUB), `EFI/BOOT/grub.cfg`, `sarsen/{xen.elf,dom0,archive.cpio}` |
//! | esp, aarch64 | `boot.scr` (U-Boot's script), `sarsen/{xen,dom0,archive.cpio}` |
//! | slot-a, slot-b | nothing yet: the system boots from the ESP |
//! | config | the provisioning files, which for now also travel in the archive |
//! | persist | nothing yet |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::build::Built;
use crate::disk::{self, Kind, Partition};
use crate::setup::{Firmware, Stock};
use crate::{build, grub, paths, setup, uboot, ui};

/// Options of `image`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to build
    #[command(flatten)]
    pub build: build::Options,
    /// Where to write the image [default: target/sarsen/ARCH/disk.img]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

const ESP_MIB: u64 = 48;
const SLOT_MIB: u64 = 48;
const CONFIG_MIB: u64 = 4;
const PERSIST_MIB: u64 = 64;

/// Runs the subcommand and prints the image's path.
///
/// # Errors
/// When something does not build, or the files do not fit.
pub fn image(options: &Options) -> Result<()> {
    let stock = setup::stock(options.build.arch)?;
    let built = build::build(&options.build)?;
    let output = options.output.clone().unwrap_or_else(|| default_output(&built));
    make(&built, &stock, options.build.config.as_deref(), &output)?;
    println!("{}", output.display());
    Ok(())
}

/// `target/sarsen/ARCH/disk.img`.
pub fn default_output(built: &Built) -> PathBuf {
    built.folder.join("disk.img")
}

/// Makes the image of a build.
///
/// # Errors
/// As [`image`].
pub fn make(built: &Built, stock: &Stock, config: Option<&Path>, output: &Path) -> Result<()> {
    let step = ui::step("write the disk image");
    let mut esp = match &stock.firmware {
        Firmware::Uefi { grub_modules, .. } => {
            let grub_config = grub::configuration(&built.xen_command_line())?;
            BTreeMap::from([
                ("EFI/BOOT/BOOTX64.EFI".to_owned(), grub::core_image(grub_modules, &step)?),
                ("EFI/BOOT/grub.cfg".to_owned(), grub_config.into_bytes()),
                ("sarsen/xen.elf".to_owned(), paths::read(&stock.xen)?),
            ])
        }
        Firmware::UBoot { .. } => BTreeMap::from([
            ("boot.scr".to_owned(), uboot::script(&built.xen_command_line(), &built.transports)?),
            ("sarsen/xen".to_owned(), paths::read(&stock.xen)?),
        ]),
    };
    esp.insert("sarsen/dom0".to_owned(), paths::read(&built.dom0)?);
    esp.insert("sarsen/archive.cpio".to_owned(), paths::read(&built.archive)?);
    for (path, contents) in &esp {
        step.say(format!("{path}: {} KiB", contents.len().div_ceil(1024)));
    }
    let partition = |name, kind, size_mib, files| Partition { name, kind, size_mib, files };
    let partitions = [
        partition("esp", Kind::Esp, ESP_MIB, Some(esp)),
        partition("slot-a", Kind::Slot, SLOT_MIB, None),
        partition("slot-b", Kind::Slot, SLOT_MIB, None),
        partition("config", Kind::Config, CONFIG_MIB, Some(build::config_files(config)?)),
        partition("persist", Kind::Persist, PERSIST_MIB, None),
    ];
    disk::write(output, &partitions)?;
    step.done(output.display().to_string());
    Ok(())
}
