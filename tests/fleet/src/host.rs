//! What dom0's shells stand on here.

use std::{cell::Cell, time::Duration};

use board_support_rt::epitaph;
use dom0_shell::{System, system};
use dom0_toolstack::pci::ConfigSpace;
use proto_ring::Words;
use proto_xen::{DomId, Maddr, Sbdf, sched::ShutdownReason};
use tests_fakexen::{Domain, World, executor::Starter};

/// How long the hardware's watchdog waits for food on the device.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// The fake machine.
pub enum Host {}

impl System for Host {
    type Xen = Domain;
    type Runtime = Domain;
    type Spawner = Starter;
    type Machine = Config;
    type Watchdogs = Food;

    const STARTS_HEARD: bool = false;

    fn last_words(page: &Words) -> Option<String> {
        epitaph::read(page)
    }

    fn shutdown(hyp: &Domain, reason: ShutdownReason) {
        hyp.world().crash(DomId::DOM0, reason);
    }
}

/// dom0's way to configuration space.
#[derive(Debug)]
pub struct Config(pub World);

impl ConfigSpace for Config {
    fn read32(&self, function: Sbdf, offset: u16) -> u32 {
        self.0.config_read32(function, offset)
    }

    fn write16(&self, function: Sbdf, offset: u16, value: u16) {
        self.0.config_write16(function, offset, value);
    }

    fn write32(&self, function: Sbdf, offset: u16, value: u32) {
        self.0.config_write32(function, offset, value);
    }

    fn can_be_registers(&self, at: Maddr, _: u64) -> bool {
        self.0.is_above_memory(at)
    }

    fn read_register(&self, at: Maddr) -> u32 {
        self.0.register_read(at)
    }

    fn write_register(&self, at: Maddr, value: u32) {
        self.0.register_write(at, value);
    }
}

/// A watchdog that notes how it is fed.
pub struct Food {
    world: World,
    fed_ns: Cell<u64>,
    longest_ns: Cell<u64>,
}

impl Food {
    /// One that was armed now.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self { world: world.clone(), fed_ns: Cell::new(world.now_ns()), longest_ns: Cell::new(0) }
    }

    /// The longest time that it was not fed.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let now = self.world.now_ns() - self.fed_ns.get();
        Duration::from_nanos(self.longest_ns.get().max(now))
    }
}

impl system::Watchdogs for Food {
    fn has_hardware(&self) -> bool {
        true
    }

    fn feed(&self) {
        let longest = self.longest();
        self.longest_ns.set(longest.as_nanos() as u64);
        self.fed_ns.set(self.world.now_ns());
    }

    fn halt(&self, _why: &[u8]) {}
}
