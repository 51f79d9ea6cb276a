//! The control domain's way to the controller.

area! {
    ctl: "The domain that talks with the controller, as far as it concerns the way there.";
    PROVISIONING = "E-CTL-001",
        cause: "A provisioning file is missing or cannot be used.",
        next: "Put the file that the line names on the config partition; `boot/README.md` lists the provisioning files.";
    BAD_HOSTS = "E-CTL-002",
        cause: "Lines of the provisioning file `hosts` are not an address and names.",
        next: "Correct the file: an IPv4 address, then names, on each line.";
    NO_NET = "E-CTL-003",
        cause: "There is no net domain, so the controller cannot be reached.",
        next: "See dom0's line that tells why net was not built.";
    NO_VIF = "E-CTL-004",
        cause: "The net domain gives control no network interface.",
        next: "See the net domain's lines.";
    BAD_ADDRESS = "E-CTL-005",
        cause: "The net domain gave control an address that cannot be used.",
        next: "Report it: the net domain contradicts itself.";
    NET_FAULT = "E-CTL-006",
        cause: "The net domain broke the rules of the virtual interface.",
        next: "The net domain is broken or taken over: look at its lines.";
    LOG_LOST = "E-CTL-007",
        cause: "dom0 had to drop lines of logs or consoles before control took them.",
        next: "Look at what writes so much; the lines are on the serial console.";
    NET_GONE = "E-CTL-008",
        cause: "The net domain has ended; the controller cannot be reached until it is back.",
        next: "dom0 builds it anew; see its lines for why it ended.";
    VAULT_GONE = "E-CTL-009",
        cause: "The vault has ended; nothing is signed until it is back.",
        next: "dom0 builds it anew; see its lines for why it ended.";
    VAULT_MUTE = "E-CTL-010",
        cause: "The vault did not sign, or not in time.",
        next: "Nothing is to be done once; else see the vault's lines for what its TPM does.";
    VAULT_FAULT = "E-CTL-011",
        cause: "The vault broke the rules of its channel.",
        next: "The vault is broken or taken over: look at its lines.";
    STORAGE_GONE = "E-CTL-012",
        cause: "The storage domain has ended; an update under way goes on when it is back.",
        next: "dom0 builds it anew; see its lines for why it ended.";
    NO_VAULT = "E-CTL-013",
        cause: "There is no vault, so nothing is signed.",
        next: "See dom0's line that tells why vault was not built.";
    NO_STORAGE = "E-CTL-014",
        cause: "There is no storage domain: nothing is kept, and there are no updates.",
        next: "See dom0's line that tells why storage was not built.";
    HALF_A_PAIR = "E-CTL-015",
        cause: "Of a certificate and its key only one is among the provisioning files, so neither is used.",
        next: "Put the file that is named beside the other one, or take that away as well: a device that the controller knows needs no `onboard.*`, and one with a vault no `device.*`.";
}
