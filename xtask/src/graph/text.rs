//! The board as text, for a terminal.

use std::fmt::Write;

use super::{View, driver, place, share};

/// Draws the board. Ends with a newline.
pub(super) fn draw(view: &View<'_>) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(view, &mut out);
    out
}

fn write(view: &View<'_>, out: &mut String) -> std::fmt::Result {
    let View { machine, table } = view;
    writeln!(out, "board {}: {}, {} MiB", table.board, machine.arch, machine.memory_mib)?;

    writeln!(out, "\nmemory")?;
    let (shares, left) = view.memory();
    for (whose, mib) in shares.into_iter().chain([("left", left)]) {
        writeln!(out, "  {whose:<16} {mib:>6} MiB")?;
    }

    writeln!(out, "\ndomains, in the order in which they are built")?;
    for domain in &table.domains {
        let config = if domain.provisioning { ", gets the provisioning files" } else { "" };
        let vital = if domain.vital { ", vital" } else { "" };
        writeln!(
            out,
            "  {:<16} image {}, heap of {} KiB{vital}{config}",
            domain.name, domain.image, domain.heap_kib
        )?;
    }
    let apps = &table.applications;
    writeln!(
        out,
        "  {:<16} at most {}, of {} vCPU each, from images of at most {} KiB",
        "applications", apps.count, apps.vcpus, apps.image_kib
    )?;

    writeln!(out, "\nchannels: who offers, what, who accepts")?;
    for (offers, name, accepts) in view.channels() {
        writeln!(out, "  {offers:<16} --{name:-<16}> {accepts}")?;
    }

    writeln!(out, "\ndevices")?;
    for domain in &table.domains {
        for device in table.devices_of(domain) {
            let (driver, place, share) = (driver(device), place(device), share(device));
            writeln!(out, "  {:<16} {driver}, {place}: {share} -> {}", device.name, domain.name)?;
        }
    }
    if table.devices.is_empty() {
        writeln!(out, "  none")?;
    }
    Ok(())
}
