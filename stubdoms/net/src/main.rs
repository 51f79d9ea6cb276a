//! The domain that holds the network cards.
//!
//! Five tasks around one [`node::Node`], which holds the machine of `net-core`, the card and the vifs:
//!
//! | task | sleeps until |
//! |---|---|
//! | supervision | dom0 asks something, or a line is logged |
//! | [`card`] | the card raises an interrupt |
//! | [`vif`], one each | the guest raises its event channel |
//! | [`control`] | control asks something, or the uplink changes |
//! | [`timers`] | the machine's next deadline, such as a lease's renewal |

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod card;
#[cfg(target_os = "none")]
mod control;
#[cfg(target_os = "none")]
mod node;
#[cfg(target_os = "none")]
mod timers;
#[cfg(target_os = "none")]
mod vif;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    // Without a card there is nothing to do; the line says why, and dom0 sees that we are not ready.
    let card = match card::find(&wiring) {
        Ok(card) => card,
        Err(error) => return log::error!("uplink {}: {}", node::UPLINK, proto_errors::Coded::told(&error)),
    };
    let (running, interrupts) = card.bring_up().await;
    let node = node::Node::new(running);
    spawner.spawn(card::run(node, interrupts));
    spawner.spawn(timers::run(node));
    spawner.spawn(control::run(node, peers, spawner));
    stubdoms_service::ready();
}

#[cfg(not(target_os = "none"))]
fn main() {}
