//! Samples, what is said of them, and how they compare with those of an earlier run. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::goals;

/// Samples by name and unit.
#[derive(Debug, Default)]
pub struct Samples {
    values: BTreeMap<(String, String), Vec<f64>>,
}

/// What the file of `--json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// How many starts.
    pub runs: u32,
    /// `direct` or `uefi`.
    pub boot: String,
    /// One entry for each name.
    pub values: Vec<Summary>,
}

/// How much of another a median is.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// What was compared, as the name of a sample.
    pub name: &'static str,
    /// In percent.
    pub percent: f64,
    /// The same with the numbers behind it, a line for people.
    pub note: String,
}

/// What is said of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was measured.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// All, in the order in which they were taken.
    pub samples: Vec<f64>,
    /// The most that the median is to be, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
}

impl Samples {
    /// Adds one sample.
    pub fn add(&mut self, name: impl Into<String>, unit: &str, value: f64) {
        self.values.entry((name.into(), unit.to_owned())).or_default().push(value);
    }

    /// Adds all of other samples, their names behind `prefix`.
    pub fn add_all(&mut self, prefix: &str, others: &Self) {
        for ((name, unit), values) in &others.values {
            values.iter().for_each(|value| self.add(format!("{prefix}{name}"), unit, *value));
        }
    }

    /// All names, sorted.
    pub fn summaries(&self) -> Vec<Summary> {
        let summary = |((name, unit), values): (&(String, String), &Vec<f64>)| {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            Some(Summary {
                name: name.clone(),
                unit: unit.clone(),
                median: median(&sorted),
                least: *sorted.first()?,
                most: *sorted.last()?,
                samples: values.clone(),
                goal: goals::goal(name),
            })
        };
        self.values.iter().filter_map(summary).collect()
    }
}

/// The middle of values, or the mean of the two in the middle.
pub fn median_of(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median(&sorted)
}

/// The same of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}

/// A table for people.
pub fn table(values: &[Summary]) -> String {
    let mut text = line("", ["median", "least", "most"], "unit", "n");
    for Summary { name, unit, median, least, most, samples, goal } in values {
        let numbers = [*median, *least, *most].map(number);
        let goal = goal.map_or_else(String::new, |goal| {
            format!("  goal {}: {}", number(goal), if *median <= goal { "met" } else { "missed" })
        });
        let count = format!("{:>4}{goal}", samples.len());
        text += &line(name, numbers.each_ref().map(String::as_str), unit, &count);
    }
    text
}

/// Old and new medians of what both runs measured, and the names that only one of them has.
pub fn comparison(old: &[Summary], new: &[Summary]) -> String {
    let find = |all: &[Summary], one: &Summary| {
        all.iter().find(|other| other.name == one.name && other.unit == one.unit).map(|other| other.median)
    };
    let mut text = line("", ["before", "now", "ratio"], "unit", "");
    for one in new {
        let Some(before) = find(old, one) else {
            text += &line(&one.name, ["-", &number(one.median), ""], &one.unit, "");
            continue;
        };
        let ratio = ratio(one.median, before).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        text += &line(&one.name, [&number(before), &number(one.median), &ratio], &one.unit, "");
    }
    for gone in old.iter().filter(|one| find(new, one).is_none()) {
        text += &line(&gone.name, [&number(gone.median), "-", ""], &gone.unit, "");
    }
    text
}

/// `a` to `b`; none when `b` is nothing.
pub fn ratio(a: f64, b: f64) -> Option<f64> {
    (b != 0.0).then(|| a / b).filter(|ratio| ratio.is_finite())
}

/// Reads the file of an earlier `--json`.
///
/// # Errors
/// When it is no such file.
pub fn parse(text: &str) -> Result<Report> {
    serde_json::from_str(text).context("not a file that `bench --json` wrote")
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

fn line(name: &str, numbers: [&str; 3], unit: &str, count: &str) -> String {
    let [a, b, c] = numbers;
    let mut text = String::new();
    // A String takes everything.
    let _ = write!(text, "{name:<70} {a:>10} {b:>10} {c:>10}  {unit:<6} {count:>4}");
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(all: &[(&str, &str, f64)]) -> Vec<Summary> {
        let mut samples = Samples::default();
        all.iter().for_each(|(name, unit, value)| samples.add(*name, unit, *value));
        samples.summaries()
    }

    fn words(text: &str) -> Vec<Vec<&str>> {
        text.lines().map(|line| line.split_whitespace().collect()).collect()
    }

    #[test]
    fn the_middle_of_an_odd_and_of_an_even_number() {
        let values = samples(&[
            ("a", "ms", 3.0),
            ("a", "ms", 1.0),
            ("a", "ms", 2.0),
            ("b", "us", 4.0),
            ("b", "us", 1.0),
        ]);
        assert_eq!((values[0].median, values[0].least, values[0].most), (2.0, 1.0, 3.0));
        assert_eq!(values[0].samples, [3.0, 1.0, 2.0]);
        assert_eq!((values[1].median, values[1].samples.len()), (2.5, 2));
    }

    #[test]
    fn samples_of_two_machines_stay_apart() {
        let (mut all, mut arm) = (Samples::default(), Samples::default());
        all.add("a", "ms", 1.0);
        arm.add("a", "ms", 2.0);
        all.add_all("aarch64: ", &arm);
        let values = all.summaries();
        let got: Vec<_> = values.iter().map(|value| (value.name.as_str(), value.median)).collect();
        assert_eq!(got, [("a", 1.0), ("aarch64: a", 2.0)]);
    }

    #[test]
    fn the_table_has_a_line_for_each_name() {
        let text = table(&samples(&[("a b", "ms", 1.0), ("a b", "ms", 2.0)]));
        assert_eq!(words(&text)[1], ["a", "b", "1.5", "1.0", "2.0", "ms", "2"]);
    }

    #[test]
    fn a_goal_stands_beside_its_median() {
        let name = "memory of vault, by Xen's page count";
        for (value, told) in [(4096.0, "met"), (4100.0, "missed")] {
            let text = table(&samples(&[(name, "KiB", value)]));
            assert!(text.trim_end().ends_with(&format!("   1  goal 4096.0: {told}")), "{text}");
        }
    }

    #[test]
    fn a_comparison_tells_ratios_and_what_only_one_run_has() {
        let old = samples(&[("a", "ms", 4.0), ("b", "ms", 1.0), ("zero", "n", 0.0)]);
        let new = samples(&[("a", "ms", 2.0), ("c", "ms", 3.0), ("zero", "n", 1.0)]);
        let text = comparison(&old, &new);
        let expected = [
            vec!["before", "now", "ratio", "unit"],
            vec!["a", "4.0", "2.0", "0.50", "ms"],
            vec!["c", "-", "3.0", "ms"],
            vec!["zero", "0.0", "1.0", "n"],
            vec!["b", "1.0", "-", "ms"],
        ];
        assert_eq!(words(&text), expected);
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let values = samples(&[("a", "ms", 4.0)]);
        let report = Report { runs: 1, boot: "direct".into(), values: values.clone() };
        let read = parse(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!((read.runs, read.values), (1, values));
        assert!(parse("{}").is_err());
    }
}
