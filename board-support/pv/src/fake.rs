//! The domains of this crate's tests, on the fake Xen.

use proto_xen::DomId;
pub(crate) use tests_fakexen::{Domain, World, executor::run, page::PoolPage as Page};

/// A world in which the domains of the tests run.
pub(crate) fn world() -> World {
    World::with_domains(&[DomId(1), DomId(2), DomId(5)])
}
