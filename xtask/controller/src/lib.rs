//! A small EVE controller for development and tests.
//!
//! It makes its CA and certificates, admits devices over TLS with the EVE device API (version 2),
//! verifies every signature, attests, serves a configuration from a file that may be edited while it
//! runs, and keeps what devices report. It holds to the protocol strictly: what a conforming device
//! would not send is refused with the code that the protocol has for it, and every deviation is kept
//! as a [`Violation`]. Faults can be switched on, for tests of the device.
//!
//! It stands beside `xtask` and trusts nobody but the person who edits its files. Signatures and
//! certificates are made and checked with `ring`, `rcgen` and `x509-parser`, while devices use other
//! libraries, so that the two sides check each other.
//!
//! The API is a pure function from request to answer over the state (`src/api.rs`); network,
//! files and threads are thin shells around it. Tests drive it over real TLS with a scripted device.
//!
//! ```no_run
//! use std::time::Duration;
//! use xtask_controller::{Controller, Options};
//!
//! # fn main() -> anyhow::Result<()> {
//! let controller = Controller::start(Options::new("/tmp/controller"))?;
//! let bundle = controller.provision("bench")?;
//! controller.put_content("hello.elf", b"\x7fELF")?;
//! controller.set_config("[[app]]\nname = 'hello'\ncontent = 'hello.elf'\nmemory_kib = 8192\n")?;
//! // Start the device with the bundle's files, then:
//! controller.wait_registered(&bundle.text("soft_serial"), Duration::from_secs(30))?;
//! controller.wait_app_state("hello", "RUNNING", Duration::from_secs(60))?;
//! assert!(controller.violations().is_empty());
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

mod api;
mod body;
mod clock;
mod compile;
mod config_file;
mod core;
mod desired;
mod envelope;
mod faults;
mod files;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod handle;
mod journal;
mod key;
mod listen;
mod measured;
mod observed;
mod options;
mod outcome;
mod pki;
mod provision;
mod refusal;
mod registry;
mod repeats;
mod route;
mod state;
mod time;
mod tls;
mod web;

pub use desired::ConfigError;
pub use faults::{Fault, Faults, RangeLie, Target};
pub use handle::{Controller, Handle};
pub use observed::{
    AppMetrics, BootView, DeviceInfo, DeviceMetrics, DeviceView, Event, LogLine, ObjectKind, ObjectView,
    Observed, PortView, QuoteView, SlotStep, SlotView, VaultView, Violation,
};
pub use options::{EventSink, Options, TlsVersions};
pub use outcome::{ConfigRefused, TimedOut, Urls};
pub use proto_attest::Prediction;
pub use provision::Bundle;
pub use route::Endpoint;
pub use uuid::Uuid;
