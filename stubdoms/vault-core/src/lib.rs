//! The logic of the vault domain: the one that holds the TPM.
//!
//! | module | what is in it |
//! |---|---|
//! | [`tpm`] | what the vault stands on: a TPM that takes commands, random numbers |
//! | [`chip`] | a TPM: brought up, its keys found or made, its commands as functions |
//! | [`software`] | keys where there is no TPM |
//! | [`record`] | what lies on the disk for the vault |
//! | [`vault`] | the vault: what each channel may ask, and what it is answered |
//! | [`turns`] | requests of all channels, in turn |
//! | `budget` | how often control may have written what wears out |
//!
//! Pure: commands go out and answers come in by the trait [`tpm::Tpm`], times are arguments. What is a story
//! (bringing the TPM up, unsealing) is an async function that waits for nothing but the TPM.
//!
//! # What the storage's key is sealed to
//!
//! To the PCRs 0 to 4 and 6 to 14 of the SHA-256 bank, as EVE does it: firmware (0 to 4, 6, 7), boot loader and
//! what it starts (4, 8, 9), what else the selector measures (10 to 12), dom0's table and the image of each
//! service (13), the provisioning (14). Not 5, where firmware puts the partition table, which changes with every
//! try of a slot; and not 15. So what differs from start to start of the same version (which slot, why, which
//! try) belongs into 5 or 15, or the key opens only by the controller's help.
//!
//! PCR 13 must be final when the storage asks for its key, and it is: dom0 starts vault first and has the table
//! and *all* images extended, in the order of the table, before it starts storage and control. A restart extends
//! nothing, for the same image cannot be another one. dom0 alone can extend, by the channel `measure`, and only
//! the PCRs 13 and 14 ([`proto_svc::measure::PCRS`]).
//!
//! # Where nothing is measured
//!
//! PCR 0 or 4 is zero when firmware measured nothing, as when an emulator starts Xen by itself. EVE does not seal
//! then. Here the key is sealed all the same, to those zeros: it stays bound to this TPM, and no worse off than
//! without one. But that is no protection against another program on this machine, and status says so. A key
//! that was sealed to a measured start is not sealed anew to one that is not measured, whoever asks; nor is one of
//! which the record does not say it, for whoever writes the disk can spoil a record.
//!
//! # What is escrowed
//!
//! The storage's key goes to the controller encrypted by a point that only this TPM can compute. EVE takes the
//! point that the ECDH key and the device's key share. Control may have points multiplied by the ECDH key, which
//! it needs for what the controller encrypts to the device; and whoever may do that with any point r·D gets the
//! point of D by dividing r out again, so refusing D itself protects nothing from a control that was taken over.
//! (By EVE's templates the two are one key besides.) We take the point that a third key shares with itself, which
//! is made when it is needed, is the same each time, and multiplies nothing for anybody. To the controller what is
//! escrowed is opaque, so this is the device's own affair. The key that encrypts is SHA-256 over that point and
//! the digest of the storage's key: it is another one for each storage key, and nobody without the point can make
//! up an escrow that is accepted.
//!
//! # Kills and repetitions
//!
//! vault keeps nothing that is not in the TPM or with storage. A kill in the middle of a command loses at most the
//! answer, and whoever asked asks again: to sign, quote, read, open or escrow twice does no harm, a key that was
//! made and not kept yet is made anew, and whether an extension was carried out dom0 sees by reading the PCR.
//!
//! # A key in the clear
//!
//! Without a TPM the storage's key lies on the disk as it is, beside what it encrypts, software's keys among that: who
//! has the disk has all of it, and who erases the one record has erased all of it. That is said at each start.
//!
//! With a TPM such a record is never believed, whoever made it: sealed now it would become the device's, and with it
//! what its author had stored and whatever is stored next. Whether this TPM had keys of ours before does not matter, for
//! it can be cleared. What is found so is dropped, the store begins anew under a key that is sealed, and that is told
//! as an error and to the controller. A device whose TPM was switched on later loses what it had kept by that: it
//! is another device to the controller, by other keys. Whoever writes the disk could have emptied the partition as well.
//!
//! The other way about nothing changes hands: what a TPM has sealed stays locked, with a reason, while that TPM is gone or
//! does not work, and a TPM that does not work is not replaced by software even at the first start.
//!
//! # What is not protected
//!
//! Who has the machine open and speaks to the TPM as its owner can use every key, the device's credential being
//! where EVE has it, readable by the owner; and they can seal a key of their making to the values of a measured start,
//! and put it on the disk with a store of theirs, which is believed. Without Secure Boot whoever writes the disk comes to that by
//! a program of theirs in the selector's place. Who replaces the TPM's public endorsement key on the bus learns what
//! is sealed next. Who writes the disk can set all of it back to an earlier day, record and store together, which opens
//! as it did then: a counter in the TPM would have to be written with each change of the store, and wears out.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod budget;
pub mod chip;
mod codes;
pub mod record;
pub mod software;
pub mod tpm;
pub mod turns;
pub mod vault;

#[cfg(test)]
mod tests;
