//! The storage domain.

area! {
    storage: "The domain with the disk: slots and what the device keeps.";
    DISK = "E-STORAGE-001",
        cause: "The disk refuses, or does not answer.",
        next: "If it comes again, replace the disk; what was answered before is on it.";
    NO_DISK = "E-STORAGE-002",
        cause: "The storage domain has no disk that it can work with: nothing is kept, and there are no updates.",
        next: "See dom0's line about the device; compare the board with the machine.";
    TABLE = "E-STORAGE-003",
        cause: "The disk's partition table is not to be had, or has no slots.",
        next: "Write the image to the disk anew.";
    TABLE_REPAIRED = "E-STORAGE-004",
        cause: "One copy of the partition table was damaged or out of date, and the other one counts.",
        next: "After a power cut that is harmless; without one, look at the disk.";
    STORE_MISSING = "E-STORAGE-005",
        cause: "The disk has no partition `P3`, or two: the device keeps nothing.",
        next: "Write an image to the disk that has one.";
    STORE_SIZE = "E-STORAGE-006",
        cause: "The partition `P3` is too small, or smaller than the store in it.",
        next: "Write the image to a disk that is large enough.";
    STORE_FOREIGN = "E-STORAGE-007",
        cause: "The partition `P3` holds something that is not ours, and is left alone.",
        next: "Save what is in it if it is of use; empty its first MiB, and the device formats it.";
    STORE_DAMAGED = "E-STORAGE-008",
        cause: "What the device keeps is damaged in both copies, or was tampered with.",
        next: "Have the storage started anew; what it kept is lost. Look at the disk.";
    STORE_KEY = "E-STORAGE-009",
        cause: "The key from the vault is not the one that what the device keeps was encrypted with.",
        next: "Recover the key at the controller, or have the storage started anew, which loses what it kept.";
    STORE_LOCKED = "E-STORAGE-010",
        cause: "What the device keeps is locked: the vault gives no key.",
        next: "The line says why; the controller can give back the key that it holds.";
    VALUE_DAMAGED = "E-STORAGE-011",
        cause: "A value that the device kept was damaged, and is dropped.",
        next: "The controller sends what it has again. If it comes often, replace the disk.";
    SUPERBLOCK = "E-STORAGE-012",
        cause: "One superblock of what the device keeps was damaged or out of date, and the other one counts.",
        next: "After a power cut that is harmless; without one, look at the disk.";
    SLOT_REFUSED = "E-STORAGE-013",
        cause: "What was written to the slot that does not run is refused.",
        next: "The line says why; have the update made anew for this device, with its key.";
    SLOT_CHANGE = "E-STORAGE-014",
        cause: "The slots' states do not allow what was asked for, or could not be changed.",
        next: "The line says why; look at both slots' states.";
    NOT_KEPT = "E-STORAGE-015",
        cause: "What the vault wanted kept is not on the disk.",
        next: "See the line about the disk ahead of it; the vault tries again when it is started.";
    STORE_FULL = "E-STORAGE-016",
        cause: "The device has no room to keep something: its quota is used up, or it is too long.",
        next: "Assign fewer or smaller things to the device; if that is no help, report it.";
    REQUEST = "E-STORAGE-017",
        cause: "The domain `control` asked for something that the storage cannot make sense of.",
        next: "The domain is of another version, or was taken over: look at its lines.";
    UNCONFINED = "E-STORAGE-018",
        cause: "The machine has no IOMMU that Xen drives, so the disk could reach all memory.",
        next: "Use a machine with an IOMMU where the disk or its driver is not to be trusted.";
    SELECTOR = "E-STORAGE-019",
        cause: "A selector is not replaced: there is none to replace or to replace it by, or the other one is not known.",
        next: "The line says why. The machine starts by the selector that it has; write the image to the disk anew for two that are known.";
    SLOW_DISK = "E-STORAGE-020",
        cause: "The disk takes long to come up; storage goes on waiting for it.",
        next: "A rotating disk may take some seconds. If another line says that it did not come up, replace it; without such a line nothing is to be done.";
}
