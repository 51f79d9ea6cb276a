//! The end of the domain: wanted, by a panic, or by a fault.

use core::{
    fmt::{self, Write},
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use board_support_arch::{
    backtrace::Backtrace,
    interrupts, power,
    trap::{Fault, Handlers},
};
use board_support_hyp::{Sched, Shared, Xen};
use proto_errors::rt;
use proto_xen::{Gaddr, sched::ShutdownReason};

use crate::{critical, epitaph, log::Lines, memory, once::Once};

/// Most addresses of a backtrace.
const MAX_FRAMES: usize = 48;

static PAGE: Once<memory::SpecialPage> = Once::new();
static ENDING: AtomicBool = AtomicBool::new(false);

/// Who is told of traps.
pub(crate) static HANDLERS: Handlers = Handlers { upcall: critical::upcall, vector: critical::vector, fault };

/// Says where the last words go: the page that the wiring names. `false` if it is no special page,
/// or was said before.
pub fn set_epitaph(address: u64) -> bool {
    memory::special_page(Gaddr(address)).is_some_and(|page| PAGE.set(page).is_ok())
}

/// Ends the domain; for dom0, the machine.
pub fn shutdown(reason: ShutdownReason) -> ! {
    interrupts::mask();
    let errno = Xen.shutdown(reason);
    // The console takes whatever it can.
    let _ = writeln!(Lines::new(), "Xen refuses to shut down: {errno}");
    loop {
        power::halt_for_ever();
    }
}

/// Ends the domain as crashed, with these last words; who reads the console was told already.
pub fn give_up(words: fmt::Arguments<'_>) -> ! {
    interrupts::mask();
    leave(|out| out.write_fmt(words));
    shutdown(ShutdownReason::CRASH)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    last_words(|out| {
        match info.location() {
            Some(at) => {
                writeln!(out, "PANIC at {}:{}: {} [{}]", at.file(), at.line(), info.message(), rt::PANIC)?
            }
            None => writeln!(out, "PANIC: {} [{}]", info.message(), rt::PANIC)?,
        }
        backtrace(out, Backtrace::from_frame(power::frame_pointer()))
    })
}

fn fault(fault: &Fault<'_>) -> ! {
    last_words(|out| {
        writeln!(out, "FAULT {}: {} [{}]", fault.name, fault.detail, rt::FAULT)?;
        writeln!(out, "{}", fault.registers)?;
        writeln!(out, "bt: {:#x}", fault.registers.instruction())?;
        backtrace(out, Backtrace::from_frame(fault.registers.frame()))
    })
}

fn backtrace(out: &mut dyn Write, frames: Backtrace) -> fmt::Result {
    for address in frames.take(MAX_FRAMES) {
        writeln!(out, "bt: {address:#x}")?;
    }
    Ok(())
}

/// Writes the last words where dom0 reads them; dom0's own are to outlive a reset.
fn leave(tell: impl Fn(&mut dyn Write) -> fmt::Result) {
    if let Some(page) = PAGE.get() {
        let mut writer = epitaph::Writer::new(page.words());
        // What does not fit is left out.
        let _ = tell(&mut writer);
        writer.publish();
        page.write_back();
    }
}

/// Writes the last words, first where dom0 reads them, then to the console, and ends.
fn last_words(tell: impl Fn(&mut dyn Write) -> fmt::Result) -> ! {
    interrupts::mask();
    // A fault while telling, as by a broken `Display`: what was told has to do.
    if !ENDING.swap(true, Ordering::Relaxed) {
        // The order is from the safe to the doubtful: a console line may fault in `tell` no less
        // than the page, but the page is what outlives us.
        leave(&tell);
        let _ = tell(&mut Lines::new());
    }
    shutdown(ShutdownReason::CRASH)
}
