//! A machine in QEMU: started, watched by its console, steered over QMP.
//!
//! On x86_64 it is a q35 with an Intel IOMMU (which PVH dom0 needs), a processor with nested paging and an
//! e1000e; on aarch64 a `virt` with EL2, a GICv3 and a virtio card on a transport in memory. The network is
//! QEMU's own (the host is 10.0.2.2 from inside), and there is no screen.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;
use proto_handoff::tree::{self, Module, Start};
use proto_manifest::table::DeviceKind;
use serde_json::{Value, json};

use crate::build::{Arch, Built, Transport};
use crate::coded::OrCode;
use crate::console::{Line, Speakers};
use crate::qmp::Qmp;
use crate::setup::{Firmware, Stock};
use crate::swtpm::{Swtpm, Tpm};
use crate::{image, paths, slot, ui};

/// Name of the network's host side for [`Machine::set_link`].
pub const NETWORK: &str = "n0";

/// How long the host may take to give a machine its memory.
const SETTLING: Duration = Duration::from_secs(60);

/// How many lines of the console an error shows.
const TAIL_LINES: usize = 25;

/// Where QEMU puts dom0 for Xen on aarch64; the archive follows. RAM begins at 1 GiB, and Xen and the device
/// tree lie below this.
const MODULES_AT: u64 = 0x4c00_0000;
/// The file of a disk that goes with the machine.
const FRESH: &str = "disk.img";

/// The disk's serial number.
pub const SERIAL: &str = "sarsen";

/// The transport of the disk on aarch64, if the board gives it to no domain.
const DISK_TRANSPORT: u8 = 0;

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its processor.
    pub arch: Arch,
    /// How it boots.
    pub boot: Boot,
    /// aarch64: the virtio transports of driver domains, with what is on them.
    pub transports: Vec<Transport>,
    /// The disk of a machine that does not boot from it.
    pub disk: Disk,
    /// Virtual processors; one is the default, for with two the emulator faults about once in 2,500 starts.
    pub smp: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Whether the guest may reset itself; otherwise a reset ends QEMU.
    pub reboot: bool,
    /// Whether the machine has all its memory before it is switched on, as a real one. Otherwise the host
    /// gives each page when it is touched for the first time, which takes part of the guest's time. Power-on
    /// is then when the machine is let run, and not when QEMU starts.
    pub settled: bool,
    /// Where to write what crosses the network, as a pcap file.
    pub pcap: Option<PathBuf>,
    /// Its TPM; without one the machine has none.
    pub tpm: Option<Tpm>,
    /// More arguments for QEMU.
    pub extra: Vec<OsString>,
}

/// The disk of a machine that does not boot from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// It has none.
    None,
    /// One with partitions and nothing in them, which goes with the machine.
    Fresh,
    /// This file. Writes go to it.
    File(PathBuf),
}

/// How a machine boots.
#[derive(Debug, Clone)]
pub enum Boot {
    /// QEMU itself loads Xen: the fast inner loop. `folder` holds the files `dom0` and `archive.cpio`.
    Direct {
        /// Xen.
        xen: PathBuf,
        /// Xen's command line.
        command_line: String,
        /// dom0's command line.
        dom0_command_line: String,
        /// Folder with dom0 and archive.
        folder: PathBuf,
    },
    /// Firmware and boot loader, from a disk image.
    Disk {
        /// The image.
        image: PathBuf,
        /// Whether writes go to the image; otherwise they are dropped with the machine.
        keep_writes: bool,
        /// What the machine runs first.
        firmware: Firmware,
    },
}

/// Called for each line of the console, in order, from the thread that reads it.
pub type Listener = Box<dyn FnMut(&Line) + Send>;

/// A running machine. Dropping it ends QEMU.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    stdin: Option<ChildStdin>,
    qmp: Option<Qmp>,
    log: Arc<Log>,
    started: Instant,
    /// It goes on after a reset.
    resets: bool,
    /// First line that [`Machine::wait_for`] has not looked at.
    next: usize,
    /// Ends after QEMU.
    tpm: Option<Swtpm>,
    _folder: tempfile::TempDir,
}

#[derive(Debug, Default)]
struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    ended: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A listener that panicked has not harmed the lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    /// Starts QEMU. Prints the command.
    ///
    /// # Errors
    /// When QEMU cannot be started or does not open its control socket; what it said is in the error.
    pub fn start(options: &Options, listener: Option<Listener>) -> Result<Self> {
        let step = ui::step("start the machine");
        let folder =
            tempfile::Builder::new().prefix("sarsen-").tempdir().context("cannot make a temporary folder")?;
        let tpm = options.tpm.as_ref().map(|tpm| Swtpm::start(tpm, folder.path())).transpose()?;
        let tpm_arguments = tpm.as_ref().map(|tpm| tpm.arguments(options.arch)).unwrap_or_default();
        match &options.boot {
            Boot::Disk { firmware: Firmware::Uefi { variables, .. }, .. } => {
                std::fs::copy(variables, folder.path().join("vars.fd"))
                    .context("cannot copy OVMF's variables")?;
            }
            Boot::Direct { .. } if options.arch == Arch::Aarch64 => {
                let tree = device_tree(options, folder.path(), &tpm_arguments)?;
                paths::write(&folder.path().join("machine.dtb"), tree)?;
            }
            _ => {}
        }
        if let (Boot::Direct { .. }, Disk::Fresh) = (&options.boot, &options.disk) {
            image::blank(&folder.path().join(FRESH))?;
        }
        let program = options.arch.qemu();
        let arguments = arguments(options, folder.path().to_owned(), &tpm_arguments);
        step.say(format!("$ {program} {}", shown(&arguments)));
        let mut command = Command::new(program);
        if let Boot::Direct { folder, .. } = &options.boot {
            // QEMU splits `-initrd` at spaces and commas: relative names have none.
            command.current_dir(folder);
        }
        let mut child = command
            .args(&arguments)
            // A Ctrl-C at the terminal is ours to handle.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!("cannot start {program}; `cargo xtask setup` installs it [{}]", code::NOT_STARTED)
            })?;
        let log = Arc::new(Log::default());
        let stdout = child.stdout.take().context("QEMU's output is a pipe")?;
        let mut stderr = child.stderr.take().context("QEMU's errors are a pipe")?;
        let stdin = child.stdin.take();
        let mut machine = Self {
            child,
            stdin,
            qmp: None,
            log,
            started: Instant::now(),
            resets: options.reboot,
            next: 0,
            tpm,
            _folder: folder,
        };
        let mut console = Some((stdout, listener));
        let mut listen = |machine: &Self| {
            let (log, started) = (Arc::clone(&machine.log), machine.started);
            if let Some((stdout, listener)) = console.take() {
                std::thread::spawn(move || read_console(stdout, &log, started, listener));
            }
        };
        let patience = if options.settled {
            SETTLING
        } else {
            listen(&machine);
            Duration::from_secs(10)
        };
        match Qmp::connect(&machine._folder.path().join("qmp"), patience) {
            Ok(qmp) => machine.qmp = Some(qmp),
            Err(error) => {
                let _ = machine.child.kill();
                let mut said = String::new();
                let _ = stderr.read_to_string(&mut said);
                return Err(error.context(format!(
                    "QEMU did not start: {} [{}]",
                    said.trim(),
                    code::QEMU_FAILED
                )));
            }
        }
        // QEMU's later warnings belong to nobody; they must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        if options.settled {
            machine.started = Instant::now();
            listen(&machine);
            machine.qmp("cont", json!({}))?;
        }
        step.done("");
        Ok(machine)
    }

    /// Waits for a line that contains `pattern`, among those that no earlier call has passed.
    ///
    /// # Errors
    /// When time runs out, QEMU ends, or Xen or dom0 dies; with the end of the console.
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> Result<Line> {
        self.wait_for_line(&format!("a line with `{pattern}`"), timeout, |line| line.text.contains(pattern))
    }

    /// Waits for a line of one speaker (`xen`, `dom0`, a domain's name) that contains `pattern`.
    ///
    /// # Errors
    /// As [`Machine::wait_for`].
    pub fn wait_for_from(&mut self, who: &str, pattern: &str, timeout: Duration) -> Result<Line> {
        self.wait_for_line(&format!("a line of {who} with `{pattern}`"), timeout, |line| {
            line.who == who && line.text.contains(pattern)
        })
    }

    /// Waits for a line that `wanted` accepts; `what` names it in the error.
    ///
    /// # Errors
    /// As [`Machine::wait_for`].
    pub fn wait_for_line(
        &mut self,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        let end = Instant::now() + timeout;
        let mut state = self.log.lock();
        loop {
            while let Some(line) = state.lines.get(self.next) {
                self.next += 1;
                if wanted(line) {
                    return Ok(line.clone());
                }
                if let Some(reason) = fatal(line) {
                    let line = line.clone();
                    drop(state);
                    // What follows the line tells more.
                    std::thread::sleep(Duration::from_millis(500));
                    bail!("waited for {what}: {reason}: {} [{}]\n{}", line.text, code::MACHINE, self.tail());
                }
            }
            if state.ended {
                drop(state);
                bail!("waited for {what}: QEMU ended [{}]\n{}", code::MACHINE, self.tail());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                let seconds = timeout.as_secs_f64();
                bail!("waited for {what}: not seen within {seconds} s [{}]\n{}", code::MACHINE, self.tail());
            }
            state = self.log.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.log.lock().lines.clone()
    }

    /// The lines so far but the first `skip`.
    pub fn lines_from(&self, skip: usize) -> Vec<Line> {
        self.log.lock().lines.iter().skip(skip).cloned().collect()
    }

    /// The console's last lines, one a line.
    pub fn tail(&self) -> String {
        let state = self.log.lock();
        let lines = &state.lines[state.lines.len().saturating_sub(TAIL_LINES)..];
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Types text and a line end at the serial console.
    ///
    /// # Errors
    /// When QEMU has gone.
    pub fn type_line(&mut self, text: &str) -> Result<()> {
        self.type_bytes(format!("{text}\r").as_bytes())
    }

    /// Types bytes at the serial console.
    ///
    /// # Errors
    /// When QEMU has gone.
    pub fn type_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the console's input was given away")?;
        stdin.write_all(bytes).and_then(|()| stdin.flush()).context("QEMU takes no more input")
    }

    /// Gives the serial console's input away, e.g. to a thread that forwards the user's.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Runs a QMP command.
    ///
    /// # Errors
    /// When QEMU refuses it or has gone.
    pub fn qmp(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let qmp = self.qmp.as_mut().context("QEMU's control connection is closed");
        qmp.and_then(|qmp| qmp.command(name, arguments)).or_code(code::QEMU_SILENT)
    }

    /// Pulls the network cable, or puts it back.
    ///
    /// # Errors
    /// As [`Machine::qmp`].
    pub fn set_link(&mut self, up: bool) -> Result<()> {
        self.qmp("set_link", json!({ "name": NETWORK, "up": up })).map(|_| ())
    }

    /// Resets the machine, as by its button.
    ///
    /// # Errors
    /// As [`Machine::qmp`].
    pub fn reset(&mut self) -> Result<()> {
        self.qmp("system_reset", json!({})).map(|_| ())
    }

    /// The time since power-on, by the clock of [`Line::at`].
    pub fn since_power_on(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says why nothing good can come any more: QEMU ended, or Xen or dom0 died and the machine is not reset for it.
    pub fn trouble(&mut self) -> Option<String> {
        let found = if self.resets {
            None
        } else {
            let state = self.log.lock();
            state.lines.iter().find_map(|line| fatal(line).map(|reason| format!("{reason}: {}", line.text)))
        };
        found.or_else(|| (!self.running()).then(|| "QEMU ended".to_owned()))
    }

    /// Whether QEMU still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until QEMU ends by itself, or `timeout`; says whether it ended.
    pub fn wait_end(&mut self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        while self.running() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Takes the power away: QEMU and the TPM are killed at whatever they do. What the guest had not yet been told is
    /// written may be written or not.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What it keeps is free for the next one now.
        self.tpm = None;
    }

    /// Ends QEMU: asks over QMP, and insists after five seconds.
    pub fn quit(&mut self) {
        let _ = self.qmp("quit", json!({}));
        if !self.wait_end(Duration::from_secs(5)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.running() {
            self.quit();
        }
    }
}

/// Says of a line that nothing good can follow it.
fn fatal(line: &Line) -> Option<&'static str> {
    if line.who != "xen" {
        return None;
    }
    let text = &line.text;
    if text.contains("d0v0 Triple fault") {
        Some("dom0 died of a triple fault (with more than one processor this can be the emulator's fault)")
    } else if text.contains("Panic on CPU") {
        Some("Xen panicked")
    } else if text.contains("Hardware Dom0 crashed") || text.contains("Hardware Dom0 halted") {
        Some("dom0 ended")
    } else {
        None
    }
}

fn read_console(mut console: impl Read, log: &Log, started: Instant, mut listener: Option<Listener>) {
    let mut speakers = Speakers::default();
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    let mut take = |raw: &[u8]| {
        let line = speakers.line(started.elapsed(), raw);
        if let Some(listener) = &mut listener {
            listener(&line);
        }
        log.lock().lines.push(line);
        log.changed.notify_all();
    };
    while let Ok(count @ 1..) = console.read(&mut buffer) {
        pending.extend_from_slice(&buffer[..count]);
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let raw: Vec<u8> = pending.drain(..=end).collect();
            take(&raw[..end]);
        }
    }
    if !pending.is_empty() {
        take(&pending);
    }
    log.lock().ended = true;
    log.changed.notify_all();
}

/// QEMU's arguments.
fn arguments(options: &Options, work: PathBuf, tpm: &[OsString]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    add(&["-accel", "tcg,thread=multi", "-M"]);
    let smm = options.has_smm();
    match options.arch {
        Arch::X86_64 => add(&[
            if smm { "q35,kernel-irqchip=split,smm=on" } else { "q35,kernel-irqchip=split,smm=off" },
            "-cpu",
            "max,-rdtscp",
            "-vga",
            "none",
            "-device",
            "intel-iommu,intremap=on,eim=on",
        ]),
        Arch::Aarch64 => add(&[VIRT, "-cpu", CORTEX, "-global", "virtio-mmio.force-legacy=false"]),
    }
    add(&["-smp", &options.smp.to_string(), "-m", &format!("{}M", options.memory_mib)]);
    add(&["-nodefaults", "-display", "none"]);
    add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    add(&["-qmp", &format!("unix:{},server=on,wait=off", escaped(&work.join("qmp")))]);
    let card = match (options.arch, options.transport(DeviceKind::VirtioNet)) {
        // Without its boot ROM, which nothing here boots from.
        (Arch::X86_64, _) => Some(format!("e1000e,netdev={NETWORK},id=nic,romfile=")),
        (Arch::Aarch64, Some(transport)) => {
            Some(format!("virtio-net-device,netdev={NETWORK},id=nic,bus=virtio-mmio-bus.{transport}"))
        }
        // The board has none.
        (Arch::Aarch64, None) => None,
    };
    if let Some(card) = card {
        add(&["-netdev", &format!("user,id={NETWORK}"), "-device", &card]);
    }
    if let Some(file) = &options.pcap {
        add(&["-object", &format!("filter-dump,id=dump,netdev={NETWORK},file={}", escaped(file))]);
    }
    if !options.reboot {
        add(&["-no-reboot"]);
    }
    if options.settled {
        add(&["-mem-prealloc", "-S"]);
    }
    match &options.boot {
        Boot::Direct { xen, command_line, dom0_command_line, folder } => {
            add(&["-kernel", &xen.display().to_string()]);
            match options.arch {
                Arch::X86_64 => {
                    let words = dom0_command_line.replace(',', ",,");
                    let modules = format!("{},archive.cpio", format!("dom0 {words}").trim_end());
                    add(&["-append", command_line, "-initrd", &modules]);
                }
                Arch::Aarch64 => {
                    add(&["-dtb", &work.join("machine.dtb").display().to_string()]);
                    for module in modules(folder) {
                        let file = escaped(std::path::Path::new(module.file));
                        add(&["-device", &format!("loader,file={file},addr={:#x},force-raw=on", module.at)]);
                    }
                }
            }
        }
        Boot::Disk { firmware: Firmware::Uefi { code, .. }, .. } => {
            let flash = |unit: u8, file: PathBuf, more: &str| {
                format!("if=pflash,format=raw,unit={unit},file={}{more}", escaped(&file))
            };
            add(&["-drive", &flash(0, code.clone(), ",readonly=on")]);
            add(&["-drive", &flash(1, work.join("vars.fd"), "")]);
            if smm {
                add(&["-global", "driver=cfi.pflash01,property=secure,value=on"]);
            }
        }
        Boot::Disk { firmware: Firmware::UBoot { image }, .. } => {
            add(&["-bios", &image.display().to_string()]);
            // U-Boot gives it an address; without firmware nobody does. A q35 has one in its chipset.
            add(&["-device", "i6300esb"]);
        }
    }
    let disk = match &options.boot {
        Boot::Disk { image, keep_writes, .. } => Some((image.clone(), *keep_writes, ",bootindex=0")),
        Boot::Direct { .. } => match &options.disk {
            Disk::None => None,
            Disk::Fresh => Some((work.join(FRESH), true, "")),
            Disk::File(image) => Some((image.clone(), true, "")),
        },
    };
    if let Some((image, keep_writes, boot)) = disk {
        let snapshot = if keep_writes { "" } else { ",snapshot=on" };
        add(&["-drive", &format!("if=none,id=disk,format=raw,file={}{snapshot}", escaped(&image))]);
        let device = match options.arch {
            // Behind the IOMMU, as all that is on PCI.
            Arch::X86_64 => format!("nvme,drive=disk,serial={SERIAL}{boot}"),
            Arch::Aarch64 => {
                let transport = options.transport(DeviceKind::VirtioBlk).unwrap_or(DISK_TRANSPORT);
                format!("virtio-blk-device,drive=disk,serial={SERIAL},bus=virtio-mmio-bus.{transport}")
            }
        };
        add(&["-device", &device]);
    }
    arguments.extend(tpm.iter().chain(&options.extra).cloned());
    arguments
}

/// The machine on aarch64: EL2 for Xen.
const VIRT: &str = "virt,virtualization=on,gic-version=3";
/// Its processor.
const CORTEX: &str = "cortex-a57";

/// What QEMU itself puts into memory for Xen on aarch64: dom0, and the archive on the next 2 MiB.
fn modules(folder: &std::path::Path) -> [Placed; 2] {
    let length = |file: &str| std::fs::metadata(folder.join(file)).map_or(0, |meta| meta.len());
    let dom0 = Placed { file: "dom0", at: MODULES_AT, length: length("dom0") };
    let archive = (MODULES_AT + dom0.length).next_multiple_of(2 << 20);
    [dom0, Placed { file: "archive.cpio", at: archive, length: length("archive.cpio") }]
}

/// A file in memory.
struct Placed {
    file: &'static str,
    at: u64,
    length: u64,
}

/// The device tree that QEMU makes of such a machine, with what Xen is to find in it. `work` is a folder that is there,
/// `tpm` what QEMU is told of a TPM.
///
/// # Errors
/// When QEMU does not load the system into the machine, or makes no tree; and those of [`tree::extend`].
pub fn device_tree(options: &Options, work: &std::path::Path, tpm: &[OsString]) -> Result<Vec<u8>> {
    let Boot::Direct { command_line, dom0_command_line, folder, .. } = &options.boot else {
        bail!("only a direct boot has its device tree from here");
    };
    let file = work.join("qemu.dtb");
    let output = Command::new(options.arch.qemu())
        .arg("-M")
        .arg(format!("{VIRT},dumpdtb={}", escaped(&file)))
        .args(["-cpu", CORTEX, "-smp", &options.smp.to_string()])
        .args(["-m", &format!("{}M", options.memory_mib), "-nodefaults", "-display", "none"])
        .args(tpm)
        .output()
        .with_context(|| format!("cannot start {}", options.arch.qemu()))?;
    if !output.status.success() {
        bail!(
            "QEMU makes no device tree: {} [{}]",
            String::from_utf8_lossy(&output.stderr).trim(),
            code::QEMU_FAILED
        );
    }
    let [dom0, archive] = modules(folder).map(|placed| Module { at: placed.at, length: placed.length });
    let give_away = slot::give_away(&options.transports);
    let start = Start {
        xen: command_line,
        dom0: dom0_command_line,
        kernel: dom0,
        ramdisk: archive,
        give_away: &give_away.iter().map(String::as_str).collect::<Vec<_>>(),
        handoff: None,
        event_log: None,
        provisioning: None,
        seed: None,
        kept_at: None,
    };
    Ok(tree::extend(&paths::read(&file)?, &start)?)
}

/// QEMU's option parser takes a doubled comma for one.
fn escaped(path: &std::path::Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn shown(arguments: &[OsString]) -> String {
    let quote = |word: &OsString| {
        let word = word.to_string_lossy();
        if word.contains([' ', '*', '$']) { format!("'{word}'") } else { word.into_owned() }
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

impl Options {
    /// The defaults around a way of booting.
    pub fn new(arch: Arch, boot: Boot, memory_mib: u32) -> Self {
        let (transports, extra) = (Vec::new(), Vec::new());
        let (smp, reboot, settled, pcap, disk, tpm) = (1, false, false, None, Disk::None, None);
        Self { arch, boot, transports, disk, smp, memory_mib, reboot, settled, pcap, tpm, extra }
    }

    /// The transport of the device of this kind.
    fn transport(&self, kind: DeviceKind) -> Option<u8> {
        self.transports.iter().find(|transport| transport.kind == kind).map(|transport| transport.number)
    }

    /// Whether its firmware needs the system management mode.
    fn has_smm(&self) -> bool {
        matches!(&self.boot, Boot::Disk { firmware: Firmware::Uefi { smm: true, .. }, .. })
    }

    fn of(built: &Built, boot: Boot) -> Self {
        let options = Self::new(built.arch, boot, built.machine.memory_mib);
        let disk = if built.has_disk { Disk::Fresh } else { Disk::None };
        Self { transports: built.transports.clone(), disk, ..options }
    }

    /// A machine into which QEMU loads a build.
    pub fn direct(built: &Built, stock: &Stock) -> Self {
        let boot = Boot::Direct {
            xen: stock.xen.clone(),
            command_line: built.xen_command_line(),
            dom0_command_line: String::new(),
            folder: built.folder.clone(),
        };
        Self::of(built, boot)
    }

    /// A machine that boots a disk image through its firmware. Writes go to the image.
    pub fn disk(image: PathBuf, built: &Built, stock: &Stock) -> Self {
        let boot = Boot::Disk { image, keep_writes: true, firmware: stock.firmware.clone() };
        Self::of(built, boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(boot: Boot) -> String {
        shown(&arguments(&Options::new(Arch::X86_64, boot, 1024), PathBuf::from("/w,x"), &[]))
    }

    #[test]
    fn aarch64_boots_a_disk_through_its_firmware() {
        let firmware = Firmware::UBoot { image: "/u-boot.bin".into() };
        let boot = Boot::Disk { image: "/disk,img".into(), keep_writes: false, firmware };
        let mut options = Options::new(Arch::Aarch64, boot, 1024);
        let words = shown(&arguments(&options, PathBuf::from("/w"), &[]));
        assert!(
            words.contains("virtio-blk-device,drive=disk,serial=sarsen,bus=virtio-mmio-bus.0"),
            "{words}"
        );
        let at = |kind, number| Transport { kind, number };
        options.transports = vec![at(DeviceKind::VirtioBlk, 16), at(DeviceKind::VirtioNet, 24)];
        let words = shown(&arguments(&options, PathBuf::from("/w"), &[]));
        assert!(
            words.contains("virtio-blk-device,drive=disk,serial=sarsen,bus=virtio-mmio-bus.16"),
            "{words}"
        );
        assert!(
            words.contains("-bios /u-boot.bin") && words.contains("file=/disk,,img,snapshot=on"),
            "{words}"
        );
        assert!(words.contains("virtio-net-device,netdev=n0,id=nic,bus=virtio-mmio-bus.24"), "{words}");
        assert!(!words.contains("iommu"), "{words}");
    }

    #[test]
    fn firmware_with_secure_boot_has_its_variables_to_itself() {
        let boot = |smm| Boot::Disk {
            image: "/disk.img".into(),
            keep_writes: false,
            firmware: Firmware::Uefi {
                code: "/code.fd".into(),
                variables: "/vars.fd".into(),
                grub_modules: "/grub".into(),
                smm,
            },
        };
        let secure = words(boot(true));
        assert!(
            secure.contains("smm=on") && secure.contains("cfi.pflash01,property=secure,value=on"),
            "{secure}"
        );
        let ordinary = words(boot(false));
        assert!(ordinary.contains("smm=off") && !ordinary.contains("cfi.pflash01"), "{ordinary}");
    }

    #[test]
    fn a_machine_has_a_disk_that_it_does_not_boot_from() {
        let boot = Boot::Direct {
            xen: "/x/xen.elf".into(),
            command_line: String::new(),
            dom0_command_line: String::new(),
            folder: "/x".into(),
        };
        let mut options = Options::new(Arch::X86_64, boot, 1024);
        assert!(!shown(&arguments(&options, PathBuf::from("/w"), &[])).contains("nvme"));
        options.disk = Disk::Fresh;
        let words = shown(&arguments(&options, PathBuf::from("/w"), &[]));
        assert!(words.contains("file=/w/disk.img -device nvme,drive=disk,serial=sarsen"), "{words}");
        options.disk = Disk::File("/d,isk".into());
        let words = shown(&arguments(&options, PathBuf::from("/w"), &[]));
        assert!(words.contains("file=/d,,isk -device nvme,drive=disk,serial=sarsen"), "{words}");
        assert!(!words.contains("bootindex"), "{words}");
    }

    #[test]
    fn a_settled_machine_waits_with_all_its_memory() {
        let words = |settled| {
            let boot = Boot::Disk {
                image: "/disk.img".into(),
                keep_writes: false,
                firmware: Firmware::UBoot { image: "/u-boot.bin".into() },
            };
            let options = Options { settled, ..Options::new(Arch::Aarch64, boot, 1024) };
            shown(&arguments(&options, PathBuf::from("/w"), &[]))
        };
        assert!(words(true).contains("-mem-prealloc -S"));
        assert!(!words(false).contains("-S"));
    }

    #[test]
    fn the_archive_lies_behind_dom0() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dom0"), vec![0; (2 << 20) + 1]).unwrap();
        std::fs::write(folder.path().join("archive.cpio"), [0; 5]).unwrap();
        let [dom0, archive] = modules(folder.path());
        assert_eq!((dom0.at, dom0.length), (0x4c00_0000, (2 << 20) + 1));
        assert_eq!((archive.at, archive.length), (0x4c40_0000, 5));
    }

    #[test]
    fn direct_boot_names_xen_and_both_modules() {
        let boot = |dom0: &str| Boot::Direct {
            xen: "/x/xen.elf".into(),
            command_line: "dom0=pvh a".into(),
            dom0_command_line: dom0.into(),
            folder: "/x".into(),
        };
        let told = words(boot("drill=net:1,2"));
        assert!(told.contains("-initrd 'dom0 drill=net:1,,2,archive.cpio'"), "{told}");
        let words = words(boot(""));
        assert!(
            words.contains("-kernel /x/xen.elf -append 'dom0=pvh a' -initrd dom0,archive.cpio"),
            "{words}"
        );
        assert!(words.contains("unix:/w,,x/qmp,"), "{words}");
        assert!(words.contains("-no-reboot") && words.contains("-smp 1 -m 1024M"), "{words}");
    }

    #[test]
    fn only_xens_own_lines_are_fatal() {
        let line = |who: &str, text: &str| Line { at: Duration::ZERO, who: who.into(), text: text.into() };
        assert!(fatal(&line("xen", "Panic on CPU 0:")).is_some());
        assert!(fatal(&line("net", "Panic on CPU 0:")).is_none());
    }

    #[test]
    fn console_lines_arrive_whole_and_in_order() {
        let log = Log::default();
        read_console(&b"(XEN) a\r\nb\n(d1) c"[..], &log, Instant::now(), None);
        let state = log.lock();
        let said: Vec<_> = state.lines.iter().map(|line| format!("{} {}", line.who, line.text)).collect();
        assert_eq!(said, ["xen a", "dom0 b", "d1 c"]);
        assert!(state.ended);
    }
}
