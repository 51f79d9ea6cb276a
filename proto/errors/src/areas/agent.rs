//! The device agent.

area! {
    agent: "The device agent: controller, configuration, reports.";
    UNREACHABLE = "E-AGENT-001",
        cause: "The controller cannot be reached; the device tries on, and applications run on.",
        next: "See the reason in the line; what the controller sends arrives when it is back.";
    UNUSABLE_ANSWER = "E-AGENT-002",
        cause: "The controller's answer cannot be trusted or read.",
        next: "Check the controller's signing certificate, and that nothing on the way changes answers.";
    NO_RESULT = "E-AGENT-003",
        cause: "A request had no result within its time.",
        next: "Nothing is to be done once; often means that the control domain is overloaded.";
    CONTROLLER_CERTS = "E-AGENT-004",
        cause: "The controller's certificates cannot be fetched or do not hold.",
        next: "Check the controller's certificates, and the device's clock.";
    CONFIG_REFUSED = "E-AGENT-005",
        cause: "The controller does not give the device a configuration.",
        next: "Check at the controller whether the device is known and active.";
    CONFIG_BAD = "E-AGENT-006",
        cause: "The controller's configuration cannot be applied.",
        next: "Correct what the line names at the controller; the last good configuration stays.";
    CONFIG_OLD = "E-AGENT-007",
        cause: "The controller sent an older configuration than the one that is applied.",
        next: "Check whether the controller was restored from a backup.";
    CONFIG_LIMIT = "E-AGENT-008",
        cause: "The configuration has more objects than the device looks at, or ones without an id of their own.",
        next: "Remove objects, or give each its own UUID.";
    CONFIG_UNSUPPORTED = "E-AGENT-009",
        cause: "The configuration asks for something that this system does not do.",
        next: "Remove it from the configuration; the rest is applied.";
    BAD_ITEM = "E-AGENT-010",
        cause: "A config item has a name or value that does not fit; the earlier value stays.",
        next: "Correct the item as the line says.";
    NOT_ONBOARDED = "E-AGENT-011",
        cause: "The controller does not know the device yet.",
        next: "Register the device's serial number, or its certificate, at the controller.";
    ATTESTATION = "E-AGENT-012",
        cause: "The controller did not accept the device's attestation.",
        next: "Compare the versions that the controller expects with those that the device runs.";
    CERTS_NOT_TAKEN = "E-AGENT-013",
        cause: "The controller did not take the device's certificates.",
        next: "Look at the controller's log; it is tried again.";
    REPORTS_LOST = "E-AGENT-014",
        cause: "Reports could not be delivered and were dropped.",
        next: "Restore the way to the controller; the newest reports of each kind are kept.";
    REPORTS_WAIT = "E-AGENT-015",
        cause: "Many reports wait for the controller, or it refuses them.",
        next: "Look at the controller's log for why it refuses.";
    LOGS_LOST = "E-AGENT-016",
        cause: "Logs were dropped: a file was refused again and again, or a console wrote more than is kept.",
        next: "Look at the controller's log for why it refuses, and at what writes so much.";
    UPLINK_DOWN = "E-AGENT-017",
        cause: "The uplink is down; nothing is sent until it is back.",
        next: "Check cable and switch.";
    NOT_SENT = "E-AGENT-018",
        cause: "A request could not be made.",
        next: "Report it with the line: the device cannot sign or write what it wants to send.";
    PORT_CONFIG = "E-AGENT-019",
        cause: "The configuration of a network port asks for something that this system does not do.",
        next: "Change the port's configuration as the line says.";
    APP_TROUBLE = "E-AGENT-020",
        cause: "dom0 could not do what was asked for an application.",
        next: "See the application's own error, and dom0's line.";
    REFUSED = "E-AGENT-021",
        cause: "The controller answered with a status that says no.",
        next: "Look at the controller's log for the device and this time.";
    NO_CONFIG = "E-AGENT-022",
        cause: "For as long as `timer.reboot.no.network` allows there was no configuration from the controller; the device reboots.",
        next: "Restore the way to the controller; the lines before this one say what is wrong with it.";
    VAULT = "E-AGENT-023",
        cause: "The vault does not do what it is asked for.",
        next: "See the reason in the line, and the vault's own lines.";
    NO_TPM = "E-AGENT-024",
        cause: "The TPM is there and does not work; the device has no identity without it.",
        next: "Switch the machine off and on; if that does not help, clear or replace the TPM, which makes it another device.";
    VAULT_LOCKED = "E-AGENT-025",
        cause: "The TPM does not give the storage's key, for something else was started than before; applications wait.",
        next: "If the change was meant, accept it at the controller, which then gives the key back; else look at the event log there.";
    NO_IDENTITY = "E-AGENT-026",
        cause: "The device has no certificate yet, so it cannot speak with its controller.",
        next: "See the reason in the line: the clock must be set, and the vault must sign.";
    SECRET = "E-AGENT-027",
        cause: "A secret in the configuration cannot be decrypted.",
        next: "Encrypt it anew at the controller, for the certificate that the device publishes now.";
    SOFTWARE_KEY = "E-AGENT-028",
        cause: "There is no TPM: the device's key lies in a file or in the vault's store, and can be copied.",
        next: "Nothing, if that is good enough; else use a machine with a TPM 2.0.";
    STORAGE_ODD = "E-AGENT-030",
        cause: "The storage domain answered what nobody has asked.",
        next: "Report it: storage breaks the protocol of its channel, and is asked anew.";
    NOT_KEPT = "E-AGENT-031",
        cause: "Something that should outlive a restart of the machine could not be kept.",
        next: "See the reason in the line; the device goes on, and asks the controller anew after the next restart.";
    NOT_READ = "E-AGENT-032",
        cause: "Something that was kept could not be read.",
        next: "See the reason in the line; the device asks the controller for it.";
    SAVED_CONFIG = "E-AGENT-033",
        cause: "The controller was not reached since the start; the last configuration is applied as it was kept.",
        next: "Restore the way to the controller; what changed there meanwhile is applied then.";
    SAVED_BAD = "E-AGENT-034",
        cause: "The configuration that was kept cannot be used.",
        next: "Nothing, if the controller is reached; until then the device has no configuration.";
    SELECTOR = "E-AGENT-035",
        cause: "The storage domain has not replaced a selector by that of the system that is to be started, or runs.",
        next: "See the reason in the line; the machine starts by the selector that it has.";
    METRICS_LOST = "E-AGENT-036",
        cause: "Metrics messages that waited for the controller are not delivered: the outage was so long that they thinned out, or it refused them.",
        next: "Nothing, if the outage is over: the counters in later messages count on. Else restore the way to the controller.";
    NO_TIME = "E-AGENT-037",
        cause: "The machine's clock is not set, or no time server tells the time.",
        next: "Let the device reach a time server: by DHCP (option 42), the network's configuration or the provisioning file `ntp`; or set the machine's clock.";
    TIME_REFUSED = "E-AGENT-038",
        cause: "A time server told a time that cannot be, or that the controller's answers contradict.",
        next: "Check the time server, and the controller's clock; somebody on the network may be forging answers.";
    CLOCK_SET = "E-AGENT-039",
        cause: "The machine's clock was wrong; the device goes by a time server's.",
        next: "Set the machine's clock, or replace its battery: it is read again at each start.";
    OTHER_PCRS = "E-AGENT-040",
        cause: "The controller names other PCRs for the storage's key to be sealed to. This device does not obey that.",
        next: "Nothing: the key stays sealed to the PCRs 0 to 4 and 6 to 14. To be rid of the line, take the list out at the controller.";
}
