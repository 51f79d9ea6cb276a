//! The tasks of the domain that holds the network cards: five around one [`node::Node`], which holds the machine
//! of `net-core`, the card and the vifs.
//!
//! | task | sleeps until |
//! |---|---|
//! | supervision (`stubdoms/service`) | dom0 asks something, or a line is logged |
//! | [`card`] | the card raises an interrupt |
//! | [`vif`], one each | the guest raises its event channel |
//! | [`control`] | control asks something, or the uplink changes |
//! | [`timers`] | the machine's next deadline, such as a lease's renewal |
//!
//! All is generic over Xen and the runtime, and takes any card that [`board_support_drv::nic`] describes: the
//! binary finds the real one, `tests/fleet` has another.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod card;
pub mod control;
pub mod node;
pub mod timers;
pub mod vif;

use board_support_hyp::{Runtime, Spawn};
use stubdoms_service::{Peers, channels::Hypervisor};

use card::Found;
use node::Node;

/// Brings the card up, however long that takes, and starts all tasks but supervision. `seed` is what nobody may
/// guess: it chooses what the machine's ports and numbers begin with.
pub async fn start<X: Hypervisor, R: Runtime>(
    xen: X,
    runtime: R,
    spawner: impl Spawn,
    peers: &'static Peers,
    found: Found,
    seed: [u8; 32],
) {
    let (running, interrupts) = found.bring_up(&runtime).await;
    let node = Node::new(xen, runtime, running, seed);
    spawner.spawn(card::run(node, interrupts));
    spawner.spawn(timers::run(node));
    spawner.spawn(control::run(node, peers, spawner.clone()));
}
