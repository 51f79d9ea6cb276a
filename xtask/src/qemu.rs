//! A machine in QEMU: started, watched by its console, steered over QMP.
//!
//! The machine is a q35 with an Intel IOMMU (which PVH dom0 needs), a processor with nested paging, one
//! e1000e on user networking (the host is 10.0.2.2 from inside), and no screen.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::build::Built;
use crate::console::{Line, Speakers};
use crate::qmp::Qmp;
use crate::setup::Stock;
use crate::ui;

/// Name of the network's host side for [`Machine::set_link`].
pub const NETWORK: &str = "n0";

/// How many lines of the console an error shows.
const TAIL_LINES: usize = 25;

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// How it boots.
    pub boot: Boot,
    /// Virtual processors; one is the default, for with two the emulator faults about once in 2,500 starts.
    pub smp: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Whether the guest may reset itself; otherwise a reset ends QEMU.
    pub reboot: bool,
    /// Where to write what crosses the network, as a pcap file.
    pub pcap: Option<PathBuf>,
    /// More arguments for QEMU.
    pub extra: Vec<OsString>,
}

/// How a machine boots.
#[derive(Debug, Clone)]
pub enum Boot {
    /// QEMU itself loads Xen: the fast inner loop. `folder` holds the files `dom0` and `archive.cpio`.
    Direct {
        /// Xen's ELF file.
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
        /// OVMF's code and variables.
        stock: Stock,
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
    /// First line that [`Machine::wait_for`] has not looked at.
    next: usize,
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
        if let Boot::Disk { stock, .. } = &options.boot {
            std::fs::copy(&stock.ovmf_vars, folder.path().join("vars.fd"))
                .context("cannot copy OVMF's variables")?;
        }
        let arguments = arguments(options, folder.path().to_owned());
        step.say(format!("$ qemu-system-x86_64 {}", shown(&arguments)));
        let mut command = Command::new("qemu-system-x86_64");
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
            .context("cannot start qemu-system-x86_64; `cargo xtask setup` installs it")?;
        let started = Instant::now();
        let log = Arc::new(Log::default());
        let stdout = child.stdout.take().context("QEMU's output is a pipe")?;
        let mut stderr = child.stderr.take().context("QEMU's errors are a pipe")?;
        let reader = Arc::clone(&log);
        std::thread::spawn(move || read_console(stdout, &reader, started, listener));
        let stdin = child.stdin.take();
        let mut machine = Self { child, stdin, qmp: None, log, started, next: 0, _folder: folder };
        match Qmp::connect(&machine._folder.path().join("qmp"), Duration::from_secs(10)) {
            Ok(qmp) => machine.qmp = Some(qmp),
            Err(error) => {
                let _ = machine.child.kill();
                let mut said = String::new();
                let _ = stderr.read_to_string(&mut said);
                return Err(error.context(format!("QEMU did not start: {}", said.trim())));
            }
        }
        // QEMU's later warnings belong to nobody; they must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
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
                    bail!("waited for {what}: {reason}: {}\n{}", line.text, self.tail());
                }
            }
            if state.ended {
                drop(state);
                bail!("waited for {what}: QEMU ended\n{}", self.tail());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                bail!("waited for {what}: not seen within {} s\n{}", timeout.as_secs_f64(), self.tail());
            }
            state = self.log.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.log.lock().lines.clone()
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
        self.qmp.as_mut().context("QEMU's control connection is closed")?.command(name, arguments)
    }

    /// Pulls the network cable, or puts it back.
    ///
    /// # Errors
    /// As [`Machine::qmp`].
    pub fn set_link(&mut self, up: bool) -> Result<()> {
        self.qmp("set_link", json!({ "name": NETWORK, "up": up })).map(|_| ())
    }

    /// The time since power-on, by the clock of [`Line::at`].
    pub fn since_power_on(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says why nothing good can come any more: QEMU ended, or Xen or dom0 died.
    pub fn trouble(&mut self) -> Option<String> {
        let found = {
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
fn arguments(options: &Options, work: PathBuf) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    add(&["-accel", "tcg,thread=multi", "-M", "q35,kernel-irqchip=split,smm=off", "-cpu", "max,-rdtscp"]);
    add(&["-smp", &options.smp.to_string(), "-m", &format!("{}M", options.memory_mib)]);
    add(&["-nodefaults", "-vga", "none", "-display", "none"]);
    add(&["-device", "intel-iommu,intremap=on,eim=on"]);
    add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    add(&["-qmp", &format!("unix:{},server=on,wait=off", escaped(&work.join("qmp")))]);
    // Without its boot ROM, which nothing here boots from.
    add(&[
        "-netdev",
        &format!("user,id={NETWORK}"),
        "-device",
        &format!("e1000e,netdev={NETWORK},id=nic,romfile="),
    ]);
    if let Some(file) = &options.pcap {
        add(&["-object", &format!("filter-dump,id=dump,netdev={NETWORK},file={}", escaped(file))]);
    }
    if !options.reboot {
        add(&["-no-reboot"]);
    }
    match &options.boot {
        Boot::Direct { xen, command_line, dom0_command_line, .. } => {
            add(&["-kernel", &xen.display().to_string(), "-append", command_line]);
            let words = dom0_command_line.replace(',', ",,");
            add(&["-initrd", &format!("{},archive.cpio", format!("dom0 {words}").trim_end())]);
        }
        Boot::Disk { image, keep_writes, stock } => {
            let flash = |unit: u8, file: PathBuf, more: &str| {
                format!("if=pflash,format=raw,unit={unit},file={}{more}", escaped(&file))
            };
            add(&["-drive", &flash(0, stock.ovmf_code.clone(), ",readonly=on")]);
            add(&["-drive", &flash(1, work.join("vars.fd"), "")]);
            let snapshot = if *keep_writes { "" } else { ",snapshot=on" };
            add(&["-drive", &format!("if=none,id=disk,format=raw,file={}{snapshot}", escaped(image))]);
            add(&["-device", "nvme,drive=disk,serial=sarsen,bootindex=0"]);
        }
    }
    arguments.extend(options.extra.iter().cloned());
    arguments
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
    pub fn new(boot: Boot, memory_mib: u32) -> Self {
        Self { boot, smp: 1, memory_mib, reboot: false, pcap: None, extra: Vec::new() }
    }

    /// A machine into which QEMU loads a build.
    pub fn direct(built: &Built, stock: &Stock) -> Self {
        let boot = Boot::Direct {
            xen: stock.xen.clone(),
            command_line: built.xen_command_line(),
            dom0_command_line: String::new(),
            folder: built.folder.clone(),
        };
        Self::new(boot, built.machine.memory_mib)
    }

    /// A machine that boots a disk image through its firmware. Writes go to the image.
    pub fn disk(image: PathBuf, built: &Built, stock: &Stock) -> Self {
        let boot = Boot::Disk { image, keep_writes: true, stock: stock.clone() };
        Self::new(boot, built.machine.memory_mib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(boot: Boot) -> String {
        shown(&arguments(&Options::new(boot, 1024), PathBuf::from("/w,x")))
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
