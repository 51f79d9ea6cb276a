//! The host tool: sets a machine up, builds the domains, makes images, runs and tests them in QEMU.
//!
//! One file a subcommand, each readable alone, each printing the commands it runs. This library is what
//! the command line (`main.rs`) and the stories in `tests/qemu` stand on. Its pure parts (package lists,
//! ELF packing, archive, console lines) are tested here; the rest is tested by running it.

#![forbid(unsafe_code)]

pub mod apt;
pub mod bench;
pub mod broken;
pub mod browser;
pub mod build;
pub mod coded;
pub mod console;
pub mod controller;
pub mod demo;
pub mod disk;
pub mod explain;
pub mod flash;
pub mod fuzz;
pub mod graph;
pub mod grub;
pub mod host;
pub mod image;
pub mod interrupt;
pub mod lint;
pub mod measure;
pub mod miri;
pub mod pack;
pub mod paths;
pub mod progress;
pub mod qemu;
pub mod qmp;
pub mod run;
pub mod secure_boot;
pub mod selector;
pub mod setup;
pub mod site;
pub mod slot;
pub mod swtpm;
pub mod symbolize;
pub mod test;
pub mod tool;
pub mod toolchain;
pub mod ui;
