//! A control that was taken over, as vault has to do with it: a lie on their channel in each life, and none of it is to
//! cost vault's other clients anything.

use std::{future::pending, sync::atomic::Ordering::Relaxed, time::Duration};

use board_support_hyp::{Access, Runtime, Shared, Timer};
use board_support_pv::{
    channel::line,
    grant::{GrantedPage, Park},
    port::Line as _,
};
use embassy_futures::select::select;
use proto_ring::{
    Words,
    channel::{DOWN, MAGIC, Side, UP, initialise},
    frame::{FrameReader, MAX_PAYLOAD},
    stream::Writer,
};
use proto_svc::{
    MAX_MESSAGE, Message, decode, encode,
    supervision::PeerEnd,
    vault::{Answer, Escrowed, FromVault, KeyName, Refusal, Request, ToVault},
};
use proto_xen::{DomId, Gaddr, Gref, Port};
use tests_fakexen::{Rng, page::SpecialPage};

use crate::programs::{Base, Line, channel_park};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// It grants no page.
    NoPage,
    /// What it grants has no layout.
    Blank,
    /// The page says that it is something else.
    Magic,
    /// The page has another layout.
    Layout,
    /// It speaks another version.
    Version,
    /// It asks without a greeting.
    Rude,
    /// It greets again and again.
    Greetings,
    /// A message is longer than messages may be.
    Long,
    /// A message never ends.
    Endless,
    /// The end of a message is missing.
    Cut,
    /// Something follows a message.
    Trailing,
    /// A message is any bytes.
    Bytes,
    /// It says what vault says.
    Echo,
    /// It announces more than the page has room for.
    Ahead,
    /// It takes back what it has announced.
    Back,
    /// It has taken what vault has not said.
    Taken,
    /// It rewrites the page all the time.
    Scribble,
    /// It raises the port all the time, for nothing.
    Storm,
    /// It asks and asks, and hears no answer.
    Flood,
    /// It closes the channel and goes on.
    Closed,
    /// It keeps to the protocol, and asks for what nobody may have.
    Demands,
}

/// All of them.
pub const LIES: [Lie; 21] = [
    Lie::NoPage,
    Lie::Blank,
    Lie::Magic,
    Lie::Layout,
    Lie::Version,
    Lie::Rude,
    Lie::Greetings,
    Lie::Long,
    Lie::Endless,
    Lie::Cut,
    Lie::Trailing,
    Lie::Bytes,
    Lie::Echo,
    Lie::Ahead,
    Lie::Back,
    Lie::Taken,
    Lie::Scribble,
    Lie::Storm,
    Lie::Flood,
    Lie::Closed,
    Lie::Demands,
];

impl Lie {
    /// Whether it goes on for ever, so that vault always has something to look at.
    #[must_use]
    pub fn is_noisy(self) -> bool {
        matches!(self, Self::Greetings | Self::Scribble | Self::Storm | Self::Demands)
    }
}

/// How long it leaves others to their work, where it does something all the time.
const BREATH: Duration = Duration::from_micros(50);

/// Its `main`: a lie to each life of vault.
pub async fn main(base: Base, mut rng: Rng) {
    base.supervise();
    base.ready.signal(());
    let park = channel_park();
    loop {
        let tie = base.peers.wait(ToVault::CHANNEL).await;
        let lie = LIES[rng.below(LIES.len())];
        select(tie.cut(), tell(&base, park, tie.end(), lie, &mut rng)).await;
        while !park.is_empty() {
            park.retry(&base.domain);
            base.domain.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Tells a lie, and stays.
async fn tell(base: &Base, park: &'static Park<SpecialPage>, end: PeerEnd, lie: Lie, rng: &mut Rng) {
    let PeerEnd::Offer { peer, page, gref, port, bind } = end else {
        panic!("dom0 lets it offer the channel")
    };
    let (domain, peer) = (&base.domain, DomId(peer));
    base.seen.lies.borrow_mut().push(lie);
    let line = line(domain.clone(), domain.clone(), peer, Port(port), bind).expect("the port is its own");
    if lie == Lie::NoPage {
        let _ = line.notify();
        return pending().await;
    }
    let gfn = Gaddr(page).frame();
    let page = domain.special_page(Gaddr(page)).expect("dom0 has set it aside");
    let offered = GrantedPage::offer_as(domain.clone(), park, Gref(gref), peer, page, gfn, Access::ReadWrite);
    let page = offered.expect("the reference is its own");
    let mut told = Told { base, words: page.words(), line: &line, writer: Side::Lower.streams().0 };
    match lie {
        Lie::Blank => return told.stay().await,
        _ => initialise(told.words),
    }
    match lie {
        Lie::Magic => told.words[0].store(MAGIC ^ 1, Relaxed),
        Lie::Layout => told.words[1].store(2, Relaxed),
        Lie::Version => told.say(&message(&ToVault::Hello { version: ToVault::VERSION + 1 })),
        Lie::Rude => told.say(&ask(1, Request::Status)),
        _ => told.say(&message(&ToVault::Hello { version: ToVault::VERSION })),
    }
    if rng.once_in(2) {
        // vault has greeted, and waits for what comes.
        domain.sleep(Duration::from_millis(5)).await;
    }
    let status = ask(1, Request::Status);
    match lie {
        Lie::Greetings => loop {
            told.say(&message(&ToVault::Hello { version: ToVault::VERSION }));
            domain.sleep(BREATH).await;
        },
        Lie::Long => told.raw(u16::MAX - rng.below(60_000) as u16, &[1; 200]),
        Lie::Endless => told.raw(MAX_PAYLOAD as u16, &[1; 200]),
        Lie::Cut => told.say(&ask(1, Request::Sign { digest: [7; 32] })[..20]),
        Lie::Trailing => told.say(&[&status[..], &[0]].concat()),
        Lie::Bytes => {
            let length = 1 + rng.below(MAX_MESSAGE - 1);
            told.say(&core::iter::repeat_with(|| rng.next_u64() as u8).take(length).collect::<Vec<_>>());
        }
        Lie::Echo => told.say(&message(&FromVault::Answer { number: 1, answer: Answer::Done })),
        Lie::Ahead => UP.prod.publish(told.words, UP.prod.load(told.words).wrapping_add(5000)),
        Lie::Back => {
            told.say(&status);
            domain.sleep(Duration::from_millis(rng.below(3) as u64)).await;
            UP.prod.publish(told.words, UP.prod.load(told.words).wrapping_sub(3));
        }
        Lie::Taken => {
            DOWN.cons
                .publish(told.words, DOWN.cons.load(told.words).wrapping_add(1 + rng.below(5000) as u32));
            told.say(&status);
        }
        Lie::Scribble => loop {
            told.words.iter().for_each(|word| word.store(rng.next_u64() as u32, Relaxed));
            let _ = line.notify();
            domain.sleep(BREATH).await;
        },
        Lie::Storm => loop {
            let _ = line.notify();
            domain.sleep(BREATH).await;
        },
        Lie::Flood => (0..200).for_each(|number| told.say(&ask(number, Request::Sign { digest: [7; 32] }))),
        Lie::Closed => {
            told.say(&status);
            Side::Lower.close(told.words);
            told.say(&status);
        }
        Lie::Demands => return demand(&mut told).await,
        Lie::NoPage | Lie::Blank | Lie::Magic | Lie::Layout | Lie::Version | Lie::Rude => {}
    }
    told.stay().await;
}

fn message(message: &impl Message) -> Vec<u8> {
    let mut buffer = [0; MAX_MESSAGE];
    encode(message, &mut buffer).expect("it fits").to_vec()
}

fn ask(number: u32, request: Request) -> Vec<u8> {
    message(&ToVault::Ask { number, request })
}

/// The page as it writes it.
struct Told<'a> {
    base: &'a Base,
    words: &'a Words,
    line: &'a Line,
    writer: Writer,
}

impl Told<'_> {
    /// Says something, as far as there is room.
    fn say(&mut self, payload: &[u8]) {
        self.raw(payload.len() as u16, payload);
    }

    /// Says something that tells another length.
    fn raw(&mut self, length: u16, payload: &[u8]) {
        let frame = [&length.to_le_bytes(), payload].concat();
        // What does not fit is left out, or cut: vault owes nothing to who does not wait.
        let _ = self.writer.stage(self.words, &frame);
        let _ = self.writer.publish(self.words);
        let _ = self.line.notify();
    }

    /// Stays, with the channel as it is.
    async fn stay(&self) {
        let _ = self.line.notify();
        pending().await
    }
}

/// Asks for what nobody may have, always under the same number, for as long as vault is there.
async fn demand(told: &mut Told<'_>) {
    let mut reader = FrameReader::new(Side::Lower.streams().1);
    let mut own = Vec::new();
    for name in [KeyName::Device, KeyName::Ecdh, KeyName::Quote] {
        match asked(told, &mut reader, Request::Public(name)).await {
            // As it is, and compressed: it and its negative.
            Answer::Public { key, .. } => {
                own.extend([key.to_vec(), [&[2], &key[1..33]].concat(), [&[3], &key[1..33]].concat()])
            }
            other => panic!("{name:?}: {other:?}"),
        }
    }
    // Each note is another one: the same as before is not written, and none of the budget.
    for number in 0u32.. {
        let bytes = number.to_le_bytes();
        for point in own.iter().map(Vec::as_slice).chain([&[4; 65][..], &[9; 33], &[]]) {
            let peer = heapless::Vec::from_slice(point).expect("it is no longer");
            refused(asked(told, &mut reader, Request::Ecdh { peer }).await, Refusal::Point);
        }
        let escrowed = Escrowed { encrypted: bytes.repeat(8).into_iter().collect(), digest: [bytes[0]; 32] };
        refused(asked(told, &mut reader, Request::Recover(escrowed)).await, Refusal::Escrow);
        refused(asked(told, &mut reader, Request::StartAnew).await, Refusal::Forbidden);
        let note = heapless::Vec::from_slice(bytes.repeat(75).as_slice()).expect("it is no longer");
        match asked(told, &mut reader, Request::Keep { note }).await {
            Answer::Done if number < MOST_WRITES => {}
            answer => refused(answer, Refusal::TooManyWrites),
        }
    }
}

/// Notes that vault writes one after the other.
const MOST_WRITES: u32 = 4;

fn refused(answer: Answer, with: Refusal) {
    assert!(matches!(answer, Answer::Refused { refusal, .. } if refusal == with), "{answer:?}");
}

/// The answer to a request, which is put again while vault is busy.
async fn asked(told: &mut Told<'_>, reader: &mut FrameReader, request: Request) -> Answer {
    const NUMBER: u32 = 7;
    let mut buffer = [0; MAX_PAYLOAD];
    loop {
        told.say(&ask(NUMBER, request.clone()));
        let answer = loop {
            let received = reader.receive(told.words, &mut buffer).expect("vault keeps to the protocol");
            let Some((length, _)) = received else {
                told.base.domain.sleep(Duration::from_millis(1)).await;
                continue;
            };
            match decode(&buffer[..length]).expect("vault keeps to the protocol") {
                FromVault::Hello { .. } | FromVault::Changed => {}
                FromVault::Answer { number, answer } => {
                    assert_eq!(number, NUMBER);
                    break answer;
                }
            }
        };
        match answer {
            Answer::Refused { refusal: Refusal::Busy, .. } => {
                told.base.domain.sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}
