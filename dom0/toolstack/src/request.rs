//! What control may have dom0 run: applications, their images, their limits. A pure machine.
//!
//! States of an application, as in `proto_svc::device`:
//!
//! ```text
//!   Defined -(1)-> Staged -(2)-> Running -(3)-> Staged
//! ```
//!
//! 1. [`Requests::image_piece`], with the last piece, if the SHA-256 is the announced one.
//! 2. [`Requests::order`] says what to build; [`Requests::started`] that it runs.
//! 3. [`Requests::stop`], or [`Requests::ended`] when it ended by itself.
//!
//! [`Requests::define`] leads to Defined from everywhere but Running; [`Requests::forget`] leads out
//! from everywhere. Everything that control says is checked here, and nothing else of dom0 has to.

use alloc::{string::String, vec::Vec};
use core::fmt;

use proto_manifest::table::{Applications, Domain};
use proto_svc::device::{AppDefinition, AppId, Known, MAX_DEVICE_NOTE, MAX_NOTE, Refusal, Running};
use proto_xen::{DomId, PAGE_SIZE};
use sha2::{Digest, Sha256};

use crate::image::Hex;

/// The most applications, whatever the table says.
pub const MAX_APPLICATIONS: usize = 16;

/// What Xen needs for a domain beside the domain's memory, in KiB: page tables, the domain itself.
const OVERHEAD_KIB: u64 = 4096;

const KIB_PER_PAGE: u32 = PAGE_SIZE as u32 / 1024;

/// What control leaves for a later life of its own. Not interpreted.
pub type Note = heapless::Vec<u8, MAX_NOTE>;
/// The same about the device.
pub type DeviceNote = heapless::Vec<u8, MAX_DEVICE_NOTE>;

/// A request that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The kind of reason.
    pub refusal: Refusal,
    /// One sentence with the values that show it.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Refused {
    /// A refusal with its sentence.
    pub fn new(refusal: Refusal, reason: fmt::Arguments<'_>) -> Self {
        Self { refusal, reason: alloc::fmt::format(reason) }
    }
}

/// Whether an image is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More pieces are needed.
    More,
    /// It is complete, and has the announced SHA-256.
    Staged,
}

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What control said.
    pub definition: &'a AppDefinition,
    /// The image.
    pub image: &'a [u8],
    /// Memory in pages.
    pub memory_pages: u64,
    /// The CPUs that its vCPUs run on, a bit each; all if there is none.
    pub cpus: u64,
}

/// All applications that control has defined. `D` stands for a running domain.
#[derive(Debug)]
pub struct Requests<D> {
    limits: Applications,
    image_room: usize,
    apps: heapless::Vec<App<D>, MAX_APPLICATIONS>,
}

#[derive(Debug)]
struct App<D> {
    definition: AppDefinition,
    image: Vec<u8>,
    hash: Sha256,
    note: Note,
    state: State<D>,
}

#[derive(Debug)]
enum State<D> {
    Defined,
    Staged,
    Running { id: DomId, since_ns: u64, domain: D },
}

impl<D> Requests<D> {
    /// No applications, and what all of them together may have. `image_room` is how many bytes of images
    /// dom0 may hold.
    pub fn new(limits: Applications, image_room: usize) -> Self {
        Self { limits, image_room, apps: heapless::Vec::new() }
    }

    /// Makes an application known, or replaces one that does not run; an image that it had is
    /// dropped.
    ///
    /// # Errors
    /// [`Refusal::WrongState`] if it runs, [`Refusal::TooMany`], [`Refusal::Memory`],
    /// [`Refusal::Vcpus`], [`Refusal::ImageSize`].
    pub fn define(&mut self, definition: &AppDefinition) -> Result<(), Refused> {
        self.check(definition)?;
        let place = self.apps.iter().position(|app| app.definition.app == definition.app);
        match place.and_then(|index| self.apps.get(index)) {
            Some(App { state: State::Running { .. }, .. }) => {
                let why = format_args!("it runs and cannot be defined anew; stop it first");
                return Err(Refused::new(Refusal::WrongState, why));
            }
            Some(_) => self.apps.retain(|app| app.definition.app != definition.app),
            None if self.apps.len() >= usize::from(self.limits.count).min(MAX_APPLICATIONS) => {
                let why = format_args!("{} applications are defined, more are not allowed", self.apps.len());
                return Err(Refused::new(Refusal::TooMany, why));
            }
            None => {}
        }
        let app = App {
            definition: definition.clone(),
            image: Vec::new(),
            hash: Sha256::new(),
            note: Note::new(),
            state: State::Defined,
        };
        self.apps.push(app).map_err(|_| {
            Refused::new(Refusal::TooMany, format_args!("{MAX_APPLICATIONS} applications are defined"))
        })
    }

    fn check(&self, definition: &AppDefinition) -> Result<(), Refused> {
        let limits = &self.limits;
        let memory = definition.memory_kib;
        let most = limits.memory_mib.min(Domain::MAX_MEMORY_MIB).saturating_mul(1024);
        let least = Domain::MIN_MEMORY_MIB * 1024;
        if memory > most || memory < least {
            let why = format_args!("{memory} KiB of memory; from {least} to {most} KiB are allowed");
            return Err(Refused::new(Refusal::Memory, why));
        }
        if definition.vcpus == 0 || definition.vcpus > limits.vcpus.into() {
            let (vcpus, most) = (definition.vcpus, limits.vcpus);
            let why = format_args!("{vcpus} vCPUs; from 1 to {most} are allowed");
            return Err(Refused::new(Refusal::Vcpus, why));
        }
        let length = definition.image_length;
        let most = limits.image_kib.saturating_mul(1024);
        if length == 0 || length > most {
            let why = format_args!("an image of {length} bytes; from 1 to {most} are allowed");
            return Err(Refused::new(Refusal::ImageSize, why));
        }
        Ok(())
    }

    /// Takes the next piece of an image.
    ///
    /// # Errors
    /// [`Refusal::ImagePiece`] for a piece that does not follow the last one or goes past the end,
    /// [`Refusal::ImageHash`] if the whole is not what was announced: the image is then to be sent
    /// again from its first byte. [`Refusal::Memory`] if dom0 has no room for it,
    /// [`Refusal::WrongState`], [`Refusal::Unknown`].
    pub fn image_piece(&mut self, app: AppId, offset: u32, bytes: &[u8]) -> Result<Progress, Refused> {
        let held: usize = self.apps.iter().map(|app| app.image.capacity()).sum();
        let room = self.image_room.saturating_sub(held);
        let app = self.find(app)?;
        if !matches!(app.state, State::Defined) {
            return Err(Refused::new(Refusal::WrongState, format_args!("its image is complete already")));
        }
        let want = app.definition.image_length as usize;
        let have = app.image.len();
        if offset as usize != have || bytes.is_empty() || bytes.len() > want - have {
            let count = bytes.len();
            let why = format_args!(
                "{count} bytes of image at {offset}; the next are at {have}, the end is at {want}"
            );
            return Err(Refused::new(Refusal::ImagePiece, why));
        }
        if have == 0 && (want > room || app.image.try_reserve_exact(want).is_err()) {
            let why = format_args!(
                "dom0 has no room for an image of {want} bytes; {room} bytes are left for images"
            );
            return Err(Refused::new(Refusal::Memory, why));
        }
        app.image.extend_from_slice(bytes);
        app.hash.update(bytes);
        if app.image.len() < want {
            return Ok(Progress::More);
        }
        let found: [u8; 32] = core::mem::take(&mut app.hash).finalize().into();
        let announced = app.definition.image_sha256;
        if found != announced {
            app.image = Vec::new();
            let why =
                format_args!("SHA-256 of the image is {}, announced was {}", Hex(&found), Hex(&announced));
            return Err(Refused::new(Refusal::ImageHash, why));
        }
        app.state = State::Staged;
        Ok(Progress::Staged)
    }

    /// What is to be built to start an application. `free_kib` is the machine's free memory.
    ///
    /// # Errors
    /// [`Refusal::Memory`] if it does not fit beside those that run, or into what is free;
    /// [`Refusal::WrongState`], [`Refusal::Unknown`].
    pub fn order(&mut self, app: AppId, free_kib: u64) -> Result<Job<'_>, Refused> {
        let running: u64 = self.running().map(|running| u64::from(running.1.memory_kib)).sum();
        let limit = u64::from(self.limits.memory_mib) * 1024;
        let cpus = self.limits.cpus;
        let app = self.find(app)?;
        match app.state {
            State::Staged => {}
            State::Defined => {
                return Err(Refused::new(Refusal::WrongState, format_args!("its image is not complete")));
            }
            State::Running { id, .. } => {
                return Err(Refused::new(Refusal::WrongState, format_args!("it runs already, as {id}")));
            }
        }
        let want = u64::from(app.definition.memory_kib);
        if running + want > limit {
            let why = format_args!(
                "{want} KiB of memory; applications that run have {running} of the {limit} KiB that are allowed"
            );
            return Err(Refused::new(Refusal::Memory, why));
        }
        if want + OVERHEAD_KIB > free_kib {
            let why =
                format_args!("{want} KiB of memory and {OVERHEAD_KIB} KiB for Xen; {free_kib} KiB are free");
            return Err(Refused::new(Refusal::Memory, why));
        }
        let memory_pages = u64::from(app.definition.memory_kib.div_ceil(KIB_PER_PAGE));
        Ok(Job { definition: &app.definition, image: &app.image, memory_pages, cpus })
    }

    /// Notes that the application runs as `domain` since `since_ns`. It was given out by [`Self::order`]
    /// just now.
    pub fn started(&mut self, app: AppId, id: DomId, since_ns: u64, domain: D) {
        if let Ok(app) = self.find(app) {
            app.state = State::Running { id, since_ns, domain };
        }
    }

    /// Takes the running domain out, to be ended.
    ///
    /// # Errors
    /// [`Refusal::WrongState`] if it does not run, [`Refusal::Unknown`].
    pub fn stop(&mut self, app: AppId) -> Result<(DomId, D), Refused> {
        let app = self.find(app)?;
        let state = core::mem::replace(&mut app.state, State::Staged);
        match state {
            State::Running { id, domain, .. } => Ok((id, domain)),
            other => {
                app.state = other;
                Err(Refused::new(Refusal::WrongState, format_args!("it does not run")))
            }
        }
    }

    /// Drops an application. Its domain, if it runs, is handed out, to be ended.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn forget(&mut self, app: AppId) -> Result<Option<(DomId, D)>, Refused> {
        self.find(app)?;
        let running = self.stop(app).ok();
        self.apps.retain(|known| known.definition.app != app);
        Ok(running)
    }

    /// Takes the domain with this number out, for it has ended by itself.
    pub fn ended(&mut self, id: DomId) -> Option<(AppId, D)> {
        let app = self.running().find(|(running, _)| *running == id)?.1.app;
        self.stop(app).ok().map(|(_, domain)| (app, domain))
    }

    /// The domains that run, with what they were defined as.
    pub fn running(&self) -> impl Iterator<Item = (DomId, &AppDefinition)> {
        self.apps.iter().filter_map(|app| match &app.state {
            State::Running { id, .. } => Some((*id, &app.definition)),
            State::Defined | State::Staged => None,
        })
    }

    /// Keeps a note of an application, in place of an earlier one. It goes when the application is defined
    /// anew.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn note(&mut self, app: AppId, note: Note) -> Result<(), Refused> {
        self.find(app)?.note = note;
        Ok(())
    }

    /// Shows what a control that is there anew has to know of each application.
    pub fn known(&self, mut each: impl FnMut(Known)) {
        for App { definition, note, state, .. } in &self.apps {
            let running = match state {
                State::Running { id, since_ns, .. } => Some(Running { domid: id.0, since_ns: *since_ns }),
                State::Defined | State::Staged => None,
            };
            each(Known { definition: definition.clone(), running, note: note.clone() });
        }
    }

    /// Every application that is defined.
    pub fn all(&self) -> impl Iterator<Item = AppId> {
        self.apps.iter().map(|app| app.definition.app)
    }

    /// The running domain of an application.
    pub fn domain_mut(&mut self, app: AppId) -> Option<&mut D> {
        match &mut self.find(app).ok()?.state {
            State::Running { domain, .. } => Some(domain),
            State::Defined | State::Staged => None,
        }
    }

    fn find(&mut self, app: AppId) -> Result<&mut App<D>, Refused> {
        let unknown =
            || Refused::new(Refusal::Unknown, format_args!("no application with this id is defined"));
        self.apps.iter_mut().find(|known| known.definition.app == app).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests;
