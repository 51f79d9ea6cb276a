//! The rings of a vif: what their slots must not say, and where their producers must not stand.

use alloc::{format, vec::Vec};
use core::{
    future::poll_fn,
    sync::atomic::Ordering::{Relaxed, Release},
    time::Duration,
};

use board_support_hyp::{Access, Shared, Xen};
use board_support_pv::{
    grant::{GrantedPage, Park},
    port::{BoundPort, Line},
};
use board_support_rt::{Domain, pool::Page, timer};
use proto_io::netif::{
    RX_SLOT, Status, TX_SLOT,
    extra::{Extra, ExtraType},
    rx::{RxRequest, RxResponse},
    tx::{TxFlags, TxRequest, TxResponse},
};
use proto_ring::{
    Index,
    front::Front,
    page::{PAGE_BYTES, Window},
};
use proto_xen::{DomId, Gref};

use super::{
    PATIENCE, Verdict, case, flood,
    net::{Asked, MAC, Net},
    ping,
    state::State,
};

type Granted = GrantedPage<'static, Xen, Page>;

const PAGE: Window = Window::at(0, PAGE_BYTES as u32);
/// The word of a ring that holds `req_prod`. Source: `io/ring.h`.
const REQ_PROD: usize = 0;
/// Pages for frames to us.
const BUFFERS: u16 = 8;
/// How long one echo is waited for.
const ECHO: Duration = Duration::from_secs(1);

/// The guest's end of a vif.
pub(super) struct Vif {
    line: BoundPort<Xen, Domain>,
    tx: Front<TX_SLOT>,
    tx_page: Granted,
    rx: Front<RX_SLOT>,
    rx_page: Granted,
    /// What goes out.
    frame: Granted,
    buffers: Vec<Granted>,
    /// A page that net may not read.
    foreign: Gref,
    address: [u8; 4],
    gateway: [u8; 4],
    echoes: u8,
    /// Buffers that came back with an error.
    bad_buffers: u16,
}

impl Vif {
    pub(super) fn new(net: DomId, park: &'static Park<Page>) -> Verdict<Self> {
        let page =
            |access| Granted::offer(Xen, &Domain, park, net, access).map_err(|error| format!("{error}"));
        let line = BoundPort::allocate(Xen, Domain, net).map_err(|error| format!("{error}"))?;
        let (tx_page, rx_page) = (page(Access::ReadWrite)?, page(Access::ReadWrite)?);
        let (tx, rx) = (Front::initialise(tx_page.words()), Front::initialise(rx_page.words()));
        let buffers = (0..BUFFERS).map(|_| page(Access::ReadWrite)).collect::<Verdict<_>>()?;
        let frame = page(Access::ReadOnly)?;
        Ok(Self {
            line,
            tx,
            tx_page,
            rx,
            rx_page,
            frame,
            buffers,
            foreign: Gref(u32::MAX),
            address: [0; 4],
            gateway: [0; 4],
            echoes: 0,
            bad_buffers: 0,
        })
    }

    /// What net has to be told of it.
    pub(super) fn request(&self) -> Asked {
        let (tx_gref, rx_gref) = (self.tx_page.gref().0, self.rx_page.gref().0);
        Asked { tx_gref, rx_gref, port: self.line.port().0, mac: MAC }
    }

    /// With our address behind net, and whom to reach beyond it.
    pub(super) fn with(self, address: [u8; 4], gateway: [u8; 4]) -> Self {
        let mut vif = Self { address, gateway, ..self };
        (0..BUFFERS).for_each(|id| vif.post(id));
        vif
    }

    /// Whether an echo comes back from beyond net's card.
    pub(super) async fn reaches_beyond(&mut self) -> Verdict {
        for _ in 0..PATIENCE.as_secs() {
            self.echoes = self.echoes.wrapping_add(1);
            let number = self.echoes;
            let request = ping::request(MAC, self.address, self.gateway, number);
            PAGE.copy_in(self.frame.words(), Index::new(0), &request);
            let size = request.len() as u16;
            self.send(&[self.slot(|slot| slot.size = size)]);
            if timer::with_timeout(ECHO, self.echo(number)).await.is_ok() {
                return Ok(());
            }
        }
        Err("no echo from beyond net".into())
    }

    /// Ready once the echo of this number is there. Takes whatever else comes.
    async fn echo(&mut self, number: u8) {
        loop {
            let mut slot = [0; RX_SLOT];
            while let Ok(Some(_)) = self.rx.take(self.rx_page.words(), &mut slot) {
                let RxResponse { id, outcome, .. } = RxResponse::parse(&slot);
                self.bad_buffers += u16::from(outcome.is_err());
                let Some(buffer) = self.buffers.get(usize::from(id)) else { continue };
                let mut frame = [0; 64];
                PAGE.copy_out(buffer.words(), Index::new(0), &mut frame);
                self.post(id);
                if outcome.is_ok() && ping::answers(&frame, number) {
                    return;
                }
            }
            let mut slot = [0; TX_SLOT];
            while let Ok(Some(_)) = self.tx.take(self.tx_page.words(), &mut slot) {}
            if self.rx.await_response(self.rx_page.words()) != Ok(true) {
                poll_fn(|context| self.line.poll_look(context)).await;
            }
        }
    }

    /// Gives a buffer to net, if there is room.
    fn post(&mut self, id: u16) {
        let Some(buffer) = self.buffers.get(usize::from(id)) else { return };
        let request = RxRequest { id, gref: buffer.gref() };
        // A ring that is full has buffers enough.
        let _ = self.rx.put(self.rx_page.words(), &request.emit());
        let _ = self.rx.push(self.rx_page.words());
        let _ = self.line.notify();
    }

    /// A slot that sends the frame, but for what is changed.
    fn slot(&self, change: impl FnOnce(&mut TxRequest)) -> [u8; TX_SLOT] {
        let mut request =
            TxRequest { gref: self.frame.gref(), offset: 0, flags: TxFlags::empty(), id: 7, size: 64 };
        change(&mut request);
        request.emit()
    }

    fn send(&mut self, slots: &[[u8; TX_SLOT]]) {
        for slot in slots {
            let _ = self.tx.put(self.tx_page.words(), slot);
        }
        let _ = self.tx.push(self.tx_page.words());
        let _ = self.line.notify();
    }

    /// Sends slots, and returns what net answers to each.
    async fn answered(&mut self, slots: &[[u8; TX_SLOT]]) -> Verdict<Vec<Status>> {
        let mut slot = [0; TX_SLOT];
        while let Ok(Some(_)) = self.tx.take(self.tx_page.words(), &mut slot) {}
        self.send(slots);
        let answered = async {
            let mut statuses = Vec::new();
            while statuses.len() < slots.len() {
                match self.tx.take(self.tx_page.words(), &mut slot) {
                    Ok(Some(_)) => statuses.push(TxResponse::parse(&slot).status),
                    Ok(None) => {
                        let _ = self.tx.await_response(self.tx_page.words());
                        timer::sleep(Duration::from_millis(1)).await;
                    }
                    Err(fault) => return Err(format!("{fault}")),
                }
            }
            Ok(statuses)
        };
        timer::with_timeout(PATIENCE, answered).await.unwrap_or_else(|_| Err("no answer".into()))
    }

    /// Moves the producer of a ring, without a slot to show for it.
    fn shift(&self, page: &Granted, by: i32) {
        let word = &page.words()[REQ_PROD];
        word.store(word.load(Relaxed).wrapping_add_signed(by), Release);
        let _ = self.line.notify();
    }
}

/// What a case writes.
type Slots = fn(&Vif) -> Vec<[u8; TX_SLOT]>;
/// What a case does.
type Lie = fn(&mut Vif);

/// Packets that net refuses, and the vif goes on.
const REFUSED: &[(&str, Slots)] = &[
    ("page_that_is_not_granted", |vif| [vif.slot(|it| it.gref = Gref(511))].into()),
    ("page_outside_of_the_table", |vif| [vif.slot(|it| it.gref = Gref(u32::MAX))].into()),
    ("page_that_is_granted_to_another", |vif| [vif.slot(|it| it.gref = vif.foreign)].into()),
    ("offset_past_the_page", |vif| [vif.slot(|it| it.offset = 4096)].into()),
    ("piece_over_the_end_of_the_page", |vif| [vif.slot(|it| it.offset = 4096 - 63)].into()),
    ("length_beyond_the_page", |vif| [vif.slot(|it| it.size = u16::MAX)].into()),
    ("length_of_nothing", |vif| [vif.slot(|it| it.size = 0)].into()),
    ("length_of_half_a_header", |vif| [vif.slot(|it| it.size = 13)].into()),
    ("pieces_longer_than_the_whole", |vif| {
        [vif.slot(|it| it.flags = TxFlags::MORE_DATA), vif.slot(|it| it.size = 65)].into()
    }),
    ("first_piece_of_nothing", |vif| [vif.slot(|it| it.flags = TxFlags::MORE_DATA), vif.slot(|_| ())].into()),
    ("second_page_that_is_not_granted", |vif| {
        [vif.slot(|it| it.flags = TxFlags::MORE_DATA), vif.slot(|it| (it.size, it.gref) = (32, Gref(511)))]
            .into()
    }),
    ("segments_that_nobody_offered", |vif| {
        [vif.slot(|it| it.flags = TxFlags::EXTRA_INFO), extra(GSO, false)].into()
    }),
    ("extra_that_nobody_knows", |vif| {
        [vif.slot(|it| it.flags = TxFlags::EXTRA_INFO), extra(Extra::Unknown(ExtraType(200)), false)].into()
    }),
];

const GSO: Extra = Extra::Gso { size: 1, protocol: 1, features: 0 };

fn extra(extra: Extra, more: bool) -> [u8; TX_SLOT] {
    let mut slot = [0xff; TX_SLOT];
    let head = extra.emit(more);
    slot[..head.len()].copy_from_slice(&head);
    slot
}

/// What ends a vif.
const CLOSED: &[(&str, Lie)] = &[
    ("tx_producer_runs_ahead", |vif| vif.shift(&vif.tx_page, 1000)),
    ("tx_producer_goes_back", |vif| vif.shift(&vif.tx_page, -1)),
    ("packet_without_an_end", |vif| {
        let slot = vif.slot(|it| (it.flags, it.size) = (TxFlags::MORE_DATA, 1));
        vif.send(&[slot; 30]);
    }),
    ("extras_without_an_end", |vif| {
        let first = vif.slot(|it| it.flags = TxFlags::EXTRA_INFO);
        vif.send(&[[first].as_slice(), &[extra(GSO, true); 30]].concat());
    }),
    ("rx_producer_runs_ahead", |vif| {
        vif.shift(&vif.rx_page, 1000);
        vif.ask_for_an_echo();
    }),
    ("rx_producer_goes_back", |vif| {
        vif.shift(&vif.rx_page, -1000);
        vif.ask_for_an_echo();
    }),
];

impl Vif {
    /// Has net send something to us.
    fn ask_for_an_echo(&mut self) {
        let request = ping::request(MAC, self.address, self.gateway, 0);
        PAGE.copy_in(self.frame.words(), Index::new(0), &request);
        let size = request.len() as u16;
        self.send(&[self.slot(|slot| slot.size = size)]);
    }
}

/// Tries every row. Each ends with a vif that reaches beyond net: the one that it began with, or another.
pub(super) async fn try_all(net: &mut Net, vif: Vif, state: &mut State) -> Option<Vif> {
    let mut vif = Vif { foreign: net.foreign(), ..vif };
    let second = offered_twice(net).await;
    case(state, "vif_is_offered_twice", second).await;
    for (name, slots) in REFUSED {
        let slots = slots(&vif);
        let verdict = refused(&mut vif, &slots).await;
        case(state, name, verdict).await;
    }
    let verdict = bad_buffers(&mut vif).await;
    case(state, "buffers_that_are_not_granted", verdict).await;
    flood(|| {
        let _ = vif.line.notify();
    })
    .await;
    let verdict = vif.reaches_beyond().await;
    case(state, "vif_works_after_a_flood_of_events", verdict).await;
    for (name, lie) in CLOSED {
        lie(&mut vif);
        match net.working().await {
            Ok(next) => {
                vif = next;
                case(state, name, Ok(())).await;
            }
            Err(why) => {
                case(state, name, Err(why)).await;
                return None;
            }
        }
    }
    Some(vif)
}

async fn offered_twice(net: &mut Net) -> Verdict {
    use proto_svc::network::{ToControl, VifRefusal};
    let second = Vif::new(net.id, net.park)?;
    match net.ask(&second.request().message()).await? {
        ToControl::VifRefused(VifRefusal::Busy) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// All slots are answered, none as done, and the vif goes on.
async fn refused(vif: &mut Vif, slots: &[[u8; TX_SLOT]]) -> Verdict {
    let statuses = vif.answered(slots).await?;
    if statuses.contains(&Status::OKAY) || !statuses.contains(&Status::ERROR) {
        return Err(format!("{statuses:?}"));
    }
    vif.reaches_beyond().await
}

/// Frames find their way in spite of buffers that cannot be written, which come back.
async fn bad_buffers(vif: &mut Vif) -> Verdict {
    let bad = [Gref(511), Gref(u32::MAX), vif.foreign, vif.frame.gref()];
    for gref in bad {
        let request = RxRequest { id: u16::MAX, gref };
        let _ = vif.rx.put(vif.rx_page.words(), &request.emit());
    }
    let _ = vif.rx.push(vif.rx_page.words());
    let _ = vif.line.notify();
    // The good buffers that stand ahead of them are used up first.
    for _ in 0..2 * BUFFERS {
        vif.reaches_beyond().await?;
    }
    let came_back = usize::from(vif.bad_buffers);
    if came_back == bad.len() { Ok(()) } else { Err(format!("{came_back} of them came back")) }
}
