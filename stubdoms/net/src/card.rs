//! The network card: found in the wiring, brought up, served, and reset when it does what it must not.

use core::{fmt, future::pending, sync::atomic::AtomicU32, time::Duration};

use board_support_drv::{
    mmio::{DeviceWords, Window, WindowTooShort},
    nic::e1000e::{E1000e, Fault, RESET_TIME, Registers, StartError, Stopped, VECTORS},
};
use board_support_rt::{
    Domain, irq,
    memory::{DeviceMemory, device_memory},
    timer,
};
use embassy_futures::{
    select::{Either4, select4},
    yield_now,
};
use proto_manifest::{table::DeviceKind, wiring::Wiring};
use proto_xen::Gaddr;

use crate::node::{Node, Pass, UPLINK};

/// A running card.
pub(crate) type Card = E1000e<Window<Bar, Registers>, Domain>;

/// A card that is about to run.
type Down = Stopped<Window<Bar, Registers>, Domain>;

/// How long frames may stay in the card while somebody waits for room.
const STUCK: Duration = Duration::from_secs(5);

/// The first and the longest time between two resets that follow each other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A card that ran this long without a fault gets the first time again.
const STEADY: Duration = Duration::from_secs(60);

/// The card's BAR 0.
pub(crate) struct Bar(DeviceMemory);

impl DeviceWords for Bar {
    fn words(&self) -> &[AtomicU32] {
        self.0.words()
    }
}

/// Why there is no card to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCard {
    NotWired,
    Vectors(usize),
    Window,
    TooShort(WindowTooShort),
    Start(StartError),
}

impl fmt::Display for NoCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWired => write!(f, "the wiring has no network card"),
            Self::Vectors(have) => write!(f, "the wiring has {have} vectors, the card needs {VECTORS}"),
            Self::Window => write!(f, "its registers cannot be mapped"),
            Self::TooShort(error) => write!(f, "{error}"),
            Self::Start(error) => write!(f, "{error}"),
        }
    }
}

/// What made a running card stop.
enum Trouble {
    Fault(Fault),
    Stuck,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Stuck => write!(f, "it has sent nothing for {} s", STUCK.as_secs()),
        }
    }
}

/// Vectors for receive, transmit, everything else.
pub(crate) type Vectors = [u32; VECTORS];

/// A card that was told to reset.
pub(crate) struct Found {
    card: Down,
    vectors: Vectors,
}

/// Finds the card in the wiring, takes memory for it and tells it to reset.
///
/// # Errors
/// [`NoCard`]
pub(crate) fn find(wiring: &Wiring) -> Result<Found, NoCard> {
    let mut devices = wiring.devices.iter();
    let device = devices.find(|device| device.kind == DeviceKind::E1000e).ok_or(NoCard::NotWired)?;
    let mut vectors = device.vectors.iter().map(|vector| u32::from(*vector));
    let (Some(receive), Some(transmit), Some(other)) = (vectors.next(), vectors.next(), vectors.next())
    else {
        return Err(NoCard::Vectors(device.vectors.len()));
    };
    let registers = device.mmio.iter().find(|window| window.bar == 0 && window.offset == 0);
    let registers = registers.and_then(|window| device_memory(Gaddr(window.gaddr), window.len));
    let window = Window::new(Bar(registers.ok_or(NoCard::Window)?)).map_err(NoCard::TooShort)?;
    let card = Stopped::new(window, &Domain).map_err(NoCard::Start)?;
    Ok(Found { card, vectors: [receive, transmit, other] })
}

impl Found {
    /// Starts the card, however long it takes.
    pub(crate) async fn bring_up(self) -> (Card, Vectors) {
        (start(self.card, BACK_OFF.0).await, self.vectors)
    }
}

/// Starts a card that was told to reset. One that does not is reset again, ever more rarely.
async fn start(mut card: Down, mut wait: Duration) -> Card {
    timer::sleep(RESET_TIME).await;
    loop {
        match card.start() {
            Ok(card) => return card,
            Err((error, down)) => {
                log::error!("uplink {UPLINK}: card does not start: {error}");
                timer::sleep(wait).await;
                wait = (wait * 2).min(BACK_OFF.1);
                card = down.again();
            }
        }
        timer::sleep(RESET_TIME).await;
    }
}

/// Serves the card for ever.
pub(crate) async fn run(node: &'static Node, vectors: Vectors) {
    let mut wait = BACK_OFF.0;
    loop {
        let since = timer::now();
        let trouble = serve(node, vectors).await;
        log::error!("uplink {UPLINK}: card is reset: {trouble}");
        let Some(card) = node.detach() else {
            // Only this task takes it.
            return pending().await;
        };
        wait = if timer::now() >= since + STEADY { BACK_OFF.0 } else { (wait * 2).min(BACK_OFF.1) };
        let down = card.stop();
        timer::sleep(wait).await;
        node.attach(start(down, wait).await);
    }
}

/// Serves the card until it is of no use any more.
async fn serve(node: &Node, [receive, transmit, other]: Vectors) -> Trouble {
    if let Err(fault) = node.look_at_link() {
        return Trouble::Fault(fault);
    }
    loop {
        match node.receive() {
            Ok(Pass::Empty | Pass::NoRoom) => {}
            Ok(Pass::More) => {
                yield_now().await;
                continue;
            }
            Err(fault) => return Trouble::Fault(fault),
        }
        // Receiving last: it is what can keep us busy.
        let work =
            select4(irq::wait(other), irq::wait(transmit), node.room_wanted.wait(), irq::wait(receive));
        let woken = if node.waits_for_card() {
            match timer::with_timeout(STUCK, work).await {
                Ok(woken) => woken,
                Err(timer::Elapsed) => return Trouble::Stuck,
            }
        } else {
            work.await
        };
        match woken {
            Either4::First(()) => match node.look_at_link() {
                Ok(Some(link)) => log::debug!("uplink {UPLINK}: {link}"),
                Ok(None) => {}
                Err(fault) => return Trouble::Fault(fault),
            },
            Either4::Second(()) => node.has_transmitted(),
            // The time-out above is what was wanted.
            Either4::Third(()) => {}
            Either4::Fourth(()) => node.acknowledge_receive(),
        }
    }
}
