//! dom0's start.

area! {
    boot: "dom0 starts, and finds something that it cannot work with.";
    NO_ARCHIVE = "E-BOOT-001",
        cause: "dom0 was started without a ramdisk.",
        next: "Let the boot loader load the archive as Xen's second module; see `boot/README.md`.";
    BAD_ARCHIVE = "E-BOOT-002",
        cause: "dom0's ramdisk is no archive of this system, or is damaged.",
        next: "Write the image anew; `cpio -t` lists the archive of a good one.";
    NO_TABLE = "E-BOOT-003",
        cause: "The archive holds no table of domains.",
        next: "Make the archive with `cargo xtask build`.";
    BAD_TABLE = "E-BOOT-004",
        cause: "The table of domains is damaged, contradicts itself, or is of another version than dom0.",
        next: "Take dom0 and archive from the same build.";
    XEN_VERSION = "E-BOOT-005",
        cause: "Xen speaks other interfaces than this dom0.",
        next: "Boot the Xen of the image; `boot/packages.toml` pins it.";
    NOT_DOM0 = "E-BOOT-006",
        cause: "Xen refuses what only dom0 may do.",
        next: "Start dom0 as Xen's dom0, not as another domain.";
    IMAGE_ROOM = "E-BOOT-007",
        cause: "The images that the table allows to applications do not fit into dom0's memory.",
        next: "Raise `dom0.memory_mib`, or lower `applications.image_kib` or `applications.count`.";
    NO_PCI = "E-BOOT-008",
        cause: "The firmware does not tell where the configuration space of PCI is.",
        next: "Boot on a machine with ACPI and PCI Express; on QEMU that is `-M q35`.";
    BAD_PROVISIONING = "E-BOOT-009",
        cause: "A provisioning file cannot be handed on.",
        next: "Shorten the file's name, and keep to letters, digits, dots, `-` and `_`.";
    BAD_OPTION = "E-BOOT-010",
        cause: "A word on dom0's command line is not understood.",
        next: "Write it as the message and `dom0/README.md` show it.";
    NO_ENTROPY = "E-BOOT-011",
        cause: "There are no random numbers to seed a domain with.",
        next: "Use a machine whose processor or firmware gives random numbers.";
    NO_CLOCK = "E-BOOT-012",
        cause: "The machine has no clock that tells the time of day, or it cannot be read.",
        next: "Certificates cannot be judged until the time is known: use a machine with a clock.";
    BAD_HANDOFF = "E-BOOT-013",
        cause: "What the selector left for dom0 is damaged, or of another version.",
        next: "Take selector and slots from one build; if it goes on, look at the machine's memory.";
    DISK_DAMAGED = "E-BOOT-014",
        cause: "A slot was refused, or a copy of the partition table was repaired, when the machine started.",
        next: "Write the slot that the message names anew, and look at the health of the disk.";
    BAD_EVENT_LOG = "E-BOOT-015",
        cause: "The firmware's log of measurements, which the selector has left for dom0, cannot be read.",
        next: "The device runs, but a controller cannot compare what was measured event by event. Report the firmware's version.";
}
