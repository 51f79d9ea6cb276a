//! Lines of the machine's serial console: who said them, and when. Pure.
//!
//! Xen marks its own lines with `(XEN)` and those of guest N with `(dN)`; dom0's come as they are, and
//! what comes before Xen's first line is the firmware's or the boot loader's. dom0 tells once for each
//! domain which number it has (`domain NAME is dN`, `application ID is dN`), and from then on lines carry
//! the name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One line of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Since power-on, by the host's clock.
    pub at: Duration,
    /// `firmware`, `xen`, `dom0`, a domain's name, or `dN` while its name is unknown.
    pub who: String,
    /// The text, without prefix, control characters and escape sequences.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:8.3}] {:<8} | {}", self.at.as_secs_f64(), self.who, self.text)
    }
}

/// What is known about the speakers so far.
#[derive(Debug, Default)]
pub struct Speakers {
    xen_spoke: bool,
    names: BTreeMap<u32, String>,
}

impl Speakers {
    /// Takes the next line as it came from the machine, without its line end.
    pub fn line(&mut self, at: Duration, raw: &[u8]) -> Line {
        let text = cleaned(&String::from_utf8_lossy(raw));
        if let Some(rest) = text.strip_prefix("(XEN)") {
            self.xen_spoke = true;
            return Line { at, who: "xen".into(), text: rest.strip_prefix(' ').unwrap_or(rest).to_owned() };
        }
        if let Some((domid, rest)) = guest_prefix(&text) {
            let who = match domid {
                0 => "dom0".to_owned(),
                _ => self.names.get(&domid).cloned().unwrap_or_else(|| format!("d{domid}")),
            };
            return Line { at, who, text: rest.to_owned() };
        }
        if !self.xen_spoke {
            return Line { at, who: "firmware".into(), text };
        }
        if let Some((name, domid)) = introduction(&text) {
            self.names.insert(domid, name.to_owned());
        }
        Line { at, who: "dom0".into(), text }
    }
}

/// `(d12) text` → 12 and `text`.
fn guest_prefix(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.strip_prefix("(d")?.split_once(')')?;
    Some((number.parse().ok()?, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `… domain NAME is dN …` or `… application ID is dN …` → the name and N.
#[must_use]
pub fn introduction(line: &str) -> Option<(&str, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(4).find_map(|window| match window {
        ["domain" | "application", name, "is", id] => {
            let digits = id.strip_prefix('d')?.trim_end_matches(|c: char| !c.is_ascii_digit());
            Some((*name, digits.parse().ok()?))
        }
        _ => None,
    })
}

/// The time that Xen printed in front of its text, with `console_timestamps=boot`: `[    1.234567] text`.
pub fn xen_time(text: &str) -> Option<Duration> {
    let seconds = text.strip_prefix('[')?.split_once(']')?.0.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Without escape sequences (ESC [ … letter, ESC and one character) and other control characters.
fn cleaned(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => {
                if chars.next() == Some('[') {
                    chars.by_ref().find(|c| ('@'..='~').contains(c));
                }
            }
            '\t' => clean.push(' '),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(speakers: &mut Speakers, raw: &str) -> (String, String) {
        let line = speakers.line(Duration::ZERO, raw.as_bytes());
        (line.who, line.text)
    }

    fn pair(who: &str, text: &str) -> (String, String) {
        (who.to_owned(), text.to_owned())
    }

    #[test]
    fn lines_are_told_apart_by_xens_marks() {
        let mut speakers = Speakers::default();
        assert_eq!(said(&mut speakers, "BdsDxe: starting"), pair("firmware", "BdsDxe: starting"));
        assert_eq!(said(&mut speakers, "(XEN) Xen version 4.20\r"), pair("xen", "Xen version 4.20"));
        assert_eq!(said(&mut speakers, "sarsen dom0"), pair("dom0", "sarsen dom0"));
        assert_eq!(said(&mut speakers, "(d3) hello"), pair("d3", "hello"));
        assert_eq!(said(&mut speakers, "(d0) early"), pair("dom0", "early"));
        assert_eq!(said(&mut speakers, "(dx) odd"), pair("dom0", "(dx) odd"));
    }

    #[test]
    fn a_domain_has_its_name_from_its_introduction_on() {
        let mut speakers = Speakers::default();
        said(&mut speakers, "(XEN) on");
        said(&mut speakers, "[info] domain net is d1");
        assert_eq!(said(&mut speakers, "(d1) up"), pair("net", "up"));
        // Restarted: a new number, the same name. The old number keeps its last name.
        said(&mut speakers, "domain net is d7.");
        assert_eq!(said(&mut speakers, "(d7) up"), pair("net", "up"));
        said(&mut speakers, "INFO dom0: application 5e0c60cc is d8");
        assert_eq!(said(&mut speakers, "(d8) tick"), pair("5e0c60cc", "tick"));
        // Only dom0 introduces; a guest that says the same changes nothing.
        said(&mut speakers, "(d7) domain control is d7");
        assert_eq!(said(&mut speakers, "(d7) up"), pair("net", "up"));
    }

    #[test]
    fn escapes_and_control_characters_vanish() {
        let mut speakers = Speakers::default();
        assert_eq!(
            said(&mut speakers, "\x1b[2J\x1b[01;01HGRUB\x07 loading \r"),
            pair("firmware", "GRUB loading")
        );
        assert_eq!(said(&mut speakers, "\x1b["), pair("firmware", ""));
    }

    #[test]
    fn xens_own_time() {
        assert_eq!(xen_time("[    1.250000] Brought up 1 CPUs"), Some(Duration::from_millis(1250)));
        assert_eq!(xen_time("Brought up [1]"), None);
        assert_eq!(xen_time("[-1] x"), None);
    }
}
