//! Services are killed at random times under load, again and again: no line and no order is lost, nothing is
//! left of those that died.
//!
//! The load: one application writes many lines a second and answers what is typed at it; the arguments of a
//! second one change now and then, so that its content is fetched and it is started anew; configuration,
//! metrics and logs go every few seconds. dom0 kills each service of the table (`drill=random:…`), also while the one
//! before is still coming back; a service of `stubdoms/template` is added to the table, for one that nobody's work
//! depends on. The pauses follow from a seed that is printed; `SARSEN_KILLS_SEED` sets it.
//!
//! What is looked at:
//!
//! 1. The controller has every line that the first application wrote, in a row without a gap. Within each source
//!    of lines the numbers have no gap, and none stands for two lines. Some lines come again: a file is sent again
//!    whose arrival is not known to who sent it, for it was killed, or for the answer was lost, as one is on
//!    purpose with each change of the configuration.
//! 2. The controller has dom0's line about each kill.
//! 3. What was typed was answered, each once.
//! 4. The first application was started once, the second one as often as its arguments were changed.
//! 5. The last configuration is in force and reported as such.
//! 6. No service died but by order, and nobody was given up.
//! 7. Xen has its pages, dom0 its ports, grant references, mapped pages and heap as before.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use proto_manifest::archive::IMAGES;
use proto_manifest::name::Name;
use proto_manifest::table::Domain;
use sha2::{Digest, Sha256};
use xtask::build::SAMPLE;
use xtask::console::Line;
use xtask::paths;
use xtask::qemu::Machine;
use xtask::site::{self, Site};
use xtask_controller::{Endpoint, Fault, LogLine, Target};

use crate::Story;
use crate::application::{PATIENCE, no_violations};
use crate::built;
use crate::random::seed;
use crate::restart::dom0_words;
use crate::stage::{Entries, Stage, edit_table, table};

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "kills",
        about: "each service is killed 25 times at random times under load: nothing is lost or left",
        tell: |stage| kills(stage, 25, 900, 10_000),
    },
    Story {
        name: "kills-aarch64",
        about: "each service is killed 8 times at random times under load: nothing is lost or left",
        tell: |stage| kills(stage, 8, 900, 10_000),
    },
];

pub(crate) const NIGHTLY: &[Story] = &[
    Story {
        name: "kills-thousand",
        about: "the story `kills` with a thousand kills of each service, some hour and a half",
        tell: |stage| kills(stage, 1000, 1200, 25_000),
    },
    Story {
        name: "kills-hundred-aarch64",
        about: "the story `kills-aarch64` with a hundred kills of each service",
        tell: |stage| kills(stage, 100, 1200, 25_000),
    },
];

/// The service that is added.
const TEMPLATE: &str = "template";
/// The shortest pause between two kills.
const SHORTEST_MS: u32 = 50;
/// The variable of a seed for the order of kills.
pub(crate) const KILLS_SEED: &str = "SARSEN_KILLS_SEED";
/// The seed unless another one is asked for.
const SEED: u64 = 4;

/// The application whose arguments change.
const SECOND: &str = "second";
/// The pause between two lines of the first application.
const PERIOD_MS: u32 = 50;
/// How often something is typed at it.
const TYPING: Duration = Duration::from_secs(2);
/// How often the story looks at everything.
const LOOK: Duration = Duration::from_millis(200);
/// No kill for so long is the end of the story.
const STUCK: Duration = Duration::from_secs(120);
/// Kills between two lines about how far it is.
const REPORT: usize = 100;
/// Before so many last kills nothing is changed any more, so that what is under way comes to its end.
const LAST: usize = 6;

fn kills(stage: &Stage<'_>, each: u32, longest_ms: u32, rest_ms: u32) -> Result<()> {
    let seed = seed(KILLS_SEED, SEED)?;
    let site = stage.site()?;
    // A content of its own, so that it is held, dropped and fetched by itself.
    let mut image = paths::read(&stage.built().image(SAMPLE))?;
    image.push(0);
    site.controller.put_content("second.elf", &image)?;
    site.offer_sample(stage.built(), &config(0))?;
    let template = built::domain(stage.built().arch, "stubdoms-template", TEMPLATE)?;
    let mut services = Vec::new();
    let mut options = stage.provisioned_with(&site, |entries| {
        add_service(entries, template)?;
        services = table(entries)?.domains.iter().map(|domain| domain.name.to_string()).collect();
        Ok(())
    })?;
    let drill = format!("random:{seed}:{}:{SHORTEST_MS}-{longest_ms}-{rest_ms}:{each}", services.join("+"));
    dom0_words(&mut options, &format!("serial=applications drill={drill}"));
    let mut load = Load::new(&site, stage.start(&options)?, services, each as usize);
    load.run()?;
    load.finish()?;
    check(&load)?;
    no_violations(&site)?;
    load.machine.quit();
    Ok(())
}

/// Adds the service to the table.
fn add_service(entries: &mut Entries, image: Vec<u8>) -> Result<()> {
    let name = Name::try_from(TEMPLATE).map_err(|_| anyhow!("{TEMPLATE} is no name"))?;
    let domain = Domain {
        name: name.clone(),
        image: name,
        sha256: Sha256::digest(&image).into(),
        memory_mib: 2,
        vcpus: 1,
        cpus: 0,
        heap_kib: 256,
        provisioning: false,
        vital: false,
        devices: Default::default(),
    };
    entries.insert(format!("{IMAGES}{TEMPLATE}"), image);
    let mut full = false;
    edit_table(entries, |table| full = table.domains.push(domain).is_err())?;
    ensure!(!full, "the table has no room for one more service");
    Ok(())
}

/// The configuration with this many changes of the second application.
fn config(changes: u32) -> String {
    format!(
        "[device]\nname = \"kills\"\n\n[items]\n\"timer.config.interval\" = 5\n\
         \"timer.metric.interval\" = {}\n\"newlog.allow.fastupload\" = true\n\n\
         [[app]]\nname = \"{}\"\ncontent = \"hello.elf\"\nmemory_kib = 8192\nargs = \"period_ms={PERIOD_MS}\"\n\n\
         [[app]]\nname = \"{SECOND}\"\ncontent = \"second.elf\"\nmemory_kib = 8192\nargs = \"greeting=change-{changes}\"\n",
        5 + changes % 3,
        site::APP,
    )
}

/// A machine under load, and what came of it so far.
struct Load<'a> {
    site: &'a Site,
    machine: Machine,
    /// Those that are killed, and how often each.
    services: Vec<String>,
    each: usize,
    wanted: usize,
    /// Kills, by dom0's lines.
    kills: usize,
    /// Lines of the console that were looked at.
    looked: usize,
    /// The last line of a log that was looked at.
    last_log: u64,
    /// Ticks of the first application, and how often each came.
    ticks: BTreeMap<u64, u32>,
    highest: Option<u64>,
    sources: BTreeMap<String, Source>,
    /// What was typed, and how often it was answered.
    typed: u32,
    echoes: BTreeMap<u32, u32>,
    /// Kills of which the controller has dom0's line.
    told: BTreeMap<usize, u32>,
    changes: u32,
    /// The change that the second application shows.
    shown: u32,
    done: bool,
}

impl<'a> Load<'a> {
    fn new(site: &'a Site, machine: Machine, services: Vec<String>, each: usize) -> Self {
        Self {
            site,
            machine,
            wanted: services.len() * each,
            services,
            each,
            kills: 0,
            looked: 0,
            last_log: 0,
            ticks: BTreeMap::new(),
            highest: None,
            sources: BTreeMap::new(),
            typed: 0,
            echoes: BTreeMap::new(),
            told: BTreeMap::new(),
            changes: 0,
            shown: 0,
            done: false,
        }
    }

    /// Until the drill is done.
    fn run(&mut self) -> Result<()> {
        self.site.controller.wait_app_state(SECOND, "RUNNING", PATIENCE)?;
        self.site.controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
        let (mut typed, mut killed, mut reported) = (Instant::now(), Instant::now(), 0);
        while !self.done {
            let before = self.kills;
            self.look()?;
            if self.kills != before {
                killed = Instant::now();
            }
            ensure!(killed.elapsed() < STUCK, "no kill for {} s\n{}", STUCK.as_secs(), self.machine.tail());
            if let Some(why) = self.machine.trouble() {
                bail!("{why}\n{}", self.machine.tail());
            }
            if self.kills / REPORT > reported / REPORT {
                reported = self.kills;
                println!("     {}", self.progress());
            }
            let late = self.kills + LAST > self.wanted;
            if typed.elapsed() >= TYPING && !late {
                typed = Instant::now();
                self.type_one()?;
            }
            if self.shown == self.changes && self.kills > 0 && !late {
                self.change()?;
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// With the last change in force, until everything that was asked for is there.
    fn finish(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        self.change()?;
        self.type_one()?;
        let last = self.highest.unwrap_or(0);
        while self.shown != self.changes
            || !self.echoes.contains_key(&self.typed)
            || self.highest.unwrap_or(0) <= last
            || self.told.len() < self.wanted
        {
            ensure!(
                Instant::now() < end,
                "{}: change {} of {}, answer {} of {}, {} of {} kills told",
                self.progress(),
                self.shown,
                self.changes,
                self.echoes.len(),
                self.typed,
                self.told.len(),
                self.wanted
            );
            std::thread::sleep(LOOK);
            self.look()?;
        }
        self.site.controller.wait_app_state(SECOND, "RUNNING", PATIENCE)?;
        self.site.controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
        self.look()
    }

    fn type_one(&mut self) -> Result<()> {
        self.typed += 1;
        let line = format!("{} word-{}", site::APP, self.typed);
        self.machine.type_line(&line)
    }

    fn change(&mut self) -> Result<()> {
        self.changes += 1;
        for endpoint in [Endpoint::AppLogs, Endpoint::Logs] {
            self.site.controller.faults().arm(Target::Endpoint(endpoint), Fault::DropAfter, Some(1));
        }
        self.site.controller.set_config(&config(self.changes)).map(|_| ())
    }

    fn look(&mut self) -> Result<()> {
        let lines = self.machine.lines_from(self.looked);
        self.looked += lines.len();
        self.kills += lines.iter().filter(|line| is_kill(line)).count();
        self.done |= lines.iter().any(|line| line.who == "dom0" && line.text.contains("drill: done"));
        self.look_at_logs()
    }

    /// Takes the controller's lines that are new, before it forgets them.
    fn look_at_logs(&mut self) -> Result<()> {
        for line in self.site.controller.lines_behind(self.last_log)? {
            self.last_log = line.number;
            let text = line.content.as_str();
            self.number(&line)?;
            match (line.app.is_some(), line.app_name.as_str()) {
                (true, site::APP) => self.take_first(text)?,
                (true, SECOND) => {
                    let change = text.strip_prefix("change-").and_then(|rest| rest.split(' ').next());
                    let change = change.map_or(Ok(0), str::parse).context("a change is no number")?;
                    self.shown = self.shown.max(change);
                }
                (false, _) if line.source == "dom0" => {
                    if let Some(number) = number_after(text, "drill ") {
                        *self.told.entry(number as usize).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A number stands for one line, however often that comes.
    fn number(&mut self, line: &LogLine) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        line.content.hash(&mut hasher);
        let hash = hasher.finish();
        let source = self.sources.entry(line.source.clone()).or_default();
        if line.msgid <= source.last {
            source.replays += 1;
        }
        source.last = line.msgid;
        let (known, times) = source.lines.entry(line.msgid).or_insert((hash, 0));
        *times += 1;
        ensure!(*known == hash, "number {} of {} stands for two lines: {line:?}", line.msgid, line.source);
        // One of the second application may come from its next life, by what is said of it.
        let shown_twice = *times > 1 && !line.again && line.source != SECOND;
        ensure!(!shown_twice, "the controller shows a line twice: {line:?}");
        ensure!(*times > 1 || !line.again, "the controller knows a line that is new: {line:?}");
        Ok(())
    }

    fn take_first(&mut self, text: &str) -> Result<()> {
        if let Some(word) = number_after(text, "echo: word-") {
            *self.echoes.entry(word as u32).or_default() += 1;
        }
        let Some(tick) = number_after(text, ", tick ") else { return Ok(()) };
        *self.ticks.entry(tick).or_default() += 1;
        let before = tick.checked_sub(1).filter(|before| !self.ticks.contains_key(before));
        ensure!(before.is_none(), "lines {:?} to {before:?} are missing", self.highest);
        self.highest = self.highest.max(Some(tick));
        Ok(())
    }

    fn progress(&self) -> String {
        let seconds = self.machine.since_power_on().as_secs();
        format!(
            "{} of {} kills after {seconds} s; {} lines, {} again; {} changes, {} answers",
            self.kills,
            self.wanted,
            self.ticks.len(),
            self.sources.values().map(Source::again).sum::<u32>(),
            self.changes,
            self.echoes.len()
        )
    }
}

/// What the controller has of one source of lines.
#[derive(Default)]
struct Source {
    /// By their numbers: a hash of the line, and how often it came.
    lines: BTreeMap<u64, (u64, u32)>,
    /// The number that came last, and how often the numbers went back.
    last: u64,
    replays: usize,
}

impl Source {
    /// Lines that came again.
    fn again(&self) -> u32 {
        self.lines.values().map(|(_, times)| times - 1).sum()
    }
}

/// Lines of domains that died otherwise than by order.
pub(crate) fn deaths(lines: &[Line]) -> impl Iterator<Item = &Line> {
    const WORDS: [&str; 7] =
        ["PANIC", "FAULT", "crashed", "watchdog fired", "(XEN) Panic", "is given up", "last words"];
    lines.iter().filter(|line| {
        let ended = line.who == "dom0" && line.text.contains(" is ended: ") && !is_kill(line);
        ended || WORDS.iter().any(|word| line.text.contains(word))
    })
}

fn is_kill(line: &Line) -> bool {
    line.who == "dom0" && line.text.contains("is ended: it was ordered")
}

/// The number that follows `before`.
fn number_after(text: &str, before: &str) -> Option<u64> {
    let (_, rest) = text.split_once(before)?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Looks at everything, and says all that is wrong.
fn check(load: &Load<'_>) -> Result<()> {
    let lines = load.machine.lines();
    let mut wrong: Vec<String> = Vec::new();
    println!("     {}", load.progress());

    // 1, 2, 3.
    let highest = load.highest.unwrap_or(0);
    missing(&mut wrong, "lines of the application", 0..=highest, |tick| load.ticks.contains_key(tick));
    for (name, source) in &load.sources {
        let highest = source.lines.keys().last().copied().unwrap_or(0);
        let (count, again, replays) = (source.lines.len(), source.again(), source.replays);
        println!(
            "     {name}: {count} lines, the last number is {highest}; {again} came again, in {replays} files"
        );
        let numbers = format!("numbers of {name}");
        missing(&mut wrong, &numbers, 1..=highest, |number| source.lines.contains_key(number));
        if replays > load.wanted + load.changes as usize {
            wrong.push(format!("{name}: {replays} files came again, and fewer were lost"));
        }
    }
    if load.sources.values().all(|source| source.replays == 0) {
        wrong.push("no file came again, although answers were lost".into());
    }
    missing(&mut wrong, "lines about kills", 1..=load.wanted, |kill| load.told.contains_key(kill));
    missing(&mut wrong, "answers", 1..=load.typed, |word| load.echoes.contains_key(word));

    // 4.
    for (name, wanted) in [(site::APP, 1), (SECOND, load.changes as usize + 1)] {
        let started = format!("measure create.{name} ");
        let starts = lines.iter().filter(|line| line.text.contains(&started)).count();
        println!("     {name} was started {starts} times");
        if starts != wanted {
            wrong.push(format!("{name} was started {starts} times, and {wanted} times were ordered"));
        }
    }

    // 5.
    let (sent, confirmed) = load.site.controller.observe(|seen| {
        let device = seen.devices.values().next();
        device.map(|device| (device.config_sent, device.config_confirmed)).unwrap_or_default()
    });
    if sent.is_none() || sent != confirmed {
        wrong.push(format!("configuration {sent:?} was sent, {confirmed:?} confirmed"));
    }

    // 6.
    wrong.extend(deaths(&lines).map(|line| format!("a domain died: {line}")));
    for name in &load.services {
        let killed = print_recoveries(name, &lines);
        if killed != load.each {
            wrong.push(format!("{name} was killed {killed} times"));
        }
    }

    // 7.
    wrong.extend(leaks(&lines)?);
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// Notes what is missing of a row.
fn missing<T: std::fmt::Debug>(
    wrong: &mut Vec<String>,
    what: &str,
    mut all: impl Iterator<Item = T>,
    is_there: impl Fn(&T) -> bool,
) {
    let mut missing = all.by_ref().filter(|one| !is_there(one));
    let some: Vec<T> = missing.by_ref().take(10).collect();
    if !some.is_empty() {
        wrong.push(format!("{} {what} are missing: {some:?} and so on", some.len() + missing.count()));
    }
}

/// How long it took from a kill until the service did its work again, where no other kill came between. Gives
/// back how often it was killed.
fn print_recoveries(name: &str, lines: &[Line]) -> usize {
    let (kill, healthy) = (format!("domain {name} "), format!("measure kill-to-healthy.{name} "));
    let (mut killed, mut last, mut took) = (0, None, Vec::new());
    for line in lines {
        if is_kill(line) && line.text.contains(&kill) {
            killed += 1;
            last = Some(line.at);
        } else if line.text.contains(&healthy)
            && let Some(last) = last.take()
        {
            took.push((line.at - last).as_secs_f64() * 1000.0);
        }
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        took.get((took.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or_default()
    };
    let recoveries = took.len();
    println!(
        "     {name}: {killed} kills, {recoveries} recoveries before the next: median {:.1} ms, 95 % within {:.1} ms, \
         longest {:.1} ms",
        at(0.5),
        at(0.95),
        at(1.0)
    );
    killed
}

/// What is lost, by what dom0 tells with each kill.
fn leaks(lines: &[Line]) -> Result<Vec<String>> {
    /// Xen's own heap holds some pages more or less from one death to the next.
    const NOISE_KIB: u64 = 64;
    /// dom0 keeps lines until they are taken, in half a MiB at most; there is some of it at any moment.
    const KEPT_KIB: u64 = 512;
    let drill =
        |line: &&Line| line.who == "dom0" && line.text.contains("drill") && line.text.ends_with(" KiB free");
    let before = |text: &str, after: &str| -> Option<u64> {
        let (before, _) = text.rsplit_once(after)?;
        before.rsplit_once(' ')?.1.parse().ok()
    };
    let counts: Vec<[u64; 5]> = lines
        .iter()
        .filter(drill)
        .filter_map(|Line { text, .. }| {
            Some([
                number_after(text, "port ")?,
                number_after(text, "heap ")?,
                before(text, " grant references")?,
                before(text, " mapped pages")?,
                before(text, " KiB free")?,
            ])
        })
        .collect();
    let (Some(first), Some(last)) = (counts.first(), counts.last()) else {
        bail!("dom0 did not tell what is in use");
    };
    let shown = |index: usize| {
        let most = counts.iter().map(|count: &[u64; 5]| count[index]).max().unwrap_or(0);
        format!("{} and {} (at most {most})", first[index], last[index])
    };
    println!(
        "     dom0 at the beginning and at the end: first free port {}, heap {} KiB, grant references {}, mapped pages {}; \
         free {} KiB",
        shown(0),
        shown(1),
        shown(2),
        shown(3),
        shown(4)
    );
    let (
        [port, heap, references, mapped, free],
        [last_port, last_heap, last_references, last_mapped, last_free],
    ) = (*first, *last);
    let lost = [
        (port != last_port, "ports are lost"),
        (references != last_references, "grant references are lost"),
        (mapped != last_mapped, "mapped pages are lost"),
        (last_free + NOISE_KIB < free, "memory is lost"),
        (last_heap > heap + KEPT_KIB, "dom0's heap grows"),
    ];
    Ok(lost.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()).collect())
}
