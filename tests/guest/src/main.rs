//! A domain that checks the real Xen from inside: `ok NAME` or `FAIL NAME: why` for each case, and at the
//! end `guest: N ok, M failed`.
//!
//! It runs several times. As service `peer` it is the other end of [`pair`], as service `disk`, on a board of
//! its own, it has the disk ([`disk`]). As service `guest`, with a wiring record, it is the *parent*: it checks what can be checked
//! without harm, and has dom0 start applications for the rest, in control's place on channel `device`. As
//! such an application it is a *child* and does what `case=` on its command line says: most children must
//! not survive, and the parent judges them by how they ended and by what they wrote on their console.
//!
//! | module | checks |
//! |---|---|
//! | [`clock`] | time, deadlines |
//! | [`disk`] | the disk, over many lives |
//! | [`events`] | event channels to itself |
//! | [`grants`] | grants to itself |
//! | [`pair`] | grants and events between two domains |
//! | [`space`] | memory map, reserved pages, pool, heap |
//! | [`xen`] | version, parameters, entropy |
//! | [`children`] | what needs a domain of its own: the parent's side |
//! | [`child`] | the same from the child's side |
//! | [`second`] | a second vCPU, in a child |

#![no_std]
#![cfg_attr(target_os = "none", no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod child;
#[cfg(target_os = "none")]
mod children;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod disk;
#[cfg(target_os = "none")]
mod events;
#[cfg(target_os = "none")]
mod grants;
#[cfg(target_os = "none")]
mod pair;
#[cfg(target_os = "none")]
mod second;
#[cfg(target_os = "none")]
mod space;
#[cfg(target_os = "none")]
mod tally;
#[cfg(target_os = "none")]
mod xen;

#[cfg(target_os = "none")]
board_support_rt::domain!(main);

#[cfg(target_os = "none")]
async fn main(boot: board_support_rt::Boot, spawner: board_support_rt::Spawner) {
    if boot.module(0).is_none() {
        return child::run(&boot).await;
    }
    let wiring = stubdoms_service::read_wiring(&boot);
    let peers = stubdoms_service::peers(&wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    if wiring.name == "disk" {
        return disk::run(&wiring).await;
    }
    stubdoms_service::ready();
    if wiring.name == "peer" {
        return pair::answer(peers).await;
    }
    let mut tally = tally::Tally::new();
    clock::check(&mut tally).await;
    events::check(&mut tally).await;
    grants::check(&mut tally, &wiring).await;
    pair::check(&mut tally, peers).await;
    space::check(&mut tally, &boot, &wiring).await;
    xen::check(&mut tally).await;
    let host = children::check(&mut tally, &boot, &wiring).await;
    tally.end();
    core::future::pending::<()>().await;
    drop(host);
}

#[cfg(not(target_os = "none"))]
fn main() {}
