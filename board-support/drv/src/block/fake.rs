//! A disk in memory, for the tests of those who use disks.
//!
//! It is stricter than a real one: it has a volatile cache that only a flush makes durable, keeps a log of
//! all that was written, and fails where a test wants it to ([`FakeDisk::fail`]). A flush that fails loses what
//! was not durable, as real disks do, or leaves it in doubt for good. From the [`Log`] come all the disks that a
//! power cut may leave behind ([`Log::cut`], [`Cut::left`]): a choice for each block that was not made durable.
//!
//! ```text
//!   writes ──► log: Write Write Flush Write Write          Log::cut(at)
//!                                   └ durable ┘ └ any version of each block since, or a torn one
//! ```
//!
//! A value is a handle: clones are of the same disk, so that a test keeps one and the code under test gets the
//! other.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{
    cell::{Ref, RefCell},
    future::poll_fn,
    task::Poll,
    time::Duration,
};

use super::{BlockDevice, BlockSize, Error, Geometry, Identity};

/// Contents of a disk by its blocks. Blocks that were never written are zeros. Copies share what is equal, so
/// they are cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    block: usize,
    blocks: BTreeMap<u64, Arc<[u8]>>,
}

impl Image {
    /// A disk of zeros.
    #[must_use]
    pub const fn new(block_size: BlockSize) -> Self {
        Self { block: block_size.bytes(), blocks: BTreeMap::new() }
    }

    /// Puts `bytes`, whole blocks, to the blocks from `first` on.
    ///
    /// # Panics
    /// If they are not whole blocks.
    pub fn put(&mut self, first: u64, bytes: &[u8]) {
        assert!(bytes.len().is_multiple_of(self.block), "whole blocks");
        for (number, block) in (first..).zip(bytes.chunks(self.block)) {
            self.blocks.insert(number, block.into());
        }
    }

    /// Fills `into` with the blocks from `first` on.
    pub fn get(&self, first: u64, into: &mut [u8]) {
        for (number, place) in (first..).zip(into.chunks_mut(self.block)) {
            match self.blocks.get(&number) {
                Some(block) => place.copy_from_slice(&block[..place.len()]),
                None => place.fill(0),
            }
        }
    }

    /// One block.
    #[must_use]
    pub fn block(&self, number: u64) -> Vec<u8> {
        let mut block = vec![0; self.block];
        self.get(number, &mut block);
        block
    }

    fn shared(&self, number: u64) -> Arc<[u8]> {
        self.blocks.get(&number).cloned().unwrap_or_else(|| vec![0; self.block].into())
    }
}

/// What reached the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One block was written. A write of several is as many events.
    Write {
        /// Which.
        block: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// All before it is durable, but for blocks that are in doubt for good.
    Flush,
    /// A flush failed, and this block is durable all the same.
    Durable {
        /// Which.
        block: u64,
    },
    /// A flush failed, and this block holds again what was durable.
    Lost {
        /// Which.
        block: u64,
    },
    /// A call failed, and no later flush makes this block durable: only writing it again does.
    Doubt {
        /// Which.
        block: u64,
    },
}

/// All that a disk went through.
#[derive(Clone, Debug)]
pub struct Log {
    before: Image,
    events: Vec<Event>,
}

impl Log {
    /// The events in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The power is cut after the first `at` events.
    ///
    /// # Panics
    /// If there are fewer events.
    #[must_use]
    pub fn cut(&self, at: usize) -> Cut {
        let mut cut = Cut::before(&self.before);
        self.events[..at].iter().for_each(|event| cut.see(event));
        cut
    }
}

/// A power cut: what is left for certain, and what may be left.
#[derive(Clone, Debug)]
pub struct Cut {
    durable: Image,
    /// By the blocks that were written since the last flush, what each has held, the durable contents first.
    doubtful: BTreeMap<u64, Vec<Arc<[u8]>>>,
    /// Those of them that a flush does not make durable.
    stuck: BTreeSet<u64>,
}

impl Cut {
    fn before(durable: &Image) -> Self {
        Self { durable: durable.clone(), doubtful: BTreeMap::new(), stuck: BTreeSet::new() }
    }

    /// What an event makes of it.
    fn see(&mut self, event: &Event) {
        match event {
            Event::Write { block, bytes } => {
                let durable = &self.durable;
                let versions = self.doubtful.entry(*block).or_insert_with(|| vec![durable.shared(*block)]);
                versions.push(bytes.clone());
                self.stuck.remove(block);
            }
            Event::Flush => {
                let stuck = &self.stuck;
                let (still, flushed) = core::mem::take(&mut self.doubtful)
                    .into_iter()
                    .partition(|(block, _)| stuck.contains(block));
                self.doubtful = still;
                for (block, versions) in flushed {
                    self.durable.blocks.extend(versions.last().map(|last| (block, last.clone())));
                }
            }
            Event::Durable { block } => {
                let last = self.doubtful.remove(block).and_then(|versions| versions.last().cloned());
                self.durable.blocks.extend(last.map(|last| (*block, last)));
                self.stuck.remove(block);
            }
            Event::Lost { block } => {
                self.doubtful.remove(block);
                self.stuck.remove(block);
            }
            Event::Doubt { block } => {
                self.stuck.insert(*block);
            }
        }
    }

    /// For how many blocks there is a choice.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.doubtful.len()
    }

    /// A disk that the cut may leave. `choose(n)` picks one of `n` possibilities, a number below `n`; it is
    /// asked once or twice for each block in doubt, in the order of their numbers:
    ///
    /// 1. of the `v` versions that the block has had, the durable one first, `choose(2v - 1)`: the first `v` are
    ///    these versions, the others torn ones, each between a version and the next;
    /// 2. for a torn one, `choose(b - 1)`: how many of the block's `b` bytes, less 1, are of the newer one.
    ///
    /// So `|_| 0` loses everything that was not flushed, and reorders are blocks with different ages.
    ///
    /// # Panics
    /// If `choose` returns a number that it may not.
    #[must_use]
    pub fn left(&self, mut choose: impl FnMut(usize) -> usize) -> Image {
        let mut pick = |of: usize| {
            let picked = choose(of);
            assert!(picked < of, "{picked} of {of}");
            picked
        };
        let mut image = self.durable.clone();
        for (number, versions) in &self.doubtful {
            let picked = pick(2 * versions.len() - 1);
            let block = match picked.checked_sub(versions.len()) {
                None => versions[picked].clone(),
                Some(older) => {
                    let mut torn: Vec<u8> = versions[older].to_vec();
                    let newer = &versions[older + 1][..1 + pick(image.block - 1)];
                    torn[..newer.len()].copy_from_slice(newer);
                    torn.into()
                }
            };
            image.blocks.insert(*number, block);
        }
        image
    }
}

/// How much of a call that fails is done all the same. Blocks that a failed flush does not make durable are lost:
/// reads find what was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing.
    Nothing,
    /// So many blocks, the first ones.
    Blocks(usize),
    /// All of it.
    All,
    /// All of it, as reads see it, but no later flush makes it durable: it has to be written again.
    Unsure,
}

/// A failure that a test wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the call answers.
    pub error: Error,
    /// What it has done nevertheless.
    pub done: Done,
}

struct State {
    geometry: Geometry,
    /// As reads see it.
    now: Image,
    log: Log,
    /// If the power were cut now.
    cut: Cut,
    calls: u64,
    /// By the number of the call.
    failures: BTreeMap<u64, Failure>,
    /// Blocks that cannot be read, and with which error.
    bad: BTreeMap<u64, Error>,
    gone: bool,
    pending: u32,
}

/// A disk in memory.
#[derive(Clone)]
pub struct FakeDisk {
    state: Rc<RefCell<State>>,
    // What the trait lends out cannot be lent from behind the cell.
    identity: Identity,
}

impl FakeDisk {
    /// A disk of zeros that may be written.
    #[must_use]
    pub fn new(block_size: BlockSize, blocks: u64) -> Self {
        Self::of(Image::new(block_size), blocks)
    }

    /// A disk with these contents, as [`Cut::left`] gives them.
    ///
    /// # Panics
    /// If it holds blocks past the end.
    #[must_use]
    pub fn of(image: Image, blocks: u64) -> Self {
        assert!(image.blocks.keys().all(|number| *number < blocks), "a larger disk");
        let block_size = BlockSize::of_bytes(image.block as u32).expect("images have such blocks");
        let identity =
            Identity { model: "Fake disk".try_into().expect("fits"), serial: "F0".try_into().expect("fits") };
        let state = State {
            geometry: Geometry { block_size, blocks, writable: true },
            log: Log { before: image.clone(), events: Vec::new() },
            cut: Cut::before(&image),
            now: image,
            calls: 0,
            failures: BTreeMap::new(),
            bad: BTreeMap::new(),
            gone: false,
            pending: 0,
        };
        Self { state: Rc::new(RefCell::new(state)), identity }
    }

    /// Another one like it that may not be written.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.state.borrow_mut().geometry.writable = false;
        self
    }

    /// Lets each call be pending so often before it ends, as on a real disk. What it does is done at its first
    /// poll, so a call that is dropped later has been carried out all the same.
    #[must_use]
    pub fn pending(self, polls: u32) -> Self {
        self.state.borrow_mut().pending = polls;
        self
    }

    /// Lets the call number `call` (see [`FakeDisk::calls`]) fail.
    pub fn fail(&self, call: u64, failure: Failure) {
        self.state.borrow_mut().failures.insert(call, failure);
    }

    /// Lets every read of `block` fail, until it is written.
    pub fn spoil(&self, block: u64, error: Error) {
        self.state.borrow_mut().bad.insert(block, error);
    }

    /// Lets `block` hold something else from now on, as if it had been so all the time.
    pub fn rot(&self, block: u64, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.now.put(block, bytes);
        state.cut.durable.put(block, bytes);
        state.log.before.put(block, bytes);
    }

    /// Takes the disk away: all calls fail with [`Error::Gone`].
    pub fn remove(&self) {
        self.state.borrow_mut().gone = true;
    }

    /// How many reads, writes and flushes there were that the caller may make. The next one has this number.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.borrow().calls
    }

    /// All that was written since it was made.
    #[must_use]
    pub fn log(&self) -> Ref<'_, Log> {
        Ref::map(self.state.borrow(), |state| &state.log)
    }

    /// The contents as a read sees them, durable or not.
    #[must_use]
    pub fn image(&self) -> Image {
        self.state.borrow().now.clone()
    }

    async fn look_pending(&self) {
        let mut left = self.state.borrow().pending;
        poll_fn(|context| {
            let Some(less) = left.checked_sub(1) else { return Poll::Ready(()) };
            left = less;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl State {
    /// Counts a call, and says how it is to fail.
    fn begin(&mut self) -> Result<Option<Failure>, Error> {
        let failure = self.failures.remove(&self.calls);
        self.calls += 1;
        if self.gone { Err(Error::Gone) } else { Ok(failure) }
    }

    fn read(&mut self, first: u64, into: &mut [u8]) -> Result<(), Error> {
        let blocks = self.geometry.check(first, into.len())?;
        // Nothing that a caller could take for contents.
        into.fill(0xee);
        if let Some(failure) = self.begin()? {
            return Err(failure.error);
        }
        if let Some((_, error)) = self.bad.range(first..first + u64::from(blocks)).next() {
            return Err(*error);
        }
        self.now.get(first, into);
        Ok(())
    }

    fn write(&mut self, first: u64, from: &[u8]) -> Result<(), Error> {
        let blocks = self.geometry.check(first, from.len())? as usize;
        if !self.geometry.writable {
            return Err(Error::ReadOnly);
        }
        let failure = self.begin()?;
        let done = match failure.map(|failure| failure.done) {
            None | Some(Done::All | Done::Unsure) => blocks,
            Some(Done::Blocks(some)) => some.min(blocks),
            Some(Done::Nothing) => 0,
        };
        for (block, bytes) in (first..).zip(from.chunks(self.now.block)).take(done) {
            self.bad.remove(&block);
            self.now.put(block, bytes);
            let bytes = self.now.shared(block);
            self.note(Event::Write { block, bytes });
            if failure.is_some_and(|failure| failure.done == Done::Unsure) {
                self.note(Event::Doubt { block });
            }
        }
        failure.map_or(Ok(()), |failure| Err(failure.error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let Some(Failure { error, done }) = self.begin()? else {
            self.note(Event::Flush);
            return Ok(());
        };
        // What a flush that succeeds does not make durable, one that fails does not either.
        let (stuck, unflushed): (Vec<u64>, Vec<u64>) =
            self.cut.doubtful.keys().partition(|block| self.cut.stuck.contains(block));
        let kept = match done {
            Done::All | Done::Unsure => usize::MAX,
            Done::Blocks(some) => some,
            Done::Nothing => 0,
        };
        for (index, block) in unflushed.into_iter().enumerate() {
            self.note(match done {
                Done::Unsure => Event::Doubt { block },
                _ if index < kept => Event::Durable { block },
                _ => Event::Lost { block },
            });
        }
        if kept < usize::MAX {
            stuck.into_iter().for_each(|block| self.note(Event::Lost { block }));
        }
        Err(error)
    }

    fn note(&mut self, event: Event) {
        self.cut.see(&event);
        if let Event::Lost { block } = event {
            let durable = self.cut.durable.shared(block);
            self.now.blocks.insert(block, durable);
        }
        self.log.events.push(event);
    }
}

impl BlockDevice for FakeDisk {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn geometry(&self) -> Geometry {
        self.state.borrow().geometry
    }

    async fn read(&mut self, first: u64, into: &mut [u8], _within: Duration) -> Result<(), Error> {
        let result = self.state.borrow_mut().read(first, into);
        self.look_pending().await;
        result
    }

    async fn write(&mut self, first: u64, from: &[u8], _within: Duration) -> Result<(), Error> {
        let result = self.state.borrow_mut().write(first, from);
        self.look_pending().await;
        result
    }

    async fn flush(&mut self, _within: Duration) -> Result<(), Error> {
        let result = self.state.borrow_mut().flush();
        self.look_pending().await;
        result
    }
}

#[cfg(test)]
mod tests;
