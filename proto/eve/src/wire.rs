//! Generated message types, a module for each package of the schema (`org.lfedge.eve.config` is
//! [`config`]). Nothing here is written by hand; see `schema/*.proto` for what a field means.
//!
//! Decoding skips unknown fields and keeps unknown enum numbers as plain `i32`.

#![allow(missing_docs, unreachable_pub, reason = "generated: the schema tells what a field means")]
#![allow(clippy::all, clippy::pedantic, rustdoc::all, reason = "generated: nobody reads or mends it here")]

/// Package `org.lfedge.eve.attest`.
pub mod attest {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.attest.rs"));
}
/// Package `org.lfedge.eve.auth`.
pub mod auth {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.auth.rs"));
}
/// Package `org.lfedge.eve.certs`.
pub mod certs {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.certs.rs"));
}
/// Package `org.lfedge.eve.common`.
pub mod common {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.common.rs"));
}
/// Package `org.lfedge.eve.config`.
pub mod config {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.config.rs"));
}
/// Package `org.lfedge.eve.flowlog`.
pub mod flowlog {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.flowlog.rs"));
}
/// Package `org.lfedge.eve.hardwarehealth`.
pub mod hardwarehealth {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.hardwarehealth.rs"));
}
/// Package `org.lfedge.eve.info`.
pub mod info {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.info.rs"));
}
/// Package `org.lfedge.eve.logs`.
pub mod logs {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.logs.rs"));
}
/// Package `org.lfedge.eve.metrics`.
pub mod metrics {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.metrics.rs"));
}
/// Package `org.lfedge.eve.nestedappinstancemetrics`.
pub mod nestedappinstancemetrics {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.nestedappinstancemetrics.rs"));
}
/// Package `org.lfedge.eve.profile`.
pub mod profile {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.profile.rs"));
}
/// Package `org.lfedge.eve.proxy`.
pub mod proxy {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.proxy.rs"));
}
/// Package `org.lfedge.eve.register`.
pub mod register {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.register.rs"));
}
/// Package `org.lfedge.eve.uuid`.
pub mod uuid {
    include!(concat!(env!("OUT_DIR"), "/org.lfedge.eve.uuid.rs"));
}
