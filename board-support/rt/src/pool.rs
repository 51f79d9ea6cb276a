//! Pages of the domain's RAM: page-aligned, with a known frame.
//!
//! All RAM that the image, the loader and the page tables do not take is here; the heap takes its
//! share from it. Single pages are shared with peers or granted; runs are for devices.

pub mod frames;

// Under Miri its tests run on a host, whose other memory is too far up for the bookkeeping.
#[cfg(any(target_os = "none", all(test, miri)))]
mod pages;

#[cfg(any(target_os = "none", all(test, miri)))]
pub use pages::{Page, Run, allocate, allocate_run, available};
#[cfg(target_os = "none")]
pub(crate) use pages::{init, take_frame, take_run};
