//! A machine with two processors, on which domains have theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::console::introduction;
use xtask::site;

use crate::Story;
use crate::application::{PATIENCE, app, config, no_violations};
use crate::stage::{Stage, edit_table, table};

pub(crate) const NIGHTLY: &[Story] = &[
    Story {
        name: "two_cpus",
        about: "services pinned to one of two processors and applications pinned to the other: Xen says so, and all work",
        tell: pinned,
    },
    Story {
        name: "two_cpus-aarch64",
        about: "services pinned to one of two processors and applications pinned to the other: Xen says so, and all work",
        tell: pinned,
    },
];

/// Has the serial console's input go to Xen, and Xen tell of all domains.
const TELL_DOMAINS: &[u8] = b"\x01\x01\x01q";
/// The processors of the table, as bits: the first for services, the second for applications.
const FIRST: u64 = 1;
const SECOND: u64 = 2;

fn pinned(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    site.offer_sample(stage.built(), &config(&app("args = \"greeting=moin\"")))?;
    let mut services = Vec::new();
    let mut options = stage.provisioned_with(&site, |entries| {
        edit_table(entries, |table| {
            table.domains.iter_mut().for_each(|domain| domain.cpus = FIRST);
            table.applications.cpus = SECOND;
        })?;
        services = table(entries)?.domains.iter().map(|domain| domain.name.to_string()).collect();
        Ok(())
    })?;
    options.smp = 2;
    let mut machine = stage.start(&options)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    controller.wait_app_line(site::APP, "moin", PATIENCE)?;
    machine.wait_for_from("xen", "Brought up 2 CPUs", PATIENCE)?;

    let before = machine.lines().len();
    machine.type_bytes(TELL_DOMAINS)?;
    machine
        .wait_for_from("xen", "Notifying guest", Duration::from_secs(20))
        .context("Xen tells of no domain")?;
    let lines = machine.lines();
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.who == "dom0") {
        if let Some((name, domid)) = introduction(&line.text) {
            names.insert(domid, name.to_owned());
        }
    }
    // By domain: where its vCPU runs, and where it may.
    let mut told: BTreeMap<u32, (String, String)> = BTreeMap::new();
    let mut domain = None;
    for line in lines.iter().skip(before).filter(|line| line.who == "xen") {
        let text = line.text.trim();
        if let Some(rest) = text.strip_prefix("VCPU information and callbacks for domain ") {
            domain = rest.trim_end_matches(':').parse().ok();
        } else if let (Some(domain), Some(rest)) = (domain, text.strip_prefix("VCPU0: CPU")) {
            let cpu = rest.split_whitespace().next().unwrap_or_default();
            told.entry(domain).or_default().0 = cpu.to_owned();
        } else if let (Some(domain), Some((_, rest))) = (domain, text.split_once("hard={")) {
            told.entry(domain).or_default().1 = rest.split('}').next().unwrap_or_default().to_owned();
        }
    }
    println!("     {told:?}");
    let mut seen = Vec::new();
    for (domid, (cpu, may)) in told.iter().filter(|(domid, _)| **domid != 0) {
        let name = names.get(domid).with_context(|| format!("nobody has said who d{domid} is"))?;
        let own = if services.contains(name) { "0" } else { "1" };
        ensure!((cpu.as_str(), may.as_str()) == (own, own), "{name} runs on {cpu} and may run on {may}");
        seen.push(name.clone());
    }
    ensure!(seen.len() == services.len() + 1, "Xen told of {seen:?}");
    no_violations(&site)?;
    stage.end(machine)
}
