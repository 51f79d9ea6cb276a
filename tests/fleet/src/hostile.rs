//! The application: talks on its console, and tries everything that it must not.

use std::{rc::Rc, time::Duration};

use board_support_hyp::{
    Access, Console, Domctl, EventChannels, Foreign, Grants, HvmParams, Physdev, Populate, Sched, Shared,
    Sysctl, Timer,
};
use board_support_pv::console::front::Front;
use core::sync::atomic::Ordering::Relaxed;
use proto_xen::{
    DomId, Errno, Gfn, Gref, Port, Sbdf, domctl::CreateDomain, hvm::param, sched::ShutdownReason,
};
use tests_fakexen::{Domain, Rng};

use crate::{image, programs::Line, stage::Seen};

/// What its image begins with.
pub const TEXT: &[u8] = b"hostile";

/// Its image: more than one message.
#[must_use]
pub fn image() -> Vec<u8> {
    image::elf(&TEXT.repeat(150))
}

/// Numbers of domains that it tries.
const OTHERS: core::ops::Range<u16> = 0..40;

/// The domain's story, which goes its own way by `seed`.
pub async fn main(domain: Domain, seen: Rc<Seen>, seed: u64) {
    let mut rng = Rng::new(seed);
    let page = domain.param(DomId::SELF, param::CONSOLE_PFN).expect("it may ask for its own");
    let port = domain.param(DomId::SELF, param::CONSOLE_EVTCHN).expect("it may ask for its own");
    let page = domain.page_at(Gfn(page)).expect("dom0 says where its console is");
    let line = Line::adopt(domain.clone(), domain.clone(), Port(port as u32)).expect("the port is its own");
    let mut console = Front::attach(line, &page).expect("dom0 prepared the page");
    for _ in 0..3 {
        // Nobody may be there to read, and then it goes on.
        let _ = console.try_write(b"hello, I am harmless\n");
        *seen.refused.borrow_mut() += attempts(&domain, &mut rng);
        domain.sleep(Duration::from_millis(10)).await;
    }
    match rng.below(4) {
        0 => drop(domain.shutdown(ShutdownReason::CRASH)),
        1 => drop(domain.shutdown(ShutdownReason::POWEROFF)),
        2 => {
            // Indices that contradict each other.
            page.words().iter().for_each(|word| word.store(rng.next_u64() as u32, Relaxed));
            let _ = domain.send(Port(port as u32));
        }
        _ => {}
    }
    loop {
        let _ = console.try_write(&[b'x'; 4096]);
        let _ = domain.send(Port(port as u32));
        domain.sleep(Duration::from_millis(5)).await;
    }
}

/// Tries what it must not, and returns how often it was refused.
fn attempts(domain: &Domain, rng: &mut Rng) -> u32 {
    let other = DomId(OTHERS.start + rng.below(OTHERS.len()) as u16);
    if other == domain.id() {
        return 0;
    }
    let frame = Gfn(rng.below(1024) as u64);
    let device = Sbdf::new(0, 3, 0);
    let mut refused = 0;
    let mut must_fail = |what: &str, tried: Result<(), Errno>| {
        assert!(tried.is_err(), "{} may {what} {other}", domain.id());
        refused += 1;
    };
    must_fail("create", domain.create_domain(&CreateDomain::default()).map(drop));
    must_fail("destroy", domain.destroy_domain(other));
    must_fail("pause", domain.pause(other));
    must_fail("let run", domain.unpause(other));
    must_fail("list", domain.next_domain(other).map(drop));
    must_fail("limit", domain.set_max_mem(other, 1));
    must_fail("set the state of", domain.set_hvm_context(other, &[]));
    must_fail("take a device of", domain.deassign_device(other, device));
    must_fail("get a device of", domain.assign_device(domain.id(), device));
    must_fail("get an interrupt of", domain.map_msix(other, device, 0, 0).map(drop));
    must_fail("grow", domain.populate(other, &[frame], 0).map(drop));
    must_fail("map", Foreign::map(domain, other, frame, 1).map(drop));
    must_fail("look at the machine of", domain.physinfo().map(drop));
    must_fail("set a parameter of", domain.set_param(other, param::CONSOLE_PFN, 0));
    must_fail("move its own console away from", domain.set_param(DomId::SELF, param::CONSOLE_PFN, 0));
    must_fail("make a port of", domain.alloc_unbound(other, domain.id()).map(drop));
    must_fail("bind a port of", domain.bind_interdomain(other, Port(1 + rng.below(30) as u32)).map(drop));
    must_fail("send by a port of", domain.send(Port(200 + rng.below(800) as u32)));
    must_fail("read what is typed at", domain.read(&mut [0; 16]).map(drop));
    for reference in (8..40).chain([496, 497, 498]).map(Gref) {
        let mapped = Grants::map(domain, other, reference, Access::ReadOnly);
        assert!(mapped.is_err(), "{} may map {reference:?} of {other}", domain.id());
        assert!(domain.copy_from(other, reference, 0, &mut [0; 64]).is_err());
        assert!(domain.copy_to(other, reference, 0, &[0; 64]).is_err());
        refused += 3;
    }
    refused
}
