//! The storage domain's logic through its channels, on disks that fail in every way that a disk may.

mod damage;
mod fairness;
mod faults;
mod hostile;
mod power_cut;
mod selector;
mod values;
mod world;
