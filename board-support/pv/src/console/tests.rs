//! Both ends of a console on a fake Xen.

use super::back::Back;
use super::front::Front;
use crate::fake::{Domain, World, run, world};
use crate::port::BoundPort;
use board_support_hyp::{Access, Grants, Pages, Shared};
use proptest::prelude::*;
use proto_io::console::{IN, Lines, OUT, is_connected, set_disconnected};
use proto_ring::PeerFault;
use proto_xen::{DomId, Gref, Port};
use std::boxed::Box;
use std::cell::RefCell;
use std::string::String;
use std::vec;
use std::vec::Vec;

const DOM0: DomId = DomId(0);
const APP: DomId = DomId(5);
const GREF: Gref = Gref(9);

type FakeLine = BoundPort<Domain, Domain>;

struct Stage {
    world: World,
    page: <Domain as Pages>::Page,
    ports: (Port, Port),
}

impl Stage {
    /// The page as the builder of the guest leaves it, and dom0's way to it. (A grant here; dom0 maps it as
    /// foreign memory.)
    fn new() -> Self {
        let world = world();
        let ports = world.connect(APP, DOM0);
        let app = world.domain(APP);
        let page = Pages::allocate(&app).unwrap();
        app.offer(GREF, DOM0, app.gfn(&page), Access::ReadWrite).unwrap();
        set_disconnected(page.words());
        Self { world, page, ports }
    }

    fn front(&self) -> Front<FakeLine, &<Domain as Pages>::Page> {
        let app = self.world.domain(APP);
        Front::attach(BoundPort::adopt(app.clone(), app, self.ports.0).unwrap(), &self.page).unwrap()
    }

    fn back(&self) -> Back<FakeLine, <Domain as Grants>::Mapped> {
        let dom0 = self.world.domain(DOM0);
        let page = dom0.map(APP, GREF, Access::ReadWrite).unwrap();
        Back::attach(BoundPort::adopt(dom0.clone(), dom0, self.ports.1).unwrap(), page).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.world.domain(APP).end(GREF);
    }
}

#[test]
fn lines_come_out_and_answers_go_in() {
    let stage = Stage::new();
    let (mut front, mut back) = (stage.front(), stage.back());
    assert!(is_connected(stage.page.words()));
    let seen = RefCell::new(Vec::new());
    let left = run(vec![
        Box::pin(async {
            let mut lines = Lines::<80>::new();
            let mut bytes = [0; 64];
            while seen.borrow().len() < 2 {
                let count = back.read(&mut bytes).await.unwrap();
                lines.extend(&bytes[..count], |line| {
                    seen.borrow_mut().push(String::from_utf8(line.bytes.to_vec()).unwrap());
                });
            }
            assert_eq!(back.try_write(b"yes\n"), Ok(4));
        }),
        Box::pin(async {
            front.write_all(b"hello\nready?\n").await.unwrap();
            let mut answer = [0; 16];
            let count = front.read(&mut answer).await.unwrap();
            assert_eq!(&answer[..count], b"yes\n");
        }),
    ]);
    assert_eq!(left, 0);
    assert_eq!(*seen.borrow(), ["hello", "ready?"]);
}

#[test]
fn more_than_the_page_holds_waits_for_the_reader() {
    let stage = Stage::new();
    let (mut front, mut back) = (stage.front(), stage.back());
    let text: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let got = RefCell::new(Vec::new());
    let left = run(vec![
        Box::pin(async { front.write_all(&text).await.unwrap() }),
        Box::pin(async {
            let mut bytes = [0; 777];
            while got.borrow().len() < text.len() {
                let count = back.read(&mut bytes).await.unwrap();
                got.borrow_mut().extend_from_slice(&bytes[..count]);
            }
        }),
    ]);
    assert_eq!(left, 0);
    assert!(*got.borrow() == text);
}

#[test]
fn guest_that_does_not_read_holds_nobody_up() {
    let stage = Stage::new();
    let mut back = stage.back();
    assert_eq!(back.try_write(&[b'x'; 5000]), Ok(1024));
    assert_eq!(back.try_write(b"y"), Ok(0));
}

#[test]
fn output_of_a_guest_that_is_gone_can_still_be_read() {
    let stage = Stage::new();
    let mut front = stage.front();
    assert_eq!(front.try_write(b"panic"), Ok(5));
    drop(front);
    let mut back = stage.back();
    let mut bytes = [0; 16];
    assert_eq!(back.try_read(&mut bytes), Ok(5));
    assert_eq!(&bytes[..5], b"panic");
}

#[test]
fn hostile_guest_is_a_fault_and_no_more() {
    let rows: [(&str, u32, u32, u32, u32); 3] = [
        ("producer ahead", 2049, 0, 0, 0),
        ("producer moved back", u32::MAX, 0, 0, 0),
        ("reader ahead of what was typed", 0, 0, 0, 9),
    ];
    for (name, out_prod, out_cons, in_prod, in_cons) in rows {
        let stage = Stage::new();
        let mut back = stage.back();
        let words = stage.page.words();
        OUT.prod.store(words, out_prod);
        OUT.cons.store(words, out_cons);
        IN.prod.store(words, in_prod);
        IN.cons.store(words, in_cons);
        let fault = back.try_read(&mut [0; 8]).and_then(|_| back.try_write(b"x"));
        assert!(
            matches!(fault, Err(PeerFault::ProducerOutOfRange { .. } | PeerFault::ConsumerOutOfRange { .. })),
            "{name}: {fault:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random chunk sizes and spurious events: everything arrives, nobody sleeps for ever.
    #[test]
    fn random_schedules(
        writes in prop::collection::vec((1..3000_usize, any::<bool>()), 1..20),
        chunk in 1..3000_usize,
    ) {
        let stage = Stage::new();
        let (mut front, mut back) = (stage.front(), stage.back());
        let total: usize = writes.iter().map(|write| write.0).sum();
        let left = run(vec![
            Box::pin(async {
                let mut next = 0_usize;
                for &(count, spurious) in &writes {
                    let bytes: Vec<u8> = (next..next + count).map(|n| n as u8).collect();
                    front.write_all(&bytes).await.unwrap();
                    next += count;
                    if spurious { stage.world.raise(DOM0, stage.ports.1); stage.world.raise(APP, stage.ports.0); }
                }
            }),
            Box::pin(async {
                let mut bytes = vec![0; chunk];
                let mut next = 0_usize;
                while next < total {
                    let count = back.read(&mut bytes).await.unwrap();
                    for &byte in &bytes[..count] { assert_eq!(byte, next as u8); next += 1; }
                }
            }),
        ]);
        prop_assert_eq!(left, 0);
    }
}
