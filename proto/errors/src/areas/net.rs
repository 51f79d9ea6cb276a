//! The net domain.

area! {
    net: "The domain with the network card.";
    NO_CARD = "E-NET-001",
        cause: "The net domain has no network card that it can work with.",
        next: "See dom0's line about the device; compare the board with the machine.";
    CARD_START = "E-NET-002",
        cause: "The network card does not start; it is tried again.",
        next: "If it stays so, power the machine off and on; the card may be broken.";
    CARD_RESET = "E-NET-003",
        cause: "The network card reported a fault or stood still, and is reset.",
        next: "Now and then is harmless; often means a broken card, cable or IOMMU setting.";
    LEASE_LOST = "E-NET-004",
        cause: "The uplink's address has run out, and no DHCP server renewed it.",
        next: "Look at the site's DHCP server and at the cable.";
    LEASE_REFUSED = "E-NET-005",
        cause: "A DHCP server offered an address that cannot be used.",
        next: "Correct the DHCP server's settings as the line says.";
    VIF_CONNECT = "E-NET-007",
        cause: "A virtual interface cannot be connected.",
        next: "The domain behind it is broken or has ended: look at its lines.";
    VIF_FAULT = "E-NET-008",
        cause: "The domain behind a virtual interface broke the rules of its ring, and is cut off.",
        next: "That domain is broken or taken over: look at its lines.";
    FRAME_DROPPED = "E-NET-009",
        cause: "A frame of a domain was dropped; further ones are only counted.",
        next: "The line says why; look at the counters in the metrics.";
    UNCONFINED = "E-NET-010",
        cause: "The machine has no IOMMU that Xen drives, so the network card could reach all memory.",
        next: "Use a machine with an IOMMU where the card or its driver is not to be trusted.";
}
