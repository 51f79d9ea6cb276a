//! Serving control on channel `device`: requests become domains, and answers.
//!
//! What takes time or touches the event loop (consoles, ending a domain after its console was
//! drained, power) is handed to the caller as a [`Task`].

use proto_errors::{Coded, svc};
use proto_manifest::table::Applications;
use proto_svc::{
    device::{AppId, AppState, FromControl, MAX_PIECE, Refusal, StopReason, ToControl},
    text::clipped,
};
use proto_xen::{DomId, sched::ShutdownReason};

use crate::{
    BuildError, Hypervisor,
    application::{Application, Console, Order},
    build::Platform,
    rate::LineLimit,
    request::{DeviceNote, Note, Progress, Refused, Requests},
};

/// Bytes of a console message.
pub type Piece = heapless::Vec<u8, MAX_PIECE>;

/// What the caller is to do after a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is looked at and dropped at once")]
pub enum Task<'h, H: Hypervisor> {
    /// An application runs: serve its console.
    Serve {
        /// Which.
        app: AppId,
        /// Its domain.
        id: DomId,
        /// dom0's end of its console.
        console: Console<'h, H>,
    },
    /// An application is to end: pause it, read the rest of its console, then drop the domain, then
    /// send [`Server::stopped`].
    End {
        /// Which.
        app: AppId,
        /// Its domain.
        domain: Application<'h, H>,
    },
    /// Bytes for an application's console.
    Type {
        /// Which.
        app: AppId,
        /// What to type.
        bytes: Piece,
    },
    /// What is kept of this console, or of the log, is not needed any more up to here.
    Taken {
        /// Whose console; or the log.
        app: Option<AppId>,
        /// The first that is still needed.
        before: u64,
        /// What control has left with it.
        note: Note,
    },
    /// Send the usage of all domains, then the machine.
    TellUsage,
    /// Send a piece of the log of measurements.
    TellEventLog {
        /// From here on.
        offset: u32,
    },
    /// End all applications, then reset the machine.
    Reboot {
        /// To be left for the machine's next life.
        why: Note,
    },
}

/// Everything that control has had dom0 do.
#[derive(Debug)]
pub struct Server<'h, H: Hypervisor> {
    hyp: &'h H,
    platform: Platform,
    requests: Requests<Application<'h, H>>,
    /// What control left for a later life of its own.
    note: DeviceNote,
    lines: LineLimit,
}

impl<'h, H: Hypervisor> Server<'h, H> {
    /// A server without applications. `platform` is how domains are started, and `image_room` how
    /// many bytes of images dom0 may hold.
    pub fn new(hyp: &'h H, limits: Applications, platform: Platform, image_room: usize) -> Self {
        let requests = Requests::new(limits, image_room);
        Self { hyp, platform, requests, note: DeviceNote::new(), lines: LineLimit::new() }
    }

    /// Does what control asks, at `now_ns` since boot. `free_kib` is the machine's free memory. Answers
    /// go to `reply`, at most one for each request.
    pub fn handle(
        &mut self,
        message: FromControl,
        now_ns: u64,
        free_kib: impl FnOnce() -> u64,
        reply: &mut dyn FnMut(ToControl),
    ) -> Option<Task<'h, H>> {
        let app = subject(&message);
        if let Some(count) = self.lines.recovered(now_ns) {
            log::warn!("domain control: {count} lines not shown [{}]", svc::LINES_HIDDEN);
        }
        match self.try_handle(message, now_ns, free_kib, reply) {
            Ok(task) => task,
            Err(refused) => {
                let reason = alloc::format!("{}", refused.told());
                if self.lines.show(now_ns) {
                    log::warn!("application {}: refused: {}", Short(app), refused.told());
                }
                reply(ToControl::Refused { app, refusal: refused.refusal, reason: clipped(&reason) });
                None
            }
        }
    }

    fn try_handle(
        &mut self,
        message: FromControl,
        now_ns: u64,
        free_kib: impl FnOnce() -> u64,
        reply: &mut dyn FnMut(ToControl),
    ) -> Result<Option<Task<'h, H>>, Refused> {
        match message {
            // Said and checked when the channel was opened.
            FromControl::Hello { .. } => Ok(None),
            FromControl::Define(definition) => self.requests.define(&definition).map(|()| None),
            FromControl::Image { app, offset, bytes } => {
                if self.requests.image_piece(app, offset, &bytes)? == Progress::Staged {
                    reply(ToControl::State { app, state: AppState::Staged });
                }
                Ok(None)
            }
            FromControl::Start { app } => {
                let (id, console) = self.start(app, now_ns, free_kib())?;
                reply(ToControl::State { app, state: AppState::Running { domid: id.0 } });
                Ok(console.map(|console| Task::Serve { app, id, console }))
            }
            FromControl::Stop { app } => {
                let (_, domain) = self.requests.stop(app)?;
                Ok(Some(Task::End { app, domain }))
            }
            FromControl::Forget { app } => {
                let running = self.requests.forget(app)?;
                Ok(running.map(|(_, domain)| Task::End { app, domain }))
            }
            FromControl::ConsoleInput { app, bytes } => match self.requests.domain_mut(app) {
                Some(_) => Ok(Some(Task::Type { app, bytes })),
                None => Err(Refused::new(Refusal::WrongState, format_args!("it does not run"))),
            },
            FromControl::Note { app, note } => self.requests.note(app, note).map(|()| None),
            FromControl::DeviceNote { note } => {
                self.note = note;
                Ok(None)
            }
            FromControl::Taken { app, before, note } => Ok(Some(Task::Taken { app, before, note })),
            FromControl::QueryUsage => Ok(Some(Task::TellUsage)),
            FromControl::QueryEventLog { offset } => Ok(Some(Task::TellEventLog { offset })),
            FromControl::Reboot { why } => Ok(Some(Task::Reboot { why })),
        }
    }

    fn start(
        &mut self,
        app: AppId,
        now_ns: u64,
        free_kib: u64,
    ) -> Result<(DomId, Option<Console<'h, H>>), Refused> {
        let job = self.requests.order(app, free_kib)?;
        let order = Order {
            image: job.image,
            memory_pages: job.memory_pages,
            vcpus: job.definition.vcpus.into(),
            cpus: job.cpus,
            command_line: &job.definition.command_line,
            platform: self.platform,
        };
        let refused = |error: BuildError| Refused::new(kind_of(&error), format_args!("{error}"));
        let mut domain = Application::build(self.hyp, &order).map_err(refused)?;
        domain.unpause().map_err(refused)?;
        let (id, console) = (domain.id(), domain.console.take());
        self.requests.started(app, id, now_ns, domain);
        Ok((id, console))
    }

    /// Takes the application in domain `id`, which has ended by itself. It is to be handled as in
    /// [`Task::End`].
    pub fn ended(&mut self, id: DomId) -> Option<(AppId, Application<'h, H>)> {
        self.requests.ended(id)
    }

    /// Takes every running application, to be ended.
    pub fn end_all(&mut self) -> impl Iterator<Item = (AppId, Application<'h, H>)> {
        let ids: heapless::Vec<DomId, { crate::request::MAX_APPLICATIONS }> =
            self.requests.running().map(|(id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.requests.ended(id))
    }

    /// The applications that run.
    pub fn requests(&self) -> &Requests<Application<'h, H>> {
        &self.requests
    }

    /// What a control that is there anew has to know of its earlier lives.
    pub fn tell_known(&self, reply: &mut dyn FnMut(ToControl)) {
        self.requests.known(|known| reply(ToControl::Known(known)));
        reply(ToControl::KnownAll { note: self.note.clone() });
    }

    /// What to tell when an application is gone.
    pub fn stopped(app: AppId, reason: StopReason) -> ToControl {
        ToControl::State { app, state: AppState::Stopped(reason) }
    }
}

/// Whom a request is about; the zero id for those that are about nobody.
fn subject(message: &FromControl) -> AppId {
    match message {
        FromControl::Define(definition) => definition.app,
        FromControl::Image { app, .. }
        | FromControl::Start { app }
        | FromControl::Stop { app }
        | FromControl::Forget { app }
        | FromControl::ConsoleInput { app, .. }
        | FromControl::Note { app, .. } => *app,
        FromControl::Hello { .. }
        | FromControl::DeviceNote { .. }
        | FromControl::Taken { .. }
        | FromControl::QueryUsage
        | FromControl::QueryEventLog { .. }
        | FromControl::Reboot { .. } => AppId([0; 16]),
    }
}

fn kind_of(error: &BuildError) -> Refusal {
    use crate::build::layout::LayoutError;
    match error {
        BuildError::Memory { .. } | BuildError::Layout(LayoutError::MemoryTooSmall { .. }) => Refusal::Memory,
        BuildError::Vcpus { .. } => Refusal::Vcpus,
        BuildError::Elf(_) => Refusal::ImageFormat,
        _ => Refusal::Build,
    }
}

/// Why a domain ended, as control is told.
pub fn stop_reason(reason: ShutdownReason) -> StopReason {
    match reason {
        ShutdownReason::POWEROFF => StopReason::PowerOff,
        ShutdownReason::REBOOT => StopReason::Reboot,
        ShutdownReason::CRASH => StopReason::Crash,
        ShutdownReason::WATCHDOG => StopReason::Watchdog,
        ShutdownReason(code) => StopReason::Code(code),
    }
}

/// An application's id for log lines: its first four bytes.
pub struct Short(pub AppId);

impl core::fmt::Display for Short {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests;
