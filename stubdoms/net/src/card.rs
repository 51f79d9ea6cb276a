//! The network card: found in the wiring, brought up, served, and reset when it does what it must not.
//!
//! Which model it is stands in the wiring, and matters in [`find`] only.

use alloc::boxed::Box;
use core::{fmt, future::pending, future::poll_fn, sync::atomic::AtomicU32, task::Poll, time::Duration};

use board_support_drv::{
    dma::{Granted, Translated},
    mmio::{DeviceWords, Window, WindowTooShort},
    nic::{Causes, Fault, Nic, StartError, Stopped, e1000e},
    virtio,
};
use board_support_hyp::Xen;
use board_support_rt::{
    Domain, irq,
    memory::{DeviceMemory, device_memory},
    timer,
};
use embassy_futures::{
    select::{Either, select},
    yield_now,
};
use heapless::Vec;
use proto_errors::{Code, Coded, net as code};
use proto_manifest::{
    table::DeviceKind,
    wiring::{DeviceGrant, MmioWindow, Wiring},
};
use proto_xen::{DomId, Gaddr, Gref, PAGE_SIZE};

use crate::node::{Node, Pass, UPLINK};

/// A running card.
pub(crate) type Card = Box<dyn Nic>;

/// A card that is about to run.
type Down = Box<dyn Stopped>;

/// The card's interrupts, in its own order.
pub(crate) type Interrupts = Vec<u32, 8>;

/// How long frames may stay in the card while somebody waits for room.
const STUCK: Duration = Duration::from_secs(5);

/// The first and the longest time between two resets that follow each other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A card that ran this long without a fault gets the first time again.
const STEADY: Duration = Duration::from_secs(60);

/// The card's registers, which need not begin a page.
struct Registers {
    pages: DeviceMemory,
    /// In words, from the first page on.
    first: usize,
    length: usize,
}

impl Registers {
    fn map(window: &MmioWindow) -> Option<Self> {
        let page = PAGE_SIZE as u64;
        let start = window.gaddr - window.gaddr % page;
        let end = window.gaddr.checked_add(window.len)?.checked_next_multiple_of(page)?;
        let pages = device_memory(Gaddr(start), end - start)?;
        let (first, length) = ((window.gaddr - start) as usize / 4, window.len as usize / 4);
        Some(Self { pages, first, length })
    }
}

impl DeviceWords for Registers {
    fn words(&self) -> &[AtomicU32] {
        // Within the pages: `map` took as many as it needs.
        &self.pages.words()[self.first..][..self.length]
    }
}

/// Why there is no card to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCard {
    NotWired,
    Interrupts { have: usize, need: usize },
    Window,
    TooShort(WindowTooShort),
    NoPool,
    Start(StartError),
}

impl fmt::Display for NoCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWired => write!(f, "the wiring has no network card"),
            Self::Interrupts { have, need } => {
                write!(f, "the wiring has {have} interrupts, the card needs {need}")
            }
            Self::Window => write!(f, "its registers cannot be mapped"),
            Self::TooShort(error) => write!(f, "{error}"),
            Self::NoPool => write!(f, "the wiring has no memory that it may use"),
            Self::Start(error) => write!(f, "{error}"),
        }
    }
}

impl Coded for NoCard {
    fn code(&self) -> Code {
        match self {
            Self::NotWired | Self::Interrupts { .. } | Self::Window | Self::TooShort(_) | Self::NoPool => {
                code::NO_CARD
            }
            Self::Start(_) => code::CARD_START,
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

/// A card that was told to reset.
pub(crate) struct Found {
    card: Down,
    interrupts: Interrupts,
}

/// Finds the card in the wiring, takes memory for it and tells it to reset.
///
/// # Errors
/// [`NoCard`]
pub(crate) fn find(wiring: &Wiring) -> Result<Found, NoCard> {
    let device = wiring.devices.first().ok_or(NoCard::NotWired)?;
    let (card, need) = match device.kind {
        DeviceKind::E1000e => (e1000e(device)?, e1000e::VECTORS),
        DeviceKind::VirtioNet => (virtio(device)?, 1),
        DeviceKind::TpmCrb | DeviceKind::TpmTis => return Err(NoCard::NotWired),
    };
    let interrupts: Interrupts = device.vectors.iter().take(need).copied().map(u32::from).collect();
    if interrupts.len() < need {
        return Err(NoCard::Interrupts { have: interrupts.len(), need });
    }
    Ok(Found { card, interrupts })
}

fn registers(device: &DeviceGrant) -> Result<Registers, NoCard> {
    let window = device.mmio.iter().find(|window| window.bar == 0 && window.offset == 0);
    window.and_then(Registers::map).ok_or(NoCard::Window)
}

/// Behind the IOMMU: the card uses memory of ours.
fn e1000e(device: &DeviceGrant) -> Result<Down, NoCard> {
    let window = Window::<_, e1000e::Registers>::new(registers(device)?).map_err(NoCard::TooShort)?;
    let card = e1000e::Stopped::new(window, &Translated(Domain));
    Ok(Box::new(card.map_err(|error| NoCard::Start(StartError::E1000e(error)))?))
}

/// Without an IOMMU: the card uses memory of dom0's, which outlives us.
fn virtio(device: &DeviceGrant) -> Result<Down, NoCard> {
    type Registers = virtio::mmio::Registers<virtio::net::Config>;
    let window = Window::<_, Registers>::new(registers(device)?).map_err(NoCard::TooShort)?;
    let pool = device.pool.ok_or(NoCard::NoPool)?;
    let pages = Granted::new(Xen, DomId(pool.owner), Gref(pool.first_gref), pool.pages);
    log::warn!("uplink {UPLINK}: no IOMMU: DMA of the card is not confined [{}]", code::UNCONFINED);
    let card = virtio::net::Stopped::new(window, &pages);
    Ok(Box::new(card.map_err(|error| NoCard::Start(StartError::Virtio(error)))?))
}

impl Found {
    /// Starts the card, however long it takes.
    pub(crate) async fn bring_up(self) -> (Card, Interrupts) {
        (start(self.card, BACK_OFF.0).await, self.interrupts)
    }
}

/// Starts a card that was told to reset. One that does not is reset again, ever more rarely.
async fn start(mut card: Down, mut wait: Duration) -> Card {
    let reset_time = card.reset_time();
    timer::sleep(reset_time).await;
    loop {
        match card.start() {
            Ok(card) => return card,
            Err((error, down)) => {
                log::error!("uplink {UPLINK}: card does not start: {error} [{}]", code::CARD_START);
                timer::sleep(wait).await;
                wait = (wait * 2).min(BACK_OFF.1);
                card = down.again();
            }
        }
        timer::sleep(reset_time).await;
    }
}

/// Serves the card for ever.
pub(crate) async fn run(node: &'static Node, interrupts: Interrupts) {
    let mut wait = BACK_OFF.0;
    for resets in 1_u32.. {
        let since = timer::now();
        let trouble = serve(node, &interrupts).await;
        log::error!(
            "uplink {UPLINK}: card is reset, {resets} times since start: {trouble} [{}]",
            code::CARD_RESET
        );
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
async fn serve(node: &Node, interrupts: &Interrupts) -> Trouble {
    match follow(node, interrupts).await {
        Ok(stuck) => stuck,
        Err(fault) => Trouble::Fault(fault),
    }
}

/// Does what the card asks for, until it has not sent anything for too long.
async fn follow(node: &Node, interrupts: &Interrupts) -> Result<Trouble, Fault> {
    for interrupt in 0..interrupts.len() {
        node.acknowledge(interrupt)?;
    }
    node.look_at_link()?;
    loop {
        match node.receive()? {
            Pass::Empty | Pass::NoRoom => {}
            Pass::More => {
                yield_now().await;
                continue;
            }
        }
        let work = select(any_of(interrupts), node.card_wanted.wait());
        let woken = if node.waits_for_card() {
            match timer::with_timeout(STUCK, work).await {
                Ok(woken) => woken,
                Err(timer::Elapsed) => return Ok(Trouble::Stuck),
            }
        } else {
            work.await
        };
        // The time-out above, or the look at what was received, is what was wanted.
        let Either::First(came) = woken else {
            continue;
        };
        let mut causes = Causes::empty();
        for interrupt in came {
            causes |= node.acknowledge(interrupt)?;
        }
        if causes.contains(Causes::SENT) {
            node.has_transmitted();
        }
        if causes.contains(Causes::LINK)
            && let Some(link) = node.look_at_link()?
        {
            log::debug!("uplink {UPLINK}: {link}");
        }
    }
}

/// Waits until some of the interrupts came, and says which.
async fn any_of(interrupts: &Interrupts) -> Vec<usize, 8> {
    poll_fn(|context| {
        let came = interrupts.iter().enumerate();
        let came = came.filter(|(_, interrupt)| irq::poll(**interrupt, context).is_ready());
        let came: Vec<usize, 8> = came.map(|(number, _)| number).collect();
        if came.is_empty() { Poll::Pending } else { Poll::Ready(came) }
    })
    .await
}
