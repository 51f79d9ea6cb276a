//! What needs a domain of its own, the parent's side: dom0 starts the image of this domain as an
//! application, whose case stands on its command line, and tells how it ended.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use board_support_rt::{Boot, timer};
use embassy_futures::select::{Either, select};
use proto_manifest::{archive::Archive, wiring::Wiring};
use proto_svc::{
    device::{AppDefinition, AppId, AppState, FromControl, MAX_PIECE, Refusal, StopReason, ToControl},
    text::clipped,
};
use sha2::{Digest, Sha256};
use stubdoms_service::{Owned, open_dom0};

use crate::tally::{Tally, Verdict, ensure, same};

/// The provisioning file that holds the image.
const IMAGE: &str = "guest.elf";
/// Memory of a child where it does not matter.
const MEMORY_KIB: u32 = 8192;
/// How long a child and dom0 may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Cases of which the child does not come back, and how it must end.
const ENDINGS: &[(&str, StopReason)] = &[
    ("shutdown_poweroff", StopReason::PowerOff),
    ("shutdown_reboot", StopReason::Reboot),
    ("shutdown_crash", StopReason::Crash),
    ("shutdown_watchdog", StopReason::Watchdog),
    ("shutdown_other", StopReason::Code(77)),
    ("panic", StopReason::Crash),
    ("write_to_code", StopReason::Crash),
    ("write_to_constants", StopReason::Crash),
    ("write_to_guard", StopReason::Crash),
    ("read_null", StopReason::Crash),
    ("execute_data", StopReason::Crash),
    ("stack_overflow", StopReason::Crash),
    ("heap_exhausted", StopReason::Crash),
];

/// The channel to dom0 is given back open: a service that closes it counts as broken.
pub(crate) async fn check(tally: &mut Tally, boot: &Boot, wiring: &Wiring) -> Option<Host> {
    let mut host = match Host::open(boot, wiring).await {
        Ok(host) => host,
        Err(why) => {
            tally.case("children_can_be_started", Err(why)).await;
            return None;
        }
    };
    tally.case("children_can_be_started", Ok(())).await;
    for (case, reason) in ENDINGS {
        tally.case(case, host.ends(case, *reason).await).await;
    }
    tally.case("stopped_by_order", host.stopped().await).await;
    tally.case("child_has_its_memory", host.memory().await).await;
    tally.case("child_has_a_console", host.report("console").await.map(drop)).await;
    tally.case("two_lives_draw_other_numbers", host.entropy().await).await;
    tally.case("too_little_memory_is_refused", host.too_little().await).await;
    tally.case("child_has_its_vcpus", host.vcpus().await).await;
    tally.case("second_vcpu_starts_and_stops", host.second_vcpu().await).await;
    Some(host)
}

/// How a child lived.
struct Life {
    console: String,
    reason: StopReason,
}

/// dom0, as who starts applications.
pub(crate) struct Host {
    channel: Owned<FromControl, ToControl>,
    image: &'static [u8],
    /// What is changed in it: the byte at this place is the number of vCPUs.
    note: Option<usize>,
    vcpus: u8,
    lives: u8,
}

/// The note by which our images say that they run on one vCPU: lengths of name and value, number, name; the value
/// follows.
const NOTE_VCPUS: [u8; 20] = *b"\x07\0\0\0\x04\0\0\0\x01\0\0\0Sarsen\0\0";

impl Host {
    async fn open(boot: &Boot, wiring: &Wiring) -> Result<Self, String> {
        let archive = boot.module(1).ok_or("no provisioning files")?;
        let archive = Archive::open(archive).map_err(|error| format!("provisioning files: {error}"))?;
        let image = archive.find(IMAGE).ok_or("no image among the provisioning files")?;
        Ok(Self { channel: open_dom0(wiring).await, image, note: None, vcpus: 1, lives: 0 })
    }

    /// The child of `case` says that it begins, and ends for this reason without coming back.
    async fn ends(&mut self, case: &str, reason: StopReason) -> Verdict {
        let life = self.live(case, MEMORY_KIB, false).await?;
        ensure!(life.console.contains(&format!("begin {case}")), "it never began: {:?}", life.console);
        ensure!(!life.console.contains("survived"), "it survived, and ended as {:?}", life.reason);
        same!(life.reason, reason, "end");
        Ok(())
    }

    async fn stopped(&mut self) -> Verdict {
        let life = self.live("spin", MEMORY_KIB, true).await?;
        same!(life.reason, StopReason::Ordered, "end");
        Ok(())
    }

    /// What the child of `case` reports.
    async fn report(&mut self, case: &str) -> Result<String, String> {
        self.report_with(case, MEMORY_KIB).await
    }

    async fn report_with(&mut self, case: &str, memory_kib: u32) -> Result<String, String> {
        let life = self.live(case, memory_kib, false).await?;
        same!(life.reason, StopReason::PowerOff, "end");
        let report = life.console.lines().find_map(|line| line.strip_prefix("report "));
        report.map(ToString::to_string).ok_or_else(|| format!("no report: {:?}", life.console))
    }

    async fn memory(&mut self) -> Verdict {
        for kib in [6144, 8192, 16384u32] {
            let report = self.report_with("memory", kib).await?;
            // All of it but the console's page.
            same!(report, format!("{}", u64::from(kib) * 1024 - 4096), format!("RAM of {kib} KiB"));
        }
        Ok(())
    }

    /// The image is changed so that it says it runs on two, of which it lets the second sleep.
    async fn vcpus(&mut self) -> Verdict {
        same!(self.report("vcpus").await?, "1", "vCPUs of one that has one");
        let note = self.image.windows(NOTE_VCPUS.len()).position(|bytes| bytes == NOTE_VCPUS);
        let note = note.ok_or("the image does not say on how many vCPUs it runs")?;
        (self.note, self.vcpus) = (Some(note + NOTE_VCPUS.len()), 2);
        same!(self.report("vcpus").await?, "2", "vCPUs of one that has two");
        Ok(())
    }

    /// As [`vcpus`](Self::vcpus) has left the image; here the second one does not sleep.
    async fn second_vcpu(&mut self) -> Verdict {
        same!(self.report("second_vcpu").await?, "it came and went", "the child's verdict");
        Ok(())
    }

    async fn entropy(&mut self) -> Verdict {
        let first = self.report("entropy").await?;
        let second = self.report("entropy").await?;
        ensure!(first.len() == 64 && first != second, "{first} and {second}");
        Ok(())
    }

    async fn too_little(&mut self) -> Verdict {
        match self.live("memory", 64, false).await {
            Err(why) if why.contains(&format!("{:?}", Refusal::Memory)) => Ok(()),
            Err(why) => Err(why),
            Ok(life) => Err(format!("64 KiB were enough: {:?}", life.console)),
        }
    }

    /// Runs a child to its end. With `stop` it is stopped once it has begun.
    async fn live(&mut self, case: &str, memory_kib: u32, stop: bool) -> Result<Life, String> {
        self.lives += 1;
        let app = AppId([self.lives; 16]);
        let lived = timer::with_timeout(PATIENCE, self.live_as(app, case, memory_kib, stop)).await;
        // In vain if dom0 does not know it; the answer is nobody's.
        self.say(FromControl::Forget { app }, &mut Told::default()).await?;
        lived.map_err(|_| format!("no end within {} s", PATIENCE.as_secs()))?
    }

    /// The image as it is to be, in pieces.
    fn pieces(&self) -> impl Iterator<Item = heapless::Vec<u8, MAX_PIECE>> + use<> {
        let (image, note, vcpus) = (self.image, self.note, self.vcpus);
        image.chunks(MAX_PIECE).enumerate().map(move |(piece, bytes)| {
            let mut bytes: heapless::Vec<u8, MAX_PIECE> = bytes.iter().copied().collect();
            let changed = note.and_then(|at| at.checked_sub(piece * MAX_PIECE));
            if let Some(value) = changed.and_then(|at| bytes.get_mut(at)) {
                *value = vcpus;
            }
            bytes
        })
    }

    async fn live_as(&mut self, app: AppId, case: &str, memory_kib: u32, stop: bool) -> Result<Life, String> {
        let mut told = Told { app: Some(app), ..Told::default() };
        let definition = AppDefinition {
            app,
            name: clipped(case),
            memory_kib,
            vcpus: self.vcpus.into(),
            command_line: clipped(&format!("case={case}")),
            image_length: self.image.len() as u32,
            image_sha256: self
                .pieces()
                .fold(Sha256::new(), |hash, piece| hash.chain_update(piece))
                .finalize()
                .into(),
        };
        self.say(FromControl::Define(definition), &mut told).await?;
        let pieces = self.pieces();
        for (piece, bytes) in pieces.enumerate() {
            let piece = FromControl::Image { app, offset: (piece * MAX_PIECE) as u32, bytes };
            self.say(piece, &mut told).await?;
            if told.refused.is_some() {
                break;
            }
        }
        self.until(&mut told, |told| told.staged).await?;
        self.say(FromControl::Start { app }, &mut told).await?;
        if stop {
            self.until(&mut told, |told| told.console().contains("begin")).await?;
            self.say(FromControl::Stop { app }, &mut told).await?;
        }
        self.until(&mut told, |told| told.stopped.is_some()).await?;
        let reason = told.stopped.ok_or("no reason")?;
        Ok(Life { console: told.console(), reason })
    }

    /// Sends a message, and takes what dom0 says meanwhile: it hears us only while we hear it.
    async fn say(&mut self, message: FromControl, told: &mut Told) -> Verdict {
        let (mut sender, mut receiver) = self.channel.split();
        while let Some(message) = receiver.try_receive().map_err(|error| format!("{error}"))? {
            told.take(message);
        }
        loop {
            match select(sender.send(&message), receiver.receive()).await {
                Either::First(sent) => return sent.map_err(|error| format!("channel device: {error}")),
                Either::Second(message) => told.take(message.map_err(|error| format!("{error}"))?),
            }
        }
    }

    async fn until(&mut self, told: &mut Told, done: impl Fn(&Told) -> bool) -> Verdict {
        loop {
            if let Some(refused) = &told.refused {
                return Err(refused.clone());
            }
            if done(told) {
                return Ok(());
            }
            let message = self.channel.receive().await.map_err(|error| format!("channel device: {error}"))?;
            told.take(message);
        }
    }
}

/// What dom0 has told of one application.
#[derive(Default)]
struct Told {
    app: Option<AppId>,
    staged: bool,
    stopped: Option<StopReason>,
    refused: Option<String>,
    bytes: Vec<u8>,
}

impl Told {
    fn take(&mut self, message: ToControl) {
        match message {
            ToControl::State { app, state } if Some(app) == self.app => match state {
                AppState::Staged => self.staged = true,
                AppState::Running { .. } => {}
                AppState::Stopped(reason) => self.stopped = Some(reason),
            },
            ToControl::Refused { app, refusal, reason } if Some(app) == self.app => {
                // Those that follow are about what the first one left undone.
                self.refused.get_or_insert_with(|| format!("refused as {refusal:?}: {reason}"));
            }
            ToControl::ConsoleOutput { app, bytes, .. } if Some(app) == self.app => {
                self.bytes.extend_from_slice(&bytes);
            }
            _ => {}
        }
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
