//! What the update remembers, as it is kept: a line of words, the first of which is its version. One that cannot be
//! read counts as none.

use alloc::{format, string::String, vec::Vec};

use proto_handoff::record::Version;
use proto_update::machine::{MAX_FAILED, Memory};

const FORMAT: &str = "1";

pub(crate) fn encode(memory: &Memory) -> Vec<u8> {
    let Memory { retry, force, failed, forced } = memory;
    let force = force.map_or_else(|| String::from("-"), |force| format!("{force}"));
    let mut line = format!("{FORMAT} {retry} {force} {}", u8::from(*forced));
    // A version has no blanks in it.
    failed.iter().flatten().for_each(|version| line.push_str(&format!(" {version}")));
    line.into_bytes()
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Memory> {
    let mut words = core::str::from_utf8(bytes).ok()?.split(' ');
    if words.next()? != FORMAT {
        return None;
    }
    let retry = words.next()?.parse().ok()?;
    let force = match words.next()? {
        "-" => None,
        force => Some(force.parse().ok()?),
    };
    let forced = match words.next()? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let mut failed = [None; MAX_FAILED];
    for place in &mut failed {
        let Some(word) = words.next() else { break };
        *place = Some(Version::new(word)?);
    }
    words.next().is_none().then_some(Memory { retry, force, failed, forced })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let version = |name: &str| Version::new(name);
        for (failed, force, forced) in [
            ([None; MAX_FAILED], None, false),
            ([version("0.2.0"), version("-"), None, None], Some(0), true),
            (["a", "b", "c", &"x".repeat(32)].map(version), Some(u32::MAX), false),
        ] {
            let memory = Memory { retry: 7, force, failed, forced };
            assert_eq!(decode(&encode(&memory)), Some(memory));
        }
    }

    #[test]
    fn everything_else_counts_as_none() {
        for line in [
            "",
            "2 1 - 0",
            "1 x - 0",
            "1 1 x 0",
            "1 1 - 2",
            "1 1 -",
            "1 1 - 0 a b c d e",
            "1 1 - 0 ",
            "\u{1}",
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(decode(b"\xff"), None);
    }
}
