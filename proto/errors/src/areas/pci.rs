//! PCI devices that dom0 hands over.

area! {
    pci: "A PCI device cannot be handed to its domain.";
    NOT_FOUND = "E-PCI-001",
        cause: "The machine has no PCI device of the vendor and device that the table names.",
        next: "Compare `id` of the board with the machine's devices; plug the card in.";
    VECTORS = "E-PCI-002",
        cause: "The device has fewer MSI-X vectors than the table wants.",
        next: "Lower `vectors` of the board, or use a card with MSI-X.";
    NO_BAR = "E-PCI-003",
        cause: "The device has no memory at a BAR that the table names.",
        next: "Correct `bars` of the board.";
    WINDOWS = "E-PCI-004",
        cause: "The device's registers are in more parts than a domain can be told of.",
        next: "List fewer BARs in the board.";
    RESET = "E-PCI-005",
        cause: "The device does not come out of its reset.",
        next: "Power the machine off and on; if it stays so, the card is broken.";
    REFUSED = "E-PCI-006",
        cause: "Xen refused to hand the device over; without an IOMMU it refuses always.",
        next: "Switch the IOMMU (VT-d, AMD-Vi) on in the firmware; look at Xen's lines about it.";
    BAD_BAR = "E-PCI-007",
        cause: "The device tells of registers that no domain can have: less than a page, more than there is room for, or too few for its MSI-X table.",
        next: "Leave the BAR out of `bars` if its driver can do without; else use another card.";
}
