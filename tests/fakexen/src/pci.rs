//! A network card as dom0 sees it: configuration space, one register, and the rules that Xen and the hardware
//! have for its owner and its interrupts.
//!
//! It is an 82574L (`e1000e`): 128 KiB of registers in BAR 0, five MSI-X entries in BAR 3. It has function-level
//! reset only after [`World::give_flr`].

use std::collections::BTreeMap;

use board_support_hyp::Physdev;
use proto_xen::{DomId, Errno, Maddr, Pirq, Sbdf};

use crate::{
    fault::Call,
    world::{Domain, State, World},
};

/// Where the card is.
pub const AT: Sbdf = Sbdf::new(0, 3, 0);
/// Address of the BAR with the registers.
pub const REGISTERS: u64 = 0xfeb8_0000;
/// Address of the BAR with the MSI-X table.
pub const TABLE_BAR: u64 = 0xfebe_0000;
/// What is below is memory.
pub const END_OF_MEMORY: u64 = 0xc000_0000;
/// Entries of the MSI-X table.
pub const ENTRIES: u16 = 5;

/// The most pirqs of a domain by default.
const MAX_PIRQS: usize = 32;

const BARS: [(u32, u32); 6] = [
    (REGISTERS as u32, 0xfffe_0000),
    (0xfeba_0000, 0xfffe_0000),
    (0x0000_c001, 0xffff_ffe1),
    (TABLE_BAR as u32, 0xffff_c000),
    (0, 0),
    (0, 0),
];
const EXPRESS: u16 = 0xe0;
/// Device control, in the PCI Express capability: packets of 256 bytes, as firmware has set it, and what a reset
/// leaves.
const CONTROL: u16 = EXPRESS + 8;
const FIRMWARE_CONTROL: u16 = 0x2830;
const RESET_CONTROL: u16 = 0x2810;
const MSIX: u16 = 0xa0;
const COMMAND: u16 = 4;
const MEMORY: u16 = 2;
const BUS_MASTER: u16 = 4;
const ENABLE: u16 = 0x8000;
const MASK_ALL: u16 = 0x4000;

/// Who has the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// dom0, as at power-on.
    Dom0,
    /// Nobody: it was taken from a domain.
    Quarantine,
    /// This domain.
    Domain(DomId),
}

impl Owner {
    fn of(domain: DomId) -> Self {
        if domain == DomId::DOM0 { Self::Dom0 } else { Self::Domain(domain) }
    }
}

/// The card.
#[derive(Debug)]
pub(crate) struct Pci {
    config: [u8; 256],
    owner: Owner,
    held: bool,
    /// By domain and pirq: the entry, and the vector it is bound to.
    pirqs: BTreeMap<(DomId, u32), (u16, Option<u8>)>,
    next_pirq: u32,
    /// Nothing of the last owner runs on.
    quiet: bool,
    /// Reads that are answered with ones: it is being reset.
    away: u32,
    /// As many reads a reset takes.
    reset_takes: u32,
}

impl Pci {
    pub(crate) fn new() -> Self {
        let mut card = Self {
            config: [0; 256],
            owner: Owner::Dom0,
            held: false,
            pirqs: BTreeMap::new(),
            next_pirq: 100,
            quiet: false,
            away: 0,
            reset_takes: 3,
        };
        card.put(0x00, &0x10d3_8086u32.to_le_bytes());
        card.put(0x06, &0x0010u16.to_le_bytes());
        card.put(0x08, &0x0200_0000u32.to_le_bytes());
        for (number, (address, _)) in BARS.iter().enumerate() {
            card.put(0x10 + 4 * number as u16, &address.to_le_bytes());
        }
        card.put(0x34, &[0xc8]);
        // Power management, then PCI Express without FLR, then MSI-X with 5 entries in BAR 3.
        card.put(0xc8, &[0x01, 0xe0]);
        card.put(EXPRESS, &[0x10, MSIX as u8]);
        card.put(CONTROL, &FIRMWARE_CONTROL.to_le_bytes());
        card.put(MSIX, &[0x11, 0x00, (ENTRIES - 1) as u8, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
        card
    }

    fn put(&mut self, offset: u16, bytes: &[u8]) {
        self.config[usize::from(offset)..][..bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self, offset: u16) -> u16 {
        u16::from_le_bytes([self.config[usize::from(offset)], self.config[usize::from(offset) + 1]])
    }

    fn has_flr(&self) -> bool {
        self.word(EXPRESS + 6) & 1 << 12 != 0
    }

    fn command(&self) -> u16 {
        self.word(COMMAND)
    }

    fn control(&self) -> u16 {
        self.word(MSIX + 2)
    }

    /// Pirqs of domains. Those of dom0 are its hold, which it keeps.
    pub(crate) fn pirqs(&self) -> Vec<(DomId, u32)> {
        self.pirqs.keys().copied().filter(|(domain, _)| *domain != DomId::DOM0).collect()
    }

    pub(crate) fn owners(&self) -> Vec<(Sbdf, Option<DomId>, bool)> {
        let owner = match self.owner {
            Owner::Domain(domain) => Some(domain),
            Owner::Dom0 | Owner::Quarantine => None,
        };
        let active = self.command() & BUS_MASTER != 0 || self.control() & (ENABLE | MASK_ALL) != 0;
        vec![(AT, owner, active)]
    }

    pub(crate) fn assert_nothing_of(&self, domain: DomId) {
        assert_ne!(self.owner, Owner::Domain(domain), "{domain} is destroyed before its device is taken");
        let left = self.pirqs.keys().filter(|(of, _)| *of == domain).count();
        assert_eq!(left, 0, "vectors of {domain}, destroyed, are mapped: the next owner gets no interrupts");
    }

    pub(crate) fn assert_no_table_in(&self, first: u64, count: u64) {
        let table = TABLE_BAR >> 12;
        assert!(!(first..first + count).contains(&table), "the MSI-X table is mapped into a domain");
    }

    pub(crate) fn assign(&mut self, at: Sbdf, domain: DomId) -> Result<(), Errno> {
        if at != AT {
            return Err(Errno::ENODEV);
        }
        if matches!(self.owner, Owner::Domain(_)) || self.control() & MASK_ALL != 0 {
            return Err(Errno::EBUSY);
        }
        assert_eq!(self.command() & BUS_MASTER, 0, "DMA of the last owner reaches {domain}");
        assert!(self.quiet, "the card was not reset before {domain} gets it");
        self.owner = Owner::Domain(domain);
        self.quiet = false;
        Ok(())
    }

    pub(crate) fn deassign(&mut self, at: Sbdf, domain: DomId) -> Result<(), Errno> {
        if at != AT || self.owner != Owner::Domain(domain) {
            return Err(Errno::ENODEV);
        }
        assert_eq!(self.command() & BUS_MASTER, 0, "taken from {domain} while it does DMA");
        assert_eq!(self.command() & MEMORY, MEMORY, "taken back with memory decode off");
        assert_eq!(self.control() & ENABLE, 0, "taken from {domain} while it raises interrupts");
        let left = self.pirqs.keys().filter(|(of, _)| *of == domain).count();
        assert_eq!(left, 0, "taken from {domain} with vectors mapped");
        self.owner = Owner::Quarantine;
        Ok(())
    }

    pub(crate) fn release(&mut self, at: Sbdf) -> Result<(), Errno> {
        if at != AT || self.owner != Owner::Quarantine {
            return Err(Errno::ENODEV);
        }
        self.owner = Owner::Dom0;
        Ok(())
    }

    fn map(&mut self, domain: DomId, at: Sbdf, entry: u16, table_base: u64) -> Result<Pirq, Errno> {
        if at != AT {
            return Err(Errno::ENODEV);
        }
        assert_eq!(table_base, TABLE_BAR, "not the BAR of the table");
        if entry >= ENTRIES {
            return Err(Errno::EINVAL);
        }
        if self.command() & MEMORY == 0 {
            return Err(Errno::ENXIO);
        }
        if self.owner != Owner::of(domain) {
            return Err(Errno::ENODEV);
        }
        if domain == DomId::DOM0 {
            self.held = true;
        } else if !self.held {
            return Err(Errno::ENODATA);
        }
        if self.pirqs.keys().filter(|(of, _)| *of == domain).count() >= MAX_PIRQS {
            return Err(Errno::ENOSPC);
        }
        let pirq = self.next_pirq;
        self.next_pirq += 1;
        self.pirqs.insert((domain, pirq), (entry, None));
        Ok(Pirq(pirq))
    }

    fn unmap(&mut self, domain: DomId, pirq: Pirq) -> Result<(), Errno> {
        assert_ne!(self.command() & MEMORY, 0, "unmapped with memory decode off: the table stays masked");
        let (_, bound) = self.pirqs.remove(&(domain, pirq.0)).ok_or(Errno::EINVAL)?;
        assert_eq!(bound, None, "unmapped while bound");
        Ok(())
    }

    pub(crate) fn bind(&mut self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        let slot = self.pirqs.get_mut(&(domain, pirq.0)).ok_or(Errno::EINVAL)?;
        assert!(vector >= 0x10, "a vector of the processor's own exceptions");
        assert_eq!(slot.1.replace(vector), None, "bound twice");
        Ok(())
    }

    /// Who has an entry of the MSI-X table bound, and to which vector.
    pub(crate) fn bound(&self, entry: u16) -> Option<(DomId, u8)> {
        let mut pirqs = self.pirqs.iter();
        pirqs.find_map(|(&(id, _), &(of, vector))| vector.filter(|_| of == entry).map(|vector| (id, vector)))
    }

    pub(crate) fn unbind(&mut self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        let slot = self.pirqs.get_mut(&(domain, pirq.0)).ok_or(Errno::EINVAL)?;
        assert_eq!(slot.1.take(), Some(vector), "unbound from another vector");
        Ok(())
    }

    /// Function-level reset: it is away for a while, and forgets its BARs, its command and what it did.
    fn start_flr(&mut self) {
        let decoded = self.command() & MEMORY != 0;
        assert!(!decoded, "reset with memory decode on: Xen drops the addresses that are put back");
        self.away = self.reset_takes;
        self.quiet = true;
        self.put(COMMAND, &[0, 0]);
        self.put(MSIX + 2, &(ENTRIES - 1).to_le_bytes());
        self.put(CONTROL, &RESET_CONTROL.to_le_bytes());
        for (number, (address, mask)) in BARS.iter().enumerate() {
            self.put(0x10 + 4 * number as u16, &(address & !mask & 0xf).to_le_bytes());
        }
    }

    fn write_bar(&mut self, number: usize, value: u32) {
        assert_eq!(self.command() & 3, 0, "a BAR is written while the card decodes it");
        let (address, mask) = BARS[number];
        let stored = value & mask | address & !mask & 0xf;
        self.put(0x10 + 4 * number as u16, &stored.to_le_bytes());
    }
}

impl Physdev for Domain {
    fn map_msix(&self, domain: DomId, device: Sbdf, entry: u16, table_base: u64) -> Result<Pirq, Errno> {
        let text = || format!("map_msix {domain} {device} entry {entry} table {table_base:#x}");
        let mut state = self.privileged(Call::MapPirq, text)?;
        let domain = self.resolve(domain);
        state.domain_mut(domain)?;
        state.pci.map(domain, device, entry, table_base)
    }

    fn unmap_pirq(&self, domain: DomId, pirq: Pirq) -> Result<(), Errno> {
        let text = || format!("unmap_pirq {domain} {}", pirq.0);
        let mut state = self.privileged(Call::UnmapPirq, text)?;
        let domain = self.resolve(domain);
        state.pci.unmap(domain, pirq)
    }
}

/// Configuration space and registers, which only dom0 reaches.
impl World {
    /// Reads the aligned 32-bit word at `offset`; ones where there is no function.
    ///
    /// # Panics
    /// If it is not aligned.
    #[must_use]
    pub fn config_read32(&self, function: Sbdf, offset: u16) -> u32 {
        assert_eq!(offset % 4, 0, "an unaligned read");
        if function != AT {
            return u32::MAX;
        }
        let card = &mut self.state_mut().pci;
        if card.away > 0 {
            card.away -= 1;
            return u32::MAX;
        }
        u32::from(card.word(offset)) | u32::from(card.word(offset + 2)) << 16
    }

    /// Writes the aligned 16-bit word at `offset`.
    ///
    /// # Panics
    /// If it is not aligned, if there is no such function, or if it lets the card do DMA for nobody.
    pub fn config_write16(&self, function: Sbdf, offset: u16, value: u16) {
        assert_eq!((function, offset % 2), (AT, 0), "an unaligned write, or one to nobody");
        let State { pci, record, .. } = &mut *self.state_mut();
        if pci.away > 0 {
            // Nobody is there who takes it.
            return;
        }
        let before = pci.word(offset);
        if offset == COMMAND && value != before {
            record.note(|| format!("command {value:#06x}"));
            let owned = matches!(pci.owner, Owner::Domain(_));
            assert!(value & BUS_MASTER == 0 || owned, "bus mastering for nobody");
        }
        if offset == MSIX + 2 && value != before {
            record.note(|| format!("msix {value:#06x}"));
        }
        pci.put(offset, &value.to_le_bytes());
        if offset == CONTROL {
            // The bit that starts a reset reads as zero.
            pci.put(offset, &(value & !(1 << 15)).to_le_bytes());
            if value & 1 << 15 != 0 && pci.has_flr() {
                record.note(|| "flr".into());
                pci.start_flr();
            }
        }
    }

    /// Writes the aligned 32-bit word at `offset`.
    ///
    /// # Panics
    /// If it is not aligned, if there is no such function, or if it is a BAR that the card decodes.
    pub fn config_write32(&self, function: Sbdf, offset: u16, value: u32) {
        assert_eq!((function, offset % 4), (AT, 0), "an unaligned write, or one to nobody");
        let card = &mut self.state_mut().pci;
        match offset {
            _ if card.away > 0 => {}
            0x10..0x28 => card.write_bar(usize::from(offset - 0x10) / 4, value),
            _ => card.put(offset, &value.to_le_bytes()),
        }
    }

    /// Reads a 32-bit register of the card.
    ///
    /// # Panics
    /// If the card does not decode its registers.
    #[must_use]
    pub fn register_read(&self, at: Maddr) -> u32 {
        let card = &self.state().pci;
        assert_ne!(card.command() & MEMORY, 0, "a register is read that is not decoded");
        if at.0 == REGISTERS { 0x0014_0240 } else { u32::MAX }
    }

    /// Writes a 32-bit register of the card.
    ///
    /// # Panics
    /// If a domain has the card.
    pub fn register_write(&self, at: Maddr, value: u32) {
        let State { pci, record, .. } = &mut *self.state_mut();
        assert!(!matches!(pci.owner, Owner::Domain(_)), "a register of a domain's card is written");
        if at.0 == REGISTERS && value & 1 << 26 != 0 {
            record.note(|| "reset".into());
            pci.quiet = true;
        }
    }

    /// Whether an address lies above the machine's memory.
    #[must_use]
    pub fn is_above_memory(&self, at: Maddr) -> bool {
        at.0 >= END_OF_MEMORY
    }

    /// Who has the card.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.state().pci.owner
    }

    /// The card's configuration space.
    #[must_use]
    pub fn config(&self) -> [u8; 256] {
        self.state().pci.config
    }

    /// Changes a byte of it that the card itself sets.
    pub fn set_config(&self, offset: u8, value: u8) {
        self.state_mut().pci.config[usize::from(offset)] = value;
    }

    /// Gives the card function-level reset.
    pub fn give_flr(&self) {
        self.state_mut().pci.put(EXPRESS + 6, &(1u16 << 12).to_le_bytes());
    }

    /// Has each function-level reset from now on take so many reads.
    pub fn slow_flr(&self, reads: u32) {
        self.state_mut().pci.reset_takes = reads;
    }

    /// Puts the card into quarantine, as an earlier owner's end does.
    pub fn quarantine(&self) {
        self.state_mut().pci.owner = Owner::Quarantine;
    }
}
