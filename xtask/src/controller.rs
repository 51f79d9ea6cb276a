//! `controller`: the small EVE controller alone, until Ctrl-C.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use xtask_controller::{Controller, EventSink};

use crate::interrupt::Interrupt;
use crate::paths;

/// Options of `controller`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folder that keeps certificates, devices, configuration and journals [default: target/sarsen/controller]
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// Address of the device API
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of the page and of the content
    #[arg(long, default_value = "127.0.0.1:8480", value_name = "ADDRESS")]
    pub web: SocketAddr,
    /// What devices are expected to measure: a file of `measure --json`; a TPM's quote has to fit one of them
    #[arg(long, value_name = "FILE")]
    pub expect: Vec<PathBuf>,
    /// Without such files: learn from the first quote of each device what it measures
    #[arg(long)]
    pub learn: bool,
    /// Provision a device of this name: write its files to STATE/NAME, for `run --config`
    #[arg(long, value_name = "NAME")]
    pub provision: Option<String>,
}

/// Names the options when an address is taken: by another controller, as a rule.
fn taken(error: anyhow::Error) -> anyhow::Error {
    let is_taken = |cause: &io::Error| cause.kind() == io::ErrorKind::AddrInUse;
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(is_taken)) {
        anyhow!("{error:#}; another controller may have it: --listen and --web name other addresses")
    } else {
        error
    }
}

/// Runs the subcommand.
///
/// # Errors
/// When the addresses are taken or the folder cannot be written.
pub fn controller(options: &Options) -> Result<()> {
    let state = options.state.clone().unwrap_or_else(|| paths::output("controller"));
    let mut settings = xtask_controller::Options::new(paths::create(state.clone())?);
    settings.listen = options.listen;
    settings.web = options.web;
    settings.expected.clone_from(&options.expect);
    settings.learn = options.learn;
    let print: EventSink = Arc::new(|line| println!("{line}"));
    settings.on_event = Some(print.clone());
    settings.on_log = Some(print);
    let interrupt = Interrupt::listen()?;
    let controller = Controller::start(settings).map_err(taken)?;
    if let Some(name) = &options.provision {
        let folder = state.join(name);
        controller.provision(name)?.write_to(&folder).context("cannot provision the device")?;
        println!("provisioned: {} (for `cargo xtask run --config`)", folder.display());
    }
    println!("page:          {}", controller.urls().web);
    println!("configuration: {}", controller.config_path().display());
    while !interrupt.pressed() {
        std::thread::sleep(Duration::from_millis(100));
    }
    controller.shutdown();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_told_with_the_options() {
        let folder = tempfile::tempdir().unwrap();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        for name in ["api", "web"] {
            let mut settings = xtask_controller::Options::new(folder.path().join(name));
            *(if name == "api" { &mut settings.listen } else { &mut settings.web }) = address;
            let told = format!("{:#}", Controller::start(settings).map(drop).map_err(taken).unwrap_err());
            let named = told.contains("--listen and --web") && told.contains(&address.to_string());
            assert!(named, "{told}");
        }
    }
}
