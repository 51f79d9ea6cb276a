//! Content: what is downloaded, from where, and how far it is.
//!
//! ```text
//!             store known, room            verified while received
//!  Waiting ----------------------> Downloading -----------------------> Delivered
//!     ^                                |
//!     +--- Waiting with a problem <----+ failure: next store, then `timer.download.retry`
//! ```
//!
//! Downloads run one at a time. A content whose description changes in what is downloaded starts
//! anew.
//!
//! Of the states between DOWNLOAD_STARTED and DELIVERED there is one here: VERIFYING, when all bytes have come
//! and the shell has yet to say whether they are the right ones. It hashes what it receives and holds it in
//! memory under its hash, so DOWNLOADED and VERIFIED are not states in which anything stays, and nothing is
//! loaded or created from it.
//!
//! The bytes of a content are a blob, named by their SHA-256. Contents that are made of the same bytes share it.

use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use core::time::Duration;

use proto_errors::agent;
use proto_eve::{
    text,
    wire::{
        config::{ContentTree, DatastoreConfig, DsType, EdgeDevConfig, Format},
        info::ZSwState,
    },
};

use super::{
    is_id,
    problem::{Feature, Problem, Troubles},
};
use crate::{
    clock::{Instant, Now, earliest},
    http::HttpFailure,
    properties::Properties,
};

/// Contents that are looked at.
const MAX_CONTENTS: usize = 128;
/// Data stores that are looked at.
const MAX_STORES: usize = 128;
const MAX_URL: usize = 2048;
/// Wait after a wrong hash or before the next store.
const SOON: Duration = Duration::from_secs(5);

/// Names a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DownloadId(pub u64);

/// A content to fetch. The shell follows no redirect to another scheme, verifies SHA-256 while it
/// receives, and holds the content under its hash until it is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// To be given back with the result.
    pub id: DownloadId,
    /// For log lines.
    pub name: String,
    /// `http://…` or `https://…`
    pub url: String,
    /// Of the whole content.
    pub sha256: [u8; 32],
    /// A longer content is refused with [`DownloadError::TooLarge`].
    pub max_bytes: u64,
    /// Header fields, such as `Authorization`.
    pub headers: Vec<(&'static str, String)>,
    /// Trust anchors (PEM) beside the usual ones, for `https`.
    pub trust_pem: Vec<Vec<u8>>,
    /// How long a connection to one address may take.
    pub dial: Duration,
    /// How long nothing may come before it is given up.
    pub stall: Duration,
    /// Where the bytes go.
    pub into: Destination,
}

/// Where the bytes of a content go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The shell holds them in memory, and hashes them.
    Memory,
    /// The agent takes them as they come, by [`Agent::on_download_start`](crate::Agent::on_download_start) and
    /// [`Agent::on_download_bytes`](crate::Agent::on_download_bytes), and hashes them.
    Slot {
        /// Where the download is to go on: bytes that were taken of it.
        from: u64,
    },
}

/// What is to be done about contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentCommand {
    /// Fetch and hold.
    Fetch(Download),
    /// Stop a download; no result is expected.
    Cancel(DownloadId),
    /// Drop what is held.
    Release {
        /// Its hash.
        sha256: [u8; 32],
    },
}

/// Why a download failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadError {
    /// The content is another one.
    WrongHash {
        /// SHA-256 of what came.
        found: [u8; 32],
    },
    /// It is longer than allowed.
    TooLarge,
    /// The server answered with another status than 200.
    Status(u16),
    /// No answer, or not all of it.
    Http(HttpFailure),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    url: String,
    stores: Vec<String>,
    sha256: [u8; 32],
    max_bytes: u64,
    generation: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting {
        at: Instant,
    },
    Downloading {
        id: DownloadId,
        url: String,
        received: u64,
        percent: u32,
        moved: Instant,
    },
    /// All of it came, for the slot, and is being written.
    Writing {
        length: u64,
    },
    Delivered {
        length: u64,
    },
}

/// The tree whose bytes go into the slot.
#[derive(Debug)]
struct SlotUse {
    tree: String,
    /// The update waits for them.
    wanted: bool,
    /// Bytes of it that were taken.
    from: u64,
    /// The longest that a payload may be: what there is room for when it is unpacked.
    room: u64,
}

/// One content tree.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) sha256: String,
    spec: Result<Spec, Problem>,
    state: State,
    failure: Option<Problem>,
    store: usize,
    wrong_hashes: u32,
    pub(crate) troubles: Troubles,
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) sha256: [u8; 32],
    pub(crate) length: u64,
}

impl Content {
    /// The state to report, with a percentage.
    pub(crate) fn state(&self) -> (ZSwState, u32) {
        match &self.state {
            State::Delivered { .. } => (ZSwState::Delivered, 100),
            State::Writing { .. } | State::Downloading { percent: 100, .. } => (ZSwState::Verifying, 100),
            State::Downloading { percent, .. } => (ZSwState::DownloadStarted, *percent),
            State::Waiting { .. } if self.troubles.first_error().is_some() => (ZSwState::Error, 0),
            State::Waiting { .. } => (ZSwState::Initial, 0),
        }
    }

    /// The SHA-256 of its bytes, if it has a right one.
    pub(crate) fn blob(&self) -> Option<[u8; 32]> {
        self.spec.as_ref().ok().map(|spec| spec.sha256)
    }

    pub(crate) fn image(&self) -> Option<Image> {
        match (&self.state, &self.spec) {
            (State::Delivered { length }, Ok(spec)) => Some(Image { sha256: spec.sha256, length: *length }),
            _ => None,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        match &self.state {
            State::Writing { length } | State::Delivered { length } => *length,
            State::Downloading { received, .. } => *received,
            State::Waiting { .. } => 0,
        }
    }

    fn refresh(&mut self, now: Now) {
        let problem = self.spec.as_ref().err().cloned().or_else(|| self.failure.clone());
        let subject = if self.name.is_empty() { &self.id } else { &self.name };
        self.troubles.set(now, "content", subject, problem);
    }
}

#[derive(Debug)]
struct Store {
    base: String,
    authorization: Option<String>,
    trust_pem: Vec<Vec<u8>>,
}

/// All content trees and the stores that they come from.
#[derive(Debug)]
pub(crate) struct Contents {
    stores: BTreeMap<String, Result<Store, Problem>>,
    trees: BTreeMap<String, Content>,
    commands: VecDeque<ContentCommand>,
    next_id: u64,
    capacity: u64,
    slot: Option<SlotUse>,
    /// Only what is for the slot is fetched.
    held: bool,
}

impl Contents {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            stores: BTreeMap::new(),
            trees: BTreeMap::new(),
            commands: VecDeque::new(),
            next_id: 1,
            capacity,
            slot: None,
            held: false,
        }
    }

    /// Whether nothing but what is for the slot is fetched: there is nowhere to put the rest, for the storage is
    /// locked.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// The bytes of this tree go into the slot, when they are wanted there.
    pub(crate) fn use_for_slot(&mut self, tree: Option<&str>) {
        let same = self.slot.as_ref().map(|slot| slot.tree.as_str()) == tree;
        if !same {
            self.slot = tree.map(|tree| SlotUse { tree: tree.into(), wanted: false, from: 0, room: 0 });
        }
    }

    /// The slot wants them, from the first one on.
    pub(crate) fn fetch_for_slot(&mut self, now: Now, room: u64) {
        let Some(slot) = &mut self.slot else { return };
        (slot.wanted, slot.from, slot.room) = (true, 0, room);
        if let Some(content) = self.trees.get_mut(&slot.tree) {
            content.state = State::Waiting { at: now.at() };
            content.failure = None;
            content.wrong_hashes = 0;
        }
    }

    /// The slot does not want them any more.
    pub(crate) fn stop_for_slot(&mut self, now: Now) {
        let Some(slot) = &mut self.slot else { return };
        slot.wanted = false;
        let Some(content) = self.trees.get_mut(&slot.tree) else { return };
        if let State::Downloading { id, .. } = content.state {
            self.commands.push_back(ContentCommand::Cancel(id));
        }
        if !matches!(content.state, State::Delivered { .. }) {
            content.state = State::Waiting { at: now.at() };
        }
    }

    /// So many bytes were taken: the next attempt goes on there.
    pub(crate) fn resume_slot_at(&mut self, from: u64) {
        if let Some(slot) = &mut self.slot {
            slot.from = from;
        }
    }

    /// What the bytes for the slot are to hash to.
    pub(crate) fn slot_sha256(&self) -> Option<[u8; 32]> {
        self.trees.get(&self.slot.as_ref()?.tree)?.blob()
    }

    /// Whether this download is the slot's.
    pub(crate) fn is_for_slot(&self, wanted: DownloadId) -> bool {
        let content = self.slot.as_ref().and_then(|slot| self.trees.get(&slot.tree));
        content.is_some_and(|content| matches!(content.state, State::Downloading { id, .. } if id == wanted))
    }

    fn slot_content(&mut self) -> Option<&mut Content> {
        self.trees.get_mut(&self.slot.as_ref()?.tree)
    }

    /// All bytes for the slot came, and are the right ones.
    pub(crate) fn slot_came(&mut self) {
        let from = self.slot.as_ref().map_or(0, |slot| slot.from);
        if let Some(content) = self.slot_content() {
            content.state = State::Writing { length: from };
            content.failure = None;
            content.wrong_hashes = 0;
        }
    }

    /// They are in the slot.
    pub(crate) fn slot_is_filled(&mut self) {
        if let Some(content) = self.slot_content()
            && let State::Writing { length } = content.state
        {
            log::info!("content {}: {length} bytes for the other slot", content.name);
            content.state = State::Delivered { length };
        }
    }

    /// They are of no use.
    pub(crate) fn slot_failed(&mut self, now: Now, problem: Problem) {
        if let Some(content) = self.slot_content() {
            content.state = State::Waiting { at: now.at() };
            content.failure = Some(problem);
            content.refresh(now);
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Content> {
        self.trees.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Content> {
        self.trees.values()
    }

    pub(crate) fn next_command(&mut self) -> Option<ContentCommand> {
        self.commands.pop_front()
    }

    /// Takes the lists of a configuration, which replace the previous ones.
    pub(crate) fn configure(&mut self, now: Now, config: &EdgeDevConfig, properties: &Properties) {
        self.stores = config
            .datastores
            .iter()
            .take(MAX_STORES)
            .map(|store| (store.id.clone(), read_store(store, properties)))
            .collect();
        let mut old = core::mem::take(&mut self.trees);
        let mut gone = Vec::new();
        for tree in config.content_info.iter().take(MAX_CONTENTS) {
            if !is_id(&tree.uuid) || self.trees.contains_key(&tree.uuid) {
                log::warn!(
                    "content {:?}: no id, or one that another has [{}]",
                    text::truncate(&tree.uuid, 64),
                    agent::CONFIG_LIMIT
                );
                continue;
            }
            let spec = read_tree(tree);
            let kept = old.remove(&tree.uuid);
            let mut content = match kept {
                Some(content) if content.spec == spec => content,
                kept => {
                    gone.extend(kept);
                    Content {
                        id: tree.uuid.clone(),
                        name: String::new(),
                        generation: 0,
                        sha256: String::new(),
                        spec,
                        state: State::Waiting { at: now.at() },
                        failure: None,
                        store: 0,
                        wrong_hashes: 0,
                        troubles: Troubles::default(),
                    }
                }
            };
            content.name = text::bounded(&tree.display_name, 256);
            content.generation = tree.generation_count;
            content.sha256 = text::bounded(&tree.sha256, 128);
            self.trees.insert(tree.uuid.clone(), content);
        }
        gone.extend(old.into_values());
        for content in gone {
            self.abandon(&content);
        }
        if config.content_info.len() > MAX_CONTENTS || config.datastores.len() > MAX_STORES {
            log::warn!(
                "content: only the first {MAX_CONTENTS} trees and {MAX_STORES} stores are looked at [{}]",
                agent::CONFIG_LIMIT
            );
        }
    }

    /// dom0 has this content as the image of an application that an earlier life of the agent gave it. It is not
    /// fetched for that application; should dom0 have to be given it once more, the shell says that it does not
    /// hold it, and then it is [`lost`](Self::lost).
    pub(crate) fn is_with_dom0(&mut self, image: Image) {
        for content in self.trees.values_mut() {
            if let (Ok(spec), State::Waiting { .. }) = (&content.spec, &content.state)
                && spec.sha256 == image.sha256
                && (spec.max_bytes == 0 || image.length <= spec.max_bytes)
            {
                content.state = State::Delivered { length: image.length };
            }
        }
    }

    /// The shell no longer holds a content, or never did.
    pub(crate) fn lost(&mut self, now: Now, sha256: &[u8; 32]) {
        for content in self.trees.values_mut() {
            if matches!((&content.spec, &content.state), (Ok(spec), State::Delivered { .. }) if spec.sha256 == *sha256)
            {
                content.state = State::Waiting { at: now.at() };
            }
        }
    }

    /// Starts what can start, and gives up what stalled.
    pub(crate) fn step(&mut self, now: Now, properties: &Properties) {
        let stalled = properties.seconds("timer.download.stalled");
        let retry = properties.seconds("timer.download.retry");
        let mut busy = false;
        for content in self.trees.values_mut() {
            if let State::Downloading { id, url, moved, .. } = &content.state {
                if now.at().since(*moved) < stalled {
                    busy = true;
                    continue;
                }
                self.commands.push_back(ContentCommand::Cancel(*id));
                content.failure = Some(Problem::DownloadStalled { url: url.clone() });
                content.store += 1;
                content.state = State::Waiting { at: now.at().after(retry) };
            }
        }
        if !busy {
            self.start_one(now, properties);
        }
        for content in self.trees.values_mut() {
            content.refresh(now);
        }
    }

    pub(crate) fn deadline(&self, properties: &Properties) -> Option<Instant> {
        let stalled = properties.seconds("timer.download.stalled");
        let busy = self.trees.values().any(|content| matches!(content.state, State::Downloading { .. }));
        self.trees.values().filter(|content| content.spec.is_ok()).fold(None, |first, content| {
            let at = match &content.state {
                State::Waiting { .. } if is_idle(self.slot.as_ref(), self.held, content) => None,
                State::Waiting { at } if !busy => Some(*at),
                State::Downloading { moved, .. } => Some(moved.after(stalled)),
                State::Waiting { .. } | State::Writing { .. } | State::Delivered { .. } => None,
            };
            earliest(first, at)
        })
    }

    /// Tells whether the percentage moved on far enough to be reported.
    pub(crate) fn on_progress(
        &mut self,
        now: Now,
        id: DownloadId,
        received: u64,
        total: Option<u64>,
    ) -> bool {
        let Some(content) = self.downloading(id) else { return false };
        let limit = content.spec.as_ref().map_or(0, |spec| spec.max_bytes);
        let State::Downloading { received: known, percent, moved, .. } = &mut content.state else {
            return false;
        };
        if received > *known {
            *known = received;
            *moved = now.at();
        }
        let whole = total.unwrap_or(limit).max(1);
        let complete = total.is_some_and(|total| received >= total);
        let reached = u32::try_from(received.saturating_mul(100) / whole).unwrap_or(100);
        let reached = if complete { 100 } else { reached.min(99) };
        if reached >= percent.saturating_add(10) || (complete && *percent < 100) {
            *percent = reached;
            return true;
        }
        false
    }

    pub(crate) fn on_done(
        &mut self,
        now: Now,
        id: DownloadId,
        result: Result<u64, DownloadError>,
        properties: &Properties,
    ) {
        let retries = properties.int("blob.download.max.retries");
        let retry = properties.seconds("timer.download.retry");
        let from = self.slot.as_ref().map_or(0, |slot| slot.from);
        let resumes = self.is_for_slot(id) && from > 0;
        let Some(content) = self.downloading(id) else { return };
        let (Ok(spec), State::Downloading { url, .. }) = (&content.spec, &content.state) else { return };
        let (expected, limit, stores) = (spec.sha256, spec.max_bytes, spec.stores.len());
        let url = url.clone();
        let error = match result {
            Ok(length) => {
                log::info!("content {}: {length} bytes from {url}", content.name);
                content.state = State::Delivered { length };
                content.failure = None;
                content.wrong_hashes = 0;
                return;
            }
            Err(error) => error,
        };
        let soon = match &error {
            DownloadError::WrongHash { .. } => {
                content.wrong_hashes = content.wrong_hashes.saturating_add(1);
                content.wrong_hashes <= retries
            }
            // What was taken so far need not come again.
            DownloadError::Http(_) if resumes => true,
            // Another store may do better, until all were tried.
            _ => !(content.store + 1).is_multiple_of(stores.max(1)),
        };
        content.store = content.store.wrapping_add(1);
        content.failure = Some(match error {
            DownloadError::WrongHash { found } => Problem::WrongHash { expected, found },
            DownloadError::TooLarge => Problem::ContentTooLarge { limit },
            DownloadError::Status(status) => Problem::DownloadStatus { url, status },
            DownloadError::Http(HttpFailure { kind, text }) => {
                Problem::DownloadFailed { url, kind, text: text::bounded(&text, 256) }
            }
        });
        content.state = State::Waiting { at: now.at().after(if soon { SOON } else { retry }) };
    }

    /// The uplink is back: what failed for want of it need not wait.
    pub(crate) fn hurry(&mut self, now: Now) {
        for content in self.trees.values_mut() {
            if let (State::Waiting { at }, Some(Problem::DownloadFailed { .. })) =
                (&mut content.state, &content.failure)
            {
                *at = (*at).min(now.at());
            }
        }
    }

    fn downloading(&mut self, wanted: DownloadId) -> Option<&mut Content> {
        self.trees
            .values_mut()
            .find(|content| matches!(content.state, State::Downloading { id, .. } if id == wanted))
    }

    fn start_one(&mut self, now: Now, properties: &Properties) {
        let slot = self.slot.as_ref();
        let held = |content: &Content| slot.is_none_or(|slot| slot.tree != content.id);
        let held = self.trees.values().filter(|content| held(content));
        let free = self.capacity.saturating_sub(held.map(Content::bytes).fold(0, u64::saturating_add));
        for content in self.trees.values_mut() {
            if is_idle(slot, self.held, content) {
                continue;
            }
            let slot = slot.filter(|slot| slot.tree == content.id);
            let (Ok(spec), State::Waiting { at }) = (&content.spec, &content.state) else { continue };
            if *at > now.at() {
                continue;
            }
            let index = content.store.checked_rem(spec.stores.len()).unwrap_or(0);
            let id = spec.stores.get(index).map_or("", String::as_str);
            let store = match self.stores.get(id) {
                Some(Ok(store)) => store,
                refused => {
                    let problem = match refused {
                        Some(Err(problem)) => problem.clone(),
                        _ => Problem::NoDatastore { id: text::bounded(id, 64) },
                    };
                    content.failure = Some(problem);
                    content.store = content.store.wrapping_add(1);
                    // The next store, if any, in a while; a new configuration is looked at at once.
                    content.state = State::Waiting { at: now.at().after(Duration::from_secs(60)) };
                    continue;
                }
            };
            let (capacity, free) = slot.map_or((self.capacity, free), |slot| (slot.room, slot.room));
            if spec.max_bytes > capacity {
                content.failure = Some(Problem::ContentTooLarge { limit: capacity });
                content.state = State::Waiting { at: now.at().after(Duration::from_secs(600)) };
                continue;
            }
            let max_bytes = if spec.max_bytes == 0 { free } else { spec.max_bytes };
            if max_bytes > free || free == 0 {
                content.failure = Some(Problem::NoSpace { need: max_bytes.max(1), free });
                content.state = State::Waiting { at: now.at().after(Duration::from_secs(60)) };
                continue;
            }
            let url = join(&store.base, &spec.url);
            let id = DownloadId(self.next_id);
            self.next_id += 1;
            let headers = store.authorization.iter().map(|value| ("Authorization", value.clone())).collect();
            self.commands.push_back(ContentCommand::Fetch(Download {
                id,
                name: content.name.clone(),
                url: url.clone(),
                sha256: spec.sha256,
                max_bytes,
                headers,
                trust_pem: store.trust_pem.clone(),
                dial: properties.seconds_or("timer.dial.timeout", 10),
                stall: properties.seconds("timer.download.stalled"),
                into: slot.map_or(Destination::Memory, |slot| Destination::Slot { from: slot.from }),
            }));
            let received = slot.map_or(0, |slot| slot.from);
            content.state = State::Downloading { id, url, received, percent: 0, moved: now.at() };
            return;
        }
    }

    fn holds(&self, sha256: &[u8; 32]) -> bool {
        self.trees.values().any(|content| content.image().is_some_and(|image| image.sha256 == *sha256))
    }

    fn abandon(&mut self, content: &Content) {
        match (&content.state, &content.spec) {
            (State::Downloading { id, .. }, _) => self.commands.push_back(ContentCommand::Cancel(*id)),
            // Another tree may be made of the same bytes.
            (State::Delivered { .. }, Ok(spec)) if !self.holds(&spec.sha256) => {
                self.commands.push_back(ContentCommand::Release { sha256: spec.sha256 });
            }
            _ => {}
        }
    }
}

/// Whether a content is not to be fetched now.
fn is_idle(slot: Option<&SlotUse>, held: bool, content: &Content) -> bool {
    match slot.filter(|slot| slot.tree == content.id) {
        Some(slot) => !slot.wanted,
        None => held,
    }
}

fn read_store(config: &DatastoreConfig, properties: &Properties) -> Result<Store, Problem> {
    let unsupported = Problem::Unsupported(Feature::DatastoreType(config.d_type));
    let (kind, scheme) = match DsType::try_from(config.d_type) {
        Ok(DsType::DsHttp) => (DsType::DsHttp, "http://"),
        Ok(DsType::DsHttps) => (DsType::DsHttps, "https://"),
        _ => return Err(unsupported),
    };
    if config.cipher_data.is_some() && config.api_key.is_empty() {
        return Err(Problem::Unsupported(Feature::EncryptedCredentials));
    }
    let fqdn = config.fqdn.trim().trim_end_matches('/');
    let base = match fqdn.split_once("://") {
        Some(_) if fqdn.starts_with(scheme) => String::from(fqdn),
        Some(_) => return Err(unsupported),
        None => format!("{scheme}{fqdn}"),
    };
    let base = join(&base, &config.dpath);
    let clear = kind == DsType::DsHttp && !properties.bool("datastore.http.security.allowinsecureauth");
    let authorization = (!config.api_key.is_empty() && !clear)
        .then(|| format!("{} {}", config.api_key, config.password))
        .filter(|value| value.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    Ok(Store { base, authorization, trust_pem: config.ds_cert_pem.iter().take(8).cloned().collect() })
}

fn read_tree(tree: &ContentTree) -> Result<Spec, Problem> {
    if tree.iformat != Format::Raw as i32 {
        return Err(Problem::Unsupported(Feature::ContentFormat(tree.iformat)));
    }
    if tree.sha256.is_empty() {
        return Err(Problem::Unsupported(Feature::ContentWithoutHash));
    }
    let mut sha256 = [0; 32];
    hex::decode_to_slice(tree.sha256.trim(), &mut sha256).map_err(|_| Problem::BadHash)?;
    let mut stores: Vec<String> = tree.ds_ids_list.iter().take(16).cloned().collect();
    if stores.is_empty() {
        stores.push(tree.ds_id.clone());
    }
    Ok(Spec {
        url: text::bounded(&tree.url, MAX_URL),
        stores,
        sha256,
        max_bytes: tree.max_size_bytes,
        generation: tree.generation_count,
    })
}

/// Two parts of a URL with one slash between them. What cannot stand in a request line is escaped.
fn join(base: &str, path: &str) -> String {
    let path = path.trim().trim_start_matches('/').trim_end_matches('/');
    let mut url = String::from(base);
    if !path.is_empty() {
        url.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}
