//! A network card: configuration space, one register, and the rules that Xen and the hardware have
//! for its interrupts.

use std::{collections::BTreeMap, format};

use proto_xen::{DomId, Errno, Maddr, Pirq, Sbdf};

use super::World;
use crate::pci::ConfigSpace;

/// Where the card is.
pub(crate) const AT: Sbdf = Sbdf::new(0, 3, 0);
/// Address of the BAR with the MSI-X table.
pub(crate) const TABLE_BAR: u64 = 0xfebe_0000;

const BARS: [(u32, u32); 6] = [
    (0xfeb8_0000, 0xfffe_0000),
    (0xfeba_0000, 0xfffe_0000),
    (0x0000_c001, 0xffff_ffe1),
    (TABLE_BAR as u32, 0xffff_c000),
    (0, 0),
    (0, 0),
];
const MSIX: u16 = 0xa0;
const COMMAND: u16 = 4;
const MEMORY: u16 = 2;
const BUS_MASTER: u16 = 4;
const ENABLE: u16 = 0x8000;
const MASK_ALL: u16 = 0x4000;

/// Who has the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Dom0,
    Quarantine,
    Domain(u16),
}

impl Owner {
    pub(super) fn of(domain: DomId) -> Self {
        if domain == DomId::SELF { Self::Dom0 } else { Self::Domain(domain.0) }
    }
}

#[derive(Debug)]
pub(crate) struct Nic {
    pub(crate) config: [u8; 256],
    pub(crate) owner: Owner,
    held: bool,
    /// By owner and pirq: the entry, and the vector it is bound to.
    pirqs: BTreeMap<(Owner, u32), (u16, Option<u8>)>,
    next_pirq: u32,
    /// Nothing of the last owner runs on.
    quiet: bool,
}

impl Nic {
    pub(super) fn new() -> Self {
        let mut nic = Self {
            config: [0; 256],
            owner: Owner::Dom0,
            held: false,
            pirqs: BTreeMap::new(),
            next_pirq: 100,
            quiet: false,
        };
        nic.put(0x00, &0x10d3_8086u32.to_le_bytes());
        nic.put(0x06, &0x0010u16.to_le_bytes());
        nic.put(0x08, &0x0200_0000u32.to_le_bytes());
        for (number, (address, _)) in BARS.iter().enumerate() {
            nic.put(0x10 + 4 * number as u16, &address.to_le_bytes());
        }
        nic.put(0x34, &[0xc8]);
        // Power management, then PCI Express without FLR, then MSI-X with 5 entries in BAR 3.
        nic.put(0xc8, &[0x01, 0xe0]);
        nic.put(0xe0, &[0x10, MSIX as u8]);
        nic.put(MSIX, &[0x11, 0x00, 4, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
        nic
    }

    fn put(&mut self, offset: u16, bytes: &[u8]) {
        self.config[usize::from(offset)..][..bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self, offset: u16) -> u16 {
        u16::from_le_bytes([self.config[usize::from(offset)], self.config[usize::from(offset) + 1]])
    }

    pub(crate) fn command(&self) -> u16 {
        self.word(COMMAND)
    }

    pub(crate) fn control(&self) -> u16 {
        self.word(MSIX + 2)
    }

    pub(super) fn assert_free(&self, what: &str) {
        assert!(!matches!(self.owner, Owner::Domain(_)), "{what}: the card is owned by {:?}", self.owner);
        let of_others = self.pirqs.keys().filter(|(owner, _)| *owner != Owner::Dom0).count();
        assert_eq!(of_others, 0, "{what}: mapped vectors");
        assert_eq!(self.command() & BUS_MASTER, 0, "{what}: bus mastering");
        assert_eq!(self.control() & (ENABLE | MASK_ALL), 0, "{what}: MSI-X");
    }

    pub(super) fn assert_not_owned_by(&self, domain: DomId) {
        let owner = Owner::Domain(domain.0);
        assert_ne!(self.owner, owner, "a domain is destroyed before its device is taken");
        let left = self.pirqs.keys().filter(|(of, _)| *of == owner).count();
        assert_eq!(left, 0, "vectors of a destroyed domain are mapped: the next owner gets no interrupts");
    }

    pub(super) fn assert_no_table_in(&self, first: u64, count: u64) {
        let table = TABLE_BAR >> 12;
        assert!(!(first..first + count).contains(&table), "the MSI-X table is mapped into a domain");
    }

    pub(super) fn assign(&mut self, domain: DomId) -> Result<(), Errno> {
        if matches!(self.owner, Owner::Domain(_)) || self.control() & MASK_ALL != 0 {
            return Err(Errno::EBUSY);
        }
        assert_eq!(self.command() & BUS_MASTER, 0, "DMA of the last owner reaches the next one");
        assert!(self.quiet, "the card was not reset");
        self.owner = Owner::Domain(domain.0);
        self.quiet = false;
        Ok(())
    }

    pub(super) fn deassign(&mut self, domain: DomId) -> Result<(), Errno> {
        assert_eq!(self.owner, Owner::Domain(domain.0));
        assert_eq!(self.command() & (MEMORY | BUS_MASTER), MEMORY);
        assert_eq!(self.control() & ENABLE, 0);
        self.assert_no_pirqs_of(self.owner);
        self.owner = Owner::Quarantine;
        Ok(())
    }

    fn assert_no_pirqs_of(&self, owner: Owner) {
        assert!(self.pirqs.keys().all(|(of, _)| *of != owner), "taken back with vectors mapped");
    }

    pub(super) fn release(&mut self) -> Result<(), Errno> {
        if self.owner != Owner::Quarantine {
            return Err(Errno::ENODEV);
        }
        self.owner = Owner::Dom0;
        Ok(())
    }

    pub(super) fn map(&mut self, owner: Owner, entry: u16, table_base: u64) -> Result<Pirq, Errno> {
        assert_eq!(table_base, TABLE_BAR, "not the BAR of the table");
        assert!(entry < 5, "no such entry");
        if self.command() & MEMORY == 0 {
            return Err(Errno::ENXIO);
        }
        if self.owner != owner {
            return Err(Errno::ENODEV);
        }
        if owner == Owner::Dom0 {
            self.held = true;
        } else if !self.held {
            return Err(Errno::ENODATA);
        }
        let pirq = self.next_pirq;
        self.next_pirq += 1;
        self.pirqs.insert((owner, pirq), (entry, None));
        Ok(Pirq(pirq))
    }

    pub(super) fn unmap(&mut self, owner: Owner, pirq: Pirq) -> Result<(), Errno> {
        assert_ne!(self.command() & MEMORY, 0, "unmapped with memory decode off: the table stays masked");
        let (_, bound) = self.pirqs.remove(&(owner, pirq.0)).ok_or(Errno::EINVAL)?;
        assert_eq!(bound, None, "unmapped while bound");
        Ok(())
    }

    pub(super) fn bind(&mut self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        let slot = self.pirqs.get_mut(&(Owner::Domain(domain.0), pirq.0)).ok_or(Errno::EINVAL)?;
        assert!(vector >= 0x10, "a vector of the processor's own exceptions");
        assert_eq!(slot.1.replace(vector), None, "bound twice");
        Ok(())
    }

    pub(super) fn unbind(&mut self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        let slot = self.pirqs.get_mut(&(Owner::Domain(domain.0), pirq.0)).ok_or(Errno::EINVAL)?;
        assert_eq!(slot.1.take(), Some(vector));
        Ok(())
    }

    fn write_bar(&mut self, number: usize, value: u32) {
        assert_eq!(self.command() & 3, 0, "a BAR is written while the card decodes it");
        let (address, mask) = BARS[number];
        let stored = value & mask | address & !mask & 0xf;
        self.put(0x10 + 4 * number as u16, &stored.to_le_bytes());
    }
}

impl ConfigSpace for World {
    fn read32(&self, function: Sbdf, offset: u16) -> u32 {
        assert_eq!(offset % 4, 0);
        if function != AT {
            return u32::MAX;
        }
        let state = self.state.borrow();
        u32::from(state.nic.word(offset)) | u32::from(state.nic.word(offset + 2)) << 16
    }

    fn write16(&self, function: Sbdf, offset: u16, value: u16) {
        assert_eq!((function, offset % 2), (AT, 0));
        let mut state = self.state.borrow_mut();
        let before = state.nic.word(offset);
        if offset == COMMAND && value != before {
            state.calls.push(format!("command {value:#06x}"));
            let owned = matches!(state.nic.owner, Owner::Domain(_));
            assert!(value & BUS_MASTER == 0 || owned, "bus mastering for nobody");
        }
        if offset == MSIX + 2 && value != before {
            state.calls.push(format!("msix {value:#06x}"));
        }
        state.nic.put(offset, &value.to_le_bytes());
    }

    fn write32(&self, function: Sbdf, offset: u16, value: u32) {
        assert_eq!((function, offset % 4), (AT, 0));
        let mut state = self.state.borrow_mut();
        match offset {
            0x10..0x28 => state.nic.write_bar(usize::from(offset - 0x10) / 4, value),
            _ => state.nic.put(offset, &value.to_le_bytes()),
        }
    }

    fn read_register(&self, at: Maddr) -> u32 {
        let state = self.state.borrow();
        assert_ne!(state.nic.command() & MEMORY, 0, "a register is read that is not decoded");
        if at.0 == 0xfeb8_0000 { 0x0014_0240 } else { u32::MAX }
    }

    fn write_register(&self, at: Maddr, value: u32) {
        let mut state = self.state.borrow_mut();
        assert!(!matches!(state.nic.owner, Owner::Domain(_)), "a register of a domain's card is written");
        if at.0 == 0xfeb8_0000 && value & 1 << 26 != 0 {
            state.calls.push("reset".into());
            state.nic.quiet = true;
        }
    }
}
