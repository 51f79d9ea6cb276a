//! Services and applications while they run.

area! {
    svc: "A service or application, as dom0 sees it while it runs.";
    DIED = "E-SVC-001",
        cause: "A service has ended without being told to.",
        next: "Read its last words in the line, and its backtrace before it; `cargo xtask symbolize` names the functions.";
    LINES_HIDDEN = "E-SVC-002",
        cause: "A domain wrote more lines than the console shows.",
        next: "Look at the domain's log at the controller, and at what makes it so talkative.";
    USAGE = "E-SVC-003",
        cause: "Xen does not tell how much the domains have used.",
        next: "Metrics have gaps while it lasts; report it if it stays.";
    DEATHS_UNSEEN = "E-SVC-004",
        cause: "Xen does not tell dom0 of domains that end.",
        next: "Nothing is started anew: start the machine anew, and report it.";
    REFUSED = "E-SVC-005",
        cause: "dom0 refused what control asked for an application.",
        next: "The line says which limit or state is in the way; change the configuration.";
    APP_CONSOLE = "E-SVC-006",
        cause: "The console of an application broke: the application misused its ring.",
        next: "Look at the application; the system goes on without its console.";
    SERIAL = "E-SVC-007",
        cause: "What is typed on the serial console cannot be read.",
        next: "Go on without typing; report it with Xen's lines before it.";
    NO_SUCH_APP = "E-SVC-008",
        cause: "A line was typed for an application that does not run, or was too long.",
        next: "Type `NAME TEXT` with the name of an application that runs.";
    DRILL = "E-SVC-009",
        cause: "A drill that dom0's command line asks for cannot go on.",
        next: "Name a domain that runs; see `dom0/README.md`.";
    PORT = "E-SVC-010",
        cause: "An event channel port of a domain of ours does not work.",
        next: "Report it with the lines around it; what waits for that port stands still.";
    HUNG = "E-SVC-011",
        cause: "A service did not answer dom0's question whether it is well, and was ended.",
        next: "It is built anew. Report it with the service's last lines.";
    NOT_UP = "E-SVC-012",
        cause: "A service was not up in time after its start.",
        next: "It is built anew. Look at its own lines for what it waits for.";
    NOT_BUILT = "E-SVC-013",
        cause: "A service could not be built anew.",
        next: "See the line before, which tells why; dom0 tries again.";
    BROKE_CHANNEL = "E-SVC-014",
        cause: "A service closed its channel to dom0 or broke its protocol, and was ended.",
        next: "It is built anew. It is broken or taken over: look at its last lines.";
    ORDERED = "E-SVC-015",
        cause: "A service was ended because somebody ordered it.",
        next: "Nothing is to be done: it is built anew.";
    GIVEN_UP = "E-SVC-016",
        cause: "A service died so often that dom0 does not build it anew any more.",
        next: "Report its last words. If the system needs it, the watchdog resets the machine.";
    NOT_FED = "E-SVC-017",
        cause: "dom0 does not feed the watchdog, for a service that the system needs is given up.",
        next: "The machine resets by itself; report the last words of that service.";
    WATCHDOG_RESET = "E-SVC-018",
        cause: "The watchdog has reset the machine: Xen, dom0 or the selector stood still, or a service that the system needs was given up.",
        next: "Look at the console's lines before the reset; report them.";
    NO_WATCHDOG = "E-SVC-019",
        cause: "A watchdog of the machine or of Xen cannot be used.",
        next: "The system goes on without it, and a dom0 that stands still stays so; see the reason in the line.";
    NO_RESET = "E-SVC-020",
        cause: "A service that the system needs is given up. It has not worked since the machine was started, and a reset has not helped, as far as dom0 knows, so the machine is not reset.",
        next: "See the lines that tell why it fails, such as a device that is not there; mend that and start the machine anew.";
    NOT_MEASURED = "E-SVC-021",
        cause: "What the machine runs was not measured ahead of it: vault or the TPM did not do it, or a PCR has another value than dom0 made.",
        next: "The device runs, but is not attested, and what is sealed to the measurement stays shut. See the reason in the line.";
    NOT_READY = "E-SVC-022",
        cause: "A service answered, but did not do its work in time, and was ended.",
        next: "It is built anew. Look at its own lines for what it waits for.";
    CRASHED = "E-SVC-023",
        cause: "The start before this one ended by a crash: of dom0, whose last words are in the line if they outlived the reset, of Xen, or of what runs before them.",
        next: "Report the line and what follows it, and the console's lines before the reset.";
    WAITS_FOR_VAULT = "E-SVC-024",
        cause: "No service runs yet, for all wait for vault, which has to measure them by the TPM ahead of that, and takes long.",
        next: "Wait: they run without being measured when its time is up. If that comes at each start, the TPM is slow or broken: power the machine off and on, and look at vault's lines.";
}
