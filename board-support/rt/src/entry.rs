//! From the first Rust instruction to the domain's main function.

use board_support_arch::{
    boot_info::{BootInfo, InterruptController},
    clock, interrupts, layout,
    memory_map::{Kind, MemoryMap, Span},
    physical::Identity,
    start, timer, trap,
};
use board_support_hyp::{EventChannels, HvmParams, Memory, Xen, call, memory::MemoryRange};
use heapless::Vec;
use proto_xen::{DomId, VcpuId, Virq, hvm::param};

use crate::{Boot, Spawner, entropy, event, executor, log, memory, panic, platform, pool, timer::Instant};

unsafe extern "Rust" {
    /// The binary's, written by `domain!`.
    safe fn __sarsen_main(boot: Boot, spawner: Spawner);
}

/// Called by `arch` on the main stack, with interrupts masked and memory as the loader left it.
#[unsafe(no_mangle)]
fn __sarsen_start(argument: u64, began: u64) -> ! {
    trap::set_handlers(&panic::HANDLERS);
    if !call::init() {
        panic!("Xen is not below us");
    }
    log::init();
    let (boot, controller) = memory_up(argument, began);
    events_up(controller);
    executor::run(|spawner| __sarsen_main(boot, spawner))
}

/// Reads what the loader left, and sets up pool, page tables, heap and Xen's pages.
fn memory_up(argument: u64, began: u64) -> (Boot, Option<InterruptController>) {
    // SAFETY:
    // 1. The entry mapped this range.
    // 2. Everything that is read is kept out of the pool below.
    let loader = unsafe { Identity::new(start::reach()) };
    let mut info = match BootInfo::read(&loader, argument) {
        Ok(info) => info,
        Err(error) => panic!("{error}"),
    };
    let (map, low_end) = match info.memory_map.take() {
        Some(map) => (map, 4096),
        // Only dom0 has to ask, and there the first MiB is the firmware's.
        None => (ask_for_map(), 1 << 20),
    };

    let mut taken: Vec<Span, 24> = info.occupied.iter().copied().collect();
    let more = [Span { start: 0, end: low_end }, layout::image()];
    taken.extend_from_slice(&more).expect("16 spans of the start info and two of ours");

    let reach = start::reach().end;
    // SAFETY:
    // 1. The entry mapped all RAM below `reach`; `taken` holds all that the loader and the image use.
    // 2. `memory::init` maps it again, writable.
    // 3. This function is called once.
    if !unsafe { pool::init(&map, &taken, reach) } {
        panic!("no room for the pool in {} KiB of RAM", map.ram_bytes() / 1024);
    }
    // SAFETY:
    // 1. The pool was set up above.
    // 2. The image, the stack and all that the start info names lie in RAM below `reach`.
    // 3. The registers are where Xen says.
    // 4. This function is called once.
    let (map, window) =
        match unsafe { memory::init(map, reach, info.window, &start::registers(info.controller)) } {
            Ok(ready) => ready,
            Err(error) => panic!("{error}"),
        };
    // SAFETY:
    // 1. `memory::init` mapped the range, which lies above all RAM.
    // 2. This function is called once.
    if let Err(errno) = unsafe { platform::init(window) } {
        panic!("Xen refuses its pages at {window:#x}: {errno}");
    }
    entropy::hand_over(info.seed);
    let boot = Boot {
        command_line: info.command_line,
        modules: info.modules,
        memory_map: map,
        rsdp: info.rsdp,
        rtc: info.rtc,
        tpm: info.tpm,
        ecam: info.ecam,
        event_log: info.event_log,
        provisioning: info.provisioning,
        began: Instant::from_nanos(platform::shared_info().map_or(0, |shared| clock::at_ns(shared, began))),
        handoff: info.handoff,
    };
    (boot, info.controller)
}

fn ask_for_map() -> MemoryMap {
    const EMPTY: MemoryRange = MemoryRange { start: 0, length: 0, kind: 0 };
    let mut ranges = [EMPTY; 128];
    let count = match Xen.memory_map(&mut ranges) {
        Ok(count) => count,
        Err(errno) => panic!("Xen refuses the memory map: {errno}"),
    };
    let mut map = MemoryMap::new();
    for range in &ranges[..count] {
        // The map holds more ranges than Xen gives.
        map.add(Span::of(range.start, range.length), Kind::from_e820(range.kind));
    }
    map
}

/// Has events, devices and the timer reach us.
fn events_up(controller: Option<InterruptController>) {
    if let Some(via) = interrupts::CALLBACK_VIA
        && let Err(errno) = Xen.set_param(DomId::SELF, param::CALLBACK_IRQ, via)
    {
        panic!("Xen refuses the upcall vector: {errno}");
    }
    interrupts::enable_controller(controller);
    match timer::VECTOR {
        Some(vector) => interrupts::enable_vector(vector),
        None => {
            let bound = Xen.bind_virq(Virq::TIMER, VcpuId(0)).and_then(|port| {
                event::set_timer_port(port);
                Xen.unmask(port)
            });
            if let Err(errno) = bound {
                panic!("Xen refuses its timer: {errno}");
            }
        }
    }
    interrupts::allow();
}
