//! The driver.
//!
//! ```text
//!   Stopped::new (CC.EN 0) ──► Stopped::start ──► Nvme: reads, writes, flushes
//!                                                  │ fault, or no answer in time: CC.EN 0
//!                                                  └─► the next call brings it up again
//! ```
//!
//! Bringing up: wait for CSTS.RDY 0, tell where the admin queues are, CC.EN 1, wait for CSTS.RDY 1; then identify
//! controller and namespace 1, one pair of I/O queues. The controller is stopped before anything else is done,
//! and its queues are written only after it says that it has stopped: it may still be working for somebody who
//! was killed.
//!
//! Memory is taken once ([`PAGES`]) and stays the driver's over a reset. A call's blocks are copied to or from a
//! buffer of [`MAX_TRANSFER`] bytes, whose pages a list names that is written once. What the controller takes at
//! once (MDTS) decides how many commands a call becomes; all are in flight together.
//!
//! A command that is not answered in time is not aborted by name: the controller is reset, which ends all of
//! them. A call that is dropped leaves its commands to the next call, which waits for their end before it uses
//! the buffer.
//!
//! There is one interrupt, MSI-X entry 0, for both completion queues. It says "look".
//!
//! [`MAX_TRANSFER`]: crate::block::MAX_TRANSFER

use core::{fmt, sync::atomic::Ordering::Relaxed, time::Duration};

use board_support_hyp::Shared;
use proto_xen::PAGE_SIZE;

use super::{
    identify::{Controller, Namespace, Unusable},
    queue::{Command, Completion, MIN_ENTRIES, Pair},
    regs::{Bus, Capabilities, Configuration, Readable, Status, Writable},
    status::refusal,
};
use crate::{
    block::{
        self, BlockDevice, Counts, Error, Fault, Geometry, Identity, Refusal,
        buffer::{self, Buffer, Mapped},
        wait::{Waits, Woken},
    },
    dma::{BusAddress, DevicePages},
    order,
};

/// Pages that the driver takes.
pub const PAGES: usize = 5 + buffer::PAGES;

/// How often the driver looks whether the controller has become ready, or has stopped: no interrupt tells.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Interrupts that may come for a command without there being anything.
const SPURIOUS: u32 = 1000;

/// Numbers of the queues.
const ADMIN: u16 = 0;
const IO: u16 = 1;

/// The namespace.
const NAMESPACE: u32 = 1;

/// Bit of CAP.CSS: the NVM command set.
const NVM_COMMANDS: u8 = 1;

/// Opcodes.
mod opcode {
    pub(super) const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    pub(super) const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    pub(super) const IDENTIFY: u8 = 0x06;
    pub(super) const SET_FEATURES: u8 = 0x09;

    pub(super) const FLUSH: u8 = 0x00;
    pub(super) const WRITE: u8 = 0x01;
    pub(super) const READ: u8 = 0x02;
}

/// What is asked of the controller while it is brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Identify the controller.
    Controller,
    /// Identify namespace 1.
    Namespace,
    /// Set how many queues are wanted.
    Queues,
    /// Create the I/O completion queue.
    CompletionQueue,
    /// Create the I/O submission queue.
    SubmissionQueue,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controller => "to identify itself",
            Self::Namespace => "to identify namespace 1",
            Self::Queues => "a pair of queues",
            Self::CompletionQueue => "to create a completion queue",
            Self::SubmissionQueue => "to create a submission queue",
        })
    }
}

/// Why the disk did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No memory for queues and buffer.
    NoMemory,
    /// Its registers read as ones.
    Gone,
    /// Its doorbells lie too far apart: CAP.DSTRD reads so.
    Stride(u8),
    /// It does not know the NVM command set: CAP.CSS reads so.
    Commands(u8),
    /// It does not know pages of 4096 bytes: CAP.MPSMIN reads so.
    Pages(u8),
    /// Its queues have too few entries: that many at most.
    Entries(u32),
    /// It does not stop: CSTS reads so.
    Stop(u32),
    /// It does not become ready: CSTS reads so.
    NotReady(u32),
    /// It says that it cannot go on: CSTS reads so.
    Fatal(u32),
    /// It refused what it has to do.
    Refused(Request, Refusal),
    /// It broke the protocol.
    Fault(Fault),
    /// It is none that is of use.
    Unusable(Unusable),
    /// It did not answer in time.
    TimedOut,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => write!(f, "no memory for its queues"),
            Self::Gone => write!(f, "its registers read as ones"),
            Self::Stride(stride) => write!(f, "its doorbells lie too far apart, CAP.DSTRD reads {stride}"),
            Self::Commands(sets) => write!(f, "it lacks the NVM command set, CAP.CSS reads {sets:#x}"),
            Self::Pages(smallest) => write!(f, "it lacks pages of 4096 bytes, CAP.MPSMIN reads {smallest}"),
            Self::Entries(entries) => write!(f, "its queues have at most {entries} entries"),
            Self::Stop(status) => write!(f, "it does not stop, CSTS reads {status:#x}"),
            Self::NotReady(status) => write!(f, "it does not become ready, CSTS reads {status:#x}"),
            Self::Fatal(status) => write!(f, "it says that it cannot go on, CSTS reads {status:#x}"),
            Self::Refused(request, refusal) => write!(f, "asked {request}: {refusal}"),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Unusable(unusable) => write!(f, "{unusable}"),
            Self::TimedOut => write!(f, "it does not answer"),
        }
    }
}

/// How far the controller has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// CC.EN is 0, since then.
    Stopping(Duration),
    /// CC.EN is 1, since then, and nothing was asked yet.
    Starting(Duration),
    /// It is being asked what it is.
    Greeting,
    /// It serves.
    Up,
}

/// Queues, the list of the buffer's pages, the buffer. The structures of identify go there, too.
struct Memory<P: DevicePages> {
    admin: Queues<P>,
    io: Queues<P>,
    list: Mapped<P>,
    data: Buffer<P>,
}

/// A pair of queues, where the controller finds them, and their doorbells.
struct Queues<P: DevicePages> {
    pair: Pair<P::Page>,
    at: [BusAddress; 2],
    doorbells: [Writable; 2],
}

impl<P: DevicePages> Queues<P> {
    fn allocate(pages: &P, number: u16) -> Option<Self> {
        let submissions = Mapped::<P>::allocate(pages)?;
        let completions = Mapped::<P>::allocate(pages)?;
        let at = [submissions.at, completions.at];
        let pair = Pair::new(number, submissions.page, completions.page);
        // Where they are without a stride; set anew when CAP was read.
        let doorbells = [number * 2, number * 2 + 1].map(Writable::Doorbell);
        Some(Self { pair, at, doorbells })
    }

    /// Shows the controller the commands that were given.
    fn tell(&self, bus: &mut impl Bus) {
        order::tell(|| bus.write(self.doorbells[0], self.pair.tail().into()));
    }

    /// The next completion.
    fn take(&mut self, bus: &mut impl Bus) -> Result<Option<Completion>, Fault> {
        let taken = self.pair.take()?;
        if taken.is_some() {
            order::tell(|| bus.write(self.doorbells[1], self.pair.head().into()));
        }
        Ok(taken)
    }
}

impl<P: DevicePages> Memory<P> {
    fn allocate(pages: &P) -> Option<Self> {
        let memory = Self {
            admin: Queues::allocate(pages, ADMIN)?,
            io: Queues::allocate(pages, IO)?,
            list: Mapped::allocate(pages)?,
            data: Buffer::allocate(pages)?,
        };
        memory.write_list();
        Some(memory)
    }

    fn write_list(&self) {
        let halves = self.data.addresses().flat_map(|at| [at.0 as u32, (at.0 >> 32) as u32]);
        for (word, half) in self.list.page.words().iter().zip(halves) {
            word.store(half, Relaxed);
        }
    }

    /// PRP entries for `count` pages of the buffer, from `first` on.
    fn prp(&self, first: usize, count: usize) -> [BusAddress; 2] {
        let page = |number: usize| self.data.addresses().nth(number).unwrap_or(self.list.at);
        let second = match count {
            0 | 1 => BusAddress(0),
            2 => page(first + 1),
            _ => self.list.at.plus(8 * (first as u64 + 1)),
        };
        [page(first), second]
    }
}

/// A disk that was told to stop, and the memory that it will use.
pub struct Stopped<B: Bus, P: DevicePages, W: Waits>(Core<B, P, W>);

/// The controller, whatever its stage.
struct Core<B: Bus, P: DevicePages, W: Waits> {
    bus: B,
    waits: W,
    memory: Memory<P>,
    stage: Stage,
    /// Pages of the largest transfer of a command.
    most_pages: usize,
    has_cache: bool,
    counts: Counts,
}

/// A disk.
pub struct Nvme<B: Bus, P: DevicePages, W: Waits> {
    core: Core<B, P, W>,
    identity: Identity,
    geometry: Geometry,
}

impl<B: Bus, P: DevicePages, W: Waits> Stopped<B, P, W> {
    /// Takes memory and tells the controller to stop, whatever it was doing for whomever.
    ///
    /// # Errors
    /// [`StartError::NoMemory`].
    pub fn new(mut bus: B, pages: &P, waits: W) -> Result<Self, StartError> {
        // First, for queues and buffers may be those of somebody who was killed while the controller ran.
        stop(&mut bus);
        let memory = Memory::allocate(pages).ok_or(StartError::NoMemory)?;
        let stage = Stage::Stopping(waits.now());
        let counts = Counts::default();
        Ok(Self(Core { bus, waits, memory, stage, most_pages: 1, has_cache: true, counts }))
    }

    /// Brings the disk up. `within` is how long that may take; a controller may want 127 s.
    ///
    /// # Errors
    /// [`StartError`], with the disk for another attempt, which goes on where this one has ended.
    pub async fn start(mut self, within: Duration) -> Result<Nvme<B, P, W>, (StartError, Self)> {
        let until = self.0.waits.now().saturating_add(within);
        match self.0.bring_up(until).await {
            Ok((identity, geometry)) => Ok(Nvme { core: self.0, identity, geometry }),
            Err(error) => Err((error, self)),
        }
    }
}

/// Clears CC.EN. Whether it was set or not: a controller that is starting must not go on either.
fn stop(bus: &mut impl Bus) {
    let before = Configuration::from_bits_retain(bus.read(Readable::Configuration));
    bus.write(Writable::Configuration, (before - Configuration::EN).bits());
}

impl<B: Bus, P: DevicePages, W: Waits> Core<B, P, W> {
    fn stop(&mut self) {
        if !matches!(self.stage, Stage::Stopping(_)) {
            stop(&mut self.bus);
            self.stage = Stage::Stopping(self.waits.now());
        }
    }

    /// Stops a controller that does not do what it should.
    fn give_up(&mut self) {
        self.counts.resets = self.counts.resets.saturating_add(1);
        self.stop();
    }

    /// From any stage to [`Stage::Up`]. A time-out while the controller stops or starts is no setback: the next
    /// call goes on waiting.
    async fn bring_up(&mut self, until: Duration) -> Result<(Identity, Geometry), StartError> {
        if matches!(self.stage, Stage::Greeting | Stage::Up) {
            self.stop();
        }
        let capabilities = Capabilities::read(&mut self.bus);
        check(capabilities)?;
        let patience = Duration::from_millis(capabilities.ready_ms().max(500));
        if let Stage::Stopping(since) = self.stage {
            self.settle(false, until, since.saturating_add(patience)).await?;
            self.enable(capabilities)?;
        }
        if let Stage::Starting(since) = self.stage {
            self.settle(true, until, since.saturating_add(patience)).await?;
        }
        self.stage = Stage::Greeting;
        let found = self.greet(capabilities, until).await;
        match found {
            Ok(_) => self.stage = Stage::Up,
            Err(_) => self.stop(),
        }
        found
    }

    /// Waits until the controller is ready, or has stopped; `until` the caller's time is over, or until it has
    /// taken longer than it says that it does.
    async fn settle(&mut self, ready: bool, until: Duration, at_last: Duration) -> Result<(), StartError> {
        loop {
            let reads = self.bus.read(Readable::Status);
            let status = Status::from_bits_retain(reads);
            if reads == u32::MAX {
                return Err(StartError::Gone);
            }
            if status.contains(Status::RDY) == ready {
                return Ok(());
            }
            if ready && status.contains(Status::CFS) {
                self.stop();
                return Err(StartError::Fatal(reads));
            }
            let now = self.waits.now();
            if now >= at_last && ready {
                self.stop();
                return Err(StartError::NotReady(reads));
            }
            if now >= at_last {
                return Err(StartError::Stop(reads));
            }
            if now >= until {
                return Err(StartError::TimedOut);
            }
            self.waits.sleep(now.saturating_add(LOOK_EVERY)).await;
        }
    }

    /// Tells a controller that has stopped where the admin queues are, and lets it start.
    fn enable(&mut self, capabilities: Capabilities) -> Result<(), StartError> {
        let Memory { admin, io, .. } = &mut self.memory;
        for (queues, number) in [(&mut *admin, ADMIN), (io, IO)] {
            let stride = StartError::Stride(capabilities.stride());
            queues.doorbells = capabilities.doorbells(number).ok_or(stride)?;
            queues.pair.reset(capabilities.queue_entries());
        }
        let last = u32::from(admin.pair.entries() - 1);
        let [submissions, completions] = admin.at;
        let bus = &mut self.bus;
        bus.write(Writable::AdminSizes, last | last << 16);
        bus.write(Writable::AdminSubmissionLow, submissions.0 as u32);
        bus.write(Writable::AdminSubmissionHigh, (submissions.0 >> 32) as u32);
        bus.write(Writable::AdminCompletionLow, completions.0 as u32);
        bus.write(Writable::AdminCompletionHigh, (completions.0 >> 32) as u32);
        let configuration = Configuration::EN | Configuration::IOSQES | Configuration::IOCQES;
        order::tell(|| bus.write(Writable::Configuration, configuration.bits()));
        self.stage = Stage::Starting(self.waits.now());
        Ok(())
    }

    /// Asks what the controller is, and has it make the I/O queues.
    async fn greet(
        &mut self,
        capabilities: Capabilities,
        until: Duration,
    ) -> Result<(Identity, Geometry), StartError> {
        // Controller or namespace structure, at the buffer's front.
        let identify = |namespace, structure| Command {
            opcode: opcode::IDENTIFY,
            namespace,
            data: self.memory.prp(0, 1),
            words: [structure, 0, 0, 0, 0, 0],
        };
        let (controller, namespace) = (identify(0, 1), identify(NAMESPACE, 0));
        self.ask(Request::Controller, &controller, until).await?;
        let controller = self.read(Controller::read)?;
        self.ask(Request::Namespace, &namespace, until).await?;
        let namespace = self.read(Namespace::read)?;
        // How many more than one of each; it may make more.
        self.ask(Request::Queues, &set_features(NUMBER_OF_QUEUES, 0), until).await?;
        let entries = self.memory.io.pair.reset(capabilities.queue_entries());
        let [submissions, completions] = self.memory.io.at;
        let identifier = u32::from(IO) | u32::from(entries - 1) << 16;
        // In one piece; with interrupts, by entry 0.
        let create = create_queue(opcode::CREATE_COMPLETION_QUEUE, completions, identifier, 0b11);
        self.ask(Request::CompletionQueue, &create, until).await?;
        // In one piece; completions go to the queue of the same number.
        let flags = 1 | u32::from(IO) << 16;
        let create = create_queue(opcode::CREATE_SUBMISSION_QUEUE, submissions, identifier, flags);
        self.ask(Request::SubmissionQueue, &create, until).await?;
        self.has_cache = controller.has_cache;
        self.most_pages = match controller.transfer {
            0 => buffer::PAGES,
            power => 1usize.checked_shl(power.into()).map_or(buffer::PAGES, |most| most.min(buffer::PAGES)),
        };
        let Namespace { block_size, blocks, is_protected } = namespace;
        Ok((controller.identity, Geometry { block_size, blocks, writable: !is_protected }))
    }

    /// Reads a structure at the buffer's front.
    fn read<T>(
        &self,
        read: fn(&[core::sync::atomic::AtomicU32]) -> Result<T, Unusable>,
    ) -> Result<T, StartError> {
        read(self.memory.data.first()).map_err(StartError::Unusable)
    }

    /// Has an admin command done.
    async fn ask(&mut self, request: Request, command: &Command, until: Duration) -> Result<(), StartError> {
        // One at a time: there is room.
        if self.memory.admin.pair.give(command).is_none() {
            return Err(StartError::TimedOut);
        }
        self.memory.admin.tell(&mut self.bus);
        let completion = self.completion(ADMIN, until).await.map_err(|ended| match ended {
            Ended::Fault(fault) => StartError::Fault(fault),
            Ended::Gone => StartError::Gone,
            Ended::Late => StartError::TimedOut,
        })?;
        refusal(completion.status).map_or(Ok(()), |refusal| Err(StartError::Refused(request, refusal)))
    }

    /// Waits for the next completion of a queue that has commands.
    async fn completion(&mut self, queue: u16, until: Duration) -> Result<Completion, Ended> {
        let mut is_late = false;
        for _ in 0..SPURIOUS {
            let Self { memory, bus, counts, .. } = self;
            let queues = if queue == ADMIN { &mut memory.admin } else { &mut memory.io };
            if let Some(completion) = queues.take(bus).map_err(Ended::Fault)? {
                counts.late = counts.late.saturating_add(is_late.into());
                return Ok(completion);
            }
            // Nothing there, though an interrupt came or it was time for one: what does it say itself?
            let reads = bus.read(Readable::Status);
            if reads == u32::MAX {
                return Err(Ended::Gone);
            }
            if Status::from_bits_retain(reads).contains(Status::CFS) {
                return Err(Ended::Fault(Fault::Fatal));
            }
            if is_late {
                return Err(Ended::Late);
            }
            is_late = self.waits.interrupt(until).await == Woken::Time;
        }
        Err(Ended::Fault(Fault::Restless))
    }

    /// Makes sure that the controller serves and has nothing of an earlier call.
    async fn ready(&mut self, known: (&Identity, &Geometry), call: Call) -> Result<(), Error> {
        while self.stage == Stage::Up && self.memory.io.pair.outstanding() > 0 {
            self.finished(call).await?;
        }
        if self.stage == Stage::Up {
            return Ok(());
        }
        let (identity, geometry) = self.bring_up(call.until).await.map_err(|error| match error {
            StartError::TimedOut => Error::TimedOut { within: call.within },
            StartError::Fault(fault) => Error::Fault(fault),
            StartError::Fatal(_) => Error::Fault(Fault::Fatal),
            StartError::Unusable(_) => Error::Fault(Fault::Changed),
            _ => Error::Gone,
        })?;
        if (&identity, &geometry) != known {
            self.stop();
            return Err(Error::Fault(Fault::Changed));
        }
        Ok(())
    }

    /// Waits for the end of any command for blocks, and says how it was refused if it was. The controller is
    /// reset if none ends.
    async fn finished(&mut self, call: Call) -> Result<Option<Refusal>, Error> {
        match self.completion(IO, call.until).await {
            Ok(completion) => {
                self.counts.commands += 1;
                Ok(refusal(completion.status))
            }
            Err(ended) => {
                self.give_up();
                Err(match ended {
                    Ended::Fault(fault) => Error::Fault(fault),
                    Ended::Gone => Error::Gone,
                    Ended::Late => Error::TimedOut { within: call.within },
                })
            }
        }
    }

    /// Has blocks moved between disk and buffer.
    async fn transfer(&mut self, opcode: u8, run: Run, call: Call) -> Result<(), Error> {
        let mut left = pieces(run, self.most_pages);
        let mut result = Ok(());
        let mut next = left.next();
        loop {
            let Memory { io, .. } = &self.memory;
            let before = io.pair.tail();
            while let Some(piece) = next {
                let command = Command {
                    opcode,
                    namespace: NAMESPACE,
                    data: self.memory.prp(piece.first_page, piece.pages),
                    words: [piece.block as u32, (piece.block >> 32) as u32, piece.blocks - 1, 0, 0, 0],
                };
                if self.memory.io.pair.give(&command).is_none() {
                    break;
                }
                next = left.next();
            }
            if self.memory.io.pair.tail() != before {
                self.memory.io.tell(&mut self.bus);
            }
            if self.memory.io.pair.outstanding() == 0 {
                return result;
            }
            if let Some(refusal) = self.finished(call).await? {
                // The others in flight are waited for; no more are given.
                result = result.and(Err(Error::Refused(refusal)));
                next = None;
            }
        }
    }

    async fn flush(&mut self, call: Call) -> Result<(), Error> {
        if !self.has_cache {
            return Ok(());
        }
        let command =
            Command { opcode: opcode::FLUSH, namespace: NAMESPACE, data: [BusAddress(0); 2], words: [0; 6] };
        // Nothing is outstanding: there is room.
        if self.memory.io.pair.give(&command).is_some() {
            self.memory.io.tell(&mut self.bus);
        }
        self.finished(call).await?.map_or(Ok(()), |refusal| Err(Error::Refused(refusal)))
    }

    fn call(&self, within: Duration) -> Call {
        Call { until: self.waits.now().saturating_add(within), within }
    }
}

/// Feature: number of queues.
const NUMBER_OF_QUEUES: u32 = 7;

fn set_features(feature: u32, value: u32) -> Command {
    Command {
        opcode: opcode::SET_FEATURES,
        namespace: 0,
        data: [BusAddress(0); 2],
        words: [feature, value, 0, 0, 0, 0],
    }
}

fn create_queue(opcode: u8, at: BusAddress, identifier: u32, flags: u32) -> Command {
    Command { opcode, namespace: 0, data: [at, BusAddress(0)], words: [identifier, flags, 0, 0, 0, 0] }
}

/// What of the registers a controller must have.
fn check(capabilities: Capabilities) -> Result<(), StartError> {
    if capabilities.is_gone() {
        return Err(StartError::Gone);
    }
    if capabilities.command_sets() & NVM_COMMANDS == 0 {
        return Err(StartError::Commands(capabilities.command_sets()));
    }
    if capabilities.smallest_page() != 0 {
        return Err(StartError::Pages(capabilities.smallest_page()));
    }
    if capabilities.queue_entries() < MIN_ENTRIES.into() {
        return Err(StartError::Entries(capabilities.queue_entries()));
    }
    if capabilities.doorbells(IO).is_none() {
        return Err(StartError::Stride(capabilities.stride()));
    }
    Ok(())
}

/// Why no completion came.
enum Ended {
    Fault(Fault),
    Gone,
    Late,
}

/// Until when a call may take, and how long that was.
#[derive(Clone, Copy)]
struct Call {
    until: Duration,
    within: Duration,
}

/// Blocks of a call.
#[derive(Clone, Copy)]
struct Run {
    first: u64,
    blocks: u32,
    /// Blocks of a page.
    a_page: u32,
}

/// Blocks of one command, and where in the buffer they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    block: u64,
    blocks: u32,
    first_page: usize,
    pages: usize,
}

/// Cuts a run into what one command takes.
fn pieces(run: Run, most_pages: usize) -> impl Iterator<Item = Piece> {
    let most = run.a_page * most_pages as u32;
    (0..run.blocks.div_ceil(most)).map(move |number| {
        let done = number * most;
        let blocks = most.min(run.blocks - done);
        Piece {
            block: run.first + u64::from(done),
            blocks,
            first_page: (done / run.a_page) as usize,
            pages: blocks.div_ceil(run.a_page) as usize,
        }
    })
}

impl<B: Bus, P: DevicePages, W: Waits> Nvme<B, P, W> {
    /// What the driver has seen since it started.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.core.counts
    }

    fn run(&self, first: u64, bytes: usize) -> Result<Run, Error> {
        let blocks = self.geometry.check(first, bytes)?;
        Ok(Run { first, blocks, a_page: (PAGE_SIZE / self.geometry.block_size.bytes()) as u32 })
    }
}

impl<B: Bus, P: DevicePages, W: Waits> BlockDevice for Nvme<B, P, W> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&mut self, first: u64, into: &mut [u8], within: Duration) -> Result<(), Error> {
        let run = self.run(first, into.len())?;
        let Self { core, identity, geometry } = self;
        let call = core.call(within);
        core.ready((identity, geometry), call).await?;
        core.transfer(opcode::READ, run, call).await?;
        // The length was checked above.
        if core.memory.data.take(into) { Ok(()) } else { Err(block::Error::TooLong { bytes: into.len() }) }
    }

    async fn write(&mut self, first: u64, from: &[u8], within: Duration) -> Result<(), Error> {
        let run = self.run(first, from.len())?;
        let Self { core, identity, geometry } = self;
        if !geometry.writable {
            return Err(Error::ReadOnly);
        }
        let call = core.call(within);
        core.ready((identity, geometry), call).await?;
        // The length was checked above.
        if !core.memory.data.put(from) {
            return Err(block::Error::TooLong { bytes: from.len() });
        }
        core.transfer(opcode::WRITE, run, call).await
    }

    async fn flush(&mut self, within: Duration) -> Result<(), Error> {
        let Self { core, identity, geometry } = self;
        let call = core.call(within);
        core.ready((identity, geometry), call).await?;
        core.flush(call).await
    }
}

#[cfg(test)]
mod tests;
