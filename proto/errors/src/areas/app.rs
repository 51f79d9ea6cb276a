//! Objects of the configuration.

area! {
    app: "An object of the configuration cannot be used as it is. The controller shows it at the object.";
    UNSUPPORTED = "E-APP-001",
        cause: "The object asks for something that this system does not do.",
        next: "Change the object as the text says.";
    BAD_ID = "E-APP-002",
        cause: "The object's UUID is none.",
        next: "Give it a UUID.";
    NO_DATASTORE = "E-APP-003",
        cause: "A content tree names a data store that is not in the configuration.",
        next: "Add the data store, or correct the reference.";
    NO_CONTENT = "E-APP-004",
        cause: "A volume names a content tree that is not in the configuration.",
        next: "Add the content tree, or correct the reference.";
    NO_VOLUME = "E-APP-005",
        cause: "An application names a volume that is not in the configuration.",
        next: "Add the volume, or correct id and generation.";
    NO_IMAGE = "E-APP-006",
        cause: "The application has no volume to start from.",
        next: "Give it a volume with a content tree.";
    VOLUME_FAILED = "E-APP-007",
        cause: "A volume of the application cannot be used.",
        next: "See the error of the volume.";
    BAD_HASH = "E-APP-008",
        cause: "The content's SHA-256 is not one.",
        next: "Write 64 hexadecimal digits.";
    TOO_LARGE = "E-APP-009",
        cause: "The content is larger than allowed, or than the device can hold.",
        next: "Raise the content's maximum size, or make it smaller.";
    NO_SPACE = "E-APP-010",
        cause: "The content does not fit beside what the device holds already.",
        next: "Remove other content, or make it smaller.";
    WRONG_HASH = "E-APP-011",
        cause: "What the data store served is not what the configuration names.",
        next: "Correct the hash, or serve the right file.";
    DOWNLOAD_STATUS = "E-APP-012",
        cause: "The data store refuses the content.",
        next: "Check path and access rights at the data store.";
    DOWNLOAD_FAILED = "E-APP-013",
        cause: "The data store cannot be reached, or broke off.",
        next: "See the reason in the text; the download is tried again.";
    DOWNLOAD_STALLED = "E-APP-014",
        cause: "Nothing came from the data store for a while.",
        next: "Check the network and the data store; the download is tried again.";
    MEMORY = "E-APP-015",
        cause: "The application wants more memory than is left for applications.",
        next: "Lower its memory, or stop another application.";
    VCPUS = "E-APP-016",
        cause: "The application wants more vCPUs than one may have.",
        next: "Lower its number of vCPUs.";
    NOT_STARTED = "E-APP-017",
        cause: "dom0 could not start the application.",
        next: "See the code in the text; the application is started again.";
    NO_CONFIRMATION = "E-APP-018",
        cause: "dom0 did not confirm within its time.",
        next: "Look at dom0's lines; the application is started again.";
    CRASHED = "E-APP-019",
        cause: "The application ended by itself with an error.",
        next: "Look at its console; it is started again.";
    POWERED_OFF = "E-APP-020",
        cause: "The application switched itself off although it is to run.",
        next: "Deactivate it if that is meant; it is started again.";
    RESTART_NEEDED = "E-APP-021",
        cause: "A change of the application takes effect only when it starts anew.",
        next: "Send a restart command.";
    PURGE_NEEDED = "E-APP-022",
        cause: "A change of the application's volumes takes effect only when they are made anew.",
        next: "Send a purge command.";
    NETWORK_INSTANCE = "E-APP-023",
        cause: "The network instance of the application does not work.",
        next: "See the error of the network instance.";
}
