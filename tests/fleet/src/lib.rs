//! The fleet: dom0, net, control and a hostile application as tasks of one process, each on its own view of
//! the fake Xen, in an order that a seed decides.
//!
//! The machines and the ends of devices are the ones that run on the device: the toolstack builds the domains
//! and passes them their wiring, the supervisor watches them, what control is told waits in the outbox and the
//! journal, channels and vifs connect them. What is written here are shells in place of the binaries', which
//! only run in a domain; and what the binaries would bring: a card, a controller and its orders. The README
//! says which is which.
//!
//! | module | stands for |
//! |---|---|
//! | [`ground`] | what all shells stand on: types, waiting, bells |
//! | [`dom0`], [`requests`] | dom0: services and their supervision; control's requests, consoles |
//! | [`service`] | what every service does first: its wiring, its peers, its channel to dom0 |
//! | [`net`], [`wire`] | net with its card, and the network behind it: a DHCP server, an echo |
//! | [`control`] | control: its vif, and the life of an application over and over |
//! | [`controller`] | the controller, as far as it gets what control is told: is anything missing? |
//! | [`hostile`] | that application, which tries what it must not |
//! | [`image`] | ELF files for all of them |
//! | [`stage`] | a machine with all that on it |

#![forbid(unsafe_code)]

pub mod control;
pub mod controller;
pub mod dom0;
pub mod ground;
pub mod hostile;
pub mod image;
pub mod net;
pub mod requests;
pub mod service;
pub mod stage;
pub mod wire;
