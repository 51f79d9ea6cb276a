//! Xen's event for every death.

use alloc::{rc::Rc, vec::Vec};
use core::time::Duration;

use board_support_hyp::{EventChannels, Timer, wait};
use dom0_toolstack::{
    server::stop_reason,
    watch::{self, Death},
};
use proto_errors::svc;
use proto_xen::{VcpuId, Virq};

use crate::{control, ground::Ground, system::System};

/// How soon domains are looked at again that could not be looked at: no event comes a second time for a death.
const AGAIN: Duration = Duration::from_millis(500);

/// Looks for what has died, for ever.
pub async fn deaths<S: System>(ground: Rc<Ground<S>>) {
    let port = match ground.hyp.bind_virq(Virq::DOM_EXC, VcpuId(0)) {
        Ok(port) => port,
        Err(errno) => {
            log::error!(target: "dom0", "deaths of domains will not be seen: {errno} [{}]", svc::DEATHS_UNSEEN);
            return;
        }
    };
    loop {
        // One event may stand for several deaths, and comes again when a domain is gone for good.
        let mut dead = Vec::new();
        let looked = watch::deaths(ground.hyp, |death| dead.push(death));
        if let Err(errno) = looked {
            log::error!(target: "dom0", "domains cannot be looked at: {errno} [{}]", svc::DEATHS_UNSEEN);
        }
        for death in dead {
            bury(&ground, death).await;
        }
        match looked {
            Ok(()) => wait::event(&ground.runtime, port).await,
            Err(_) => ground.runtime.sleep(AGAIN).await,
        }
    }
}

async fn bury<S: System>(ground: &Rc<Ground<S>>, death: Death) {
    let Death { domain, reason } = death;
    let application = ground.server.borrow_mut().ended(domain);
    match application {
        Some((app, application)) => control::end(ground, app, application, stop_reason(reason)).await,
        None => ground.services.died(ground, domain, reason),
    }
}
