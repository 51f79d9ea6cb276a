//! Keys and certificates of the stories with a controller, made by `keys/make.sh`; and the provisioning files.

use proto_manifest::archive::Writer;

/// A file of `keys`.
macro_rules! key {
    ($name:literal) => {
        include_bytes!(concat!("../keys/", $name)).as_slice()
    };
}

/// Root of the controller's certificates.
pub const ROOT: &[u8] = key!("root.pem");
/// What its TLS server shows, and the key.
pub const SERVER: (&[u8], &[u8]) = (key!("server.pem"), key!("server.key.pem"));
/// By what it signs its answers.
pub const SIGNING: (&[u8], &[u8]) = (key!("signing.pem"), key!("signing.key.pem"));
/// For whom secrets in a configuration are encrypted.
pub const EXCHANGE: &[u8] = key!("exchange.pem");
/// By what the device is admitted.
pub const ONBOARD: (&[u8], &[u8]) = (key!("onboard.pem"), key!("onboard.key.pem"));
/// By what the device signs.
pub const DEVICE: (&[u8], &[u8]) = (key!("device.pem"), key!("device.key.pem"));

/// The controller's name.
pub const NAME: &str = "controller.example";
/// The port of the controller's API.
pub const API: u16 = 8443;

/// Whose the device's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A file has it.
    File,
    /// vault has it.
    Vault,
}

/// The archive of provisioning files that control is given, without this one if there is one of the name.
///
/// # Panics
/// Never: the files fit.
#[must_use]
pub fn provisioning(holder: Holder, without: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    let hosts = format!("{} {NAME}\n", crate::wire::ROUTER);
    let server = format!("{NAME}:{API}\n");
    let files: [(&str, &[u8]); 7] = [
        ("server", server.as_bytes()),
        ("hosts", hosts.as_bytes()),
        ("root-certificate.pem", ROOT),
        ("onboard.cert.pem", ONBOARD.0),
        ("onboard.key.pem", ONBOARD.1),
        ("serial", b"SN-1\n"),
        ("soft_serial", b"soft-1\n"),
    ];
    let device: &[(&str, &[u8])] = match holder {
        Holder::File => &[("device.cert.pem", DEVICE.0), ("device.key.pem", DEVICE.1)],
        Holder::Vault => &[],
    };
    for (name, bytes) in files.iter().chain(device).filter(|(name, _)| *name != without) {
        writer.add(name, bytes).expect("the archive takes it");
    }
    writer.finish()
}
