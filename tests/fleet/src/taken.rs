//! A control that was taken over, towards storage: it asks for what it must not have, in any order, says what is no
//! message, and lies about the indices of the channel's page. Then it goes on until somebody ends it.

use std::{marker::PhantomData, time::Duration};

use board_support_hyp::{EventChannels, Shared, Timer};
use proto_ring::{
    WORDS_PER_PAGE,
    channel::{DOWN, UP},
    page::Word,
    stream::Direction,
};
use proto_svc::{
    MAX_MESSAGE, Message, encode,
    storage::{Change, FromStorage, Key, MAX_PIECE, MAX_VALUE, Request, Selector, ToStorage},
    supervision::PeerEnd,
};
use proto_xen::{Gaddr, Port};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeTuple};
use stubdoms_service::channels::offer;
use tests_fakexen::Rng;

use crate::programs::{Base, ToService, channel_park};

/// Bytes in a message's place.
#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Raw<Of>(Vec<u8>, PhantomData<Of>);

impl<Of> Raw<Of> {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes, PhantomData)
    }
}

impl<Of> Serialize for Raw<Of> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

impl<Of: Message> Message for Raw<Of> {
    const CHANNEL: &'static str = Of::CHANNEL;
    const VERSION: u16 = Of::VERSION;
}

/// Words of a channel's page with indices and thresholds.
fn indices() -> Vec<Word> {
    let of = |direction: Direction| {
        let thresholds = direction.events.map(|events| [events.data, events.room]);
        [direction.prod, direction.cons].into_iter().chain(thresholds.into_iter().flatten())
    };
    [UP, DOWN].into_iter().flat_map(of).collect()
}

/// control's `main`, which goes its own way by the numbers.
pub async fn main(base: Base, mut rng: Rng) {
    base.supervise();
    base.ready.signal(());
    let (pages, indices) = (channel_park(), indices());
    loop {
        let (xen, runtime) = (base.domain.clone(), base.domain.clone());
        let (tie, mut channel): (_, ToService<Raw<ToStorage>, FromStorage>) =
            offer(xen, runtime, base.peers, pages).await;
        let PeerEnd::Offer { page, port, .. } = tie.end() else { panic!("it was offered") };
        // What is no message ends the channel ahead of any lie about the page.
        let spoils = rng.once_in(2);
        for number in 0..rng.below(60) as u32 {
            let mut bytes = bytes_of(&ToStorage::Ask { number, request: request(&mut rng) });
            if spoils && rng.once_in(50) {
                spoil(&mut bytes, &mut rng);
            }
            let sent = base.domain.with_timeout(Duration::from_secs(1), channel.send(&Raw::new(bytes))).await;
            base.seen.asked.set(base.seen.asked.get() + 1);
            // Sometimes it takes no answer, until there is no room for one.
            if !matches!(sent, Ok(Ok(()))) || !rng.once_in(3) && channel.try_receive().is_err() {
                break;
            }
        }
        let words = base.domain.page_at(Gaddr(page).frame());
        for _ in 0..rng.below(200) {
            if let Some(page) = &words {
                let is_index = rng.once_in(2);
                let any = Word::at(4 * rng.below(WORDS_PER_PAGE));
                let word = if is_index { one_of(&mut rng, &indices) } else { any };
                let near = word.load(page.words()).wrapping_add(rng.below(4096) as u32);
                let lie = if rng.once_in(2) { near } else { rng.next_u64() as u32 };
                word.store(page.words(), lie);
            }
            // It may be the peer's.
            let _ = base.domain.send(Port(port));
            base.domain.sleep(Duration::from_micros(50)).await;
        }
        tie.cut().await;
    }
}

pub(crate) fn bytes_of<M: Message>(message: &M) -> Vec<u8> {
    encode(message, &mut [0; MAX_MESSAGE]).expect("each fits").to_vec()
}

/// Makes something else of a message.
pub(crate) fn spoil(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(bytes.len());
    match rng.below(4) {
        0 => bytes.truncate(at),
        1 => bytes.resize(MAX_MESSAGE, 0xff),
        2 => bytes[at] ^= 1 << rng.below(8),
        _ => bytes.fill_with(|| rng.next_u64() as u8),
    }
}

pub(crate) fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len())]
}

/// Something that storage may or may not do.
fn request(rng: &mut Rng) -> Request {
    let bytes = |rng: &mut Rng| {
        let length = one_of(rng, &[0, 1, MAX_PIECE - 1, MAX_PIECE]);
        core::iter::repeat_with(|| rng.next_u64() as u8).take(length).collect()
    };
    let name = one_of(rng, &["", "a", "config", "identity", "../a", "A", "a\0", "\u{e4}", "log.00000001"]);
    let key = Key::try_from(name).expect("it is short");
    let piece = MAX_PIECE as u32;
    let offset = one_of(rng, &[0, 1, piece, 2 * piece, u32::MAX]);
    match rng.below(11) {
        0 => Request::Status,
        1 => Request::Slots,
        2 => Request::Get { key, offset },
        3 | 4 => {
            let total = one_of(rng, &[0, 1, piece, piece + 1, MAX_VALUE, MAX_VALUE + 1, u32::MAX]);
            Request::Put { key, total, offset, bytes: bytes(rng) }
        }
        5 => Request::Delete { key },
        6 => Request::Next { after: key },
        7 => {
            let length = one_of(rng, &[0, 1, 4096, 4097, 13_096, 1 << 20, u64::MAX]);
            Request::Begin { length }
        }
        8 => {
            let offset = one_of(rng, &[0, 1, 900, 4096, u64::MAX - 899, u64::MAX]);
            Request::Write { offset, bytes: bytes(rng) }
        }
        9 => {
            let changes = [Change::Arm, Change::Commit, Change::Abandon, Change::TryOther];
            let change = Request::Change(one_of(rng, &changes));
            one_of(rng, &[&Request::Verify, &change]).clone()
        }
        _ => {
            let which = [Selector::First, Selector::Second, Selector::SecondBack];
            Request::ReplaceSelector(one_of(rng, &which))
        }
    }
}
