//! Cycles: an application is built, let run and ended, some times over.
//!
//! `cycles=NAME:COUNT:VCPUS` on dom0's command line, with `images/NAME` of the archive as its image. What it
//! shows is that nothing of a domain is left when it is gone: no page of memory, no port. The vCPUs are pinned
//! to the machine's first CPU.

use alloc::{format, rc::Rc, string::String};
use core::{fmt::Display, time::Duration};

use board_support_hyp::{EventChannels, Sysctl};
use board_support_pv::console::back::Back;
use board_support_rt::{
    Domain,
    timer::{now, sleep, with_deadline},
};
use dom0_toolstack::application::{Application, Order};
use proto_errors::{boot, svc};
use proto_xen::{DomId, Errno};

use crate::ground::{Ground, Line, XEN, map};

/// How long an application may take until its first byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long Xen may take to free a domain's memory after it was destroyed, and how often that is looked at.
const SETTLE: (Duration, u32) = (Duration::from_millis(10), 200);

/// Pages of an application, 8 MiB.
const MEMORY_PAGES: u64 = 2048;

/// What is in use in Xen and can be counted from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    /// Free pages of the machine.
    free_pages: u64,
    /// The lowest free port of dom0.
    port: u32,
}

impl Count {
    fn take() -> Result<Self, Errno> {
        let port = XEN.alloc_unbound(DomId::SELF, DomId::DOM0)?;
        XEN.close(port)?;
        let physinfo = XEN.physinfo()?;
        Ok(Self { free_pages: physinfo.free_pages + physinfo.scrub_pages, port: port.0 })
    }
}

/// Runs the cycles.
pub(crate) async fn run(ground: Rc<Ground>, order: &'static str) {
    let mut parts = order.split(':');
    let name = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    let (Some(count), Some(vcpus)) = (number(), number()) else {
        log::error!(target: "dom0", "cycles={order}: it is cycles=NAME:COUNT:VCPUS [{}]", boot::BAD_OPTION);
        return;
    };
    match all(&ground, name, count, vcpus).await {
        Ok(line) => log::info!(target: "dom0", "cycles: {line}"),
        Err(error) => log::error!(target: "dom0", "cycles: {error} [{}]", svc::DRILL),
    }
}

async fn all(ground: &Ground, name: &str, count: u32, vcpus: u32) -> Result<String, String> {
    let (archive, platform) = {
        let builder = ground.services.builder();
        (builder.archive, builder.platform)
    };
    let path = format!("images/{name}");
    let image = archive.find(&path).ok_or_else(|| format!("the archive has no {path}"))?;
    let order = Order { image, memory_pages: MEMORY_PAGES, vcpus, cpus: 1, command_line: "", platform };
    let before = Count::take().map_err(text)?;
    let mut last = DomId(0);
    let started = now();
    for _ in 0..count {
        let id = once(&order).await?;
        if id <= last {
            return Err(format!("domain number {} comes after {}", id.0, last.0));
        }
        last = id;
    }
    let took = now() - started;
    let mut after = Count::take().map_err(text)?;
    for _ in 0..SETTLE.1 {
        if after == before {
            break;
        }
        sleep(SETTLE.0).await;
        after = Count::take().map_err(text)?;
    }
    Ok(format!(
        "{count} lives of {name} in {} ms; free pages {} before and {} after, first free port {} and {}",
        took.as_millis(),
        before.free_pages,
        after.free_pages,
        before.port,
        after.port
    ))
}

/// One life: from nothing to the first byte on the console, and to nothing again.
async fn once(order: &Order<'_>) -> Result<DomId, String> {
    let mut application = Application::build(&XEN, order).map_err(text)?;
    let id = application.id();
    let console = application.console.take().ok_or("it has no console")?;
    let page = map(id, console.page).map_err(text)?;
    let line = Line::adopt(XEN, Domain, console.port.into_port()).map_err(text)?;
    let mut back = Back::attach(line, page).map_err(text)?;
    application.unpause().map_err(text)?;
    let mut byte = [0; 1];
    let read = with_deadline(now() + PATIENCE, back.read(&mut byte)).await;
    read.map_err(|_| format!("{id} has said nothing in {} s", PATIENCE.as_secs()))?.map_err(text)?;
    application.pause();
    Ok(id)
}

fn text(error: impl Display) -> String {
    format!("{error}")
}
