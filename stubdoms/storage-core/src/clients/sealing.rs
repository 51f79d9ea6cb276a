//! Vault: the key of the store, and what the store keeps for it.
//!
//! ```text
//!   found --Open--> vault --Key--> open                     (1)
//!                         --Keep--> written --Kept--> Key   (2)
//!                         --Locked--> locked … Keep, Key    (3)
//! ```
//!
//! 1. What lies on the disk is told once in each life of the channel.
//! 2. The first key, or one that was sealed anew: a key is used only when what was to be kept is on the disk.
//! 3. Until the key was recovered.
//!
//! What the disk fails at is tried again ([`Sealing::try_again`], [`Storage::try_again`]): a key that was sealed anew is
//! written later, and the store is open meanwhile, for the key is the right one; a new key vault is asked for anew, by
//! saying once more what lies on the disk.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use board_support_drv::block::BlockDevice;
use proto_errors::{Code, Coded, storage as code};
use proto_svc::sealing::{FromVault, MAX_REASON, ToVault};
use zeroize::{Zeroize, Zeroizing};

use super::{Backoff, Storage};
use crate::store::{Opened, StoreError};

/// What has become of the store, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It is open.
    Open(Opened),
    /// It stays closed: this key does not open it.
    Closed(StoreError),
    /// Vault gives no key, and says why.
    Locked(heapless::String<MAX_REASON>),
    /// What vault had it keep is on the disk.
    Kept {
        /// What was stored under another key is gone with it.
        fresh: bool,
    },
    /// It is not.
    NotKept(StoreError),
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(Opened { values, damaged, unreadable, directory_repaired }) => {
                write!(f, "the store is open: {values} values")?;
                if !damaged.is_empty() {
                    write!(f, ", {} were damaged and are dropped", damaged.len())?;
                }
                if *unreadable > 0 {
                    write!(f, ", {unreadable} cannot be read")?;
                }
                if *directory_repaired {
                    f.write_str("; one copy of its directory was damaged")?;
                }
                Ok(())
            }
            Self::Closed(why) => write!(f, "the store stays closed: {why}"),
            Self::Locked(reason) => write!(f, "the store is locked: {reason}"),
            Self::Kept { fresh: false } => f.write_str("the store's key is sealed anew"),
            Self::Kept { fresh: true } => f.write_str("the store has a new key, and begins anew"),
            Self::NotKept(why) => write!(f, "what vault wanted kept is not on the disk: {why}"),
        }
    }
}

impl Sealed {
    /// What an attempt to open it has made of it.
    pub(super) fn of(opened: Result<Opened, StoreError>) -> Self {
        match opened {
            Ok(opened) => Self::Open(opened),
            Err(why) => Self::Closed(why),
        }
    }

    /// The same as a complaint, if it is something that should not be.
    #[must_use]
    pub fn complaint(&self) -> Option<Complaint<'_>> {
        self.code().map(|code| Complaint { sealed: self, code })
    }

    fn code(&self) -> Option<Code> {
        match self {
            Self::Open(opened) if !opened.damaged.is_empty() => Some(code::VALUE_DAMAGED),
            Self::Open(opened) if opened.unreadable > 0 => Some(code::DISK),
            Self::Open(opened) if opened.directory_repaired => Some(code::STORE_DAMAGED),
            Self::Open(_) | Self::Kept { .. } => None,
            Self::Closed(why) => Some(why.code()),
            Self::Locked(_) => Some(code::STORE_LOCKED),
            Self::NotKept(_) => Some(code::NOT_KEPT),
        }
    }
}

/// Something that should not have become of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint<'a> {
    sealed: &'a Sealed,
    code: Code,
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sealed)
    }
}

impl Coded for Complaint<'_> {
    fn code(&self) -> Code {
        self.code
    }
}

/// What is to be done about something that vault said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// To be said to vault.
    pub reply: Option<ToVault>,
    /// To be told to control: the store has become open, or closed.
    pub changed: bool,
    /// For the log.
    pub sealed: Option<Sealed>,
}

/// What the disk did not take.
#[derive(Debug)]
enum Unkept {
    /// A new key. It is not used: what it would encrypt nobody could open again.
    Fresh,
    /// The key of what is stored, sealed anew, and what was to be kept with it.
    Resealed { sealed: Vec<u8>, kept: Zeroizing<Vec<u8>> },
}

/// One life of the channel to vault.
#[derive(Debug, Default)]
pub struct Sealing {
    unkept: Option<(Unkept, Backoff)>,
}

impl Sealing {
    /// What lies on the disk: the first message after the greeting, and once more when the store was found only later;
    /// none where there is no store.
    pub async fn open<D: BlockDevice>(&self, storage: &Storage<D>) -> Option<ToVault> {
        let store = storage.store.turn().await;
        let (sealed, kept) = store.as_ref().ok()?.kept();
        Some(ToVault::Open { sealed: sealed.clone(), kept: kept.clone() })
    }

    /// How long to wait ahead of [`Sealing::try_again`]; nothing when all is on the disk. Longer with each question.
    pub fn pause(&mut self) -> Option<Duration> {
        self.unkept.as_mut().map(|(_, backoff)| backoff.pause())
    }

    /// Tries once more what the disk did not take.
    pub async fn try_again<D: BlockDevice>(&mut self, storage: &Storage<D>) -> Heard {
        match &self.unkept {
            None => Heard::default(),
            Some((Unkept::Fresh, _)) => {
                // Vault decides anew. Should the disk refuse again, so does this begin again.
                Heard { reply: self.open(storage).await, ..Heard::default() }
            }
            Some((Unkept::Resealed { sealed, kept }, _)) => {
                let mut store = storage.store.turn().await;
                let Ok(store) = store.as_mut() else { return Heard::default() };
                let sealed = match store.keep(&storage.disk, sealed, kept, false).await {
                    Ok(()) => Sealed::Kept { fresh: false },
                    Err(why) => return Heard { sealed: Some(Sealed::NotKept(why)), ..Heard::default() },
                };
                self.unkept = None;
                Heard { sealed: Some(sealed), ..Heard::default() }
            }
        }
    }

    /// Does what vault says.
    pub async fn hear<D: BlockDevice>(&mut self, storage: &Storage<D>, said: FromVault) -> Heard {
        let disk = &storage.disk;
        let mut store = storage.store.turn().await;
        let Ok(store) = store.as_mut() else { return Heard::default() };
        let was = store.closed();
        let (reply, sealed) = match said {
            FromVault::Hello { .. } => (None, None),
            FromVault::Keep { sealed, kept: mut came, fresh } => {
                // Software's keys are among it.
                let kept = Zeroizing::new(came.to_vec());
                came.zeroize();
                match store.keep(disk, &sealed, &kept, fresh).await {
                    Ok(()) => {
                        self.unkept = None;
                        (Some(ToVault::Kept), Some(Sealed::Kept { fresh }))
                    }
                    Err(why) => {
                        let unkept = if fresh {
                            Unkept::Fresh
                        } else {
                            Unkept::Resealed { sealed: sealed.to_vec(), kept }
                        };
                        let (_, backoff) = self.unkept.take().unwrap_or((Unkept::Fresh, Backoff::new()));
                        self.unkept = Some((unkept, backoff));
                        (Some(ToVault::NotKept), Some(Sealed::NotKept(why)))
                    }
                }
            }
            FromVault::Key { mut key, .. } if matches!(self.unkept, Some((Unkept::Fresh, _))) => {
                key.0.zeroize();
                (None, None)
            }
            FromVault::Key { mut key, .. } => {
                let opened = store.unlock(disk, &key.0).await;
                key.0.zeroize();
                (None, Some(Sealed::of(opened)))
            }
            FromVault::Locked { reason } => {
                store.lock(&reason);
                (None, Some(Sealed::Locked(reason)))
            }
        };
        Heard { reply, changed: was != store.closed(), sealed }
    }
}
