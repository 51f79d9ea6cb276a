//! Lines on dom0's console: of services, and for who measures.

use alloc::{format, string::String};
use core::time::Duration;

use proto_svc::supervision::{Level, LogRecord};
use proto_xen::DomId;

/// A service's line as Xen would print it, `(dN) LEVEL text`, with its end.
///
/// What would disturb the console is replaced: a service must not be able to write a line that looks
/// like another domain's.
pub fn of_service(domain: DomId, record: &LogRecord) -> String {
    let level = match record.level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = record.text.chars().map(clean).collect();
    format!("({domain}) {level} {text}\n")
}

/// What a service says of the time of its lines, held against what dom0 has seen. A pure machine. Times are
/// nanoseconds since power-on.
///
/// Until its log is forwarded, a service writes to Xen's console itself, so lines of before are not shown
/// twice. They are the first that come, and no more than a service's queue holds: whoever claims that for
/// others would hide them from whoever reads the console.
#[derive(Debug)]
pub struct Claims {
    born_ns: u64,
    opened_ns: u64,
    early: u8,
}

impl Claims {
    /// The most lines that a service has from before: the queue of `rt::log`.
    pub const MAX_EARLY: u8 = 64;

    /// Of a service that was built at `born_ns` and has opened its channel at `opened_ns`.
    pub fn new(born_ns: u64, opened_ns: u64) -> Self {
        Self { born_ns, opened_ns, early: Self::MAX_EARLY }
    }

    /// Whether the service has written this line, its next, on Xen's console itself.
    pub fn was_shown(&mut self, at_ns: u64) -> bool {
        let early = at_ns < self.opened_ns && self.early > 0;
        self.early = if early { self.early - 1 } else { 0 };
        early
    }

    /// When a line was written that came at `now_ns`: what the service says, as far as it can be.
    pub fn time_ns(&self, at_ns: u64, now_ns: u64) -> u64 {
        at_ns.min(now_ns).max(self.born_ns)
    }
}

/// `measure WHAT.NAME N.N ms`: how long something of an application took. Readers of the console take
/// one value a line, and words end at blanks, so those of the name are replaced.
pub fn measurement(what: &str, name: &str, took: Duration) -> String {
    let plain = |c: char| if c.is_whitespace() || c.is_control() { '_' } else { c };
    let name: String = name.chars().map(plain).collect();
    let (whole, tenth) = (took.as_millis(), took.as_micros() / 100 % 10);
    format!("measure {what}.{name} {whole}.{tenth} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_before_come_first_and_are_few() {
        let mut claims = Claims::new(50, 100);
        assert!(claims.was_shown(60) && claims.was_shown(99));
        assert!(!claims.was_shown(100));
        assert!(!claims.was_shown(60), "an old line behind a new one");
        let mut liar = Claims::new(50, 100);
        let hidden = (0..1000).filter(|_| liar.was_shown(0)).count();
        assert_eq!(hidden, usize::from(Claims::MAX_EARLY));
    }

    #[test]
    fn a_line_is_not_older_than_its_service_nor_of_the_future() {
        let claims = Claims::new(50, 100);
        let times = [0, 50, 70, 200, 201, u64::MAX].map(|at| claims.time_ns(at, 200));
        assert_eq!(times, [50, 50, 70, 200, 200, 200]);
    }

    #[test]
    fn a_measurement_is_one_value_a_line() {
        let took = Duration::from_micros(12_570);
        assert_eq!(measurement("create", "hello", took), "measure create.hello 12.5 ms");
        assert_eq!(measurement("create", "a b\nc", Duration::ZERO), "measure create.a_b_c 0.0 ms");
    }

    #[test]
    fn a_service_cannot_speak_for_others() {
        let text = "net: up\n(XEN) all is well\x1b[2J".try_into().unwrap();
        let record = LogRecord { level: Level::Warn, at_ns: 0, text };
        let line = of_service(DomId(7), &record);
        assert_eq!(line, "(d7) WARN net: up\u{fffd}(XEN) all is well\u{fffd}[2J\n");
    }
}
