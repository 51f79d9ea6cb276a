//! The provisioning files: an archive of their own.

use alloc::{borrow::ToOwned, string::String, vec::Vec};

use proto_manifest::archive::Archive;
use proto_svc::measure::ALLOW_VAULT_CLEAN;
use stubdoms_agent::Provisioning;

/// What the files say.
pub(crate) struct Files {
    /// For the agent.
    pub(crate) agent: Provisioning,
    /// `hosts`: lines of an address and names.
    pub(crate) hosts: String,
}

/// Reads them. A file that is not there is empty, which the agent reports by its name. `boot/README.md` lists them.
///
/// # Panics
/// If there is no archive: dom0 gives one, or does not start this domain.
pub(crate) fn read(archive: Option<&[u8]>) -> Files {
    let archive = match archive.map(Archive::open) {
        Some(Ok(archive)) => archive,
        Some(Err(error)) => panic!("provisioning files: {error}"),
        None => panic!("provisioning files: dom0 gave no archive"),
    };
    let file = |name: &str| -> Option<Vec<u8>> { archive.find(name).map(ToOwned::to_owned) };
    let needed = |name: &str| file(name).unwrap_or_default();
    Files {
        agent: Provisioning {
            server: needed("server"),
            root_certificate: needed("root-certificate.pem"),
            onboard_cert: file("onboard.cert.pem"),
            onboard_key: file("onboard.key.pem"),
            device_cert: needed("device.cert.pem"),
            device_key: needed("device.key.pem"),
            key_exchange_cert: file("ecdh.cert.pem"),
            ntp: needed("ntp"),
            serial: needed("serial"),
            soft_serial: needed("soft_serial"),
            allow_vault_clean: file(ALLOW_VAULT_CLEAN).is_some(),
        },
        hosts: String::from_utf8_lossy(&needed("hosts")).into_owned(),
    }
}
