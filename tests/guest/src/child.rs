//! What needs a domain of its own, the child's side.

use core::{fmt::Write, hint::black_box, time::Duration};

use alloc::{format, vec::Vec};
use board_support_hyp::{EventChannels, HvmParams, Xen};
use board_support_pv::{console::front::Front, port::BoundPort};
use board_support_rt::{
    Boot, Domain, Reason, entropy,
    memory::{self, SpecialPage},
    prove, shutdown, timer,
};
use proto_xen::{DomId, Errno, Gfn, Port, VcpuId, Virq, hvm::param};

use crate::second;

/// Does what the command line says.
pub(crate) async fn run(boot: &Boot) {
    let case = boot.option("case").unwrap_or_default();
    let mut console = Console::open();
    console.say(format_args!("begin {case}")).await;
    match case {
        "shutdown_poweroff" => shutdown(Reason::POWEROFF),
        "shutdown_reboot" => shutdown(Reason::REBOOT),
        "shutdown_crash" => shutdown(Reason::CRASH),
        "shutdown_watchdog" => shutdown(Reason::WATCHDOG),
        "shutdown_other" => shutdown(Reason(77)),
        "panic" => panic!("as ordered"),
        "write_to_code" => prove::write_to_code(),
        "write_to_constants" => prove::write_to_constants(),
        "write_to_guard" => prove::write_to_guard(),
        "read_null" => prove::read_null(),
        "execute_data" => prove::execute_data(),
        "stack_overflow" => drop(black_box(descend(black_box(u64::MAX)))),
        "heap_exhausted" => exhaust(),
        "spin" => spin(),
        "memory" => report(&mut console, format_args!("{}", boot.memory_map().ram_bytes())).await,
        "vcpus" => report(&mut console, format_args!("{}", vcpus())).await,
        "second_vcpu" => match second::check().await {
            Ok(()) => report(&mut console, format_args!("it came and went")).await,
            Err(why) => report(&mut console, format_args!("{why}")).await,
        },
        "console" => report(&mut console, format_args!("it answers")).await,
        "entropy" => {
            let mut bytes = [0; 32];
            entropy::fill(&mut bytes);
            let text = bytes.iter().fold(alloc::string::String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            report(&mut console, format_args!("{text}")).await;
        }
        other => console.say(format_args!("no such case: {other}")).await,
    }
    console.say(format_args!("survived {case}")).await;
    shutdown(Reason::POWEROFF);
}

async fn report(console: &mut Console, what: core::fmt::Arguments<'_>) {
    console.say(format_args!("report {what}")).await;
    shutdown(Reason::POWEROFF);
}

/// How many vCPUs Xen has given us: for others there is no timer.
fn vcpus() -> usize {
    let has = |vcpu| Xen.bind_virq(Virq::TIMER, VcpuId(vcpu)).map(drop) != Err(Errno::ENOENT);
    (0..8).take_while(|&vcpu| has(vcpu)).count()
}

/// Uses stack without end.
#[expect(unconditional_recursion, reason = "the page below the stack ends it")]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    descend(depth - 1) + frame[3]
}

/// Uses memory without end.
fn exhaust() {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        blocks.push(alloc::vec![1; 65536]);
    }
}

fn spin() {
    loop {
        core::hint::spin_loop();
    }
}

/// The console that the builder gave. Text that nobody takes is dropped.
struct Console(Option<Front<BoundPort<Xen, Domain>, SpecialPage>>);

impl Console {
    fn open() -> Self {
        let parameter = |index| Xen.param(DomId::SELF, index).ok().filter(|value| *value != 0);
        let open = || {
            let frame = Gfn(parameter(param::CONSOLE_PFN)?);
            let port = Port(u32::try_from(parameter(param::CONSOLE_EVTCHN)?).ok()?);
            let page = memory::special_page(frame.base())?;
            Front::attach(BoundPort::adopt(Xen, Domain, port).ok()?, page).ok()
        };
        Self(open())
    }

    async fn say(&mut self, text: core::fmt::Arguments<'_>) {
        let Some(ring) = &mut self.0 else { return };
        let line = format!("{text}\n");
        let _ = timer::with_timeout(Duration::from_secs(5), ring.write_all(line.as_bytes())).await;
    }
}
