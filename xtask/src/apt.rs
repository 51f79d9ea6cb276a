//! Packages from the host's own package mirror: which mirror that is ([`sources`]), which versions we
//! take ([`pins`]), what takes their place when the mirror has moved on ([`successor`]), and how they get into the cache
//! folder ([`fetch`]).

pub mod fetch;
pub mod pins;
pub mod sources;
pub mod successor;

/// apt.conf(5) text that every private use of apt shares: package lists in `folder/lists`, no sandbox
/// user (who may not be able to enter the cache folder), nothing fetched that we do not read.
pub(crate) fn common_options(folder: &std::path::Path) -> String {
    let mut text = format!(
        "Dir::State::Lists \"{}\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n",
        folder.join("lists").display()
    );
    for target in ["DEP-11", "DEP-11-icons", "DEP-11-icons-small", "Contents-deb"] {
        text += &format!("Acquire::IndexTargets::deb::{target}::DefaultEnabled \"false\";\n");
    }
    text
}
