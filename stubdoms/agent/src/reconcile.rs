//! From the configuration to what is there: each object is a small machine, and each step moves every
//! one as far as it can go.

pub(crate) mod base_os;
pub(crate) mod contents;
pub(crate) mod domains;
pub(crate) mod networks;
pub(crate) mod problem;
pub(crate) mod volumes;
