//! A console's page, which both ends can write at any time.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use board_support_hyp::Shared;
use board_support_pv::console::{back::Back, front::Front};
use board_support_pv::port::Line;
use proto_io::console::{IN, OUT};
use proto_ring::{Index, Words};
use proto_xen::Errno;

use super::input::Input;

/// The page, as either end holds it.
#[derive(Debug, Clone)]
struct Page(Rc<Words>);

impl Shared for Page {
    fn words(&self) -> &Words {
        &self.0
    }
}

/// A port that is raised all the time.
#[derive(Debug)]
struct Restless;

impl Line for Restless {
    fn notify(&self) -> Result<(), Errno> {
        Ok(())
    }

    fn has_peer(&self) -> bool {
        true
    }

    fn poll_look(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// Both ends attach to a page whose indices the input says, and go on while it rewrites them. As long as it
/// does not, each reads what the other wrote.
pub(super) fn ends(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let page = Page(Rc::new(core::array::from_fn(|_| 0.into())));
    // Windows of 1024 and 2048 bytes behind each other, then the indices.
    for index in [IN.cons, IN.prod, OUT.cons, OUT.prod] {
        index.store(page.words(), input.word());
    }
    let (Ok(mut front), Ok(mut back)) =
        (Front::attach(Restless, page.clone()), Back::attach(Restless, page.clone()))
    else {
        return;
    };
    let left = |direction: proto_ring::stream::Direction| {
        let (prod, cons) = (direction.prod.load(page.words()), direction.cons.load(page.words()));
        let there = prod.wrapping_sub(cons);
        assert!(there <= direction.window.size(), "attached to what no ring holds");
        let mut bytes = vec![0; there as usize];
        direction.window.copy_out(page.words(), Index::new(cons), &mut bytes);
        VecDeque::from(bytes)
    };
    let (mut out, mut typed) = (left(OUT), left(IN));
    let mut honest = true;
    let mut room = [0; 4096];
    while !input.is_empty() {
        let step = input.byte();
        let count = usize::from(input.half()) % room.len();
        let text: Vec<u8> = (0..count).map(|at| step ^ at as u8).collect();
        let cx = &mut Context::from_waker(Waker::noop());
        let moved = match step % 7 {
            0 => front.try_write(&text).inspect(|sent| out.extend(&text[..*sent])),
            1 => back.try_write(&text).inspect(|sent| typed.extend(&text[..*sent])),
            2 => back.try_read(&mut room[..count]).inspect(|&got| taken(honest, &mut out, &room[..got])),
            3 => front.try_read(&mut room[..count]).inspect(|&got| taken(honest, &mut typed, &room[..got])),
            // An end that is told to look all the time gives others their turn.
            4 => {
                let polled = core::pin::pin!(back.read(&mut room[..count])).poll(cx);
                match polled {
                    Poll::Ready(got) => got.inspect(|&got| taken(honest, &mut out, &room[..got])),
                    Poll::Pending => Ok(0),
                }
            }
            5 => {
                let index = [IN.cons, IN.prod, OUT.cons, OUT.prod][usize::from(step >> 4) % 4];
                index.store(page.words(), input.word());
                honest = false;
                Ok(0)
            }
            _ => {
                page.words()[count % 1024].store(input.word(), std::sync::atomic::Ordering::Relaxed);
                honest = false;
                Ok(0)
            }
        };
        match moved {
            Ok(moved) => assert!(moved <= count),
            Err(fault) => assert!(!honest, "{fault} among honest ends"),
        }
    }
}

/// What was read is what was written longest ago.
fn taken(honest: bool, written: &mut VecDeque<u8>, read: &[u8]) {
    if honest {
        let expected: Vec<u8> = written.drain(..read.len().min(written.len())).collect();
        assert_eq!(read, expected);
    }
}

/// Ends that talk, from empty rings and from such as wrap; then one that lies.
pub(super) fn schedules() -> Vec<Vec<u8>> {
    let talk: Vec<u8> = (0..90_u8).flat_map(|turn| [turn % 5, turn.wrapping_mul(23), turn % 3]).collect();
    let from = |indices: [u32; 4]| indices.iter().flat_map(|index| index.to_le_bytes()).collect::<Vec<u8>>();
    let lie = [5_u8, 0, 0, 9, 9, 0, 0, 3, 100, 0, 2, 100, 0, 0, 100, 0];
    vec![
        [from([0; 4]), talk.clone()].concat(),
        [from([u32::MAX - 5, 3, u32::MAX - 100, 700]), talk.clone()].concat(),
        [from([0; 4]), talk[..30].to_vec(), lie.to_vec()].concat(),
        from([1, 0, 0, 0]),
    ]
}
