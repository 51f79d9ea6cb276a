//! Targets of the compiler. `rust-toolchain.toml` names them, and rustup brings them with the compiler; but one
//! that was installed for an earlier version of that file, or by hand, may lack some, and rustup adds them only
//! where it is allowed to install things by itself.

use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::tool::tool;
use crate::{paths, ui};

/// The part of `rust-toolchain.toml` that is read here.
#[derive(Debug, Deserialize)]
struct File {
    toolchain: Toolchain,
}

#[derive(Debug, Deserialize)]
struct Toolchain {
    targets: Vec<String>,
}

/// Has rustup add the targets that are missing. Without a rustup the compiler is somebody else's, and has what it has.
///
/// # Errors
/// When `rust-toolchain.toml` cannot be read, or rustup cannot add a target; its words are above then.
pub fn add_targets() -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "list", "--installed"]).current_dir(paths::repository());
    let Ok(installed) = rustup.output() else { return Ok(()) };
    let file = paths::repository().join("rust-toolchain.toml");
    let wanted: File =
        toml::from_str(&paths::read_text(&file)?).with_context(|| format!("{}", file.display()))?;
    let missing = missing(&wanted.toolchain.targets, &String::from_utf8_lossy(&installed.stdout));
    if missing.is_empty() {
        return Ok(());
    }
    let step = ui::step("add targets to the compiler");
    tool("rustup").args(["target", "add"]).args(missing).dir(&paths::repository()).run_loud(&step)?;
    step.done("");
    Ok(())
}

fn missing<'w>(wanted: &'w [String], installed: &str) -> Vec<&'w str> {
    let has = |target: &str| installed.lines().any(|line| line.trim() == target);
    wanted.iter().map(String::as_str).filter(|target| !has(target)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_missing() {
        let wanted = ["x86_64-unknown-none", "aarch64-unknown-none"].map(str::to_owned);
        assert_eq!(
            missing(&wanted, "x86_64-unknown-linux-gnu\nx86_64-unknown-none\n"),
            ["aarch64-unknown-none"]
        );
        assert_eq!(missing(&wanted, "aarch64-unknown-none\nx86_64-unknown-none\n"), [""; 0]);
        assert_eq!(missing(&wanted, ""), wanted);
    }
}
