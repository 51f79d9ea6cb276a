//! `lint`: formatting, and clippy with warnings as errors, for the host, for both kinds of domains, and for
//! what firmware starts.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build::Arch;
use crate::tool::tool;
use crate::{paths, toolchain, ui};

/// Runs the subcommand.
///
/// # Errors
/// When a file is not formatted as rustfmt would, or clippy has something to say.
pub fn lint() -> Result<()> {
    toolchain::add_targets()?;
    let step = ui::step("formatting");
    tool("cargo")
        .args(["fmt", "--all", "--", "--check", "-l"])
        .dir(&paths::repository())
        .run(&step)
        .context("files are not formatted, `cargo xtask fmt` does it")?;
    step.done("");

    let packages = packages()?;
    let host = packages.iter().filter(|package| package.host);
    clippy("lints of what the host runs", host, &["--all-targets"])?;
    for arch in Arch::ALL {
        let domains = packages.iter().filter(|package| package.domain);
        let target = arch.target();
        clippy(&format!("lints for domains on {}", arch.name()), domains, &["--target", &target])?;
        let programs = packages.iter().filter(|package| package.program);
        let target = arch.firmware_target();
        clippy(&format!("lints for firmware on {}", arch.name()), programs, &["--target", &target])?;
    }
    fuzz_binary()
}

/// Formats the sources.
///
/// # Errors
/// When rustfmt fails.
pub fn fmt() -> Result<()> {
    let step = ui::step("format");
    tool("cargo").args(["fmt", "--all"]).dir(&paths::repository()).run(&step)?;
    step.done("");
    Ok(())
}

fn clippy<'a>(name: &str, packages: impl Iterator<Item = &'a Package>, words: &[&str]) -> Result<()> {
    let step = ui::step(name);
    let mut cargo = tool("cargo").args(["clippy", "--quiet"]).args(words);
    for package in packages {
        cargo = cargo.args(["-p", &package.name]);
    }
    let cargo = cargo.args(["--", "-D", "warnings"]).dir(&paths::repository());
    // As in `build`: a variable would replace the flags that domains need.
    cargo.without_env("RUSTFLAGS").without_env("CARGO_ENCODED_RUSTFLAGS").run_loud(&step)?;
    step.done("");
    Ok(())
}

/// The binary with libFuzzer, which nothing but `cargo xtask fuzz` builds. Nothing is linked here, so its
/// build script is told of a library instead of compiling one, which would need a C++ compiler.
fn fuzz_binary() -> Result<()> {
    let step = ui::step("lints of the fuzz targets with libFuzzer");
    tool("cargo")
        .args(["clippy", "--quiet", "-p", "tests-fuzz", "--features", "libfuzzer", "--bin", "fuzz"])
        .args(["--", "-D", "warnings"])
        .env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libFuzzer.a")
        .without_env("RUSTFLAGS")
        .without_env("CARGO_ENCODED_RUSTFLAGS")
        .dir(&paths::repository())
        .run_loud(&step)?;
    step.done("");
    Ok(())
}

/// Where everything is for the host alone: the tool, the tests, and what build scripts take.
const HOST_FOLDERS: [&str; 3] = ["xtask/", "tests/", "linker/"];

/// Where everything is started by firmware.
const FIRMWARE_FOLDER: &str = "boot/";

/// Domains among the tests.
const GUESTS: &str = "tests/guest/";

/// A package of the workspace.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    /// Compiles for the host: the default members, and what stands in [`HOST_FOLDERS`], but for [`GUESTS`].
    host: bool,
    /// Compiles for a domain: all that does not stand in [`HOST_FOLDERS`] or [`FIRMWARE_FOLDER`], and
    /// [`GUESTS`].
    domain: bool,
    /// Compiles for the firmware: all that stands in [`FIRMWARE_FOLDER`].
    program: bool,
}

fn packages() -> Result<Vec<Package>> {
    let output = std::process::Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(paths::repository())
        .output()
        .context("cannot run cargo metadata")?;
    parse_packages(&serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?)
        .context("cargo metadata is not as expected")
}

fn parse_packages(metadata: &Value) -> Option<Vec<Package>> {
    let root = metadata["workspace_root"].as_str()?;
    let default_members = metadata["workspace_default_members"].as_array()?;
    let mut packages = Vec::new();
    for package in metadata["packages"].as_array()? {
        let folder = package["manifest_path"].as_str()?.strip_prefix(root)?.trim_start_matches('/');
        let tool = HOST_FOLDERS.iter().any(|top| folder.starts_with(top)) && !folder.starts_with(GUESTS);
        let program = folder.starts_with(FIRMWARE_FOLDER);
        packages.push(Package {
            name: package["name"].as_str()?.to_owned(),
            host: default_members.contains(&package["id"]) || tool,
            domain: !tool && !program,
            program,
        });
    }
    Some(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_apart_by_folder_and_default_members() {
        let package = |name: &str, path: &str| serde_json::json!({ "name": name, "id": name, "manifest_path": format!("/r/{path}/Cargo.toml") });
        let metadata = serde_json::json!({
            "workspace_root": "/r",
            "workspace_default_members": ["proto-io", "xtask"],
            "packages": [package("proto-io", "proto/io"), package("dom0", "dom0"), package("xtask", "xtask"),
                package("tests-qemu", "tests/qemu"), package("tests-guest", "tests/guest"), package("linker", "linker"),
                package("boot-selector", "boot/selector")],
        });
        let kinds: Vec<_> = parse_packages(&metadata)
            .unwrap()
            .into_iter()
            .map(|package| (package.name, (package.host, package.domain, package.program)))
            .collect();
        let expected = [
            ("proto-io", (true, true, false)),
            ("dom0", (false, true, false)),
            ("xtask", (true, false, false)),
            ("tests-qemu", (true, false, false)),
            ("tests-guest", (false, true, false)),
            ("linker", (true, false, false)),
            ("boot-selector", (false, false, true)),
        ];
        assert_eq!(kinds, expected.map(|(name, kinds)| (name.to_owned(), kinds)));
    }
}
