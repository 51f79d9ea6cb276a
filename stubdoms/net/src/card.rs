//! The network card: found in the wiring, and told to reset.
//!
//! Which model it is stands in the wiring, and matters here only.

use alloc::boxed::Box;
use core::fmt;

use board_support_drv::{
    dma::{Granted, Translated},
    mmio::{Window, WindowTooShort},
    nic::{StartError, e1000e},
    virtio,
};
use board_support_hyp::Xen;
use board_support_rt::Domain;
use proto_errors::{Code, Coded, net as code};
use proto_manifest::{
    table::DeviceKind,
    wiring::{DeviceGrant, Wiring},
};
use proto_xen::{DomId, Gref};
use stubdoms_net_shell::{
    card::{Down, Found, Interrupts},
    node::UPLINK,
};
use stubdoms_service::registers::Registers;

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
    Registers::of(device).ok_or(NoCard::Window)
}

/// Behind the IOMMU: the card uses memory of ours.
fn e1000e(device: &DeviceGrant) -> Result<Down, NoCard> {
    let window = Window::<_, e1000e::Registers>::new(registers(device)?).map_err(NoCard::TooShort)?;
    let card = e1000e::Stopped::new(window, &Translated(Domain));
    Ok(Box::new(card.map_err(|error| NoCard::Start(StartError::E1000e(error)))?))
}

/// Without an IOMMU: the card uses memory of dom0's, which outlives us.
fn virtio(device: &DeviceGrant) -> Result<Down, NoCard> {
    type Block = virtio::mmio::Registers<virtio::net::Config>;
    let window = Window::<_, Block>::new(registers(device)?).map_err(NoCard::TooShort)?;
    let pool = device.pool.ok_or(NoCard::NoPool)?;
    let pages = Granted::new(Xen, DomId(pool.owner), Gref(pool.first_gref), pool.pages);
    log::warn!("uplink {UPLINK}: no IOMMU: DMA of the card is not confined [{}]", code::UNCONFINED);
    let card = virtio::net::Stopped::new(window, &pages);
    Ok(Box::new(card.map_err(|error| NoCard::Start(StartError::Virtio(error)))?))
}
