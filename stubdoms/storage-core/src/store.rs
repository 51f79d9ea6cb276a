//! The state store: named values, encrypted, each replaced as a whole or not at all.
//!
//! ```text
//!   page 0       1 …                                                      pages - 1
//!  +------------+----------------------------------------------------+------------+
//!  | superblock | pages of values and of the directory, in any order | superblock |
//!  +-----+------+----------------------------------------------------+-----+------+
//!        '--> directory (two copies) --> pages of each value <-------------'
//! ```
//!
//! A page has 4096 bytes. The superblock is in the clear and has a checksum; everything else is encrypted and
//! authenticated by page ([`seal`]). The directory has the nonces of the values' pages and the superblock that
//! of the directory's, so that one superblock stands for exactly one state of everything below it.
//!
//! # Why a power cut harms nothing
//!
//! A change (a value put, deleted) goes to the disk in this order:
//!
//! 1. The value's pages and both copies of the new directory, into pages that nothing refers to. Flush.
//! 2. The superblock that refers to the new directory: one copy. Flush.
//! 3. The other copy. Flush. Only now it is answered.
//!
//! While 1 goes on both superblocks stand for the state before, of which nothing is overwritten. While 2 goes on
//! the copy that is not being written does. A copy that was torn has a wrong checksum; one that is right is of
//! the new state, all of which was durable ahead of it. While 3 goes on the copy written in 2 stands for the new
//! state. So there is always one copy that is right, of the two the higher number counts, and both what is
//! found is whole: the state before, or the one after, which nobody was told of yet. Pages of the state before
//! are used anew after 3 only, when no superblock that may be found refers to them.
//!
//! The argument needs that a change begins with two good copies. When the power was cut, or an error of the disk
//! leaves in doubt what is on it, the superblock is read again, and the copy that is damaged or older is written
//! first, after a flush, under a higher number, before anything else is written ([`Store::begin_write`]).
//! A copy that was being written when the disk failed is in doubt whatever a read of it says, for what is read may
//! be the disk's cache: the other one counts, and this one is written first.
//! What was begun and not finished leaves no trace but pages that nobody refers to, which are free: there is
//! no garbage to be collected.
//!
//! The disk is shared with the slots, and may fail for them after pages of a value were written and before they are
//! flushed. Each value that is begun knows the epoch of the disk ([`Disk::epoch`]) that it was begun in; in another
//! one it begins anew.
//!
//! # What is noticed
//!
//! - A damaged superblock or copy of the directory: the other one is taken, and both are written anew.
//! - A damaged page of a value, at the start of storage or when it is read: the value is dropped, counted and
//!   reported by name. It is never another value than the one that was put last.
//! - Pages that whoever writes the disk has replaced by older ones of the same place, has moved, or has mixed
//!   from two states: they do not open, by nonce and name.
//! - Not noticed is when *everything* is set back to an earlier moment, superblocks and all, with the key that vault had
//!   sealed then: that is a state which was there. It would take a counter in the TPM.

use alloc::{vec, vec::Vec};
use core::fmt;

use board_support_drv::block::{Blame, BlockDevice};
use proto_errors::{Code, Coded, storage as code};
use proto_svc::sealing::{MAX_KEPT, MAX_SEALED};
use proto_svc::storage::{Key, MAX_PIECE, MAX_REASON, MAX_VALUE};
use zeroize::Zeroizing;

use crate::disk::{Disk, DiskError, Epoch, Window};
use directory::{Directory, DirectoryError, Record, Used, pages_of};
use seal::{Cipher, Nonce, Nonces, Part, ROOM, Whole};
use superblock::{MAX_DIRECTORY_PAGES, Root, Superblock};

pub use superblock::SuperblockError;

pub(crate) mod directory;
mod seal;
pub(crate) mod superblock;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// The most pages that a store uses; what its partition has beyond is left alone.
pub const MAX_PAGES: u32 = 16384;
/// Pages at the start that are all zero in a partition that may be formatted.
const ZERO_PAGES: u32 = 64;
/// The most pages that are left out for the rest of a life because the disk did not write them.
const MAX_BAD: usize = 64;

/// Who has values. Each sees only its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub u8);

/// How much a client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Who.
    pub client: Client,
    /// Bytes of its values, each counted in whole pages of 4096.
    pub bytes: u32,
    /// How many values.
    pub values: u16,
}

impl Quota {
    /// Pages that the store needs for it: its values, and the longest one once more while it is replaced.
    const fn pages(&self) -> u32 {
        self.bytes.div_ceil(PAGE as u32) + pages_of(MAX_VALUE) as u32
    }
}

/// Why there is no store, or it is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The disk does not do what it is asked to.
    Disk(DiskError),
    /// The partition is too small, or smaller than the store that was made in it.
    TooSmall {
        /// Pages that it has.
        have: u32,
        /// Pages that are needed.
        need: u32,
    },
    /// The partition is neither empty nor ours: it is not overwritten.
    Foreign,
    /// It is ours, and neither superblock is of use.
    Superblocks([SuperblockError; 2]),
    /// Another key than this one encrypted what is stored.
    Key,
    /// Neither copy of the directory is what the superblock refers to.
    Directory,
    /// The directory is authentic and cannot be.
    DirectoryForm,
    /// The store has no key yet.
    Locked,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(why) => write!(f, "the disk fails: {why}"),
            Self::TooSmall { have, need } => write!(f, "it has {have} pages, and {need} are needed"),
            Self::Foreign => f.write_str("its partition is neither empty nor ours, and is left alone"),
            Self::Superblocks([first, last]) => write!(f, "first superblock: {first}; last: {last}"),
            Self::Key => f.write_str("another key encrypted what is stored"),
            Self::Directory => f.write_str("both copies of its directory are damaged"),
            Self::DirectoryForm => f.write_str("its directory is authentic and contradicts itself"),
            Self::Locked => f.write_str("it has no key yet"),
        }
    }
}

impl core::error::Error for StoreError {}

impl Coded for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::Disk(_) => code::DISK,
            Self::TooSmall { .. } => code::STORE_SIZE,
            Self::Foreign => code::STORE_FOREIGN,
            Self::Superblocks(_) | Self::Directory | Self::DirectoryForm => code::STORE_DAMAGED,
            Self::Key => code::STORE_KEY,
            Self::Locked => code::STORE_LOCKED,
        }
    }
}

impl From<DiskError> for StoreError {
    fn from(why: DiskError) -> Self {
        Self::Disk(why)
    }
}

/// Why a request for a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// The store is not open, or fails.
    Store(StoreError),
    /// Not a name.
    Name,
    /// There is no value of this name.
    None,
    /// More bytes than there may be.
    TooLarge {
        /// Bytes that are wanted.
        want: u64,
        /// Bytes that there is room for.
        room: u64,
    },
    /// As many values as the client may have.
    TooMany {
        /// How many.
        values: u16,
    },
    /// Not the piece that was expected.
    Piece {
        /// Where it begins.
        offset: u32,
        /// Where the next one begins.
        expected: u32,
    },
    /// The value was damaged, and is dropped.
    Damaged,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(why) => write!(f, "{why}"),
            Self::Name => f.write_str("a name has lower-case letters, digits, dots and dashes"),
            Self::None => f.write_str("there is no value of this name"),
            Self::TooLarge { want, room } => write!(f, "{want} bytes, and there is room for {room}"),
            Self::TooMany { values } => write!(f, "there are {values} values, and no more may be"),
            Self::Piece { offset, expected } => {
                write!(f, "a piece at byte {offset}, and the next one is at {expected}")
            }
            Self::Damaged => f.write_str("the value was damaged and is dropped"),
        }
    }
}

impl core::error::Error for ValueError {}

impl Coded for ValueError {
    fn code(&self) -> Code {
        match self {
            Self::Store(why) => why.code(),
            Self::Name | Self::None | Self::Piece { .. } => code::REQUEST,
            Self::TooLarge { .. } | Self::TooMany { .. } => code::STORE_FULL,
            Self::Damaged => code::VALUE_DAMAGED,
        }
    }
}

impl From<DiskError> for ValueError {
    fn from(why: DiskError) -> Self {
        Self::Store(why.into())
    }
}

/// What the partition was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Empty: it was formatted.
    Empty,
    /// Both superblocks were right.
    Sound,
    /// One was damaged or older, as after a power cut; whether both could be written anew.
    OneSuperblock {
        /// Whether they were.
        repaired: bool,
    },
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "its partition was empty, and is formatted",
            Self::Sound => "found as it was left",
            Self::OneSuperblock { .. } => "found as the last change that was finished left it",
        })
    }
}

/// What was found behind the superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// How many values there are.
    pub values: usize,
    /// Those that were damaged, and are dropped.
    pub damaged: Vec<(Client, Key)>,
    /// How many could not be read, and are kept.
    pub unreadable: usize,
    /// A copy of the directory was damaged.
    pub directory_repaired: bool,
}

/// One of the two superblocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Last,
}

impl Place {
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Last,
            Self::Last => Self::First,
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    window: Window,
    quotas: &'static [Quota],
    /// What the superblock that counts says.
    head: Superblock,
    /// The copy that is written first: the damaged or older one, if there is such.
    worse: Place,
    /// The copy that was being written when the disk failed in this life: what it holds is not known.
    doubt: Option<Place>,
    /// Both copies are on the disk and say what `head` does.
    settled: bool,
    /// A change was begun and not finished: what the disk says has to be read before it is used.
    stale: bool,
    /// This life's salt; its number is given by the first write.
    salt: [u8; 12],
    nonces: Option<Nonces>,
    contents: Result<Open, StoreError>,
    /// The key, while the disk keeps the store from being opened with it.
    key: Option<Zeroizing<[u8; 32]>>,
    /// Why vault gives no key, as it says.
    locked: heapless::String<MAX_REASON>,
    /// Pages that the disk did not write in this life.
    bad: Vec<u32>,
    damaged: u32,
}

/// What is there with the key.
#[derive(Debug)]
struct Open {
    cipher: Cipher,
    directory: Directory,
    used: Used,
    drafts: Vec<Draft>,
    /// The page that was read last: values are read in small pieces.
    last: Option<(Nonce, usize, Zeroizing<Vec<u8>>)>,
}

/// A value of which not all pieces have come.
#[derive(Debug)]
struct Draft {
    client: Client,
    key: Key,
    record: Record,
    next: u32,
    page: Zeroizing<Vec<u8>>,
    /// What was written of it is on its way to the disk as long as this lasts.
    since: Epoch,
}

/// Whether this is the name of a value.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    !name.is_empty() && name.bytes().all(plain)
}

impl Store {
    /// Finds the store in its partition, or makes one in an empty one. It has no key yet.
    ///
    /// `random` fills its argument: it is asked for the store's identifier and this life's salt.
    ///
    /// # Errors
    /// When there is none and none may be made, and errors of the disk.
    pub(crate) async fn find<D: BlockDevice>(
        disk: &Disk<D>,
        window: Window,
        quotas: &'static [Quota],
        mut random: impl FnMut(&mut [u8]),
    ) -> Result<(Self, Found), StoreError> {
        let have = pages_in(disk, window);
        let need = 2 + 4 * MAX_DIRECTORY_PAGES as u32 + quotas.iter().map(Quota::pages).sum::<u32>();
        if have < need {
            return Err(StoreError::TooSmall { have, need });
        }
        let mut salt = [0; 12];
        random(&mut salt);
        let mut store = Self {
            window,
            quotas,
            head: Superblock {
                pages: have,
                sequence: 0,
                store: [0; 16],
                life: 0,
                root: None,
                sealed: heapless::Vec::new(),
                kept: heapless::Vec::new(),
            },
            // The first page is the last thing of a store that is made: without it the partition is empty.
            worse: Place::Last,
            doubt: None,
            settled: false,
            stale: false,
            salt,
            nonces: None,
            contents: Err(StoreError::Locked),
            key: None,
            locked: heapless::String::new(),
            bad: Vec::new(),
            damaged: 0,
        };
        if store.look(disk).await? {
            let found = if store.settled {
                Found::Sound
            } else {
                Found::OneSuperblock { repaired: store.settle(disk).await.is_ok() }
            };
            return Ok((store, found));
        }
        random(&mut store.head.store);
        store.settle(disk).await?;
        Ok((store, Found::Empty))
    }

    /// Reads both superblocks. `false` if the partition is empty.
    async fn look<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<bool, StoreError> {
        let have = pages_in(disk, self.window);
        let first = self.read_head(disk, 0).await;
        let pages = match &first {
            Ok(Ok(head)) if head.pages > have => {
                return Err(StoreError::TooSmall { have, need: head.pages });
            }
            Ok(Ok(head)) => head.pages,
            _ => have,
        };
        let last = self.read_head(disk, pages.saturating_sub(1)).await;
        let last = last.map(|read| read.and_then(|head| right_size(head, pages)));
        let first = first.map(|read| read.and_then(|head| right_size(head, pages)));
        let (head, worse, settled) = match (first, last) {
            (_, Ok(Ok(last))) if self.doubt == Some(Place::First) => (last, Place::First, false),
            (Ok(Ok(first)), _) if self.doubt == Some(Place::Last) => (first, Place::Last, false),
            // A store that was being made when the disk failed or storage ended: the last page may not be there
            // for long, and is written again ahead of the first.
            (Ok(Err(SuperblockError::Zero)), Ok(Ok(last))) if last.is_new() => (last, Place::Last, false),
            (Ok(Ok(first)), Ok(Ok(last))) if first == last => (first, Place::First, true),
            (Ok(Ok(first)), Ok(Ok(last))) if last.sequence > first.sequence => (last, Place::First, false),
            (Ok(Ok(first)), _) => (first, Place::Last, false),
            (_, Ok(Ok(last))) => (last, Place::First, false),
            (Err(why), _) | (_, Err(why)) => return Err(why.into()),
            (Ok(Err(SuperblockError::Zero)), Ok(Err(last))) => {
                if self.begins_with_zeros(disk).await? {
                    return Ok(false);
                }
                return Err(nothing_right(SuperblockError::Zero, last));
            }
            (Ok(Err(first)), Ok(Err(last))) => return Err(nothing_right(first, last)),
        };
        self.head = head;
        self.worse = worse;
        self.settled = settled;
        Ok(true)
    }

    async fn read_head<D: BlockDevice>(
        &self,
        disk: &Disk<D>,
        page: u32,
    ) -> Result<Result<Superblock, SuperblockError>, DiskError> {
        let mut bytes = vec![0; PAGE];
        disk.read(self.window, place(page), &mut bytes).await?;
        Ok(Superblock::parse(&bytes))
    }

    async fn begins_with_zeros<D: BlockDevice>(&self, disk: &Disk<D>) -> Result<bool, DiskError> {
        let mut bytes = vec![0; PAGE];
        for page in 0..ZERO_PAGES {
            disk.read(self.window, place(page), &mut bytes).await?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The sealed key, and what else vault had kept.
    pub fn kept(&self) -> (&heapless::Vec<u8, MAX_SEALED>, &heapless::Vec<u8, MAX_KEPT>) {
        (&self.head.sealed, &self.head.kept)
    }

    /// Why it is not open.
    #[must_use]
    pub fn closed(&self) -> Option<StoreError> {
        self.contents.as_ref().err().copied()
    }

    /// Notes why vault gives no key. A store that has its key stays open.
    pub(crate) fn lock(&mut self, reason: &heapless::String<MAX_REASON>) {
        self.locked = reason.clone();
    }

    /// Why it is closed, for people: where vault has said something about it, that.
    pub(crate) fn why_closed(&self, why: &StoreError) -> heapless::String<MAX_REASON> {
        if *why == StoreError::Locked && !self.locked.is_empty() {
            return crate::clients::with_code(&self.locked, why.code());
        }
        crate::clients::reason(why)
    }

    /// Values that were found damaged in this life.
    #[must_use]
    pub const fn damaged(&self) -> u32 {
        self.damaged
    }

    /// What a client may have, and has, in bytes.
    #[must_use]
    pub fn space(&self, client: Client) -> (u32, u32) {
        let used = self.contents.as_ref().map_or(0, |open| open.directory.footprint(client));
        (self.quota(client).bytes, used)
    }

    fn quota(&self, client: Client) -> Quota {
        let quota = self.quotas.iter().find(|quota| quota.client == client);
        quota.copied().unwrap_or(Quota { client, bytes: 0, values: 0 })
    }

    /// Writes what vault has it keep, in place of what there was. With a key that is `fresh` the values, which
    /// another one had encrypted, are gone by the same write, and the store waits for it.
    ///
    /// # Errors
    /// When the disk refuses. What was there before, or what is new, is there then.
    pub(crate) async fn keep<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        sealed: &[u8],
        kept: &[u8],
        fresh: bool,
    ) -> Result<(), StoreError> {
        let read = self.read_if_stale(disk).await;
        // A directory that is damaged does not matter here.
        if self.stale {
            return read;
        }
        if !self.settled {
            self.settle(disk).await?;
        }
        let mut head = self.next_head();
        let too_long = |_| StoreError::TooSmall { have: 1, need: 2 };
        head.sealed = heapless::Vec::from_slice(sealed).map_err(too_long)?;
        head.kept = heapless::Vec::from_slice(kept).map_err(too_long)?;
        if fresh {
            head.root = None;
            self.key = None;
            self.contents = Err(StoreError::Locked);
        }
        self.put_head(disk, head).await?;
        Ok(())
    }

    /// Takes the key, reads the directory, and looks whether all values are whole.
    ///
    /// # Errors
    /// When it is not the key of what is stored, or the directory is not to be had. It stays closed then; with an
    /// error of the disk until [`Store::open_again`] succeeds.
    pub(crate) async fn unlock<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        key: &[u8; 32],
    ) -> Result<Opened, StoreError> {
        let cipher = Cipher::new(key);
        if let Ok(open) = &self.contents
            && open.cipher.id() == cipher.id()
        {
            // As when vault is there anew.
            let values = open.directory.values.len();
            return Ok(Opened { values, damaged: Vec::new(), unreadable: 0, directory_repaired: false });
        }
        let opened = self.open(disk, cipher).await;
        if let Err(why) = opened {
            self.contents = Err(why);
        }
        self.key = matches!(opened, Err(StoreError::Disk(_))).then(|| Zeroizing::new(*key));
        opened
    }

    /// Whether only the disk keeps it from being opened.
    pub(crate) const fn waits_for_disk(&self) -> bool {
        self.key.is_some()
    }

    /// Opens it with the key that the disk had failed at; nothing where it had not.
    pub(crate) async fn open_again<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
    ) -> Option<Result<Opened, StoreError>> {
        let key = self.key.clone()?;
        Some(self.unlock(disk, &key).await)
    }

    async fn open<D: BlockDevice>(&mut self, disk: &Disk<D>, cipher: Cipher) -> Result<Opened, StoreError> {
        if self.stale {
            self.look_again(disk).await?;
        }
        let (directory, sound) = self.read_directory(disk, &cipher).await?;
        let used = Used::of_store(self.head.pages);
        self.contents = Ok(Open { cipher, directory, used, drafts: Vec::new(), last: None });
        self.mark_used();
        let (damaged, unreadable) = self.check_values(disk).await?;
        let values = self.contents.as_ref().map_or(0, |open| open.directory.values.len());
        let opened = Opened { values, damaged, unreadable, directory_repaired: !sound };
        if !sound || !opened.damaged.is_empty() {
            // When the disk refuses that, the values can be read all the same.
            let _ = self.drop_values(disk, &opened.damaged).await;
        }
        Ok(opened)
    }

    /// The directory, and whether both copies of it are right.
    async fn read_directory<D: BlockDevice>(
        &self,
        disk: &Disk<D>,
        cipher: &Cipher,
    ) -> Result<(Directory, bool), StoreError> {
        let Some(root) = &self.head.root else { return Ok((Directory::default(), true)) };
        if root.key != *cipher.id() {
            return Err(StoreError::Key);
        }
        let mut copies = Vec::new();
        for pages in &root.copies {
            copies.push(self.read_copy(disk, cipher, root, pages).await);
        }
        let sound = copies.iter().all(|copy| matches!(copy, Ok(Some(_))));
        let failed = copies.iter().find_map(|copy| copy.as_ref().err().copied());
        let Some(bytes) = copies.into_iter().find_map(|copy| copy.ok().flatten()) else {
            return Err(failed.map_or(StoreError::Directory, StoreError::Disk));
        };
        let taken = root.copies.iter().flatten().copied();
        let directory = Directory::decode(&bytes, self.head.pages, taken);
        directory.map(|directory| (directory, sound)).map_err(|_: DirectoryError| StoreError::DirectoryForm)
    }

    /// One copy; nothing if it is not what was sealed.
    async fn read_copy<D: BlockDevice>(
        &self,
        disk: &Disk<D>,
        cipher: &Cipher,
        root: &Root,
        pages: &[u32],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
        let mut bytes = Zeroizing::new(Vec::new());
        for (index, &page) in pages.iter().enumerate() {
            let part =
                Part { store: &self.head.store, of: Whole::Directory(root.state), total: root.bytes, index };
            match self.read_page(disk, cipher, root.nonce, &part, page).await? {
                Some(page) => bytes.extend_from_slice(page.get(..ROOM).unwrap_or_default()),
                None => return Ok(None),
            }
        }
        if pages_of(root.bytes) != pages.len() {
            return Ok(None);
        }
        bytes.truncate(root.bytes as usize);
        Ok(Some(bytes))
    }

    /// Reads a page and decrypts it; nothing if it is not what was sealed. It is read twice before that is
    /// believed.
    async fn read_page<D: BlockDevice>(
        &self,
        disk: &Disk<D>,
        cipher: &Cipher,
        nonce: Nonce,
        part: &Part<'_>,
        page: u32,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
        for _ in 0..2 {
            let mut bytes = Zeroizing::new(vec![0; PAGE]);
            disk.read(self.window, place(page), &mut bytes).await?;
            if let Ok(whole) = <&mut [u8; PAGE]>::try_from(bytes.as_mut_slice())
                && cipher.open(nonce, part, whole)
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Reads all values: those that are damaged, and how many blocks of the disk hide.
    async fn check_values<D: BlockDevice>(
        &self,
        disk: &Disk<D>,
    ) -> Result<(Vec<(Client, Key)>, usize), StoreError> {
        let open = self.contents.as_ref().map_err(|why| *why)?;
        let (mut damaged, mut unreadable) = (Vec::new(), 0);
        for ((client, key), record) in &open.directory.values {
            for index in 0..record.pages.len() {
                match self.read_value_page(disk, open, *client, key, record, index).await {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        damaged.push((*client, key.clone()));
                        break;
                    }
                    Err(why) if why.blame() == Blame::Blocks => {
                        unreadable += 1;
                        break;
                    }
                    Err(why) => return Err(why.into()),
                }
            }
        }
        Ok((damaged, unreadable))
    }

    async fn read_value_page<D: BlockDevice>(
        &self,
        disk: &Disk<D>,
        open: &Open,
        client: Client,
        key: &Key,
        record: &Record,
        index: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
        let part = Part {
            store: &self.head.store,
            of: Whole::Value { client: client.0, name: key },
            total: record.length,
            index,
        };
        // A record has as many pages as its length takes.
        let page = record.pages.get(index).copied().unwrap_or_default();
        self.read_page(disk, &open.cipher, record.nonce, &part, page).await
    }

    /// Counts damaged values, and takes them off the directory.
    async fn drop_values<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        damaged: &[(Client, Key)],
    ) -> Result<(), ValueError> {
        self.damaged = self.damaged.saturating_add(damaged.len() as u32);
        if let Ok(open) = &mut self.contents {
            for value in damaged {
                open.directory.values.remove(value);
            }
        }
        // The directory in memory is right, whatever becomes of the one on the disk: it is not read again for
        // that, or each request would find the same damage.
        let result = match self.begin_write(disk).await {
            Ok(()) => self.commit(disk, disk.epoch()).await,
            Err(why) => Err(why),
        };
        self.stale = false;
        if let (Ok(open), Err(_)) = (&mut self.contents, &result) {
            // The pages of what was begun may be gone.
            open.drafts.clear();
            self.mark_used();
        }
        result
    }

    /// A piece of a value from this position on: at most [`MAX_PIECE`] bytes, none at the end. With the
    /// bytes of the whole value.
    ///
    /// # Errors
    /// [`ValueError`].
    pub(crate) async fn get<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        client: Client,
        key: &Key,
        offset: u32,
    ) -> Result<(u32, heapless::Vec<u8, MAX_PIECE>), ValueError> {
        check_name(key)?;
        self.read_if_stale(disk).await.map_err(ValueError::Store)?;
        let open = self.contents.as_ref().map_err(|why| ValueError::Store(*why))?;
        let record = open.directory.values.get(&(client, key.clone())).ok_or(ValueError::None)?;
        let length = record.length;
        if offset > length {
            return Err(ValueError::Piece { offset, expected: length });
        }
        if offset == length {
            return Ok((length, heapless::Vec::new()));
        }
        let (index, start) = (offset as usize / ROOM, offset as usize % ROOM);
        let nonce = record.nonce;
        let cached = open.last.as_ref().is_some_and(|(of, at, _)| (*of, *at) == (nonce, index));
        if !cached {
            let read = self.read_value_page(disk, open, client, key, record, index).await?;
            let Some(page) = read else {
                // Dropped whether or not the disk lets that be written.
                let _ = self.drop_values(disk, &[(client, key.clone())]).await;
                return Err(ValueError::Damaged);
            };
            if let Ok(open) = &mut self.contents {
                open.last = Some((nonce, index, page));
            }
        }
        let open = self.contents.as_ref().map_err(|why| ValueError::Store(*why))?;
        let page = open.last.as_ref().map_or(&[][..], |(.., page)| page);
        let end = ROOM.min(start + (length - offset) as usize).min(start + MAX_PIECE);
        let piece = page.get(start..end).unwrap_or_default();
        Ok((length, piece.iter().copied().collect()))
    }

    /// Takes the next piece of a value. With the last one the value takes the place of the one before, and is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`ValueError`]. After [`ValueError::Piece`] the piece that was expected is still taken; after any other
    /// the value begins anew.
    pub(crate) async fn put<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        client: Client,
        key: &Key,
        total: u32,
        (offset, mut bytes): (u32, &[u8]),
    ) -> Result<(), ValueError> {
        check_name(key)?;
        self.read_if_stale(disk).await.map_err(ValueError::Store)?;
        let mut draft = match offset {
            0 => self.begin_value(disk, client, key, total, bytes).await?,
            _ => self.take_draft(client, key, total, offset, bytes)?,
        };
        if draft.since != disk.epoch() {
            // What was written of it may be gone.
            return Err(DiskError::InDoubt.into());
        }
        while !bytes.is_empty() {
            let (some, rest) = bytes.split_at(bytes.len().min(ROOM - draft.page.len()));
            draft.page.extend_from_slice(some);
            draft.next += some.len() as u32;
            bytes = rest;
            if draft.page.len() == ROOM || draft.next == total {
                self.write_value_page(disk, &mut draft).await?;
            }
        }
        if draft.next < total {
            let open = self.contents.as_mut().map_err(|why| ValueError::Store(*why))?;
            open.drafts.push(draft);
            return Ok(());
        }
        let open = self.contents.as_mut().map_err(|why| ValueError::Store(*why))?;
        self.stale = true;
        open.directory.values.insert((client, draft.key), draft.record);
        self.commit(disk, draft.since).await
    }

    /// Begins a value: the client's last one that was begun is dropped.
    async fn begin_value<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        client: Client,
        key: &Key,
        total: u32,
        bytes: &[u8],
    ) -> Result<Draft, ValueError> {
        if total > MAX_VALUE {
            return Err(ValueError::TooLarge { want: total.into(), room: MAX_VALUE.into() });
        }
        check_piece(total, 0, bytes)?;
        let quota = self.quota(client);
        let open = self.contents.as_mut().map_err(|why| ValueError::Store(*why))?;
        open.drafts.retain(|draft| draft.client != client);
        let before = open.directory.values.get(&(client, key.clone()));
        let others = open.directory.footprint(client) - before.map_or(0, Record::footprint);
        let pages = pages_of(total);
        let (want, room) = ((pages * PAGE) as u64, u64::from(quota.bytes.saturating_sub(others)));
        if want > room {
            return Err(ValueError::TooLarge { want, room });
        }
        if before.is_none() && open.directory.of(client).count() >= quota.values.into() {
            return Err(ValueError::TooMany { values: quota.values });
        }
        self.mark_used();
        self.begin_write(disk).await?;
        let nonce = self.nonces.as_mut().map(|nonces| nonces.take(pages));
        // A write has begun: there are nonces.
        let nonce = nonce.ok_or(ValueError::Store(StoreError::Locked))?;
        let record = Record { length: total, nonce, pages: Vec::with_capacity(pages) };
        let page = Zeroizing::new(Vec::with_capacity(PAGE));
        Ok(Draft { client, key: key.clone(), record, next: 0, page, since: disk.epoch() })
    }

    /// Takes out the value that this piece belongs to. It is put back when the piece is on the disk.
    fn take_draft(
        &mut self,
        client: Client,
        key: &Key,
        total: u32,
        offset: u32,
        bytes: &[u8],
    ) -> Result<Draft, ValueError> {
        check_piece(total, offset, bytes)?;
        let open = self.contents.as_mut().map_err(|why| ValueError::Store(*why))?;
        let begun = open.drafts.iter().position(|draft| draft.client == client);
        let draft = begun.and_then(|index| open.drafts.get(index).map(|draft| (index, draft)));
        match draft {
            Some((index, draft))
                if draft.key == *key && draft.record.length == total && draft.next == offset =>
            {
                Ok(open.drafts.swap_remove(index))
            }
            Some((_, draft)) if draft.key == *key && draft.record.length == total => {
                Err(ValueError::Piece { offset, expected: draft.next })
            }
            _ => Err(ValueError::Piece { offset, expected: 0 }),
        }
    }

    async fn write_value_page<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        draft: &mut Draft,
    ) -> Result<(), ValueError> {
        let open = self.contents.as_mut().map_err(|why| ValueError::Store(*why))?;
        let page = take_page(&mut open.used)?;
        let index = draft.record.pages.len();
        draft.record.pages.push(page);
        let part = Part {
            store: &self.head.store,
            of: Whole::Value { client: draft.client.0, name: &draft.key },
            total: draft.record.length,
            index,
        };
        let mut bytes = Zeroizing::new([0; PAGE]);
        bytes.iter_mut().zip(draft.page.iter()).for_each(|(to, from)| *to = *from);
        draft.page.clear();
        open.cipher.seal(draft.record.nonce, &part, &mut bytes);
        self.write_page(disk, page, &*bytes).await
    }

    async fn write_page<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        page: u32,
        bytes: &[u8],
    ) -> Result<(), ValueError> {
        let result = disk.write(self.window, place(page), bytes).await;
        if result.is_err_and(|why| why.blame() == Blame::Blocks) && self.bad.len() < MAX_BAD {
            // Another try gets another page.
            self.bad.push(page);
        }
        Ok(result?)
    }

    /// Drops a value. It is done also if there was none.
    ///
    /// # Errors
    /// [`ValueError`].
    pub(crate) async fn delete<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        client: Client,
        key: &Key,
    ) -> Result<(), ValueError> {
        check_name(key)?;
        self.read_if_stale(disk).await.map_err(ValueError::Store)?;
        let open = self.contents.as_ref().map_err(|why| ValueError::Store(*why))?;
        let value = (client, key.clone());
        if !open.directory.values.contains_key(&value) {
            return Ok(());
        }
        self.begin_write(disk).await?;
        self.stale = true;
        if let Ok(open) = &mut self.contents {
            open.directory.values.remove(&value);
        }
        self.commit(disk, disk.epoch()).await
    }

    /// The first name after this one; an empty one is before all.
    ///
    /// # Errors
    /// [`ValueError`].
    pub(crate) async fn next<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        client: Client,
        after: &Key,
    ) -> Result<Option<Key>, ValueError> {
        if !after.is_empty() {
            check_name(after)?;
        }
        self.read_if_stale(disk).await.map_err(ValueError::Store)?;
        let open = self.contents.as_ref().map_err(|why| ValueError::Store(*why))?;
        let mut names = open.directory.of(client).map(|(name, _)| name);
        Ok(names.find(|name| *name > after).cloned())
    }

    /// Reads again what the disk says, if a change was not finished.
    async fn read_if_stale<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        self.look_again(disk).await?;
        if !self.settled {
            // What is read from now on is what a later life finds, if the disk lets that be written. If it does not,
            // this is so in this life, and ahead of the next change it is tried again.
            let _ = self.settle(disk).await;
            self.stale = false;
        }
        let Ok(open) = &self.contents else { return Ok(()) };
        // Values were looked at when the store was opened; what has changed since was written by us.
        let read = self.read_directory(disk, &open.cipher).await;
        match (read, &mut self.contents) {
            (Ok((directory, _)), Ok(open)) => {
                open.directory = directory;
                open.drafts.clear();
                open.last = None;
                self.mark_used();
                Ok(())
            }
            (Err(StoreError::Disk(why)), _) => {
                self.stale = true;
                Err(StoreError::Disk(why))
            }
            (Err(why), contents) => {
                *contents = Err(why);
                Err(why)
            }
            (_, Err(_)) => Ok(()),
        }
    }

    /// Reads both superblocks again.
    async fn look_again<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<(), StoreError> {
        if !self.look(disk).await? {
            // It was there: somebody else has emptied the partition.
            return Err(nothing_right(SuperblockError::Zero, SuperblockError::Zero));
        }
        self.stale = false;
        Ok(())
    }

    /// Makes sure of two good superblocks, and of nonces, ahead of the first write of a change.
    async fn begin_write<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<(), ValueError> {
        if self.nonces.is_none() {
            let life = self.head.life.saturating_add(1);
            self.head.life = life;
            self.settled = false;
            self.settle(disk).await?;
            self.nonces = Some(Nonces::of_life(life, self.salt));
        } else if !self.settled {
            self.settle(disk).await?;
        }
        Ok(())
    }

    /// Writes both superblocks anew. What was written before is made durable first: one of them may refer to
    /// it.
    async fn settle<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<(), DiskError> {
        disk.flush(disk.epoch()).await?;
        let head = self.next_head();
        self.put_head(disk, head).await
    }

    fn next_head(&self) -> Superblock {
        Superblock { sequence: self.head.sequence.saturating_add(1), ..self.head.clone() }
    }

    /// Writes a superblock to both places, one after the other.
    async fn put_head<D: BlockDevice>(&mut self, disk: &Disk<D>, head: Superblock) -> Result<(), DiskError> {
        // Should the disk fail, or this future be dropped, one of two superblocks counts, and only the disk
        // knows which.
        self.stale = true;
        self.settled = false;
        let bytes = head.emit();
        for at in [self.worse, self.worse.other()] {
            let page = match at {
                Place::First => 0,
                Place::Last => head.pages.saturating_sub(1),
            };
            (self.worse, self.doubt) = (at, Some(at));
            let since = disk.epoch();
            disk.write(self.window, place(page), &bytes).await?;
            disk.flush(since).await?;
        }
        self.head = head;
        self.doubt = None;
        self.settled = true;
        self.stale = false;
        Ok(())
    }

    /// Writes the directory as it is in memory, and makes it the one that counts. What it refers to was written
    /// since this epoch began.
    async fn commit<D: BlockDevice>(&mut self, disk: &Disk<D>, since: Epoch) -> Result<(), ValueError> {
        self.stale = true;
        if !self.settled {
            self.settle(disk).await?;
            self.stale = true;
        }
        let open = self.contents.as_mut().map_err(|why| ValueError::Store(*why))?;
        let plain = Zeroizing::new(open.directory.encode());
        let count = pages_of(plain.len() as u32);
        if count > MAX_DIRECTORY_PAGES {
            let (want, room) = (plain.len() as u64, (MAX_DIRECTORY_PAGES * ROOM) as u64);
            return Err(ValueError::TooLarge { want, room });
        }
        let nonce = self.nonces.as_mut().map(|nonces| nonces.take(count));
        // A write has begun: there are nonces.
        let nonce = nonce.ok_or(ValueError::Store(StoreError::Locked))?;
        let state = self.head.root.as_ref().map_or(0, |root| root.state).saturating_add(1);
        let mut root = Root {
            state,
            key: *open.cipher.id(),
            nonce,
            bytes: plain.len() as u32,
            copies: Default::default(),
        };
        for pages in &mut root.copies {
            for _ in 0..count {
                // There are no more than a superblock has room for.
                let _ = pages.push(take_page(&mut open.used)?);
            }
        }
        for (index, some) in plain.chunks(ROOM).enumerate() {
            let part =
                Part { store: &self.head.store, of: Whole::Directory(state), total: root.bytes, index };
            let mut bytes = Zeroizing::new([0; PAGE]);
            bytes.iter_mut().zip(some).for_each(|(to, from)| *to = *from);
            let open = self.contents.as_mut().map_err(|why| ValueError::Store(*why))?;
            open.cipher.seal(nonce, &part, &mut bytes);
            for pages in &root.copies {
                let page = pages.get(index).copied().unwrap_or_default();
                self.write_page(disk, page, &*bytes).await?;
            }
        }
        disk.flush(since).await?;
        self.put_head(disk, Superblock { root: Some(root), ..self.next_head() }).await?;
        self.mark_used();
        Ok(())
    }

    /// Finds anew which pages are in use: those of the directory and its values, and of what was begun.
    fn mark_used(&mut self) {
        let Ok(open) = &mut self.contents else { return };
        let mut used = Used::of_store(self.head.pages).after(&open.used);
        let directory = self.head.root.iter().flat_map(|root| root.copies.iter().flatten());
        let values = open.directory.values.values().flat_map(|record| &record.pages);
        let drafts = open.drafts.iter().flat_map(|draft| &draft.record.pages);
        directory.chain(values).chain(drafts).chain(&self.bad).for_each(|&page| used.mark(page));
        open.used = used;
    }
}

fn check_name(key: &Key) -> Result<(), ValueError> {
    if is_name(key) { Ok(()) } else { Err(ValueError::Name) }
}

/// Whether a piece lies within its value and brings it forward.
fn check_piece(total: u32, offset: u32, bytes: &[u8]) -> Result<(), ValueError> {
    let end = u64::from(offset) + bytes.len() as u64;
    let moves = !bytes.is_empty() || total == 0;
    if end <= total.into() && moves { Ok(()) } else { Err(ValueError::Piece { offset, expected: total }) }
}

fn take_page(used: &mut Used) -> Result<u32, ValueError> {
    // There is room for all quotas together, and for the longest values once more.
    let full = ValueError::TooLarge { want: PAGE as u64, room: 0 };
    used.take_next().ok_or(full)
}

/// Where a page begins, in bytes.
fn place(page: u32) -> u64 {
    u64::from(page) * PAGE as u64
}

fn pages_in<D: BlockDevice>(disk: &Disk<D>, window: Window) -> u32 {
    let pages = window.bytes(disk.block_bytes()) / PAGE as u64;
    pages.min(MAX_PAGES.into()) as u32
}

fn right_size(head: Superblock, pages: u32) -> Result<Superblock, SuperblockError> {
    if head.pages == pages && pages > 2 { Ok(head) } else { Err(SuperblockError::Field { at: 12 }) }
}

fn nothing_right(first: SuperblockError, last: SuperblockError) -> StoreError {
    let foreign = |why| matches!(why, SuperblockError::Zero | SuperblockError::Foreign);
    if foreign(first) && foreign(last) { StoreError::Foreign } else { StoreError::Superblocks([first, last]) }
}
