//! Our structures and numbers are those of the headers of the Xen that we boot.
//!
//! The headers come from the package that `boot/packages.toml` pins. Without them nothing is proved, so
//! these tests fail and name the command that fetches it.

use std::path::{Path, PathBuf};

use proto_xen::hvm;
use tests_abi::check::{self, Outcome, Sources};
use tests_abi::compile::{self, Question};
use tests_abi::source::{self, Wanted};
use tests_abi::table::{Arch, Table};
use tests_abi::value::Known;

fn table() -> Table {
    toml::from_str(include_str!("../abi.toml")).unwrap_or_else(|error| panic!("abi.toml: {error}"))
}

fn headers() -> PathBuf {
    xtask::setup::cached_xen_headers().unwrap_or_else(|error| panic!("no headers of Xen: {error:#}"))
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn every_structure_and_number_is_xens() {
    let table = table();
    let sources = check::sources(repository(), &table).unwrap_or_else(|error| panic!("{error:#}"));
    let outcome = check::check(&headers(), &table, &sources);
    assert!(outcome.faults.is_empty(), "\n{}", outcome.faults.join("\n"));
    assert!(outcome.compared > 400, "only {} values were compared", outcome.compared);
}

/// The one value that a function makes.
#[test]
fn the_upcall_vector_is_encoded_as_xen_decodes_it() {
    let question = Question {
        about: "callback_vector(0x41)".to_owned(),
        expression: "(uint64_t)HVM_PARAM_CALLBACK_TYPE_VECTOR \
                     << __builtin_ctzll(HVM_PARAM_CALLBACK_IRQ_TYPE_MASK) | 0x41"
            .to_owned(),
    };
    let headers = ["xen.h".to_owned(), "hvm/params.h".to_owned()];
    let answers = compile::answer(&self::headers(), Arch::X86_64, &headers, "", &[question]).unwrap();
    assert_eq!(answers, [i128::from(hvm::callback_vector(0x41))]);
}

/// Source and table of one file, compared.
fn compare(text: &str, entry: &str) -> Outcome {
    let entry = format!("all = []\nstructures = []\n[[file]]\npath = \"ours.rs\"\n{entry}");
    let table: Table = toml::from_str(&entry).unwrap();
    let source = source::read(text, Wanted::All, &mut Known::default()).unwrap();
    check::check(&headers(), &table, &Sources::from([("ours.rs".to_owned(), source)]))
}

const ENTRY: &str = "headers = [\"xen.h\", \"sched.h\", \"event_channel.h\"]
    [file.numbers]
    YIELD = \"SCHEDOP_yield\"
    [file.structures.Poll]
    xen = \"struct sched_poll\"";

#[test]
fn a_wrong_number_or_field_is_named_with_both_values() {
    let right = compare(
        "const YIELD: u64 = 0;
         #[repr(C)] struct Poll { ports: u64, nr_ports: u32, padding: u32, timeout: u64 }",
        ENTRY,
    );
    // A number, a size, three fields of two values each; on two architectures.
    assert_eq!(right, Outcome { compared: 16, faults: Vec::new() });

    let wrong = compare(
        "const YIELD: u64 = 7;
         #[repr(C)] struct Poll { ports: u64, nr_ports: u64, timeout: u32, padding: u32 }",
        ENTRY,
    );
    let has = |words: &str| wrong.faults.iter().any(|fault| fault.contains(words));
    assert!(has("ours.rs: YIELD: ours is 7 (0x7), Xen's `SCHEDOP_yield` for x86_64 is 0"), "{wrong:?}");
    assert!(has("size of Poll.nr_ports: ours is 8"), "{wrong:?}");
    assert!(has("for aarch64 is 4"), "{wrong:?}");
    assert_eq!(wrong.faults.len(), 6, "{wrong:?}");
}

#[test]
fn what_the_table_or_the_source_lacks_is_named() {
    let outcome = compare(
        "const YIELD: u64 = 0; const NEW: u64 = 1;
         #[repr(C)] struct Poll { ports: u64, nr_ports: u32, padding: u32, timeout: u64 }
         #[repr(C)] struct New { a: u32 }",
        &format!("{ENTRY}\n[file.structures.Old]\nxen = \"struct sched_poll\""),
    );
    assert_eq!(
        outcome.faults,
        [
            "ours.rs: number NEW is not in abi.toml",
            "ours.rs: structure New is not in abi.toml",
            "ours.rs: abi.toml has structure Old, which the source does not have",
        ]
    );
}

#[test]
fn a_name_that_the_headers_lack_is_reported_with_ours() {
    let outcome = compare(
        "const YIELD: u64 = 0;",
        "headers = [\"xen.h\", \"sched.h\"]\n[file.numbers]\nYIELD = \"SCHEDOP_yeild\"",
    );
    assert_eq!(outcome.faults.len(), 2);
    let fault = &outcome.faults[0];
    assert!(fault.contains("ours.rs: YIELD:1") && fault.contains("SCHEDOP_yeild"), "{fault}");
}

/// The headers really are read twice: what the architectures lay out differently comes out differently.
#[test]
fn each_architecture_has_its_own_headers() {
    let question =
        Question { about: "vcpu_info".to_owned(), expression: "sizeof(struct vcpu_info)".to_owned() };
    let size = |arch| {
        compile::answer(&headers(), arch, &["xen.h".to_owned()], "", std::slice::from_ref(&question)).unwrap()
    };
    assert_eq!(size(Arch::X86_64), [64]);
    assert_eq!(size(Arch::Aarch64), [48]);
}
