//! The network card: found in the wiring, and told to reset.
//!
//! Which model it is stands in the wiring, and matters here only.

use alloc::boxed::Box;
use core::{fmt, sync::atomic::AtomicU32};

use board_support_drv::{
    dma::{Granted, Translated},
    mmio::{DeviceWords, Window, WindowTooShort},
    nic::{StartError, e1000e},
    virtio,
};
use board_support_hyp::Xen;
use board_support_rt::{
    Domain,
    memory::{DeviceMemory, device_memory},
};
use proto_errors::{Code, Coded, net as code};
use proto_manifest::{
    table::DeviceKind,
    wiring::{DeviceGrant, MmioWindow, Wiring},
};
use proto_xen::{DomId, Gaddr, Gref, PAGE_SIZE};
use stubdoms_net_shell::{
    card::{Down, Found, Interrupts},
    node::UPLINK,
};

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

/// Finds the card in the wiring, takes memory for it and tells it to reset.
///
/// # Errors
/// [`NoCard`]
pub(crate) fn find(wiring: &Wiring) -> Result<Found, NoCard> {
    type Open = fn(&DeviceGrant) -> Result<Down, NoCard>;
    let card = wiring.devices.iter().find_map(|device| {
        let (open, need): (Open, usize) = match device.kind {
            DeviceKind::E1000e => (e1000e, e1000e::VECTORS),
            DeviceKind::VirtioNet => (virtio, 1),
            DeviceKind::Nvme | DeviceKind::VirtioBlk | DeviceKind::TpmCrb | DeviceKind::TpmTis => {
                return None;
            }
        };
        Some((device, open, need))
    });
    let (device, open, need) = card.ok_or(NoCard::NotWired)?;
    let card = open(device)?;
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
