//! Stories: the whole system in QEMU, told by its console.
//!
//! `cargo xtask test` runs them, `cargo xtask test --nightly` the long ones; `cargo run -p tests-qemu --
//! [--nightly] [--list] NAME` runs or lists those whose name contains NAME, one in this process or several side by side
//! ([`lanes`]). A story starts machines on its [`stage::Stage`], says what it waits for, and fails with the reason and
//! the console's tail. The last line is `N passed, N failed`.

#![forbid(unsafe_code)]

mod aarch64;
mod application;
mod attacker;
mod bad_app;
mod bad_controller;
mod bad_image;
mod bad_machine;
mod bad_slot;
mod bit_flips;
mod boot;
mod built;
mod clock;
mod cpus;
mod create_destroy;
mod device;
mod disk;
mod fall_back;
mod first_quote;
mod guest;
mod hangs;
mod kills;
mod kills_update;
mod lanes;
mod own_key;
mod power_cuts;
mod random;
mod reboot;
mod refused;
mod restart;
mod secure_boot;
mod selector;
mod stage;
mod storage;
mod template;
mod update;
mod vault;

use std::process::ExitCode;
use std::time::Instant;

use stage::{Shared, Stage};
use xtask::build::Arch;

/// One story.
struct Story {
    /// Its name, which is also that of its logs. It ends with `aarch64` if it is about that architecture,
    /// and is about x86_64 otherwise.
    name: &'static str,
    /// What it shows, in one sentence.
    about: &'static str,
    /// Runs it.
    tell: fn(&Stage) -> anyhow::Result<()>,
}

impl Story {
    fn arch(&self) -> Arch {
        if self.name.ends_with(Arch::Aarch64.name()) { Arch::Aarch64 } else { Arch::X86_64 }
    }
}

/// Stories that keep a processor busy, the quick ones first.
const STORIES: &[&[Story]] = &[
    boot::STORIES,
    selector::STORIES,
    secure_boot::STORIES,
    bit_flips::STORIES,
    storage::STORIES,
    create_destroy::STORIES,
    disk::STORIES,
    guest::STORIES,
    attacker::STORIES,
    bad_image::STORIES,
    bad_machine::STORIES,
    bad_slot::STORIES,
    application::STORIES,
    bad_app::STORIES,
    bad_controller::STORIES,
    template::STORIES,
    vault::STORIES,
    clock::STORIES,
    update::STORIES,
    refused::STORIES,
    power_cuts::STORIES,
    restart::STORIES,
    reboot::STORIES,
    kills_update::STORIES,
    kills::STORIES,
    aarch64::STORIES,
];

/// Those whose machine stands still for most of their time: told beside the others.
const WAITING: &[&[Story]] = &[selector::WAITING, boot::WAITING, hangs::WAITING];

/// Those that are too long for every run: `--nightly`.
const NIGHTLY: &[&[Story]] = &[
    boot::NIGHTLY,
    guest::NIGHTLY,
    attacker::NIGHTLY,
    update::NIGHTLY,
    bad_image::NIGHTLY,
    bad_machine::NIGHTLY,
    cpus::NIGHTLY,
    fall_back::NIGHTLY,
    first_quote::NIGHTLY,
    hangs::NIGHTLY,
    own_key::NIGHTLY,
    power_cuts::NIGHTLY,
    kills_update::NIGHTLY,
    kills::NIGHTLY,
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let wanted = words.iter().find(|word| !word.starts_with("--")).map_or("", String::as_str);
    if has(lanes::ONE) {
        let mut all = STORIES.iter().chain(WAITING).chain(NIGHTLY).copied().flatten();
        let story = all.find(|story| story.name == wanted);
        let passed = story.is_some_and(|story| tell(story, stage::prepared));
        return if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let named = |lists: &'static [&[Story]]| {
        let all = lists.iter().copied().flatten();
        all.filter(|story| story.name.contains(wanted)).collect::<Vec<&Story>>()
    };
    let (busy, waiting) =
        if has("--nightly") { (named(NIGHTLY), Vec::new()) } else { (named(STORIES), named(WAITING)) };
    let stories = [busy.as_slice(), &waiting].concat();
    if has("--list") {
        stories.iter().for_each(|story| println!("{:<24} {}", story.name, story.about));
        return ExitCode::SUCCESS;
    }
    let failed = match &stories[..] {
        [] => 0,
        [story] => usize::from(!tell(story, stage::prepare)),
        _ => tell_all(&busy, &waiting),
    };
    println!("{} passed, {failed} failed", stories.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tells stories and says how many failed.
fn tell_all(busy: &[&Story], waiting: &[&Story]) -> usize {
    let is_about = |arch: Arch| busy.iter().chain(waiting).any(|story| story.arch() == arch);
    let ready = || -> anyhow::Result<usize> {
        for arch in Arch::ALL.into_iter().filter(|arch| is_about(*arch)) {
            stage::prepare(arch)?;
        }
        lanes::lanes()
    };
    match ready() {
        Ok(lanes) => lanes::tell(busy, waiting, lanes),
        Err(error) => {
            println!("no story could be told: {error:#}");
            busy.len() + waiting.len()
        }
    }
}

/// Tells a story on what `prepare` gives, and says whether it was right.
fn tell(story: &Story, prepare: fn(Arch) -> anyhow::Result<Shared>) -> bool {
    println!("story {}: {}", story.name, story.about);
    let started = Instant::now();
    let result = prepare(story.arch()).and_then(|shared| (story.tell)(&Stage::new(story.name, &shared)));
    let seconds = started.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("ok   {} ({seconds:.1} s)", story.name),
        Err(error) => println!("FAIL {} ({seconds:.1} s): {error:#}", story.name),
    }
    result.is_ok()
}
