//! Lines of services on dom0's console.

use alloc::{format, string::String};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_speak_for_others() {
        let text = "net: up\n(XEN) all is well\x1b[2J".try_into().unwrap();
        let record = LogRecord { level: Level::Warn, at_ns: 0, text };
        let line = of_service(DomId(7), &record);
        assert_eq!(line, "(d7) WARN net: up\u{fffd}(XEN) all is well\u{fffd}[2J\n");
    }
}
