//! `controller`: the small EVE controller alone, until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
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
    let controller = Controller::start(settings)?;
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
