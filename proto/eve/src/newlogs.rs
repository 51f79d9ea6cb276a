//! Log files: one JSON object a line, in a gzip file whose header says whose lines they are.
//!
//! A line is a `LogEntry` as Go's `encoding/json` writes the generated struct: snake case names,
//! numbers for `msgid` and the parts of `timestamp`, empty values left out. Controllers read lines
//! with a limit of 64 KiB and silently lose what follows a longer one, so long contents are split.
//!
//! Source: eve-api `proto/logs/log.proto`; RFC 1952 for the file.

use alloc::{format, string::String, vec::Vec};

use crate::gzip::{Deflated, Text};
use crate::uuid::Uuid;

/// Bytes of a line, its newline included.
pub const MAX_LINE: usize = 60_000;
/// Bytes of a gzip file that is aimed at.
pub const TARGET_FILE: usize = 50_000;
/// Bytes of a gzip file at most.
pub const MAX_FILE: usize = 65_536;
/// Bytes of content in one entry, as JSON: what [`MAX_LINE`] leaves beside the other fields.
const MAX_CONTENT: usize = 48_000;
/// Bytes of each of the other texts of an entry.
const MAX_TEXT: usize = 512;

/// The tag by which the same number in another start is known as another line.
pub const START: &str = "start";

/// One line of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    /// `trace`, `debug`, `info`, `warning` or `error`.
    pub severity: &'a str,
    /// Service, or application.
    pub source: &'a str,
    /// Instance of the source, such as a process id or a domain id.
    pub iid: &'a str,
    /// What was said.
    pub content: &'a str,
    /// Counts up by one per source, so that a gap shows a loss.
    pub msgid: u64,
    /// Tells the start of the device in which it was counted from others; 0 if that is not known. It is the tag [`START`].
    pub start: u32,
    /// Seconds and nanoseconds since 1970.
    pub timestamp: (i64, u32),
    /// Source file.
    pub filename: &'a str,
    /// Source function.
    pub function: &'a str,
}

/// Splits a content into pieces that fit a line each. An empty content is one empty piece.
pub fn pieces(content: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(content);
    core::iter::from_fn(move || {
        let text = rest?;
        let mut length = 0;
        let cut = text.char_indices().find(|&(_, c)| {
            length += escaped_length(c);
            length > MAX_CONTENT
        });
        let (piece, left) = match cut {
            Some((at, _)) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        };
        rest = left;
        Some(piece)
    })
}

/// Appends an entry as one line. Its content must be one of [`pieces`]; a longer one is cut.
pub fn append_line(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let content = pieces(entry.content).next().unwrap_or("");
    let mut line = String::from("{");
    for (name, value) in [
        ("severity", crate::text::truncate(entry.severity, MAX_TEXT)),
        ("source", crate::text::truncate(entry.source, MAX_TEXT)),
        ("iid", crate::text::truncate(entry.iid, MAX_TEXT)),
        ("content", content),
    ] {
        append_text(&mut line, name, value);
    }
    if entry.msgid != 0 {
        line.push_str(&format!("\"msgid\":{},", entry.msgid));
    }
    if entry.start != 0 {
        line.push_str(&format!("\"tags\":{{\"{START}\":\"{}\"}},", entry.start));
    }
    let (seconds, nanos) = entry.timestamp;
    line.push_str(&format!("\"timestamp\":{{\"seconds\":{seconds},\"nanos\":{}}},", nanos.min(999_999_999)));
    append_text(&mut line, "filename", crate::text::truncate(entry.filename, MAX_TEXT));
    append_text(&mut line, "function", crate::text::truncate(entry.function, MAX_TEXT));
    line.pop();
    line.push_str("}\n");
    out.extend_from_slice(line.as_bytes());
}

/// Comment of a device log file: the bundle without its entries.
#[must_use]
pub fn device_comment(device: &Uuid, partition: &str, version: &str) -> String {
    let mut comment = String::from("{");
    append_text(&mut comment, "devID", &format!("{device}"));
    append_text(&mut comment, "image", partition);
    append_text(&mut comment, "eveVersion", version);
    comment.pop();
    comment.push('}');
    comment
}

/// Whose lines a file holds.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// The device; the comment is that of [`device_comment`].
    Device {
        /// JSON.
        comment: &'a str,
    },
    /// An application, by its display name.
    App {
        /// The name.
        name: &'a str,
    },
}

/// Lines that were compressed, still without the header that names their owner. A device collects
/// logs before it knows its own name.
#[derive(Clone, Debug)]
pub struct Compressed(Deflated);

impl Compressed {
    /// Compresses lines. Takes some 400 KiB of heap and 70 KiB of stack while it runs.
    #[must_use]
    pub fn new(lines: &[u8]) -> Self {
        Self(Deflated::new(lines))
    }

    /// Bytes held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Bytes to keep it as.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// Undoes [`Compressed::encode`]; nothing if they are not lines of at most `limit` bytes that were compressed.
    #[must_use]
    pub fn decode(bytes: &[u8], limit: usize) -> Option<Self> {
        Deflated::decode(bytes, limit).map(Self)
    }

    /// The gzip file. `modified` is in seconds since 1970.
    #[must_use]
    pub fn file(&self, owner: Owner<'_>, modified: u32) -> Vec<u8> {
        match owner {
            Owner::Device { comment } => self.0.file(modified, Some((Text::Comment, latin1(comment)))),
            Owner::App { name } => self.0.file(modified, Some((Text::Name, latin1(name)))),
        }
    }
}

/// Header text: Latin-1 without NUL; other characters as `\uXXXX` of UTF-16.
fn latin1(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) if byte != 0 => bytes.push(byte),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    bytes.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    bytes
}

fn append_text(line: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    line.push('"');
    line.push_str(name);
    line.push_str("\":\"");
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if escaped_length(c) == 6 => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line.push_str("\",");
}

/// Bytes that a character takes in a JSON string. Control characters, and the two line separators
/// that some readers take for ends of lines, are escaped.
fn escaped_length(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn lines_are_in_the_form_of_go() {
        let mut out = Vec::new();
        let entry = Entry {
            severity: "info",
            source: "agent",
            content: "say \"hi\"\n\u{1}ä",
            msgid: 7,
            start: u32::MAX,
            timestamp: (1_700_000_000, 5),
            ..Entry::default()
        };
        append_line(&mut out, &entry);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"severity\":\"info\",\"source\":\"agent\",\"content\":\"say \\\"hi\\\"\\n\\u0001ä\",\
             \"msgid\":7,\"tags\":{\"start\":\"4294967295\"},\"timestamp\":{\"seconds\":1700000000,\"nanos\":5}}\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_controllers_read() {
        let long: String = "\u{1}ä\"x".repeat(50_000);
        let parts: Vec<&str> = pieces(&long).collect();
        assert!(parts.len() > 1);
        assert_eq!(parts.concat(), long);
        for part in parts {
            let mut out = Vec::new();
            let source = "\u{1}".repeat(1000);
            append_line(
                &mut out,
                &Entry {
                    content: part,
                    source: &source,
                    filename: &source,
                    msgid: u64::MAX,
                    start: u32::MAX,
                    ..Entry::default()
                },
            );
            assert!(out.len() <= MAX_LINE, "{}", out.len());
            assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        }
        assert_eq!(pieces("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn header_text_is_latin_1() {
        assert_eq!(latin1("aä€\0😀"), b"a\xe4\\u20ac\\u0000\\ud83d\\ude00");
    }

    #[test]
    fn the_file_inflates_to_the_lines() {
        let lines = b"{\"content\":\"x\"}\n".repeat(3000);
        let file = Compressed::new(&lines).file(Owner::App { name: "hello" }, 1);
        assert_eq!(&file[..10], &[0x1f, 0x8b, 8, 8, 1, 0, 0, 0, 2, 255]);
        assert_eq!(&file[10..16], b"hello\0");
        let body = &file[16..file.len() - 8];
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(body).unwrap(), lines);
        assert!(file.len() < lines.len() / 10);
    }

    #[test]
    fn the_comment_names_device_and_version() {
        assert_eq!(
            device_comment(&Uuid([1; 16]), "IMGA", "0.1 \"x\"").to_string(),
            "{\"devID\":\"01010101-0101-0101-0101-010101010101\",\"image\":\"IMGA\",\"eveVersion\":\"0.1 \\\"x\\\"\"}"
        );
    }
}
