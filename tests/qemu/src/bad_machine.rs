//! A machine that lacks what the table counts on, and a dom0 that fails: the console tells it as soon as it is known,
//! with its code.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use proto_errors::{Code, boot, build, net, pci, rt, storage};
use proto_manifest::table::{Bus, Domain};
use xtask::build::Arch;
use xtask::qemu::{Boot, Machine, Options, device_tree};
use xtask::{paths, setup};

use crate::Story;
use crate::bad_image::soon;
use crate::stage::{Stage, edit_table};

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "bad-machine-iommu",
        about: "without an IOMMU, Xen says so and starts no dom0",
        tell: no_iommu,
    },
    Story {
        name: "bad-machine-device",
        about: "a device that the machine does not have is named, and costs only its domain",
        tell: no_device,
    },
    Story {
        name: "bad-machine-memory",
        about: "a domain that wants more memory than is free is named, and costs only itself",
        tell: no_memory,
    },
    Story {
        name: "bad-machine-device-aarch64",
        about: "a card that the machine does not have is named by net, and costs only net",
        tell: no_device,
    },
    Story {
        name: "bad-machine-disk",
        about: "a disk that the machine does not have is named, and costs only storage",
        tell: no_disk,
    },
    Story { name: "bad-machine-ramdisk", about: "an empty ramdisk is named", tell: no_ramdisk },
    Story {
        name: "bad-machine-xen",
        about: "a Xen of another series is named, with the version of the interface that dom0 needs",
        tell: other_xen,
    },
    Story {
        name: "bad-machine-dom0-memory",
        about: "Xen builds no dom0 in too little memory; a dom0 on a machine with too little names each domain",
        tell: no_memory_for_dom0,
    },
    Story {
        name: "bad-machine-dom0",
        about: "a panic in dom0's place leaves last words and a backtrace, and Xen starts the machine anew",
        tell: dom0_panics,
    },
];

pub(crate) const NIGHTLY: &[Story] = &[
    Story {
        name: "bad-machine-disk-aarch64",
        about: "a disk that the machine does not have is named by storage, and costs only what is kept",
        tell: no_disk,
    },
    Story { name: "bad-machine-memory-aarch64", about: "the same as on x86_64", tell: no_memory },
    Story {
        name: "bad-machine-ramdisk-aarch64",
        about: "an empty ramdisk is named",
        tell: no_ramdisk_in_tree,
    },
    Story { name: "bad-machine-xen-aarch64", about: "the same as on x86_64", tell: other_xen },
    Story {
        name: "bad-machine-dom0-memory-aarch64",
        about: "the same as on x86_64",
        tell: no_memory_for_dom0,
    },
];

const BOOT: Duration = Duration::from_secs(60);

/// Waits for the line of `who` with this code and text, which comes soon.
fn named(machine: &mut Machine, who: &str, text: &str, code: Code) -> Result<()> {
    let line = machine.wait_for_from(who, &format!("[{code}]"), BOOT)?;
    ensure!(line.text.contains(text), "the line with {code} does not say `{text}`: {line}");
    soon(machine, &line)
}

fn xen_words(options: &mut Options, words: &str) {
    if let Boot::Direct { command_line, .. } = &mut options.boot {
        command_line.push_str(words);
    }
}

fn no_iommu(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.direct();
    xen_words(&mut options, " iommu=off");
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("xen", "Panic on CPU 0", BOOT)?;
    let why = machine.wait_for_from("xen", "Couldn't enable IOMMU", BOOT)?;
    soon(&machine, &why)?;
    let lines = machine.lines();
    ensure!(!lines.iter().any(|line| line.who == "dom0"), "a dom0 without an IOMMU was started");
    Ok(())
}

/// A machine that lacks the device of the table with this name, for the table has another one in its place.
fn lacking(stage: &Stage<'_>, name: &str) -> Result<Options> {
    stage.direct_with(|entries| {
        edit_table(entries, |table| {
            for device in table.devices.iter_mut().filter(|device| device.name == name) {
                match &mut device.bus {
                    Bus::Pci(function) => function.select.device = 0xdead,
                    // On the page of registers where the device is, and empty.
                    Bus::VirtioMmio(mmio) => mmio.transport += 5,
                    // Its absence is right.
                    Bus::Registers(_) => {}
                }
            }
        })
    })
}

/// A machine that lacks a device is started: it is named, and costs only `whose` it is. dom0 does not build that if the
/// device is on PCI. Of a transport it cannot tell: that is there, and empty, so `whose` it is says so, with `code`.
fn lacks(stage: &Stage<'_>, device: &str, whose: &str, code: Code) -> Result<()> {
    let mut machine = stage.start(&lacking(stage, device)?)?;
    match stage.built().arch {
        Arch::X86_64 => {
            named(&mut machine, "dom0", &format!("device {device}: no PCI device"), pci::NOT_FOUND)?;
        }
        Arch::Aarch64 => named(&mut machine, whose, device, code)?,
    }
    machine.wait_for_from("control", "provisioning: file `server` is missing", BOOT)?;
    machine.quit();
    Ok(())
}

fn no_device(stage: &Stage<'_>) -> Result<()> {
    lacks(stage, "uplink", "net", net::CARD_START)
}

fn no_disk(stage: &Stage<'_>) -> Result<()> {
    lacks(stage, "disk", "storage", storage::NO_DISK)
}

fn no_memory(stage: &Stage<'_>) -> Result<()> {
    let options = stage.direct_with(|entries| {
        edit_table(entries, |table| {
            for domain in table.domains.iter_mut().filter(|domain| domain.name == "control") {
                domain.memory_mib = Domain::MAX_MEMORY_MIB;
            }
        })
    })?;
    let mut machine = stage.start(&options)?;
    named(&mut machine, "dom0", "domain control: needs 528640 pages of memory, and only", build::MEMORY)?;
    machine.wait_for_from("dom0", "domain net: ready", BOOT)?;
    machine.quit();
    Ok(())
}

/// Xen 4.20.4 refuses an empty module itself; earlier ones start dom0 with it, which says so.
fn no_ramdisk(stage: &Stage<'_>) -> Result<()> {
    let mut machine = stage.start(&stage.direct_with_ramdisk(b"")?)?;
    let line =
        machine.wait_for_line("what is wrong with the ramdisk", BOOT, |line| match line.who.as_str() {
            "dom0" => line.text.contains("archive: "),
            "xen" => line.text.contains("Panic on CPU 0"),
            _ => false,
        })?;
    let line = match line.who.as_str() {
        "xen" => machine.wait_for_from("xen", "boot module 1", BOOT)?,
        _ => line,
    };
    let known = [boot::NO_ARCHIVE, boot::BAD_ARCHIVE];
    let coded = known.iter().any(|code| line.text.contains(code.as_str()));
    ensure!(line.who == "xen" || coded, "no code in {line}");
    soon(&machine, &line)
}

/// Selector and `xtask` make no device tree with an empty ramdisk. Xen takes one that somebody else has made.
fn no_ramdisk_in_tree(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.direct_with(|_| Ok(()))?;
    let Boot::Direct { folder, .. } = &options.boot else {
        bail!("only a direct boot has its tree from here")
    };
    let mut tree = device_tree(&options, &stage.folder()?, &[])?;
    let length = paths::read(&folder.join("archive.cpio"))?.len().to_be_bytes();
    let mut places = (0..=tree.len() - length.len()).filter(|&at| tree[at..].starts_with(&length));
    let (Some(at), None) = (places.next(), places.next()) else {
        bail!("the tree names the ramdisk's length not once")
    };
    tree[at..at + length.len()].fill(0);
    let file = stage.folder()?.join("empty.dtb");
    paths::write(&file, tree)?;
    // Of two trees QEMU takes the last.
    options.extra = ["-dtb".into(), file.into()].into();
    let mut machine = stage.start(&options)?;
    named(&mut machine, "dom0", "archive: ", boot::NO_ARCHIVE)
}

fn other_xen(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.direct();
    if let Boot::Direct { xen, .. } = &mut options.boot {
        *xen = setup::other_xen(stage.built().arch)?;
    }
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("dom0", "sarsen dom0", BOOT)?;
    let text = "Xen 4.17 speaks version 0x15 of the domctl interface, and this dom0 needs 0x17";
    named(&mut machine, "dom0", text, boot::XEN_VERSION)
}

/// Wherever Xen puts dom0, its image does not fit.
fn no_memory_for_dom0(stage: &Stage<'_>) -> Result<()> {
    let arch = stage.built().arch;
    let (words, why) = match arch {
        Arch::X86_64 => (" dom0_mem=2M,max:2M", "Could not construct domain 0"),
        Arch::Aarch64 => (" dom0_mem=2M", "Not enough memory in the first bank"),
    };
    let mut options = stage.direct();
    xen_words(&mut options, words);
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("xen", "Panic on CPU 0", BOOT)?;
    let why = machine.wait_for_from("xen", why, BOOT)?;
    soon(&machine, &why)?;
    drop(machine);

    let mut options = stage.direct();
    match arch {
        Arch::X86_64 => options.memory_mib = 40,
        // QEMU puts the archive farther up than 40 MiB. dom0 has what the others lack; Xen gives it pieces of no less than 4 MiB.
        Arch::Aarch64 => {
            options.memory_mib = 200;
            xen_words(&mut options, " dom0_mem=180M");
        }
    }
    let mut machine = stage.start(&options)?;
    for name in ["net", "storage", "control"] {
        named(&mut machine, "dom0", &format!("domain {name}: needs "), build::MEMORY)?;
    }
    machine.quit();
    Ok(())
}

/// Another domain in dom0's place finds nothing of what it needs: the way of a panic there is the same for all.
fn dom0_panics(stage: &Stage<'_>) -> Result<()> {
    let options = stage.direct_with(|_| Ok(()))?;
    if let Boot::Direct { folder, .. } = &options.boot {
        paths::write(&folder.join("dom0"), paths::read(&stage.built().image("net"))?)?;
    }
    let mut machine = stage.start(&options)?;
    let words = machine
        .wait_for_line("dom0's last words", BOOT, |line| line.who == "dom0" && line.text.contains("PANIC"))?;
    ensure!(words.text.contains(rt::PANIC.as_str()), "no code in {words}");
    soon(&machine, &words)?;
    machine.wait_for_line("dom0's backtrace", BOOT, |line| {
        line.who == "dom0" && line.text.starts_with("bt: 0x")
    })?;
    machine
        .wait_for_line("Xen's reset", BOOT, |line| line.text.contains("Hardware Dom0 crashed: rebooting"))?;
    Ok(())
}
