//! What the device is given before it first speaks: provisioning files, and facts about the machine.

use alloc::{string::String, vec::Vec};

use proto_eve::{
    certs::{CertsError, Roots},
    key::{KeyError, SoftwareKey},
    wire::info::BootReason,
};
use proto_handoff::provisioning::{Half, Pair};

use crate::{clock::WallTime, identity::DeviceKey, uplink::server_names};

/// The provisioning files, byte for byte; names as on EVE's CONFIG partition.
#[derive(Clone, Default)]
pub struct Provisioning {
    /// `server`: `host[:port]`.
    pub server: Vec<u8>,
    /// `root-certificate.pem`.
    pub root_certificate: Vec<u8>,
    /// `onboard.cert.pem`; absent when the device is known by its own certificate. Without the key it is told of and not
    /// used, nor is the key without it.
    pub onboard_cert: Option<Vec<u8>>,
    /// `onboard.key.pem`.
    pub onboard_key: Option<Vec<u8>>,
    /// `device.cert.pem`. A device with a TPM needs neither this nor the key: the vault has one.
    pub device_cert: Vec<u8>,
    /// `device.key.pem`.
    pub device_key: Vec<u8>,
    /// Certificate of the software key for key exchange, if the device has one. It is published, unless there is
    /// a vault, which has such a key of its own.
    pub key_exchange_cert: Option<Vec<u8>>,
    /// `ntp`: time servers, `host[:port]`, apart by white space, that are asked where neither the configuration nor
    /// the network names one.
    pub ntp: Vec<u8>,
    /// `serial`.
    pub serial: Vec<u8>,
    /// `soft_serial`.
    pub soft_serial: Vec<u8>,
    /// Whether there is a file `allow-vault-clean`: a storage whose key neither TPM nor controller has may begin
    /// anew, with the loss of what is stored.
    pub allow_vault_clean: bool,
}

/// What is true of this machine for as long as it runs.
#[derive(Clone, Debug, Default)]
pub struct DeviceFacts {
    /// `x86_64` or `aarch64`.
    pub architecture: String,
    /// Physical CPUs.
    pub cpus: u32,
    /// All memory, in MiB.
    pub memory_mib: u64,
    /// Memory that applications may have together, in KiB.
    pub app_memory_kib: u64,
    /// vCPUs that one application may have.
    pub app_vcpus: u32,
    /// Bytes of content that the shell can hold at a time.
    pub content_bytes: u64,
    /// Bytes of log files to keep until they are uploaded. 0 stands for 512 KiB.
    pub log_spool_bytes: usize,
    /// Version of the running system.
    pub version: String,
    /// Label of the slot that runs, `IMGA` or `IMGB`.
    pub partition: String,
    /// Manufacturer of the machine; empty if it is not known. The controller may know it.
    pub manufacturer: String,
    /// Name of the machine's model; empty if it is not known. The controller may know it.
    pub product: String,
    /// Name, version and date of the firmware, joined by dashes; empty if they are not known.
    pub firmware: String,
    /// Wall clock at boot.
    pub boot_time: Option<WallTime>,
    /// The same on the clock of [`Now::monotonic_ns`](crate::Now), which may have begun starts of the machine ago.
    pub began_ns: u64,
    /// Why the machine was started.
    pub boot_cause: BootCause,
    /// The same in the words of who has found it, with what a crash has left; empty if there are none.
    pub boot_text: String,
    /// What an agent has given with [`DeviceCommand::Reboot`](crate::DeviceCommand::Reboot), if it ended the life before, and
    /// there was a place that outlived it; else empty.
    pub boot_order: Vec<u8>,
    /// A number that tells this start of the machine from others, the same for all agents in it; 0 if there is none.
    pub start: u32,
    /// What whoever started it has said of its slot; none if it was not started from one.
    pub slot: Option<StartedSlot>,
    /// Whether the hardware has a watchdog that is armed.
    pub hardware_watchdog: bool,
    /// Whether devices are behind an IOMMU.
    pub io_virtualization: bool,
    /// Label of the network port, until the configuration names it.
    pub port: String,
}

impl DeviceFacts {
    /// Why the machine was started, for people.
    pub(crate) fn boot_text(&self) -> &str {
        if self.boot_text.is_empty() { self.boot_cause.text() } else { &self.boot_text }
    }
}

/// The slot that was started, in the words of who has chosen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedSlot {
    /// It has yet to prove itself.
    pub trial: bool,
    /// The other slot was refused in this very start.
    pub other_refused: bool,
    /// Why it was this slot, and why the other one was refused, as a sentence.
    pub reason: String,
}

/// Why the machine was started, by the evidence that outlived its life before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootCause {
    /// There is no evidence.
    #[default]
    Unknown,
    /// The power was off.
    PowerOn,
    /// The hardware's watchdog was not fed.
    Watchdog,
    /// The machine was told to.
    Ordered,
    /// dom0 or Xen crashed.
    Panic,
}

impl BootCause {
    pub(crate) fn reason(self) -> BootReason {
        match self {
            Self::Unknown => BootReason::Unknown,
            Self::PowerOn => BootReason::PowerFail,
            Self::Watchdog => BootReason::WatchdogHung,
            Self::Ordered => BootReason::RebootCmd,
            // What EVE has for the kernel, which dom0 takes the place of.
            Self::Panic => BootReason::Kernel,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unknown => "not known",
            Self::PowerOn => "the power was off",
            Self::Watchdog => "the watchdog has reset the machine: it was not fed",
            Self::Ordered => "the machine was told to start anew",
            Self::Panic => "dom0 or Xen crashed, and the machine was reset for that",
        }
    }
}

/// Why the device cannot start to onboard. Each names the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisionError {
    /// There is no such file, or nothing in it.
    Missing(&'static str),
    /// `server` holds what no host name has.
    Server,
    /// `root-certificate.pem`.
    Root(CertsError),
    /// `onboard.cert.pem` or `onboard.key.pem`.
    Onboard(KeyError),
    /// `device.cert.pem` or `device.key.pem`.
    Device(KeyError),
}

impl core::fmt::Display for ProvisionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "file `{name}` is missing or empty"),
            Self::Server => write!(f, "server: not a host name with an optional port"),
            Self::Root(error) => write!(f, "{error}"),
            Self::Onboard(error) => write!(f, "onboard.cert.pem, onboard.key.pem: {error}"),
            Self::Device(error) => write!(f, "device.cert.pem, device.key.pem: {error}"),
        }
    }
}

/// What [`Provisioning`] holds, read and checked.
pub(crate) struct Credentials {
    pub(crate) server: String,
    pub(crate) roots: Roots,
    pub(crate) root_pem: Vec<u8>,
    pub(crate) onboard: Option<SoftwareKey>,
    /// Who the device is, once that is known.
    pub(crate) device: Option<DeviceKey>,
    /// The provisioned key, until it is known whether it is needed.
    pub(crate) provisioned: Option<SoftwareKey>,
    /// What is missing of the files to register with, and of the provisioned key, if one of the two is there alone: neither
    /// is used then.
    pub(crate) half_onboard: Option<Half>,
    pub(crate) half_device: Option<Half>,
    pub(crate) key_exchange_cert: Option<Vec<u8>>,
    pub(crate) allow_vault_clean: bool,
    pub(crate) ntp_servers: Vec<String>,
    pub(crate) serial: String,
    pub(crate) soft_serial: String,
}

impl Credentials {
    /// `has_vault`: whether the system has a vault. Without one there has to be a key in the files.
    pub(crate) fn read(files: Provisioning, has_vault: bool) -> Result<Self, ProvisionError> {
        // First, for it is what is missing where nothing was provisioned.
        there("server", &files.server)?;
        there("root-certificate.pem", &files.root_certificate)?;
        let server = server(&files.server)?;
        let (half_onboard, half_device) = (half_onboard(&files), half_device(&files));
        let onboard = match (&files.onboard_key, &files.onboard_cert) {
            (Some(key), Some(cert)) if is_there(key) && is_there(cert) => {
                Some(SoftwareKey::from_pem(key, cert).map_err(ProvisionError::Onboard)?)
            }
            _ => None,
        };
        let left_out = has_vault && !(is_there(&files.device_key) && is_there(&files.device_cert));
        if !left_out {
            there("device.cert.pem", &files.device_cert)?;
            there("device.key.pem", &files.device_key)?;
        }
        let key = || SoftwareKey::from_pem(&files.device_key, &files.device_cert);
        let provisioned = if left_out { None } else { Some(key().map_err(ProvisionError::Device)?) };
        let (device, provisioned) =
            if has_vault { (None, provisioned) } else { (provisioned.map(DeviceKey::Provisioned), None) };
        Ok(Self {
            server,
            roots: Roots::from_pem(&files.root_certificate).map_err(ProvisionError::Root)?,
            root_pem: files.root_certificate,
            onboard,
            device,
            provisioned,
            half_onboard,
            half_device,
            key_exchange_cert: files.key_exchange_cert,
            allow_vault_clean: files.allow_vault_clean,
            ntp_servers: ntp_servers(&files.ntp),
            serial: line(&files.serial),
            soft_serial: line(&files.soft_serial),
        })
    }
}

/// A file of white space is as good as none.
fn is_there(bytes: &[u8]) -> bool {
    !bytes.trim_ascii().is_empty()
}

fn there(name: &'static str, bytes: &[u8]) -> Result<(), ProvisionError> {
    if is_there(bytes) { Ok(()) } else { Err(ProvisionError::Missing(name)) }
}

fn half_onboard(files: &Provisioning) -> Option<Half> {
    let of = |name: &str| if name == Pair::ONBOARD.key { &files.onboard_key } else { &files.onboard_cert };
    Pair::ONBOARD.half(|name| of(name).as_deref().is_some_and(is_there))
}

fn half_device(files: &Provisioning) -> Option<Half> {
    let of = |name: &str| if name == Pair::DEVICE.key { &files.device_key } else { &files.device_cert };
    Pair::DEVICE.half(|name| is_there(of(name)))
}

fn line(bytes: &[u8]) -> String {
    proto_eve::text::from_bytes(bytes.trim_ascii(), 256)
}

/// Words, but for what follows a `#` in a line.
fn ntp_servers(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let names = text.lines().filter_map(|line| line.split('#').next());
    server_names(names.flat_map(str::split_ascii_whitespace))
}

fn server(bytes: &[u8]) -> Result<String, ProvisionError> {
    let text = core::str::from_utf8(bytes.trim_ascii()).map_err(|_| ProvisionError::Server)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if text.is_empty() || text.len() > 260 || !text.chars().all(fits) {
        return Err(ProvisionError::Server);
    }
    Ok(String::from(text))
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    #[test]
    fn time_servers_are_the_first_four_words_that_can_be_one() {
        assert_eq!(
            ntp_servers(b"ntp.example\n10.0.2.2:8123 a,b caf\xc3\xa9 \xff # ask it\n# or\nx#y"),
            ["ntp.example", "10.0.2.2:8123", "x"]
        );
        assert_eq!(ntp_servers(b"a b c d e").len(), 4);
        assert!(ntp_servers(b" \n").is_empty());
    }

    #[test]
    fn the_server_is_a_host_with_an_optional_port() {
        assert_eq!(server(b" zedcontrol.example:8443\n").as_deref(), Ok("zedcontrol.example:8443"));
        assert_eq!(server(b"[fd00::1]:443").as_deref(), Ok("[fd00::1]:443"));
        for bad in [&b""[..], b" \n", b"a b", b"a/b", b"\xff", b"user@host"] {
            assert_eq!(server(bad), Err(ProvisionError::Server));
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let named = |has_vault, files: &Provisioning| {
            Credentials::read(files.clone(), has_vault).err().map(|error| error.to_string())
        };
        let missing = |name: &str| Some(format!("file `{name}` is missing or empty"));
        let mut files = Provisioning::default();
        assert_eq!(named(true, &files), missing("server"));
        files.server = b" \n".to_vec();
        assert_eq!(named(true, &files), missing("server"));
        files.server = b"a b".to_vec();
        assert_eq!(named(true, &files), missing("root-certificate.pem"));
        files.root_certificate = b"-".to_vec();
        assert_eq!(named(true, &files).as_deref(), Some("server: not a host name with an optional port"));
        files.server = b"controller.example".to_vec();
        assert_eq!(named(false, &files), missing("device.cert.pem"));
        files.device_key = b"-".to_vec();
        assert_eq!(named(false, &files), missing("device.cert.pem"));
        files.device_cert = b"-".to_vec();
        files.device_key.clear();
        assert_eq!(named(false, &files), missing("device.key.pem"));
    }

    /// A device that can be somebody without that file goes on.
    #[test]
    fn a_certificate_or_key_that_is_alone_is_told_of_and_not_used() {
        macro_rules! vector {
            ($name:literal) => {
                include_bytes!(concat!("../../../proto/eve/tests/vectors/", $name)).to_vec()
            };
        }
        let (certificate, key) = (vector!("device.pem"), vector!("device-pkcs8.key.pem"));
        let whole = Provisioning {
            server: b"controller.example".to_vec(),
            root_certificate: vector!("root.pem"),
            onboard_cert: Some(certificate.clone()),
            onboard_key: Some(key.clone()),
            device_cert: certificate,
            device_key: key,
            ..Provisioning::default()
        };
        let read = |has_vault, change: &dyn Fn(&mut Provisioning)| {
            let mut files = whole.clone();
            change(&mut files);
            let read = Credentials::read(files, has_vault).unwrap();
            let half = |half: Option<Half>| half.map(|half| half.missing);
            let used = (read.onboard.is_some(), read.device.is_some() || read.provisioned.is_some());
            (used, half(read.half_onboard), half(read.half_device))
        };
        let blank = || Some(b"\n".to_vec());
        for has_vault in [false, true] {
            assert_eq!(read(has_vault, &|_| {}), ((true, true), None, None));
            let lone_certificate = ((false, true), Some("onboard.key.pem"), None);
            assert_eq!(read(has_vault, &|files| files.onboard_key = None), lone_certificate);
            assert_eq!(read(has_vault, &|files| files.onboard_key = blank()), lone_certificate);
            let lone_key = ((false, true), Some("onboard.cert.pem"), None);
            assert_eq!(read(has_vault, &|files| files.onboard_cert = None), lone_key);
            // Both blank are neither.
            let neither =
                |files: &mut Provisioning| (files.onboard_cert, files.onboard_key) = (blank(), blank());
            assert_eq!(read(has_vault, &neither), ((false, true), None, None));
        }
        let lone_certificate = ((true, false), None, Some("device.key.pem"));
        assert_eq!(read(true, &|files| files.device_key.clear()), lone_certificate);
        let lone_key = ((true, false), None, Some("device.cert.pem"));
        assert_eq!(read(true, &|files| files.device_cert.clear()), lone_key);
        assert_eq!(read(true, &|files| files.device_cert = b" \r\n".to_vec()), lone_key);
        for blank in [b"".as_slice(), b"\n"] {
            let neither = |files: &mut Provisioning| {
                (files.device_cert, files.device_key) = (blank.to_vec(), blank.to_vec());
            };
            assert_eq!(read(true, &neither), ((true, false), None, None));
        }
    }
}
