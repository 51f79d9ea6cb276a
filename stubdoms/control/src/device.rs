//! The channel to dom0 by which applications are run: the agent's commands go out, what dom0 says of
//! applications, consoles, usage and logs comes in.

use alloc::{collections::VecDeque, rc::Rc, string::ToString};
use core::cell::RefCell;

use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use heapless::Vec;
use proto_manifest::wiring::Wiring;
use proto_svc::{
    device::{self, AppId, FromControl, MAX_PIECE, PowerAction, Refusal, ToControl},
    text::clipped,
};
use stubdoms_agent::{
    AppCommand, AppDefinition, AppEvent, AppFailure, DomainUsage, Machine, StopReason, Uuid,
};
use stubdoms_service::{Owned, open_dom0};

use crate::brain::Brain;

/// The channel.
pub(crate) type Device = Owned<FromControl, ToControl>;

/// What is to be sent to dom0.
#[derive(Debug)]
pub(crate) enum Order {
    /// A command of the agent.
    App(AppCommand),
    /// Ask for the usage of all domains.
    QueryUsage,
    /// End the machine.
    Power(PowerAction),
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

/// Opens the channel and waits for what dom0 says of the machine, which comes first.
///
/// # Panics
/// If dom0 breaks the channel.
pub(crate) async fn open(wiring: &Wiring) -> (Device, device::Machine) {
    let mut channel: Device = open_dom0(wiring).await;
    loop {
        match channel.receive().await {
            Ok(ToControl::Machine(machine)) => return (channel, machine),
            // Lines that were written before we were there; they also went to Xen's console.
            Ok(_) => {}
            Err(error) => panic!("channel device: {error}"),
        }
    }
}

/// Serves the channel for ever.
///
/// # Panics
/// If dom0 breaks the channel.
pub(crate) async fn serve(mut channel: Device, orders: Rc<Orders>, brain: Brain) {
    let (mut sender, mut receiver) = channel.split();
    let outgoing = async {
        loop {
            let order = orders.next().await;
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
                Ok(message) => take(message, &brain),
                Err(error) => panic!("channel device: {error}"),
            }
        }
    };
    embassy_futures::join::join(outgoing, incoming).await;
}

/// The messages that carry out an order. A definition is followed by its image in pieces.
async fn for_each_message(order: Order, brain: &Brain, mut send: impl AsyncFnMut(FromControl)) {
    match order {
        Order::QueryUsage => send(FromControl::QueryUsage).await,
        Order::Power(action) => send(FromControl::Power(action)).await,
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
                let bytes = Vec::from_slice(piece).unwrap_or_default();
                send(FromControl::Image { app, offset, bytes }).await;
                offset += piece.len() as u32;
            }
        }
    }
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

fn take(message: ToControl, brain: &Brain) {
    match message {
        ToControl::Hello { .. } => {}
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
        ToControl::ConsoleOutput { app, bytes } => {
            let event = AppEvent::Console(bytes.to_vec());
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
        ToControl::Log { domain, record } => brain.log(&domain, &record),
        ToControl::Lost { lines, console_bytes } => brain.lost(lines, console_bytes),
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
