//! Updates of the base OS.

area! {
    update: "The base OS is not what the configuration wants. The controller shows it at the device's list of software.";
    NO_SLOTS = "E-UPDATE-001",
        cause: "The machine was not started from a slot of the disk, or there is no disk.",
        next: "Install the disk image, and start from it.";
    BAD_VERSION = "E-UPDATE-002",
        cause: "The configuration names a version that cannot be one.",
        next: "Give the version's name as `xtask image --update` printed it.";
    OTHER_VERSION = "E-UPDATE-003",
        cause: "The content holds another version than the configuration names.",
        next: "Correct the version's name, or publish the right content.";
    NOT_A_PAYLOAD = "E-UPDATE-004",
        cause: "The content has the right hash and is no update.",
        next: "Publish what `xtask image --update` has made, as it is.";
    NOT_INSTALLED = "E-UPDATE-005",
        cause: "The storage domain refused the update: its signature, contents, machine or age are not right.",
        next: "See the reason; sign with the key that the device trusts, for its architecture, and with a newer version.";
    DISK = "E-UPDATE-006",
        cause: "The disk refused what was to be written, or storage was not ready for it.",
        next: "See the reason; if it stays, the disk is failing.";
    FELL_BACK = "E-UPDATE-007",
        cause: "A version was tried, did not prove itself, and the device is back at the one before.",
        next: "See the reason and the device's log; when the version is right after all, change the counter retry_update.";
    FAILED_BEFORE = "E-UPDATE-008",
        cause: "The configuration names a version that has failed before, or was left by force.fallback.counter.",
        next: "Name another version, or change the counter retry_update.";
    NOT_STARTED = "E-UPDATE-009",
        cause: "A version was to be tried, and the machine started another one.",
        next: "Look at the selector's lines on the console; it may not be able to write the partition table.";
    CONTENT = "E-UPDATE-010",
        cause: "The content of the base OS is not there.",
        next: "See the error of the content tree.";
    REFUSED = "E-UPDATE-011",
        cause: "The version that should run is damaged on the disk; the one before it was started in its place.",
        next: "See the reason. A version that the configuration names is written anew; if it comes again, the disk is failing, or somebody writes to it.";
}
