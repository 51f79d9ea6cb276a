//! The disk of the wiring: found, brought up, and used without knowing its kind.

use core::{fmt, time::Duration};

use board_support_drv::{
    block::{
        BlockDevice, Counts, Error, Geometry, Identity,
        wait::{Waits, Woken},
    },
    dma::{Granted, Translated},
    mmio::{Window, WindowTooShort},
    nvme,
    virtio::{self, blk},
};
use board_support_hyp::Xen;
use board_support_rt::{
    Domain, irq,
    timer::{Instant, now, sleep_until, with_deadline},
};
use proto_manifest::{
    table::DeviceKind,
    wiring::{DeviceGrant, Wiring},
};
use proto_xen::{DomId, Gref};

use crate::registers::Registers;

type NvmeBus = Window<Registers, nvme::regs::Registers>;
type Own = Translated<Domain>;
type VirtioBus = Window<Registers, virtio::mmio::Registers<blk::Config>>;
type Lent = Granted<Xen>;

/// The clock of the domain and the interrupt of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Interrupt(u32);

impl Waits for Interrupt {
    fn now(&self) -> Duration {
        Duration::from_nanos(now().as_nanos())
    }

    async fn interrupt(&self, until: Duration) -> Woken {
        match with_deadline(moment(until), irq::wait(self.0)).await {
            Ok(()) => Woken::Interrupt,
            Err(_) => Woken::Time,
        }
    }

    async fn sleep(&self, until: Duration) {
        sleep_until(moment(until)).await;
    }
}

fn moment(since_power_on: Duration) -> Instant {
    Instant::from_nanos(u64::try_from(since_power_on.as_nanos()).unwrap_or(u64::MAX))
}

/// Why there is no disk to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDisk {
    /// The wiring has none.
    NotWired,
    /// The wiring has no interrupt for it.
    Interrupt,
    /// Its registers cannot be mapped.
    Window,
    /// Its registers end too early.
    TooShort(WindowTooShort),
    /// The wiring has no memory that it may use.
    NoPool,
    /// It does not start.
    Nvme(nvme::block::StartError),
    /// It does not start.
    Virtio(blk::StartError),
}

impl fmt::Display for NoDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWired => write!(f, "the wiring has no disk"),
            Self::Interrupt => write!(f, "the wiring has no interrupt for it"),
            Self::Window => write!(f, "its registers cannot be mapped"),
            Self::TooShort(error) => write!(f, "{error}"),
            Self::NoPool => write!(f, "the wiring has no memory that it may use"),
            Self::Nvme(error) => write!(f, "{error}"),
            Self::Virtio(error) => write!(f, "{error}"),
        }
    }
}

/// A disk that was told to stop.
pub enum FoundDisk {
    /// NVM Express, behind the IOMMU: it uses memory of ours.
    Nvme(nvme::block::Stopped<NvmeBus, Own, Interrupt>),
    /// Virtio, without an IOMMU: it uses memory of dom0's, which outlives us.
    Virtio(blk::Stopped<VirtioBus, Lent, Interrupt>),
}

/// A disk that runs.
pub enum Disk {
    /// NVM Express.
    Nvme(nvme::block::Nvme<NvmeBus, Own, Interrupt>),
    /// Virtio.
    Virtio(blk::Disk<VirtioBus, Lent, Interrupt>),
}

impl FoundDisk {
    /// Finds the first disk of the wiring, takes memory for it and tells it to stop.
    ///
    /// # Errors
    /// [`NoDisk`]
    pub fn find(wiring: &Wiring) -> Result<Self, NoDisk> {
        let is_disk = |device: &&DeviceGrant| match device.kind {
            DeviceKind::Nvme | DeviceKind::VirtioBlk => true,
            DeviceKind::E1000e | DeviceKind::VirtioNet | DeviceKind::TpmCrb | DeviceKind::TpmTis => false,
        };
        let device = wiring.devices.iter().find(is_disk).ok_or(NoDisk::NotWired)?;
        let vector = device.vectors.first().ok_or(NoDisk::Interrupt)?;
        let interrupt = Interrupt((*vector).into());
        let registers = Registers::of(device).ok_or(NoDisk::Window)?;
        if device.kind == DeviceKind::Nvme {
            let window = Window::new(registers).map_err(NoDisk::TooShort)?;
            let found = nvme::block::Stopped::new(window, &Translated(Domain), interrupt);
            return found.map(Self::Nvme).map_err(NoDisk::Nvme);
        }
        let window = Window::new(registers).map_err(NoDisk::TooShort)?;
        let pool = device.pool.ok_or(NoDisk::NoPool)?;
        let pages = Granted::new(Xen, DomId(pool.owner), Gref(pool.first_gref), pool.pages);
        blk::Stopped::new(window, &pages, interrupt).map(Self::Virtio).map_err(NoDisk::Virtio)
    }

    /// Whether nothing but the driver keeps the disk within its memory, for there is no IOMMU.
    #[must_use]
    pub fn is_unconfined(&self) -> bool {
        matches!(self, Self::Virtio(_))
    }

    /// Brings it up. `within` is how long that may take.
    ///
    /// # Errors
    /// [`NoDisk`], with the disk for another attempt.
    pub async fn bring_up(self, within: Duration) -> Result<Disk, (NoDisk, Self)> {
        match self {
            Self::Nvme(stopped) => match stopped.start(within).await {
                Ok(disk) => Ok(Disk::Nvme(disk)),
                Err((error, stopped)) => Err((NoDisk::Nvme(error), Self::Nvme(stopped))),
            },
            Self::Virtio(stopped) => match stopped.start(within).await {
                Ok(disk) => Ok(Disk::Virtio(disk)),
                Err((error, stopped)) => Err((NoDisk::Virtio(error), Self::Virtio(stopped))),
            },
        }
    }
}

impl Disk {
    /// What the driver has seen since it started.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match self {
            Self::Nvme(disk) => disk.counts(),
            Self::Virtio(disk) => disk.counts(),
        }
    }
}

impl BlockDevice for Disk {
    fn identity(&self) -> &Identity {
        match self {
            Self::Nvme(disk) => disk.identity(),
            Self::Virtio(disk) => disk.identity(),
        }
    }

    fn geometry(&self) -> Geometry {
        match self {
            Self::Nvme(disk) => disk.geometry(),
            Self::Virtio(disk) => disk.geometry(),
        }
    }

    async fn read(&mut self, first: u64, into: &mut [u8], within: Duration) -> Result<(), Error> {
        match self {
            Self::Nvme(disk) => disk.read(first, into, within).await,
            Self::Virtio(disk) => disk.read(first, into, within).await,
        }
    }

    async fn write(&mut self, first: u64, from: &[u8], within: Duration) -> Result<(), Error> {
        match self {
            Self::Nvme(disk) => disk.write(first, from, within).await,
            Self::Virtio(disk) => disk.write(first, from, within).await,
        }
    }

    async fn flush(&mut self, within: Duration) -> Result<(), Error> {
        match self {
            Self::Nvme(disk) => disk.flush(within).await,
            Self::Virtio(disk) => disk.flush(within).await,
        }
    }
}
