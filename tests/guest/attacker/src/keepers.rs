//! The attacker in control's place on a machine that was started from a slot: what it asks of storage and of vault
//! beyond its rights.
//!
//! First both are asked without end at the same time, as much as their channels take, and nobody else may go short of them.
//! Their other clients are each other and dom0. dom0 asks whether they live, ends who does not answer it within seconds, and
//! ends vault once in the midst of this where its command line says so (x86_64); the next one has to look at the TPM and its
//! keys, and storage has to get its key from it, beside the flood. What dom0 has vault extend was extended ahead of our first
//! instruction.
//!
//! Then the rows follow each other, each with the answer that is right. Between the first and the last of them nothing may
//! have moved that is not control's: the slot that runs, the attributes of the slots, the PCRs.

use alloc::{format, string::String, vec, vec::Vec};
use core::{cell::Cell, time::Duration};

use board_support_pv::grant::Park;
use board_support_rt::{Spawner, memory::SpecialPage, timer};
use embassy_futures::select::{Either, Either3, select, select3};
use proto_handoff::record::Version;
use proto_manifest::wiring::Wiring;
use proto_svc::{
    Message, device,
    storage::{self, Change, FromStorage, MAX_PIECE, MAX_VALUE, Selector, ToStorage},
    vault::{self, FromVault, KeyName, ToVault},
};
use proto_update::manifest::{Draft, Kind, Machine};
use stubdoms_service::{Offered, Owned, Peers, Tie, offer, open_dom0, park};

use crate::intruder::talk;
use crate::told::{Verdict, told};

/// How long anybody may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long both are flooded yet when others have been served: longer than dom0 takes to find somebody hung.
const FLOOD: Duration = Duration::from_secs(4);
/// How long others may wait for anything beside the flood, on a machine that has much else to do.
const STARVED: Duration = Duration::from_secs(90);
/// How often it is looked whether they wait.
const LOOK: Duration = Duration::from_millis(100);
/// Answers to the flood from each, at least.
const ANSWERS: u32 = 30;
/// Lives of vault that there are: dom0's command line ends one where a slot carries it.
const LIVES: u32 = if cfg!(target_arch = "x86_64") { 2 } else { 1 };

#[derive(Default)]
struct Tally {
    ok: u32,
    failed: u32,
}

impl Tally {
    /// Tells how a case ended, and counts it.
    async fn case(&mut self, name: &str, verdict: Verdict) {
        let count = if told(name, verdict).await { &mut self.ok } else { &mut self.failed };
        *count += 1;
    }
}

/// A channel on which requests are answered under their numbers.
struct Desk<Out: Message, In: Message> {
    open: Option<(Tie<'static>, Offered<Out, In>)>,
    peers: &'static Peers,
    pages: &'static Park<SpecialPage>,
    number: u32,
    /// Lives of the peer.
    lives: u32,
}

impl<Out: Message, In: Message> Desk<Out, In> {
    async fn open(peers: &'static Peers) -> Verdict<Self> {
        let mut desk = Self { open: None, peers, pages: park(), number: 0, lives: 0 };
        desk.open_again(PATIENCE).await?;
        Ok(desk)
    }

    /// Opens the channel to the peer's next life.
    async fn open_again(&mut self, patience: Duration) -> Verdict {
        // Its page is the next one's.
        self.open = None;
        let opened = timer::with_timeout(patience, offer(self.peers, self.pages)).await;
        self.open = Some(opened.map_err(|_| "it does not open")?);
        self.lives += 1;
        Ok(())
    }

    /// Asks without waiting for answers, as fast as the channel takes it and in each life of the peer. `take` is shown what
    /// is answered, and in which life. Returns why that cannot go on.
    async fn flood(&mut self, ask: impl Fn(u32) -> Out, mut take: impl FnMut(&In, u32)) -> String {
        loop {
            self.number = self.number.wrapping_add(1);
            let (request, lives) = (ask(self.number), self.lives);
            let Some((tie, channel)) = &mut self.open else { return "it is not open".into() };
            let said = talk::say(channel, &request, |told| take(told, lives));
            match select(said, tie.cut()).await {
                Either::First(Ok(())) => continue,
                // Its end is told a moment later.
                Either::First(Err(why)) => {
                    if timer::with_timeout(PATIENCE, tie.cut()).await.is_err() {
                        return why;
                    }
                }
                Either::Second(()) => {}
            }
            if let Err(why) = self.open_again(STARVED).await {
                return why;
            }
        }
    }

    /// Asks, and takes the answer that `of` finds under the request's number.
    async fn ask<A>(&mut self, ask: impl Fn(u32) -> Out, of: impl Fn(In) -> Option<(u32, A)>) -> Verdict<A> {
        self.number += 1;
        let number = self.number;
        let Some((_, channel)) = &mut self.open else { return Err("it is not open".into()) };
        let asked = async {
            talk::say(channel, &ask(number), |_| ()).await?;
            loop {
                match of(talk::hear(channel, |_| ()).await?) {
                    Some((told, answer)) if told == number => return Ok(answer),
                    _ => {}
                }
            }
        };
        timer::with_timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no answer".into()))
    }
}

type Storage = Desk<ToStorage, FromStorage>;
type Vault = Desk<ToVault, FromVault>;

impl Storage {
    async fn request(&mut self, request: storage::Request) -> Verdict<storage::Answer> {
        let ask = |number| ToStorage::Ask { number, request: request.clone() };
        let of = |told| match told {
            FromStorage::Answer { number, answer } => Some((number, answer)),
            FromStorage::Hello { .. } | FromStorage::Changed => None,
        };
        self.ask(ask, of).await
    }

    /// It is refused, as this.
    async fn refuses(&mut self, request: storage::Request, right: storage::Refusal) -> Verdict {
        match self.request(request).await? {
            storage::Answer::Refused { refusal, .. } if refusal == right => Ok(()),
            other => Err(format!("{other:?} instead of {right:?}")),
        }
    }

    async fn does(&mut self, request: storage::Request) -> Verdict {
        match self.request(request).await? {
            storage::Answer::Done => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Waits until the store is open: vault gives it its key without control.
    async fn is_open(&mut self) -> Verdict {
        let open = async {
            while !matches!(self.request(storage::Request::Status).await?, storage::Answer::Status(status) if status.open)
            {
                timer::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        };
        timer::with_timeout(PATIENCE, open).await.unwrap_or_else(|_| Err("it does not open".into()))
    }
}

impl Vault {
    async fn request(&mut self, request: vault::Request) -> Verdict<vault::Answer> {
        let ask = |number| ToVault::Ask { number, request: request.clone() };
        let of = |told| match told {
            FromVault::Answer { number, answer } => Some((number, answer)),
            FromVault::Hello { .. } | FromVault::Changed => None,
        };
        self.ask(ask, of).await
    }

    async fn refuses(&mut self, request: vault::Request, right: vault::Refusal) -> Verdict {
        match self.request(request).await? {
            vault::Answer::Refused { refusal, .. } if refusal == right => Ok(()),
            other => Err(format!("{other:?} instead of {right:?}")),
        }
    }

    /// The public point of a key.
    async fn point(&mut self, name: KeyName) -> Verdict<heapless::Vec<u8, 65>> {
        match self.request(vault::Request::Public(name)).await? {
            vault::Answer::Public { key, .. } => {
                heapless::Vec::from_slice(&key).map_err(|_| format!("{} bytes are no point", key.len()))
            }
            other => Err(format!("{other:?}")),
        }
    }
}

/// Tries everything, and says how it ended.
pub(crate) async fn run(wiring: &Wiring, spawner: Spawner) {
    let peers = stubdoms_service::peers(wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    stubdoms_service::ready();
    let _dom0: Owned<device::FromControl, device::ToControl> = open_dom0(wiring).await;
    let mut tally = Tally::default();
    let (storage, vault) = (Storage::open(peers).await, Vault::open(peers).await);
    match (storage, vault) {
        (Ok(mut storage), Ok(mut vault)) => {
            let before = vault.request(vault::Request::Pcrs).await;
            flood(&mut storage, &mut vault, &mut tally).await;
            with_storage(&mut storage, &mut tally).await;
            with_vault(&mut vault, &mut tally).await;
            let after = vault.request(vault::Request::Pcrs).await;
            let same = matches!((&before, &after), (Ok(vault::Answer::Pcrs(pcrs)), _) if !pcrs.is_empty());
            let moved =
                if same && before == after { Ok(()) } else { Err(format!("{before:?}, then {after:?}")) };
            tally.case("no_pcr_has_moved", moved).await;
        }
        (storage, vault) => {
            tally.case("storage_opens", storage.map(drop)).await;
            tally.case("vault_opens", vault.map(drop)).await;
        }
    }
    log::info!("attacker: {} ok, {} failed", tally.ok, tally.failed);
    core::future::pending().await
}

/// A slot in all but its signature.
fn unsigned() -> Vec<u8> {
    let machine = if cfg!(target_arch = "x86_64") { Machine::X86_64 } else { Machine::Aarch64 };
    let kind = if cfg!(target_arch = "x86_64") { Kind::Program } else { Kind::Dom0 };
    let version = Version::new("9.9.9").expect("a name");
    let draft = Draft::new(machine, version, &[(kind, &[0x90; 5000])]).expect("a part that is not empty");
    draft.sign(|_| [0x55; 64])
}

async fn with_storage(storage: &mut Storage, tally: &mut Tally) {
    use storage::{Refusal as R, Request};
    let before = storage.request(Request::Slots).await;
    let slot = unsigned();
    let key = |name: &str| storage::Key::try_from(name).unwrap_or_default();
    let write = |offset: u64, bytes: &[u8]| Request::Write {
        offset,
        bytes: heapless::Vec::from_slice(bytes).unwrap_or_default(),
    };
    let put = |name: &str, total| Request::Put {
        key: key(name),
        total,
        offset: 0,
        bytes: heapless::Vec::from_slice(&[1]).unwrap_or_default(),
    };
    for (name, request, right) in [
        ("arm_what_was_there_before", Request::Change(Change::Arm), R::State),
        ("write_without_a_beginning", write(0, &[0]), R::State),
        ("verify_of_what_is_no_newer", Request::Verify, R::Older),
        ("selector_of_what_is_no_newer", Request::ReplaceSelector(Selector::Second), R::State),
        ("begin_more_than_the_slot", Request::Begin { length: u64::MAX }, R::TooLarge),
        ("begin_nothing", Request::Begin { length: 0 }, R::TooLarge),
        ("value_of_anothers_name", put("../sealed", 1), R::Name),
        ("value_without_end", put("a", u32::MAX), R::TooLarge),
        ("value_a_byte_too_long", put("a", MAX_VALUE + 1), R::TooLarge),
        ("read_of_nothing", Request::Get { key: key("nothing"), offset: 0 }, R::NoValue),
    ] {
        let verdict = storage.refuses(request, right).await;
        tally.case(name, verdict).await;
    }
    let none = match storage.request(Request::Next { after: key("") }).await {
        Ok(storage::Answer::Name(None)) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    tally.case("no_name_of_others_is_listed", none).await;

    let begun = storage.does(Request::Begin { length: slot.len() as u64 }).await;
    tally.case("begin_of_the_other_slot", begun).await;
    for (name, request, right) in [
        ("write_far_behind_the_slot", write(u64::MAX, &[0; 8]), R::Piece),
        ("write_with_a_gap", write(4096, &[0; 8]), R::Piece),
        ("arm_what_was_begun", Request::Change(Change::Arm), R::State),
        ("verify_what_is_not_there", Request::Verify, R::State),
    ] {
        let verdict = storage.refuses(request, right).await;
        tally.case(name, verdict).await;
    }
    let mut filled = Ok(());
    for (piece, bytes) in slot.chunks(MAX_PIECE).enumerate() {
        if filled.is_ok() {
            filled = storage.does(write((piece * MAX_PIECE) as u64, bytes)).await;
        }
    }
    tally.case("fill_of_the_other_slot", filled).await;
    for (name, request, right) in [
        ("write_behind_the_end", write(slot.len() as u64, &[0]), R::State),
        ("arm_what_was_filled", Request::Change(Change::Arm), R::State),
        ("verify_of_what_is_signed_by_nobody", Request::Verify, R::Signature),
        ("arm_what_is_signed_by_nobody", Request::Change(Change::Arm), R::State),
        ("try_what_is_signed_by_nobody", Request::Change(Change::TryOther), R::State),
        ("selector_that_is_signed_by_nobody", Request::ReplaceSelector(Selector::Second), R::State),
    ] {
        let verdict = storage.refuses(request, right).await;
        tally.case(name, verdict).await;
    }
    // The first one may be replaced by that of what runs: it is that.
    let same = match storage.request(Request::ReplaceSelector(Selector::First)).await {
        Ok(storage::Answer::Selector { replaced: false }) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    tally.case("the_first_selector_is_that_of_what_runs", same).await;
    let after = storage.request(Request::Slots).await;
    tally.case("the_slot_that_runs_is_as_it_was", same_slot(before, after)).await;
}

/// The slot that runs is told as before, and the other one is not to be started.
fn same_slot(before: Verdict<storage::Answer>, after: Verdict<storage::Answer>) -> Verdict {
    let (storage::Answer::Slots { running: was, slots: old }, storage::Answer::Slots { running, slots }) =
        (before?, after?)
    else {
        return Err("no slots were told".into());
    };
    let of = |slots: &[storage::SlotReport; 2]| slots.iter().find(|slot| Some(slot.slot) == running).cloned();
    let other = slots.iter().find(|slot| Some(slot.slot) != running);
    let idle = other.is_some_and(|slot| slot.state == storage::SlotState::Unused);
    let same = running.is_some() && was == running && of(&old) == of(&slots);
    if same && idle { Ok(()) } else { Err(format!("{old:?}, then {slots:?}")) }
}

async fn with_vault(vault: &mut Vault, tally: &mut Tally) {
    use vault::{Refusal as R, Request};
    for (name, key) in [("point_of_the_device", KeyName::Device), ("point_of_ecdh", KeyName::Ecdh)] {
        let refused = match vault.point(key).await {
            Ok(peer) => vault.refuses(Request::Ecdh { peer }, R::Point).await,
            Err(why) => Err(why),
        };
        tally.case(&format!("{name}_is_multiplied_by_nothing"), refused).await;
    }
    let nowhere = heapless::Vec::from_slice(&[vec![4], vec![1; 64]].concat()).unwrap_or_default();
    let refused = vault.refuses(Request::Ecdh { peer: nowhere }, R::Point).await;
    tally.case("point_that_is_on_no_curve", refused).await;

    let invented = vault::Escrowed {
        encrypted: heapless::Vec::from_slice(&[1; 32]).unwrap_or_default(),
        digest: [2; 32],
    };
    let refused = vault.refuses(Request::Recover(invented), R::Escrow).await;
    tally.case("escrow_that_is_invented", refused).await;
    let refused = vault.refuses(Request::StartAnew, R::Forbidden).await;
    tally.case("a_new_key_for_a_storage_that_has_one", refused).await;

    // What is escrowed tells nobody the key: it is as long as one, and its hash is not the key's.
    let escrow = match vault.request(Request::Escrow).await {
        Ok(vault::Answer::Escrow(escrow)) if escrow.encrypted.len() == 32 => Ok(()),
        other => Err(format!("{other:?}")),
    };
    tally.case("an_escrow_is_encrypted", escrow).await;

    // Notes wear the TPM out, so there are few.
    let (mut kept, mut refused, mut other) = (0, 0, None);
    for byte in 0..16 {
        let note = heapless::Vec::from_slice(&[byte; 200]).unwrap_or_default();
        match vault.request(Request::Keep { note }).await {
            Ok(vault::Answer::Done) => kept += 1,
            Ok(vault::Answer::Refused { refusal: R::TooManyWrites, .. }) => refused += 1,
            told => other = Some(told),
        }
    }
    let few = other.is_none() && kept <= 4 && refused >= 12;
    let verdict = if few { Ok(()) } else { Err(format!("{kept} kept, {refused} refused, {other:?}")) };
    tally.case("notes_without_end", verdict).await;
}

/// Both are asked without a pause, what takes them longest and what takes them no time at all; and what others want of
/// them is done all the same.
async fn flood(storage: &mut Storage, vault: &mut Vault, tally: &mut Tally) {
    let open = storage.is_open().await;
    tally.case("the_store_opens_without_control", open).await;
    log::info!("attacker floods storage and vault");
    let (lives, is_asked) = (Cell::new(1), Cell::new(false));
    let (by_storage, by_vault) = (Cell::new(0_u32), Cell::new(0_u32));
    let floods_storage = storage.flood(
        |number| ToStorage::Ask { number, request: for_storage(number) },
        |told, _| {
            if let FromStorage::Answer { .. } = told {
                by_storage.set(by_storage.get() + 1);
            }
        },
    );
    let floods_vault = vault.flood(
        |number| ToVault::Ask { number, request: for_vault(number) },
        |told, life| {
            if let FromVault::Answer { answer, .. } = told {
                by_vault.set(by_vault.get() + 1);
                lives.set(life);
                // Each life knows how the key stands when storage has asked for it, and not before.
                if let vault::Answer::Status(status) = answer {
                    is_asked.set(status.sealing == vault::Sealing::Open);
                }
            }
        },
    );
    let others = async {
        let waits = async {
            while lives.get() < LIVES || !is_asked.get() {
                timer::sleep(LOOK).await;
            }
            timer::sleep(FLOOD).await;
        };
        timer::with_timeout(STARVED, waits).await.map_err(|_| {
            let storage = if is_asked.get() { "has its key" } else { "waits for its key" };
            format!("life {} of vault has answered last, and storage {storage}", lives.get())
        })
    };
    let served = match select3(floods_storage, floods_vault, others).await {
        Either3::First(why) => Err(format!("storage: {why}")),
        Either3::Second(why) => Err(format!("vault: {why}")),
        Either3::Third(served) => served,
    };
    log::info!(
        "attacker floods no more: {} answers of storage, {} of vault",
        by_storage.get(),
        by_vault.get()
    );
    let enough = |answers: &Cell<u32>| match answers.get() {
        ANSWERS.. => Ok(()),
        few => Err(format!("{few} answers")),
    };
    tally.case("storage_answers_a_flood", enough(&by_storage)).await;
    tally.case("vault_answers_a_flood", enough(&by_vault)).await;
    tally.case("others_are_served_beside_a_flood", served).await;
    // What was put is in nobody's way.
    let deleted = storage.does(storage::Request::Delete { key: flooded() }).await;
    tally.case("what_was_put_can_be_dropped", deleted).await;
}

/// The value that a flood puts and drops.
fn flooded() -> storage::Key {
    storage::Key::try_from("flood").unwrap_or_default()
}

fn for_storage(number: u32) -> storage::Request {
    use storage::Request;
    match number % 64 {
        0 => Request::Verify,
        1 => Request::Put {
            key: flooded(),
            total: MAX_PIECE as u32,
            offset: 0,
            bytes: heapless::Vec::from_slice(&[number as u8; MAX_PIECE]).unwrap_or_default(),
        },
        2 => Request::Delete { key: flooded() },
        3 => Request::Slots,
        4 => Request::Next { after: storage::Key::default() },
        _ => Request::Status,
    }
}

fn for_vault(number: u32) -> vault::Request {
    use vault::Request;
    match number % 16 {
        0 => Request::Sign { digest: [number as u8; 32] },
        1 => Request::Quote { nonce: heapless::Vec::from_slice(&[7; 16]).unwrap_or_default() },
        2 => Request::Pcrs,
        _ => Request::Status,
    }
}
