//! `bench`: how long things take and how much room they need, as medians.
//!
//! Times of a start come from three places, over several starts. Points of the boot are told by the console, with the host's clock since
//! power-on: the machine is given its memory first, and its clock begins when it is let run. What the controller sees (first accepted request, application RUNNING) is taken when it sees
//! it. dom0 says how long it built each service (`domain NAME: built in N ms`), and every line
//! `measure NAME VALUE UNIT` of any domain counts as one sample of NAME. Memory is Xen's own count of each
//! domain's pages, asked for on its console (key `q`). Sizes are those of the build.
//!
//! | module | what |
//! |---|---|
//! | [`orders`] | starts in which dom0 measures on order: idle domains, channels, creations, kills |
//! | [`updates`] | a device with firmware, disk and TPM: attested, updated, and back from versions of no use |
//! | [`samples`] | medians, the table, the comparison with an earlier run |
//! | [`goals`] | what the medians are to be at most |
//! | [`debian`] | the other system: a Debian dom0 with `xl` |

pub mod debian;
pub mod goals;
pub mod orders;
pub mod samples;
pub mod updates;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use proto_errors::host as code;
use xtask_controller::Observed;

use self::debian::Debian;
use self::orders::Order;
use self::samples::{Report, Samples, Share, Summary};

use crate::build::{self, Arch, Built};
use crate::console::{Line, introduction};
use crate::qemu::{Machine, Options as MachineOptions};
use crate::setup::{self, Stock};
use crate::site::{self, Site};
use crate::{image, paths, ui};

/// Options of `bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Architecture of the machine; may be given several times
    #[arg(long, value_enum, value_name = "ARCH", default_values_t = [Arch::X86_64])]
    pub arch: Vec<Arch>,
    /// How many starts
    #[arg(long, default_value_t = 5)]
    pub runs: u32,
    /// Boot through firmware and boot loader instead of letting QEMU load Xen
    #[arg(long)]
    pub uefi: bool,
    /// Write the numbers to this file too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Compare with the file that an earlier --json wrote
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Measure this part only; may be given several times
    #[arg(long, value_enum, value_name = "PART")]
    pub part: Vec<Part>,
    /// x86_64: start a Debian dom0 with xl as often, and tell how its times compare
    #[arg(long, conflicts_with = "uefi")]
    pub debian: bool,
    /// Seconds after which one start is given up
    #[arg(long, default_value_t = 90, value_name = "SECONDS")]
    pub timeout: u64,
    /// Take the domains that the last build made
    #[arg(long)]
    pub no_build: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Starts, sizes and memory.
    Boot,
    /// A running system: idle domains, channels, creations. One start.
    Running,
    /// Services that are ended and come back. One start for each.
    Kills,
    /// A device until it is attested, over an update, and back from one that panics and one that hangs; the selector.
    /// As many devices as starts.
    Updates,
}

impl Part {
    /// Its starts in which dom0 measures on order, with these services.
    fn orders(self, services: &[String]) -> Vec<Order> {
        match self {
            Self::Boot | Self::Updates => Vec::new(),
            Self::Running => vec![orders::running(services)],
            Self::Kills => services.iter().map(|name| orders::kills(name)).collect(),
        }
    }
}

/// The architecture on which a Debian dom0 is measured.
const DEBIANS: Arch = Arch::X86_64;
const ONE_DEBIAN: &str = "the Debian dom0 is one for x86_64";

/// Stands for the first application, whatever its name.
const APPLICATION: &str = "application";

/// When the last service said that it does its work.
const HEALTHY: &str = "power-on to all services ready";

/// When dom0 began: its first line, less what dom0 says that it took from its first instruction on.
const FIRST_INSTRUCTION: &str = "power-on to dom0's first instruction";
/// dom0's word for that.
const TO_FIRST_LINE: &str = "measure first-instruction-to-first-line.dom0 ";

/// Points of the boot that the console tells: name, speaker, part of the line.
const POINTS: [(&str, &str, &str); 5] = [
    ("power-on to Xen", "xen", "Xen version"),
    ("power-on to dom0's first line", "dom0", "sarsen dom0"),
    ("power-on to net's first line", "net", ""),
    ("power-on to control's first line", "control", ""),
    ("power-on to the application's first line", APPLICATION, ""),
];

/// Points that the controller sees, in their order.
type Seen = fn(&Observed, &Observed) -> bool;
const SEEN: [(&str, Seen); 3] = [
    ("dom0's first line to the first accepted request", |now, before| accepted(now) > accepted(before)),
    ("dom0's first line to the application RUNNING", |now, _| {
        now.app(site::APP).is_some_and(|app| app.state == "RUNNING" && !app.deleted)
    }),
    ("dom0's first line to the application's first line in the controller", |now, _| {
        now.app_lines(site::APP).next().is_some()
    }),
];

/// Requests that were answered well.
fn accepted(observed: &Observed) -> u64 {
    observed.answers.iter().filter(|(code, _)| (200..300).contains(*code)).map(|(_, count)| count).sum()
}

/// Runs the subcommand.
///
/// # Errors
/// When something does not build, or a start does not reach its end in time; what was measured is printed first.
pub fn bench(options: &Options) -> Result<()> {
    // First: a run takes minutes.
    ensure!(
        !options.debian || options.arch.contains(&DEBIANS),
        "--debian measures nothing here: {ONE_DEBIAN} [{}]",
        code::NOT_THERE
    );
    options.json.as_deref().map_or(Ok(()), paths::destination)?;
    let earlier =
        options.against.as_deref().map(|file| samples::parse(&paths::read_text(file)?)).transpose()?;
    let mut all = Samples::default();
    let (mut notes, mut failures) = (String::new(), Vec::new());
    for &arch in Arch::ALL.iter().filter(|arch| options.arch.contains(arch)) {
        let bench = machine_of(options, arch)?;
        let prefix = prefix(arch);
        all.add_all(prefix, &bench.samples);
        for share in shares(&bench.samples.summaries()) {
            notes += &format!("{prefix}{}\n", share.note);
            all.add(format!("{prefix}{}", share.name), "%", share.percent);
        }
        if options.debian && arch != DEBIANS {
            notes += &format!("{prefix}no Debian was measured: {ONE_DEBIAN}\n");
        }
        failures.extend(bench.failures.iter().map(|failure| format!("{prefix}{failure}")));
    }
    let values = all.summaries();
    print!("{}", samples::table(&values));
    if !notes.is_empty() {
        print!("\n{notes}");
    }
    if let Some(earlier) = earlier {
        print!("\n{}", samples::comparison(&earlier.values, &values));
    }
    if let Some(file) = &options.json {
        let boot = if options.uefi { "uefi" } else { "direct" };
        let report = Report { runs: options.runs, boot: boot.to_owned(), values };
        paths::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

/// What medians of a machine come to beside each other.
fn shares(values: &[Summary]) -> impl Iterator<Item = Share> {
    orders::growth(values).into_iter().chain(debian::shares(values))
}

/// What stands in front of the names of an architecture's values.
fn prefix(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "",
        Arch::Aarch64 => "aarch64: ",
    }
}

/// Measures on a machine of one architecture.
fn machine_of(options: &Options, arch: Arch) -> Result<Bench<'_>> {
    setup::host_tools(setup::Host::boot(arch))?;
    let stock = setup::stock(arch)?;
    let mut bench =
        Bench { options, arch, stock, samples: Samples::default(), failures: Vec::new(), megahertz: None };
    let parts = if options.part.is_empty() { Part::value_variants() } else { &options.part };
    let mut debian = None;
    for run in 1..=options.runs {
        // In turn: a host that has other work has it for both.
        if parts.contains(&Part::Boot) {
            bench.start(run)?;
        }
        if parts.contains(&Part::Updates) {
            bench.updates(run)?;
        }
        if options.debian && arch == DEBIANS {
            let debian = match &mut debian {
                Some(debian) => debian,
                None => debian.insert(bench.debian()?),
            };
            bench.start_debian(run, debian);
        }
    }
    if parts.iter().all(|part| matches!(part, Part::Boot | Part::Updates)) {
        return Ok(bench);
    }
    let services = bench.build()?.1.services()?;
    for order in parts.iter().flat_map(|part| part.orders(&services)) {
        let (site, built) = bench.build()?;
        bench.attempt(&order.name, |bench| order.measure(&bench.stock, &built, &site, &mut bench.samples));
    }
    Ok(bench)
}

/// How the device comes by its files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In the archive that QEMU loads.
    Direct,
    /// On its disk.
    Disk,
}

/// A run of the subcommand.
struct Bench<'a> {
    options: &'a Options,
    arch: Arch,
    stock: Stock,
    samples: Samples,
    /// Starts that went wrong, and why.
    failures: Vec<String>,
    /// The processor's frequency, as Xen found it.
    megahertz: Option<f64>,
}

impl Bench<'_> {
    /// A new controller, and a build that knows it.
    fn build(&self) -> Result<(Site, Built)> {
        self.build_for(if self.options.uefi { Way::Disk } else { Way::Direct })
    }

    fn build_for(&self, way: Way) -> Result<(Site, Built)> {
        let folder = paths::output("bench");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let site = Site::open(&paths::create(folder)?, None)?;
        let built = build::build(&build::Options {
            arch: self.arch,
            config: (way == Way::Direct).then(|| site.config()),
            no_build: self.options.no_build,
            ..build::Options::default()
        })?;
        Ok((site, built))
    }

    /// Starts our system.
    fn start(&mut self, run: u32) -> Result<()> {
        let (site, built) = self.build()?;
        if run == 1 {
            sizes(&built, &mut self.samples)?;
        }
        site.offer_sample(&built, site::CONFIG)?;
        let machine = machine(self.options, &self.stock, &built, &site)?;
        self.attempt(&format!("start {run} of {}", self.options.runs), |bench| {
            let timeout = Duration::from_secs(bench.options.timeout);
            let lines = measure(&machine, &site, timeout, &mut bench.samples)?;
            bench.megahertz = debian::megahertz(&lines).or(bench.megahertz);
            Ok(())
        });
        Ok(())
    }

    /// Updates a device of our system.
    fn updates(&mut self, run: u32) -> Result<()> {
        setup::host_tools(&[setup::Host::Swtpm])?;
        let (site, built) = self.build_for(Way::Disk)?;
        site.offer_sample(&built, site::CONFIG)?;
        let folder = paths::output("bench");
        self.attempt(&format!("updated device {run} of {}", self.options.runs), |bench| {
            updates::measure(&bench.stock, &built, &site, &folder, &mut bench.samples)
        });
        Ok(())
    }

    /// A Debian dom0 with the application of our build.
    fn debian(&self) -> Result<Debian> {
        Debian::make(paths::output("bench-debian"), &self.build()?.1)
    }

    /// Starts it.
    fn start_debian(&mut self, run: u32, debian: &Debian) {
        self.attempt(&format!("Debian's start {run} of {}", self.options.runs), |bench| {
            let lines = debian.measure(&bench.stock, bench.megahertz, &mut bench.samples)?;
            bench.megahertz = debian::megahertz(&lines).or(bench.megahertz);
            Ok(())
        });
    }

    /// Does one start. One that goes wrong does not end the run.
    fn attempt(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<()>) {
        let step = ui::step(name);
        match work(self) {
            Ok(()) => step.done(""),
            Err(error) => {
                drop(step);
                self.failures.push(format!("{name}: {error:#}"));
            }
        }
    }
}

fn machine(options: &Options, stock: &Stock, built: &Built, site: &Site) -> Result<MachineOptions> {
    let options = if options.uefi {
        let image = image::default_output(built);
        image::make(built, stock, Some(&site.config()), &image)?;
        MachineOptions::disk(image, built, stock)
    } else {
        MachineOptions::direct(built, stock)
    };
    Ok(MachineOptions { settled: true, ..options })
}

fn sizes(built: &Built, samples: &mut Samples) -> Result<()> {
    let mut add = |name: String, file: PathBuf| -> Result<()> {
        samples.add(name, "KiB", paths::read(&file)?.len() as f64 / 1024.0);
        Ok(())
    };
    for name in built.symbols.keys() {
        let file = if name == build::DOM0 { built.dom0.clone() } else { built.image(name) };
        add(format!("image {name}"), file)?;
    }
    add("archive".to_owned(), built.archive.clone())
}

/// One start: waits for everything that the controller shall see, then reads the console, which it gives.
fn measure(
    options: &MachineOptions,
    site: &Site,
    timeout: Duration,
    samples: &mut Samples,
) -> Result<Vec<Line>> {
    let before = site.controller.observe(Clone::clone);
    let end = Instant::now() + timeout;
    let mut machine = Machine::start(options, None)?;
    let mut seen = Vec::new();
    let mut result = Ok(());
    for (name, test) in SEEN {
        while !site.controller.observe(|now| test(now, &before)) {
            let reason = machine
                .trouble()
                .or_else(|| (Instant::now() >= end).then(|| format!("not within {} s", timeout.as_secs())));
            if let Some(reason) = reason {
                result = Err(anyhow::anyhow!("{name}: {reason}\n{}", machine.tail()));
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if result.is_err() {
            break;
        }
        seen.push((name, machine.since_power_on()));
    }
    ask_for_pages(&mut machine)?;
    let lines = machine.lines();
    machine.quit();
    points(&lines, &seen, samples);
    result.map(|()| lines)
}

/// Makes Xen print what it knows of each domain: three times Ctrl-A gives it the keyboard, `q` asks.
fn ask_for_pages(machine: &mut Machine) -> Result<()> {
    machine.type_bytes(b"\x01\x01\x01q")?;
    machine.wait_for_from("xen", "Notifying guest 0:0", Duration::from_secs(5)).map(|_| ())
}

/// Turns one start's lines and sightings into samples.
fn points(lines: &[Line], seen: &[(&str, Duration)], samples: &mut Samples) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let at = |who: &str, part: &str| {
        lines.iter().find(|line| line.who == who && line.text.contains(part)).map(|line| line.at)
    };
    if let Some(at) = healthy(lines) {
        samples.add(HEALTHY, "ms", milliseconds(at));
    }
    let mut domain = None;
    let mut names = BTreeMap::from([(0, "dom0")]);
    for line in lines {
        if line.who == "dom0" {
            // An application's name is made anew for each start.
            let app = line.text.contains(": application ");
            let introduced = introduction(&line.text);
            names.extend(introduced.map(|(name, number)| (number, if app { APPLICATION } else { name })));
        }
        domain = domain_of_dump(&line.text).or(domain);
        if let (Some(number), Some(pages)) = (domain, pages(&line.text).filter(|_| line.who == "xen")) {
            let name = names.get(&number).copied().unwrap_or("a domain that dom0 did not name");
            samples.add(format!("memory of {name}, by Xen's page count"), "KiB", pages * 4.0);
        }
        if let Some((name, time)) = built(&line.text).filter(|_| line.who == "dom0") {
            samples.add(format!("dom0 builds {name}"), "ms", time);
        }
    }
    let application = lines
        .iter()
        .filter(|line| line.who == "dom0" && line.text.contains("application "))
        .find_map(|line| introduction(&line.text));
    for (name, who, part) in POINTS {
        let who = if who == APPLICATION { application.map_or("", |(name, _)| name) } else { who };
        if let Some(at) = at(who, part) {
            samples.add(name, "ms", milliseconds(at));
        }
    }
    if let Some(at) = first_instruction(lines) {
        samples.add(FIRST_INSTRUCTION, "ms", at);
    }
    if let Some(dom0) = at("dom0", "sarsen dom0") {
        for (name, time) in seen {
            samples.add(*name, "ms", milliseconds(time.saturating_sub(dom0)));
        }
        if let Some(at) = healthy(lines) {
            samples.add(
                "dom0's first line to all services ready",
                "ms",
                milliseconds(at.saturating_sub(dom0)),
            );
        }
    }
    orders::measurements(lines, samples);
}

/// When dom0 began, in milliseconds since power-on.
fn first_instruction(lines: &[Line]) -> Option<f64> {
    let mut dom0 = lines.iter().filter(|line| line.who == "dom0");
    let line = dom0.clone().find(|line| line.text.contains("sarsen dom0"))?;
    let before = dom0
        .find_map(|line| line.text.split_once(TO_FIRST_LINE)?.1.strip_suffix(" ms")?.parse::<f64>().ok())?;
    Some(line.at.as_secs_f64() * 1000.0 - before)
}

/// When the last service was ready: dom0's `domain NAME is dN` and `domain NAME: ready after …`.
fn healthy(lines: &[Line]) -> Option<Duration> {
    let mut waiting = BTreeSet::new();
    let mut any = false;
    for line in lines.iter().filter(|line| line.who == "dom0") {
        if let Some((name, _)) = introduction(&line.text).filter(|_| line.text.contains("domain ")) {
            any = true;
            waiting.insert(name);
        }
        if let Some(name) = ready(&line.text) {
            waiting.remove(name);
        }
        if any && waiting.is_empty() {
            return Some(line.at);
        }
    }
    None
}

/// dom0's `… domain net: ready after 61 ms` → `net`.
fn ready(text: &str) -> Option<&str> {
    Some(text.split_once("domain ")?.1.split_once(": ready after ")?.0)
}

/// Xen's `General information for domain 3:` → 3.
fn domain_of_dump(text: &str) -> Option<u32> {
    text.strip_prefix("General information for domain ")?.trim_end_matches(':').parse().ok()
}

/// Xen's `nr_pages=6144 xenheap_pages=5 …` → 6144.
fn pages(text: &str) -> Option<f64> {
    text.trim_start().strip_prefix("nr_pages=")?.split(' ').next()?.parse().ok()
}

/// dom0's `… domain net: built in 61.1 ms` → `net` and 61.1.
fn built(text: &str) -> Option<(&str, f64)> {
    let (name, time) = text.split_once("domain ")?.1.split_once(": built in ")?;
    Some((name, time.strip_suffix(" ms")?.parse().ok()?))
}

/// A line of the console, for the tests of what is made of such lines.
#[cfg(test)]
fn line(ms: u64, who: &str, text: &str) -> Line {
    Line { at: Duration::from_millis(ms), who: who.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_becomes_samples() {
        let lines = [
            line(50, "xen", "Xen version 4.20"),
            line(1100, "dom0", "sarsen dom0 0.1.0"),
            line(1101, "dom0", "INFO dom0: measure first-instruction-to-first-line.dom0 2.5 ms"),
            line(1110, "dom0", "INFO dom0: domain net is d1"),
            line(1150, "dom0", "INFO dom0: domain net: built in 61.1 ms"),
            line(1200, "dom0", "INFO dom0: measure create.net 12.5 ms"),
            line(1250, "net", "up"),
            line(1260, "dom0", "INFO dom0: domain net: ready after 70 ms"),
            line(1300, "dom0", "INFO dom0: application 5e0c is d3"),
            line(1350, "5e0c", "hello"),
            line(1400, "xen", "General information for domain 0:"),
            line(1400, "xen", "    nr_pages=6138 xenheap_pages=2"),
            line(1400, "xen", "General information for domain 1:"),
            line(1400, "xen", "    nr_pages=4096 xenheap_pages=2"),
        ];
        let mut samples = Samples::default();
        points(&lines, &[("seen", Duration::from_millis(2100))], &mut samples);
        let values = samples.summaries();
        let got: Vec<_> =
            values.iter().map(|value| (value.name.as_str(), value.unit.as_str(), value.median)).collect();
        let expected = [
            ("dom0 builds net", "ms", 61.1),
            ("dom0 create.net", "ms", 12.5),
            ("dom0 first-instruction-to-first-line.dom0", "ms", 2.5),
            ("dom0's first line to all services ready", "ms", 160.0),
            ("memory of dom0, by Xen's page count", "KiB", 24552.0),
            ("memory of net, by Xen's page count", "KiB", 16384.0),
            ("power-on to Xen", "ms", 50.0),
            (HEALTHY, "ms", 1260.0),
            (FIRST_INSTRUCTION, "ms", 1097.5),
            ("power-on to dom0's first line", "ms", 1100.0),
            ("power-on to net's first line", "ms", 1250.0),
            ("power-on to the application's first line", "ms", 1350.0),
            ("seen", "ms", 1000.0),
        ];
        assert_eq!(got, expected);
    }

    #[derive(Debug, clap::Parser)]
    struct Words {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn debian_on_another_architecture_alone_is_refused() {
        let words = ["bench", "--arch", "aarch64", "--debian"];
        let told = bench(&<Words as clap::Parser>::parse_from(words).options).unwrap_err().to_string();
        assert!(told.contains("the Debian dom0 is one for x86_64"), "{told}");
    }

    #[test]
    fn shares_are_samples_with_goals() {
        let mut samples = Samples::default();
        for (name, value) in [(HEALTHY, 1000.0), ("debian: power-on to ready", 30_000.0)] {
            samples.add(name, "ms", value);
        }
        let mut all = Samples::default();
        shares(&samples.summaries()).for_each(|share| all.add(share.name, "%", share.percent));
        let table = samples::table(&all.summaries());
        assert!(table.trim_end().ends_with("goal 3.3: met"), "{table}");
    }

    #[test]
    fn all_are_ready_when_the_last_one_is() {
        let mut lines = vec![
            line(1, "dom0", "INFO dom0: domain net is d1"),
            line(2, "dom0", "INFO dom0: domain control is d2"),
            line(3, "dom0", "INFO dom0: domain net: ready after 2 ms"),
            line(4, "net", "domain control: ready after 2 ms"),
        ];
        assert_eq!(healthy(&lines), None);
        lines.push(line(5, "dom0", "INFO dom0: domain control: ready after 3 ms"));
        lines.push(line(6, "dom0", "INFO dom0: application 5e0c is d3"));
        assert_eq!(healthy(&lines), Some(Duration::from_millis(5)));
    }
}
