//! Interrupts of devices that are the domain's own.

use core::{
    cell::RefCell,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use board_support_arch::interrupts;
use critical_section::Mutex;

use crate::{executor, timer};

struct Slot {
    marked: bool,
    waker: Option<Waker>,
}

static SLOTS: Mutex<RefCell<[Slot; interrupts::VECTORS]>> =
    Mutex::new(RefCell::new([const { Slot { marked: false, waker: None } }; interrupts::VECTORS]));

/// Waits until the device raises `vector` (arm: the INTID). What it wants is read from the device.
pub async fn wait(vector: u32) {
    poll_fn(|context| poll(vector, context)).await;
}

/// Ready once if `vector` came since the last time. The last waker counts.
///
/// # Panics
/// If there is no such vector: it comes from the wiring, which the binary checks.
pub fn poll(vector: u32, context: &mut Context<'_>) -> Poll<()> {
    let (ready, first) = critical_section::with(|section| {
        let mut slots = SLOTS.borrow_ref_mut(section);
        let slot = slots.get_mut(vector as usize).expect("vectors come from the wiring");
        if core::mem::take(&mut slot.marked) {
            return (true, false);
        }
        match &mut slot.waker {
            Some(waker) => {
                waker.clone_from(context.waker());
                (false, false)
            }
            none => {
                *none = Some(context.waker().clone());
                (false, true)
            }
        }
    });
    if first {
        interrupts::enable_vector(vector);
    }
    if ready { Poll::Ready(()) } else { Poll::Pending }
}

/// A device's interrupt.
pub(crate) fn arrived(vector: u32) {
    if Some(vector) == board_support_arch::timer::VECTOR {
        timer::fired();
        executor::pend();
        return;
    }
    critical_section::with(|section| {
        let mut slots = SLOTS.borrow_ref_mut(section);
        if let Some(slot) = slots.get_mut(vector as usize) {
            slot.marked = true;
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
    });
    executor::pend();
}
