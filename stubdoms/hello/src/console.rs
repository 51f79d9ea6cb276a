//! The Xen console of the application: text out, lines in.

use core::{future::pending, time::Duration};

use board_support_hyp::{HvmParams, Xen};
use board_support_pv::{console::front::Front, port::BoundPort};
use board_support_rt::{Domain, memory, memory::SpecialPage, timer};
use heapless::String;
use proto_xen::{DomId, Gfn, Port, hvm::param};

/// Most bytes of a line that was typed.
const MAX_LINE: usize = 256;
/// How long a reader may take before text is dropped.
const PATIENCE: Duration = Duration::from_millis(500);

/// A line, without its end.
pub(crate) type Line = String<MAX_LINE>;

type Ring = Front<BoundPort<Xen, Domain>, SpecialPage>;

/// The console. Without a ring, as when the builder gave none, text goes to the log.
pub(crate) struct Console {
    ring: Option<Ring>,
    typed: Line,
}

impl Console {
    /// Opens the ring that the builder named in the domain's parameters.
    pub(crate) fn open() -> Self {
        let ring = open_ring();
        if ring.is_none() {
            log::warn!("no console ring, text goes to the log");
        }
        Self { ring, typed: Line::new() }
    }

    /// Writes `text`. It is dropped if nobody takes it in time.
    pub(crate) async fn write(&mut self, text: &[u8]) {
        let Some(ring) = &mut self.ring else {
            log::info!("{}", core::str::from_utf8(text).unwrap_or("(no text)").trim_end());
            return;
        };
        match timer::with_timeout(PATIENCE, ring.write_all(text)).await {
            Ok(Ok(())) | Err(timer::Elapsed) => {}
            Ok(Err(fault)) => self.close(&fault),
        }
    }

    /// The next line that is typed. Dropping the future loses nothing.
    pub(crate) async fn line(&mut self) -> Line {
        loop {
            let Some(ring) = &mut self.ring else { pending().await };
            let mut byte = [0];
            match ring.read(&mut byte).await {
                Ok(_) => {
                    if let Some(line) = self.take(byte[0]) {
                        return line;
                    }
                }
                Err(fault) => self.close(&fault),
            }
        }
    }

    /// Adds a byte; at the end of a line, hands it out. Bytes that are no printable ASCII, and those
    /// past the longest line, are left out.
    fn take(&mut self, byte: u8) -> Option<Line> {
        match byte {
            b'\r' | b'\n' => {
                let line = core::mem::take(&mut self.typed);
                (!line.is_empty()).then_some(line)
            }
            b' '..=b'~' => {
                let _ = self.typed.push(byte.into());
                None
            }
            _ => None,
        }
    }

    fn close(&mut self, fault: &dyn core::fmt::Debug) {
        log::error!("console closed, its backend is at fault: {fault:?}");
        self.ring = None;
    }
}

fn open_ring() -> Option<Ring> {
    let parameter = |index| Xen.param(DomId::SELF, index).ok().filter(|value| *value != 0);
    let frame = Gfn(parameter(param::CONSOLE_PFN)?);
    let port = Port(u32::try_from(parameter(param::CONSOLE_EVTCHN)?).ok()?);
    let page = memory::special_page(frame.base())?;
    let line = BoundPort::adopt(Xen, Domain, port).ok()?;
    Front::attach(line, page).ok()
}
