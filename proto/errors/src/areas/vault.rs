//! The vault domain.

area! {
    vault: "The domain with the TPM.";
    NO_TPM = "E-VAULT-001",
        cause: "The machine has no TPM, or none that answers at its registers: keys are software's, and what is \
            stored is not protected from who has the disk.",
        next: "Switch the TPM on in the firmware's set-up; without one nothing else can be done.";
    TPM_FAILED = "E-VAULT-002",
        cause: "There is a TPM and it cannot be used; its keys are not replaced by others. It is tried again.",
        next: "The line says why. Power the machine off and on; a TPM that has failed its self test needs that.";
    NOT_MEASURED = "E-VAULT-003",
        cause: "The firmware measured nothing at this start, so the storage's key is bound to this TPM and not to \
            what was started.",
        next: "Start by firmware that uses the TPM; in an emulator without firmware this is as it must be.";
    LOCKED = "E-VAULT-004",
        cause: "The key of the storage is sealed to other measurements, or not readable here.",
        next: "The controller gives it back after attestation; the line names the PCRs that differ.";
    NOT_KEPT = "E-VAULT-005",
        cause: "The storage did not keep what the vault had sealed anew.",
        next: "See the lines of the storage about its disk.";
    TOO_MANY_WRITES = "E-VAULT-006",
        cause: "Control asks more often than once an hour for its note to be written, to memory that wears out; a \
            device writes it once in its life.",
        next: "One write is made an hour. If it does not end by itself, something has taken control over: look at \
            what it logs, and update or install anew.";
    NOT_BELIEVED = "E-VAULT-007",
        cause: "What lay on the disk had its key in the clear, as a device without a TPM writes it, and there is a TPM: \
            whoever writes the disk could have put it there. It was dropped, and the store begins anew under a sealed \
            key.",
        next: "If the TPM was switched on just now that is as it must be: the device has other keys by that, and is \
            another one to the controller. If not, somebody has written the disk: look after the device.";
}
