//! The fleet: dom0, net, storage, vault, control and a hostile application as tasks of one process, each on its own view
//! of the fake Xen, in an order that a seed decides.
//!
//! dom0's shells, those of every service, net's, storage's, vault's and control's are the ones that run on the device, and so
//! are the machines and the ends of devices below them. What is written here is what they stand on in place of a real
//! machine, and what such a machine would bring: a card and a network, a disk, a TPM, a controller, an application. The README
//! says which is which.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | what dom0's shells stand on |
//! | [`programs`] | what a domain's code is, by its image; what a panic of it does |
//! | [`stage`] | a machine with all that on it |
//! | [`wire`] | the card of net, and the network behind it: a DHCP server, an echo |
//! | [`drills`] | what stories do to it: a service is ended, calls fail |
//! | [`works`] | what is so on a machine with the whole control |
//! | [`whole`] | control as it is on the device |
//! | [`far`], [`http`] | a host in that network, with services over TCP and TLS |
//! | [`eve`], [`keys`] | the controller on it, for the whole control; its certificates and the provisioning files |
//! | [`random`] | numbers that are random, and the same for the same seed |
//! | [`control`] | a small control: its vif, and the life of an application over and over |
//! | [`storage`] | the disk of storage, which is as it is on the device |
//! | [`vault`] | the TPM of vault, which is as it is on the device |
//! | [`controller`] | the controller of the small control, as far as it gets what that is told: is anything missing? |
//! | [`liar`], [`keeper`] | a control that lies to vault; a client of vault in place of storage |
//! | [`taken`] | a control that was taken over, towards storage |
//! | [`false_net`] | a net that was taken over, towards control |
//! | [`hostile`], [`plain`] | an application that tries what it must not; one that counts |
//! | [`image`] | ELF files for all of them |

#![forbid(unsafe_code)]

pub mod control;
pub mod controller;
pub mod drills;
pub mod eve;
pub mod false_net;
pub mod far;
pub mod host;
pub mod hostile;
pub mod http;
pub mod image;
pub mod keeper;
pub mod keys;
pub mod liar;
pub mod plain;
pub mod programs;
pub mod random;
pub mod stage;
pub mod storage;
pub mod taken;
pub mod vault;
pub mod whole;
pub mod wire;
pub mod works;
