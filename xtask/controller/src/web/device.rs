//! The part of the page about one device: its slots, what makes it trusted, its machine, its history.

use crate::observed::{BootView, DeviceInfo, DeviceView, QuoteView, SlotStep, SlotView};
use crate::web::html::Html;
use crate::web::parts::{badge, bytes, friendly, moment, or_none};

/// Steps of an update that are shown at once; the earlier ones are folded away.
const SHOWN: usize = 6;

/// A device. `version` is that of the configuration in force.
pub(super) fn card(html: &mut Html, device: &DeviceView, version: u64) {
    let title = if device.serial.is_empty() { &device.soft_serial } else { &device.serial };
    html.raw("<article class=\"card device\"><header><h3>").text(title).raw("</h3>");
    match &device.info {
        Some(info) => badge(html, &info.state),
        None => badge(html, "NOT REPORTED"),
    }
    html.raw(match (device.attested, &device.quote) {
        (true, _) => "<span class=\"badge good\">attested</span>",
        (false, Some(QuoteView { trusted: false, .. })) => "<span class=\"badge bad\">quote refused</span>",
        (false, _) => "<span class=\"badge busy\">not attested</span>",
    });
    html.raw("</header><p class=\"id\">").text(&device.uuid.to_string()).raw(", seen ");
    moment(html, device.last_seen_ms);
    html.raw("</p>");
    if let Some(info) = &device.info {
        slots(html, info);
    }
    html.raw("<div class=\"columns\"><section><h4>Trust</h4><dl>");
    trust(html, device);
    html.raw("</dl></section><section><h4>Machine</h4><dl>");
    row(html, "Configuration", |html| configuration(html, device, version));
    if let Some(info) = &device.info {
        machine(html, info);
    }
    metrics(html, device);
    if device.repeated_lines > 0 {
        row(html, "Log", |html| {
            html.number(device.repeated_lines).raw(" lines came again, and are shown once");
        });
    }
    html.raw("</dl></section><section><h4>History</h4>");
    history(html, device);
    html.raw("</section></div></article>");
}

/// The two slots side by side, and a version that waits.
fn slots(html: &mut Html, info: &DeviceInfo) {
    html.raw("<ul class=\"slots\">");
    for (index, slot) in info.slots.iter().enumerate() {
        html.raw(if index == 0 { "<li class=\"slot runs\">" } else { "<li class=\"slot\">" });
        html.raw("<p class=\"label\">").text(if slot.label.is_empty() { "next" } else { &slot.label });
        if index == 0 {
            html.raw(" · running");
        }
        html.raw("</p><p class=\"version\">");
        html.text(if slot.version.is_empty() { "empty" } else { &slot.version }).raw("</p><p>");
        if !slot.partition.is_empty() {
            badge(html, &slot.partition);
            html.raw(" ");
        }
        html.text(&told(slot)).raw("</p>");
        if is_moving(slot) {
            html.raw("<progress max=\"100\" aria-label=\"download\" value=\"").number(slot.progress.min(100));
            html.raw("\"></progress>");
        }
        if !slot.error.is_empty() {
            html.raw("<p class=\"error\">").text(&slot.error).raw("</p>");
        }
        html.raw("</li>");
    }
    html.raw("</ul>");
}

fn is_moving(slot: &SlotView) -> bool {
    matches!(slot.state.as_str(), "DOWNLOAD_STARTED" | "DOWNLOADED" | "VERIFYING")
}

/// What becomes of a slot, in a few words. Source of the states: EVE, `BaseOsStatus` and `BaseOsSubStatus`.
fn told(slot: &SlotView) -> String {
    match (slot.status.as_str(), slot.detail.as_str()) {
        ("", _) if slot.version.is_empty() => "nothing in it".into(),
        ("", _) if slot.state == "INSTALLED" => "not in use".into(),
        ("", _) => friendly(&slot.state),
        ("DOWNLOADING", _) => format!("being fetched, {} %", slot.progress),
        ("DOWNLOAD_DONE", _) => "fetched and checked".into(),
        ("UPDATING", "UPDATE_TESTING") => format!("under test, {} s left", slot.detail_progress),
        ("UPDATING", "UPDATE_REBOOTING") => "started with the next reset".into(),
        ("UPDATING", "UPDATE_DEFERRED") => "waits until the running version has proven itself".into(),
        ("UPDATING", "UPDATE_INITIALIZING") => "about to be fetched".into(),
        ("UPDATED", _) => "proven".into(),
        ("FALLBACK", _) => "proven, kept to fall back to".into(),
        ("FAILED", _) => "failed".into(),
        (status, detail) => format!("{} {}", friendly(status), friendly(detail)),
    }
}

fn trust(html: &mut Html, device: &DeviceView) {
    match &device.quote {
        Some(quote) => row(html, "Verdict", |html| verdict(html, device, quote)),
        None => row(html, "Verdict", |html| {
            html.raw("no TPM has quoted");
        }),
    }
    let Some(info) = &device.info else { return };
    row(html, "Attestation", |html| {
        html.text(&friendly(or_none(&info.attestation)));
    });
    row(html, "TPM", |html| {
        html.text(or_none(&info.tpm));
    });
    row(html, "Storage", |html| {
        badge(html, or_none(&info.storage_status));
        html.raw(" ").text(or_none(&info.storage));
    });
    for vault in &info.vaults {
        row(html, "Vault", |html| {
            badge(html, or_none(&vault.status));
            html.raw(" ").text(&vault.name);
            html.raw(if vault.measured {
                ", bound to what is measured"
            } else {
                ", not bound to measurements"
            });
            if !vault.error.is_empty() {
                html.raw("<p class=\"error\">").text(&vault.error).raw("</p>");
            }
        });
    }
    if device.escrowed > 0 {
        row(html, "Escrow", |html| {
            html.raw("the storage's key is kept here");
        });
    }
}

/// The verdict on a quote; where it differs, each event by name, and the PCRs.
fn verdict(html: &mut Html, device: &DeviceView, quote: &QuoteView) {
    html.raw(if quote.trusted {
        "<span class=\"badge good\">trusted</span> "
    } else {
        "<span class=\"badge bad\">refused</span> "
    });
    moment(html, quote.at_ms);
    if !quote.differences.is_empty() {
        html.raw("<ul class=\"differences\">");
        for (_, difference) in &quote.differences {
            html.raw("<li class=\"error\">").text(difference).raw("</li>");
        }
        html.raw("</ul>");
    } else if !quote.trusted {
        html.raw("<p class=\"error\">").text(&quote.verdict).raw("</p>");
    }
    html.raw("<p>Event log: ").text(&quote.log).raw("</p><details data-key=\"pcrs-");
    html.text(&device.uuid.to_string())
        .raw("\"><summary>PCR values</summary><div class=\"scroll\"><table><tbody>");
    for (pcr, value) in &quote.pcrs {
        let differs = quote.differences.iter().any(|(of, _)| of == pcr);
        html.raw(if differs { "<tr class=\"differs\">" } else { "<tr>" });
        html.raw("<th scope=\"row\">").number(*pcr).raw("</th><td class=\"id\">").text(value);
        html.raw(if differs { " (differs)</td></tr>" } else { "</td></tr>" });
    }
    html.raw("</tbody></table></div></details>");
}

fn configuration(html: &mut Html, device: &DeviceView, version: u64) {
    match (device.config_sent, device.config_confirmed) {
        (_, Some(confirmed)) if confirmed == version => {
            html.raw("version ").number(confirmed).raw(", current");
        }
        (Some(sent), _) => {
            html.raw("version ").number(sent).raw(" sent, ").number(version).raw(" is current");
        }
        (None, Some(confirmed)) => {
            html.raw("version ").number(confirmed).raw(", ").number(version).raw(" is current");
        }
        (None, None) => {
            html.raw("none sent since the controller started");
        }
    }
}

fn machine(html: &mut Html, info: &DeviceInfo) {
    row(html, "Hardware", |html| {
        html.text(&info.arch).raw(", ").number(info.cpus).raw(" vCPU, ").number(info.memory_mib).raw(" MiB");
        html.raw(if info.watchdog { ", watchdog" } else { ", no watchdog" });
    });
    row(html, "Booted", |html| {
        moment(html, info.boot_ms);
        html.raw(", ").text(&friendly(or_none(&info.boot_reason)));
        if !info.boot_text.is_empty() {
            html.raw(": ").text(&info.boot_text);
        }
    });
    row(html, "Counters", |html| {
        html.raw("reboot ").number(info.reboot_counter).raw(", shutdown ").number(info.shutdown_counter);
        html.raw(", retry ").number(info.retry_counter);
    });
    row(html, "Addresses", |html| {
        html.text(or_none(&info.addresses.join(", ")));
    });
    for port in &info.ports {
        row(html, "Port", |html| {
            html.text(&port.name).raw(if port.up { ", up" } else { ", down" });
            html.raw(", reached ");
            moment(html, port.succeeded_ms);
            html.raw(", failed ");
            moment(html, port.failed_ms);
            if !port.error.is_empty() {
                html.raw("<p class=\"error\">").text(&port.error).raw("</p>");
            }
        });
    }
    if !info.maintenance.is_empty() {
        row(html, "Maintenance", |html| {
            html.text(&info.maintenance.join(", "));
        });
    }
    for (key, reason) in &info.item_errors {
        row(html, "Item refused", |html| {
            html.raw("<code>").text(key).raw("</code>: ").text(reason);
        });
    }
}

fn metrics(html: &mut Html, device: &DeviceView) {
    let Some(metrics) = &device.metrics else { return };
    row(html, "Memory", |html| {
        html.number(metrics.used_mib).raw(" MiB used, ").number(metrics.available_mib).raw(" MiB free");
    });
    row(html, "Traffic", |html| {
        html.text(&bytes(metrics.sent_bytes)).raw(" sent, ").text(&bytes(metrics.received_bytes));
        html.raw(" received");
    });
    for app in &metrics.apps {
        row(html, "Application", |html| {
            html.text(&app.name).raw(", ").number(app.used_mib).raw(" of ").number(app.allocated_mib);
            html.raw(" MiB, ").number(app.cpu_ns / 1_000_000).raw(" ms of CPU");
        });
    }
}

/// What became of the slots, newest first, and the starts.
fn history(html: &mut Html, device: &DeviceView) {
    if device.updates.is_empty() {
        html.raw("<p class=\"empty\">Nothing was told yet.</p>");
    }
    let mut newest = device.updates.iter().rev();
    html.raw("<ol class=\"steps\">");
    newest.by_ref().take(SHOWN).for_each(|step| told_step(html, step));
    html.raw("</ol>");
    if newest.len() > 0 {
        html.raw("<details data-key=\"steps-").text(&device.uuid.to_string()).raw("\"><summary>");
        html.number(newest.len() as u64).raw(" earlier</summary><ol class=\"steps\">");
        newest.for_each(|step| told_step(html, step));
        html.raw("</ol></details>");
    }
    if device.boots.is_empty() {
        return;
    }
    html.raw("<h5>Starts</h5><ol class=\"steps\">");
    device.boots.iter().rev().take(SHOWN).for_each(|boot| told_boot(html, boot));
    html.raw("</ol>");
}

fn told_step(html: &mut Html, step: &SlotStep) {
    let slot = &step.slot;
    html.raw("<li>");
    moment(html, step.at_ms);
    html.raw(" <span><b>").text(if slot.label.is_empty() { "next" } else { &slot.label });
    html.raw("</b> ").text(&slot.version).raw(" ").text(&told(slot));
    if !slot.error.is_empty() {
        html.raw("<span class=\"error\">: ").text(&slot.error).raw("</span>");
    }
    html.raw("</span></li>");
}

fn told_boot(html: &mut Html, boot: &BootView) {
    html.raw("<li>");
    moment(html, boot.boot_ms);
    html.raw(" <span><b>")
        .text(&boot.label)
        .raw("</b> ")
        .text(&boot.version)
        .raw(" ")
        .text(&friendly(&boot.reason));
    if !boot.text.is_empty() {
        html.raw(": ").text(&boot.text);
    }
    html.raw("</span></li>");
}

fn row(html: &mut Html, name: &'static str, value: impl FnOnce(&mut Html)) {
    html.raw("<div><dt>").raw(name).raw("</dt><dd>");
    value(html);
    html.raw("</dd></div>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_told_in_words() {
        let slot = |version: &str, state: &str, status: &str, detail: &str| SlotView {
            version: version.into(),
            state: state.into(),
            status: status.into(),
            detail: detail.into(),
            progress: 40,
            detail_progress: 90,
            ..SlotView::default()
        };
        for (slot, words) in [
            (slot("", "INITIAL", "", ""), "nothing in it"),
            (slot("1", "INSTALLED", "", ""), "not in use"),
            (slot("1", "DELIVERED", "", ""), "delivered"),
            (slot("1", "DOWNLOAD_STARTED", "DOWNLOADING", "DOWNLOAD_INPROGRESS"), "being fetched, 40 %"),
            (slot("1", "INSTALLED", "UPDATING", "UPDATE_TESTING"), "under test, 90 s left"),
            (slot("1", "INSTALLED", "UPDATED", ""), "proven"),
            (slot("1", "INSTALLED", "FAILED", ""), "failed"),
            (
                slot("1", "INSTALLED", "UPDATING", "UPDATE_NEED_TEST_CONFIRM"),
                "updating update need test confirm",
            ),
        ] {
            assert_eq!(told(&slot), words);
        }
    }
}
