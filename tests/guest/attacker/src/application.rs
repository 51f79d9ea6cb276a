//! The attacker as an application.

use core::time::Duration;

use alloc::{format, string::String, vec::Vec};
use board_support_hyp::{EventChannels, Populate, Xen};
use board_support_rt::timer;
use proto_xen::{DomId, Errno, Gfn};

use crate::{
    console::Console,
    table::{AGAINST_EACH, FOR_OURSELVES},
};

/// Numbers of domains that are looked at.
const MAX_DOMAINS: u16 = 16;
/// Pages above our own that Xen may let us have: rounding of what dom0 allowed.
const SLACK_PAGES: usize = 512;

struct Attacker {
    console: Console,
    ok: u32,
    failed: u32,
}

/// Tries everything, then makes a nuisance of itself for ever.
pub(crate) async fn run() {
    let Some(console) = Console::open() else {
        log::error!("FAIL console: there is none");
        return;
    };
    let mut attacker = Attacker { console, ok: 0, failed: 0 };
    let (us, victims) = attacker.find_victims().await;
    for row in AGAINST_EACH {
        let wrong = victims.iter().find_map(|&victim| row.wrong(victim));
        attacker.case(row.name, wrong).await;
    }
    for row in FOR_OURSELVES {
        attacker.case(row.name, row.wrong(us)).await;
    }
    attacker.case("hoard_memory", hoard()).await;
    #[cfg(target_arch = "x86_64")]
    attacker.case("registers_of_devices", registers()).await;
    let Attacker { ok, failed, .. } = attacker;
    attacker.console.say(format_args!("attacker: {ok} ok, {failed} failed")).await;
    // Lines that are on their way arrive before the flood.
    timer::sleep(Duration::from_secs(2)).await;
    attacker.console.flood(Duration::from_secs(3)).await;
    // dom0 reads what was honest first.
    timer::sleep(Duration::from_secs(2)).await;
    attacker.console.lie();
    loop {
        attacker.console.ring_the_bell(100);
        timer::sleep(Duration::from_millis(5)).await;
    }
}

impl Attacker {
    async fn case(&mut self, name: &str, wrong: Option<String>) {
        match wrong {
            None => {
                self.ok += 1;
                self.console.say(format_args!("ok {name}")).await;
            }
            Some(why) => {
                self.failed += 1;
                self.console.say(format_args!("FAIL {name}: {why}")).await;
            }
        }
    }

    /// Who else is there: Xen says `EPERM` of those that are, and `ESRCH` of the others. Only our own number
    /// may have a port allocated.
    async fn find_victims(&mut self) -> (DomId, Vec<DomId>) {
        let mut victims = Vec::new();
        let mut ourselves = Vec::new();
        for id in (0..MAX_DOMAINS).map(DomId) {
            match Xen.alloc_unbound(id, DomId::DOM0) {
                Ok(port) => {
                    ourselves.push(id);
                    let _ = Xen.close(port);
                }
                Err(Errno::EPERM) => victims.push(id),
                Err(_) => {}
            }
        }
        let wrong = (ourselves.len() != 1 || victims.len() < 4)
            .then(|| format!("{ourselves:?} took our port, and {victims:?} refused it"));
        self.case("others_are_there", wrong).await;
        (ourselves.first().copied().unwrap_or(DomId::SELF), victims)
    }
}

/// Takes memory until Xen says no: far from everything that we use.
fn hoard() -> Option<String> {
    const FIRST: u64 = 0x40_0000;
    let mut taken = 0;
    while taken < 16 * SLACK_PAGES {
        match Xen.populate(DomId::SELF, &[Gfn(FIRST + taken as u64)], 0) {
            Ok(1) => taken += 1,
            _ => break,
        }
    }
    (taken > SLACK_PAGES).then(|| format!("{taken} pages more than we were given"))
}

/// Registers of devices that nobody gave us read as if there were none.
#[cfg(target_arch = "x86_64")]
fn registers() -> Option<String> {
    use board_support_rt::memory::device_memory;
    use core::sync::atomic::Ordering::Relaxed;
    use proto_xen::Gaddr;

    // TPM, chipset, ECAM, the network card's usual place.
    for at in [0xfed4_0000, 0xfed1_f000, 0xb000_0000, 0xfeb8_0000] {
        let Some(words) = device_memory(Gaddr(at), 4096) else { continue };
        let word = words.words()[0].load(Relaxed);
        if word != u32::MAX {
            return Some(format!("{at:#x} holds {word:#x}"));
        }
    }
    None
}
