//! GRUB as one program: its core image for EFI, with a disk in memory that holds its configuration and all that
//! it loads.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::tool::tool;
use crate::ui::Step;
use crate::{paths, setup};

/// Where GRUB finds its configuration on its disk.
pub const CONFIGURATION: &str = "boot/grub.cfg";
/// What GRUB does first, in the few words that it knows by itself: the configuration has to be named, for the
/// one that it looks for beside itself is on no disk.
const FIRST: &str = "normal (memdisk)/boot/grub.cfg\n";

/// What the configuration needs: the disk in memory, the loader, and the words it is written in.
pub const MODULES: [&str; 10] =
    ["memdisk", "newc", "normal", "configfile", "multiboot2", "boot", "echo", "test", "sleep", "minicmd"];

/// Makes the program of some of the modules in a folder, with this disk, a cpio archive.
///
/// # Errors
/// When grub-mkimage cannot be had or fails.
pub fn program(folder_of_modules: &Path, modules: &[&str], disk: &[u8], step: &Step) -> Result<Vec<u8>> {
    setup::host_tools(&[setup::Host::Grub])?;
    let folder = tempfile::tempdir()?;
    let [memory, first, file] = ["disk.cpio", "first.cfg", "grub.efi"].map(|name| folder.path().join(name));
    paths::write(&memory, disk)?;
    paths::write(&first, FIRST)?;
    tool("grub-mkimage")
        .arg("-d")
        .arg(folder_of_modules)
        .args(["-O", "x86_64-efi", "-p", "(memdisk)/boot", "-c"])
        .arg(&first)
        .arg("-m")
        .arg(&memory)
        .arg("-o")
        .arg(&file)
        .args(modules)
        .run(step)?;
    paths::read(&file)
}

/// Fills the template `boot/grub/grub.cfg.in`.
///
/// # Errors
/// When Xen's command line holds a character that GRUB would take for its own.
pub fn configuration(xen_command_line: &str) -> Result<String> {
    let template = paths::read_text(Path::new(&paths::repository().join("boot/grub/grub.cfg.in")))?;
    fill(&template, xen_command_line)
}

fn fill(template: &str, xen_command_line: &str) -> Result<String> {
    let special = xen_command_line.chars().find(|&c| c.is_control() || "'\"\\${};|&<>#".contains(c));
    if let Some(special) = special {
        anyhow::bail!("Xen's command line holds {special:?}, which GRUB's configuration does not carry");
    }
    ensure!(template.contains(" @XEN@"), "boot/grub/grub.cfg.in has no @XEN@ for Xen's command line");
    let lines = template.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    Ok(lines.map(|line| line.replace("@XEN@", xen_command_line) + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_the_command_line_comes() {
        let text = fill("# @XEN@\n\nmultiboot2 /x @XEN@; boot\n", "console=com1 dom0=pvh").unwrap();
        assert_eq!(text, "multiboot2 /x console=com1 dom0=pvh; boot\n");
    }

    #[test]
    fn a_command_line_that_grub_would_read_is_refused() {
        for bad in ["a;b", "a'b", "$x", "a\nb", "#"] {
            assert!(fill("m @XEN@", bad).is_err(), "{bad}");
        }
        assert!(fill("no mark", "a").is_err());
    }
}
