//! A TPM for emulated machines: swtpm, as a child that ends with the machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;

use crate::build::Arch;
use crate::{paths, ui};

/// How long swtpm may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a machine's processor talks to its TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Interface {
    /// A buffer for command and answer; on x86_64 only.
    Crb,
    /// A FIFO of bytes.
    Tis,
}

impl Interface {
    /// Whether a machine of this architecture can have it.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(self, arch: Arch) -> Result<()> {
        if (self, arch) == (Self::Crb, Arch::Aarch64) {
            bail!("a machine of aarch64 has no TPM by crb, only by tis [{}]", code::NOT_THERE);
        }
        Ok(())
    }
}

/// The TPM of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm {
    /// Its interface.
    pub interface: Interface,
    /// Folder with its state, made when it is not there; none for a new TPM that goes with the machine.
    pub state: Option<PathBuf>,
}

impl Tpm {
    /// A new one, with the interface that the architecture usually has.
    pub fn new(arch: Arch) -> Self {
        let interface = match arch {
            Arch::X86_64 => Interface::Crb,
            Arch::Aarch64 => Interface::Tis,
        };
        Self { interface, state: None }
    }
}

/// A running TPM. Dropping it ends the process.
#[derive(Debug)]
pub struct Swtpm {
    child: Child,
    socket: PathBuf,
    interface: Interface,
}

impl Swtpm {
    /// Starts one, of which a socket lies in `work`.
    ///
    /// # Errors
    /// When its state cannot be made, or it does not start.
    pub fn start(tpm: &Tpm, work: &Path) -> Result<Self> {
        let step = ui::step("start the TPM");
        let state = tpm.state.clone().unwrap_or_else(|| work.join("tpm"));
        make(&state)?;
        let socket = work.join("tpm.sock");
        let mut child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", state.display())])
            .args(["--ctrl", &format!("type=unixio,path={}", socket.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It tells of every end of a connection.
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("cannot start swtpm; `cargo xtask setup` installs it [{}]", code::NOT_STARTED)
            })?;
        let end = Instant::now() + PATIENCE;
        while !socket.exists() {
            if let Some(status) = child.try_wait().context("a child can be waited for")? {
                bail!("swtpm ended with {status}; is its state in use? [{}]", code::TOOL_FAILED);
            }
            if Instant::now() >= end {
                let _ = child.kill();
                let _ = child.wait();
                bail!("swtpm opens no socket [{}]", code::TOOL_FAILED);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        step.done(format!("state in {}", state.display()));
        Ok(Self { child, socket, interface: tpm.interface })
    }

    /// What QEMU is told.
    pub fn arguments(&self, arch: Arch) -> Vec<OsString> {
        arguments(arch, self.interface, &self.socket)
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // It may have ended with the machine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(arch: Arch, interface: Interface, socket: &Path) -> Vec<OsString> {
    let device = match (arch, interface) {
        (Arch::X86_64, Interface::Crb) => "tpm-crb",
        (Arch::X86_64, Interface::Tis) => "tpm-tis",
        // The only one that this machine has.
        (Arch::Aarch64, _) => "tpm-tis-device",
    };
    let socket = socket.display().to_string().replace(',', ",,");
    let chardev = format!("socket,id=tpm0,path={socket}");
    let words = [
        "-chardev",
        &chardev,
        "-tpmdev",
        "emulator,id=tpm,chardev=tpm0",
        "-device",
        &format!("{device},tpmdev=tpm"),
    ];
    words.map(OsString::from).to_vec()
}

/// Makes the state of a new TPM with one bank of PCRs: firmware extends each bank that there is.
fn make(state: &Path) -> Result<()> {
    if state.join("tpm2-00.permall").exists() {
        return Ok(());
    }
    paths::create(state.to_owned())?;
    let output = Command::new("swtpm_setup")
        .args(["--tpm2", "--pcr-banks", "sha256", "--tpmstate"])
        .arg(state)
        .output()
        .with_context(|| {
            format!("cannot start swtpm_setup; `cargo xtask setup` installs it [{}]", code::NOT_STARTED)
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        bail!("swtpm_setup makes no TPM: {} [{}]", said.trim(), code::TOOL_FAILED);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_is_told_of_a_device_that_it_has() {
        let told = |arch, interface| {
            let words = arguments(arch, interface, Path::new("/w,x/tpm.sock"));
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let x86 = told(Arch::X86_64, Interface::Crb);
        assert!(x86.contains("path=/w,,x/tpm.sock") && x86.ends_with("tpm-crb,tpmdev=tpm"), "{x86}");
        assert!(told(Arch::X86_64, Interface::Tis).ends_with("tpm-tis,tpmdev=tpm"));
        assert!(told(Arch::Aarch64, Interface::Tis).ends_with("tpm-tis-device,tpmdev=tpm"));
    }

    #[test]
    fn a_tpm_starts_ends_and_keeps_its_state() {
        let work = tempfile::tempdir().unwrap();
        let state = work.path().join("kept");
        let tpm = Tpm { state: Some(state.clone()), ..Tpm::new(Arch::X86_64) };
        for _ in 0..2 {
            let swtpm = Swtpm::start(&tpm, work.path()).unwrap();
            let id = swtpm.child.id();
            drop(swtpm);
            assert!(!Path::new(&format!("/proc/{id}")).exists());
            let _ = std::fs::remove_file(work.path().join("tpm.sock"));
            assert!(state.join("tpm2-00.permall").exists());
        }
    }
}
