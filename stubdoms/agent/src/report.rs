//! What the controller is told: states of objects, counters, log lines.

pub(crate) mod ciphers;
pub(crate) mod console;
pub(crate) mod disk;
pub(crate) mod info;
pub(crate) mod logs;
pub(crate) mod losses;
pub(crate) mod metrics;
