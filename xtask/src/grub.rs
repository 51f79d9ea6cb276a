//! GRUB as one program: its core image for EFI, with a disk in memory that holds its configuration and all that
//! it loads.

use std::path::Path;

use anyhow::{Result, bail, ensure};

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

/// Fills the template `boot/grub/grub.cfg.in` with the command lines of Xen and dom0.
///
/// # Errors
/// When one of them holds a character that GRUB would take for its own.
pub fn configuration(xen: &str, dom0: &str) -> Result<String> {
    let template = paths::read_text(Path::new(&paths::repository().join("boot/grub/grub.cfg.in")))?;
    fill(&template, xen, dom0)
}

fn fill(template: &str, xen: &str, dom0: &str) -> Result<String> {
    for (whose, mark, line) in [("Xen", " @XEN@", xen), ("dom0", " @DOM0@", dom0)] {
        let special = line.chars().find(|&c| c.is_control() || "'\"\\${};|&<>#".contains(c));
        if let Some(special) = special {
            bail!("{whose}'s command line holds {special:?}, which GRUB's configuration does not carry");
        }
        ensure!(template.contains(mark), "boot/grub/grub.cfg.in has no{mark} for {whose}'s command line");
    }
    // Without words of its own there is no space ahead of them either.
    let dom0 = if dom0.is_empty() { String::new() } else { format!(" {dom0}") };
    let filled = |line: &str| line.replace("@XEN@", xen).replace(" @DOM0@", &dom0) + "\n";
    let lines = template.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    Ok(lines.map(filled).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_the_command_line_comes() {
        let template = "# @XEN@\n\nmultiboot2 /x @XEN@; module2 /d d @DOM0@; boot\n";
        let text = fill(template, "console=com1 dom0=pvh", "drill=net:1:2").unwrap();
        assert_eq!(text, "multiboot2 /x console=com1 dom0=pvh; module2 /d d drill=net:1:2; boot\n");
        assert_eq!(fill(template, "x", "").unwrap(), "multiboot2 /x x; module2 /d d; boot\n");
    }

    #[test]
    fn a_command_line_that_grub_would_read_is_refused() {
        for bad in ["a;b", "a'b", "$x", "a\nb", "#"] {
            assert!(fill("m @XEN@ @DOM0@", bad, "").is_err(), "{bad}");
            assert!(fill("m @XEN@ @DOM0@", "", bad).is_err(), "{bad}");
        }
        assert!(fill("m @XEN@", "a", "").is_err() && fill("m @DOM0@", "a", "").is_err());
    }
}
