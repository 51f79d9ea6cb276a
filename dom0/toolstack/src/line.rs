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
