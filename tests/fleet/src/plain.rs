//! An application that does its work and nothing else: it counts on its console.

use std::{rc::Rc, time::Duration};

use board_support_hyp::{HvmParams, Timer};
use board_support_pv::console::front::Front;
use proto_xen::{DomId, Gfn, Port, hvm::param};
use tests_fakexen::Domain;

use crate::{image, programs::Line, stage::Seen};

/// What its image begins with.
pub const TEXT: &[u8] = b"plain";

/// Its image: more than one message.
#[must_use]
pub fn image() -> Vec<u8> {
    image::elf(&TEXT.repeat(400))
}

/// The domain's story.
pub async fn main(domain: Domain, seen: Rc<Seen>) {
    seen.plain.borrow_mut().push(domain.id());
    let page = domain.param(DomId::SELF, param::CONSOLE_PFN).expect("it may ask for its own");
    let port = domain.param(DomId::SELF, param::CONSOLE_EVTCHN).expect("it may ask for its own");
    let page = domain.page_at(Gfn(page)).expect("dom0 says where its console is");
    let line = Line::adopt(domain.clone(), domain.clone(), Port(port as u32)).expect("the port is its own");
    let mut console = Front::attach(line, &page).expect("dom0 prepared the page");
    for number in 0u64.. {
        console.write_all(format!("count {number}\n").as_bytes()).await.expect("dom0 keeps to the protocol");
        seen.counted.set(number + 1);
        domain.sleep(Duration::from_secs(1)).await;
    }
}
