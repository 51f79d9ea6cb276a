//! The console that dom0 gave us: for lines, and to lie on.

use core::time::Duration;

use alloc::format;
use board_support_hyp::{EventChannels, HvmParams, Shared, Xen};
use board_support_pv::{console::front::Front, port::BoundPort};
use board_support_rt::{Domain, memory, memory::SpecialPage, timer};
use proto_io::console::OUT;
use proto_xen::{DomId, Gfn, Port, hvm::param};

pub(crate) struct Console {
    ring: Front<BoundPort<Xen, Domain>, SpecialPage>,
    page: SpecialPage,
    port: Port,
}

impl Console {
    /// `None` if there is no console.
    pub(crate) fn open() -> Option<Self> {
        let parameter = |index| Xen.param(DomId::SELF, index).ok().filter(|value| *value != 0);
        let frame = Gfn(parameter(param::CONSOLE_PFN)?);
        let port = Port(u32::try_from(parameter(param::CONSOLE_EVTCHN)?).ok()?);
        let page = memory::special_page(frame.base())?;
        let ring = Front::attach(BoundPort::adopt(Xen, Domain, port).ok()?, page).ok()?;
        Some(Self { ring, page, port })
    }

    /// Writes a line, and waits for room.
    pub(crate) async fn say(&mut self, text: core::fmt::Arguments<'_>) {
        let line = format!("{text}\n");
        let _ = timer::with_timeout(Duration::from_secs(10), self.ring.write_all(line.as_bytes())).await;
    }

    /// Writes as fast as the other side takes it, for this long.
    pub(crate) async fn flood(&mut self, duration: Duration) {
        let line = [b'x'; 1024];
        let end = timer::now() + duration;
        while timer::now() < end {
            let _ = timer::with_timeout(Duration::from_secs(10), self.ring.write_all(&line)).await;
        }
        self.say(format_args!("")).await;
    }

    /// Says that more was written than the ring holds.
    pub(crate) fn lie(&self) {
        let honest = OUT.prod.load(self.page.words());
        OUT.prod.publish(self.page.words(), honest.wrapping_add(100_000));
        self.ring_the_bell(1);
    }

    /// Raises dom0 so often, with nothing to look at.
    pub(crate) fn ring_the_bell(&self, times: u32) {
        for _ in 0..times {
            // It answers nothing that matters here: the port may be closed by now.
            let _ = Xen.send(self.port);
        }
    }
}
