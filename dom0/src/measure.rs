//! Measurements on a running system, in their order:
//! `measure=pause:SECONDS+idle:SECONDS+channel:NAME:COUNT+create:NAME:MIB:COUNT` on dom0's command line.
//!
//! - `pause`: lets pass what comes after a start;
//! - `idle`: how often dom0 and each service wakes, and what each domain takes of the CPU. dom0 wakes
//!   once a second to look at the services, none of which it wakes;
//! - `channel`: from a message to service NAME to its answer, and bytes of the largest messages that it
//!   sends as fast as it can, COUNT of each;
//! - `create`: from nothing until it may run, and until its first instruction, COUNT times, for a domain of
//!   MIB MiB from `images/NAME` of the archive, which tells when that was.
//!
//! What comes of it are lines `measure WHAT N UNIT`, and `measurements: done` at the end.

use alloc::{format, rc::Rc, string::String, vec::Vec};
use core::{fmt::Display, time::Duration};

use board_support_hyp::Domctl;
use board_support_pv::console::back::Back;
use board_support_rt::{
    executor,
    timer::{Elapsed, Instant, now, sleep, with_deadline},
};
use dom0_shell::gauge::Gauge;
use dom0_supervisor::ServiceId;
use dom0_toolstack::{
    application::{Application, Order},
    watch,
};
use proto_svc::supervision::{MAX_FILLER, Probe, ToService};
use proto_xen::{DomId, PAGE_SIZE};

use crate::device::{Ground, Line, Page, XEN};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Into so many parts a long row is divided: each is one sample.
const PARTS: u32 = 5;
/// Our pings have numbers from here on, which the supervisor does not come to.
const FIRST_PING: u32 = 1 << 31;
/// How long it runs, and how long Xen has to free its memory after it was destroyed.
const SETTLE: Duration = Duration::from_millis(50);

/// Waits until `done` gives something.
async fn until<T>(gauge: &Gauge, done: impl Fn(&Gauge) -> Option<T>) -> Result<T, String> {
    let wait = async {
        loop {
            if let Some(value) = done(gauge) {
                return value;
            }
            gauge.heard.wait().await;
        }
    };
    with_deadline(now() + PATIENCE, wait).await.map_err(|Elapsed| String::from("no answer"))
}

/// Does the measurements.
pub(crate) async fn run(ground: Rc<Ground>, orders: &'static str) {
    for order in orders.split('+') {
        if let Err(error) = one(&ground, order).await {
            log::error!(target: "dom0", "measure={order}: {error} [{}]", proto_errors::svc::DRILL);
        }
    }
    log::info!(target: "dom0", "measurements: done");
}

async fn one(ground: &Ground, order: &str) -> Result<(), String> {
    let (rest, number) = order.rsplit_once(':').ok_or("it has no number")?;
    let number = number.parse::<u32>().ok().filter(|&number| number > 0).ok_or("its number is none")?;
    match rest.split_once(':') {
        None if rest == "pause" => sleep(Duration::from_secs(number.into())).await,
        None if rest == "idle" => idle(ground, number).await?,
        Some(("channel", name)) => channel(ground, name, number).await?,
        Some(("create", of)) => {
            let (name, mib) = of.rsplit_once(':').ok_or("it has no memory")?;
            create(ground, name, mib.parse::<u16>().map_err(text)?, number).await?;
        }
        _ => return Err("nothing of that name is measured".into()),
    }
    Ok(())
}

/// What a domain did so far.
struct Past {
    name: String,
    /// How often it woke; unknown of what is no service.
    rounds: Option<u64>,
    cpu_ns: u64,
}

async fn idle(ground: &Ground, seconds: u32) -> Result<(), String> {
    let before = look(ground).await?;
    sleep(Duration::from_secs(seconds.into())).await;
    let after = look(ground).await?;
    let seconds = u64::from(seconds);
    for Past { name, rounds, cpu_ns } in &after {
        let Some(first) = before.iter().find(|first| first.name == *name) else { continue };
        if let (Some(first), Some(last)) = (first.rounds, *rounds) {
            // The last of our own questions is one.
            let tenths = last.saturating_sub(first).saturating_sub(1) * 10 / seconds;
            tell("idle-wakeups", name, format!("{}.{} /s", tenths / 10, tenths % 10));
        }
        let cpu = cpu_ns.saturating_sub(first.cpu_ns) / 1000 / seconds;
        tell("idle-cpu", name, format!("{cpu} us/s"));
    }
    Ok(())
}

/// What every domain did so far.
async fn look(ground: &Ground) -> Result<Vec<Past>, String> {
    let own = XEN.next_domain(DomId::DOM0).map_err(text)?.ok_or("Xen does not know of dom0")?;
    let mut all =
        Vec::from([Past { name: "dom0".into(), rounds: Some(executor::rounds()), cpu_ns: own.cpu_ns }]);
    let mut others = Vec::new();
    watch::scan(&XEN, |info| others.push((info.domain, info.cpu_ns))).map_err(text)?;
    let names = ground.services.names();
    for (id, cpu_ns) in others {
        let name = names.iter().find(|(known, _)| *known == id).map(|(_, name)| name);
        let rounds = match name {
            Some(name) => Some(rounds(ground, find(ground, name)?).await?),
            None => None,
        };
        all.push(Past {
            name: name.map_or_else(|| format!("{id}"), |name| String::from(name.as_str())),
            rounds,
            cpu_ns,
        });
    }
    Ok(all)
}

async fn rounds(ground: &Ground, service: ServiceId) -> Result<u64, String> {
    ground.gauge.rounds.set(None);
    ground.services.say(service, ToService::Probe(Probe::Rounds));
    until(&ground.gauge, |gauge| gauge.rounds.get()).await
}

async fn channel(ground: &Ground, name: &str, count: u32) -> Result<(), String> {
    let service = find(ground, name)?;
    let gauge = &ground.gauge;
    let each = count.div_ceil(PARTS);
    for part in 0..PARTS {
        let started = now();
        for round in 0..each {
            let number = FIRST_PING + part * each + round;
            ground.services.say(service, ToService::Ping { number });
            until(gauge, |gauge| (gauge.pong.get() == number).then_some(())).await?;
        }
        let took = (now() - started).as_nanos() / 100 / u128::from(each);
        tell("channel-roundtrip", name, format!("{}.{} us", took / 10, took % 10));
    }
    let each = u16::try_from(each).map_err(text)?;
    for _ in 0..PARTS {
        let bytes = usize::from(each) * MAX_FILLER;
        gauge.filler.set(0);
        let started = now();
        ground.services.say(service, ToService::Probe(Probe::Fill { count: each }));
        until(gauge, |gauge| (gauge.filler.get() >= bytes).then_some(())).await?;
        let tenths_of_bytes = bytes as u128 * 10_000_000_000 / (now() - started).as_nanos().max(1);
        let tenths = tenths_of_bytes >> 20;
        tell("channel-bandwidth", name, format!("{}.{} MiB/s", tenths / 10, tenths % 10));
    }
    Ok(())
}

async fn create(ground: &Ground, name: &str, mib: u16, count: u32) -> Result<(), String> {
    let (archive, platform) = {
        let builder = ground.services.builder();
        (builder.archive, builder.platform)
    };
    let path = format!("images/{name}");
    let image = archive.find(&path).ok_or_else(|| format!("the archive has no {path}"))?;
    let memory_pages = (u64::from(mib) << 20) / PAGE_SIZE as u64;
    let what = format!("create-{mib}MiB");
    let order = Order { image, memory_pages, vcpus: 1, cpus: 0, command_line: "tell=began", platform };
    for _ in 0..count {
        let started = now();
        let mut application = Application::build(&XEN, &order).map_err(text)?;
        let built = now() - started;
        let console = application.console.take().ok_or("it has no console")?;
        let page = ground.map(application.id(), console.page).map_err(text)?;
        let line = ground.adopt(console.port).map_err(text)?;
        let mut console = Back::attach(line, page).map_err(text)?;
        let listening = now();
        application.unpause().map_err(text)?;
        let created = built + (now() - listening);
        // It runs as soon as we wait.
        let began = with_deadline(now() + PATIENCE, began(&mut console)).await;
        let began = began.map_err(|Elapsed| "it does not say when it began")??;
        tell(&what, name, milliseconds(created));
        tell(&format!("first-instruction-{mib}MiB"), name, milliseconds(built + (began - listening)));
        sleep(SETTLE).await;
        application.pause();
        drop(console);
        drop(application);
        sleep(SETTLE).await;
    }
    Ok(())
}

/// When the domain's first instruction was done, by what its console says.
async fn began(console: &mut Back<Line, Page>) -> Result<Instant, String> {
    let mut text = Vec::new();
    let mut buffer = [0; 64];
    loop {
        let count = console.read(&mut buffer).await.map_err(self::text)?;
        text.extend_from_slice(buffer.get(..count).unwrap_or(&buffer));
        if let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line = text.get(..end).and_then(|line| core::str::from_utf8(line).ok());
            let nanoseconds =
                line.and_then(|line| line.strip_prefix("began at ")?.strip_suffix(" ns")?.parse().ok());
            return nanoseconds.map(Instant::from_nanos).ok_or_else(|| "it says something else".into());
        }
    }
}

/// With two places behind the point.
fn milliseconds(took: Duration) -> String {
    let hundredths = took.as_micros() / 10;
    format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
}

fn find(ground: &Ground, name: &str) -> Result<ServiceId, String> {
    ground.services.find(name).ok_or_else(|| format!("the table has no service {name}"))
}

fn tell(what: &str, name: &str, value: impl Display) {
    log::info!(target: "dom0", "measure {what}.{name} {value}");
}

fn text(error: impl Display) -> String {
    format!("{error}")
}
