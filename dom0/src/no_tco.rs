//! No watchdog in the hardware that dom0 knows.

use board_support_drv::watchdog::itco::{Itco, Registers};

use crate::machine::Machine;

/// There is none.
pub(crate) type Tco = Itco<Nowhere>;

/// Registers that are nowhere.
pub(crate) enum Nowhere {}

impl Registers for Nowhere {
    fn read(&self, _: u16) -> u16 {
        match *self {}
    }

    fn write(&self, _: u16, _: u16) {
        match *self {}
    }

    fn read_gcs(&self) -> u32 {
        match *self {}
    }

    fn write_gcs(&self, _: u32) {
        match *self {}
    }
}

/// Finds none.
pub(crate) fn find(_: &'static Machine) -> Option<Tco> {
    None
}
