//! The machine on which `cargo xtask` runs.

area! {
    host: "The machine on which `cargo xtask` runs lacks something, or refuses it.";
    NO_APT = "E-HOST-001",
        cause: "A program is missing, and this host has no apt-get to install it with.",
        next: "Install the named packages by hand, then run the command again.";
    NO_ROOT = "E-HOST-002",
        cause: "A program is missing, and installing it needs root.",
        next: "Run `cargo xtask setup` once as root, or install the named package by hand.";
    NO_QEMU = "E-HOST-003",
        cause: "The host's package sources offer no QEMU that is new enough.",
        next: "Enable Debian's backports, or install QEMU 10 or later by hand.";
    NOT_WORKING = "E-HOST-004",
        cause: "A program was installed and does not run.",
        next: "Run the named command by hand and mend what it complains about.";
    NO_MIRROR = "E-HOST-005",
        cause: "The host's package sources name no Debian mirror from which the pinned packages could come.",
        next: "Set `SARSEN_DEBIAN_MIRROR` to a mirror's address.";
    NO_KEYRING = "E-HOST-006",
        cause: "The key that signs Debian's archive is not on this host.",
        next: "Install the package `debian-archive-keyring`.";
    PIN_OUTDATED = "E-HOST-007",
        cause: "Debian's archive has neither a version of a package that `boot/packages.toml` pins nor a fix of the same series.",
        next: "Look at what changed, run `cargo xtask setup --update-pins`, and commit the file.";
    NOT_OFFERED = "E-HOST-008",
        cause: "Debian's archive has no package of a name that is needed.",
        next: "Check the mirror in the host's package sources, and the name in `boot/packages.toml`.";
    WRONG_HASH = "E-HOST-009",
        cause: "A package that was fetched is not the one that is pinned.",
        next: "Do not use it. Fetch it again; if it stays so, the mirror or the pin is wrong.";
    BAD_PACKAGE = "E-HOST-010",
        cause: "A pinned package does not hold the file that is needed from it.",
        next: "Compare `boot/packages.toml` with the package's list of files.";
    NO_CACHE = "E-HOST-011",
        cause: "There is no folder for what is fetched once and kept.",
        next: "Set `SARSEN_CACHE`, `XDG_CACHE_HOME` or `HOME`.";
    NOT_STARTED = "E-HOST-012",
        cause: "A program cannot be started.",
        next: "Install it; `cargo xtask setup` does so for what the system needs.";
    TOOL_FAILED = "E-HOST-013",
        cause: "A program ended with an error.",
        next: "Read its own words, which are printed with this error.";
    QEMU_FAILED = "E-HOST-014",
        cause: "QEMU did not start the machine, or broke off.",
        next: "Read QEMU's own words in the error; `-- ARGUMENTS` of `run` may have caused it.";
    FILE = "E-HOST-015",
        cause: "A file or folder cannot be read or written.",
        next: "Check that it exists, whose it is, and whether the disk is full.";
    NOT_PINNED = "E-HOST-016",
        cause: "Debian's archive has replaced a pinned package by a fix of the same series, and that was taken: signed by Debian, but not tried with the system.",
        next: "Nothing, if all works. Otherwise tell the project; `cargo xtask test`, then `cargo xtask setup --update-pins`, make the fix a pinned version.";
}
