//! The targets with libFuzzer. `cargo xtask fuzz` builds and runs it.
//!
//! libFuzzer has the command line, so the target is named by the variable `SARSEN_FUZZ_TARGET`. With
//! `SARSEN_FUZZ_SEEDS=FOLDER` the target's seeds are written there first.

#![no_main]

use std::sync::OnceLock;

use tests_fuzz::{Target, find, run};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn choose() {
    let name = std::env::var("SARSEN_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = find(&name) else {
        eprintln!("SARSEN_FUZZ_TARGET names no target: `{name}`");
        std::process::exit(2);
    };
    if let Some(folder) = std::env::var_os("SARSEN_FUZZ_SEEDS") {
        for seed in (target.seeds)() {
            let file = std::path::Path::new(&folder).join(format!("seed-{:016x}", run::hash(&seed)));
            if let Err(error) = std::fs::write(&file, seed) {
                eprintln!("cannot write {}: {error}", file.display());
                std::process::exit(2);
            }
        }
    }
    let _ = TARGET.set(target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});
