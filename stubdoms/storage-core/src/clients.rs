//! What the domain holds, and who may ask for what of it.
//!
//! Control and vault have a channel each, whose requests are answered one after the other; each channel is served
//! by a task of its own. What both need is taken in turns ([`crate::turns`]): the store for one request, the disk
//! for one call of the driver. So vault waits for the store no longer than one request of control's takes, a few
//! pages, also while control has a slot of tens of megabytes verified, and a control that never stops asking
//! takes every other turn at most.
//!
//! Memory is bounded whatever is asked for: one value that is being put (a page of it), the page that was read
//! last, one slot that is being filled (64 KiB of it), one that is being verified (the same), a selector that is being
//! written (at most 1 MiB), the directory (at most 16 pages' worth, and twice while it is written).

use alloc::collections::BTreeMap;
use core::{fmt, time::Duration};

use board_support_drv::block::BlockDevice;
use proto_errors::{Code, Coded, storage as code};
use proto_gpt::copy::CopyError;
use proto_gpt::slots::Slot;
use proto_gpt::table::{Condition, NoTable};
use proto_svc::storage::MAX_REASON;
use proto_svc::text::clipped;

use crate::disk::{Disk, DiskError};
use crate::partitions::{Doubt, Partitions, persist};
use crate::slots::{Slots, Trust};
use crate::store::{Client, Found, Quota, Store, StoreError};
use crate::turns::Turns;

pub mod control;
pub mod sealing;

pub use sealing::Sealed;

/// Control's values.
pub const CONTROL: Client = Client(1);
/// What each client may have.
pub const QUOTAS: &[Quota] = &[Quota { client: CONTROL, bytes: 8 << 20, values: 256 }];

/// Why there is no store at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The disk has no partition table.
    Table(NoTable),
    /// It has no partition for it, or two.
    Partition,
    /// The partition is not to be used.
    Store(StoreError),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(why) => write!(f, "{why}"),
            Self::Partition => f.write_str("the disk has no partition P3, or two"),
            Self::Store(why) => write!(f, "{why}"),
        }
    }
}

impl core::error::Error for Missing {}

impl Missing {
    /// Whether another try may find one: the disk did not give what lies there.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Table(NoTable { primary, backup }) => {
                matches!(primary, CopyError::Unreadable) || matches!(backup, CopyError::Unreadable)
            }
            Self::Store(StoreError::Disk(_)) => true,
            Self::Partition | Self::Store(_) => false,
        }
    }
}

impl Coded for Missing {
    fn code(&self) -> Code {
        match self {
            Self::Table(_) => code::TABLE,
            Self::Partition => code::STORE_MISSING,
            Self::Store(why) => why.code(),
        }
    }
}

/// The disk, and what is on it.
#[derive(Debug)]
pub struct Storage<D> {
    disk: Disk<D>,
    store: Turns<Result<Store, Missing>>,
    slots: Turns<Slots>,
}

/// What was found at the start.
#[derive(Debug)]
pub struct Started {
    /// What both copies of the partition table were like, and whether that was mended.
    pub table: Result<(Condition, Result<(), DiskError>), NoTable>,
    /// The store.
    pub store: Result<Found, Missing>,
}

/// Something about the disk that a person should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// One copy of the partition table was not right.
    Table {
        /// What was found.
        found: Condition,
        /// Whether it was written anew.
        repaired: Result<(), DiskError>,
    },
    /// One superblock of the store was not right.
    Superblock {
        /// Whether it was written anew.
        repaired: bool,
    },
    /// There is no store.
    Missing(Missing),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { found, repaired: Ok(()) } => write!(f, "{found}: it was written anew"),
            Self::Table { found, repaired: Err(why) } => write!(f, "{found}, and was not mended: {why}"),
            Self::Superblock { repaired: true } => {
                f.write_str("one superblock of the store was not right: it was written anew")
            }
            Self::Superblock { repaired: false } => {
                f.write_str("one superblock of the store is not right, and was not mended")
            }
            Self::Missing(why) => write!(f, "there is no store: {why}"),
        }
    }
}

impl core::error::Error for Complaint {}

impl Coded for Complaint {
    fn code(&self) -> Code {
        match self {
            Self::Table { .. } => code::TABLE_REPAIRED,
            Self::Superblock { .. } => code::SUPERBLOCK,
            Self::Missing(why) => why.code(),
        }
    }
}

impl Started {
    /// What was not as it should be.
    pub fn complaints(&self) -> impl Iterator<Item = Complaint> {
        let table = match self.table {
            Ok((Condition::Sound, _)) | Err(_) => None,
            Ok((found, repaired)) => Some(Complaint::Table { found, repaired }),
        };
        let store = match self.store {
            Ok(Found::Sound | Found::Empty) => None,
            Ok(Found::OneSuperblock { repaired }) => Some(Complaint::Superblock { repaired }),
            Err(why) => Some(Complaint::Missing(why)),
        };
        table.into_iter().chain(store)
    }
}

impl<D: BlockDevice> Storage<D> {
    /// Reads the partition table, and finds or makes the store. `running` is the slot that the machine was
    /// started from; `random` fills its argument.
    pub async fn start(
        device: D,
        running: Option<Slot>,
        trust: Trust,
        random: impl FnMut(&mut [u8]),
    ) -> (Self, Started) {
        let disk = Disk::new(device);
        let mut doubt = None;
        let (store, started) = find(&disk, &mut doubt, random).await;
        let slots = Turns::new(Slots::new(running, trust, doubt));
        (Self { disk, store: Turns::new(store), slots }, started)
    }

    /// Whether the disk has failed at finding the store or at opening it, and [`Storage::try_again`] may help.
    pub async fn is_failing(&self) -> bool {
        match &*self.store.turn().await {
            Ok(store) => store.waits_for_disk(),
            Err(why) => why.may_pass(),
        }
    }

    /// Tries once more what the disk has failed at.
    pub async fn try_again(&self, random: impl FnMut(&mut [u8])) -> Tried {
        let mut turn = self.store.turn().await;
        match &mut *turn {
            Ok(store) => {
                let was = store.closed();
                let sealed = store.open_again(&self.disk).await.map(Sealed::of);
                Tried { found: None, changed: was != store.closed(), sealed }
            }
            Err(why) if why.may_pass() => {
                let was = *why;
                let mut slots = self.slots.turn().await;
                let (store, started) = find(&self.disk, slots.doubt_mut(), random).await;
                *turn = store;
                let changed = turn.as_ref().err() != Some(&was);
                Tried { found: Some(started), sealed: None, changed }
            }
            Err(_) => Tried::default(),
        }
    }

    /// Notes why nobody gives the store a key, where there is no vault that could say so; nothing takes back what was
    /// noted. Returns whether the store waits for a key: one that has it stays open.
    pub async fn lock(&self, reason: &str) -> bool {
        let mut turn = self.store.turn().await;
        let Ok(store) = &mut *turn else { return false };
        store.lock(&clipped(reason));
        store.closed() == Some(StoreError::Locked)
    }

    /// The disk.
    pub const fn disk(&self) -> &Disk<D> {
        &self.disk
    }
}

/// Reads the partition table, and finds or makes the store.
async fn find<D: BlockDevice>(
    disk: &Disk<D>,
    doubt: &mut Doubt,
    random: impl FnMut(&mut [u8]),
) -> (Result<Store, Missing>, Started) {
    let partitions = Partitions::read(disk, doubt).await;
    let table = partitions.as_ref().map(Partitions::found).map_err(|why| *why);
    let window = match &partitions {
        Ok(partitions) => persist(partitions).ok_or(Missing::Partition),
        Err(why) => Err(Missing::Table(*why)),
    };
    let store = match window {
        Ok(window) => Store::find(disk, window, QUOTAS, random).await.map_err(Missing::Store),
        Err(why) => Err(why),
    };
    let (store, found) = match store {
        Ok((store, found)) => (Ok(store), Ok(found)),
        Err(why) => (Err(why), Err(why)),
    };
    (store, Started { table, store: found })
}

/// What has become of what the disk had failed at.
#[derive(Debug, Default)]
pub struct Tried {
    /// What was found, if the store was looked for.
    pub found: Option<Started>,
    /// What has become of the store, if it was opened.
    pub sealed: Option<Sealed>,
    /// Control is to be told: the store has become open, or is closed for another reason.
    pub changed: bool,
}

/// How long to wait ahead of each further try of something that fails.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    /// For something that has failed once.
    #[must_use]
    pub const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next pause: twice the one before, up to a minute.
    pub fn pause(&mut self) -> Duration {
        let next = Self::LONGEST.min(self.0 * 2);
        core::mem::replace(&mut self.0, next)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// What a peer can provoke is told when it happens first, and when it has happened twice as often as when it was
/// told last.
#[derive(Debug, Default)]
pub struct Burst {
    counts: BTreeMap<Code, u32>,
}

impl Burst {
    /// Counts it. Whether it is to be told.
    pub fn is_news(&mut self, code: Code) -> bool {
        let count = self.counts.entry(code).or_default();
        *count = count.saturating_add(1);
        count.is_power_of_two()
    }
}

/// An error in as many bytes as a reason has. Its code is never cut off.
pub(crate) fn reason<E: Coded + fmt::Display>(error: &E) -> heapless::String<MAX_REASON> {
    with_code(error, error.code())
}

/// A text that is clipped so that its code fits.
pub(crate) fn with_code(told: &impl fmt::Display, code: Code) -> heapless::String<MAX_REASON> {
    use fmt::Write as _;
    // ` [`, thirteen letters and digits, `]`.
    const CODE: usize = 16;
    let mut text = Clipped::<{ MAX_REASON - CODE }>(heapless::String::new());
    // It takes all that is written, and keeps what fits.
    let _ = write!(text, "{told}");
    let mut out = heapless::String::new();
    let _ = write!(out, "{} [{}]", text.0, code);
    out
}

/// Text as far as it fits.
struct Clipped<const N: usize>(heapless::String<N>);

impl<const N: usize> fmt::Write for Clipped<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.push(character).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_often_is_told_ever_more_rarely() {
        let mut burst = Burst::default();
        let told = (0..1000).filter(|_| burst.is_news(code::REQUEST)).count();
        assert_eq!(told, 10);
        assert!(burst.is_news(code::STORE_FULL));
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut backoff = Backoff::new();
        let seconds: std::vec::Vec<u64> = (0..9).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_long_reason_keeps_its_code() {
        let long = reason(&Missing::Table(NoTable {
            primary: proto_gpt::copy::CopyError::HeaderChecksum,
            backup: proto_gpt::copy::CopyError::HeaderChecksum,
        }));
        assert!(long.len() <= MAX_REASON && long.ends_with(" [E-STORAGE-003]"), "{long}");
        assert_eq!(reason(&Missing::Partition), "the disk has no partition P3, or two [E-STORAGE-005]");
    }
}
