//! The areas, one module each. A number is given once: what is no longer used stays out, and its number
//! is not given again.

pub use crate::code::Area;
use crate::code::{Code, Entry};

/// Declares an area: its module, what it is about, and its errors.
macro_rules! area {
    (
        $module:ident: $about:literal;
        $($name:ident = $code:literal, cause: $cause:literal, next: $next:literal;)*
    ) => {
        use super::{Area, Code, Entry};

        $(#[doc = concat!("`", $code, "`: ", $cause)]
        pub const $name: Code = Code($code);)*

        /// The area.
        pub const AREA: Area = Area {
            module: stringify!($module),
            about: $about,
            entries: &[$(Entry { code: $name, name: stringify!($name), cause: $cause, next: $next }),*],
        };
    };
}

pub mod agent;
pub mod app;
pub mod boot;
pub mod build;
pub mod chan;
pub mod ctl;
pub mod host;
pub mod net;
pub mod pci;
pub mod rt;
pub mod slot;
pub mod storage;
pub mod svc;
pub mod table;
pub mod update;
pub mod vault;
pub mod web;

/// All areas, in the order in which a system meets them.
pub const ALL: &[Area] = &[
    host::AREA,
    table::AREA,
    slot::AREA,
    boot::AREA,
    build::AREA,
    pci::AREA,
    rt::AREA,
    svc::AREA,
    chan::AREA,
    net::AREA,
    storage::AREA,
    ctl::AREA,
    vault::AREA,
    web::AREA,
    agent::AREA,
    app::AREA,
    update::AREA,
];
