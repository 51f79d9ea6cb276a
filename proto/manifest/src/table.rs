//! The compiled table: every domain of the image, its limits, its channels, its devices.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::{
    name::{self, Name},
    stamp::{Contradiction, RecordError, Stamp},
};

/// The stamp of a table.
pub const STAMP: Stamp = Stamp { magic: *b"SaTa", version: 4 };

/// Room that every table fits into, in bytes.
pub const MAX_BYTES: usize = 4096;

/// The most service domains.
pub const MAX_DOMAINS: usize = 8;

/// The most channels.
pub const MAX_CHANNELS: usize = 16;

/// The most devices.
pub const MAX_DEVICES: usize = 8;

/// The most bytes of a board's name.
pub const MAX_BOARD: usize = 32;

/// The most devices of one domain.
pub const MAX_DEVICES_OF_ONE: usize = 4;

/// The most channels of one domain, that to dom0 among them: what a wiring record holds.
pub const MAX_CHANNELS_OF_ONE: usize = 8;

/// The most BARs of a device that are mapped.
pub const MAX_BARS: usize = 4;

/// The most MSI-X vectors of a device.
pub const MAX_VECTORS: u8 = 8;

/// The name of the channel that every service has to dom0, without it being listed.
pub const DOM0_CHANNEL: &str = "dom0";

/// What the TOML files of a board say, checked and compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The board's name.
    pub board: heapless::String<MAX_BOARD>,
    /// Service domains, in the order in which they are built.
    pub domains: Vec<Domain, MAX_DOMAINS>,
    /// Channels beside the one called [`DOM0_CHANNEL`].
    pub channels: Vec<Channel, MAX_CHANNELS>,
    /// Devices that are handed to service domains.
    pub devices: Vec<Device, MAX_DEVICES>,
    /// What all applications together may have.
    pub applications: Applications,
}

/// One service domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: Name,
    /// Its image: `images/IMAGE` in the archive.
    pub image: Name,
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
    /// Memory in MiB, at most [`Domain::MAX_MEMORY_MIB`].
    pub memory_mib: u32,
    /// Number of vCPUs; always 1 today.
    pub vcpus: u8,
    /// The CPUs that these run on, a bit each; all if there is none.
    pub cpus: u64,
    /// The most that its heap may take, in KiB.
    pub heap_kib: u32,
    /// Whether it gets the provisioning files as its second module.
    pub provisioning: bool,
    /// Whether the machine is reset when it is given up.
    pub vital: bool,
    /// Indices into [`Table::devices`].
    pub devices: Vec<u8, MAX_DEVICES_OF_ONE>,
}

/// A connection between two parties: one shared page and one event channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name, the same on both sides.
    pub name: Name,
    /// Index of the domain whose page is shared.
    pub offers: u8,
    /// Who maps the page.
    pub accepts: Party,
}

/// Who accepts a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Party {
    /// dom0, by foreign mapping.
    Dom0,
    /// A service domain, by grant; an index into [`Table::domains`].
    Domain(u8),
}

/// A device, how to find it and what of it is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: Name,
    /// Which driver it wants.
    pub kind: DeviceKind,
    /// Where it is.
    pub bus: Bus,
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bus {
    /// A PCI function behind the IOMMU.
    Pci(Pci),
    /// A virtio transport in memory, without an IOMMU.
    VirtioMmio(VirtioMmio),
    /// A page of registers that no bus tells of, of a device without interrupts and DMA.
    Registers(Registers),
}

/// A PCI function, how to find it and what of it is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pci {
    /// How dom0 finds it.
    pub select: PciSelect,
    /// The BARs that are mapped.
    pub bars: Vec<u8, MAX_BARS>,
    /// How many MSI-X vectors are bound, from entry 0 on.
    pub vectors: u8,
}

/// A virtio transport of QEMU's `virt` machine. All DMA of the device goes to pages of a pool, which
/// its driver is told; nothing but the driver keeps the device within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioMmio {
    /// Which, below [`VirtioMmio::TRANSPORTS`]. Eight share a page, which goes to one domain.
    pub transport: u8,
    /// Pages of the pool.
    pub pool_pages: u16,
}

/// A page of registers at a fixed address of the machine. Which interface it has is what the firmware says of it:
/// the kind in the table is what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Machine address of the page.
    pub address: u64,
    /// Whether a machine without it is right: its domain is then built without the device.
    pub optional: bool,
}

/// Which driver a device wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Intel 82574L, as QEMU's `e1000e`.
    E1000e,
    /// A network card of the virtio family, on a transport in memory.
    VirtioNet,
    /// A TPM 2.0 with the command response buffer interface; its locality 0.
    TpmCrb,
    /// A TPM 2.0 with the FIFO interface (TIS); its locality 0.
    TpmTis,
    /// A disk that speaks NVM Express.
    Nvme,
    /// A disk of the virtio family, on a transport in memory.
    VirtioBlk,
}

/// How a PCI function is found. All that is given must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciSelect {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class code: class, subclass, interface in the low 24 bits.
    pub class: Option<u32>,
    /// How many matching functions are passed over, in the order of their addresses.
    pub skip: u8,
}

/// What all applications together may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applications {
    /// Memory of all of them, in MiB.
    pub memory_mib: u32,
    /// The most that run at once.
    pub count: u8,
    /// The most vCPUs of one.
    pub vcpus: u8,
    /// The CPUs that these run on, a bit each; all if there is none.
    pub cpus: u64,
    /// The largest image, in KiB. dom0 holds it while it is received.
    pub image_kib: u32,
}

impl VirtioMmio {
    /// Transports that the machine has.
    pub const TRANSPORTS: u8 = 32;
    /// Bytes of its registers.
    pub const REGISTERS_BYTES: u64 = 0x200;
    /// Transports whose registers share a page.
    pub const A_PAGE: u8 = 8;
    /// The most pages of a pool: 4 MiB.
    pub const MAX_POOL_PAGES: u16 = 1024;

    /// Machine address of its registers. Source: QEMU, `hw/arm/virt.c`, `VIRT_MMIO`.
    #[must_use]
    pub fn address(&self) -> u64 {
        0x0a00_0000 + u64::from(self.transport) * Self::REGISTERS_BYTES
    }

    /// Its interrupt: the INTID of an SPI, edge-triggered. Source: as above, with SPIs from 32 on.
    #[must_use]
    pub fn interrupt(&self) -> u16 {
        48 + u16::from(self.transport)
    }
}

impl Registers {
    /// Machine addresses end here.
    pub const MAX_ADDRESS: u64 = 1 << 52;
    /// Bytes that are handed out.
    pub const BYTES: u64 = 4096;

    /// Whether the address is one of a page.
    #[must_use]
    pub fn is_page(&self) -> bool {
        (1..Self::MAX_ADDRESS).contains(&self.address) && self.address.is_multiple_of(Self::BYTES)
    }
}

impl Bus {
    /// The machine's page of registers that is handed out as a whole; none for PCI, where BARs tell.
    #[must_use]
    pub fn register_page(&self) -> Option<u64> {
        match self {
            Self::Pci(_) => None,
            Self::VirtioMmio(mmio) => Some(mmio.address() / Registers::BYTES),
            Self::Registers(registers) => Some(registers.address / Registers::BYTES),
        }
    }
}

impl Domain {
    /// The most memory that a domain may have, in MiB: all of it lies below the device window.
    pub const MAX_MEMORY_MIB: u32 = 2048;
    /// The least memory that a domain may have, in MiB: one extent of order 9.
    pub const MIN_MEMORY_MIB: u32 = 2;
}

impl Table {
    /// Writes the table into `out` and returns the bytes used. [`MAX_BYTES`] are always enough.
    ///
    /// # Errors
    /// [`RecordError::NoRoom`] if `out` is too small, [`RecordError::Inconsistent`] for a table
    /// that [`Table::decode`] would refuse.
    pub fn encode<'a>(&self, out: &'a mut [u8]) -> Result<&'a mut [u8], RecordError> {
        self.check().map_err(RecordError::Inconsistent)?;
        STAMP.encode(self, out)
    }

    /// Reads a table and checks it.
    ///
    /// # Errors
    /// As [`Stamp::decode`]; [`RecordError::Inconsistent`] with the first contradiction.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let table: Self = STAMP.decode(bytes)?;
        table.check().map_err(RecordError::Inconsistent)?;
        Ok(table)
    }

    /// The devices of `domain`, in its order.
    pub fn devices_of<'a>(&'a self, domain: &'a Domain) -> impl Iterator<Item = &'a Device> {
        domain.devices.iter().filter_map(|&index| self.devices.get(usize::from(index)))
    }

    /// The channels in which the domain with this index takes part.
    pub fn channels_of(&self, index: usize) -> impl Iterator<Item = &Channel> + Clone {
        self.channels.iter().filter(move |channel| {
            usize::from(channel.offers) == index
                || matches!(channel.accepts, Party::Domain(peer) if usize::from(peer) == index)
        })
    }

    fn check(&self) -> Result<(), Contradiction> {
        // It is written to the console.
        if !self.board.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Contradiction::Name);
        }
        unique(self.domains.iter().map(|domain| &domain.name))?;
        unique(self.devices.iter().map(|device| &device.name))?;
        self.domains.iter().try_for_each(check_domain)?;
        self.devices.iter().try_for_each(check_device)?;
        check_register_pages(&self.devices)?;
        self.check_channels()?;
        self.check_device_uses()
    }

    fn check_channels(&self) -> Result<(), Contradiction> {
        for channel in &self.channels {
            let accepts_exists = match channel.accepts {
                Party::Dom0 => true,
                Party::Domain(index) => index != channel.offers && usize::from(index) < self.domains.len(),
            };
            if !accepts_exists || usize::from(channel.offers) >= self.domains.len() {
                return Err(Contradiction::Dangling);
            }
            if channel.name == DOM0_CHANNEL {
                return Err(Contradiction::Duplicate);
            }
        }
        for index in 0..self.domains.len() {
            unique(self.channels_of(index).map(|channel| &channel.name))?;
            // One more is the channel to dom0.
            if self.channels_of(index).count() >= MAX_CHANNELS_OF_ONE {
                return Err(Contradiction::Range);
            }
        }
        let to_dom0 = self.channels.iter().filter(|channel| channel.accepts == Party::Dom0);
        unique(to_dom0.map(|channel| &channel.name))
    }

    fn check_device_uses(&self) -> Result<(), Contradiction> {
        let mut used = [false; MAX_DEVICES];
        for &index in self.domains.iter().flat_map(|domain| &domain.devices) {
            if usize::from(index) >= self.devices.len() {
                return Err(Contradiction::Dangling);
            }
            let used = used.get_mut(usize::from(index)).ok_or(Contradiction::Dangling)?;
            if core::mem::replace(used, true) {
                return Err(Contradiction::DeviceTwice);
            }
        }
        Ok(())
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a Name> + Clone) -> Result<(), Contradiction> {
    let mut rest = names;
    while let Some(name) = rest.next() {
        if !name::is_valid(name) {
            return Err(Contradiction::Name);
        }
        if rest.clone().any(|other| other == name) {
            return Err(Contradiction::Duplicate);
        }
    }
    Ok(())
}

fn check_domain(domain: &Domain) -> Result<(), Contradiction> {
    let memory = Domain::MIN_MEMORY_MIB..=Domain::MAX_MEMORY_MIB;
    let heap_fits = u64::from(domain.heap_kib) < u64::from(domain.memory_mib) * 1024;
    let names = [&domain.name, &domain.image];
    if !name::is_valid(&domain.image) || names.into_iter().any(|name| name::is_reserved(name)) {
        return Err(Contradiction::Name);
    }
    if domain.vcpus != 1 || !memory.contains(&domain.memory_mib) || !heap_fits {
        return Err(Contradiction::Range);
    }
    Ok(())
}

fn check_device(device: &Device) -> Result<(), Contradiction> {
    let fits = match (device.kind, &device.bus) {
        (DeviceKind::E1000e | DeviceKind::Nvme, Bus::Pci(pci)) => {
            let class_fits = pci.select.class.is_none_or(|class| class >> 24 == 0);
            pci.bars.iter().all(|&bar| bar < 6) && pci.vectors <= MAX_VECTORS && class_fits
        }
        (DeviceKind::VirtioNet | DeviceKind::VirtioBlk, Bus::VirtioMmio(mmio)) => {
            let pool = 1..=VirtioMmio::MAX_POOL_PAGES;
            mmio.transport < VirtioMmio::TRANSPORTS && pool.contains(&mmio.pool_pages)
        }
        (DeviceKind::TpmCrb | DeviceKind::TpmTis, Bus::Registers(registers)) => registers.is_page(),
        // A driver on a bus that it does not know.
        _ => false,
    };
    if fits { Ok(()) } else { Err(Contradiction::Range) }
}

/// Registers are handed out by the page: two devices in one page would be each other's.
fn check_register_pages(devices: &[Device]) -> Result<(), Contradiction> {
    let mut rest = devices.iter().filter_map(|device| device.bus.register_page());
    while let Some(taken) = rest.next() {
        if rest.clone().any(|other| other == taken) {
            return Err(Contradiction::DeviceTwice);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
