//! The channel `device`: honest as far as it is needed, then not.

use alloc::{format, vec::Vec};
use core::time::Duration;

use board_support_hyp::{EventChannels, Xen};
use board_support_rt::{Boot, memory, memory::SpecialPage, timer};
use proto_manifest::{
    archive::Archive,
    wiring::{End, Wiring},
};
use proto_svc::{
    MAX_MESSAGE, Message,
    device::{AppDefinition, AppId, AppState, FromControl, MAX_DEVICE_NOTE, MAX_PIECE, Refusal, ToControl},
    encode,
    text::clipped,
};
use proto_xen::{Gaddr, Port};
use sha2::{Digest, Sha256};
use stubdoms_service::{Owned, open_dom0};

use super::{Lie, PATIENCE, Verdict, channel, state::State, talk};
use crate::pen::Pen;

/// The provisioning file that holds the neighbour's image.
const IMAGE: &str = "neighbour.elf";
/// The application that must not be harmed.
pub(super) const NEIGHBOUR: AppId = AppId([1; 16]);

/// What dom0 answers to a request about an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Refused(Refusal),
    Staged,
    Running,
    Stopped,
}

pub(super) struct Dom0 {
    channel: Owned<FromControl, ToControl>,
    page: SpecialPage,
    port: Port,
    pub(super) image: &'static [u8],
    /// What an earlier life left.
    pub(super) note: Vec<u8>,
    /// The neighbour's domain, if it runs.
    neighbour: Option<u16>,
    /// The end of what it has written, as far as we were told.
    heard: u64,
}

/// The neighbour's image, which is a provisioning file.
pub(super) fn neighbour(boot: &Boot) -> Verdict<&'static [u8]> {
    let archive = boot.module(1).ok_or("no provisioning files")?;
    let archive = Archive::open(archive).map_err(|error| format!("provisioning files: {error}"))?;
    Ok(archive.find(IMAGE).ok_or("no image among the provisioning files")?)
}

impl Dom0 {
    /// Opens the channel, and takes what dom0 says first.
    pub(super) async fn open(boot: &Boot, wiring: &Wiring) -> Verdict<Self> {
        let image = neighbour(boot)?;
        let Some(End::Dom0 { page, port }) = wiring.channel(FromControl::CHANNEL) else {
            return Err("no such channel".into());
        };
        let page = memory::special_page(Gaddr(page)).ok_or("no page")?;
        let channel = open_dom0(wiring).await;
        let note = Vec::new();
        let mut dom0 = Self { channel, page, port: Port(port), image, note, neighbour: None, heard: 0 };
        loop {
            match dom0.hear().await? {
                ToControl::Known(known) if known.definition.app == NEIGHBOUR => {
                    dom0.neighbour = known.running.map(|running| running.domid);
                }
                ToControl::KnownAll { note } => {
                    dom0.note = note.to_vec();
                    return Ok(dom0);
                }
                _ => {}
            }
        }
    }

    pub(super) async fn start_neighbour(&mut self) -> Verdict {
        let definition = definition(NEIGHBOUR, self.image, 8192);
        self.stage(definition, self.image).await?;
        let answers = self.ask(FromControl::Start { app: NEIGHBOUR }).await?;
        if answers != [Answer::Running] { Err(format!("{answers:?}")) } else { Ok(()) }
    }

    /// Defines an application and sends its image.
    pub(super) async fn stage(&mut self, definition: AppDefinition, image: &'static [u8]) -> Verdict {
        let app = definition.app;
        self.say(&FromControl::Define(definition)).await?;
        let mut answers = Vec::new();
        for (piece, bytes) in image.chunks(MAX_PIECE).enumerate() {
            let (offset, bytes) = ((piece * MAX_PIECE) as u32, bytes.iter().copied().collect());
            let message = FromControl::Image { app, offset, bytes };
            // An answer comes with the last one, and dom0 takes a few ahead of what it has said.
            if (piece + 1) * MAX_PIECE < image.len() {
                self.say(&message).await?;
            } else {
                answers = self.ask(message).await?;
            }
        }
        if answers != [Answer::Staged] { Err(format!("image: {answers:?}")) } else { Ok(()) }
    }

    /// Asks something, and returns what dom0 answers to that.
    pub(super) async fn ask(&mut self, message: FromControl) -> Verdict<Vec<Answer>> {
        let mut answers = Vec::new();
        let asked = async {
            self.say(&message).await?;
            // What is told of the machine comes behind every answer to what was asked before.
            self.say(&FromControl::QueryUsage).await?;
            loop {
                match self.hear().await? {
                    ToControl::Refused { refusal, .. } => answers.push(Answer::Refused(refusal)),
                    ToControl::State { app, state } => answers.push(match state {
                        AppState::Staged => Answer::Staged,
                        AppState::Running { domid } => {
                            if app == NEIGHBOUR {
                                self.neighbour = Some(domid);
                            }
                            Answer::Running
                        }
                        AppState::Stopped(_) => Answer::Stopped,
                    }),
                    ToControl::Machine(_) => return Ok(()),
                    _ => {}
                }
            }
        };
        match timer::with_timeout(PATIENCE, asked).await {
            Ok(Ok(())) => Ok(answers),
            Ok(Err(why)) => Err(why),
            Err(timer::Elapsed) => Err("no answer".into()),
        }
    }

    /// Whether the neighbour is the one that it was, and has written something since.
    pub(super) async fn neighbour_goes_on(&mut self, state: &State) -> Verdict {
        let now = self.neighbour.ok_or("it does not run")?;
        if state.life > 0 && now != state.neighbour {
            return Err(format!("it is d{now} and was d{}", state.neighbour));
        }
        let before = state.heard.max(self.heard);
        let written = async {
            while self.heard <= before {
                self.hear().await?;
            }
            Ok(())
        };
        timer::with_timeout(PATIENCE, written).await.unwrap_or_else(|_| Err("it is silent".into()))
    }

    /// Whether dom0 answers.
    pub(super) async fn answers(&mut self) -> Verdict {
        let note = FromControl::Note { app: NEIGHBOUR, note: heapless::Vec::new() };
        let answers = self.ask(note).await?;
        if answers.is_empty() { Ok(()) } else { Err(format!("{answers:?}")) }
    }

    /// Raises dom0.
    pub(super) fn bell(&self) {
        let _ = Xen.send(self.port);
    }

    /// Leaves a note, and breaks the channel. Returns only if dom0 lets us live.
    pub(super) async fn lie(mut self, lie: Lie, state: &mut State) -> Verdict {
        (state.neighbour, state.heard) = (self.neighbour.unwrap_or(0), self.heard);
        let note = state.write().iter().copied().collect();
        let answers = self.ask(FromControl::DeviceNote { note }).await?;
        if !answers.is_empty() {
            return Err(format!("{answers:?}"));
        }
        // Lines that are on their way arrive first.
        timer::sleep(Duration::from_millis(100)).await;
        let mut pen = Pen::take_over(self.page, self.port).ok_or("the page is in disorder")?;
        match lie {
            Lie::Trailing => pen.frame(&[encoded(&FromControl::QueryUsage).as_slice(), &[0]].concat()),
            Lie::TooMuch => pen.frame(&long_note()),
            _ => channel::write(&mut pen, lie, &FromControl::QueryUsage)?,
        }
        timer::sleep(PATIENCE).await;
        if pen.is_closed() { Err("it closed the channel and nothing else".into()) } else { Ok(()) }
    }

    async fn say(&mut self, message: &FromControl) -> Verdict {
        talk::say(&mut self.channel, message, |told| take(&mut self.heard, told)).await
    }

    async fn hear(&mut self) -> Verdict<ToControl> {
        talk::hear(&mut self.channel, |told| take(&mut self.heard, told)).await
    }
}

/// How much of what the neighbour has written we were told.
fn take(heard: &mut u64, told: &ToControl) {
    if let ToControl::ConsoleOutput { app: NEIGHBOUR, offset, bytes } = told {
        *heard = (*heard).max(offset + bytes.len() as u64);
    }
}

/// An application with this image.
pub(super) fn definition(app: AppId, image: &[u8], memory_kib: u32) -> AppDefinition {
    AppDefinition {
        app,
        name: clipped("neighbour"),
        memory_kib,
        vcpus: 1,
        command_line: clipped(""),
        image_length: image.len() as u32,
        image_sha256: Sha256::digest(image).into(),
    }
}

fn encoded<M: Message>(message: &M) -> Vec<u8> {
    let mut buffer = [0; MAX_MESSAGE];
    encode(message, &mut buffer).unwrap_or_default().to_vec()
}

/// A note of one byte more than a note may have.
fn long_note() -> Vec<u8> {
    let longest = heapless::Vec::from_slice(&[7; MAX_DEVICE_NOTE]).unwrap_or_default();
    let mut note = encoded(&FromControl::DeviceNote { note: longest });
    // Behind the variant stands the length, in groups of seven bits, the lowest first.
    note[1] += 1;
    note.push(7);
    note
}
