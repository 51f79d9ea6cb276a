//! GICv3, as Xen emulates it: one distributor, our redistributor, the CPU interface by system
//! registers. Source: Arm IHI 0069.

use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::system;
use crate::boot_info::InterruptController;

static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);
static REDISTRIBUTOR: AtomicU64 = AtomicU64::new(0);
static UPCALL: AtomicU32 = AtomicU32::new(u32::MAX);

/// Offsets, in bytes.
const CTLR: u64 = 0;
const WAKER: u64 = 0x14;
const IGROUPR: u64 = 0x80;
const ISENABLER: u64 = 0x100;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const IROUTER: u64 = 0x6000;
/// Second frame of a redistributor: its private interrupts.
const SGI_FRAME: u64 = 0x1_0000;

/// Affinity routing, group 1.
const ENABLE: u32 = 1 << 4 | 1 << 1;
const PROCESSOR_SLEEP: u32 = 1 << 1;
/// Interrupts below belong to the processor.
const FIRST_SHARED: u32 = 32;
/// In the middle: below the mask, above nothing.
const PRIORITY: u32 = 0x80;

/// Switches distributor, redistributor and CPU interface on. All interrupts stay disabled.
pub(super) fn init(controller: InterruptController) {
    DISTRIBUTOR.store(controller.distributor.start, Relaxed);
    REDISTRIBUTOR.store(controller.redistributors.start, Relaxed);
    UPCALL.store(controller.upcall, Release);
    // System registers instead of memory for the CPU interface: ICC_SRE_EL1.
    system::write!("S3_0_C12_C12_5", 7);
    distributor(CTLR).store(ENABLE, Relaxed);
    let waker = redistributor(WAKER);
    waker.store(waker.load(Relaxed) & !PROCESSOR_SLEEP, Relaxed);
    // Every priority passes, no end-of-interrupt split, group 1 on: ICC_PMR, ICC_BPR1, ICC_IGRPEN1.
    system::write!("S3_0_C4_C6_0", 0xff);
    system::write!("S3_0_C12_C12_3", 0);
    system::write!("S3_0_C12_C12_7", 1);
}

/// Lets interrupt `id` through to this processor. A shared one is taken to be edge-triggered, as those of
/// virtio transports are.
pub(super) fn enable(id: u32) {
    let (word, bit) = (u64::from(id / 32) * 4, 1 << (id % 32));
    let (priority, shift) = (u64::from(id & !3), (id & 3) * 8);
    if id < FIRST_SHARED {
        let group = redistributor(SGI_FRAME + IGROUPR);
        group.store(group.load(Relaxed) | bit, Relaxed);
        set_priority(redistributor(SGI_FRAME + IPRIORITYR + priority), shift);
        redistributor(SGI_FRAME + ISENABLER).store(bit, Release);
    } else {
        let group = distributor(IGROUPR + word);
        group.store(group.load(Relaxed) | bit, Relaxed);
        set_priority(distributor(IPRIORITYR + priority), shift);
        // Two bits for each: edge-triggered, as our devices are.
        let trigger = distributor(ICFGR + u64::from(id / 16) * 4);
        trigger.store(trigger.load(Relaxed) | 0b10 << (id % 16 * 2), Relaxed);
        // To the processor with affinity 0: ours.
        distributor(IROUTER + u64::from(id) * 8).store(0, Relaxed);
        distributor(IROUTER + u64::from(id) * 8 + 4).store(0, Relaxed);
        distributor(ISENABLER + word).store(bit, Release);
    }
}

fn set_priority(word: &AtomicU32, shift: u32) {
    word.store(word.load(Relaxed) & !(0xff << shift) | PRIORITY << shift, Relaxed);
}

/// The interrupt that is to be served now: ICC_IAR1.
pub(super) fn acknowledge() -> u32 {
    // Reading it moves the interrupt from pending to active; that is its purpose.
    system::read!("S3_0_C12_C12_0") as u32 & 0xff_ffff
}

/// Ends interrupt `id`: ICC_EOIR1.
pub(super) fn end(id: u32) {
    // The number that was acknowledged.
    system::write!("S3_0_C12_C12_1", u64::from(id));
}

/// The event upcall's number.
pub(super) fn upcall() -> u32 {
    UPCALL.load(Acquire)
}

fn distributor(offset: u64) -> &'static AtomicU32 {
    register(DISTRIBUTOR.load(Relaxed), offset)
}

fn redistributor(offset: u64) -> &'static AtomicU32 {
    register(REDISTRIBUTOR.load(Relaxed), offset)
}

fn register(base: u64, offset: u64) -> &'static AtomicU32 {
    let at = core::ptr::with_exposed_provenance::<AtomicU32>((base + offset) as usize);
    // SAFETY:
    // 1. `rt` mapped the registers for ever before it called `init`, at addresses from Xen's device
    //    tree or public headers; offsets are the constants above, with numbers below 1020.
    // 2. Atomics of 32 bits allow for changes by the controller.
    unsafe { &*at }
}
