//! Whole ends of devices and channels on the fake Xen, whose peers do anything that Xen lets them.

use core::pin::pin;
use core::sync::atomic::Ordering::Relaxed;
use core::task::{Context, Poll, Waker};

use board_support_hyp::{Access, Grants, Pages, Shared};
use board_support_pv::channel::{Channel, ChannelError};
use board_support_pv::grant::{GrantedPage, Park};
use board_support_pv::net::Frames;
use board_support_pv::net::back::{Back, PushError, Vif};
use board_support_pv::net::front::{BufferCounts, Front};
use board_support_pv::port::BoundPort;
use proto_io::netif::checksum::Checksum;
use proto_io::netif::packet::MIN_FRAME;
use proto_io::netif::rx::{RxFlags, RxRequest, RxResponse};
use proto_io::netif::tx::{TxFlags, TxRequest, TxResponse};
use proto_io::netif::{RX_SLOT, Status, TX_SLOT};
use proto_ring::channel::Side;
use proto_ring::{AtomicU32, PeerFault, Words, front};
use proto_svc::device::{FromControl, ToControl};
use proto_svc::{MAX_MESSAGE, Message, encode};
use proto_xen::{DomId, Gref};
use tests_fakexen::{Domain, World};

use super::input::{Input, put_piece};

const NET: DomId = DomId(1);
const GUEST: DomId = DomId(2);
const OTHER: DomId = DomId(5);

type Line = BoundPort<Domain, Domain>;
type Page = <Domain as Pages>::Page;

fn world() -> World {
    World::with_domains(&[NET, GUEST, OTHER])
}

/// The peer writes a word of a page: anywhere, or close to what the first words say now.
fn write(page: &Words, input: &mut Input<'_>) {
    let step = input.byte();
    let value = input.word();
    if step < 0x40 {
        page[usize::from(input.half()) % page.len()].store(value, Relaxed);
    } else {
        let word: &AtomicU32 = &page[usize::from(step) % 4];
        word.store(word.load(Relaxed).wrapping_add_signed(i32::from(value as i8)), Relaxed);
    }
}

fn fill(page: &impl Shared, byte: u8) {
    page.words().iter().for_each(|word| word.store(u32::from_le_bytes([byte; 4]), Relaxed));
}

fn holds_only(page: &impl Shared, byte: u8) -> bool {
    page.words().iter().all(|word| word.load(Relaxed) == u32::from_le_bytes([byte; 4]))
}

/// What the frames of a guest hold.
const ITS_OWN: u8 = 0xa5;
/// What holds what net must not read or write.
const SECRET: u8 = 0xee;

/// A backend whose guest writes both rings. It never hands out a frame that is none, or that is longer than
/// the buffer; it writes no page that it was not granted for writing, and lets go of all in the end.
pub(super) fn vif_back(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let world = world();
    let (net, guest) = (world.domain(NET), world.domain(GUEST));
    let park = Park::<Page>::new();
    let granted = |to, access| GrantedPage::offer(guest.clone(), &guest, &park, to, access).expect("a page");
    let (tx_page, rx_page) = (granted(NET, Access::ReadWrite), granted(NET, Access::ReadWrite));
    let (frame, buffer) = (granted(NET, Access::ReadOnly), granted(NET, Access::ReadWrite));
    let secret = granted(OTHER, Access::ReadWrite);
    fill(&frame, ITS_OWN);
    fill(&secret, SECRET);
    let grefs = [frame.gref(), buffer.gref(), secret.gref(), Gref(u32::MAX)];
    let mut tx = front::Front::<TX_SLOT>::initialise(tx_page.words());
    let mut rx = front::Front::<RX_SLOT>::initialise(rx_page.words());
    let line = Line::allocate(guest.clone(), guest.clone(), NET).expect("a port");
    let vif = Vif { frontend: GUEST, tx_gref: tx_page.gref(), rx_gref: rx_page.gref(), port: line.port() };
    let mut back = Back::connect(net.clone(), net.clone(), net, vif).expect("granted");
    let mut into = [0; 2048];
    let mut fault = None;
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => write(tx_page.words(), &mut input),
            1 => write(rx_page.words(), &mut input),
            2 => {
                let request = TxRequest {
                    gref: grefs[usize::from(input.byte()) % grefs.len()],
                    offset: input.half(),
                    flags: TxFlags::from_bits_retain(input.byte().into()),
                    id: input.byte().into(),
                    size: input.half(),
                };
                let _ = tx.put(tx_page.words(), &request.emit());
            }
            3 => {
                let gref = grefs[usize::from(input.byte()) % grefs.len()];
                let _ = rx.put(rx_page.words(), &RxRequest { id: input.half(), gref }.emit());
            }
            4 => {
                let _ = (tx.push(tx_page.words()), rx.push(rx_page.words()));
            }
            5 => match back.next_frame(&mut into) {
                Ok(Some(sent)) => {
                    assert!((MIN_FRAME..=into.len()).contains(&sent.length));
                }
                Ok(None) => assert_eq!(fault, None),
                Err(found) => assert_eq!(*fault.get_or_insert(found), found),
            },
            6 => match back.push_frame(&into[..usize::from(input.byte()) + 14], Checksum::Validated) {
                Err(PushError::Peer(found)) => assert_eq!(*fault.get_or_insert(found), found),
                Err(PushError::TooLong) => panic!("no frame is too long here"),
                Ok(()) | Err(PushError::Busy | PushError::BadBuffers) => assert_eq!(fault, None),
            },
            _ => match back.poll_work(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Err(found)) => assert_eq!(*fault.get_or_insert(found), found),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            },
        }
        assert_eq!(back.fault(), fault, "a fault is kept, and told");
        let counted = back.counters();
        assert!(counted.tx_bytes >= counted.tx_frames * MIN_FRAME as u64);
    }
    assert!(holds_only(&secret, SECRET), "it wrote what it was not granted");
    assert!(holds_only(&frame, ITS_OWN), "it wrote what it was granted for reading");
    drop(back);
    drop((tx_page, rx_page, frame, buffer, secret));
    assert_eq!(world.grants_in_use(GUEST), 0, "it mapped something for longer than it lived");
}

/// A frontend whose backend writes both rings. It hands out no frame longer than its buffer, keeps a fault,
/// and in the end has all its pages back.
pub(super) fn vif_front(bytes: &[u8]) {
    const COUNTS: BufferCounts = BufferCounts { tx: 4, rx: 4 };
    let mut input = Input::new(bytes);
    let world = world();
    let (net, guest) = (world.domain(NET), world.domain(GUEST));
    let park = Park::<Page>::new();
    let line = Line::allocate(guest.clone(), guest.clone(), NET).expect("a port");
    let mut vif = Front::new(line, guest.clone(), &guest, &park, NET, COUNTS).expect("pages");
    let (tx_gref, rx_gref) = vif.rings();
    let ring = |gref| net.map(GUEST, gref, Access::ReadWrite).expect("granted");
    let (tx_page, rx_page) = (ring(tx_gref), ring(rx_gref));
    let mut tx = proto_ring::back::Back::<TX_SLOT>::new();
    let mut rx = proto_ring::back::Back::<RX_SLOT>::new();
    let mut into = [0; 1514];
    let mut fault: Option<PeerFault> = None;
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => write(tx_page.words(), &mut input),
            1 => write(rx_page.words(), &mut input),
            2 => {
                let mut slot = [0; TX_SLOT];
                if tx.take(tx_page.words(), &mut slot) == Ok(true) {
                    // Which one is answered, and how, is the input's.
                    let id = TxRequest::parse(&slot).id.wrapping_add(u16::from(input.byte() % 2));
                    let response = TxResponse { id, status: Status(i16::from(input.byte() as i8)) };
                    tx.put(tx_page.words(), &response.emit());
                }
            }
            3 => {
                let mut slot = [0; RX_SLOT];
                if rx.take(rx_page.words(), &mut slot) == Ok(true) {
                    let RxRequest { id, gref } = RxRequest::parse(&slot);
                    let _ = net.copy_to(GUEST, gref, 0, &[ITS_OWN; 64]);
                    let outcome = match input.byte() {
                        0 => Err(Status::ERROR),
                        1 => Ok(input.half()),
                        length => Ok(length.into()),
                    };
                    let flags = RxFlags::from_bits_retain(u16::from(input.byte() & 0x0f));
                    let offset = if input.byte() < 0xf0 { 0 } else { input.half() };
                    rx.put(rx_page.words(), &RxResponse { id, offset, flags, outcome }.emit());
                }
            }
            4 => {
                let _ = (tx.push(tx_page.words()), rx.push(rx_page.words()));
            }
            5 => {
                if let Some(length) = vif.receive(&mut into) {
                    assert!((MIN_FRAME..=into.len()).contains(&length) && fault.is_none());
                }
            }
            6 => {
                let length = usize::from(input.byte()) + MIN_FRAME;
                let room = vif.can_transmit();
                let sent = vif.transmit(&into[..length]);
                assert!(!room || sent.is_ok(), "there was room");
            }
            _ => {
                if let Poll::Ready(Err(found)) = vif.poll_work(&mut Context::from_waker(Waker::noop())) {
                    assert_eq!(vif.fault(), Some(found));
                }
            }
        }
        assert!(fault.is_none() || vif.fault() == fault, "a fault is kept");
        fault = vif.fault();
    }
    drop(vif);
    drop((tx_page, rx_page));
    park.retry(&guest);
    assert_eq!((world.grants_in_use(GUEST), world.pages_in_use(GUEST)), (0, 0));
}

/// Steps of all kinds, in an order in which frames pass.
pub(super) fn vif_schedules() -> Vec<Vec<u8>> {
    // A buffer, a request for it, both shown; then what the other end does about them.
    let honest = [3, 1, 7, 0, 2, 0, 0, 0, 0, 1, 60, 0, 4, 5, 6, 46, 7, 7, 5];
    let front = [6, 46, 2, 0, 0, 3, 60, 0, 0, 4, 5, 7, 6, 10, 7];
    let chain = [2, 0, 0, 0, 4, 1, 60, 0, 2, 0, 0, 0, 0, 2, 20, 0, 4, 5, 7];
    let foreign = [2, 2, 0, 0, 0, 1, 60, 0, 3, 2, 1, 0, 4, 5, 6, 46, 7];
    let lie = [0, 0x40, 100, 0, 0, 0, 5, 7, 5, 1, 0x40, 100, 0, 0, 0, 6, 10, 7];
    let all = [honest.as_slice(), &front, &chain, &foreign, &lie];
    let mut seeds: Vec<Vec<u8>> = all.iter().map(|steps| steps.repeat(4)).collect();
    seeds.push(all.concat());
    seeds
}

/// An end of channel `device`, typed: dom0's or control's. A message that it hands out is one, an error that
/// closed it is told for ever after, and the peer sees that it is closed.
pub(super) fn channel(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte().is_multiple_of(2) {
        end_of_channel::<ToControl, FromControl>(&mut input, Side::Upper);
    } else {
        end_of_channel::<FromControl, ToControl>(&mut input, Side::Lower);
    }
}

fn end_of_channel<Out: Message, In: Message + core::fmt::Debug + PartialEq>(
    input: &mut Input<'_>,
    side: Side,
) {
    let world = world();
    let (ours, theirs) = (world.domain(NET), world.domain(GUEST));
    let ports = world.connect(NET, GUEST);
    let line = Line::adopt(ours.clone(), ours.clone(), ports.0).expect("a port");
    let park = Park::<Page>::new();
    let page = GrantedPage::offer(theirs.clone(), &theirs, &park, NET, Access::ReadWrite).expect("a page");
    let gref = page.gref();
    let words = page.words();
    proto_ring::channel::initialise(words);
    let (mut raw, mut drain) = side.peer().streams();
    let mut say = |bytes: &[u8]| {
        if raw.stage(words, bytes) == Ok(bytes.len()) {
            let _ = raw.publish(words);
        }
        world.raise(NET, ports.0);
    };
    if input.byte() > 8 {
        // A greeting as it should be.
        say(&[2, 0, 0, In::VERSION as u8]);
    }
    let mapped = ours.map(GUEST, gref, Access::ReadWrite).expect("granted");
    let opened = {
        let mut opening = pin!(open::<Out, In>(line, mapped, side));
        let mut opened = None;
        for _ in 0..8 {
            if let Poll::Ready(done) = opening.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                opened = Some(done);
                break;
            }
            // The lower end has made the page anew.
            say(&[2, 0, 0, In::VERSION as u8]);
            write(words, input);
            world.raise(NET, ports.0);
        }
        opened
    };
    let Some(Ok(mut channel)) = opened else { return };
    let mut end = None;
    let mut checked = |error: ChannelError| match error {
        ChannelError::Busy | ChannelError::TooLong => {}
        // Said by the page, for as long as the page says so.
        ChannelError::Closed => {}
        error => assert_eq!(*end.get_or_insert(error), error, "the first error is told for ever after"),
    };
    while !input.is_empty() {
        match input.byte() % 6 {
            0 => write(words, input),
            1 => {
                let piece = input.piece();
                say(&[&(piece.len() as u16).to_le_bytes(), piece].concat());
            }
            2 => say(input.piece()),
            3 => match channel.try_receive() {
                Ok(Some(message)) => {
                    let mut room = [0; MAX_MESSAGE];
                    let again = encode(&message, &mut room).expect("a message that was read fits");
                    assert_eq!(proto_svc::decode::<In>(again).as_ref(), Ok(&message));
                }
                Ok(None) => {}
                Err(error) => checked(error),
            },
            4 => {
                if let Ok(message) = proto_svc::decode::<Out>(input.piece())
                    && let Err(error) = channel.try_send(&message)
                {
                    checked(error);
                }
            }
            _ => {
                if drain.take(words, &mut [0; 256]).is_ok() {
                    let _ = drain.release(words);
                }
            }
        }
    }
    // Whatever the peer has made of the word before.
    drop(channel);
    if end.is_none() {
        assert!(side.is_closed(words), "the peer is told of the end");
    }
}

async fn open<Out: Message, In: Message>(
    line: Line,
    page: <Domain as Grants>::Mapped,
    side: Side,
) -> Result<Channel<Line, <Domain as Grants>::Mapped, Out, In>, ChannelError> {
    match side {
        Side::Upper => Channel::open_upper(line, page).await,
        Side::Lower => Channel::open_lower(line, page).await,
    }
}

/// Messages of control and garbage, with turns of the other end between them.
pub(super) fn channel_schedules() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for side in [0, 1] {
        let mut honest = vec![side, 9];
        for message in super::svc::devices() {
            honest.push(1);
            put_piece(&mut honest, &message);
            honest.extend([3, 4]);
            put_piece(&mut honest, &message);
            honest.extend([5, 3]);
        }
        let mut lie = honest.clone();
        lie.extend([0, 0x10, 0xff, 0xff, 0, 0, 16, 0, 3, 3, 2, 3, 0, 0xff, 0xff, 1, 3, 3]);
        seeds.extend([honest, lie, vec![side, 0, 1, 2, 3], vec![side, 9, 2, 1, 0, 5, 3]]);
    }
    seeds
}
