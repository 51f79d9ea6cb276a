//! Domains that dom0 builds and takes away.

area! {
    build: "dom0 cannot build a domain, or cannot take one away.";
    XEN_REFUSED = "E-BUILD-001",
        cause: "Xen refused a step of building the domain.",
        next: "Look for Xen's own line before this one.";
    MEMORY = "E-BUILD-002",
        cause: "The machine has not as much free memory as the domain is to have.",
        next: "Give the machine more memory, or the domain less; `cargo xtask graph` shows who has how much.";
    NO_IMAGE = "E-BUILD-003",
        cause: "The archive does not hold the domain's image.",
        next: "Take archive and table from the same build.";
    WRONG_IMAGE = "E-BUILD-004",
        cause: "The domain's image is not the one that the table was compiled with.",
        next: "The disk or the archive was changed: write the image anew.";
    BAD_ELF = "E-BUILD-005",
        cause: "The image is no ELF file that can be started as a PVH domain.",
        next: "For an application, check the content that the controller serves; for a service, build anew.";
    VCPUS = "E-BUILD-006",
        cause: "The image does not run on as many vCPUs as the domain is to have.",
        next: "Give the domain fewer vCPUs.";
    LAYOUT = "E-BUILD-007",
        cause: "What is to lie in the domain's memory does not fit.",
        next: "Give the domain more memory.";
    WIRING = "E-BUILD-008",
        cause: "The record that tells the domain its channels and devices cannot be written.",
        next: "Give the domain fewer channels or devices.";
    NO_DOMAIN = "E-BUILD-009",
        cause: "Somebody asked for a domain that the table does not have, or that was not created.",
        next: "See the earlier line that tells why it was not created.";
    NO_TRANSPORT = "E-BUILD-010",
        cause: "The machine has no virtio transport of the number that the table names.",
        next: "Compare `transport` of the board with the machine.";
    NOT_UNDONE = "E-BUILD-011",
        cause: "Xen refused to take back a domain, a device, a port or a page.",
        next: "Report it with Xen's lines before it; the resource is lost until the machine starts anew.";
    NO_REGISTERS = "E-BUILD-012",
        cause: "The firmware does not tell of the device whose registers the table names by their address.",
        next: "Switch the device on in the firmware's setup, or compare `address` of the board with the machine.";
}
