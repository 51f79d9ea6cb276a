//! dom0 on the fake Xen, with one network card in the machine.

use std::ops::Deref;

use proto_xen::{Maddr, Sbdf};
use tests_fakexen::Census;
pub(crate) use tests_fakexen::{Call, Domain, Fault, Machine, World, pci};

use crate::pci::ConfigSpace;

impl ConfigSpace for World {
    fn read32(&self, function: Sbdf, offset: u16) -> u32 {
        self.config_read32(function, offset)
    }

    fn write16(&self, function: Sbdf, offset: u16, value: u16) {
        self.config_write16(function, offset, value);
    }

    fn write32(&self, function: Sbdf, offset: u16, value: u32) {
        self.config_write32(function, offset, value);
    }

    fn can_be_registers(&self, at: Maddr, _: u64) -> bool {
        self.is_above_memory(at)
    }

    fn read_register(&self, at: Maddr) -> u32 {
        self.register_read(at)
    }

    fn write_register(&self, at: Maddr, value: u32) {
        self.register_write(at, value);
    }
}

/// What the toolstack stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) dom0: Domain,
    before: Census,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::with(Machine::default())
    }

    pub(crate) fn with(machine: Machine) -> Self {
        let world = World::with(machine);
        let (dom0, before) = (world.dom0(), world.census());
        Self { world, dom0, before }
    }

    /// Takes what there is now for what is there at first.
    pub(crate) fn settle(&mut self) {
        self.before = self.world.census();
    }

    /// Panics unless everything is as it was at first.
    pub(crate) fn assert_clean(&self, what: &str) {
        assert_eq!(self.world.census(), self.before, "{what}");
    }
}

impl Deref for Ground {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}
