//! Shared memory and the executor under Miri, which checks each access: alignment, bounds, provenance,
//! initialisation, data races. A part of `test`.
//!
//! Miri is a component of nightly compilers alone, so one is pinned here. rustup installs it, beside the
//! compiler that everything is built with.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, tool::tool, ui};

/// The compiler. Its Miri runs this workspace; another date may not have the component.
const TOOLCHAIN: &str = "nightly-2026-05-20";

/// Tests of one package, by how their paths begin.
struct Part {
    package: &'static str,
    tests: &'static [&'static str],
}

/// A part to run, and the beginnings of paths for each of which a test must pass.
pub(crate) struct Run {
    pub(crate) package: &'static str,
    pub(crate) tests: &'static [&'static str],
    pub(crate) command: Command,
}

/// What has `unsafe` and can be run on a host, and what works on shared pages. Tests that run long schedules
/// are shorter under Miri, or are left to the ordinary run.
const PARTS: &[Part] = &[
    Part {
        package: "proto-ring",
        tests: &["back::", "channel::", "frame::", "page::", "slots::", "stream::"],
    },
    Part { package: "board-support-hyp", tests: &["window::", "load::"] },
    Part { package: "board-support-arch", tests: &["events::", "shared_info::"] },
    Part {
        package: "board-support-rt",
        tests: &["awake::", "epitaph::", "once::", "tasks::", "pool::pages::"],
    },
    Part {
        package: "board-support-drv",
        // A whole card takes a hundred pages and more, whose words Miri sets up one by one: its parts only, and
        // of the queues not those tests that fill the largest.
        tests: &[
            "dma::",
            "nic::e1000e::registers::",
            "nvme::queue::tests::a_",
            "nvme::regs::",
            "virtio::mmio::",
            "virtio::queue::tests::a_",
            "virtio::queue::tests::flags_",
        ],
    },
    // Likewise a fake Xen: what needs none of it.
    Part { package: "board-support-pv", tests: &["grant::"] },
];

/// `cargo test` under Miri, once for each package; the caller runs them and counts.
///
/// # Errors
/// When the compiler is not there and cannot be installed.
pub(crate) fn runs() -> Result<Vec<Run>> {
    install()?;
    Ok(PARTS
        .iter()
        .map(|part| Run { package: part.package, tests: part.tests, command: command(part) })
        .collect())
}

fn command(part: &Part) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN, "cargo", "miri", "test", "--package", part.package, "--lib", "--"]);
    command.args(part.tests);
    command.env("CARGO_TARGET_DIR", paths::target().join("miri"));
    // Addresses become pointers where a page's frame is all that is known. Tasks and shared_info are there for
    // ever, so they are leaked. Properties draw their cases from the system's randomness; they are few.
    command.env("MIRIFLAGS", "-Zmiri-permissive-provenance -Zmiri-ignore-leaks -Zmiri-disable-isolation");
    command.env("PROPTEST_CASES", "2");
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Has rustup install the compiler, unless it is there.
fn install() -> Result<()> {
    let there = Command::new("rustup").args(["run", TOOLCHAIN, "cargo", "miri", "--version"]).output();
    let there = there.context("cannot run `rustup`; install it from https://rustup.rs")?;
    if there.status.success() {
        return Ok(());
    }
    let step = ui::step("install Miri");
    let installed = tool("rustup")
        .args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal"])
        .args(["--component", "miri", "--component", "rust-src"])
        .run_loud(&step);
    if let Err(error) = installed {
        bail!(
            "{error:#}\nMiri runs with the compiler {TOOLCHAIN}, which rustup could not install. When the network is \
             there again, run the command above by hand, then the tests again"
        );
    }
    step.done("");
    Ok(())
}
