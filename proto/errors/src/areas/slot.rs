//! The selector.

area! {
    slot: "The selector finds something wrong with the disk or with a slot. It starts the other slot if it can.";
    UNREADABLE = "E-SLOT-001",
        cause: "The disk does not give the contents of a slot.",
        next: "Look at the health of the disk; write the slot anew.";
    EMPTY = "E-SLOT-002",
        cause: "A slot holds no system.",
        next: "Nothing, if an update was not installed to its end. Otherwise write the image anew.";
    MALFORMED = "E-SLOT-003",
        cause: "A slot contradicts itself, lacks a part, or is of another version or machine.",
        next: "Write the slot anew, of the same build as the selector and for this machine.";
    SIGNATURE = "E-SLOT-004",
        cause: "A slot is signed by no key that the selector trusts.",
        next: "Sign slots with the key of the selector, as `boot/trust` says. If the image was right once, somebody changed it.";
    CHANGED = "E-SLOT-005",
        cause: "The contents of a slot are not those that were signed.",
        next: "Write the slot anew, and look at the health of the disk.";
    NOT_LOADED = "E-SLOT-006",
        cause: "The firmware does not take what is in a slot as a program.",
        next: "See whether the slot is for this machine; with Secure Boot, whether it is signed for it (`cargo xtask image --secure-boot`).";
    RETURNED = "E-SLOT-007",
        cause: "What is in a slot was started and came back: on x86_64 GRUB could not load Xen, dom0 or the archive.",
        next: "Read the lines above, which name the file; make the slot anew with `cargo xtask image`.";
    NOT_COUNTED = "E-SLOT-008",
        cause: "A try could not be taken off a slot, so that it might be tried for ever; it is not started.",
        next: "Look at the health of the disk, and whether it can be written.";
    NO_MEMORY = "E-SLOT-009",
        cause: "The machine has too little memory to read a slot.",
        next: "Give the machine more memory.";
    NOTHING = "E-SLOT-010",
        cause: "Neither slot could be started. The machine is reset, and it is tried again.",
        next: "Read the lines above; write the image anew.";
    NO_DISK = "E-SLOT-011",
        cause: "The selector does not find the disk that it was started from, or a partition table with slots on it.",
        next: "Write the image anew, to the disk that the firmware starts from.";
    DAMAGED = "E-SLOT-012",
        cause: "A copy of the partition table is damaged or out of date. The other one is used, and repairs it.",
        next: "Nothing, after a loss of power. If it comes again, look at the health of the disk.";
    NOT_REPAIRED = "E-SLOT-013",
        cause: "A copy of the partition table is damaged, and the disk does not take a new one.",
        next: "Look at the health of the disk, and whether it can be written.";
    PANIC = "E-SLOT-014",
        cause: "The selector found one of its own invariants broken.",
        next: "Report the line.";
    NO_WATCHDOG = "E-SLOT-015",
        cause: "The watchdog of the machine cannot be used: what hangs before dom0 is not reset.",
        next: "See whether the firmware disables it.";
    NOT_TOLD = "E-SLOT-016",
        cause: "The selector cannot leave its record for dom0, which will not know its slot.",
        next: "See whether the firmware takes ACPI tables; report its model.";
    NO_FILES = "E-SLOT-017",
        cause: "The partition with the provisioning files is missing, damaged, or holds what is not allowed: the device starts without them.",
        next: "Write the files into the config partition anew: plain files, of 64 KiB at most each.";
    NOT_EXTENDED = "E-SLOT-018",
        cause: "The TPM does not take a measurement of the start: its PCR has another value than a controller expects.",
        next: "The device starts, but is not attested, and what is sealed to that PCR stays shut. See the reason in the line, and whether the TPM works.";
    NO_LOG = "E-SLOT-019",
        cause: "The firmware's log of measurements cannot be handed on, so that a controller cannot tell what was measured.",
        next: "The device starts, but is not attested. See the reason in the line; report the model and the version of the firmware.";
    NOT_KEPT = "E-SLOT-020",
        cause: "The firmware has other uses for the memory in which dom0 leaves its last words. After a crash it is not known what they were.",
        next: "Nothing; report the model and the version of the firmware.";
}
