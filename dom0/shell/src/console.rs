//! Consoles of applications: what they write goes to control, what control types goes to them.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::cell::RefCell;

use board_support_hyp::{Instant, Spawn};
use board_support_pv::console::back::Back;
use dom0_toolstack::{
    application::Console,
    budget::CONSOLE_BYTES,
    line,
    server::{Piece, Short},
};
use embassy_futures::{
    select::{Either3, select3},
    yield_now,
};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, channel::Channel};
use proto_errors::svc;
use proto_svc::device::AppId;
use proto_xen::DomId;

use crate::{
    ground::{Bell, Ground},
    patience::{Patience, Patient},
    system::System,
};

/// Pieces that were typed and not read yet. More are dropped, as from a keyboard.
const MAX_TYPED: usize = 4;

/// Bytes that are read at once.
const READ_BYTES: usize = 512;

/// Bytes that a console page holds: what a domain that is paused can have left unread.
const PAGE_BYTES: usize = 2048;

/// The consoles that are served.
#[derive(Default)]
pub struct Consoles {
    open: RefCell<Vec<Rc<Desk>>>,
}

/// One console, as others see it.
struct Desk {
    app: AppId,
    typed: Channel<NoopRawMutex, Piece, MAX_TYPED>,
    closing: Bell,
    closed: Bell,
}

/// When an application was ordered: what its start took is told from then on.
pub struct Birth {
    /// The application's name.
    pub name: String,
    /// When control ordered it to be started.
    pub ordered: Instant,
}

impl Birth {
    /// Tells that the application is at `stage` of its start at `now`.
    pub fn tell(&self, now: Instant, stage: &str) {
        log::info!(target: "dom0", "{}", line::measurement(stage, &self.name, now - self.ordered));
    }
}

impl Consoles {
    /// Serves a console until [`Self::close`].
    pub(crate) fn serve<S: System>(
        &self,
        ground: &Rc<Ground<S>>,
        app: AppId,
        id: DomId,
        console: Console<'static, S::Xen>,
        birth: Birth,
    ) {
        let desk = Rc::new(Desk { app, typed: Channel::new(), closing: Bell::new(), closed: Bell::new() });
        self.open.borrow_mut().push(desk.clone());
        let ground = ground.clone();
        ground.clone().spawner.spawn(async move {
            if let Err(why) = relay(&ground, &desk, id, console, birth).await {
                log::warn!(target: "dom0", "application {}: console: {why} [{}]", Short(app), svc::APP_CONSOLE);
            }
            desk.closed.signal(());
        });
    }

    /// Types at an application. Without a reader the bytes are dropped.
    pub fn type_at(&self, app: AppId, bytes: Piece) {
        if let Some(desk) = self.open.borrow().iter().find(|desk| desk.app == app) {
            // Full: the application does not read.
            let _ = desk.typed.try_send(bytes);
        }
    }

    /// Has what is left on a console read, and waits until it is closed. The domain is paused before.
    pub async fn close(&self, app: AppId) {
        let place = self.open.borrow().iter().position(|desk| desk.app == app);
        let Some(place) = place else { return };
        let desk = self.open.borrow_mut().swap_remove(place);
        desk.closing.signal(());
        desk.closed.wait().await;
    }
}

/// Moves bytes until the console is to be closed, then reads the rest.
async fn relay<S: System>(
    ground: &Ground<S>,
    desk: &Desk,
    id: DomId,
    console: Console<'static, S::Xen>,
    birth: Birth,
) -> Result<(), String> {
    let text = |error: &dyn core::fmt::Display| alloc::format!("{error}");
    let page = ground.map(id, console.page).map_err(|errno| text(&errno))?;
    let line = ground.adopt(console.port).map_err(|errno| text(&errno))?;
    let line = Patient::new(line, ground.runtime.clone());
    let (events, budget) = (line.events(), Patience::new(ground.runtime.clone(), CONSOLE_BYTES));
    let mut back = Back::attach(line, page).map_err(|fault| text(&fault))?;
    let mut buffer = [0; READ_BYTES];
    let mut birth = Some(birth);
    loop {
        // Typing comes before reading: an application that never stops writing can be typed at.
        let read = async {
            budget.wait().await;
            back.read(&mut buffer).await
        };
        let next = select3(desk.closing.wait(), desk.typed.receive(), read).await;
        match next {
            Either3::First(()) => break,
            Either3::Second(bytes) => {
                // What has no room is dropped: the application does not read.
                back.try_write(&bytes).map_err(|fault| text(&fault))?;
            }
            Either3::Third(read) => {
                let read = read.map_err(|fault| text(&fault))?;
                budget.spend(read as u64);
                events.was_of_use();
                put(ground, desk.app, &mut birth, &buffer, read);
            }
        }
        // There may always be more to read: the other tasks have their turn in between.
        yield_now().await;
    }
    let mut left = PAGE_BYTES;
    while left > 0 {
        match back.try_read(&mut buffer).map_err(|fault| text(&fault))? {
            0 => break,
            read => put(ground, desk.app, &mut birth, &buffer, read),
        }
        left = left.saturating_sub(READ_BYTES);
    }
    Ok(())
}

fn put<S: System>(
    ground: &Ground<S>,
    app: AppId,
    birth: &mut Option<Birth>,
    buffer: &[u8; READ_BYTES],
    count: usize,
) {
    if let Some(birth) = birth.take() {
        birth.tell(ground.now(), "first-byte");
    }
    let bytes = buffer.get(..count).unwrap_or(buffer);
    ground.tell(|outbox| outbox.push_console(app, bytes));
}
