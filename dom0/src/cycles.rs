//! Cycles: an application is built, let run and ended, some times over.
//!
//! `cycles=NAME:COUNT:VCPUS` on dom0's command line, with `images/NAME` of the archive as its image. What it
//! shows is that nothing of a domain is left when it is gone: no page of memory, no port, no grant reference
//! and no mapping of dom0's. Before each life comes a creation that must fail, each time another way, for what
//! was half made must go as well. The vCPUs are pinned to the machine's first CPU.

use alloc::{format, rc::Rc, string::String};
use core::{fmt::Display, time::Duration};

use board_support_hyp::{EventChannels, Sysctl, gnttab, window};
use board_support_pv::console::back::Back;
use board_support_rt::timer::{now, sleep, with_deadline};
use dom0_toolstack::{
    application::{Application, Order},
    build::layout::MAX_COMMAND_LINE,
};
use proto_errors::{boot, svc};
use proto_xen::{DomId, Errno};

use crate::device::{Ground, XEN};

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
    /// Grant references of dom0 that are in use.
    references: usize,
    /// Pages of others that dom0 has mapped.
    mapped: usize,
}

impl Count {
    fn take() -> Result<Self, Errno> {
        let port = XEN.alloc_unbound(DomId::SELF, DomId::DOM0)?;
        XEN.close(port)?;
        let physinfo = XEN.physinfo()?;
        Ok(Self {
            free_pages: physinfo.free_pages + physinfo.scrub_pages,
            port: port.0,
            references: gnttab::references_in_use(),
            mapped: window::usage().pages,
        })
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
    let mut refused = 0;
    let started = now();
    for life in 0..count {
        refused += must_fail(life, &order)?;
        let id = once(ground, &order).await?;
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
        "{count} lives of {name} in {} ms, {refused} creations refused; free pages {} before and {} after, first \
         free port {} and {}, grant references {} and {}, mapped pages {} and {}",
        took.as_millis(),
        before.free_pages,
        after.free_pages,
        before.port,
        after.port,
        before.references,
        after.references,
        before.mapped,
        after.mapped
    ))
}

/// One creation in so many asks for more memory than there is: all that is free is taken for it.
const GREEDY: u32 = 40;

/// Tries to build what cannot be built, and tells how often.
fn must_fail(life: u32, order: &Order<'_>) -> Result<u32, String> {
    let fail = |what: &str, order: &Order<'_>| match Application::build(&XEN, order) {
        Ok(_) => Err(format!("a domain was built with {what}")),
        Err(_) => Ok(1),
    };
    let long = "x".repeat(MAX_COMMAND_LINE + 1);
    // The first is refused before anything is made; the others with less and more of the domain made.
    let refused = match life % 3 {
        0 => fail("half an image", &Order { image: &order.image[..order.image.len() / 2], ..*order }),
        1 => fail("a CPU that is not there", &Order { cpus: 1 << 63, ..*order }),
        _ => fail("too long a command line", &Order { command_line: &long, ..*order }),
    }?;
    if !life.is_multiple_of(GREEDY) {
        return Ok(refused);
    }
    let physinfo = XEN.physinfo().map_err(text)?;
    let memory_pages = physinfo.free_pages + physinfo.scrub_pages;
    Ok(refused + fail("more memory than there is", &Order { memory_pages, ..*order })?)
}

/// One life: from nothing to the first byte on the console, and to nothing again.
async fn once(ground: &Ground, order: &Order<'_>) -> Result<DomId, String> {
    let mut application = Application::build(&XEN, order).map_err(text)?;
    let id = application.id();
    let console = application.console.take().ok_or("it has no console")?;
    let page = ground.map(id, console.page).map_err(text)?;
    let line = ground.adopt(console.port).map_err(text)?;
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
