//! Hardware watchdogs: what resets the machine when nobody feeds it any more.
//!
//! | module | which |
//! |---|---|
//! | [`itco`] | the one in Intel's I/O controller hubs, as QEMU's q35 has it |
//!
//! A watchdog is the last resort: it also covers Xen, and a dom0 that has halted.

pub mod itco;
