//! The sources of the whole repository against the table: every code is used, every code that is written
//! down exists, and no line that is an error or a warning goes without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where domains' sources are; an application is not of the system.
const DOMAINS: [&str; 4] = ["board-support", "dom0", "proto", "stubdoms"];
const APPLICATIONS: [&str; 1] = ["stubdoms/hello"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files below the folder with one of these endings, by their paths from the repository's root.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|end| endings.iter().any(|wanted| end == *wanted)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// What a file calls the areas that it uses: `proto_errors::{Coded, net as code}`.
fn areas_of(text: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for part in text.split("proto_errors::").skip(1) {
        let list = match part.strip_prefix('{') {
            Some(list) => list.split_once('}').map_or("", |(list, _)| list),
            None => part.split_once(';').map_or("", |(one, _)| one),
        };
        for item in list.split(',').map(str::trim) {
            let (area, name) = item.split_once(" as ").unwrap_or((item, item));
            names.insert(name.to_owned(), area.to_owned());
        }
    }
    names
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `path` stands in the text as a whole.
fn uses(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| {
        let before = text.as_bytes().get(at.wrapping_sub(1)).is_some_and(|&byte| is_word(byte));
        let after = text.as_bytes().get(at + path.len()).is_some_and(|&byte| is_word(byte));
        !before && !after
    })
}

#[test]
fn every_code_is_used() {
    let sources: Vec<_> = ["board-support", "boot", "dom0", "proto", "stubdoms", "xtask"]
        .into_iter()
        .flat_map(|folder| files(folder, &["rs"]))
        .filter(|(path, text)| !path.starts_with("proto/errors/") && text.contains("proto_errors"))
        .map(|(_, text)| (areas_of(&text), text))
        .collect();
    for area in proto_errors::areas::ALL {
        for entry in area.entries {
            let used = sources.iter().any(|(areas, text)| {
                let names = areas.iter().filter(|(_, meant)| *meant == area.module).map(|(name, _)| name);
                let inline = format!("proto_errors::{}::{}", area.module, entry.name);
                uses(text, &inline)
                    || names.into_iter().any(|name| uses(text, &format!("{name}::{}", entry.name)))
            });
            assert!(used, "{} ({}::{}) is used nowhere", entry.code, area.module, entry.name);
        }
    }
}

/// Codes as they are written in texts: `E-`, capitals, `-`, three digits.
fn codes(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("E-") {
        let rest = &text[at..];
        let length =
            rest.bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'-').count();
        let code = &rest[..length];
        let number = code.rsplit_once('-').map_or("", |(_, number)| number);
        let begins_a_word =
            !text.as_bytes().get(at.wrapping_sub(1)).is_some_and(|&b| is_word(b) || b == b'-');
        if begins_a_word && number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()) {
            found.insert(code);
        }
    }
    found
}

#[test]
fn every_code_that_is_written_down_exists() {
    // A code that must not exist, for the test that says so.
    let invented = ["E-TABLE-999"];
    let mut seen = 0;
    for (path, text) in files("", &["rs", "md", "toml", "in"]) {
        for code in codes(&text) {
            assert!(
                invented.contains(&code) || proto_errors::find(code).is_some(),
                "{path}: {code} is not in the table"
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} codes were found");
}

/// The macro calls that log an error or a warning, each to its closing bracket.
fn complaints(text: &str) -> Vec<&str> {
    ["log::error!(", "log::warn!("].into_iter().flat_map(|name| calls(text, name)).collect()
}

/// The calls of a macro, `NAME!(`, each to its closing bracket.
fn calls<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let end = |at: usize| at + name.len() + to_closing(&text[at + name.len()..]);
    text.match_indices(name).map(|(at, _)| &text[at..end(at)]).collect()
}

/// Bytes to the bracket that closes one which was opened before; brackets in texts do not count.
fn to_closing(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[test]
fn every_error_and_warning_of_a_domain_has_a_code() {
    let mut seen = 0;
    let tests = |path: &str| path.contains("/tests") || path.ends_with("tests.rs");
    for (path, text) in DOMAINS.into_iter().flat_map(|folder| files(folder, &["rs"])) {
        if tests(&path) || APPLICATIONS.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        for call in complaints(&text) {
            let coded = call.contains("[{}]") && names_a_code(&areas_of(&text), call);
            assert!(coded || call.contains("told("), "{path}: no code in {call}");
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} lines were found");
}

/// The selector has no log: what it prints is an error, but for what it begins with here. A `{line}` comes from
/// elsewhere, with a code if it needs one.
#[test]
fn every_line_of_the_selector_has_a_code_or_is_no_error() {
    const PLAIN: [&str; 6] = [
        "selector {}\"",
        "selector: {line}\"",
        "selector: slots are signed with the test key",
        "selector: Secure Boot is on",
        "selector: {slot} ({}): {}\"",
        "selector: {slot} holds version",
    ];
    let mut seen = 0;
    for (path, text) in files("boot/selector/src", &["rs"]) {
        for call in calls(&text, "println!(") {
            let text_of = call.split_once('"').map_or("", |(_, text)| text);
            let is_plain = PLAIN.iter().any(|plain| text_of.starts_with(plain));
            let coded = call.contains("[{}]") && names_a_code(&areas_of(&text), call);
            assert!(is_plain || coded || call.contains(".told()"), "{path}: no code in {call}");
            seen += usize::from(!is_plain);
        }
    }
    assert!(seen > 8, "only {seen} lines were found");
}

/// Whether a constant of an area stands in the text, or the code of an error that has one.
fn names_a_code(areas: &BTreeMap<String, String>, text: &str) -> bool {
    let constant = |name: &str, area: &str| {
        let area = proto_errors::areas::ALL.iter().find(|all| all.module == area);
        area.is_some_and(|area| {
            area.entries.iter().any(|entry| uses(text, &format!("{name}::{}", entry.name)))
        })
    };
    text.contains(".code()")
        || areas.iter().any(|(name, area)| constant(name, area))
        || proto_errors::areas::ALL
            .iter()
            .any(|area| constant(&format!("proto_errors::{}", area.module), area.module))
}

/// What stands behind each text with `[{}]` in it, to the bracket that closes the call.
fn arguments_of_coded_texts(text: &str) -> Vec<&str> {
    let end_of_text = |text: &str| {
        let mut escaped = false;
        text.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })
    };
    text.match_indices("[{}]")
        .filter_map(|(at, _)| {
            let rest = &text[at..];
            let arguments = &rest[end_of_text(rest)? + 1..];
            Some(&arguments[..to_closing(arguments)])
        })
        .collect()
}

#[test]
fn every_code_of_the_host_tool_is_a_constant_of_an_area() {
    let mut seen = 0;
    for (path, text) in files("xtask", &["rs"]) {
        for arguments in arguments_of_coded_texts(&text) {
            assert!(
                names_a_code(&areas_of(&text), arguments),
                "{path}: no constant of an area for `[{{}}]` in {arguments}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} texts were found");
}

/// A subcommand whose errors may lack a code would end with a line that has none.
#[test]
fn every_subcommand_ends_with_a_code() {
    let main = fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    assert!(main.contains("match result.or_code("), "the last code is given elsewhere now?");
}

#[test]
fn what_is_no_code_is_found() {
    let text = "use proto_errors::{host as code};\nbail!(\"a \\\" [{}]\", code::FILE); bail!(\"b [{}]\", code::NONE(1));";
    let found: Vec<bool> =
        arguments_of_coded_texts(text).iter().map(|behind| names_a_code(&areas_of(text), behind)).collect();
    assert_eq!(found, [true, false]);
}
