//! Pages of the domain's RAM: page-aligned, with a known frame.
//!
//! All RAM that the image, the loader and the page tables do not take is here; the heap takes its
//! share from it. Single pages are shared with peers or granted; runs are for devices.

pub mod frames;

#[cfg(target_os = "none")]
mod pages;

#[cfg(target_os = "none")]
pub use pages::{Page, Run, allocate, allocate_run, available};
#[cfg(target_os = "none")]
pub(crate) use pages::{init, take_frame, take_run};
