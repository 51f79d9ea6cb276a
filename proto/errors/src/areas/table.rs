//! A board's TOML files.

area! {
    table: "A board's TOML files contradict each other or cannot be read. Each line names file, line and key.";
    UNREADABLE = "E-TABLE-001",
        cause: "A file of the board cannot be read.",
        next: "Check the path: `inherits` counts from the folder of the board's own file.";
    SYNTAX = "E-TABLE-002",
        cause: "A file of the board is not TOML, or names a table or key twice.",
        next: "Mend the line. A table `[domain.NAME]` stands once in a file; another file may lay keys over it.";
    UNKNOWN_KEY = "E-TABLE-003",
        cause: "A key is not one that a board has.",
        next: "Compare with the keys that the message lists; `proto/manifest/src/board.rs` tells what each means.";
    WRONG_TYPE = "E-TABLE-004",
        cause: "A value is of another type than its key takes.",
        next: "Write it as the message says: text in quotes, numbers without, lists in brackets.";
    MISSING_KEY = "E-TABLE-005",
        cause: "A key that a board must have is set by none of its files.",
        next: "Set it in the board's own file, or in one that it inherits from.";
    NESTED_INHERITANCE = "E-TABLE-006",
        cause: "A file that a board inherits from inherits itself.",
        next: "List that file in the board's own `inherits`.";
    BAD_NAME = "E-TABLE-007",
        cause: "A name is too long, or has letters that names do not have.",
        next: "Use a lower-case letter, then up to 15 of lower-case letters, digits and `-`.";
    RESERVED_NAME = "E-TABLE-008",
        cause: "A name is taken by the system itself.",
        next: "Choose another; dom0 is set up in `[dom0]`, and its channel `dom0` is there for every domain.";
    BAD_VALUE = "E-TABLE-009",
        cause: "A value is outside of what the system can do.",
        next: "Choose a value in the range that the message gives.";
    NO_SUCH_DOMAIN = "E-TABLE-010",
        cause: "A channel names a domain that the board does not have.",
        next: "Mend the name, or add `[domain.NAME]`.";
    NO_SUCH_PROTOCOL = "E-TABLE-011",
        cause: "A channel is not called like a protocol of `proto/svc`, or dom0 does not serve it.",
        next: "Mend the name. A new protocol is a module of `proto/svc`, listed in its `PROTOCOLS`.";
    NO_SUCH_DRIVER = "E-TABLE-012",
        cause: "A device wants a driver that does not exist.",
        next: "Choose one that the message lists; a new driver goes to `board-support/drv`.";
    NO_SUCH_DEVICE = "E-TABLE-013",
        cause: "A domain wants a device that the board does not have.",
        next: "Mend the name, or add `[device.NAME]`.";
    NO_SUCH_IMAGE = "E-TABLE-014",
        cause: "A domain's image is no package of the workspace, or was not built.",
        next: "Give `image` the name of a folder of `stubdoms`, or add the folder: copy `stubdoms/template`.";
    CHANNEL_TO_ITSELF = "E-TABLE-015",
        cause: "A channel leads back to the domain that names it.",
        next: "Name the other domain.";
    CHANNEL_ONE_SIDED = "E-TABLE-016",
        cause: "Only one side of a channel names it.",
        next: "Let one domain offer the channel and the other accept it, each naming the other.";
    CHANNEL_TWICE = "E-TABLE-017",
        cause: "A domain has two channels of the same name.",
        next: "Remove one: a domain tells its channels apart by their names.";
    DEVICE_TWICE = "E-TABLE-018",
        cause: "A device is given out twice, or two devices of the board are the same function of the machine.",
        next: "Give it to one domain; for the second of two equal cards, add a device with `skip = 1`.";
    DEVICE_UNUSED = "E-TABLE-019",
        cause: "No domain uses a device of the board.",
        next: "Name it in a domain's `devices`, or remove it.";
    OVER_COMMITTED = "E-TABLE-020",
        cause: "Xen, dom0, the domains and the applications together get more memory than the machine has.",
        next: "Lower one of the values that the message adds up, or raise `machine.memory_mib`.";
    TOO_MANY = "E-TABLE-021",
        cause: "There are more domains, channels or devices than the compiled table holds.",
        next: "Remove some, or raise the limit in `proto/manifest/src/table.rs`.";
}
