//! Xen's event for every death.

use alloc::{rc::Rc, vec::Vec};
use core::time::Duration;

use board_support_hyp::EventChannels;
use board_support_rt::{event, timer::sleep};
use dom0_toolstack::{
    server::stop_reason,
    watch::{self, Death},
};
use proto_errors::svc;
use proto_xen::{VcpuId, Virq};

use crate::{
    control,
    ground::{Ground, XEN},
};

/// How soon domains are looked at again that could not be looked at: no event comes a second time for a death.
const AGAIN: Duration = Duration::from_millis(500);

/// Looks for what has died, for ever.
pub(crate) async fn deaths(ground: Rc<Ground>) {
    let port = match XEN.bind_virq(Virq::DOM_EXC, VcpuId(0)) {
        Ok(port) => port,
        Err(errno) => {
            log::error!(target: "dom0", "deaths of domains will not be seen: {errno} [{}]", svc::DEATHS_UNSEEN);
            return;
        }
    };
    loop {
        // One event may stand for several deaths, and comes again when a domain is gone for good.
        let mut dead = Vec::new();
        let looked = watch::deaths(&XEN, |death| dead.push(death));
        if let Err(errno) = looked {
            log::error!(target: "dom0", "domains cannot be looked at: {errno} [{}]", svc::DEATHS_UNSEEN);
        }
        for death in dead {
            bury(&ground, death).await;
        }
        match looked {
            Ok(()) => event::wait(port).await,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

async fn bury(ground: &Rc<Ground>, death: Death) {
    let Death { domain, reason } = death;
    let application = ground.server.borrow_mut().ended(domain);
    match application {
        Some((app, application)) => control::end(ground, app, application, stop_reason(reason)).await,
        None => ground.services.died(domain, reason),
    }
}
