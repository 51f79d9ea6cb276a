//! Starts in which dom0 is told on its command line what to measure; it takes many samples in one start.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use proto_errors::svc;
use proto_manifest::archive::{Archive, IMAGES, Writer};

use super::samples::{self, Samples, Share, Summary, ratio};
use crate::build::{Built, SAMPLE};
use crate::console::Line;
use crate::paths;
use crate::qemu::{Boot, Machine, Options as MachineOptions};
use crate::setup::Stock;
use crate::site::Site;

/// What dom0 is told.
#[derive(Debug, Clone)]
pub struct Order {
    /// For people.
    pub name: String,
    /// dom0's command line.
    words: String,
    /// What dom0 says when it is done.
    done: &'static str,
    /// How long that may take.
    patience: Duration,
}

/// On a running system: nothing to do, channels, creations.
pub fn running(services: &[String]) -> Order {
    let channels: Vec<String> = services.iter().map(|name| format!("channel:{name}:500")).collect();
    let channels = channels.join("+");
    Order {
        name: "idle domains, channels, creations".into(),
        words: format!("measure=pause:15+idle:20+{channels}+create:hello:4:100+create:hello:8:20"),
        done: "measurements: done",
        patience: Duration::from_secs(240),
    }
}

/// A service that is ended, and comes back. Less often than the supervisor gives up.
pub fn kills(service: &str) -> Order {
    let words = format!("drill={service}:4000:5");
    Order { name: words.clone(), words, done: "drill: done", patience: Duration::from_secs(120) }
}

/// Configuration without applications, by which the device asks and reports once an hour.
pub const CONFIG: &str = r#"
[device]
name = "idle"

[items]
"timer.config.interval" = 3600
"timer.metric.interval" = 3600
"#;

/// The creations whose time must not grow.
pub const CREATIONS: &str = "dom0 create-4MiB.hello";
/// How far it does, by medians, in percent.
pub const GROWTH: &str = "dom0 create-4MiB.hello, the last 20, of the first 20";
/// How many of them are held against each other at either end, around the second and the hundredth. The first
/// of all is left out.
const ENDS: usize = 20;

impl Order {
    /// One start. What dom0 measured are samples.
    ///
    /// # Errors
    /// When dom0 does not come to the end, or could not measure something; what the console says of it is in the error.
    pub fn measure(&self, stock: &Stock, built: &Built, site: &Site, samples: &mut Samples) -> Result<()> {
        site.controller.set_config(CONFIG)?;
        with_sample(&built.archive, &paths::read(&built.image(SAMPLE))?)?;
        let mut options = MachineOptions { settled: true, ..MachineOptions::direct(built, stock) };
        if let Boot::Direct { dom0_command_line, .. } = &mut options.boot {
            dom0_command_line.push_str(&self.words);
        }
        let mut machine = Machine::start(&options, None)?;
        let end = machine.wait_for_from("dom0", self.done, self.patience);
        let lines = machine.lines();
        machine.quit();
        measurements(&lines, samples);
        end?;
        match failed(&lines) {
            Some(line) => bail!("{}", line.text),
            None => Ok(()),
        }
    }
}

/// What dom0 says of the first order that it could not carry out.
fn failed(lines: &[Line]) -> Option<&Line> {
    let coded = format!("[{}]", svc::DRILL);
    lines.iter().find(|line| {
        line.who == "dom0" && line.text.contains("dom0: measure=") && line.text.ends_with(&coded)
    })
}

/// Adds the sample application to an archive, for dom0 to find there.
fn with_sample(file: &Path, image: &[u8]) -> Result<()> {
    let bytes = paths::read(file)?;
    let wrong = |error| anyhow!("{}: {error}", file.display());
    let name = format!("{IMAGES}{SAMPLE}");
    let mut writer = Writer::new();
    for entry in Archive::open(&bytes).map_err(wrong)?.entries().filter(|entry| entry.name != name) {
        writer.add(entry.name, entry.data).map_err(wrong)?;
    }
    writer.add(&name, image).map_err(wrong)?;
    paths::write(file, writer.finish())
}

/// Takes every line `… measure NAME VALUE UNIT` as a sample.
pub fn measurements(lines: &[Line], samples: &mut Samples) {
    for line in lines {
        if let Some((name, value, unit)) = measurement(&line.text) {
            samples.add(format!("{} {name}", line.who), unit, value);
        }
    }
}

/// `… measure NAME VALUE UNIT`.
fn measurement(text: &str) -> Option<(&str, f64, &str)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "measure")?;
    let [name, value, unit] = words.get(at + 1..at + 4)? else { return None };
    Some((name, value.parse().ok().filter(|value: &f64| value.is_finite())?, unit))
}

/// What the creations tell about leaks, as [`GROWTH`] and for people: the last one against the second, by themselves and by what stands for
/// them. A host with other work makes some slower, and a leak makes all slower; so the medians count of those
/// around either, and the quickest, which other work disturbs least.
pub fn growth(values: &[Summary]) -> Option<Share> {
    let samples = &values.iter().find(|value| value.name == CREATIONS)?.samples;
    let (first, last) = (samples.get(1..=ENDS)?, samples.get(samples.len().checked_sub(ENDS)?..)?);
    let quickest = |part: &[f64]| part.iter().copied().fold(f64::INFINITY, f64::min);
    let ends = ratio(*last.last()?, *first.first()?)?;
    let medians = ratio(samples::median_of(last), samples::median_of(first))?;
    let quickest = ratio(quickest(last), quickest(first))?;
    let number = samples.len();
    let note = format!(
        "{CREATIONS}: number {number} took {ends:.2} times as long as number 2; the median of the last {ENDS} \
         {medians:.2} times that of the {ENDS} after the first, the quickest {quickest:.2} times"
    );
    Some(Share { name: GROWTH, percent: medians * 100.0, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_measurements_count() {
        assert_eq!(measurement("measure a 1 KiB"), Some(("a", 1.0, "KiB")));
        assert_eq!(measurement("measure a many KiB"), None);
        assert_eq!(measurement("measure a inf ms"), None);
        assert_eq!(measurement("to measure"), None);
    }

    #[test]
    fn every_service_of_the_table_is_measured() {
        let services = ["net".to_owned(), "vault".to_owned()];
        let words = running(&services).words;
        assert!(words.contains("+channel:net:500+channel:vault:500+create:hello:4:100+"), "{words}");
        assert_eq!(kills("vault").words, "drill=vault:4000:5");
    }

    #[test]
    fn what_could_not_be_measured_is_found() {
        let line = |text: &str| Line { at: Duration::ZERO, who: "dom0".into(), text: text.into() };
        let lines = [
            line("INFO dom0: measure channel-roundtrip.net 1.0 us"),
            line(&format!("ERROR dom0: measure=channel:net:500: no answer [{}]", svc::DRILL)),
        ];
        assert_eq!(failed(&lines), Some(&lines[1]));
        assert_eq!(failed(&lines[..1]), None);
    }

    #[test]
    fn growth_is_of_the_ends_without_the_first() {
        let mut samples = Samples::default();
        let times = [5.0].into_iter().chain([80.0; 10]).chain([10.0; 10]).chain([1.0; 5]).chain([12.0; 20]);
        times.for_each(|time| samples.add(CREATIONS, "ms", time));
        let Share { percent, note: told, .. } = growth(&samples.summaries()).unwrap();
        assert_eq!(format!("{percent:.2}"), "26.67");
        assert!(told.contains("number 46 took 0.15 times as long as number 2;"), "{told}");
        assert!(told.contains("median of the last 20 0.27 times that"), "{told}");
        assert!(told.contains("the quickest 1.20 times"), "{told}");
        let mut few = Samples::default();
        (0..5).for_each(|_| few.add(CREATIONS, "ms", 1.0));
        assert_eq!(growth(&few.summaries()), None);
    }

    #[test]
    fn the_sample_comes_into_an_archive_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("archive.cpio");
        let mut writer = Writer::new();
        writer.add("table", b"t").unwrap();
        paths::write(&file, writer.finish()).unwrap();
        with_sample(&file, b"old").unwrap();
        with_sample(&file, b"new").unwrap();
        let bytes = paths::read(&file).unwrap();
        let archive = Archive::open(&bytes).unwrap();
        let entries: Vec<_> = archive.entries().map(|entry| (entry.name, entry.data)).collect();
        assert_eq!(entries, [("table", &b"t"[..]), ("images/hello", b"new")]);
    }
}
