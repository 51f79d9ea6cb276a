//! The table itself: codes are unique and in order, and every error has a cause and a next step.

use std::collections::BTreeSet;

#[test]
fn codes_are_unique_and_carry_their_area_and_number() {
    let mut seen = BTreeSet::new();
    for area in proto_errors::areas::ALL {
        let mut last = 0;
        for entry in area.entries {
            let code = entry.code.as_str();
            assert!(seen.insert(code), "{code} is given twice");
            let rest = code.strip_prefix(&format!("E-{}-", area.module.to_uppercase()));
            let digits = rest.unwrap_or_else(|| panic!("{code} is not of area {}", area.module));
            assert_eq!(digits.len(), 3, "{code}");
            let number: u32 = digits.parse().unwrap();
            assert!(number > last, "{code} is out of order");
            last = number;
        }
    }
}

#[test]
fn every_error_has_cause_and_next_step() {
    for entry in proto_errors::all() {
        for text in [entry.cause, entry.next] {
            assert!(text.len() > 12, "{}: {text:?} says too little", entry.code);
            let begins = text.starts_with(|c: char| c.is_uppercase() || c == '`') || text.starts_with("dom0");
            assert!(begins, "{}: {text}", entry.code);
            assert!(text.ends_with('.'), "{}: {text}", entry.code);
        }
    }
}

#[test]
fn names_are_unique_within_an_area() {
    for area in proto_errors::areas::ALL {
        let names: BTreeSet<_> = area.entries.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), area.entries.len(), "{}", area.module);
        assert!(!area.about.is_empty());
    }
}

#[test]
fn a_code_is_found_however_it_was_copied() {
    for text in ["E-TABLE-003", "e-table-003", "[E-TABLE-003]", " E-TABLE-003\n"] {
        assert_eq!(proto_errors::find(text).unwrap().code, proto_errors::table::UNKNOWN_KEY);
    }
    assert!(proto_errors::find("E-TABLE-999").is_none());
    assert!(proto_errors::find("").is_none());
}

#[test]
fn the_document_is_the_table() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/errors.md");
    let text = std::fs::read_to_string(file).unwrap();
    let fresh = proto_errors::Document.to_string();
    let first = text.lines().zip(fresh.lines()).find(|(old, new)| old != new);
    assert!(
        text == fresh,
        "write errors.md anew with `cargo xtask explain --all`; the first difference: {first:?}"
    );
}
