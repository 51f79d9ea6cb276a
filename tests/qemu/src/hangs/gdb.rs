//! A client for the debugger's socket of QEMU: halts the machine, looks where its processor is, and has it stay or trip
//! there.
//!
//! It is the protocol of GDB, `$TEXT#SUM` each way, where a `+` says that the other side's was understood. The machine has one
//! processor.
//!
//! Source: GDB manual, appendix "GDB Remote Serial Protocol"; QEMU, `gdb-xml/i386-64bit.xml` and `aarch64-core.xml` for
//! the numbers of registers.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::qemu::Machine;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Bytes of the code that is told of a place.
pub(super) const CODE_BYTES: usize = 32;

/// Where a processor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The address of its next instruction.
    pub(super) at: u64,
    /// aarch64: its exception level.
    pub(super) level: u64,
    /// What is there; nothing if no memory is.
    pub(super) code: Vec<u8>,
    /// Whether the instruction ahead of it waits for an interrupt.
    pub(super) waits: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.at)
    }
}

/// What differs between processors.
struct Processor {
    /// The number of the register with the address of the next instruction.
    counter: u8,
    /// That of the register with the flags.
    flags: u8,
    /// A branch to itself.
    branch: &'static [u8],
    /// What waits for an interrupt.
    wait: &'static [u8],
    /// What is no instruction.
    undefined: &'static [u8],
    /// The flags with which no interrupt is taken.
    masked: fn(u64) -> u64,
}

impl Processor {
    fn of(arch: Arch) -> Self {
        match arch {
            // rip, eflags without IF; jmp ., hlt, ud2
            Arch::X86_64 => Self {
                counter: 16,
                flags: 17,
                branch: &[0xeb, 0xfe],
                wait: &[0xf4],
                undefined: &[0x0f, 0x0b],
                masked: |flags| flags & !(1 << 9),
            },
            // pc, cpsr with D, A, I and F; b ., wfi, udf #0
            Arch::Aarch64 => Self {
                counter: 32,
                flags: 33,
                branch: &[0, 0, 0, 0x14],
                wait: &[0x7f, 0x20, 0x03, 0xd5],
                undefined: &[0; 4],
                masked: |flags| flags | 0xf << 6,
            },
        }
    }
}

/// A machine in a debugger's hands.
pub(super) struct Gdb<S = UnixStream> {
    stream: S,
    processor: Processor,
    /// With the socket.
    _folder: Option<TempDir>,
}

impl Gdb {
    /// Takes a machine in hand. It runs on.
    pub(super) fn attach(machine: &mut Machine, arch: Arch) -> Result<Self> {
        // Paths of sockets are short.
        let folder = tempfile::Builder::new().prefix("sarsen-").tempdir().context("no temporary folder")?;
        let socket = folder.path().join("gdb");
        let line = format!("gdbserver unix:{},server=on,wait=off", socket.display());
        let said = machine.qmp("human-monitor-command", json!({ "command-line": line }))?;
        let stream = UnixStream::connect(&socket)
            .with_context(|| format!("QEMU does not open {} but says {said}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut gdb = Self { stream, processor: Processor::of(arch), _folder: Some(folder) };
        // Who asks for no description of the registers gets none of them by its number. The machine is halted by now.
        gdb.ask("qXfer:features:read:target.xml:0,fff")?;
        gdb.resume()?;
        Ok(gdb)
    }
}

impl<S: Read + Write> Gdb<S> {
    /// Halts the machine, and tells where its processor is.
    pub(super) fn halt(&mut self) -> Result<Place> {
        self.stream.write_all(&[3]).context("QEMU's debugger is gone")?;
        let said = self.answer()?;
        ensure!(said.starts_with(['S', 'T']), "the machine was to halt, and its debugger says `{said}`");
        let (at, flags) = (self.register(self.processor.counter)?.0, self.register(self.processor.flags)?.0);
        let wait = self.processor.wait;
        let waits = self.memory(at.wrapping_sub(wait.len() as u64), wait.len())? == wait;
        Ok(Place { at, level: flags >> 2 & 3, code: self.memory(at, CODE_BYTES)?, waits })
    }

    /// Lets it run on.
    pub(super) fn resume(&mut self) -> Result<()> {
        self.send("c")
    }

    /// Lets it run on at this place and nowhere else, taking no interrupt any more.
    pub(super) fn hang(&mut self, place: &Place) -> Result<()> {
        let Processor { flags: number, branch, masked, .. } = self.processor;
        self.plant(place, branch)?;
        let (flags, length) = self.register(number)?;
        let bytes = masked(flags).to_le_bytes();
        self.order(&format!("P{number:x}={}", hex(bytes.get(..length).context("no such register")?)))?;
        self.resume()
    }

    /// Lets it run on into what is no instruction.
    pub(super) fn trip(&mut self, place: &Place) -> Result<()> {
        self.plant(place, self.processor.undefined)?;
        self.resume()
    }

    fn plant(&mut self, place: &Place, code: &[u8]) -> Result<()> {
        self.order(&format!("M{:x},{:x}:{}", place.at, code.len(), hex(code)))
    }

    /// What is in memory; nothing if none is there.
    fn memory(&mut self, at: u64, length: usize) -> Result<Vec<u8>> {
        Ok(unhex(&self.ask(&format!("m{at:x},{length:x}"))?).unwrap_or_default())
    }

    /// A register and how many bytes it has. The machine is halted.
    fn register(&mut self, number: u8) -> Result<(u64, usize)> {
        let said = self.ask(&format!("p{number:x}"))?;
        let bytes = unhex(&said).filter(|bytes| matches!(bytes.len(), 1..=8));
        let bytes = bytes.with_context(|| format!("register {number} is `{said}`"))?;
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        Ok((value, bytes.len()))
    }

    fn order(&mut self, text: &str) -> Result<()> {
        let said = self.ask(text)?;
        ensure!(said == "OK", "QEMU's debugger says `{said}` to `{text}`");
        Ok(())
    }

    fn ask(&mut self, text: &str) -> Result<String> {
        self.send(text)?;
        self.answer()
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let packet = format!("${text}#{:02x}", sum(text.as_bytes()));
        self.stream.write_all(packet.as_bytes()).context("QEMU's debugger is gone")
    }

    /// What comes next, understood.
    fn answer(&mut self) -> Result<String> {
        loop {
            match self.byte()? {
                b'$' => break,
                b'-' => bail!("QEMU's debugger did not understand"),
                _ => {}
            }
        }
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => text.push(byte),
            }
        }
        let told = unhex(&String::from_utf8_lossy(&[self.byte()?, self.byte()?]));
        ensure!(told.as_deref() == Some(&[sum(&text)]), "QEMU's debugger garbles what it says");
        self.stream.write_all(b"+").context("QEMU's debugger is gone")?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        loop {
            match self.stream.read_exact(&mut byte) {
                Ok(()) => return Ok(byte[0]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("QEMU's debugger does not answer"),
            }
        }
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let (pairs, []) = digits.as_ref()?.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Answers in this order to whatever is sent, and keeps that.
    #[derive(Default)]
    struct Peer {
        sent: Vec<u8>,
        answers: VecDeque<u8>,
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.answers.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.sent.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn gdb(arch: Arch, answers: &[&str]) -> Gdb<Peer> {
        let packets = answers.iter().map(|text| format!("+${text}#{:02x}", sum(text.as_bytes())));
        let stream = Peer { answers: packets.collect::<String>().into_bytes().into(), ..Peer::default() };
        Gdb { stream, processor: Processor::of(arch), _folder: None }
    }

    #[test]
    fn a_processor_is_halted_and_hangs_or_trips() {
        let code = "00".repeat(CODE_BYTES);
        let mut x86 =
            gdb(Arch::X86_64, &["T02", "00002040d082ffff", "02020000", "f4", &code, "OK", "02020000", "OK"]);
        let place = x86.halt().unwrap();
        assert_eq!((place.at, place.code.len(), place.waits), (0xffff_82d0_4020_0000, CODE_BYTES, true));
        x86.hang(&place).unwrap();
        let sent = String::from_utf8(x86.stream.sent).unwrap();
        let orders: Vec<&str> = sent.split(['+', '\u{3}']).filter(|order| !order.is_empty()).collect();
        assert_eq!(
            orders,
            [
                "$p10#d1",
                "$p11#d2",
                "$mffff82d0401fffff,1#f3",
                "$mffff82d040200000,20#17",
                "$Mffff82d040200000,2:ebfe#93",
                "$p11#d2",
                "$P11=02000000#71",
                "$c#63"
            ]
        );

        let mut arm = gdb(
            Arch::Aarch64,
            &["S02", "0010000000000000", "09000020", "7f2003d5", "E14", "OK", "09000020", "OK"],
        );
        let place = arm.halt().unwrap();
        assert_eq!(place, Place { at: 0x1000, level: 2, code: Vec::new(), waits: true });
        arm.hang(&place).unwrap();
        let sent = String::from_utf8(arm.stream.sent).unwrap();
        assert!(sent.contains("$M1000,4:00000014#") && sent.contains("$P21=c9030020#"), "{sent}");

        let mut x86 = gdb(Arch::X86_64, &["OK"]);
        x86.trip(&place).unwrap();
        assert_eq!(x86.stream.sent, b"$M1000,2:0f0b#ce+$c#63");
    }

    #[test]
    fn what_is_garbled_refused_or_missing_is_an_error() {
        let mut garbled = gdb(Arch::X86_64, &["T02"]);
        garbled.stream.answers.pop_back();
        garbled.stream.answers.push_back(b'0');
        assert!(garbled.halt().unwrap_err().to_string().contains("garbles"));
        for (answers, why) in [
            (&["OK"][..], "was to halt"),
            (&["T02", "E14"], "register 16 is `E14`"),
            (&["T02"], "does not answer"),
        ] {
            let error = gdb(Arch::X86_64, answers).halt().unwrap_err();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        let place = Place { at: 0, level: 0, code: Vec::new(), waits: false };
        let error = gdb(Arch::X86_64, &["E14"]).hang(&place).unwrap_err();
        assert_eq!(error.to_string(), "QEMU's debugger says `E14` to `M0,2:ebfe`");
    }
}
