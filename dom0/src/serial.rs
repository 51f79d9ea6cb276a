//! The serial console's input: what is typed for applications.
//!
//! `serial=applications` on dom0's command line; without it nothing is read.

use alloc::rc::Rc;

use board_support_hyp::{Console, EventChannels};
use board_support_rt::event;
use dom0_toolstack::{
    server::Piece,
    typed::{Typed, Typing},
};
use embassy_futures::yield_now;
use proto_errors::{boot, svc};
use proto_xen::{VcpuId, Virq};

use crate::device::{Ground, XEN};

/// What Xen keeps of what was typed.
const READ_BYTES: usize = 128;

/// Reads what is typed, for ever.
pub(crate) async fn run(ground: Rc<Ground>, whom: &'static str) {
    if whom != "applications" {
        log::error!(target: "dom0", "serial={whom}: it is serial=applications [{}]", boot::BAD_OPTION);
        return;
    }
    let port = match XEN.bind_virq(Virq::CONSOLE, VcpuId(0)) {
        Ok(port) => port,
        Err(errno) => {
            log::error!(target: "dom0", "what is typed on the serial console will not be seen: {errno} [{}]", svc::SERIAL);
            return;
        }
    };
    let mut typing = Typing::default();
    let mut buffer = [0; READ_BYTES];
    loop {
        let count = match XEN.read(&mut buffer) {
            Ok(count) => count,
            Err(errno) => {
                log::error!(target: "dom0", "serial console: {errno} [{}]", svc::SERIAL);
                return;
            }
        };
        for typed in buffer.iter().take(count).filter_map(|&byte| typing.push(byte)) {
            deliver(&ground, typed);
        }
        match count {
            0 => event::wait(port).await,
            _ => yield_now().await,
        }
    }
}

/// Types a line at the application that it is for.
fn deliver(ground: &Ground, typed: Typed) {
    let Typed::To { name, text } = typed else {
        log::warn!(target: "dom0", "serial console: a line is too long [{}]", svc::NO_SUCH_APP);
        return;
    };
    let app = {
        let server = ground.server.borrow();
        let mut running = server.requests().running();
        running.find(|(_, definition)| definition.name.as_str() == name).map(|(_, definition)| definition.app)
    };
    match app {
        // Shorter than a piece.
        Some(app) => ground.consoles.type_at(app, Piece::from_slice(&text).unwrap_or_default()),
        None => {
            log::warn!(target: "dom0", "serial console: no application {name} runs [{}]", svc::NO_SUCH_APP)
        }
    }
}
