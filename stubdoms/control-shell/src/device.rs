//! The channel to dom0 by which applications are run: the agent's commands go out, what dom0 says of
//! applications, consoles, usage and logs comes in.

use alloc::{collections::VecDeque, rc::Rc, string::ToString, vec::Vec};
use core::cell::RefCell;

use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_manifest::wiring::Wiring;
use proto_svc::{
    device::{self, AppId, FromControl, MAX_PIECE, Refusal, ToControl},
    text::clipped,
};
use stubdoms_agent::{
    AppCommand, AppDefinition, AppEvent, AppFailure, DomainUsage, EventLogPieces, EventLogStep, KnownApp,
    Machine, RunningApp, StopReason, Taken, Uuid,
};
use stubdoms_service::{channels::open_dom0, footing::Owned};

use crate::{brain::Brain, clock::TimeOfDay, system::System};

/// The channel.
pub(crate) type Device<S> = Owned<S, FromControl, ToControl>;

/// What is to be sent to dom0.
#[derive(Debug)]
pub(crate) enum Order {
    /// A command of the agent.
    App(AppCommand),
    /// Leave this about the device for a later life of this domain.
    Note(Vec<u8>),
    /// What dom0 keeps of this console, or of the log, is not needed any more up to this mark.
    Taken(Taken),
    /// Ask for the piece of the event log that begins here.
    EventLog(u32),
    /// Ask for the usage of all domains.
    QueryUsage,
    /// Reset the machine, and leave this for its next life.
    Reboot(Vec<u8>),
}

/// Orders that wait for the channel.
#[derive(Default)]
pub(crate) struct Orders {
    queue: RefCell<VecDeque<Order>>,
    added: Signal<NoopRawMutex, ()>,
}

impl Orders {
    /// Adds one. The agent gives a command for an application only after the last one was answered, so
    /// there are never more than a few.
    pub(crate) fn push(&self, order: Order) {
        self.queue.borrow_mut().push_back(order);
        self.added.signal(());
    }

    async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.queue.borrow_mut().pop_front() {
                return order;
            }
            self.added.wait().await;
        }
    }
}

/// What dom0 says first.
pub(crate) struct Greeting {
    /// The machine.
    pub(crate) machine: device::Machine,
    /// Applications of an earlier life of this domain.
    pub(crate) apps: Vec<KnownApp>,
    /// What that life left about the device.
    pub(crate) note: Vec<u8>,
    /// What that life left about consoles, and about the log.
    pub(crate) goes_on: Vec<(Option<Uuid>, Vec<u8>)>,
}

/// Opens the channel and waits until dom0 has said what there is, which comes first.
///
/// # Panics
/// If dom0 breaks the channel.
pub(crate) async fn open<S: System>(
    system: &S,
    clock: &TimeOfDay<S>,
    wiring: &Wiring,
) -> (Device<S>, Greeting) {
    let (xen, runtime) = (system.xen().clone(), system.runtime().clone());
    let mut channel: Device<S> = open_dom0(xen, runtime, wiring).await;
    let (mut found, mut apps, mut goes_on) = (None, Vec::new(), Vec::new());
    loop {
        match channel.receive().await {
            Ok(ToControl::Machine(machine)) => found = Some(machine),
            Ok(ToControl::Known(known)) => apps.push(known_app(clock, known)),
            Ok(ToControl::GoesOn { app, note }) => goes_on.push((app.map(uuid), note.to_vec())),
            Ok(ToControl::KnownAll { note }) => {
                let Some(machine) = found else { panic!("channel device: the machine comes first") };
                return (channel, Greeting { machine, apps, note: note.to_vec(), goes_on });
            }
            Ok(message) => {
                log::warn!("channel device: unexpected {message:?} [{}]", proto_errors::chan::BAD_MESSAGE)
            }
            Err(error) => panic!("channel device: {error}"),
        }
    }
}

/// Serves the channel for ever.
///
/// # Panics
/// If dom0 breaks the channel.
pub(crate) async fn serve<S: System>(mut channel: Device<S>, orders: Rc<Orders>, brain: Brain<S>) {
    let (mut sender, mut receiver) = channel.split();
    let log = RefCell::new(EventLogPieces::default());
    let outgoing = async {
        loop {
            let order = orders.next().await;
            if let Order::EventLog(0) = order {
                log.borrow_mut().begin();
            }
            for_each_message(order, &brain, async |message| {
                if let Err(error) = sender.send(&message).await {
                    panic!("channel device: {error}");
                }
            })
            .await;
        }
    };
    let incoming = async {
        loop {
            match receiver.receive().await {
                Ok(ToControl::EventLog { total, offset, bytes }) => {
                    match log.borrow_mut().take(total, offset, &bytes) {
                        EventLogStep::Ask(offset) => orders.push(Order::EventLog(offset)),
                        EventLogStep::Whole(log) => brain.tell(|agent, now| agent.on_event_log(now, log)),
                    }
                }
                Ok(message) => take(message, &brain),
                Err(error) => panic!("channel device: {error}"),
            }
        }
    };
    embassy_futures::join::join(outgoing, incoming).await;
}

/// Takes what dom0 says and does nothing with it, for ever, so that nothing of dom0's waits.
///
/// # Panics
/// If dom0 breaks the channel.
pub(crate) async fn drain<S: System>(mut channel: Device<S>) {
    loop {
        if let Err(error) = channel.receive().await {
            panic!("channel device: {error}");
        }
    }
}

/// The messages that carry out an order. A definition is followed by its image in pieces.
async fn for_each_message<S: System>(order: Order, brain: &Brain<S>, mut send: impl AsyncFnMut(FromControl)) {
    match order {
        Order::Note(note) => send(FromControl::DeviceNote { note: bounded(&note) }).await,
        Order::Taken(Taken { app, before, note }) => {
            send(FromControl::Taken { app: app.map(id), before, note: bounded(&note) }).await;
        }
        Order::App(AppCommand::Note { app, note }) => {
            send(FromControl::Note { app: id(app), note: bounded(&note) }).await;
        }
        Order::EventLog(offset) => send(FromControl::QueryEventLog { offset }).await,
        Order::QueryUsage => send(FromControl::QueryUsage).await,
        Order::Reboot(why) => send(FromControl::Reboot { why: bounded(&why) }).await,
        Order::App(AppCommand::Start { app }) => send(FromControl::Start { app: id(app) }).await,
        Order::App(AppCommand::Stop { app }) => send(FromControl::Stop { app: id(app) }).await,
        Order::App(AppCommand::Remove { app }) => send(FromControl::Forget { app: id(app) }).await,
        Order::App(AppCommand::Define(definition)) => {
            let held = brain.contents().get(&definition.image_sha256);
            let Some(image) = held.filter(|image| image.len() as u64 == definition.image_length) else {
                let text = "its content is not held any more".to_string();
                let event = AppEvent::Failed { failure: AppFailure::ContentGone, text };
                brain.tell(|agent, now| agent.on_app_event(now, definition.app, event));
                return;
            };
            send(FromControl::Define(describe(&definition))).await;
            let app = id(definition.app);
            let mut offset = 0;
            for piece in image.chunks(MAX_PIECE) {
                let bytes = heapless::Vec::from_slice(piece).unwrap_or_default();
                send(FromControl::Image { app, offset, bytes }).await;
                offset += piece.len() as u32;
            }
        }
    }
}

fn bounded<const N: usize>(note: &[u8]) -> heapless::Vec<u8, N> {
    // The agent keeps to the limit.
    heapless::Vec::from_slice(note).unwrap_or_default()
}

fn known_app<S: System>(clock: &TimeOfDay<S>, known: device::Known) -> KnownApp {
    let device::Known { definition, running, note } = known;
    let running = running
        .map(|running| RunningApp { domid: running.domid, since: clock.wall_time_at(running.since_ns) });
    let definition = AppDefinition {
        app: uuid(definition.app),
        name: definition.name.as_str().into(),
        memory_kib: definition.memory_kib,
        vcpus: definition.vcpus,
        command_line: definition.command_line.as_str().into(),
        image_sha256: definition.image_sha256,
        image_length: definition.image_length.into(),
    };
    KnownApp { definition, running, note: note.to_vec() }
}

fn describe(definition: &AppDefinition) -> device::AppDefinition {
    device::AppDefinition {
        app: id(definition.app),
        name: clipped(&definition.name),
        memory_kib: definition.memory_kib,
        vcpus: definition.vcpus,
        command_line: clipped(&definition.command_line),
        // What does not fit 32 bits is refused by dom0 for its size.
        image_length: u32::try_from(definition.image_length).unwrap_or(u32::MAX),
        image_sha256: definition.image_sha256,
    }
}

fn take<S: System>(message: ToControl, brain: &Brain<S>) {
    match message {
        // Told in the greeting; or put together where it is received.
        ToControl::Hello { .. }
        | ToControl::EventLog { .. }
        | ToControl::Known(_)
        | ToControl::GoesOn { .. }
        | ToControl::KnownAll { .. } => {}
        ToControl::Machine(machine) => {
            brain.tell(|agent, now| agent.on_machine(now, numbers(&machine)));
        }
        ToControl::State { app, state } => {
            let event = match state {
                device::AppState::Staged => AppEvent::Staged,
                device::AppState::Running { domid } => AppEvent::Running { domid },
                device::AppState::Stopped(reason) => AppEvent::Stopped(stop_reason(reason)),
            };
            brain.tell(|agent, now| agent.on_app_event(now, uuid(app), event));
        }
        ToControl::Refused { app, refusal, reason } => {
            let event = AppEvent::Failed { failure: failure(refusal), text: reason.to_string() };
            brain.tell(|agent, now| agent.on_app_event(now, uuid(app), event));
        }
        ToControl::ConsoleOutput { app, offset, bytes } => {
            let event = AppEvent::Console { offset, bytes: bytes.to_vec() };
            brain.tell(|agent, now| agent.on_app_event(now, uuid(app), event));
        }
        ToControl::Usage(usage) => {
            let usage = DomainUsage {
                name: usage.name.to_string(),
                app: usage.app.map(uuid),
                memory_kib: usage.memory_kib.into(),
                cpu_ns: usage.cpu_ns,
            };
            brain.tell(|agent, now| agent.on_usage(now, usage));
        }
        // What dom0 is to keep begins with the record after this one.
        ToControl::Log { sequence, domain, record } => brain.log(&domain, &record, sequence + 1),
        ToControl::Vital { missing } => brain.tell(|agent, now| agent.on_services(now, missing.as_deref())),
        ToControl::Lost { lines, console_bytes } => {
            brain.tell(|agent, now| agent.lost(now, lines, console_bytes));
        }
    }
}

fn numbers(machine: &device::Machine) -> Machine {
    Machine {
        memory_kib: machine.memory_kib,
        free_kib: machine.free_kib,
        cpus: machine.cpus,
        app_memory_kib: machine.app_limit_kib.into(),
    }
}

fn id(app: Uuid) -> AppId {
    AppId(app.0)
}

fn uuid(app: AppId) -> Uuid {
    Uuid(app.0)
}

fn stop_reason(reason: device::StopReason) -> StopReason {
    match reason {
        device::StopReason::Ordered => StopReason::Ordered,
        device::StopReason::PowerOff => StopReason::PowerOff,
        device::StopReason::Reboot => StopReason::Reboot,
        device::StopReason::Crash => StopReason::Crash,
        device::StopReason::Watchdog => StopReason::Watchdog,
        device::StopReason::Code(code) => StopReason::Code(code),
    }
}

fn failure(refusal: Refusal) -> AppFailure {
    match refusal {
        Refusal::Unknown => AppFailure::Unknown,
        Refusal::TooMany => AppFailure::TooMany,
        Refusal::WrongState => AppFailure::WrongState,
        Refusal::Memory => AppFailure::Memory,
        Refusal::Vcpus => AppFailure::Vcpus,
        Refusal::ImageSize => AppFailure::ImageSize,
        Refusal::ImagePiece => AppFailure::ImageTransfer,
        Refusal::ImageHash => AppFailure::ImageHash,
        Refusal::ImageFormat => AppFailure::ImageFormat,
        Refusal::Build => AppFailure::Build,
    }
}
