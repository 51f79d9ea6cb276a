//! The domain that holds the network cards: its tasks are in `stubdoms/net-shell`, the card is found here.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod card;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    use board_support_rt::{Domain, entropy};
    use stubdoms_net_shell::node::UPLINK;

    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    // Without a card there is nothing to do; the line says why, and dom0 ends us when we are not ready in time.
    let card = match card::find(&wiring) {
        Ok(card) => card,
        Err(error) => return log::error!("uplink {UPLINK}: {}", proto_errors::Coded::told(&error)),
    };
    let mut seed = [0; 32];
    entropy::fill(&mut seed);
    stubdoms_net_shell::start(board_support_hyp::Xen, Domain, spawner, peers, card, seed).await;
    stubdoms_service::ready();
}

#[cfg(not(target_os = "none"))]
fn main() {}
