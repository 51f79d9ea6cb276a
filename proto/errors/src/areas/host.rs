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
    BUILD = "E-HOST-016",
        cause: "The domains, the table or the archive cannot be built.",
        next: "Mend what the message names; `cargo xtask build` alone does the same again.";
    IMAGE = "E-HOST-017",
        cause: "A disk image or an update cannot be made, or what was given as one is none that fits.",
        next: "Mend what the message names; `cargo xtask image` makes a disk image anew, with `--update` an update.";
    MACHINE = "E-HOST-018",
        cause: "The machine in QEMU did not do what was waited for, or ended before.",
        next: "Read the console above; codes in it tell what the system itself complains of.";
    QEMU_SILENT = "E-HOST-019",
        cause: "QEMU's control socket does not answer, or refuses a command.",
        next: "See whether QEMU still runs; a busy host may need the command once more.";
    CONTROLLER = "E-HOST-020",
        cause: "The small controller does not start, or does not take a configuration.",
        next: "Mend the file, folder or address that the message names.";
    DEMO = "E-HOST-021",
        cause: "A step of the demonstration did not happen.",
        next: "Read the controller's events and the console with the message; `--console` shows all of it.";
    TESTS = "E-HOST-022",
        cause: "Tests or stories failed, or none ran where some should have.",
        next: "Read the failures above; `cargo xtask test NAME` runs those of that name alone.";
    FUZZ = "E-HOST-023",
        cause: "A fuzz target failed on an input, or none ran.",
        next: "Copy the input that is named to `tests/fuzz/corpus`, where it stays a test, and mend the decoder.";
    LINT = "E-HOST-024",
        cause: "The sources are not formatted, or clippy has something to say.",
        next: "Run `cargo xtask fmt`, and mend what clippy says.";
    BENCH = "E-HOST-025",
        cause: "A measurement could not be made: a start or a run of it failed.",
        next: "See which one the message names. A busy host makes machines late: measure again when it is quiet.";
    NOT_THERE = "E-HOST-026",
        cause: "What was asked for is not there.",
        next: "Compare the name with those that the message or the subcommand's `--help` lists.";
    UNEXPECTED = "E-HOST-027",
        cause: "The host lacks something that the tool did not expect to lack.",
        next: "Mend what the message names. If that is no help, it is an error of the tool: report it.";
    NOT_PINNED = "E-HOST-028",
        cause: "Debian's archive has replaced a pinned package by a fix of the same series, and that was taken: signed by Debian, but not tried with the system.",
        next: "Nothing, if all works. Otherwise tell the project; `cargo xtask test`, then `cargo xtask setup --update-pins`, make the fix a pinned version.";
    FLASH = "E-HOST-029",
        cause: "A disk was not written, or does not hold what was written to it.",
        next: "See which one the message names. Choose another disk, unmount this one, or throw it away if it does not keep what is written.";
    BUSY = "E-HOST-030",
        cause: "The same subcommand runs already, with the same files.",
        next: "Wait for its end, or end it with Ctrl-C where it runs.";
}
